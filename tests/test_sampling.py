"""Bodies made of particles: volumes, places, spacing, repaired meshes, and bad input."""

import math

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from taichi_phys.geometry.inside import winding
from taichi_phys.geometry.sampling import (
    PATTERNS,
    sample_box,
    sample_cloud,
    sample_mesh,
    sample_sphere,
)


NAN, INF = math.nan, math.inf
patterns = pytest.mark.parametrize("pattern", PATTERNS)


def cube(size=1.0, at=(0, 0, 0)):
    return trimesh.creation.box(
        (size,) * 3, transform=trimesh.transformations.translation_matrix(at)
    )


def ball(radius=1.0, subdivisions=3):
    return trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)


def joined(*meshes):
    return trimesh.util.concatenate(meshes)


def flipped(mesh):
    return trimesh.Trimesh(mesh.vertices, mesh.faces[:, ::-1], process=False)


def opened(mesh, faces=1):
    return trimesh.Trimesh(mesh.vertices, mesh.faces[faces:], process=False)


def shell_points(n, radius=1.0):
    x = np.random.default_rng(0).normal(size=(n, 3))
    return radius * x / np.linalg.norm(x, axis=1, keepdims=True)


def inside(mesh, points):
    return winding(mesh.vertices, mesh.faces, points) != 0


def nearest(x):
    return cKDTree(x).query(x, k=2)[0][:, 1]


# Inside


def test_inside_a_ball_and_beside_it():
    mesh = ball(subdivisions=4)
    points = np.random.default_rng(0).uniform(-1.3, 1.3, (20_000, 3))
    radius = np.linalg.norm(points, axis=1)
    clear = np.abs(radius - 1) > 0.005
    found = inside(mesh, points)
    assert (found == (radius < 1))[clear].all()


def test_rays_through_vertices_and_along_edges_and_faces():
    """Every ray of this grid meets an edge or a vertex, or runs within a face."""
    mesh = cube().subdivide().subdivide()
    axis = np.linspace(-0.75, 0.75, 25)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    size = np.abs(points).max(axis=1)
    clear = np.abs(size - 0.5) > 1e-9
    assert set(winding(mesh.vertices, mesh.faces, points)) <= {0, 1}
    assert (inside(mesh, points) == (size < 0.5))[clear].all()
    mesh = ball()  # above, between and below its vertices
    points = np.concatenate([mesh.vertices * (1, 1, s) for s in (-3, -1.1, -0.5, 0, 0.9, 1.1)])
    radius = np.linalg.norm(points, axis=1)
    clear = (radius < 0.97) | (radius > 1.001)
    assert (inside(mesh, points) == (radius < 1))[clear].all()


def test_inside_does_not_depend_on_the_turn_of_the_mesh():
    """Rotated by nothing special, the same points are inside: chunks and cells do not matter."""
    mesh, points = ball(), np.random.default_rng(0).uniform(-1, 1, (500, 3))
    turn = trimesh.transformations.random_rotation_matrix(np.array([0.3, 0.6, 0.9]))
    before = inside(mesh, points)
    assert (inside(mesh.apply_transform(turn), points @ turn[:3, :3].T) == before).all()
    assert 0 < before.sum() < 500


def test_winding_counts_bodies():
    both = joined(cube(), cube(at=(0.5, 0, 0)), flipped(cube(0.2, at=(-0.3, 0, 0))))
    points = np.array([[0.25, 0, 0], [0.75, 0.1, 0], [-0.3, 0.05, 0], [0, 0, 3], [0, 0, -3]])
    assert winding(both.vertices, both.faces, points).tolist() == [2, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"points": np.zeros(3)}, "points"), ({"points": np.full((1, 3), NAN)}, "points"),
        ({"vertices": np.zeros((8, 2))}, "vertices"), ({"faces": np.zeros((1, 3))}, "faces"),
        ({"faces": np.array([[0, 1, 8]])}, "faces"),
    ],
)  # fmt: skip
def test_winding_of_bad_input(change, named):
    given = {"vertices": cube().vertices, "faces": cube().faces, "points": np.zeros((1, 3))}
    with pytest.raises(ValueError, match=rf"^{named}: "):
        winding(**{**given, **change})


# Boxes and spheres


