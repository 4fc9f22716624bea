"""The smoothing pass: the body's modes, the linear model of a clip, and the force of all frames."""

import dataclasses

import numpy as np
import pytest
import torch

import taichi_phys as tp
from benchmarks import force_recovery
from inverse.runs.checkpoint import peek_checkpoint
from inverse.wind.config import WindConfig
from inverse.wind.smoothing import smoother
from inverse.wind.smoothing.evidence import LENGTHS
from inverse.wind.smoothing.field_fit import fit_field
from inverse.wind.smoothing.linear import ONSETS, LinearClip, onset
from inverse.wind.smoothing.modes import RIGID, find_modes
from inverse.wind.smoothing.prior import Strength, find_shapes, turned
from inverse.wind.smoothing.response import Response
from inverse.wind.smoothing.smoother import WindSmoother, solve_clip
from inverse.wind.solver import WindSolver


FPS = 24.0
FAST = WindConfig(iterations=6)


def bar_modes(E=1e4, held=None, push=None):
    """Modes of a bar of 1 x 0.2 x 0.2 m, of 500 kg/m^3, with nu = 0, and its particles."""
    axes = [np.arange(0.025, size, 0.05) for size in (1.0, 0.2, 0.2)]
    x = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    volume = np.full(len(x), 0.05**3)
    lame = np.full(len(x), E / 2), np.zeros(len(x))
    loads = find_shapes(x, volume, 0.3, 8).values
    held = np.zeros(len(x), dtype=bool) if held is None else held(x)
    return x, find_modes(x, 500 * volume, volume, lame, loads, held=held, spacing=0.1, push=push)


def leaning_bar():
    """Modes of an upright bar of 0.2 x 0.2 x 1 m that leans by a tenth, held at its foot, and its
    particles."""
    x = bar_modes()[0][:, [1, 2, 0]]
    x[:, 0] += 0.1 * x[:, 2]
    volume = np.full(len(x), 0.05**3)
    lame = np.full(len(x), 2e5), np.zeros(len(x))
    loads = find_shapes(x, volume, 0.3, 8).values
    return x, find_modes(
        x, 500 * volume, volume, lame, loads, held=x[:, 2] < 0.1, spacing=0.1,
        push=(0.0, 0.0, -9.81),
    )  # fmt: skip


def block_solver(targets, config=FAST, checkpoint=None, confidence=None, **options):
    torch.manual_seed(0)
    grid = tp.Grid.around(targets, dx=0.1, margin=0.25)
    body = tp.Particles(
        force_recovery.block(0.05), density=500.0, volume=0.05**3,
        material=tp.Elastic(E=1e3, nu=0.3),
    )  # fmt: skip
    sim = tp.MPM(particles=body, grid=grid, gravity=(0, 0, 0))
    return WindSolver(
        sim,
        targets,
        fps=FPS,
        config=config,
        checkpoint=checkpoint,
        confidence=confidence,
        **options,
    )


def falling(frames=8, acceleration=(1.0, -2.0, 0.5)):
    t = np.arange(frames) / FPS
    return force_recovery.block(0.05) + 0.5 * np.asarray(acceleration) * (t**2)[:, None, None]


def net(result, solver):
    return (result.frame_forces().sum(dim=1) / solver.sim.mass.sum()).cpu().numpy()


def test_free_bodies_have_six_rigid_modes_and_the_frequencies_of_a_bar():
    x, modes = bar_modes()
    flat = modes.shapes.reshape(-1, modes.count)
    np.testing.assert_allclose(flat.T @ flat * 500 * 0.05**3, np.eye(modes.count), atol=1e-6)
    assert not modes.squared[:RIGID].any() and (modes.squared[RIGID:] > 0).all()
    # The first mode along the bar: half a wave of sound, sqrt(E / density) / 2 L.
    share = (modes.shapes[:, 0] ** 2).sum(axis=0) / (modes.shapes**2).sum(axis=(0, 1))
    along = next(k for k in range(RIGID, modes.count) if share[k] > 0.95)
    frequency = np.sqrt(modes.squared[along]) / (2 * np.pi)
    assert frequency == pytest.approx(np.sqrt(1e4 / 500) / 2, rel=0.1)


