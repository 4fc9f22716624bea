"""Solids in space from tracks: nodes in the volume carry what no camera sees."""

import dataclasses

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import taichi_phys as tp
from inverse.lifting import (
    Keypoints,
    LiftConfig,
    VolumeNodes,
    lift,
    refine_tracks,
    solid_targets,
)
from inverse.lifting.solid import SolidShape
from inverse.lifting.warp import CarriedSurface
from inverse.perception.mesh import mesh_in_view
from inverse.tracking import Tracks
from renderers.orbit import look_at
from taichi_phys.geometry.repair import Triangles


FPS, FRAMES = 24, 16
SIZE = np.array([0.4, 0.2, 0.3])


@pytest.fixture(scope="module")
def block():
    """Particles that fill a block, and those of them on the side that a camera sees."""
    x, _ = tp.sample_box(-SIZE / 2, SIZE / 2, spacing=0.028, pattern="blue")
    rows, columns = np.meshgrid(np.linspace(-0.14, 0.14, 6), np.linspace(-0.19, 0.19, 8))
    front = np.stack([columns.ravel(), np.full(rows.size, -0.1), rows.ravel()], axis=1)
    return x, front


def moved(points, amount=1.0):
    """A slight bend and a turn, that grow with time, and a flight: (T, n, 3) m."""
    paths = []
    for t in np.arange(FRAMES) / FPS:
        x = points.copy()
        bend = 0.4 * t * (1 - 0.3 * t)
        x[:, 2] = x[:, 2] + bend * x[:, 0] ** 2
        turn = Rotation.from_rotvec([0, 0.3 * t, 1.5 * amount * t]).as_matrix()
        paths.append(x @ turn.T + np.array([0.4, 0.1, 0.6]) * t + np.array([0, 0, -0.8]) * t**2)
    return np.stack(paths)


def views_of(points, angles, sigma, seed=0):
    rng = np.random.default_rng(seed)
    views = []
    for angle in angles:
        eye = (2.5 * np.sin(angle), -2.5 * np.cos(angle), 0.2)
        camera = look_at(eye, (0.0, 0.0, 0.0), fov=25, width=320, height=320)
        xy = np.stack([camera.project(x)[0] for x in points])
        seen = np.ones(xy.shape[:2], dtype=bool)
        views.append((Tracks(xy=xy + rng.normal(0, sigma, xy.shape), visible=seen), camera))
    return views


def test_nodes_carry_affine_motions_exactly_and_bends_closely(block):
    x, front = block
    volume = VolumeNodes(x, 24)
    assert np.allclose(volume.weights @ volume.rest, x, atol=1e-5)
    assert np.allclose(volume.weights.sum(axis=1), 1, atol=1e-9)
    assert np.allclose(volume.weights_at(front) @ volume.rest, front, atol=1e-5)
    affine = np.array([[1.1, 0.2, 0], [0, 0.9, 0.1], [0.3, 0, 1.0]])
    places = volume.carry((volume.rest @ affine.T)[None])[0]
    assert np.allclose(places, x @ affine.T, atol=1e-5)
    assert np.allclose(volume.gradients((volume.rest @ affine.T)[None]), affine, atol=1e-6)
    truth = moved(x)
    nodes = np.linalg.lstsq(volume.weights, truth[-1], rcond=None)[0]
    assert np.abs(volume.carry(nodes[None])[0] - truth[-1]).max() < 2e-3


def test_rotations_cost_nothing_and_the_slope_is_that_of_the_energy(block):
    volume = VolumeNodes(block[0], 24)
    turn = Rotation.from_rotvec([0.3, -2.0, 1.0]).as_matrix()
    assert volume.energy(volume.rest @ turn.T + 3.0)[0] < 1e-12
    rng = np.random.default_rng(0)
    C = volume.rest @ turn.T + rng.normal(0, 0.01, volume.rest.shape)
    direction = rng.normal(size=C.shape)
    high, low = (volume.energy(C + s * 1e-5 * direction)[0] for s in (1, -1))
    slope = 2 * (volume.energy(C)[1] * direction).sum()
    assert (high - low) / 2e-5 == pytest.approx(slope, rel=1e-5)


