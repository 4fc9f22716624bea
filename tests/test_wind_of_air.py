"""A wind that drags: the air is found from a body that it moves, and blows another one."""

import numpy as np
import pytest
import torch
from test_smoother import bar_modes
from threadpoolctl import threadpool_limits

import taichi_phys as tp
from benchmarks import force_recovery
from inverse.metrics import vector_errors
from inverse.wind.config import WindConfig
from inverse.wind.forces import Form
from inverse.wind.forces.air import find_air
from inverse.wind.forces.drag import AirDrag, BodyDrag, quadratic_drag, settled_rate
from inverse.wind.smoothing.response import Response, _oscillators
from inverse.wind.smoothing.smoother import solve_clip
from inverse.wind.solver import WindSolver


FPS, FRAMES = 24.0, 12
GRAVITY = (0.0, 0.0, -9.81)
RATE = 2.5


def gusts(x, t):
    """Velocities (n, 3) m/s of an air without divergence: a gust, an updraft and a swirl."""
    turn = 2 * np.pi * t / 0.8
    along = 3 + 1.5 * np.cos(turn) + 1.5 * torch.sin(4 * x[:, 1])
    across = 1.5 * np.sin(turn) + 0 * along
    return torch.stack([along, across, 4 + 1.5 * torch.cos(4 * x[:, 0])], dim=1)


def body(x, volume, density, E=2e4):
    return tp.MPM(
        particles=tp.Particles(x, density=density, volume=volume, material=tp.Elastic(E=E, nu=0.3)),
        grid=tp.Grid(lower=(-1, -1, -2), upper=(2, 1.5, 1.5), dx=0.1), gravity=GRAVITY,
    )  # fmt: skip


def blown(sim, air, rate, frames=FRAMES):
    """The states of a body in an air."""
    force = tp.Drag(air=air, rate=rate)
    return [
        sim.initial_state(),
        *sim.run(frames=frames - 1, fps=FPS, force=force, progress=False),
    ]


@pytest.fixture(scope="module", params=[0, 2], ids=["intervals", "all frames"])
def found(request):
    """The positions (T, n, 3) of a body, the air that was found around it, and the result."""
    sim = body(force_recovery.block(0.05), 0.05**3, 300.0)
    x = torch.stack([s.x for s in blown(sim, gusts, RATE)]).double().numpy()
    free = tp.MPM(particles=sim.bodies[0], grid=sim.grid, gravity=(0, 0, 0))
    drag = AirDrag(rate=RATE, gravity=GRAVITY, frame_dt=1 / FPS)
    torch.manual_seed(0)
    config = WindConfig(force="wind", iterations=30)
    solver = WindSolver(free, x, fps=FPS, config=config, form=Form(drag=drag))
    with threadpool_limits(1):
        result = solve_clip(solver, request.param)
        specific = (result.force / free.mass[:, None]).double()
        u = drag.air(specific, result.v[:-1].double()).numpy()
        return x, find_air(result.x.double().numpy(), u, FPS), result


def test_the_air_is_found_where_the_body_is(found):
    x, air, _ = found
    truth = np.stack([gusts(torch.as_tensor(p), k / FPS).numpy() for k, p in enumerate(x)])
    for frames in (slice(1, -3), slice(None)):
        errors = vector_errors(air.along(x)[frames], truth[frames])
        assert errors["direction_error_deg"] < 10 and errors["magnitude_error_percent"] < 15


def test_the_air_has_no_divergence(found):
    values, h = found[1].values[5].astype(np.float64), found[1].spacing
    slopes = [np.gradient(values, h, axis=axis)[2:-2, 2:-2, 2:-2] for axis in range(3)]
    divergence = sum(slope[..., axis] for axis, slope in enumerate(slopes))
    assert np.sqrt((divergence**2).mean()) < 0.03 * np.sqrt((np.stack(slopes) ** 2).mean())


def test_another_body_moves_in_the_air_as_in_the_true_one(found):
    """Half as wide, three times as dense, of half of the drag."""
    x, air, _ = found
    middle = x[0].mean(axis=0)
    volume = 0.025**3
    other = 0.5 * (force_recovery.block(0.05) - middle) + middle
    ends = []
    for u in (gusts, air):
        state = blown(body(other, volume, 900.0), u, 0.5 * RATE, frames=9)[-1]
        ends.append(state.x.mean(dim=0).double().numpy() - middle)
    fallen = np.array([0, 0, -0.5 * 9.81 * (8 / FPS) ** 2])  # what no air does
    true, moved = ends[0] - fallen, ends[1] - fallen
    assert np.linalg.norm(moved - true) < 0.15 * np.linalg.norm(true)
    assert np.linalg.norm(ends[1] - ends[0]) < 0.15 * np.linalg.norm(ends[0])


