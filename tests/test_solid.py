"""Solids: closed meshes, what cameras see of them, particles in them and Gaussians on them."""

import numpy as np
import pytest
import trimesh

from inverse.perception import closed_mesh, mesh_in_view, mesh_volume, refine_on_image, solid_model
from inverse.perception.mesh import mesh_area
from renderers.orbit import look_at


RADIUS, CENTER = 0.3, np.array([0.1, 0.2, -0.1])


def ball():
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=RADIUS)
    mesh.apply_translation(CENTER)
    return mesh


def camera_from(direction, size=96):
    eye = CENTER + 2.0 * np.asarray(direction, dtype=float)
    return look_at(tuple(eye), tuple(CENTER), fov=25, width=size, height=size)


def test_a_mesh_is_seen_where_and_as_deep_as_it_is():
    camera = camera_from((0, -1, 0))
    mesh = closed_mesh(ball())
    depth, face = mesh_in_view(mesh, camera)
    # A ray through a pixel meets the ball at the smaller root of |o + s d - c| = r.
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    ray = camera.unproject(np.stack([columns, rows], -1), 1.0) - camera.position
    away = camera.position - CENTER
    b, c, a = (ray @ away), away @ away - RADIUS**2, (ray**2).sum(-1)
    root = b**2 - a * c
    hit = root > 0
    exact = np.where(hit, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    # Facets lie within the ball, so that a rim pixel may miss them.
    assert (np.isfinite(depth) & ~hit).sum() == 0
    assert (np.isfinite(depth) ^ hit).sum() < 0.02 * hit.sum()
    inner = root > 0.05
    assert np.abs(depth[inner] - exact[inner]).max() < 2e-3
    centers = mesh.vertices[mesh.faces].mean(axis=1)[face[inner]]
    at = camera.unproject(np.stack([columns, rows], -1)[inner], depth[inner])
    assert np.linalg.norm(centers - at, axis=1).max() < 0.03


def test_what_lies_behind_a_camera_is_not_seen():
    mesh = closed_mesh(ball())
    away = look_at((0.1, -1.8, -0.1), (0.1, -4.0, -0.1), fov=25, width=40, height=40)
    assert not np.isfinite(mesh_in_view(mesh, away)[0]).any()


def test_holes_are_closed_and_open_surfaces_refused():
    mesh = ball()
    whole = closed_mesh(mesh)
    assert mesh_volume(whole) == pytest.approx(mesh.volume, rel=1e-9)
    centers = mesh.triangles_center
    few = (centers[:, 2] > CENTER[2] + 0.9 * RADIUS) | (centers[:, 0] > CENTER[0] + 0.95 * RADIUS)
    holes = closed_mesh(trimesh.Trimesh(mesh.vertices, mesh.faces[~few], process=False))
    assert 0.97 * mesh.volume < mesh_volume(holes) < mesh.volume
    inverted = closed_mesh(trimesh.Trimesh(mesh.vertices, mesh.faces[:, ::-1], process=False))
    assert mesh_volume(inverted) == pytest.approx(mesh.volume, rel=1e-9)
    half = trimesh.Trimesh(mesh.vertices, mesh.faces[centers[:, 2] > CENTER[2]], process=False)
    with pytest.raises(ValueError, match="it is open, and closing its 1 holes"):
        closed_mesh(half)
    with pytest.raises(ValueError, match="does not exist"):
        closed_mesh("nowhere.ply")


def test_particles_fill_a_solid_and_know_which_of_it_is_seen():
    camera = camera_from((0, -1, 0))
    image = np.full((96, 96, 3), 128, np.uint8)
    image[:, 48:] = (200, 30, 60)
    surface = closed_mesh(ball())
    model = solid_model(surface, [image], [camera], spacing=0.06)
    assert model.volume.sum() == pytest.approx(surface_volume := mesh_volume(surface), rel=1e-6)
    assert len(model.x) == pytest.approx(surface_volume / 0.06**3, rel=0.05)
    reach = np.linalg.norm(model.x - CENTER, axis=1)
    assert reach.max() < RADIUS and (reach < 0.4 * RADIUS).sum() > 0.03 * len(model.x)
    front = model.x[:, 1] - CENTER[1]
    assert model.seen.min() > 0 and model.seen.max() <= 1
    assert model.seen[front < -0.6 * RADIUS].min() > 0.95
    assert model.seen[front > 0.6 * RADIUS].max() < 0.7
    both = solid_model(surface, [image] * 2, [camera, camera_from((0, 1, 0))], spacing=0.06)
    assert both.seen[front > 0.6 * RADIUS].min() > 0.95
    on = np.linalg.norm(model.gaussians.means.numpy() - CENTER, axis=1)
    assert np.abs(on - RADIUS).max() < 2e-3
    gap = np.sqrt(mesh_area(surface) / len(model.gaussians))
    assert gap == pytest.approx(2 * 2 * np.tan(np.radians(12.5)) / 96, rel=0.15)
    right = model.gaussians.means.numpy()[:, 0] > CENTER[0] + 0.05
    seen = model.gaussians.means.numpy()[:, 1] < CENTER[1] - 0.1
    colors = model.gaussians.colors().numpy()
    assert np.allclose(colors[right & seen], np.array([200, 30, 60]) / 255, atol=1e-3)
    assert np.allclose(colors[~right & seen & (on > 0)].max(0)[1:], 128 / 255, atol=1e-3)


def test_what_cannot_be_a_solid_is_refused():
    image, camera, surface = np.zeros((96, 96, 3), np.uint8), camera_from((1, 0, 0)), ball()
    with pytest.raises(ValueError, match="expected at least 64"):
        solid_model(closed_mesh(surface), [image], [camera], spacing=0.2)
    with pytest.raises(ValueError, match="images"):
        solid_model(closed_mesh(surface), [image[:4]], [camera], spacing=0.06)
    away = look_at((0, -9, 0), (0, -20, 0), fov=25, width=96, height=96)
    with pytest.raises(ValueError, match="no view sees it"):
        solid_model(closed_mesh(surface), [image], [away], spacing=0.06)


def test_hidden_gaussians_keep_their_looks():
    camera = camera_from((0, -1, 0), size=40)
    surface = closed_mesh(ball())
    depth = mesh_in_view(surface, camera)[0]
    image = np.full((40, 40, 3), 90, np.uint8)
    gaussians = solid_model(surface, [image], [camera], spacing=0.08).gaussians
    image[np.isfinite(depth)] = (200, 30, 60)
    mask = np.isfinite(depth)
    fitted = refine_on_image(
        gaussians, image, mask, camera, iterations=3, depth=np.where(mask, depth, np.nan)
    )
    back = gaussians.means[:, 1] > CENTER[1] + 0.1
    front = gaussians.means[:, 1] < CENTER[1] - 0.2
    assert (fitted.sh[back] == gaussians.sh[back]).all()
    assert (fitted.sh[front] != gaussians.sh[front]).any(dim=2).all()
