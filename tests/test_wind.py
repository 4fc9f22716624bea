"""The force recovery: solver, checkpoints, results."""

import dataclasses

import numpy as np
import pytest
import torch

import taichi_phys as tp
from benchmarks import force_recovery
from inverse.metrics import vector_errors
from inverse.wind.config import WindConfig, WindJob
from inverse.wind.results.pictures import static_background
from inverse.wind.results.truth import force_errors
from inverse.wind.solver import WindResult, WindSolver, initial_velocities, target_velocities


FPS = 24.0
FAST = WindConfig(iterations=6)


def block_targets(frames=6, acceleration=(1.0, -2.0, 0.5)):
    """A rigid block (n, 3) that falls in a constant field: targets (T, n, 3) m."""
    x0 = force_recovery.block(0.05)
    t = np.arange(frames) / FPS
    return x0 + 0.5 * np.asarray(acceleration) * (t**2)[:, None, None]


def make_solver(targets, config=FAST, checkpoint=None, **options):
    torch.manual_seed(0)
    grid = tp.Grid.around(targets, dx=0.1, margin=0.25)
    body = tp.Particles(
        targets[0], density=500.0, volume=0.05**3, material=tp.Elastic(E=1e3, nu=0.3)
    )
    sim = tp.MPM(particles=body, grid=grid, gravity=(0, 0, 0))
    return WindSolver(sim, targets, fps=FPS, config=config, checkpoint=checkpoint, **options)


@pytest.mark.parametrize("pulse", [1.0, 0.5])
def test_constant_force_is_recovered(pulse):
    targets = block_targets(acceleration=(1.0, -2.0, 0.5))
    solver = make_solver(targets, dataclasses.replace(FAST, pulse=pulse))
    result = solver.solve()
    assert result.x.shape == targets.shape and result.force.shape == (5, *targets.shape[1:])
    specific = result.frame_forces().sum(1) / solver.sim.mass.sum()
    errors = vector_errors(specific[1:-1], np.tile([1.0, -2.0, 0.5], (4, 1)))
    assert errors["vector_error_percent"] < 2


@pytest.mark.parametrize("pulse", [0.05, 0.3])
def test_a_pulse_is_as_strong_as_the_force_it_stands_for(pulse):
    """In every frame: velocities at frames and the way that a pulse goes are those of pulses."""
    targets = block_targets(acceleration=(6.0, 0.0, 0.0))
    solver = make_solver(targets, WindConfig(iterations=4, pulse=pulse))
    net = solver.solve().frame_forces().sum(1) / solver.sim.mass.sum()
    np.testing.assert_allclose(net, np.tile([6.0, 0, 0], (6, 1)), atol=0.02)


def test_zero_force_at_rest():
    result = make_solver(block_targets(frames=4, acceleration=(0, 0, 0))).solve()
    assert result.force.abs().max() < 1e-4


def test_lost_targets_do_not_pull():
    """Half of the body has wild targets without confidence: the force must not notice."""
    targets = block_targets(frames=5)
    confidence = np.ones(targets.shape[:2])
    wild = targets.copy()
    wild[1:, ::2] += 0.05
    confidence[1:, ::2] = 0
    velocity = np.zeros_like(targets[0])
    calm = make_solver(targets, confidence=confidence, velocity=velocity).solve()
    shaken = make_solver(wild, confidence=confidence, velocity=velocity)
    shaken.field.load_state_dict(calm.fields[0])  # the same region, whatever the targets' box
    pulled = shaken.solve()
    assert torch.isfinite(pulled.force).all()
    # Of every interval: over all of them a jump and its return would cancel.
    change = (pulled.force - calm.force).sum(dim=1) / shaken.sim.mass.sum()
    assert change.abs().max() < 0.3


def test_position_only_matching_rings():
    """With an error in the initial velocity, positions alone make the force alternate."""
    targets = block_targets(frames=9)
    wrong = np.full_like(targets[0], 0.02)
    roughness = []
    for weight in (0.0, 1.0):
        solver = make_solver(
            targets, WindConfig(iterations=6, velocity_weight=weight), velocity=wrong
        )
        net = solver.solve().force.sum(1) / solver.sim.mass.sum()
        roughness.append(net[2:].diff(dim=0).norm(dim=1).mean().item())
    assert roughness[1] < 0.3 * roughness[0]