@patterns
def test_a_box_by_spacing(pattern):
    x, volume = sample_box((0, 0, 1), (1, 0.5, 1.25), spacing=0.05, pattern=pattern)
    assert x.shape == (1000, 3) and x.dtype == volume.dtype == np.float64
    assert volume.sum() == pytest.approx(0.125, rel=1e-12)
    assert (x >= (0, 0, 1)).all() and (x <= (1, 0.5, 1.25)).all()
    np.testing.assert_allclose(x.mean(axis=0), (0.5, 0.25, 1.125), atol=0.01)
    if pattern == "lattice":
        np.testing.assert_allclose(np.unique(x[:, 2]), 1.025 + 0.05 * np.arange(5))


@patterns
@pytest.mark.parametrize("count", [1, 7, 1000, 9999])
def test_count_of_a_box(pattern, count):
    x, volume = sample_box((0, 0, 0), (0.2, 0.1, 0.3), count=count, pattern=pattern)
    close = 0 if pattern == "blue" else 0.15 * count if count < 1000 else 0.02 * count
    assert abs(len(x) - count) <= close
    assert volume.sum() == pytest.approx(0.006, rel=1e-12)


@patterns
def test_a_sphere(pattern):
    x, volume = sample_sphere((1, 2, 3), 0.5, count=5000, pattern=pattern)
    assert len(x) == pytest.approx(5000, rel=0 if pattern == "blue" else 0.03)
    assert volume.sum() == pytest.approx(math.pi / 6, rel=1e-12)
    x = x - (1, 2, 3)
    assert np.linalg.norm(x, axis=1).max() <= 0.5 + 1e-12
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=0.01)
    second = 0.5**2 / 5  # of a homogeneous ball
    np.testing.assert_allclose(np.cov(x.T), second * np.eye(3), atol=0.03 * second)


def test_blue_noise_is_evenly_apart_and_not_a_grid():
    x, volume = sample_box((0, 0, 0), (1, 1, 1), count=4000, pattern="blue", seed=1)
    h = 4000 ** (-1 / 3)
    # white noise: 0.03 and 0.55; a lattice: 1 and 1
    assert nearest(x).min() > 0.5 * h
    assert 0.75 * h < np.median(nearest(x)) < 0.95 * h
    assert len(np.unique(x[:, 0].round(9))) > 3900
    deep = ((x > h) & (x < 1 - h)).all(axis=1).mean()
    assert deep == pytest.approx((1 - 2 * h) ** 3, abs=0.03)  # no crowd at the skin
    held = np.histogramdd(x, bins=4)[0]  # white noise: 62.5 +- 7.8
    assert held.std() < 4.5


def test_jitter_hides_the_grid_and_keeps_apart():
    x, _ = sample_box((0, 0, 0), (1, 1, 1), spacing=0.1)
    assert len(np.unique(x[:, 0])) == 1000
    assert nearest(x).min() > 0.05
    lattice, _ = sample_box((0, 0, 0), (1, 1, 1), spacing=0.1, pattern="lattice")
    assert 0.02 < np.abs(x - lattice).max() <= 0.025


@patterns
def test_a_seed_is_repeated(pattern):
    def draw(seed):
        return sample_sphere((0, 0, 0), 1.0, count=300, pattern=pattern, seed=seed)[0]

    assert np.array_equal(draw(0), draw(0))
    assert (pattern == "lattice") == np.array_equal(draw(0), draw(1))


# Meshes


@patterns
def test_a_mesh_is_filled(pattern):
    mesh = ball(0.5)
    before = mesh.vertices.copy()
    x, volume = sample_mesh(mesh, count=3000, pattern=pattern)
    assert len(x) == pytest.approx(3000, rel=0 if pattern == "blue" else 0.05)
    assert volume.sum() == pytest.approx(mesh.volume, rel=1e-9)
    assert np.linalg.norm(x, axis=1).max() <= 0.5
    assert np.array_equal(mesh.vertices, before)


@pytest.mark.parametrize("suffix", ["stl", "obj", "ply", "glb"])
def test_a_mesh_from_a_file(tmp_path, suffix):
    path = tmp_path / f"body.{suffix}"
    cube(at=(3, 0, 0)).export(path)
    x, volume = sample_mesh(str(path), spacing=0.1)
    assert len(x) == 1000
    assert volume.sum() == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(x.mean(axis=0), (3, 0, 0), atol=0.01)


def test_a_cube_has_a_full_lattice():
    x, volume = sample_mesh(cube(), spacing=0.1, pattern="lattice")
    box, _ = sample_box((-0.5,) * 3, (0.5,) * 3, spacing=0.1, pattern="lattice")
    np.testing.assert_allclose(x, box, atol=1e-12)
    np.testing.assert_allclose(volume, 0.001, rtol=1e-9)


