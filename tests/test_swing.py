"""What swings on a thread, and what only seems to."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from inverse.wind.swing import find_swing


G = np.array([0.0, 0.0, -9.81])
FPS, FRAMES = 30, 45


def pendulum(length=0.6, angle=0.5, turn=0.3, rate=0.0, drag=0.0):
    """Path (T, 3) m and force per mass (T, 3) m/s^2 of a ball on a thread from the origin."""
    t = np.arange(FRAMES) / FPS
    found = solve_ivp(
        lambda _, y: [y[1], -9.81 / length * np.sin(y[0]) - drag * y[1]], (0, t[-1]),
        [angle, rate], t_eval=t, rtol=1e-9, atol=1e-9,
    )  # fmt: skip
    theta, omega = found.y
    across = np.array([np.cos(turn), np.sin(turn), 0.0])
    radial = np.sin(theta)[:, None] * across - np.cos(theta)[:, None] * [0, 0, 1.0]
    along = np.cos(theta)[:, None] * across + np.sin(theta)[:, None] * [0, 0, 1.0]
    faster = -9.81 / length * np.sin(theta) - drag * omega
    return length * radial, length * (faster[:, None] * along - omega[:, None] ** 2 * radial)


def measured(path, force, noise=1e-3, seed=0):
    """With errors of a clip: of the path, and twice that, over 0.01 s^2, of the force."""
    rng = np.random.default_rng(seed)
    return path + noise * rng.normal(size=path.shape), force + 200 * noise * rng.normal(
        size=force.shape
    )


@pytest.mark.parametrize(("length", "angle"), [(0.6, 0.5), (1.0, 0.3), (0.25, 1.0)])
def test_a_ball_on_a_thread_is_told_with_its_thread_and_its_pull(length, angle):
    path, force = measured(*pendulum(length, angle, drag=0.1))
    found = find_swing(path, force, G)
    assert found is not None
    np.testing.assert_allclose(found.pivot, 0, atol=0.05 * length)
    assert found.length == pytest.approx(length, rel=0.05)
    radial = path / np.linalg.norm(path, axis=1, keepdims=True)
    pull = -((force - G) * radial).sum(axis=1)
    np.testing.assert_allclose(found.pull, pull, atol=0.6)
    assert found.scale == pytest.approx(1, abs=0.05)
    said = found.sentence
    assert "swings as on a thread" in said and "--distance" not in said


def test_a_swing_says_how_far_away_it_is():
    path, force = measured(*pendulum())
    assert find_swing(3 * path, 3 * force, G) is None  # the distance is known, so it is no swing
    found = find_swing(3 * path, 3 * force, G, guessed=6.0)
    assert found is not None and found.scale == pytest.approx(3, rel=0.05)
    true = find_swing(path, force, G)
    assert found.pull.mean() == pytest.approx(true.pull.mean(), rel=0.05)
    assert "0.59 m below" in found.sentence and "it is 2 m away, and not 6 m" in found.sentence


def flight():
    t = np.arange(FRAMES)[:, None] / FPS
    return t * [1.0, 0, 5.0] + 0.5 * t**2 * G, np.tile(G, (FRAMES, 1))


def shaken():
    """To and fro by a force of its own, along a curve that is lowest in the middle."""
    t = np.arange(FRAMES) / FPS
    x = 0.3 * np.sin(7 * t) + 0.2 * np.sin(11 * t + 1)
    path = np.stack([x, 0 * t, 0.8 * x**2], axis=1)
    return path, np.gradient(np.gradient(path, 1 / FPS, axis=0), 1 / FPS, axis=0)


def carried():
    """Around on a level circle, by a hand."""
    t = 4 * np.arange(FRAMES) / FPS
    path = 0.4 * np.stack([np.cos(t), np.sin(t), 0 * t], axis=1)
    return path, -16 * path


def half_a_swing():
    path, force = pendulum(length=1.5)
    return path[:18], force[:18]


@pytest.mark.parametrize("motion", [flight, shaken, carried, half_a_swing])
def test_what_does_not_swing_is_on_no_thread(motion):
    for guessed in (None, 2.0):
        assert find_swing(*measured(*motion()), G, guessed=guessed) is None


def test_without_gravity_or_frames_nothing_swings():
    path, force = pendulum()
    assert find_swing(path, force, np.zeros(3)) is None
    assert find_swing(path[:8], force[:8], G) is None
