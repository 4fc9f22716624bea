"""Solids in space from tracks: nodes in the volume carry what no camera sees."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import taichi_phys as tp
from inverse.lifting import LiftConfig, VolumeNodes, lift, solid_targets
from inverse.lifting.solid import SolidShape
from inverse.tracking import Tracks
from renderers.orbit import look_at


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


@pytest.mark.parametrize("angles, error", [((0.0,), 2.5e-3), ((0.0, 0.9), 1.2e-3)])
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
    nodes = SolidShape(volume, front, strain=0.02).fit(path)
    assert np.allclose(nodes[1], volume.rest @ turn.T + 1.0, atol=1e-6)


def test_too_few_particles_are_refused():
    with pytest.raises(ValueError, match="at least 8 particles"):
        VolumeNodes(np.zeros((4, 3)), LiftConfig().nodes)


def test_a_part_that_stands_alone_is_carried_too():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.random((200, 3)), rng.random((5, 3)) * 0.1 + 4.0])
    volume = VolumeNodes(x, 12)
    assert np.isfinite(volume.weights).all() and np.abs(volume.weights).max() < 50