def test_faces_are_turned_outwards():
    inverted = sample_mesh(flipped(cube()), spacing=0.1)
    mixed = cube().subdivide()
    mixed.faces[::3] = mixed.faces[::3, ::-1]
    for x, volume in (inverted, sample_mesh(mixed, spacing=0.1)):
        assert len(x) == 1000
        assert volume.sum() == pytest.approx(1, rel=1e-9)


def test_several_parts():
    apart = sample_mesh(joined(cube(), flipped(cube(at=(2, 0, 0)))), spacing=0.1)
    assert apart[1].sum() == pytest.approx(2, rel=1e-9) and len(apart[0]) == 2000
    overlapping, volume = sample_mesh(joined(cube(), cube(at=(0.5, 0, 0))), spacing=0.1)
    assert volume.sum() == pytest.approx(1.5, rel=1e-9) and len(overlapping) == 1500
    for hollow in (joined(cube(), flipped(cube(0.4))), joined(flipped(cube()), cube(0.4))):
        x, volume = sample_mesh(hollow, spacing=0.1)
        assert volume.sum() == pytest.approx(1 - 0.064, rel=1e-9)
        assert np.abs(x).max(axis=1).min() > 0.2


def test_double_faces_and_cut_seams():
    mesh = cube()
    double = trimesh.Trimesh(
        mesh.vertices, np.concatenate([mesh.faces, mesh.faces[:, ::-1]]), process=False
    )
    cut = trimesh.Trimesh(mesh.vertices[mesh.faces].reshape(-1, 3), np.arange(36).reshape(-1, 3),
                          process=False)  # fmt: skip
    for given in (double, cut, trimesh.Scene(mesh)):
        assert sample_mesh(given, spacing=0.2)[1].sum() == pytest.approx(1, rel=1e-9)


def test_double_faces_do_not_hide_a_hole():
    mesh = opened(cube())
    both = np.concatenate([mesh.faces, mesh.faces[:, ::-1], mesh.faces])
    with pytest.raises(ValueError, match="^mesh: it has 3 open edges"):
        sample_mesh(trimesh.Trimesh(mesh.vertices, both, process=False), spacing=0.1)


def test_bodies_that_share_an_edge():
    both = joined(cube(), cube(at=(1, 1, 0)))
    assert sample_mesh(both, spacing=0.1)[1].sum() == pytest.approx(2, rel=1e-9)


def mirrored(mesh, at):
    """The mirror image in x, down to the triangles, moved along x."""
    image = mesh.copy()
    image.apply_transform(np.diag([-1.0, 1, 1, 1]))
    image.apply_translation((at, 0, 0))
    return image


def test_bodies_that_share_a_face():
    """The face is there once from each side: a pair that cancels."""
    both = joined(cube(), mirrored(cube(), 1))
    x, volume = sample_mesh(both, spacing=0.1)
    assert volume.sum() == pytest.approx(2, rel=1e-9) and len(x) == 2000
    beside = joined(both, cube(at=(0, 3, 0)), flipped(cube(at=(0, 3, 0))))  # a two-sided surface
    assert sample_mesh(beside, spacing=0.1)[1].sum() == pytest.approx(3, rel=1e-9)


def test_a_folded_face_is_no_surface():
    mesh = cube()
    a, b = mesh.faces[0][:2]
    vertices = np.concatenate([mesh.vertices, [[3.0, 0, 0]]])
    flap = np.array([[a, b, 8], [b, a, 8]])
    folded = trimesh.Trimesh(vertices, np.concatenate([mesh.faces, flap]), process=False)
    assert sample_mesh(folded, spacing=0.1)[1].sum() == pytest.approx(1, rel=1e-9)


def test_a_mesh_in_another_unit():
    """By scale; what is far too large says how large the mesh is."""
    large = cube()
    large.apply_scale(1000)
    x, volume = sample_mesh(large, spacing=0.1, scale=0.001)
    expected, shares = sample_mesh(cube(), spacing=0.1)
    np.testing.assert_allclose(x, expected, atol=1e-12)
    np.testing.assert_allclose(volume, shares, rtol=1e-9)
    for options in ({}, {"thickness": 0.1}):
        with pytest.raises(ValueError, match=r"^spacing: .*measures 1e\+03 x 1e\+03 x .*scale="):
            sample_mesh(large, spacing=0.1, **options)
    with pytest.raises(ValueError, match=r"^spacing: .*measures 1 x 1 x 1 m"):
        sample_mesh(cube(), spacing=2.0)