def test_held_particles_do_not_move_in_any_mode():
    x, modes = bar_modes(held=lambda x: x[:, 0] < 0.2)
    assert not modes.free
    moves = np.linalg.norm(modes.shapes, axis=1)
    slow = np.sqrt(modes.squared) < 2 * np.pi * np.sqrt(1e4 / 500)
    assert moves[x[:, 0] < 0.2][:, slow].max() < 0.1 * moves[:, slow].max()


def test_a_standing_bar_under_its_weight_resists_less_and_a_hanging_one_more():
    """A cantilever with the load q per length resists a share q L^3 / (7.84 E I) less."""
    x, standing = bar_modes(held=lambda x: x[:, 0] < 0.1, push=(-0.2, 0.0, 0.0))
    _, hanging = bar_modes(held=lambda x: x[:, 0] < 0.1, push=(0.2, 0.0, 0.0))
    assert standing.loaded is not None and hanging.loaded is not None
    theory = 500 * 0.2**2 * 0.2 * 0.9**3 / (7.837 * 1e4 * 0.2**4 / 12)
    beam = 12.36 * 1e4 * 0.2**2 / 12 / (500 * 0.9**4)  # squared frequency without a load
    for k in range(2):  # across the bar, both ways
        assert standing.loaded[k, k] / beam == pytest.approx(-theory, rel=0.1)
        assert hanging.loaded[k, k] / beam == pytest.approx(theory, rel=0.1)
    loaded = standing.under_push(6)
    assert (loaded.squared[:2] < standing.squared[:2]).all()
    flat = loaded.shapes.reshape(-1, loaded.count)
    np.testing.assert_allclose(flat.T @ flat * 500 * 0.05**3, np.eye(loaded.count), atol=1e-6)


@pytest.mark.parametrize("sinks", [True, False])
def test_what_is_held_says_whether_its_weight_sets_in(sinks):
    """A bar that leans, held at its foot, in a gust; the first one begins to carry its weight."""
    x, modes = leaning_bar()
    mass, steps = np.full(len(x), 500 * 0.05**3), 14
    t = (np.arange(steps) + 0.5) / FPS
    gust = np.stack([0.3 * np.sin(6 * t), 0.2 * np.sin(4 * t), np.zeros(steps)], axis=1)
    weight = onset(steps, 1 / FPS, 0.4)[:, None] * [0.0, 0.0, -9.81 * sinks]
    true = modes.under_push(9) if sinks else modes
    still = np.broadcast_to(x, (steps + 1, *x.shape))
    ones = np.ones(still.shape[:2])
    response = Response(true, x, mass, still, ones, 1 / FPS)
    pushes = response.pushes(response.loads(np.ones((len(x), 1))), (gust + weight)[..., None])
    path = response.follow(pushes, np.zeros(true.count))
    targets = x + np.einsum("tk,nak->tna", path, true.shapes)
    steady = np.array([0.0, 0.0, -9.81])
    linear = LinearClip(modes, steady, x, mass, targets, ones, 1 / FPS, 1.0, None, None)
    model = linear.choose()
    assert (linear.begins is not None) == sinks and linear.doubt < 0.1
    coefficients, _ = linear.gain(model)(linear.unexplained(linear.path()))
    found = linear.forces(model, coefficients).mean(axis=1)
    off = np.linalg.norm(found - gust - weight, axis=1)
    assert np.sqrt((off**2).mean()) < (1.0 if sinks else 0.15)
    if not sinks:
        assert len(linear.open_pushes(model)) == 1  # that of the other story
        return
    assert linear.onsets[np.abs(np.log(np.divide(ONSETS, 0.4))) < 0.3].sum() > 0.9
    linear.onsets = np.full(len(ONSETS), 1 / len(ONSETS))  # as if nothing said how fast it sets in
    differs = np.square(linear.open_pushes(model)[1:, :, 2]).sum(axis=0) / 9.81**2
    courses = np.array([onset(steps, 1 / FPS, begins) for begins in ONSETS])
    chosen = onset(steps, 1 / FPS, linear.begins)
    np.testing.assert_allclose(differs, ((courses - chosen) ** 2).mean(axis=0), atol=1e-12)


