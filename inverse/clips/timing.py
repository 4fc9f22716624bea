"""From the times at which pictures were taken to even steps of time, on which forces are found."""

import dataclasses

import numpy as np


# Steps are even when pictures are off by no more than this share of one, on average, or by what
# the file's unit of time rounds away.
EVEN = 0.02
TICKS = 0.6  # of the file's unit of time, by which rounding moves a time
SPARSE = 4  # times as many even steps as pictures: such a clip has no rate
USUAL_RATES = (10, 12, 12.5, 15, 24000 / 1001, 24, 25, 30000 / 1001, 30, 48, 50, 60000 / 1001, 60,
               90, 100, 120000 / 1001, 120, 240000 / 1001, 240)  # fmt: skip
NEAR_RATE = 0.01  # relative distance to a usual rate within which a rate is taken to be that


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Timing:
    """Even steps of time, and the pictures that fall on them.

    fps: 1/s; start: s, of step 0; picture: (T,) index of the picture of each step, -1 where there
    is none; taken: (T,) s after step 0, when that picture was taken, NaN where there is none.
    """

    fps: float
    start: float
    picture: np.ndarray
    taken: np.ndarray

    @property
    def even(self) -> bool:
        """Whether all pictures were taken exactly at their steps."""
        there = self.picture >= 0
        steps = np.flatnonzero(there) / self.fps
        return bool(np.abs(self.taken[there] - steps).max() < 1e-9)


def find_timing(times: np.ndarray, tick: float | None = None) -> Timing:
    """The even steps that times (P,) s of pictures, which increase, come from.

    tick: the unit in which a file counts time, s. Raises ValueError for times without any rate.
    """
    times = np.asarray(times, dtype=float)
    step, slots = _step(times)
    if len(times) < 2 or slots[-1] + 1 > SPARSE * len(times):
        raise ValueError(
            f"its {len(times)} pictures come at no common rate, with up to "
            f"{np.diff(times).max():.2g} s between two of them; give --fps if they were taken at "
            "an even rate"
            if len(times) > 1
            else "it has a single picture"
        )
    off = times - times[0] - slots * step
    spread = off - off.mean()
    rounding = TICKS * (tick or 0.0)
    if np.sqrt((spread**2).mean()) < EVEN * step or np.ptp(off) < 2 * rounding:
        return _timing(times[0] + off.mean(), step, slots, np.zeros(len(times)))
    return _timing(times[0], step, slots, off)  # off is 0 at first: frame 0 is the first picture


def usual_rate(fps: float) -> float:
    """The usual rate that is next to fps, or fps itself."""
    nearest = min(USUAL_RATES, key=lambda rate: abs(rate - fps))
    return float(nearest) if abs(nearest - fps) < NEAR_RATE * fps else fps


def every(timing: Timing, count: int) -> Timing:
    """Only every so many steps; where one has no picture, the nearest that is nearer to it than to
    the next."""
    steps = np.arange(0, len(timing.picture), count)
    picture, taken = timing.picture[steps].copy(), timing.taken[steps].copy()
    for near in range(1, (count + 1) // 2):
        for there in (steps - near, steps + near):
            known = (there >= 0) & (there < len(timing.picture))
            known &= (picture < 0) & (timing.picture[np.where(known, there, 0)] >= 0)
            picture[known], taken[known] = timing.picture[there[known]], timing.taken[there[known]]
    return dataclasses.replace(timing, fps=timing.fps / count, picture=picture, taken=taken)


def scaled(timing: Timing, fps: float) -> Timing:
    """The same steps at another rate, fps 1/s: slow motion in true time."""
    by = timing.fps / fps
    return dataclasses.replace(timing, fps=fps, taken=timing.taken * by)


def _step(times: np.ndarray) -> tuple[float, np.ndarray]:
    """The step, s, of which the times between pictures are multiples, and those multiples' sums.

    Where a few pictures are missing the median is one step; where the rate changes, the shorter
    step may be the rarer.
    """
    gaps = np.diff(times)
    best: tuple[float, float, np.ndarray] | None = None
    for share in (50, 25, 10, 5):
        step = float(np.percentile(gaps, share)) if len(gaps) else 1.0
        for _ in range(3):  # refined on all times: a rounded step runs away from them
            counts = np.maximum(np.round(gaps / step), 1)
            slots = np.concatenate([[0], np.cumsum(counts)])
            centered = slots - slots.mean()
            if len(gaps):
                step = float(centered @ times / (centered @ centered))
        off = times - times[0] - slots * step
        error = float(np.sqrt(((off - off.mean()) ** 2).mean())) / step
        if best is None or error < 0.5 * best[0]:  # the longest step that will do
            best = error, step, slots
    assert best is not None
    return best[1], best[2].astype(int)


def _timing(start: float, step: float, slots: np.ndarray, off: np.ndarray) -> Timing:
    """Pictures on steps; where two fall on one, the nearer stays."""
    steps = int(slots[-1]) + 1
    picture, taken = np.full(steps, -1), np.full(steps, np.nan)
    for k, (slot, away) in enumerate(zip(slots, off, strict=True)):
        if picture[slot] < 0 or abs(away) < abs(taken[slot] - slot * step):
            picture[slot], taken[slot] = k, slot * step + away
    return Timing(fps=round(1 / step, 9), start=float(start), picture=picture, taken=taken)
