"""Free flight: how far away a thing is that only gravity moves."""

import numpy as np
import pytest

from inverse.wind.flight import find_flight


G = np.array([0.0, 0.0, -9.81])
FALL = np.tile(0.5 * G, (20, 1))  # as of a thing twice as far away as was guessed


def test_a_flight_says_how_far_away_it_is():
    noise = np.random.default_rng(0).normal(0, 0.3, FALL.shape)
    noise[[0, -1]] = 9.0  # which no clip determines
    found = find_flight(FALL + noise, G, guessed=2.0)
    assert found.distance == pytest.approx(4.0, rel=0.05)
    assert "--distance 4" in found.sentence
    assert set(found.record()) == {"size_m_s2", "distance_m", "sentence"}


def gust():
    return FALL + 2.0 * np.sin(np.arange(20))[:, None] * [1.0, 0, 0]


def drift():
    return FALL + [3.0, 0, 0]  # 31 degrees beside gravity


def rest():
    return np.random.default_rng(0).normal(0, 1e-3, FALL.shape)


@pytest.mark.parametrize("force", [gust, drift, rest])
def test_what_is_no_flight_says_nothing(force):
    assert find_flight(force(), G, guessed=2.0) is None
    assert find_flight(FALL, np.zeros(3), guessed=2.0) is None
    assert find_flight(FALL[:6], G, guessed=2.0) is None
