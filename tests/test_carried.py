"""Whether something that stays in its place would have fallen."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from inverse.wind import WindConfig, WindJob, WindRun
from inverse.wind.carried import canceled_fall, find_carried, pulled


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


def as_seen(x, *, held=False, surface=None, **given):
    """What `find_carried` is given of a run in which a sheet was seen at x (T, n, 3) m."""
    frames, n = x.shape[:2]
    run = WindRun(
        folder=Path("run"), job=WindJob(video=("clip.mp4",), mask="mask.png", **given),
        config=WindConfig(), t=TIME, x=x, force=np.zeros(x.shape), mass=np.full(n, 0.1),
        gravity=np.array(GRAVITY), held=np.full(n, held), reaction=np.zeros((frames, 3)),
        body=np.zeros(n, dtype=int), std=np.full(x.shape, 0.3),
        net_std=np.full((frames, 3), 2.0), factor=1.0, metrics={}, cameras=[],
    )  # fmt: skip
    inputs = SimpleNamespace(each=[SimpleNamespace(surface=surface)], fps=FPS)
    tracked = SimpleNamespace(targets=x, quality=SimpleNamespace(seen_share=np.ones(frames)))
    return run, inputs, tracked


def test_a_pull_that_was_not_found_is_no_smaller_than_the_weight():
    run, inputs, tracked = as_seen(waving())
    found = pulled(run, find_carried(run, inputs, tracked))
    n = found.x.shape[1]
    np.testing.assert_allclose(found.net_std, np.hypot(2.0, 0.1 * n * 9.81))
    np.testing.assert_allclose(found.std, np.hypot(0.3, 0.1 * 9.81))


@pytest.mark.parametrize(
    "given",
    [{"held": True}, {"hold_box": (0.0, 0.0, 9.0, 9.0)}, {"floor": 0.0}, {"surface": "a solid"}],
)
def test_what_is_known_to_be_held_or_may_hover_is_as_sure_as_before(given):
    run, inputs, tracked = as_seen(waving(), **given)
    assert pulled(run, find_carried(run, inputs, tracked)).net_std.max() == 2.0