def test_over_what_length_a_force_varies_is_asked_again_after_a_run():
    """A force that grows along a bar and swings; what was chosen before varies far too soon."""
    x, modes = bar_modes()
    mass, steps = np.full(len(x), 500 * 0.05**3), 14
    still = np.broadcast_to(x, (steps + 1, *x.shape))
    ones = np.ones(still.shape[:2])
    linear = LinearClip(modes, np.zeros(3), x, mass, still, ones, 1 / FPS, 1.0, None, None)
    t = (np.arange(steps) + 0.5) / FPS
    swings = np.stack([0 * t, 20 * np.sin(9 * t), 10 * np.cos(7 * t)], axis=1)
    pushes = linear.response.pushes(linear.response.loads(x[:, :1]), swings[..., None])
    path = linear.response.follow(pushes, np.zeros(modes.count))[:, : linear.kept]
    model = linear.evidence.choose(path)
    short = dataclasses.replace(model.strength, length=LENGTHS[0] * linear.evidence.size)
    assert model.strength.length > 2 * short.length
    again = linear.evidence.choose(path, near=dataclasses.replace(model, strength=short))
    assert again.strength.length > 2 * short.length


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_stiffness_that_does_not_explain_how_a_body_bends_shows(factor):
    """A bar rings while a force that is the same everywhere moves it; E is off by a factor."""
    x, modes = bar_modes(2e5)
    _, assumed = bar_modes(2e5 * factor)
    mass, steps = np.full(len(x), 500 * 0.05**3), 14
    still = np.broadcast_to(x, (steps + 1, *x.shape))
    ones = np.ones(still.shape[:2])
    response = Response(modes, x, mass, still, ones, 1 / FPS)
    t = (np.arange(steps) + 0.5) / FPS
    swings = np.stack([0 * t, 2 * np.sin(4 * t), np.cos(5 * t)], axis=1)
    pushes = response.pushes(response.loads(np.ones((len(x), 1))), swings[..., None])
    speeds = np.zeros(modes.count)
    speeds[RIGID] = 1.0
    path = response.follow(pushes, speeds)
    targets = x + np.einsum("tk,nak->tna", path, modes.shapes)
    linear = LinearClip(assumed, np.zeros(3), x, mass, targets, ones, 1 / FPS, 1.0, None, None)
    bending = linear.bending(linear.gain(linear.choose()), linear.path())
    assert bending is not None and bending.explained == (factor == 1), bending


def test_the_linear_model_is_exact_for_rigid_motion():
    """Constant forces, while the body turns: the center goes along the parabola of the world."""
    x, modes = bar_modes()
    mass = np.full(len(x), 500 * 0.05**3)
    angle = 0.2 * np.arange(7)
    turn = np.zeros((7, 3, 3))
    turn[:, 2, 2] = 1
    turn[:, 0, 0] = turn[:, 1, 1] = np.cos(angle)
    turn[:, 1, 0], turn[:, 0, 1] = np.sin(angle), -np.sin(angle)
    targets = np.einsum("tij,nj->tni", turn, x - x.mean(axis=0)) + x.mean(axis=0)
    response = Response(modes, x, mass, targets, np.ones(targets.shape[:2]), 1 / FPS)
    np.testing.assert_allclose(response.rotations, turn, atol=1e-4)
    loads = response.loads(np.ones((len(x), 1)))
    coefficients = np.tile([[1.0], [2.0], [-1.0]], (6, 1, 1))
    path = response.follow(response.pushes(loads, coefficients), np.zeros(modes.count))
    t = np.arange(7) / FPS
    expected = np.sqrt(mass.sum()) * 0.5 * t[:, None] ** 2 * np.array([1.0, 2.0, -1.0])
    np.testing.assert_allclose(path[:, :3], expected, atol=1e-9)
    forces, _ = response.jacobian(loads, modes.count)
    direct = np.einsum("tkuc,uc->tk", forces, coefficients[..., 0])
    np.testing.assert_allclose(direct, path[1:], atol=1e-9)