def test_the_terms_of_a_shape_are_the_slope_of_its_cost(block):
    x, front = block
    volume = VolumeNodes(x, 24)
    shape = SolidShape(volume, front, strain=0.02, poisson=0.3)
    turn = Rotation.from_rotvec([0.3, -2.0, 1.0]).as_matrix()
    assert shape.cost(volume.rest @ turn.T + 3.0) < 1e-12 * shape.weight
    rng = np.random.default_rng(0)
    C = volume.rest @ turn.T + rng.normal(0, 0.01, volume.rest.shape)
    direction = rng.normal(size=C.shape)
    high, low = (shape.cost(C + s * 1e-5 * direction) for s in (1, -1))
    swelling, slope, _, pull = shape.terms(C)
    found = np.einsum("s,sam,ma->", swelling, slope, direction) + pull @ direction.ravel()
    assert swelling.any() and (high - low) / 2e-5 == pytest.approx(2 * found, rel=1e-4)
    stretched = volume.rest * [1.1, 1.0, 1.0]
    assert volume.swelling(stretched)[0] == pytest.approx(0.1, rel=1e-5)


def test_a_side_that_no_view_sees_comes_closer_as_the_body_is_pulled_along(block):
    """What the front shows of it could be that all of the body moves away."""
    x, front = block
    pull = 0.08 * np.linspace(0, 1, FRAMES)
    stretch = 1 + np.stack([pull, -0.3 * pull, -0.3 * pull], axis=1)
    views = views_of(stretch[:, None] * front, (0.0, 0.9), 0.2)
    volume, off = VolumeNodes(x, 24), []
    for poisson in (0.3, 0.0):
        lifted = lift(views, front, FPS, volume=volume, config=LiftConfig(poisson=poisson))
        targets, _ = solid_targets(volume, x, front, lifted)
        error = (targets - stretch[:, None] * x)[-1, :, 1]
        off.append(np.abs(error[x[:, 1] > 0.06]).mean())
    assert off[0] < 0.7 * off[1] and off[1] > 3e-3


@pytest.mark.parametrize("poisson", [-0.1, 0.46])
def test_poissons_ratio_of_a_lift_is_one_that_few_nodes_allow(poisson):
    with pytest.raises(ValueError, match="lift poisson"):
        LiftConfig(poisson=poisson)


@pytest.mark.parametrize("angles, error", [((0.0,), 3.5e-3), ((0.0, 0.9), 1.2e-3)])
def test_hidden_particles_move_with_the_body(block, angles, error):
    x, front = block
    truth = moved(x)
    volume = VolumeNodes(x, 24)
    lifted = lift(views_of(moved(front), angles, 0.1), front, FPS, volume=volume)
    targets, confidence = solid_targets(volume, x, front, lifted)
    off = np.linalg.norm(targets - truth, axis=2)
    assert lifted.converged
    assert off.mean() < error
    assert off[:, x[:, 1] > 0.06].mean() < 1.6 * error  # the far side, which no view sees
    assert np.linalg.det(volume.gradients(lifted.nodes)).min() > 0.5
    assert confidence.shape == truth.shape[:2] and confidence.min() > 0.1


def test_a_solid_that_spins_fast_is_found(block):
    """18 degrees a frame: a fit that follows small steps would be lost."""
    x, front = block
    truth = moved(x, amount=5.0)
    volume = VolumeNodes(x, 24)
    lifted = lift(views_of(moved(front, amount=5.0), (0.0,), 0.1), front, FPS, volume=volume)
    off = np.linalg.norm(volume.carry(lifted.nodes) - truth, axis=2)
    assert off.mean() < 0.015


