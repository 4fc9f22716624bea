"""Gradients in the motion of driven colliders, in f64, against central differences."""

import dataclasses

import numpy as np
import pytest
import torch
import trimesh
from test_gradients import DT, GRID, Problem, assert_agrees, assert_same

import taichi_phys as tp
from taichi_phys.mpm.drivers import kernels
from taichi_phys.mpm.engine import Engine
from taichi_phys.mpm.poses import steered_twists, twists


f64 = torch.float64
pytestmark = pytest.mark.filterwarnings("ignore:particles. .*start inside")


def driver():
    """Tensors with requires_grad for `moving`."""
    given = {"velocity": (0.3, 0.1, -0.2), "angular_velocity": (0.5, 2.0, -1.0)}
    given["center"] = (0.43, 0.5, 0.45)
    return {name: torch.tensor(a, dtype=f64, requires_grad=True) for name, a in given.items()}


def shapes(**options):
    ball = trimesh.creation.icosphere(radius=0.3).apply_translation((0.5, 0.5, 0.2))
    return {
        "plane": tp.Plane(point=(0.5, 0.5, 0.5), normal=(0.1, 0.2, 1), **options),
        "box": tp.Box(center=(0.5, 0.5, 0.4), half_size=(0.1, 0.2, 0.1), **options),
        "sphere": tp.Sphere(center=(0.5, 0.5, 0.4), radius=0.1, **options),
        "capsule": tp.Capsule(start=(0.4, 0.4, 0.4), end=(0.6, 0.6, 0.43), radius=0.1, **options),
        "mesh": tp.Mesh(mesh=ball, cells=16, **options),
    }


@pytest.mark.parametrize(
    ("kind", "contact", "friction"),
    [
        ("plane", "separate", 0.4), ("box", "slip", 0.3), ("sphere", "separate", 0.0),
        ("sphere", "sticky", 0.0), ("capsule", "slip", 0.0), ("capsule", "separate", 0.4),
        ("mesh", "separate", 0.2), ("mesh", "separate", 5.0),
    ],
)  # fmt: skip
def test_gradients_in_the_motion_of_a_collider(kind, contact, friction):
    inputs = driver()
    collider = shapes(contact=contact, friction=friction, pose=tp.moving(**inputs))[kind]
    problem = Problem("elastic", colliders=[collider])
    problem.inputs |= inputs
    _, gradients = problem.gradients()
    assert all(gradients[name].abs().max() > 1e-4 for name in inputs)
    # Nothing of the state is lost beside them.
    chosen = {name: problem.inputs[name] for name in ("x", "v", "E", *inputs)}
    assert_agrees(problem.loss, chosen, gradients, tolerance=1e-5)


@pytest.mark.parametrize("driver_name", ["gpu", "pooled"])
def test_other_drivers(driver_name):
    inputs = driver()
    sphere = shapes(friction=0.4, pose=tp.moving(**inputs))["sphere"]
    problem = Problem("elastic", count=600, colliders=[sphere])
    problem.inputs |= inputs
    _, gradients = problem.gradients()
    problem.sim._engine = Engine(
        kernels=kernels("f64", (tp.Elastic.law,), driver_name, False, True, steered=True),
        body=problem.sim._engine.body,
        grid=GRID,
        gravity=problem.sim._engine.gravity,
        colliders=[sphere],
        chunks=1 if driver_name == "gpu" else 3,
    )
    _, other = problem.gradients()
    assert_same(other, gradients)


def test_bodies_with_velocities_of_their_own():
    inputs = driver()
    sphere = shapes(friction=0.4, pose=tp.moving(**inputs))["sphere"]
    contact = tp.BodyContact(friction=0.3)
    problem = Problem("elastic", "elastic", count=20, colliders=[sphere], contact=contact)
    problem.settings = {"frame_dt": 5 * DT, "substeps": 5}
    problem.inputs |= inputs
    _, gradients = problem.gradients()
    assert_agrees(problem.loss, inputs, gradients, tolerance=1e-5)


def test_a_final_position_by_the_speed_of_a_paddle():
    """A paddle far from the origin pushes a block for one and a half frames, and is then gone."""
    far = np.array([3e3, 0.0, 0.0])
    x, volume = tp.sample_box(far + (0.45, 0.4, 0.4), far + (0.6, 0.55, 0.55), spacing=1 / 32)
    body = tp.Particles(x, volume=volume, material=tp.Elastic(E=1e4, nu=0.3))
    grid = dataclasses.replace(GRID, lower=tuple(far), upper=tuple(far + 1), contact="open")
    speed = torch.tensor(1.0, dtype=f64, requires_grad=True)

    def pose(t):
        return torch.eye(3, dtype=f64), torch.stack([speed, 0 * speed, 0 * speed]) * t

    paddle = tp.Box(
        center=tuple(far + (0.3, 0.475, 0.475)), half_size=(0.13, 0.3, 0.3), friction=0.2,
        pose=pose, during=(0.0, 0.0151),
    )  # fmt: skip
    sim = tp.MPM(
        particles=body, grid=grid, colliders=[paddle], gravity=(0, 0, 0), precision="f64",
        reactions=True,
    )  # fmt: skip

    def end():
        state = sim.initial_state()
        for _ in range(3):
            state = sim.advance(state, frame_dt=0.01, substeps=20)
        assert state.reactions.force[0, 0] == 0  # in the last frame nothing acts
        return state.x[:, 0].mean() - far[0]

    (slope,) = torch.autograd.grad(end(), speed)
    assert 0.003 < slope < 0.015  # s; a wave has gone through half of the block
    assert_agrees(end, {"speed": speed}, {"speed": slope}, tolerance=1e-6)


def test_numbers_of_tensors_are_those_of_arrays():
    inputs = driver()
    with_tensors = tp.moving(**inputs)
    plain = tp.moving(**{name: a.tolist() for name, a in inputs.items()})
    times = 0.3 + 1e-3 * np.arange(5)
    rows = steered_twists(with_tensors, times, 1e-3)
    np.testing.assert_allclose(rows.detach(), twists(plain, times, 1e-3), rtol=0, atol=1e-9)
    np.testing.assert_allclose(twists(with_tensors, times, 1e-3), rows.detach(), atol=1e-9)
    half = np.sqrt(0.5)

    def turned(t):
        turn = torch.stack([0 * t, 0 * t, half + 0 * t, half + 0 * t])
        return turn, torch.stack([t, t, 0 * t])

    t0 = torch.tensor(1.0, dtype=f64, requires_grad=True)
    rows = steered_twists(lambda t: turned(t0 * t), times, 1e-3)
    expected = twists(lambda t: ((0, 0, half, half), (t, t, 0)), times, 1e-3)
    np.testing.assert_allclose(rows.detach(), expected, rtol=0, atol=1e-9)
    (slope,) = torch.autograd.grad(rows[:, 12:].sum(), t0)
    assert torch.isfinite(slope) and abs(slope - 10) < 1e-6  # velocity (1, 1, 0) in five substeps


def test_without_tensors_nothing_is_summed():
    still = shapes(pose=tp.moving(velocity=(0.3, 0, 0)))["sphere"]
    driven = shapes(pose=tp.moving(velocity=torch.tensor([0.3, 0, 0])))["sphere"]
    steered = shapes(pose=tp.moving(**driver()))["sphere"]
    for collider, expected in ((still, False), (driven, False), (steered, True)):
        assert Problem("elastic", colliders=[collider]).sim._engine.kernels.steered is expected
