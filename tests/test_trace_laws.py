"""The law of a part: its form is found from the poses, and foretells poses that come later."""

import functools
import json

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.spatial.transform import Rotation

from inverse.trace import laws
from inverse.trace.forms import PATHS, ROTATIONS
from inverse.trace.laws import MotionLaw, distances, find_law
from inverse.trace.observed_poses import ObservedPoses
from inverse.trace.spins import spun


TIMES = np.linspace(0, 0.75, 16)
LATER = np.array([1.0])
SIZE = 0.2


def uniform(place, velocity, acceleration, spin):
    """A body with a constant acceleration and a constant spin."""

    def motion(t):
        path = np.add(place, np.outer(t, velocity) + np.outer(t**2 / 2, acceleration))
        return path, Rotation.from_rotvec(np.outer(t, spin))

    return motion


def pendulum(t):
    """A body at the end of a rod, which swings by nearly a right angle."""
    fall = solve_ivp(
        lambda _, y: (y[1], -25 * np.sin(y[0]) - 0.3 * y[1]), (0, 2), (0.9, 0), t_eval=t, rtol=1e-9
    )
    turns = Rotation.from_rotvec(np.outer(fall.y[0], (0, 1, 0)))
    return turns.apply((0, 0, -0.8)) + (0, 0, 1), turns


def spring(t):
    """A body that bounces on a spring and spins."""
    z = 0.4 * np.exp(-0.4 * t) * np.cos(7 * t)
    return np.stack([0 * t, 0 * t, z], axis=1), Rotation.from_rotvec(np.outer(t, (0, 0, 2.0)))


def car(t):
    """A body that moves where it looks, ever faster, on a curve that gets tighter."""
    fine = np.linspace(0, 2, 4001)
    yaw, speed = 1.2 * fine + 1.0 * fine**2, 1 + 0.8 * fine
    v = speed[:, None] * np.stack([np.cos(yaw), np.sin(yaw), 0 * yaw], axis=1)
    h = fine[1]
    path = np.concatenate([np.zeros((1, 3)), np.cumsum((v[1:] + v[:-1]) / 2 * h, axis=0)])
    at = np.stack([np.interp(t, fine, p) for p in path.T], axis=1)
    return at, Rotation.from_rotvec(np.outer(1.2 * t + t**2, (0, 0, 1)))


LAWS = {
    "rotor": (uniform((0.5, 0.2, 0.15), (0, 0, 0), (0, 0, 0), (0, 0, np.pi)), "pivot", "constant"),
    "box": (uniform((-1, 1, 0), (0.1, -2.4, 0), (0, 2.4, 0), (0, 0, 0.6)), "accelerated",
            "constant"),
    "ball": (uniform((0, 0, 1), (0.5, 0.1, 0.9), (0, 0, -3.2), (1.2, 0, 0)), "accelerated",
             "constant"),
    "pendulum": (pendulum, "pivot", "harmonic"),
    "spring": (spring, "harmonic", "constant"),
    "car": (car, "steered", "accelerated"),
}  # fmt: skip


@functools.cache
def law_of(name, noise=5e-4):
    """The law that is found for one of LAWS."""
    return find_law(*seen(LAWS[name][0], noise))


def seen(motion, noise, seed=0):
    """Poses at TIMES, with noise in m."""
    rng = np.random.default_rng(seed)
    centers, turns = motion(TIMES)
    centers = centers + noise * rng.normal(size=centers.shape) / 3**0.5
    shaken = Rotation.from_rotvec(noise / SIZE * rng.normal(size=centers.shape))
    return TIMES, centers, shaken * turns, SIZE


@pytest.mark.parametrize("name", LAWS)
def test_the_form_is_found_and_foretells(name):
    motion, path, rotation = LAWS[name]
    law = law_of(name)
    assert law.rotation == rotation
    assert law.path == path or (name, law.path) == ("pendulum", "arc")  # the same motion
    miss = distances(law.poses(LATER), motion(LATER), SIZE)[0]
    went = np.linalg.norm(motion(LATER)[0] - motion(TIMES[-1:])[0])
    assert miss < 0.02 + 0.05 * went


@pytest.mark.parametrize("name", ["pendulum", "spring", "car"])
def test_where_constant_accelerations_fail_other_forms_do_not(name):
    motion, _, _ = LAWS[name]
    times, centers, turns, _ = seen(motion, 5e-4)
    path = ObservedPoses(times=times, centers=centers, turns=turns, size=SIZE)
    rates = ROTATIONS["accelerated"].fit(path.tau, turns)

    def turn(tau):
        return ROTATIONS["accelerated"].turns(rates, tau)

    trd = PATHS["trd"].fit(path.tau, centers, turn, SIZE)
    later = (LATER - path.end) / path.span
    theirs = distances((PATHS["trd"].centers(trd, later, turn), turn(later)), motion(LATER), SIZE)
    ours = distances(law_of(name).poses(LATER), motion(LATER), SIZE)
    assert ours[0] < 0.5 * theirs[0]