def test_frame_forces_are_fourth_order():
    """Interval averages of a cubic give back its average around each inner frame."""
    t = np.arange(9.0)
    integral = lambda s: s**4 / 4 - s**2  # noqa: E731  of s^3 - 2 s
    force = torch.tensor(integral(t[1:]) - integral(t[:-1]))[:, None, None].expand(-1, 1, 3)
    result = WindResult(x=None, v=None, F=None, force=force, loss=[], fields=[])
    frames = result.frame_forces()
    expected = integral(t + 0.5) - integral(t - 0.5)
    np.testing.assert_allclose(frames[2:-2, 0, 0], expected[2:-2], rtol=1e-12)
    assert frames.shape == (9, 1, 3)


def test_velocities_of_a_parabola_are_exact():
    targets = block_targets(frames=7, acceleration=(3.0, 0.0, -1.0))
    targets = targets + np.arange(7)[:, None, None] / FPS * np.array([0.5, 0.0, 0.25])
    v = initial_velocities(targets, FPS)
    np.testing.assert_allclose(v, np.tile([0.5, 0, 0.25], (len(v), 1)), atol=1e-9)
    middle = target_velocities(targets, FPS)[3]
    np.testing.assert_allclose(middle[0], [0.5 + 9 / FPS, 0, 0.25 - 3 / FPS], atol=1e-9)


@pytest.mark.parametrize("material", list(force_recovery.MATERIALS))
def test_known_field_is_recovered(material):
    """A shrunken benchmarks/force_recovery.py, from positions only."""
    errors = force_recovery.recover(
        force_recovery.MATERIALS[material], frames=6, iterations=40, spacing=0.05
    )
    assert errors["direction_error_deg"] < 10
    assert errors["magnitude_error_percent"] < 14


def test_torn_particles_are_healed(tmp_path):
    """No time step is short enough for what is inside out, but a clip is worth its other frames."""
    path = tmp_path / "force.pt"
    solver = make_solver(block_targets(frames=4), checkpoint=path)
    whole = solver.states[0].F.clone()
    turn = torch.linalg.qr(torch.randn(3, 3))[0]
    turn *= torch.linalg.det(turn)
    solver.states[0].F[:3] = turn @ torch.diag(torch.tensor([1.0, 1.0, -1e-6]))
    solver.states[0].C[:4] = 1.0
    with pytest.warns(UserWarning, match="frame 0: the object was torn; 3 of .* particles"):
        result = solver.solve()
    assert result.healed == {0: 3}
    healed, C = result.F[0], solver.states[0].C
    torch.testing.assert_close(healed[:3] @ healed[:3].mT, torch.eye(3).expand(3, 3, 3))
    assert (torch.linalg.det(healed[:3]) > 0).all() and torch.equal(healed[3:], whole[3:])
    assert not C[:3].any() and C[3].all()
    again = make_solver(block_targets(frames=4), checkpoint=path)
    again.resume()
    assert again.healed == {0: 3}


def test_a_gradient_that_is_no_number_is_forgotten_with_its_step():
    """In Adam's moments it would spoil every later step of the interval."""
    losses = []
    for spoiled in (False, True):
        solver, calls = make_solver(block_targets(frames=4), WindConfig(iterations=12)), []

        def spoil(gradient, calls=calls, spoiled=spoiled):
            calls.append(1)
            return gradient * float("nan") if spoiled and len(calls) == 3 else gradient

        solver.field.planes.register_hook(spoil)
        losses.append(solver.solve().loss)
    assert losses[1][0] < 1.5 * losses[0][0] + 0.05


def test_what_cannot_be_healed_goes_on_from_the_targets():
    solver = make_solver(block_targets(frames=4))
    solver.states[0].v[0] = 1e20
    with pytest.warns(UserWarning, match="frame 0: no force takes the object"):
        result = solver.solve()
    assert result.healed == {0: result.x.shape[1]}  # which the verdict counts as torn
    torch.testing.assert_close(result.x[1], solver.targets[1])
    assert result.force.isfinite().all() and (result.x[3] - solver.targets[3]).norm() < 0.1


class Stop(Exception):
    pass