def test_where_a_body_is_does_not_depend_on_the_part_that_is_seen():
    """A bar that flies, turns and bends a little: its far half is hardly seen."""
    x, modes = bar_modes()
    mass = np.full(len(x), 500 * 0.05**3)
    t = np.arange(7)[:, None] / FPS
    path = np.zeros((7, modes.count))
    path[:, [0, 2, 4, 5, 7]] = np.array([0.3, -0.5, 0.02, 0.03, 0.05]) * t
    targets = x + np.einsum("tk,nak->tna", path, modes.shapes)
    seen = np.tile(np.where(x[:, 0] < 0.5, 1.0, 0.2), (7, 1))
    response = Response(modes, x, mass, targets, seen, 1 / FPS)
    found = response.path(targets, seen, modes.count)
    np.testing.assert_allclose(found[:, :RIGID], path[:, :RIGID], atol=1e-3)


@pytest.mark.parametrize("sources", [0.0, 1.0])
def test_forces_are_presumed_to_flow_or_to_have_sources(sources):
    axis = np.linspace(0, 1, 9)
    x = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    shapes = find_shapes(x, np.ones(len(x)), 0.5, 60)
    strength = Strength(uniform=0.0, varying=1.0, length=0.5, time=0.3, sources=sources)
    z = np.random.default_rng(0).standard_normal((3, len(shapes.one)))
    coefficients = np.einsum("ajbl,bl->aj", shapes.root(strength), z)
    field = (coefficients @ shapes.values.T).reshape(3, 9, 9, 9)
    slopes = np.array([np.gradient(part, axis[1]) for part in field])[..., 2:-2, 2:-2, 2:-2]
    source = np.trace(slopes)
    curl = slopes - np.swapaxes(slopes, 0, 1)
    few, many = (source, curl) if sources == 0 else (curl, source)
    assert np.sqrt((few**2).mean()) < 0.2 * np.sqrt((many**2).mean())


def test_what_is_presumed_turns_with_the_body_and_keeps_the_axes_of_the_world():
    x = np.random.default_rng(0).uniform(size=(200, 3))
    shapes = find_shapes(x, np.ones(200), 0.5, 6)
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    flow = Strength(uniform=1.0, varying=1.0, length=0.5, time=0.3, sources=0.0)
    root = shapes.root(flow)
    again = turned(root, np.stack([np.eye(3), turn]))
    np.testing.assert_allclose(again[0], root, atol=1e-12)
    np.testing.assert_allclose(again[1][0, :, 0], root[1, :, 1], atol=1e-12)
    # A force that is the same everywhere stays in the world while the body turns.
    same = shapes.root(dataclasses.replace(flow, varying=1e-9))
    np.testing.assert_allclose(turned(same, turn[None])[0], same, atol=1e-6)


@pytest.mark.parametrize("pulse", [1.0, 0.3])
def test_a_constant_force_is_found_in_every_frame(pulse):
    solver = block_solver(falling(), dataclasses.replace(FAST, pulse=pulse))
    result = solve_clip(solver, 2)
    assert result.nudges is not None and result.x.shape == (8, 96, 3)
    np.testing.assert_allclose(net(result, solver), np.tile([1.0, -2.0, 0.5], (8, 1)), atol=0.08)
    nudged = result.nudges.norm() / result.force.norm()
    assert nudged < 0.1


