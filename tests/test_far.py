"""Scenes far from the origin, which behave as scenes at the origin do."""

import numpy as np
import pytest
import torch
from helpers import same_bits

import taichi_phys as tp
from taichi_phys.mpm.engine import SimulationError


DX, SIDE = 0.05, 1.0
FAR = np.array([5e5, 4.5e6, 0.0])  # m, as maps have them
AWAY = 2.0**-24 * 4  # of the side of the grid: f32 of positions relative to the grid's corner
POSED = dict(velocity=(0, 0, 0.5), angular_velocity=(0, 0, 1.0))


def scene(place, colliders=(), **options):
    """A block of jelly in a box of 1 m whose corner is at a place."""
    axis = (np.arange(8) + 0.5) * DX / 2 + 0.4
    x = np.stack(np.meshgrid(axis, axis, axis + 0.1, indexing="ij"), axis=-1).reshape(-1, 3)
    body = tp.Particles(x + place, volume=(DX / 2) ** 3, material=tp.Elastic(E=2e4, nu=0.3))
    grid = tp.Grid(lower=tuple(place), upper=tuple(place + SIDE), dx=DX)
    return tp.MPM(particles=body, grid=grid, colliders=colliders, precision="f32", **options)


def fall(place, colliders=(), force=None):
    """Positions relative to a place, and velocities, after 6 frames."""
    sim = scene(place, colliders)
    *_, end = sim.run(frames=6, fps=48, force=force)
    return (end.x.double().cpu() - torch.as_tensor(place)).numpy(), end.v.cpu().numpy()


def test_free_fall_far_away():
    x, v = fall(FAR)
    near, near_v = fall(np.zeros(3))
    assert np.abs(x - near).max() < 100 * AWAY * SIDE
    assert np.abs(v - near_v).max() < 1e-4
    drop = 0.4 + 0.1 + DX / 4 - x[:, 2].min()
    assert drop == pytest.approx(0.5 * 9.81 * 0.125**2, rel=0.04)


def obstacles(place):
    """A collider of each kind below the block, given in coordinates of the world."""
    p = np.asarray(place)
    moving = tp.moving(**POSED, center=tuple(p + 0.5))
    tilted = (0.1, 0.2, 1.0)
    sheet = tp.Box(center=(0, 0, 0), half_size=(0.3, 0.3, 0.1))  # near the origin of its own frame

    def put(t):
        return np.eye(3), p + (0.5, 0.5, 0.32 + 0.2 * t)

    return {
        "plane": tp.Plane(point=tuple(p + (0.5, 0.5, 0.46)), normal=tilted),
        "box": tp.Box(center=tuple(p + (0.5, 0.5, 0.3)), half_size=(0.3, 0.3, 0.15), pose=moving),
        "sphere": tp.Sphere(center=tuple(p + (0.5, 0.45, 0.3)), radius=0.18, friction=0.4),
        "capsule": tp.Capsule(
            start=tuple(p + (0.3, 0.4, 0.35)), end=tuple(p + (0.8, 0.6, 0.35)), radius=0.12,
            pose=moving,
        ),
        "posed": tp.Box(
            center=sheet.center, half_size=sheet.half_size, pose=put, contact="sticky"
        ),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["plane", "box", "sphere", "capsule", "posed"])
def test_colliders_far_away(kind):
    x, v = fall(FAR, [obstacles(FAR)[kind]])
    near, near_v = fall(np.zeros(3), [obstacles(np.zeros(3))[kind]])
    free, _ = fall(np.zeros(3))
    assert np.abs(near - free).max() > 0.1 * DX  # the collider is met
    assert np.abs(x - near).max() < 2e-3 * DX
    assert np.abs(v - near_v).max() < 0.02


def test_mesh_far_away(tmp_path):
    trimesh = pytest.importorskip("trimesh")

    def mesh(place):
        ball = trimesh.creation.icosphere(radius=0.2)
        ball.apply_translation(np.asarray(place) + (0.5, 0.5, 0.28))
        return tp.Mesh(mesh=ball, cells=16)

    x, _ = fall(FAR, [mesh(FAR)])
    near, _ = fall(np.zeros(3), [mesh(np.zeros(3))])
    free, _ = fall(np.zeros(3))
    assert np.abs(near - free).max() > 0.1 * DX
    assert np.abs(x - near).max() < 5e-3 * DX


def test_forces_see_coordinates_of_the_world():
    def pull(place):
        def force(x, t):
            return 0.5 * (torch.as_tensor(place + 0.5).to(x) - x)

        return force

    x, _ = fall(FAR, force=pull(FAR))
    near, _ = fall(np.zeros(3), force=pull(np.zeros(3)))
    free, _ = fall(np.zeros(3))
    assert np.abs(near - free).max() > 0.01 * DX
    assert np.abs(x - near).max() < 1e-3 * DX


def test_gradients_far_away():
    results = []
    for place in (np.zeros(3), FAR):
        sim = scene(place, [obstacles(place)["sphere"]])
        start = sim.initial_state()
        v = start.v.clone().requires_grad_()
        x = start.x.clone().requires_grad_()
        state = start.replace(x=x, v=v)
        for _ in range(3):
            state = sim.advance(state, frame_dt=1 / 24, substeps=60)
        local = state.x.double().cpu() - torch.as_tensor(place)
        (local * torch.tensor([1.0, -2.0, 3.0])).square().sum().backward()
        results.append((x.grad.double(), v.grad.double()))
    for near, far in zip(*results, strict=True):
        assert (far - near).norm() < 0.01 * near.norm()


@same_bits
def test_states_far_away_go_on_with_the_same_bits(tmp_path):
    sim = scene(FAR)
    *_, straight = sim.run(frames=4, fps=48)
    *_, half = sim.run(frames=2, fps=48)
    tp.save_state(tmp_path / "half.npz", half)
    *_, resumed = sim.run(frames=2, fps=48, start=tp.load_state(tmp_path / "half.npz"))
    assert torch.equal(resumed.x, straight.x) and torch.equal(resumed.v, straight.v)


def test_errors_far_away_name_the_place():
    sim = scene(FAR)
    fast = sim.initial_state()
    fast = fast.replace(v=fast.v + torch.tensor([40.0, 0.0, 0.0]).to(fast.v))
    with pytest.raises(SimulationError, match=r"at \(50000\d\.\d\d, 4500000\.\d\d, "):
        sim.advance(fast, frame_dt=0.01, substeps=1)