def test_an_open_mesh_says_how_it_is_cured():
    with pytest.raises(ValueError, match=r"^mesh: it has 3 open edges and cannot .*repair.*thick"):
        sample_mesh(opened(cube()), spacing=0.1)


@pytest.mark.parametrize("thickness", [0.005, 0.3])
def test_a_sheet(thickness):
    """Of one layer where it is thinner than the spacing, else of several."""
    plate = trimesh.Trimesh([[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    x, volume = sample_mesh(plate, spacing=0.1, thickness=thickness)
    assert volume.sum() == pytest.approx(2 * thickness, rel=1e-12)
    assert len(x) == (200 if thickness < 0.1 else 600)
    assert np.abs(x[:, 2]).max() <= thickness / 2
    assert np.ptp(x[:, 2]) > 0.8 * thickness
    np.testing.assert_allclose(x.mean(axis=0), (1, 0.5, 0), atol=0.03)
    assert nearest(x).min() > 0.05
    assert len(sample_mesh(plate, count=123, thickness=thickness)[0]) == 123


def test_a_closed_surface_as_a_sheet():
    x, volume = sample_mesh(ball(), spacing=0.1, thickness=0.02)
    assert np.abs(np.linalg.norm(x, axis=1) - 1).max() < 0.03
    assert volume.sum() == pytest.approx(ball().area * 0.02, rel=1e-9)


# Clouds


@pytest.mark.parametrize("n", [300, 1000, 5000])
def test_a_shell_of_points_is_filled(n):
    x, volume = sample_cloud(shell_points(n))
    assert volume.sum() == pytest.approx(4 / 3 * math.pi, rel=0.15 if n == 300 else 0.03)
    radius = np.linalg.norm(x, axis=1)
    assert radius.max() < 1.15
    assert (radius < 0.5).mean() == pytest.approx(1 / 8, abs=0.02)


def test_spacing_and_count_of_a_cloud():
    x, volume = sample_cloud(shell_points(3000), count=2000, pattern="blue")
    assert len(x) == 2000
    x, volume = sample_cloud(shell_points(3000), spacing=0.1, pattern="lattice")
    np.testing.assert_allclose(volume, 0.001, rtol=0.03)


def test_faint_points_are_left_out():
    points = np.concatenate([shell_points(2000), [[9, 9, 9]]])
    weights = np.append(np.full(2000, 0.9), 0.05)
    x, _ = sample_cloud(points, weights=weights, count=500)
    assert x.max() < 1.2
    x, _ = sample_cloud(points, weights=weights, threshold=0.01, fill=False)
    assert len(x) == 2001


def test_points_kept_as_they_are():
    points = np.array([[0.1, 0.1, 0.1], [0.2, 0.3, 0.1], [0.9, 0.1, 0.1], [5.1, 0.1, 0.1]])
    x, volume = sample_cloud(points, fill=False, voxel=0.5)
    assert np.array_equal(x, points)
    np.testing.assert_allclose(volume, [0.0625, 0.0625, 0.125, 0.125])


# Bad input


BOX = {"lower": (0, 0, 0), "upper": (1, 1, 1), "spacing": 0.1}
SPHERE = {"center": (0, 0, 0), "radius": 1.0, "spacing": 0.1}
MESH = {"mesh": cube(), "spacing": 0.1}
CLOUD = {"points": shell_points(100), "spacing": 0.1}
BLUE = {"pattern": "blue"}


@pytest.mark.parametrize(
    ("function", "good"),
    [(sample_box, BOX), (sample_sphere, SPHERE), (sample_mesh, MESH), (sample_cloud, CLOUD),
     (sample_mesh, MESH | {"thickness": 0.1})],
)  # fmt: skip
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"spacing": 0}, "spacing"), ({"spacing": -1.0}, "spacing"), ({"spacing": NAN}, "spacing"),
        ({"spacing": "a"}, "spacing"), ({"spacing": 100.0}, "spacing"), ({"spacing": INF}, "spac"),
        ({"spacing": 1e-4}, "spacing"), ({"spacing": 0.002, "pattern": "blue"}, "spacing"),
        ({"count": 10}, "spacing, count"), ({"spacing": None, "count": 0}, "count"),
        ({"spacing": None, "count": -5}, "count"), ({"spacing": None, "count": 1.5}, "count"),
        ({"spacing": None, "count": True}, "count"), ({"spacing": None, "count": 10**9}, "count"),
        ({"spacing": None, "count": 10**7, **BLUE}, "count"), ({"pattern": "hexagons"}, "pattern"),
        ({"seed": -1}, "seed"), ({"seed": 0.5}, "seed"),
    ],
)  # fmt: skip
def test_bad_options(function, good, change, named):
    with pytest.raises(ValueError, match=rf"^{named}"):
        function(**{**good, **change})


