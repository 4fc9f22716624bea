"""Observed poses of a rigid part, and the noise in them."""

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation


TURNED = (2 / 3) ** 0.5  # movement of the particles of a round body by a turn, over its size


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ObservedPoses:
    """Poses of a part: times (T,) s, centers (T, 3) m, turns (T,) and its size m.

    whole: the last time and the span, s, of the observation that these are the beginning of, None
    where they are all of it.
    """

    times: np.ndarray
    centers: np.ndarray
    turns: Rotation
    size: float
    whole: tuple[float, float] | None = None

    @property
    def end(self) -> float:
        """The last observed time, s."""
        return float(self.times[-1]) if self.whole is None else self.whole[0]

    @property
    def span(self) -> float:
        """The observed time, s."""
        return float(self.times[-1] - self.times[0]) if self.whole is None else self.whole[1]

    @property
    def tau(self) -> np.ndarray:
        """The times (T,) as the forms count them."""
        return (self.times - self.end) / self.span

    def until(self, count: int) -> "ObservedPoses":
        """The first poses, with times that count as those of the whole."""
        return ObservedPoses(
            times=self.times[:count], centers=self.centers[:count], turns=self.turns[:count],
            size=self.size, whole=(self.end, self.span),
        )  # fmt: skip

    def turn_errors(self, fold: int, predicted: Rotation) -> np.ndarray:
        """How far (fold, 3) m rotations that were predicted for the last times move particles."""
        return (predicted * self.turns[-fold:].inv()).as_rotvec() * self.size * TURNED

    def turn_noise(self) -> float:
        """The scatter of single rotations, m of movement, in what a smooth motion lacks."""
        steps = (self.turns[1:] * self.turns[:-1].inv()).as_rotvec() * self.size * TURNED
        return _scatter(np.diff(steps, n=2, axis=0))

    def center_noise(self) -> float:
        """The scatter of single centers, m, in what a smooth motion lacks."""
        return _scatter(np.diff(self.centers, n=3, axis=0))


def _scatter(third: np.ndarray) -> float:
    """The scatter of values, of which these (k, 3) are third differences, 20 times the variance."""
    return float(np.sqrt((third**2).sum(axis=1).mean() / 20)) if len(third) else 0.0
