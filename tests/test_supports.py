"""What holds an object and what it stands on: found, simulated, and its reaction."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_runs import wind_run as wind_run

import taichi_phys as tp
from inverse.commands.wind import make_parser, settings
from inverse.metrics import vector_errors
from inverse.tracking import Tracks
from inverse.wind.config import WindConfig, WindJob
from inverse.wind.impacts import bridged, find_impacts, pieces, thrown_back
from inverse.wind.inputs.object import read_hold
from inverse.wind.run import FORCES, WindRun
from inverse.wind.solver import WindSolver, at_frames
from inverse.wind.strayed import strayed_px
from inverse.wind.supports import Supports, find_supports, make_parts, reaction
from renderers.camera import camera_from_fov


FPS, DX = 24.0, 0.05
BEAM, VOLUME = tp.sample_box((0, 0, 0), (0.4, 0.1, 0.1), spacing=0.05)
LENGTH = BEAM[:, 0] / 0.4  # 0 to 1
END = BEAM[:, 0] < 0.1
PX = 300.0  # per m
ALL = np.ones(len(BEAM), dtype=bool)


def make_beam(targets, held=END, E=2e4, **options):
    """Supports and simulator of a beam that is held where held says, and moves along targets."""
    confidence = np.ones(targets.shape[:2])
    parts = make_parts(held, BEAM, targets, confidence, FPS, DX, 1e-4)
    supports = Supports(held=held, parts=parts, **options)
    grid = tp.Grid.around(targets, dx=DX, margin=0.15)
    body = tp.Particles(BEAM, volume=VOLUME, density=300.0, material=tp.Elastic(E=E, nu=0.3))
    colliders = supports.colliders(BEAM, grid)
    return supports, tp.MPM(particles=body, grid=grid, gravity=(0, 0, 0), colliders=colliders)


def simulate(sim, acceleration, frames):
    """States and forces of a simulation under accelerations (T, 3) m/s^2 of its intervals."""
    state, forces = sim.initial_state(), []
    states = [state]
    substeps = sim.substeps(1 / FPS, 2.0)
    with torch.no_grad():
        for k in range(frames - 1):
            force = sim.mass[:, None] * torch.as_tensor(acceleration[k]).to(sim.mass)
            state = sim.advance(state, frame_dt=1 / FPS, force=force, substeps=substeps)
            states.append(state)
            forces.append(force)
    x, v = (torch.stack([getattr(s, name) for s in states]) for name in "xv")
    return SimpleNamespace(x=x, v=v, force=torch.stack(forces), nudges=None)


def pixels(x):
    return PX * x[:, [0, 2]]


# What is given


def make_inputs(**options):
    inputs = SimpleNamespace(
        cameras=[[CAMERA]], hold=None, fps=FPS, tracks=None, surface=None, **options
    )  # fmt: skip
    inputs.mask = np.ones((100, 100), dtype=bool)
    return inputs


CAMERA = camera_from_fov(100, 100, 30.0)
JOB = WindJob(video=("clip.mp4",), fov=30, box=(0, 0, 9, 9), distance=1.5)
PLACE = BEAM - BEAM.mean(axis=0) + [0, 1.5, 0]  # in the middle of the picture


def tracked(targets, by="tracks"):
    quality = SimpleNamespace(sigma_px=0.1, seen_share=np.ones(len(targets)))
    off = strayed_px([tracks_of(targets)], [[CAMERA] * len(targets)], targets)
    return SimpleNamespace(
        targets=targets, confidence=np.ones(targets.shape[:2]), quality=quality,
        anchors=targets[0], strayed=off, by=by,
    )  # fmt: skip


def tracks_of(targets):
    """Tracks of all particles with targets (T, n, 3) m in the only view."""
    return Tracks(xy=CAMERA.project(targets)[0], visible=np.ones(targets.shape[:2], dtype=bool))


def test_particles_in_the_pixels_that_are_given_are_held():
    inputs, still = make_inputs(), tracked(np.repeat(PLACE[None], 5, axis=0))
    inputs.hold = np.zeros((100, 100), dtype=bool)
    inputs.hold[:, :50] = True
    supports = find_supports(JOB, inputs, PLACE, still, DX)
    np.testing.assert_array_equal(supports.held, PLACE[:, 0] < 0)
    assert len(supports.parts) == 1 and supports.parts[0].pose is None
    assert "held, as given, at rest" in supports.sentences(dataclasses.replace(JOB, hold="a"))[0]
    for everything in (False, True):
        inputs.hold[:] = everything
        with pytest.raises(ValueError, match="hold: (all|no part) of the object"):
            find_supports(JOB, inputs, PLACE, still, DX)


def test_auto_and_none():
    swing = 0.3 * np.linspace(0, 1, 9)[:, None] * np.maximum(LENGTH - 0.3, 0) ** 2
    moving = tracked(PLACE + swing[..., None] * [0, 0, 1.0])
    supports = find_supports(JOB, make_inputs(), PLACE, moving, DX)
    assert 0 < supports.held.sum() < len(BEAM) / 2 and supports.touch
    assert "--hold none" in supports.sentences(JOB)[0]
    nothing = find_supports(dataclasses.replace(JOB, hold="none"), make_inputs(), PLACE, moving, DX)
    assert not nothing.held.any() and not nothing.touch and not nothing.sentences(JOB)
    for by in ("both", "outline", "doubt"):  # a ball, which moves as its silhouette does
        ball = tracked(moving.targets, by)
        assert not find_supports(JOB, make_inputs(), PLACE, ball, DX).held.any()


def test_what_is_found_to_rest_does_not_drift_along_the_rays_of_one_view():
    """What is lifted from one view grows and comes nearer alike, off what holds it."""
    swing = 0.3 * np.linspace(0, 1, 9)[:, None] * np.maximum(LENGTH - 0.3, 0) ** 2
    true = PLACE + swing[..., None] * [0, 0, 1.0]
    nearer = np.linspace(1, 0.9, 9)[:, None, None]
    drifting = tracked(CAMERA.position + nearer * (true - CAMERA.position))
    supports = find_supports(JOB, make_inputs(), PLACE, drifting, DX)
    assert [part.pose for part in supports.parts] == [None]
    path, one = [CAMERA] * 9, np.zeros(len(PLACE), dtype=int)
    found = supports.steadied(drifting.targets, [path], one)
    np.testing.assert_allclose(found, true, atol=1e-3)
    assert np.abs(drifting.targets - true).max() > 0.1
    np.testing.assert_allclose(
        CAMERA.project(found)[0], CAMERA.project(drifting.targets)[0], atol=1e-9
    )
    assert supports.steadied(drifting.targets, [path, path], one) is drifting.targets
    said = tuple(dataclasses.replace(part, found=False) for part in supports.parts)
    given = dataclasses.replace(supports, parts=said)
    assert given.steadied(drifting.targets, [path], one) is drifting.targets


def test_a_floor_lies_across_gravity():
    job = dataclasses.replace(JOB, floor=0.2, gravity=(0.0, -3.0, -4.0), floor_friction=0.7)
    still = tracked(np.repeat(PLACE[None], 5, axis=0))
    floor = find_supports(job, make_inputs(), PLACE, still, DX).floor
    np.testing.assert_allclose(floor.normal, (0, 0.6, 0.8))
    np.testing.assert_allclose(floor.point, (0, 0.12, 0.16))
    assert floor.friction == 0.7 and floor.contact == "separate"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hold": "mask.png", "hold_box": (0, 0, 5, 5)}, "hold: .* beside hold_box"),
        ({"hold_box": (0, 0, 5, 5, 7)}, "hold_box: .* expected 4 values, or 4 each"),
        ({"floor": 0.0, "gravity": (0.0, 0.0, 0.0)}, "floor: gravity is zero"),
        ({"floor_friction": -1.0}, "floor_friction"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(JOB, **change)


def test_a_cloth_is_held_at_each_of_its_corners():
    flags = ["--hold-box", "0", "0", "2", "3", "--hold-box", "7", "1", "9", "4"]
    job, _ = settings(make_parser().parse_args([*flags, "--video", "a.mp4", "--box", *"0199"]))
    held = read_hold(job, (5, 10))
    assert held[:3, :2].all() and held[1:4, 7:9].all() and held.sum() == 12
    with pytest.raises(ValueError, match=r"got \(7.0, 1.0, 9.0, 4.0\), expected x0 < x1"):
        read_hold(job, (5, 8))
    with pytest.raises(ValueError, match="hold_box: got no values"):
        read_hold(dataclasses.replace(job, hold_box=()), (5, 8))


# What the simulation makes of it


def test_a_part_that_is_held_stays_and_its_reaction_carries_the_rest():
    """The rest is stiff, so that the reaction is the force that acts, with its sign turned."""
    frames = 5
    supports, sim = make_beam(np.repeat(BEAM[None], frames, axis=0), E=2e5)
    acceleration = np.tile([1.0, 0.5, -4.0], (frames - 1, 1))
    end = simulate(sim, acceleration, frames)
    assert (end.x[-1] - end.x[0])[END].abs().max() < 2e-3
    assert (end.x[-1] - end.x[0]).abs().max() > 4e-3
    pushed = reaction(supports, end, sim.mass, FPS)[1:-1].mean(axis=0)
    np.testing.assert_allclose(pushed, -sim.mass.sum().item() * acceleration[0], rtol=0.3, atol=0.3)


def test_a_part_that_is_held_follows_its_tracks():
    """A support that moves and turns carries the beam with it."""
    t = np.arange(7) / FPS
    angle = 2.0 * t**2
    turn = np.zeros((7, 3, 3))
    turn[:, 1, 1] = 1
    turn[:, 0, 0] = turn[:, 2, 2] = np.cos(angle)
    turn[:, 0, 2], turn[:, 2, 0] = np.sin(angle), -np.sin(angle)
    targets = np.einsum("tij,nj->tni", turn, BEAM) + (t**2)[:, None, None] * [0, 1.0, 0]
    supports, sim = make_beam(targets, E=2e5)
    assert supports.parts[0].pose is not None
    end = simulate(sim, np.zeros((6, 3)), 7)
    np.testing.assert_allclose(end.x[:, END].cpu(), targets[:, END], atol=2e-3)
    assert not np.allclose(targets[-1, END], BEAM[END], atol=2e-2)


def test_two_supports_move_apart():
    held = (BEAM[:, 0] < 0.1) | (BEAM[:, 0] > 0.3)
    targets = np.repeat(BEAM[None], 5, axis=0)
    targets[:, BEAM[:, 0] > 0.3, 2] += np.linspace(0, 0.02, 5)[:, None]
    supports, _ = make_beam(targets, held)
    assert [part.pose is None for part in supports.parts] == [True, False]
    assert sum(len(part.particles) for part in supports.parts) == held.sum()


def test_a_single_particle_holds_too():
    """A support so small that no node is nearest to it grows until it holds one."""
    held = np.zeros(len(BEAM), dtype=bool)
    held[np.abs(BEAM - BEAM[END].mean(axis=0)).sum(axis=1).argmin()] = True
    targets = np.repeat(BEAM[None], 4, axis=0)
    ends = [simulate(make_beam(targets, one)[1], np.tile([0, 0, -4.0], (3, 1)), 4)
            for one in (held, held & False)]  # fmt: skip
    fell = [(end.x[-1] - end.x[0])[held][:, 2].item() for end in ends]
    assert abs(fell[0]) < 0.2 * abs(fell[1])


def test_wind_on_a_beam_that_is_held_and_its_reaction_are_recovered():
    frames = 7
    t = (np.arange(frames - 1) + 0.5) / FPS
    wind = np.stack([0.5 + 0 * t, 2 * np.sin(6 * t), -1 - 8 * t], axis=1)
    supports, sim = make_beam(np.repeat(BEAM[None], frames, axis=0), E=5e3)
    truth = simulate(sim, wind, frames)
    targets = truth.x.double().cpu().numpy()
    supports, sim = make_beam(targets, E=5e3)
    torch.manual_seed(0)
    confidence = np.where(END, 0.0, 1.0) * np.ones((frames, 1))
    solver = WindSolver(
        sim, targets, fps=FPS, config=WindConfig(iterations=8), confidence=confidence
    )
    result = solver.solve(progress=False)
    net = (result.frame_forces().sum(dim=1) / sim.mass.sum()).cpu().numpy()
    true_net = at_frames(torch.as_tensor(wind)).numpy()
    inner = slice(1, -1)
    assert vector_errors(net[inner], true_net[inner])["vector_error_percent"] < 25
    pushed, true = (reaction(supports, one, sim.mass, FPS) for one in (result, truth))
    assert vector_errors(pushed[inner], true[inner])["vector_error_percent"] < 25


# Blows of a floor

HIT = 0.26  # s
DOWN = 0.5 * 9.81 * HIT**2  # m
FLOOR = tp.Plane(point=(0, 0, -DOWN), normal=(0, 0, 1), friction=0.5)


def bounce(frames=14):
    """Targets (T, n, 3) m of a rigid block that falls, and that the floor throws back."""
    t = np.arange(frames) / FPS
    after = np.maximum(t - HIT, 0)
    up = 0.8 * 9.81 * HIT * after - 0.5 * 9.81 * after**2 - DOWN
    height = np.where(t < HIT, -0.5 * 9.81 * t**2, up)
    return BEAM + np.stack([0.5 * t, 0 * t, height], axis=1)[:, None]


def test_blows_are_found_where_the_floor_throws_an_object_back():
    assert find_impacts(FLOOR, bounce(), FPS, DX, 9.81) == [5, 6, 7]  # at 0.25, 0.29 s
    higher = dataclasses.replace(FLOOR, point=(0, 0, -2.0))  # nothing near: wind, not a blow
    assert find_impacts(higher, bounce(), FPS, DX, 9.81) == []


def test_what_rests_or_slides_on_a_floor_is_not_hit():
    sliding = BEAM - [0, 0, DOWN] + (np.arange(14) / FPS)[:, None, None] * [1.0, 0, 0]
    assert find_impacts(FLOOR, sliding, FPS, DX, 9.81) == []
    assert len(thrown_back(sliding[..., 2].min(axis=1))) == 0


def test_a_floor_tells_how_far_away_the_object_is():
    """A guess makes all too small alike, about the camera, and the floor with it."""
    true = bounce() + [0, 3.0, -BEAM[:, 2].min()]
    np.testing.assert_allclose(thrown_back(true[..., 2].min(axis=1)), [-DOWN], atol=1e-6)
    seen = tracked(0.4 * true)  # the camera is in the origin, above the floor
    job = dataclasses.replace(JOB, floor=-DOWN, hold="none")
    found = find_supports(job, make_inputs(), seen.targets[0], seen, DX, guessed=1.2)
    assert found.distance == pytest.approx(3.0)
    np.testing.assert_allclose(found.floor.point, (0, 0, -0.4 * DOWN), atol=1e-6)
    assert found.impacts == (5, 6, 7)
    assert any("--distance 3 makes" in sentence for sentence in found.sentences(job))
    said = find_supports(job, make_inputs(), seen.targets[0], seen, DX)
    assert said.distance is None and said.floor.point[2] == -DOWN and not said.impacts


def test_a_short_flight_between_blows_belongs_to_them():
    """Two frames between two blows tell no force."""
    targets = np.concatenate([bounce(9), bounce(9)[7:]])
    found = find_impacts(FLOOR, targets, FPS, DX, 9.81)
    assert pieces(len(targets), found)[0] == (0, 5)
    assert all(last - first >= 3 for first, last in pieces(len(targets), found))


def test_gaps_are_filled_from_both_sides():
    assert pieces(9, [0, 3, 4]) == [(1, 3), (5, 8)]
    assert pieces(4, []) == [(0, 3)]
    force = torch.tensor([9.0, 1.0, 9.0, 9.0, 4.0, 9.0])[:, None, None].expand(6, 1, 3)
    filled = bridged(force, [0, 2, 3, 5])[:, 0, 0]
    torch.testing.assert_close(filled, torch.tensor([1.0, 1.0, 2.0, 3.0, 4.0, 4.0]))


def test_a_block_that_bounces_weighs_the_same_throughout():
    targets = bounce()
    gaps = tuple(find_impacts(FLOOR, targets, FPS, DX, 9.81))
    nothing = np.zeros(len(BEAM), dtype=bool)
    supports, sim = make_beam(targets, nothing, E=5e3, floor=FLOOR, impacts=gaps)
    torch.manual_seed(0)
    config = WindConfig(iterations=3, resolution=4, channels=4, hidden=8)
    result = WindSolver(sim, targets, fps=FPS, config=config, gaps=gaps).solve(progress=False)
    net = (result.frame_forces().sum(dim=1) / sim.mass.sum()).cpu().numpy()
    np.testing.assert_allclose(net, np.tile([0, 0, -9.81], (14, 1)), atol=0.3)
    pushed = reaction(supports, result, sim.mass, FPS)
    blow = 1.8 * 9.81 * HIT * sim.mass.sum().item()
    assert pushed[5:9, 2].sum() / FPS == pytest.approx(blow, rel=0.1)
    assert np.abs(pushed[:5]).max() < 0.02 * pushed[5:9, 2].max()


def test_nothing_pushes_a_free_body():
    free = SimpleNamespace(x=torch.zeros(4, 2, 3), v=torch.rand(4, 2, 3), force=torch.ones(3, 2, 3))
    supports = Supports(held=np.zeros(2, dtype=bool))
    assert not reaction(supports, free, torch.ones(2), FPS).any()


# The folder


def test_a_run_keeps_what_was_held(wind_run, tmp_path):
    run = WindRun.load(wind_run)
    held = np.arange(60) < 5
    pushed = np.random.default_rng(0).normal(size=(5, 3))
    dataclasses.replace(run, held=held, reaction=pushed).save()
    again = WindRun.load(wind_run)
    run.save()
    np.testing.assert_array_equal(again.held, held)
    np.testing.assert_array_equal(again.reaction, pushed)


def test_a_folder_without_supports_still_opens(wind_run):
    run, path = WindRun.load(wind_run), wind_run / FORCES
    with np.load(path) as record:
        arrays = dict(record)
    np.savez(path, **{name: arrays[name] for name in arrays if name not in ("held", "reaction")})
    old = WindRun.load(wind_run)
    run.save()
    assert old.held.shape == (60,) and old.held.dtype == bool and not old.held.any()
    assert old.reaction.shape == (5, 3) and not old.reaction.any()