def test_a_first_guess_of_keypoints_leaves_no_node_behind(block):
    x, front = block
    volume = VolumeNodes(x, 24)
    turn = Rotation.from_rotvec([0.1, 0.5, 1.0]).as_matrix()
    path = np.stack([front, front @ turn.T + 1.0])
    nodes = SolidShape(volume, front, strain=0.02, poisson=0.3).fit(path)
    assert np.allclose(nodes[1], volume.rest @ turn.T + 1.0, atol=1e-6)


def test_views_may_compare_what_they_see_with_their_own_first_frame():
    """A second camera sees the plane darker and from elsewhere; nothing moves."""
    camera = look_at((0.0, -2.0, 0.0), (0.0, 0.0, 0.0), fov=25, width=96, height=96)
    other = look_at((0.7, -1.9, 0.0), (0.0, 0.0, 0.0), fov=25, width=96, height=96)
    noise = np.random.default_rng(0).random((96, 96)).astype(np.float32)
    first = cv2.GaussianBlur(noise, (0, 0), 1.5)
    first = ((first - first.min()) / np.ptp(first) * 255).astype(np.uint8)
    places = np.stack(np.meshgrid(np.arange(96) + 0.5, np.arange(96) + 0.5), axis=-1)
    ray = other.unproject(places, 1.0) - other.position
    at = other.position + ray * (-other.position[1] / ray[..., 1])[..., None]  # in the plane y = 0
    maps = (camera.project(at)[0] - 0.5).astype(np.float32)
    shade = np.linspace(0.3, 1.0, 96)[:, None] * (0.6 + 0.4 * np.sin(places[..., 0] / 5))
    second = (cv2.remap(first, maps, None, cv2.INTER_CUBIC) * shade).astype(np.uint8)
    videos = [
        np.repeat(np.repeat(p[None, ..., None], 3, axis=3), 3, axis=0) for p in (first, second)
    ]
    x, z = np.meshgrid(np.linspace(-0.2, 0.2, 5), np.linspace(-0.2, 0.2, 5))
    front = np.stack([x.ravel(), 0 * x.ravel(), z.ravel()], axis=1)
    cameras = [camera, other]
    points = Keypoints(
        points=front, queries=[c.project(front)[0] for c in cameras],
        usable=[np.ones(25, bool)] * 2, masks=[None, None],
    )  # fmt: skip
    seen = np.ones((3, 25), dtype=bool)
    static = [np.repeat(c.project(front)[0][None], 3, axis=0) for c in cameras]
    tracks = [Tracks(xy=xy, visible=seen) for xy in static]
    still = lift(list(zip(tracks, cameras, strict=True)), front, FPS)
    still = dataclasses.replace(still, points=np.repeat(front[None], 3, axis=0))
    off = []
    for own in (True, False):
        refined = refine_tracks(videos, cameras, points, still, own_frames=own)
        error = np.linalg.norm(refined[1].xy - static[1], axis=2)
        off.append(np.where(refined[1].visible, error, 3.0))
        assert np.abs(refined[0].xy - static[0]).max() < 1e-3
    assert np.median(off[0]) < 0.05 and np.median(off[1]) > 2 * np.median(off[0])


def test_too_few_particles_are_refused():
    with pytest.raises(ValueError, match="at least 8 particles"):
        VolumeNodes(np.zeros((4, 3)), LiftConfig().nodes)


def test_a_part_that_stands_alone_is_carried_too():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.random((200, 3)), rng.random((5, 3)) * 0.1 + 4.0])
    volume = VolumeNodes(x, 12)
    assert np.isfinite(volume.weights).all() and np.abs(volume.weights).max() < 50