def test_the_motion_is_that_of_its_forces(found):
    x, _, result = found
    assert np.abs(result.x.double().numpy() - x).max() < 0.02


def test_modes_under_drag_are_exact_for_rigid_motion():
    """A steady air takes a body along: x = u t - (u - v) (1 - exp(-k t)) / k."""
    x, modes = bar_modes()
    mass = np.full(len(x), 500 * 0.05**3)
    targets = np.repeat(x[None], 7, axis=0)
    seen = np.ones(targets.shape[:2])
    response = Response(modes, x, mass, targets, seen, 1 / FPS, damping=RATE)
    loads = response.loads(np.ones((len(x), 1)))
    pushes = response.pushes(loads, np.tile([[RATE * 2.0], [0], [0]], (6, 1, 1)))
    speeds = np.zeros(modes.count)
    speeds[0] = np.sqrt(mass.sum()) * 0.5
    path = response.follow(pushes, speeds)[:, 0] / np.sqrt(mass.sum())
    t = np.arange(7) / FPS
    np.testing.assert_allclose(path, 2 * t + 1.5 * np.expm1(-RATE * t) / RATE, atol=1e-9)


@pytest.mark.parametrize("damping", [3.0, 200.0])
def test_modes_under_drag_swing_or_creep(damping):
    """Against small steps of the same equation."""
    omega, h = 30.0, 1 / FPS
    stay, drift, pull, keep, push = (v[0] for v in _oscillators(np.array([omega**2]), h, damping))
    ratio = min(0.02 * (omega * h) ** 2, 0.5)
    matrix = np.array([[0, 1], [-(omega**2), -2 * ratio * omega - damping]])
    states, dt = np.eye(2), h / 20000
    moved = np.zeros(2)
    step = np.eye(2) + dt * matrix + 0.5 * dt**2 * matrix @ matrix
    for _ in range(20000):
        states = step @ states
        moved = step @ moved + dt * (np.eye(2) + 0.5 * dt * matrix) @ [0, 1]
    np.testing.assert_allclose(states, [[stay, drift], [pull, keep]], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moved, [push, drift], rtol=1e-4, atol=1e-7)


def test_the_held_force_of_an_interval_goes_as_far_as_the_drag():
    drag = AirDrag(rate=6.0, gravity=GRAVITY, frame_dt=0.1)
    v, air = torch.tensor([[1.0, 0, 0]]).double(), torch.tensor([[0.0, 3.0, 1.0]]).double()
    held = drag.held(drag.rate * air, v)
    terminal = air + torch.tensor(GRAVITY).double() / drag.rate
    after = terminal + (v - terminal) * np.exp(-0.6)
    torch.testing.assert_close(v + 0.1 * held, after)
    torch.testing.assert_close(drag.air(held, v), air)


def test_a_rate_follows_from_density_size_and_shape():
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(20000, 3))
    ball *= 0.1 / np.linalg.norm(ball, axis=1, keepdims=True)
    mass = 500 * 4 / 3 * np.pi * 0.1**3
    quadratic = quadratic_drag(ball, mass)
    assert quadratic == pytest.approx(1.2 * np.pi * 0.01 / (2 * mass), rel=0.01)
    assert quadratic_drag(ball, 2 * mass) == pytest.approx(quadratic / 2)
    sheet = ball * [1, 1, 1e-9]
    assert quadratic_drag(sheet, mass) == pytest.approx(quadratic / 2, rel=0.3)
    # A parachute that sinks evenly: its weight is the drag at the speed of sinking.
    t = np.arange(20) / FPS
    sinking = np.array([0, 0, -2.0]) * t[:, None, None]
    rate = settled_rate(quadratic, np.repeat(sinking, 3, axis=1), np.array(GRAVITY), FPS)
    assert rate == pytest.approx(np.sqrt(9.81 * quadratic))


def test_heavier_bodies_answer_with_a_lower_rate():
    class Breeze(tp.AirVelocity):
        def __call__(self, x, t):
            return torch.tensor([[2.0, 0, 0]]).expand_as(x)

    force, x = BodyDrag(air=Breeze(), strength=0.5), torch.zeros(4, 3)
    for mass in (1.0, 3.0):
        shares = torch.tensor([0.1, 0.2, 0.3, 0.4]) * mass
        pushed = force(x, 0.0, torch.zeros(4, 3), shares)
        torch.testing.assert_close(pushed.sum(0), torch.tensor([1.0, 0, 0]))
        torch.testing.assert_close(pushed / shares[:, None], torch.tensor([[1 / mass, 0, 0]] * 4))
