"""How well forces are known: blocks of tracks left out, the linear model's covariance, factors."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from inverse.lifting.jackknife import BLOCKS
from inverse.lifting.solve import lift
from inverse.materials import Range
from inverse.tracking.tracks import Tracks
from inverse.wind.confidence import Confidence, accelerations, find_factors, free_spread
from inverse.wind.config import WindJob
from inverse.wind.results.truth import within
from inverse.wind.smoothing.covariance import Gain, force_spread
from inverse.wind.smoothing.evidence import (
    Errors,
    Model,
    TargetNoise,
    alike_in_time,
    lasting_in_time,
)
from inverse.wind.smoothing.prior import Strength, find_shapes
from renderers.orbit import look_at


FPS = 24.0


def falling_sheet(noise, views, frames=8, seed=0):
    """Tracks of a plate that falls and turns, with errors that keypoints of one place share."""
    rng = np.random.default_rng(seed)
    u, v = np.meshgrid(np.linspace(-0.3, 0.3, 6), np.linspace(-0.2, 0.2, 5))
    points = np.stack([u.ravel(), 0.02 * np.cos(9 * u).ravel(), v.ravel()], axis=1)
    t = np.arange(frames)[:, None, None] / FPS
    path = points + t * [0.3, 0.2, 0.0] + 0.5 * t**2 * [0, 0, -1.5]
    eyes = [(0.2, -1.6, 0.2), (1.3, -0.9, 0.3)][:views]
    found = []
    for eye in eyes:
        camera = look_at(eye, (0, 0, 0), fov=40, width=240, height=240)
        xy = np.stack([camera.project(x)[0] for x in path])
        place = (points[:, 0] // 0.21).astype(int)
        shared = rng.normal(size=(frames, 3, 2)).cumsum(axis=0)[:, place]
        xy = xy + noise * (shared - shared[:1])
        found.append((Tracks(xy=xy, visible=np.ones(xy.shape[:2], bool)), camera))
    return found, points, path


def test_a_lift_is_as_uncertain_as_it_is_wrong_and_most_so_along_the_axis_of_its_only_view():
    errors, stds = [], []
    for seed in range(3):
        views, points, path = falling_sheet(0.05, 1, seed=seed)
        lifted = lift(views, points, FPS, spread=True)
        assert lifted.shifts.shape == (BLOCKS, *lifted.points.shape)
        to_camera = views[0][1].rotation.T
        errors.append((lifted.points - path).mean(axis=1) @ to_camera)
        stds.append(np.sqrt((lifted.shifts.mean(axis=2) ** 2).sum(axis=0)) @ np.abs(to_camera))
    error, std = (np.sqrt(np.square(a)[:, 1:].mean(axis=(0, 1))) for a in (errors, stds))
    assert std[2] > 1.5 * std[:2].max()
    assert 0.3 < std[2] / error[2] < 3


def test_better_tracks_make_a_lift_more_certain():
    def usual(noise):
        views, points, _ = falling_sheet(noise, 1)
        shifts = lift(views, points, FPS, spread=True).shifts
        return np.sqrt((shifts.mean(axis=2) ** 2).sum(axis=0).mean())

    assert usual(0.01) < 0.5 * usual(0.05)
    views, points, _ = falling_sheet(0.05, 1)
    assert lift(views, points, FPS).shifts is None


def model(intervals=6, particles=40):
    rng = np.random.default_rng(0)
    x, mass = rng.uniform(0, 0.3, (particles, 3)), np.ones(particles)
    shapes = find_shapes(x, mass, 0.3, 4)
    strength = Strength(uniform=1.0, varying=0.5, length=0.3, time=0.2, sources=0.2)
    noise = TargetNoise(drift=1.0, jitter=0.3)
    turns = np.broadcast_to(np.eye(3), (intervals, 3, 3))
    return Model.of(strength, noise, shapes, turns, 1 / FPS), mass, rng


def errors(shifts=None, bent=None):
    shifts = np.zeros((0, 7, 5)) if shifts is None else shifts
    return Errors(
        spectrum=np.ones(5),
        lasting=lasting_in_time(7, 1 / FPS),
        measured=(shifts**2).sum(axis=0),
        alike=alike_in_time(shifts, 7, 1 / FPS),
        bent=np.zeros((7, 5)) if bent is None else bent,
    )


def test_the_spread_is_that_of_forces_which_the_gain_misses():
    """Forces drawn from the prior, coordinates with noise of the model: the gain's errors."""
    prior, mass, rng = model()
    J, steps = len(prior.shapes.one), len(prior.time)
    white = 3 * rng.standard_normal((7, 5, steps * 3 * J + 5))
    gain = Gain(prior, white, errors(), np.ones(5), np.ones((7, 1)))
    root = errors().roots(prior.noise, 5)
    share = mass @ prior.shapes.values / mass.sum()
    spread = force_spread(gain, mass)
    misses = []
    for _ in range(1500):
        z = rng.standard_normal(white.shape[2])
        seen = white.reshape(-1, len(z)) @ z + rng.standard_normal(35)
        path = np.einsum("kts,sk->tk", root, seen.reshape(7, 5))
        true = prior.coefficients(z[: steps * 3 * J].reshape(steps, 3, J))
        misses.append((gain(path)[0] - true)[2:4].mean(axis=0) @ share)
    # Frame 3 averages the intervals beside it, a little sharpened by those farther away.
    np.testing.assert_allclose(spread.net[3], np.std(misses, axis=0), rtol=0.1)


