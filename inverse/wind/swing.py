"""Things that swing: on a thread, a rope, an arm.

The net force on a ball on a thread is its weight and the pull of the thread, of which a clip shows
the sum. But such a thing stays on a circle about a point above it, and gravity alone makes it
faster and slower along that circle. What acts towards the point is then the pull, and no wind. How
fast gravity does so is known, too: where nobody said how far away the thing is, its swing does.
"""

import dataclasses

import numpy as np
from scipy.optimize import least_squares


FEWEST = 12  # frames
BENT = 5.0  # times as far as from the circle, the path is off a straight line
BACK = 0.1  # of the way to and fro, that is gone back
ALIKE = 0.8  # share (R^2) of the change of speed, that gravity explains
SCALE = 1.5  # factor, by which gravity may be off where the distance was said


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Swing:
    """How an object swings.

    pivot: (3,) m, the point that it swings about; length: m, how far it is from there; pull: (T,)
    m/s^2, force per mass towards the pivot beside gravity; scale: by which lengths, forces and the
    distance of the object are too large, as far as gravity alone makes it faster and slower;
    guessed: m, that distance, None where it was said.
    """

    pivot: np.ndarray
    length: float
    pull: np.ndarray
    scale: float
    guessed: float | None = None

    @property
    def distance(self) -> float | None:
        """m, of the object, at which it would swing like that; None where it was said."""
        return None if self.guessed is None else self.guessed / self.scale

    @property
    def sentence(self) -> str:
        """What that says of the force."""
        shrunk = 1.0 if self.guessed is None else self.scale
        text = (
            f"The object swings as on a thread, {self.length / shrunk:.2g} m below the point that "
            f"it hangs from: of the force per mass, {float(np.mean(self.pull)):.2g} m/s² on "
            "average are the pull towards that point, and not wind."
        )
        if self.distance is None:
            return text
        away = f"{self.distance:.2g}"
        return text + (
            f" If only gravity and that pull move it, it is {away} m away, and not "
            f"{self.guessed:g} m as was guessed; --distance {away} says so."
        )

    def record(self) -> dict[str, object]:
        """As metrics.json keeps it."""
        return {
            "pivot_m": self.pivot.tolist(),
            "length_m": self.length,
            "pull_m_s2": self.pull.tolist(),
            "scale": self.scale,
            "sentence": self.sentence,
        }


def find_swing(
    center: np.ndarray,
    specific: np.ndarray,
    gravity: np.ndarray,
    *,
    guessed: float | None = None,
) -> Swing | None:
    """How an object swings that nothing else touches, None where it does not.

    center: (T, 3) m, the path of its center of mass; specific: (T, 3) m/s^2, the net force per mass
    on it; gravity: (3,) m/s^2; guessed: m, its distance where that is a guess, so that lengths and
    forces have another scale than gravity.
    """
    weight = float(np.linalg.norm(gravity))
    if weight == 0 or len(center) < FEWEST:
        return None
    up = -np.asarray(gravity) / weight
    middle = center.mean(axis=0)
    level = (center - middle) - ((center - middle) @ up)[:, None] * up
    across = np.linalg.svd(level, full_matrices=False)[2][0]
    path = np.stack([level @ across, (center - middle) @ up], axis=1)
    pivot, length, off = _circle(path)
    line = np.polynomial.Polynomial.fit(path[:, 0], path[:, 1], 1)(path[:, 0]) - path[:, 1]
    if not float(np.sqrt((line**2).mean())) > BENT * off or pivot[1] <= path[:, 1].max():
        return None
    if not _returns(path[:, 0]):
        return None
    towards = (pivot - path) / np.linalg.norm(pivot - path, axis=1, keepdims=True)
    along = np.stack([towards[:, 1], -towards[:, 0]], axis=1)
    force = np.stack([specific @ across, specific @ up], axis=1)
    # The ends of a clip determine hardly any force. A camera that is not level adds a constant.
    faster, falls = (force * along).sum(axis=1)[1:-1], -weight * along[1:-1, 1]
    slope = float(np.cov(faster, falls)[0, 1] / max(falls.var(ddof=1), 1e-300))
    explained = float(np.corrcoef(faster, falls)[0, 1]) ** 2
    if not (explained > ALIKE and slope > 0):
        return None
    if guessed is None and not 1 / SCALE < slope < SCALE:
        return None
    pull = (force * towards).sum(axis=1) / (slope if guessed else 1) + weight * towards[:, 1]
    if not pull.mean() > 0:
        return None
    return Swing(
        pivot=middle + pivot[0] * across + pivot[1] * up, length=length, pull=pull, scale=slope,
        guessed=guessed,
    )  # fmt: skip


def _circle(path: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Center (2,), radius, and root mean square of the misses of the circle through a path (T, 2),
    of which the sum of their squares is least."""
    size = max(float(np.ptp(path, axis=0).max()), 1e-12)
    xy = path / size
    linear = np.column_stack([2 * xy, np.ones(len(xy))])
    start = np.linalg.lstsq(linear, (xy**2).sum(axis=1), rcond=None)[0]
    radius = np.sqrt(max(start[2] + start[:2] @ start[:2], 1e-12))

    def misses(values: np.ndarray) -> np.ndarray:
        return np.linalg.norm(xy - values[:2], axis=1) - values[2]

    found = least_squares(misses, [*start[:2], radius], x_scale="jac")
    off = float(np.sqrt((found.fun**2).mean()))
    return size * found.x[:2], float(size * found.x[2]), size * off


def _returns(way: np.ndarray) -> bool:
    """Whether something that was at way (T,) goes back by a share of it."""
    highest, lowest = np.maximum.accumulate(way), np.minimum.accumulate(way)
    back = max(float((highest - way).max()), 0.0), max(float((way - lowest).max()), 0.0)
    return min(back) > BACK * float(np.ptp(way))