def test_resume_gives_the_same_forces(tmp_path):
    targets = block_targets(frames=6)
    whole = make_solver(targets).solve()
    path = tmp_path / "force.pt"
    solver = make_solver(targets, checkpoint=path)
    commit, solver._commit = solver._commit, None

    def commit_twice(step, loss):
        if step == 2:
            raise Stop
        commit(step, loss)

    solver._commit = commit_twice
    with pytest.raises(Stop):
        solver.solve()
    again = make_solver(targets, checkpoint=path)
    again.resume()
    assert len(again.forces) == 2
    result = again.solve()
    assert torch.equal(result.force, whole.force) and result.loss == whole.loss


def test_checkpoints_of_long_clips_are_written_less_and_less_often(tmp_path, monkeypatch):
    """Each holds all intervals so far: to write one after each takes time as their square."""
    solver, saved = make_solver(block_targets(frames=4), checkpoint=tmp_path / "force.pt"), []
    monkeypatch.setattr(solver, "save", lambda: saved.append(len(solver.forces)))
    for done in range(1, 301):
        solver.forces = [None] * done
        solver.save_at(done)
    assert saved[:60] == list(range(1, 61))
    assert max(np.diff(saved)) <= 10 and saved[-1] == 300 and len(saved) < 150


def test_unusable_checkpoints_are_refused(tmp_path):
    targets = block_targets(frames=4)
    path = tmp_path / "force.pt"
    make_solver(targets, checkpoint=path).solve()
    with pytest.raises(ValueError, match="other settings"):
        make_solver(targets, WindConfig(iterations=7), checkpoint=path).resume()
    with pytest.raises(ValueError, match="other settings"):
        make_solver(targets * 1.01, checkpoint=path).resume()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged"):
        make_solver(targets, checkpoint=path).resume()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"iterations": 0}, "iterations"),
        ({"pulse": 0.0}, "pulse"),
        ({"pulse": 1.5}, "pulse"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"time_weight": float("nan")}, "time_weight"),
    ],
)
def test_bad_solver_settings(change, message):
    with pytest.raises(ValueError, match=message):
        WindConfig(**change)


def test_unknown_setting_is_an_error():
    with pytest.raises(TypeError, match="iteration"):
        WindConfig(iteration=3)
    with pytest.raises(ValueError, match="material"):
        WindJob(video=("v.mp4",), fov=40, distance=1, box=(0, 0, 9, 9), material="jam")


def test_bad_targets():
    targets = block_targets(frames=4)
    with pytest.raises(ValueError, match="targets"):
        make_solver(targets[:1])
    with pytest.raises(ValueError, match="confidence"):
        make_solver(targets, confidence=np.ones(3))
    broken = targets.copy()
    broken[2, 3, 1] = np.nan
    with pytest.raises(ValueError, match="1 values are not finite"):
        WindSolver(make_solver(targets).sim, broken, fps=FPS, config=FAST)


def test_errors_count_the_inner_frames():
    truth = np.tile([2.0, 0.0, 0.0], (10, 1))
    found = truth.copy()
    found[0] = found[-1] = found[-2] = found[-3] = [0, 9, 0]
    assert force_errors(found, truth)["vector_error_percent"] == 0
    found[4] = [0, 2, 0]
    errors = force_errors(found, truth)
    assert errors["direction_error_deg"] == pytest.approx(90 / 6)
    assert errors["magnitude_error_percent"] == pytest.approx(0, abs=1e-9)


def test_static_background_sees_behind_the_object():
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 200, (8, 12, 3), dtype=np.uint8)
    video, covered = np.repeat(scene[None], 5, axis=0), np.zeros((5, 8, 12), dtype=bool)
    for frame in range(5):
        covered[frame, 2:6, 2 * frame : 2 * frame + 3] = True
        video[frame][covered[frame]] = 255
    np.testing.assert_array_equal(static_background(video, covered), scene)


@pytest.mark.parametrize("name", ["elastic", "elastoplastic", "viscoplastic"])
def test_settings_make_each_material_of_a_run(name):
    clip = {"video": ("clip.mp4",), "camera": ("c.json",), "mask": "m.png", "depth": "d.png"}
    config = WindJob(**clip, material=name)
    assert type(config.make_material()) is tp.MATERIALS[name]
    with pytest.raises(ValueError, match="material"):
        WindJob(**clip, material="sand")