def test_a_simulation_that_may_be_off_and_a_hidden_push_widen_the_spread():
    prior, mass, rng = model()
    J, steps = len(prior.shapes.one), len(prior.time)
    rows = rng.standard_normal((7, 5, steps * 3 * J + 5))
    still = np.zeros((7, 5))
    exact, bends = errors(), errors(bent=np.ones((7, 5)))
    gain, doubtful = (
        Gain(prior, known.whiten(rows, prior.noise), known, np.ones(5), np.ones((7, 1)))
        for known in (exact, bends)
    )
    base, wider = (force_spread(g, mass) for g in (gain, doubtful))
    assert (wider.net > base.net).all() and (wider.part > base.part).all()
    push = np.tile([0, 0, -9.81], (steps, 1))
    hidden = force_spread(gain, mass, [(0.6 * push, still), (0.8 * push, still)])
    np.testing.assert_allclose(hidden.net[:, 2] ** 2 - base.net[:, 2] ** 2, 9.81**2, rtol=1e-9)
    np.testing.assert_allclose(hidden.net[:, :2], base.net[:, :2])


def test_errors_are_those_of_blocks_of_the_tracks_of_a_drift_and_of_a_simulation():
    rng = np.random.default_rng(0)
    slow = np.cos(0.2 * np.arange(7))[:, None]
    shifts = 1e-3 * np.stack([a * slow * np.ones((7, 5)) for a in rng.normal(size=8)])
    known = errors(shifts)
    np.testing.assert_allclose(known.alike, 1, atol=1e-9)  # as one curve, they last for good
    white = errors(1e-3 * rng.normal(size=(4000, 7, 5)))
    np.testing.assert_allclose(white.alike, np.eye(7), atol=0.05)
    bent = 1e-3 * np.arange(7)[:, None] * np.arange(5)
    root = errors(shifts, bent).roots(TargetNoise(drift=1e-3, jitter=0.1), 3)
    shown = np.sqrt((shifts**2).sum(axis=0))[:, 2]
    expected = np.outer(shown, shown) + np.outer(bent[:, 2], bent[:, 2])
    expected += 1e-6 * lasting_in_time(7, 1 / FPS)
    expected += 0.01 * np.diag(np.diagonal(expected))
    np.testing.assert_allclose(root[2] @ root[2].T, expected)


def test_errors_of_their_own_size_are_white():
    known, noise = errors(bent=np.ones((7, 5))), TargetNoise(drift=1e-3, jitter=0.3)
    draws = np.random.default_rng(0).standard_normal((7, 5, 4000))
    rows = np.einsum("kts,skn->tkn", known.roots(noise, 5), draws)
    np.testing.assert_allclose(known.whiten(rows, noise), draws, atol=1e-6)


def tracked_block(shifts, frames=9, n=20):
    rng = np.random.default_rng(1)
    t = np.arange(frames)[:, None, None] / FPS
    x = rng.normal(size=(n, 3)) + 0.5 * t**2 * [0, 0, -2.0]
    return SimpleNamespace(
        targets=x, confidence=np.ones((frames, n)), noise=np.full(frames, 1e3),
        sampled=np.arange(5), shifts=shifts,
    )  # fmt: skip


