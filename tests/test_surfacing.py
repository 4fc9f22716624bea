"""Surfaces of particles: closed, outward, of the right volume; their files."""

import dataclasses

import numpy as np
import plyfile
import pytest
import trimesh

import taichi_phys as tp
from taichi_phys.geometry.surfacing import MOST, carry_values, particle_volume


APART = 0.02  # m
VOLUME = APART**3


def block(*counts):
    """Particles on a regular grid, m."""
    places = np.meshgrid(*[APART * (np.arange(n) + 0.5) for n in counts], indexing="ij")
    return np.stack(places, axis=-1).reshape(-1, 3)


def solid(mesh):
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def ball(radius):
    x = block(24, 24, 24)
    return x[np.linalg.norm(x - 12 * APART, axis=1) < radius]


@pytest.mark.parametrize("body", ["block", "shaken block", "ball"])
def test_surface_is_closed_and_outward_and_has_the_volume_of_its_particles(body):
    x = ball(0.2) if body == "ball" else block(14, 10, 8)
    if body == "shaken block":
        x = x + np.random.default_rng(0).uniform(-0.4, 0.4, x.shape) * APART
    mesh = tp.surface_mesh(x, VOLUME)
    made = solid(mesh)
    assert made.is_watertight and made.body_count == 1
    assert made.volume == pytest.approx(len(x) * VOLUME, rel=0.05)  # and so not inside out
    assert np.linalg.norm(mesh.normals, axis=1) == pytest.approx(1, abs=1e-5)
    outward = (made.face_normals * mesh.normals[mesh.faces].mean(axis=1)).sum(axis=1)
    assert (outward > 0).all()


def test_a_plane_face_lies_at_the_boundary_of_its_particles():
    mesh = tp.surface_mesh(block(14, 14, 14), VOLUME)
    middle = np.abs(mesh.vertices[:, :2] - 7 * APART).max(axis=1) < 3 * APART
    z = mesh.vertices[middle, 2]
    faces = np.array([0, 14 * APART])
    assert np.abs(z[:, None] - faces).min(axis=1).max() < 0.05 * APART


def test_drops_that_the_blur_would_lose_become_balls_of_their_volume():
    rng = np.random.default_rng(1)
    x = np.concatenate([block(10, 10, 10), 0.5 + 0.5 * rng.random((20, 3))])
    made = solid(tp.surface_mesh(x, VOLUME))
    assert made.is_watertight and made.body_count == 21
    drops = sorted(part.volume for part in made.split())[:-1]
    assert np.mean(drops) == pytest.approx(VOLUME, rel=0.1)


def test_sheet_of_one_layer_has_a_surface():
    made = solid(tp.surface_mesh(block(20, 20, 1), VOLUME))
    assert made.is_watertight and made.body_count == 1
    assert made.volume == pytest.approx(400 * VOLUME, rel=0.25)


def test_volume_is_estimated_where_it_is_not_given():
    assert particle_volume(block(12, 12, 12)) == pytest.approx(VOLUME, rel=0.1)
    made = solid(tp.surface_mesh(block(12, 12, 12)))
    assert made.volume == pytest.approx(12**3 * VOLUME, rel=0.1)


def test_voxels_and_blur_are_those_asked_for():
    x = block(8, 8, 8)
    coarse, fine = (tp.surface_mesh(x, VOLUME, voxel=f * APART) for f in (1.0, 0.25))
    assert len(fine.vertices) > 10 * len(coarse.vertices)
    x = block(14, 14, 14)
    x = x + np.random.default_rng(0).uniform(-0.4, 0.4, x.shape) * APART
    rough = []
    for smooth in (0.5, 1.5):
        vertices = tp.surface_mesh(x, VOLUME, smooth=smooth).vertices
        top = (np.abs(vertices - [7 * APART, 7 * APART, 14 * APART]) < 3 * APART).all(axis=1)
        rough.append(vertices[top, 2].std())
    assert rough[1] < 0.5 * rough[0]


def test_too_many_voxels_are_made_larger_and_said():
    far = np.concatenate([block(2, 2, 2), block(2, 2, 2) + 40.0])
    with pytest.warns(UserWarning, match=f"voxel: .* more than {MOST}"):
        assert len(tp.surface_mesh(far, VOLUME).vertices) >= 0


def test_values_of_particles_reach_the_vertices():
    x = block(8, 8, 8)
    mesh = tp.surface_mesh(x, VOLUME)
    values = carry_values(mesh.vertices, x, x @ np.array([[1.0, 0], [0, 2], [0, 0]]))
    assert np.abs(values[:, 0] - mesh.vertices[:, 0]).max() < 1.5 * APART
    assert np.corrcoef(values[:, 1], 2 * mesh.vertices[:, 1])[0, 1] > 0.99


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("x", (np.full((4, 3), np.nan), VOLUME)),
        ("volume", (block(2, 2, 2), -1.0)),
        ("volume", (np.zeros((1, 3)), None)),
        ("volume", (np.zeros((9, 3)), None)),
    ],
)
def test_what_has_no_surface_is_refused(name, arguments):
    with pytest.raises(ValueError, match=f"^{name}: "):
        tp.surface_mesh(*arguments)


@pytest.mark.parametrize("kind", ["obj", "ply"])
def test_files_hold_triangles_normals_and_colors(kind, tmp_path):
    mesh = tp.surface_mesh(block(5, 4, 3), VOLUME)
    n = len(mesh.vertices)
    mesh = dataclasses.replace(mesh, v=mesh.vertices.copy(), colors=np.tile([1.0, 0.5, 0], (n, 1)))
    path = tmp_path / f"body.{kind}"
    tp.save_mesh(path, mesh)
    read = trimesh.load(path, process=False)
    assert read.vertices == pytest.approx(mesh.vertices, abs=1e-6)
    assert (read.faces == mesh.faces).all() and read.is_watertight
    assert read.vertex_normals == pytest.approx(mesh.normals, abs=1e-5)
    assert (read.visual.vertex_colors[:, :3] == [255, 128, 0]).all()
    if kind == "ply":
        table = plyfile.PlyData.read(path)["vertex"]
        v = np.stack([table[k] for k in ("vx", "vy", "vz")], axis=1)
        assert v == pytest.approx(mesh.v, abs=1e-6)


@pytest.mark.parametrize("kind", ["obj", "ply"])
def test_no_particles_give_a_file_without_faces(kind, tmp_path):
    mesh = tp.surface_mesh(np.zeros((0, 3)), VOLUME)
    tp.save_mesh(tmp_path / f"body.{kind}", dataclasses.replace(mesh, v=mesh.vertices))
    text = (tmp_path / f"body.{kind}").read_bytes()
    assert b"element vertex 0" in text if kind == "ply" else text == b"# no surface\n"


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="^path: got 'stl'"):
        tp.save_mesh(tmp_path / "body.stl", tp.surface_mesh(block(2, 2, 2), VOLUME))
