"""A ball in flight, at rest and bouncing on a floor: what acts on it is its weight, or nothing."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import taichi_phys as tp
from inverse.wind.config import WindConfig
from inverse.wind.impacts import find_impacts
from inverse.wind.smoothing.smoother import solve_clip
from inverse.wind.solver import WindSolver
from inverse.wind.supports import Supports


FPS, FRAMES, DX = 30.0, 15, 0.1
RADIUS, GRAVITY, KEPT = 0.15, 9.81, 0.75  # m; m/s^2; of the speed after a blow
AXIS = np.array([0.3, 0.2, 1.0]) / np.linalg.norm([0.3, 0.2, 1.0])
TIMES = np.arange(FRAMES) / FPS
FLOOR = tp.Plane(point=(0, 0, 0), normal=(0, 0, 1), contact="separate", friction=0.5)


def falling(t):
    """The center of a ball that is thrown up."""
    return np.array([0.9 * t, 0.2 * t, 0.5 + 3.1 * t - GRAVITY / 2 * t**2])


def bouncing(t):
    """The center of a ball that is dropped and bounces off the floor."""
    height, fall = 0.6, np.sqrt(2 * 0.6 / GRAVITY)
    start, speed, up = -fall, KEPT * GRAVITY * fall, height - GRAVITY / 2 * t**2
    while t > fall:
        start, fall = fall, fall + 2 * speed / GRAVITY
        up = speed * (t - start) - GRAVITY / 2 * (t - start) ** 2
        speed *= KEPT
    return np.array([0.6 * t, 0.0, RADIUS + up])


def resting(t):
    """The center of a ball that lies on the floor."""
    return np.array([0.0, 0.0, RADIUS])


def recovered(path, spin):
    """Net force per mass (T, 3) m/s^2 of a ball whose targets are exact, and how it was nudged."""
    x, volume = tp.sample_box([-RADIUS] * 3, [RADIUS] * 3, spacing=DX / 2)
    inside = np.linalg.norm(x, axis=1) < RADIUS
    x, volume = x[inside], volume[inside]
    turn = Rotation.from_rotvec(spin * TIMES[:, None] * AXIS).as_matrix()
    center = np.stack([path(t) for t in TIMES])
    targets = np.einsum("tij,nj->tni", turn, x) + center[:, None]
    impacts = tuple(find_impacts(FLOOR, targets, FPS, DX, GRAVITY))
    supports = Supports(held=np.zeros(len(x), bool), floor=FLOOR, impacts=impacts)
    grid = tp.Grid.around(targets, dx=DX, margin=0.1)
    body = tp.Particles(
        targets[0], volume=volume, density=200.0, material=tp.Elastic(E=1e3, nu=0.3)
    )
    colliders = supports.colliders(targets[0], grid)
    sim = tp.MPM(particles=body, grid=grid, gravity=(0, 0, 0), colliders=colliders)
    torch.manual_seed(0)
    config = WindConfig(force="uniform")
    solver = WindSolver(sim, targets, fps=FPS, config=config, gaps=impacts)
    result = solve_clip(solver, 2)
    net = result.frame_forces().sum(dim=1) / sim.mass.sum()
    return net.double().cpu().numpy(), result.nudged, impacts


@pytest.mark.parametrize(("path", "spin"), [(falling, 5.0), (bouncing, 4.0)])
def test_a_ball_in_flight_and_between_blows_shows_its_weight(path, spin):
    net, nudged, impacts = recovered(path, spin)
    assert nudged is not None  # of all frames at once
    assert bool(impacts) == (path is bouncing)
    size = np.linalg.norm(net, axis=1)
    angle = np.degrees(np.arccos(np.clip(-net[:, 2] / size, -1, 1)))
    assert angle.max() < 5
    assert np.abs(size / GRAVITY - 1).max() < 0.1


def test_nothing_acts_on_a_ball_at_rest():
    net, _, impacts = recovered(resting, 0.0)
    assert not impacts
    assert np.linalg.norm(net, axis=1).max() < 0.05