def test_a_free_body_is_known_as_well_as_the_acceleration_of_its_center():
    frames, n = 9, 20
    t = np.arange(frames) / FPS
    shifts = np.zeros((2, frames, 5, 3))
    shifts[0, ..., 0] = 0.5 * 0.3 * t[:, None] ** 2  # 0.3 m/s^2
    shifts[1, ..., 0] = 0.5 * 0.4 * t[:, None] ** 2
    mass = np.full(n, 0.1)
    force = np.tile([0, 0, -0.2], (frames, n, 1))
    tracked = tracked_block(shifts)
    spread = free_spread(tracked, force, mass, np.zeros(3), FPS)
    np.testing.assert_allclose(spread.net, np.tile([0.5, 0, 0], (frames, 1)), atol=1e-9)
    # A force that misses the targets, and one that a floor takes up.
    missed = free_spread(tracked, force + [0, 0, 0.1], mass, np.zeros(3), FPS)
    np.testing.assert_allclose(missed.net[:, 2], 1.0, rtol=1e-9)
    carried = free_spread(tracked, force + [0, 0, 0.1], mass, np.array([0, 0, -1.0]), FPS)
    np.testing.assert_allclose(carried.net, spread.net, atol=1e-9)
    # Where tracks say nothing, parts are known up to what varies: here by 1 m/s^2 in x.
    force[:, ::2, 0], force[:, 1::2, 0] = 0.1, -0.1
    part = free_spread(tracked, force, mass, np.zeros(3), FPS).part
    np.testing.assert_allclose(part[..., 1], 1 / np.sqrt(3), rtol=1e-3)


def test_accelerations_do_not_reach_over_a_blow():
    t = np.arange(12) / FPS
    height = np.where(t < 6 / FPS, -2 * t, -2 * 5.5 / FPS + 2 * (t - 5.5 / FPS)) - 4.9 * t**2
    path = np.stack([0 * t, 0 * t, height], axis=1)
    np.testing.assert_allclose(accelerations(path, FPS, {5})[:, 2], -9.8, rtol=1e-9)
    assert np.abs(accelerations(path, FPS)[:, 2]).max() > 20
    assert not accelerations(path[:2], FPS).any()


def test_factors_are_those_of_what_is_not_known():
    known = SimpleNamespace(
        density=Range(low=100.0, typical=200.0, high=400.0), thickness=None,
        E=Range(low=1e3, typical=1e4, high=1e5),
    )  # fmt: skip
    job = WindJob(video=("clip.mp4",), fov=30, box=(0, 0, 9, 9), density=200.0, E=1e4)
    inputs = SimpleNamespace(substance=known, job=job, surface=None)
    free, held = (find_factors(job, inputs, bent=bent) for bent in (False, True))
    assert free == {"density": pytest.approx(4 ** (1 / np.sqrt(12))), "distance": 2.0}
    assert set(held) == {"density", "distance", "E"}
    inputs.job = dataclasses.replace(job, density=250.0)  # as the user said
    job = dataclasses.replace(job, distance=3.0)
    assert find_factors(job, inputs, bent=False) == {}
    both = Confidence(
        std=np.zeros(0), net=np.zeros(0), factors={"a": np.exp(0.3), "b": np.exp(0.4)}
    )
    assert both.factor == pytest.approx(np.exp(0.5))
    assert dataclasses.replace(both, factors={}).factor == 1


@pytest.mark.parametrize("too_large", [2.5, 0.4])
def test_a_distance_that_something_tells_is_off_by_what_it_tells(too_large):
    guessed = Confidence(std=np.zeros(0), net=np.zeros(0), factors={"distance": 2.0, "E": 1.3})
    told = guessed.scaled(too_large)
    assert told.factors == {"distance": pytest.approx(2.5), "E": 1.3}
    assert guessed.factors["distance"] == 2.0


def test_shares_within_the_standard_deviation():
    errors = np.array([[0.5, 0, 0], [0, 1.5, 0], [0, 0, 2.5], [0, 0, 0.9]])
    assert within(errors, np.tile([0, 0, 1.0], (4, 1))) == {"one": 0.5, "two": 0.75}