@pytest.mark.parametrize("function, good", [(sample_box, BOX), (sample_mesh, MESH)])
def test_neither_spacing_nor_count(function, good):
    with pytest.raises(ValueError, match="^spacing, count: got neither"):
        function(**{**good, "spacing": None})


def bad_mesh(vertices=None, faces=None):
    mesh = cube()
    vertices = mesh.vertices if vertices is None else vertices
    faces = mesh.faces if faces is None else faces
    return trimesh.Trimesh(vertices, faces, process=False)


@pytest.mark.parametrize(
    ("function", "change", "named"),
    [
        (sample_box, {"lower": (0, 0)}, "lower"), (sample_box, {"upper": (1, 1, NAN)}, "upper"),
        (sample_box, {"upper": (1, 1, 0)}, "upper"), (sample_box, {"upper": (1, 1, -1)}, "upper"),
        (sample_sphere, {"center": "abc"}, "center"), (sample_sphere, {"radius": 0}, "radius"),
        (sample_sphere, {"radius": NAN}, "radius"), (sample_sphere, {"radius": (1, 2)}, "radius"),
        (sample_mesh, {"mesh": None}, "mesh"), (sample_mesh, {"mesh": "missing.stl"}, "mesh"),
        (sample_mesh, {"mesh": bad_mesh(faces=np.zeros((0, 3), int))}, "mesh"),
        (sample_mesh, {"mesh": bad_mesh(faces=[[0, 0, 1]])}, "mesh"),
        (sample_mesh, {"mesh": bad_mesh(vertices=np.full((8, 3), NAN))}, "mesh"),
        (sample_mesh, {"mesh": bad_mesh(vertices=np.ones((8, 3)))}, "mesh"),
        (sample_mesh, {"mesh": bad_mesh(vertices=cube().vertices * (1, 1, 0))}, "mesh"),
        (sample_mesh, {"thickness": 0}, "thickness"), (sample_mesh, {"thickness": NAN}, "thick"),
        (sample_mesh, {"thickness": 50.0}, "thickness"),
        (sample_mesh, {"thickness": 0.1, "pattern": "lattice"}, "pattern"),
        (sample_cloud, {"points": np.zeros((0, 3))}, "points"),
        (sample_cloud, {"points": np.zeros((5, 2))}, "points"),
        (sample_cloud, {"points": "cloud"}, "points"),
        (sample_cloud, {"points": np.full((5, 3), INF)}, "points"),
        (sample_cloud, {"points": np.ones((5, 3))}, "points"),
        (sample_cloud, {"points": np.ones((1, 3)), "spacing": None}, "points"),
        (sample_cloud, {"weights": np.ones(3)}, "weights"),
        (sample_cloud, {"weights": np.full(100, NAN)}, "weights"),
        (sample_cloud, {"weights": np.zeros(100)}, "points"),
        (sample_cloud, {"weights": np.ones(100), "threshold": "a"}, "threshold"),
        (sample_cloud, {"voxel": -1}, "voxel"), (sample_cloud, {"voxel": 1e-6}, "points"),
        (sample_cloud, {"fill": False}, "spacing"),
    ],
)  # fmt: skip
def test_bad_bodies(function, change, named):
    goods = {sample_box: BOX, sample_sphere: SPHERE, sample_mesh: MESH, sample_cloud: CLOUD}
    with pytest.raises(ValueError, match=rf"^{named}"):
        function(**{**goods[function], **change})


def test_a_file_that_is_no_mesh(tmp_path):
    path = tmp_path / "a.stl"
    path.write_text("nothing")
    with pytest.raises(ValueError, match="^mesh: "):
        sample_mesh(path, spacing=0.1)


def test_a_surface_with_one_side_cannot_be_filled():
    """A Klein bottle: closed, but its faces cannot agree."""
    n = 12
    u, v = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")

    def index(i, j):  # across the seam of u, v runs backwards
        return np.where(i < n, i * n + j % n, (-j) % n)

    a, b, c, d = index(u, v), index(u + 1, v), index(u + 1, v + 1), index(u, v + 1)
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)
    vertices = np.random.default_rng(0).normal(size=(n * n, 3))
    with pytest.raises(ValueError, match="^mesh: its faces cannot be turned"):
        sample_mesh(trimesh.Trimesh(vertices, faces, process=False), spacing=0.1)