def turning_block(x):
    """A block with a pattern, seen edge on, that turns by 0.5 rad: its surface, camera, keypoints
    beside the edge, their true motion, two pictures, the turn, and the surface as it is carried."""
    corners = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1], indexing="ij"), -1) * SIZE / 2
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = np.array([[q[i] for i in tri] for q in quads for tri in ([0, 1, 2], [0, 2, 3])])
    surface = Triangles(corners.reshape(-1, 3), faces)
    camera = look_at((1.2, -1.2, 0.3), (0.1, -0.05, 0.0), fov=22, width=160, height=160)
    turn = Rotation.from_rotvec([0, 0, 0.5]).as_matrix()
    pixels = np.stack(np.meshgrid(np.arange(160) + 0.5, np.arange(160) + 0.5), axis=-1)
    video = []
    for R in (np.eye(3), turn):
        depth, owner = mesh_in_view(Triangles(surface.vertices @ R.T, faces), camera)
        at = camera.unproject(pixels, np.where(owner < 0, 1.0, depth)) @ R
        waves = np.sin(at @ [[150, 40, 90], [-60, 130, 110], [90, 70, -140]]).sum(axis=-1)
        video.append(np.where(owner < 0, 0, 130 + 35 * waves).astype(np.uint8))
    video = np.repeat(np.stack(video)[..., None], 3, axis=3)
    z = np.linspace(-0.09, 0.09, 7)[:, None]
    sides = [[0.2, -0.06], [0.2, -0.08], [0.17, -0.1], [0.14, -0.1]]
    front = np.concatenate([np.hstack([np.tile(side, (7, 1)), z]) for side in sides])
    volume = VolumeNodes(x, 24)
    points, nodes = (np.stack([p, p @ turn.T]) for p in (front, volume.rest))
    still = np.repeat(camera.project(front)[0][None], 2, axis=0)
    seen = np.ones(still.shape[:2], dtype=bool)
    first = lift([(Tracks(xy=still, visible=seen), camera)], front, FPS, volume=volume)
    lifted = dataclasses.replace(first, points=points, nodes=nodes)
    return surface, camera, front, lifted, video, turn, CarriedSurface(surface, volume)


def test_pixels_of_a_patch_over_an_edge_follow_the_sides_that_they_lie_on(block):
    """A patch bent as little as can be is wrong there, and so are the tracks that it gives."""
    surface, camera, front, lifted, video, turn, skin = turning_block(block[0])
    start, truth = (camera.project(points)[0] for points in lifted.points)
    places = start[:, None] + np.array([[-4.0, 2.0], [0.0, 0.0], [5.0, -3.0]])
    warp = skin.warp(places, camera, lifted, 0)
    now, later = (warp.positions(lifted, frame) for frame in (0, 1))
    assert np.abs(camera.project(now.reshape(-1, 3))[0].reshape(places.shape) - places).max() < 1e-3
    assert np.abs(now @ turn.T - later).max() < 1e-5
    # On the surface; within a pixel of the edge in the plane of either side.
    assert np.abs(np.abs(now / (SIZE / 2)).max(axis=-1) - 1).max() < 0.05
    inside = mesh_in_view(surface, camera)[1] >= 0
    keypoints = Keypoints(
        points=front, queries=[start], usable=[np.ones(len(front), dtype=bool)], masks=[inside],
    )  # fmt: skip
    off = []
    for known in (skin, None):
        found = refine_tracks([video], [camera], keypoints, lifted, skin=known)[0]
        error = np.linalg.norm(found.xy[1] - truth, axis=1)
        off.append(np.where(found.visible[1], error, 3.0))
    assert off[0].max() < 0.15
    assert np.median(off[1]) > 3 * np.median(off[0])


def test_points_behind_the_body_are_not_shown(block):
    _, camera, _, lifted, _, _, skin = turning_block(block[0])
    half = SIZE / 2
    middle, fold, back = [0.0, -half[1], 0.0], [half[0], -half[1], 0.0], [0.0, half[1], 0.0]
    shown = skin.shown(np.array([middle, fold, back]), camera, lifted, 0)
    assert shown.tolist() == [True, True, False]
