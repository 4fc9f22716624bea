"""Whether something that stays in its place would have fallen."""

import numpy as np
import pytest

from inverse.wind.carried import canceled_fall


GRAVITY = (0.0, 0.0, -9.81)
FRAMES, FPS = 36, 30.0
TIME = np.arange(FRAMES) / FPS
LASTS = float(TIME[-1])


def sheet():
    """A sheet (n, 3) m, 1 m by 0.6 m, across x and z, and the mass of its particles."""
    x, z = np.meshgrid(np.linspace(0, 1, 11), np.linspace(0, 0.6, 7))
    return np.stack([x.ravel(), np.zeros(x.size), z.ravel()], axis=1), np.ones(x.size)


def waving():
    """(T, n, 3) m of a flag that waves beside its pole, by more the farther off that is."""
    x, _ = sheet()
    moved = np.repeat(x[None], FRAMES, axis=0)
    moved[..., 1] += 0.3 * x[:, 0] * np.sin(2 * np.pi * 2 * TIME[:, None] - 5 * x[:, 0])
    return moved


def flying(v, acceleration):
    """(T, n, 3) m of a sheet that moves as a whole."""
    path = TIME[:, None] * np.asarray(v) + 0.5 * TIME[:, None] ** 2 * np.asarray(acceleration)
    return sheet()[0] + path[:, None]


def test_a_flag_that_waves_in_its_place_would_have_fallen():
    fall = canceled_fall(waving(), sheet()[1], GRAVITY, LASTS)
    assert fall == pytest.approx(0.5 * 9.81 * LASTS**2)


@pytest.mark.parametrize(
    "v, acceleration",
    [
        ((0, 0, 0), GRAVITY),
        ((0.3, 0, -0.3), (0, 0, 0)),  # a leaf that sinks, no faster for the air
        ((0, 0, 0.5 * 9.81 * LASTS), GRAVITY),  # a throw, back where it began when the clip ends
    ],
)
def test_what_leaves_its_place_is_free(v, acceleration):
    assert canceled_fall(flying(v, acceleration), sheet()[1], GRAVITY, LASTS) is None


def test_in_a_short_time_or_without_weight_nothing_falls():
    assert canceled_fall(waving()[:4], sheet()[1], GRAVITY, 3 / FPS) is None
    assert canceled_fall(waving(), sheet()[1], (0.0, 0.0, 0.0), LASTS) is None
