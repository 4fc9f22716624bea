"""Files of moving points and of known forces."""

import dataclasses
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline

from inverse.affine import affine_weights
from inverse.runs.folder import read_npz
from inverse.wind.run import FORCES


MIN_POINTS = 4  # fewer show neither stretch nor turn
PARABOLA = 6  # frames that show the initial velocity
DIFFERENCE = 4  # order of the differences in time that show the noise of points
WHITE = 70.0  # variance of such a difference of white noise, over that of the noise


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MovingPoints:
    """Points that move with an object.

    t: (T,) s, from 0 on; x: (T, n, 3) m, finite where weights (T, n) are above 0; labels: (n,) int,
    the part of the object of each, from 0.
    """

    t: np.ndarray
    x: np.ndarray
    weights: np.ndarray
    labels: np.ndarray

    def noise(self) -> float:
        """The noise of a coordinate, m, from fourth differences in time; the motion adds to it."""
        seen = self.weights > 0
        x = np.where(seen[..., None], self.x, np.nan)
        change = np.diff(x, n=DIFFERENCE, axis=0)
        change = change[np.isfinite(change)]
        return float(1.4826 * np.median(np.abs(change)) / WHITE**0.5) if len(change) else 0.0

    def start(self, center: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The initial velocity (3,) m/s of center (3,) m and spin (3,) rad/s, roughly.

        They are those of parabolas through the first frames.
        """
        frames = min(PARABOLA, len(self.t))
        seen = (self.weights[:frames] > 0).all(axis=0)
        if seen.sum() < MIN_POINTS:
            return np.zeros(3), np.zeros(3)
        powers = self.t[:frames, None] ** np.arange(3)
        flat = self.x[:frames, seen].reshape(frames, -1)
        v = np.linalg.lstsq(powers, flat, rcond=None)[0][1]
        x, y, z = (self.x[0, seen] - center).T
        o, i = np.zeros_like(x), np.ones_like(x)
        # v + spin x arm, axis by axis
        rows = [[i, o, o, o, z, -y], [o, i, o, -z, o, x], [o, o, i, y, -x, o]]
        A = np.moveaxis(np.array(rows), 2, 0).reshape(-1, 6)
        found = np.linalg.lstsq(A, v, rcond=None)[0]
        return found[:3], found[3:]


def read_motion(path: str | Path, frames: int | None = None) -> tuple[MovingPoints, float]:
    """The points in an npz, those seen in frame 0, and the time of that frame, s.

    It has t (T,) s, x (T, n, 3) m, and maybe weights or visible (T, n) and labels (n,). frames:
    the most that are used. Raises ValueError for what cannot be used.
    """
    t, x = read_npz(path, "t", "x")
    t, x = np.asarray(t, dtype=np.float64)[:frames], np.asarray(x, dtype=np.float64)[:frames]
    if x.ndim != 3 or x.shape[2] != 3 or t.shape != x.shape[:1] or len(t) < 6:
        raise ValueError(
            f"{path}: got t {t.shape} and x {x.shape}, expected (T,) and (T, n, 3) with T >= 6"
        )
    if not np.isfinite(t).all() or (np.diff(t) <= 0).any():
        raise ValueError(f"{path}: t does not rise, expected the time of each frame, s")
    with np.load(path, allow_pickle=False) as record:
        name = next((key for key in ("weights", "visible", "visibility") if key in record), None)
        weights = np.ones(x.shape[:2]) if name is None else record[name][:frames].astype(float)
        labels = record["labels"] if "labels" in record else np.zeros(x.shape[1], dtype=int)
    if weights.shape != x.shape[:2] or (weights < 0).any():
        raise ValueError(f"{path}: {name} is {weights.shape}, expected (T, n) numbers from 0 on")
    if labels.shape != x.shape[1:2]:
        raise ValueError(f"{path}: labels is {labels.shape}, expected one for each point")
    labels = np.unique(labels, return_inverse=True)[1].reshape(-1)
    weights = np.where(np.isfinite(x).all(axis=2), weights, 0.0)
    used = (weights[0] > 0) & ((weights > 0).sum(axis=0) > 1)
    if used.sum() < MIN_POINTS:
        raise ValueError(
            f"{path}: {used.sum()} points are seen in frame 0 and later, expected at least "
            f"{MIN_POINTS}"
        )
    x = np.where(weights[..., None] > 0, x, 0.0)
    points = MovingPoints(t=t - t[0], x=x[:, used], weights=weights[:, used], labels=labels[used])
    return points, float(t[0])


class KnownForce:
    """A force that is known at some points of the object, and carried by them.

    per_mass: (F, m, 3) m/s^2 at times t (F,) s; places: (m, 3) m, of the points in frame 0; fixed:
    whether the force stays, in newtons, when the object gets another density.
    """

    def __init__(self, t: np.ndarray, places: np.ndarray, per_mass: np.ndarray, fixed: bool):
        self.places, self.fixed = places, fixed
        self.per_mass, self.t = per_mass, t

    def at_particles(self, x: np.ndarray) -> CubicSpline:
        """The force per mass over time (s -> (n, 3) m/s^2) at particles x (n, 3) m of frame 0."""
        near, weights = affine_weights(self.places, x)
        return CubicSpline(self.t, np.einsum("nk,tnkc->tnc", weights, self.per_mass[:, near]))


def read_force(path: str | Path, start: float) -> KnownForce:
    """The known force in a file or in the folder of a wind run; start: s, its time of frame 0.

    Raises ValueError for what cannot be used.
    """
    path = Path(path)
    path = path / FORCES if path.is_dir() else path
    t, x = (np.asarray(a, dtype=np.float64) for a in read_npz(path, "t", "x"))
    with np.load(path, allow_pickle=False) as record:
        fixed = "acceleration" not in record
    if fixed:
        f, mass = (np.asarray(a, dtype=np.float64) for a in read_npz(path, "f", "mass"))
        per_mass = f / mass.reshape(-1, 1)
    else:
        per_mass = np.asarray(read_npz(path, "acceleration")[0], dtype=np.float64)
    places = x[0] if x.ndim == 3 else x
    if per_mass.ndim != 3 or per_mass.shape != (len(t), *places.shape) or len(t) < 2:
        raise ValueError(
            f"{path}: got t {t.shape}, x {x.shape} and a force {per_mass.shape}, expected (F,), "
            "(m, 3) or (F, m, 3), and (F, m, 3)"
        )
    if not (np.isfinite(per_mass).all() and np.isfinite(places).all() and np.isfinite(t).all()):
        raise ValueError(f"{path}: got NaN or infinite values, expected finite ones")
    return KnownForce(t - start, places, per_mass, fixed)