def test_noise_of_the_targets_is_no_force():
    """Errors of about 1 mm, smooth in space and new in each frame: interval by interval they make
    forces of 1 m/s^2."""
    random = np.random.default_rng(0)
    arms = force_recovery.block(0.05) - [0.15, 0.1, 0.1]
    noise = random.normal(size=(10, 1, 3)) + 10 * arms @ random.normal(size=(10, 3, 3))
    noise[0] = 0
    errors = []
    for runs in (0, 2):
        solver = block_solver(falling(10) + 1e-3 * noise)
        off = net(solve_clip(solver, runs), solver) - [1.0, -2.0, 0.5]
        errors.append(np.sqrt((off**2).mean()))
    assert errors[1] < 0.5 * errors[0]


def test_lost_targets_do_not_pull_a_smooth_force():
    targets, confidence = falling(), np.ones((8, 96))
    targets[1:, ::2] += 0.05
    confidence[1:, ::2] = 0
    solver = block_solver(targets, confidence=confidence)
    found = net(solve_clip(solver, 2), solver)
    np.testing.assert_allclose(found, np.tile([1.0, -2.0, 0.5], (8, 1)), atol=0.15)


class Stop(Exception):
    pass


def test_a_smoothing_pass_resumes_with_the_same_forces(tmp_path):
    whole = solve_clip(block_solver(falling()), 2)
    first = WindSmoother(block_solver(falling()), checkpoint=tmp_path / "smooth.pt")
    run, count = first._run, []

    def run_twice(*args):
        count.append(1)
        if len(count) > 1:
            raise Stop
        return run(*args)

    first._run = run_twice
    with pytest.raises(Stop):
        first.solve(2)
    again = WindSmoother(block_solver(falling()), checkpoint=tmp_path / "smooth.pt")
    again.resume()
    assert again.done == 1
    assert torch.equal(again.solve(2).force, whole.force)


def test_where_the_linear_model_is_no_guide_intervals_are_fitted(tmp_path, monkeypatch):
    monkeypatch.setattr(smoother, "MOST_NUDGED", 0.0)
    solver = block_solver(falling(5), checkpoint=tmp_path / "force.pt")
    with pytest.warns(UserWarning, match="interval by interval"):
        result = solve_clip(solver, 1, checkpoint=tmp_path / "smooth.pt")
    assert result.nudges is None and len(solver.forces) == 4


def test_the_field_of_a_smooth_force_is_kept(tmp_path):
    solver = block_solver(falling(), checkpoint=tmp_path / "force.pt")
    result = solve_clip(solver, 1)
    state = peek_checkpoint(tmp_path / "force.pt")
    assert len(state["fields"]) == 7 and state["field"]["steps"] == 7
    solver.field.load_state_dict(state["fields"][3])
    specific = result.force[3] / solver.sim.mass[:, None]
    found = solver.field(result.x[3], 3).detach()
    assert (found - specific).norm() < 0.1 * specific.norm()


def test_a_field_is_fitted_to_moving_values():
    x = torch.stack([torch.as_tensor(force_recovery.block(0.05) + 0.02 * t) for t in range(5)])
    values = torch.stack([force_recovery.gusts(x[t], t / FPS) for t in range(5)])
    solver = block_solver(falling(6))
    states = fit_field(solver.field, x, values, torch.ones(96))
    for step, state in enumerate(states):
        solver.field.load_state_dict(state)
        found = solver.field(x[step].to(solver.sim.dtype), step).detach()
        assert (found - values[step]).norm() < 0.2 * values[step].norm()
        torch.testing.assert_close(found.mean(0), values[step].mean(0).float(), atol=1e-3, rtol=0)