def test_deviations_are_those_of_the_errors_and_grow():
    """Of all laws, a third of the observed time after its end."""
    misses, claims = [], []
    for name, (motion, _, _) in LAWS.items():
        for noise in (5e-4, 2e-3):
            law = law_of(name, noise)
            misses.append(distances(law.poses(LATER), motion(LATER), SIZE)[0])
            claims.append(law.deviations(LATER)[0])
            grown = law.deviations([0.75, 1.0, 1.25])
            assert (np.diff(grown) >= 0).all() and grown[2] > 1.01 * grown[0]
    ratio = np.array(misses) / np.array(claims)
    assert 0.4 < np.median(ratio) < 2
    assert np.sqrt((ratio**2).mean()) < 2.5


def until(count, motion, noise=5e-4):
    """The first poses that are seen of a motion."""
    times, centers, turns, size = seen(motion, noise)
    return times[:count], centers[:count], turns[:count], size


@pytest.mark.parametrize("name", ["rotor", "box", "spring", "car"])
def test_a_law_that_foresaw_later_poses_is_kept_and_learns_from_them(name, monkeypatch):
    motion, path, rotation = LAWS[name]
    known = find_law(*until(10, motion))
    sought = law_of(name)

    def no_search(path):
        raise AssertionError("forms are compared again")

    monkeypatch.setattr(laws, "_sought", no_search)
    law = find_law(*seen(motion, 5e-4), known)
    assert (law.path, law.rotation, law.end) == (path, rotation, TIMES[-1])
    assert law.deviations(LATER)[0] < known.deviations(LATER)[0]
    miss = law.apart(sought, LATER)[0]
    assert miss < 2 * sought.deviations(LATER)[0]


def test_a_law_that_did_not_foresee_later_poses_is_sought_anew():
    """A body that turns evenly, and is pushed after the last pose that was known."""

    def pushed(t):
        centers, turns = LAWS["rotor"][0](t)
        return centers + np.outer(np.clip(t - TIMES[10], 0, None) ** 2, (3.0, 0, 0)), turns

    known = find_law(*until(11, pushed))
    assert known.path == "pivot"
    law = find_law(*seen(pushed, 5e-4), known)
    assert law.record() == find_law(*seen(pushed, 5e-4)).record()
    assert law.errors["path"] != known.errors["path"]


def test_laws_do_not_depend_on_units_or_origin():
    times, centers, turns, _ = seen(LAWS["car"][0], 5e-4)
    law = law_of("car")
    there = np.array([40.0, -7.0, 3.0])
    other = find_law(3 * times + 5, 10 * (centers + there), turns, 10 * SIZE)
    assert (other.path, other.rotation) == (law.path, law.rotation)
    first, second = law.poses(LATER), other.poses(3 * LATER + 5)
    np.testing.assert_allclose(second[0] / 10 - there, first[0], atol=1e-3)
    assert (first[1] * second[1].inv()).magnitude()[0] < 1e-3


def test_a_law_survives_json():
    law = law_of("spring", 2e-3)
    again = MotionLaw.from_record(json.loads(json.dumps(law.record())))
    for t in (0.2, 1.0):
        np.testing.assert_array_equal(again.poses([t])[0], law.poses([t])[0])
        np.testing.assert_array_equal(again.deviations([t]), law.deviations([t]))
    with pytest.raises(ValueError, match="made by another version"):
        MotionLaw.from_record({"rotation": "none"})


@pytest.mark.parametrize("count", [3, 4, 6])
def test_few_poses_have_a_simple_law(count):
    motion, _, _ = LAWS["rotor"]
    times = np.linspace(0, 0.6, count)
    law = find_law(times, *motion(times), SIZE)
    assert np.isfinite(find_law(times, *motion(times), 1e-6).deviations([0.9])).all()
    centers, _ = law.poses([0.9])
    np.testing.assert_allclose(centers, motion(np.array([0.9]))[0], atol=0.05)
    assert np.isfinite(law.deviations([0.9])).all()


def test_spun_follows_the_equation_of_motion():
    rates = np.array([(0.4, -0.3, 0.8), (0.5, 1.0, -0.7), (0.2, -0.6, 0.9)])

    def turning(t, R):
        w = rates[0] + rates[1] * t + rates[2] * t**2
        return np.cross(w, R.reshape(3, 3), axisb=0, axisc=0).ravel()

    for end in (-1.0, 1.5):
        R = solve_ivp(turning, (0, end), np.eye(3).ravel(), rtol=1e-10, atol=1e-12).y[:, -1]
        turns = spun(rates, np.array([end, 0.0, end / 3])).as_matrix()
        np.testing.assert_allclose(turns[0], R.reshape(3, 3), atol=1e-6)
        np.testing.assert_allclose(turns[1], np.eye(3), atol=1e-12)
