"""How strong a force, how smooth, and how noisy its targets are: by marginal likelihood.

Under the linear model of the clip (response.py) and the prior of the force (prior.py), the modes'
coordinates are Gaussian: d = J c + e, with errors e that are alike for all modes, of size noise,
and correlated from frame to frame, since a lift smooths them. The likelihood of d, with the force
integrated out, is highest where the force explains what a force can explain and the noise takes the
rest. It trades both off in the clip's own units, and no part of the clip has to be held out.
"""

import dataclasses

import numpy as np
from scipy import linalg, optimize

from inverse.lifting.smoothness import estimate_smoothness
from inverse.wind.smoothing.modes import RIGID
from inverse.wind.smoothing.prior import Shapes, Strength, find_shapes, time_root
from inverse.wind.smoothing.response import Response


LENGTHS = (0.2, 0.35, 0.6, 1.0)  # of the object's size, that are tried
FUNCTIONS, FEWEST_FUNCTIONS = 16, 4  # of space, for each axis
NUMBERS = 6000  # about so many describe the force of a clip at most, which bounds memory and time
ROWS = 600  # about so many coordinates, of the lowest modes in all frames, are looked at
FEWEST, MOST = 9, 20  # modes
NOISE_LENGTH = 0.3  # of the object's size, over which errors of a lift are alike
EVALUATIONS = 100  # of the likelihood, for each length that is looked at closely
FEW = 60  # the same, from a choice that is nearly right
# What is presumed of the parameters before: the middles of their logarithms, and their width, so
# wide that a few frames say more.
TIME, DRIFT_TIME = 0.25, 0.7  # s, of the force and of the drift
DRIFT, JITTER, FINE = 3e-3, 0.05, 0.25  # of the object's size; of the drift; odds
WIDTH = 1.5
# Targets are never more exact than this share of the object's size: the simulator is not.
LEAST_JITTER = 3e-5
HIGHEST_CORRELATION = 0.97


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetNoise:
    """Errors of the targets, as a drift and a jitter.

    drift, m: size of an error that changes over time, s (Matern 3/2), in the amplitude of a mode
    that moves the whole body alike; jitter, m: of one that is new in each frame; fine, 0 to 1: the
    share of both in modes that are finer than errors usually are.
    """

    drift: float
    time: float
    jitter: float
    fine: float

    def units(self, spectrum: np.ndarray) -> np.ndarray:
        """(K,): relative sizes of the errors in modes; spectrum: (K,) of smooth errors, at most
        1."""
        share = self.fine**2
        return np.sqrt((1 - share) * spectrum + share)

    def root(self, frames: int, frame_dt: float) -> np.ndarray:
        """(T, T) m: root of the covariance of the errors in frames."""
        t = np.arange(frames) * frame_dt
        r = np.sqrt(3) * np.abs(t[:, None] - t) / self.time
        covariance = self.drift**2 * (1 + r) * np.exp(-r)
        covariance[np.diag_indices_from(covariance)] += self.jitter**2
        return linalg.cholesky(covariance, lower=True)

    def whiten(self, rows: np.ndarray, units: np.ndarray, frame_dt: float) -> np.ndarray:
        """Rows (T, K, ...) such that errors in them are independent and of size 1; units: (K,)."""
        scaled = rows / units.reshape((1, -1) + (1,) * (rows.ndim - 2))
        root = self.root(len(rows), frame_dt)
        flat = scaled.reshape(len(rows), -1)
        return linalg.solve_triangular(root, flat, lower=True, check_finite=False).reshape(
            rows.shape
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A chosen prior and noise, with what follows from them for T-1 intervals.

    strength, noise: the choice; shapes: functions of space; space: (J, J) and time: (T-1, T-1)
    roots of the prior's covariance; misfit: negative logarithm of its likelihood, and of what was
    presumed.
    """

    strength: Strength
    noise: TargetNoise
    shapes: Shapes
    space: np.ndarray
    time: np.ndarray
    frame_dt: float
    misfit: float = np.nan

    @classmethod
    def of(
        cls, strength: Strength, noise: TargetNoise, shapes: Shapes, intervals: int, frame_dt: float
    ) -> "Model":
        """The model of a choice."""
        return cls(
            strength=strength,
            noise=noise,
            shapes=shapes,
            space=shapes.root(strength.uniform, strength.varying),
            time=time_root(intervals, frame_dt, strength.time),
            frame_dt=frame_dt,
        )


class Evidence:
    """The likelihood of coordinates of the lowest modes.

    response: the linear model; size: m, of the object; start: (K,) sqrt(kg) m/s, how fast modes may
    be in frame 0; seen: (T,) how much of the body is, 0 to 1; only: the functions of space, where
    these are no question of a length.
    """

    def __init__(
        self,
        response: Response,
        size: float,
        start: np.ndarray,
        seen: np.ndarray,
        only: Shapes | None = None,
    ):
        self.response, self.size, self.start, self.only = response, size, start, only
        self.intervals = response.frames - 1
        kept = int(np.clip(ROWS // self.intervals, FEWEST, MOST))
        self.kept = min(kept, response.modes.count)
        self._seen = np.sqrt(seen)[:, None]
        self._unit = float(np.sqrt(response.mass.sum()))
        smooth = find_shapes(response.x, response.mass, NOISE_LENGTH * size, FUNCTIONS)
        spread = (response.loads(smooth.values) ** 2).sum(axis=1) @ smooth.variances
        self.spectrum = spread / max(spread.max(), 1e-300)
        self._known: dict[float, tuple[Shapes, np.ndarray, np.ndarray]] = {}

    def shapes(self, length: float) -> Shapes:
        """Functions of space of a length, m."""
        return self._of_length(length)[0]

    def _of_length(self, length: float) -> tuple[Shapes, np.ndarray, np.ndarray]:
        if length not in self._known:
            response = self.response
            count = int(np.clip(NUMBERS // (3 * self.intervals), FEWEST_FUNCTIONS, FUNCTIONS))
            shapes = self.only or find_shapes(response.x, response.mass, length, count)
            forces, starts = response.jacobian(response.loads(shapes.values), self.kept)
            self._known[length] = shapes, forces, starts
        return self._known[length]

    def choose(self, coordinates: np.ndarray, *, near: Model | None = None) -> Model:
        """The likeliest model of coordinates (T, K) sqrt(kg) m; near: one of nearly the same, not
        far from which it is, and whose length it takes."""
        d = coordinates[:, : self.kept] * self._seen
        scale, drift = self._scale(coordinates), DRIFT * self.size
        h = self.response.frame_dt
        # Within what a clip of few frames, or of few per second, can tell.
        time, drift_time = np.clip([TIME, DRIFT_TIME], 3 * h, 3 * h * self.intervals)
        jitter = self._jitter(coordinates, JITTER * drift)
        middle = np.log([scale, scale, time, drift, drift_time, jitter, FINE])
        length, guess = LENGTHS[1] * self.size, middle
        if near is not None:
            length, guess = near.strength.length, self._encode(near.strength, near.noise)
        for _ in range(2):
            guess = self._refine(d, length, guess, middle, EVALUATIONS if near is None else FEW)
            if self.only is not None or near is not None:
                break
            misfits = [self._misfit(d, part * self.size, guess, middle) for part in LENGTHS]
            best = LENGTHS[int(np.argmin(misfits))] * self.size
            if np.isclose(best, length):
                break
            length = best
        strength, noise = self._decode(guess, length)
        model = Model.of(strength, noise, self.shapes(length), self.intervals, h)
        return dataclasses.replace(model, misfit=self._misfit(d, length, guess, middle))

    def _scale(self, coordinates: np.ndarray) -> float:
        """m/s^2: size of the accelerations of the center of mass."""
        second = np.diff(coordinates[:, :3], 2, axis=0) / self.response.frame_dt**2
        return max(float(np.sqrt((second**2).mean())) / self._unit, 1e-3)

    def _jitter(self, coordinates: np.ndarray, least: float) -> float:
        """m: white noise of the slowest modes, as their smoothness in time alone tells it."""
        series = coordinates[:, : min(RIGID, self.kept)].T / self._unit
        try:
            return max(estimate_smoothness(list(series)).noise, least)
        except ValueError:  # too few frames
            return least

    def _refine(
        self,
        d: np.ndarray,
        length: float,
        guess: np.ndarray,
        middle: np.ndarray,
        evaluations: int,
    ) -> np.ndarray:
        simplex = np.concatenate([guess[None], guess + 0.7 * np.eye(len(guess))])
        found = optimize.minimize(
            lambda p: self._misfit(d, length, p, middle), guess, method="Nelder-Mead",
            options={"maxfev": evaluations, "initial_simplex": simplex, "fatol": 0.1},
        )  # fmt: skip
        return found.x

    def _misfit(self, d: np.ndarray, length: float, p: np.ndarray, middle: np.ndarray) -> float:
        """Negative logarithm of the likelihood, and of what is presumed."""
        strength, noise = self._decode(p, length)
        h = self.response.frame_dt
        longest = 4 * h * self.intervals
        presumed = 0.5 * (((p - middle) / WIDTH) ** 2).sum()
        if not (2 * h < strength.time < longest and 2 * h < noise.time < longest):
            return float(np.inf)
        return presumed + self._unlikely(d, strength, noise)

    def unlikely(self, coordinates: np.ndarray, model: Model) -> float:
        """Negative logarithm of the likelihood of coordinates (T, K) sqrt(kg) m under a model."""
        return self._unlikely(coordinates[:, : self.kept] * self._seen, model.strength, model.noise)

    def _unlikely(self, d: np.ndarray, strength: Strength, noise: TargetNoise) -> float:
        h = self.response.frame_dt
        shapes, forces, starts = self._of_length(strength.length)
        model = Model.of(strength, noise, shapes, self.intervals, h)
        units = self._unit * noise.units(self.spectrum[: self.kept])
        white = white_jacobian(forces, starts, self.start, model, self._seen, units)
        white = white.reshape(len(d) * self.kept, -1)
        covariance = white @ white.T
        covariance[np.diag_indices_from(covariance)] += 1
        seen = noise.whiten(d, units, h).ravel()
        try:
            factor = linalg.cholesky(covariance, lower=True, check_finite=False)
        except (linalg.LinAlgError, ValueError):
            return float(np.inf)
        part = linalg.solve_triangular(factor, seen, lower=True, check_finite=False)
        volume = np.log(np.diagonal(factor)).sum()
        root = np.diagonal(noise.root(self.response.frames, h))
        volume += self.kept * np.log(root).sum() + self.response.frames * np.log(units).sum()
        return float(0.5 * part @ part + volume)

    def _decode(self, p: np.ndarray, length: float) -> tuple[Strength, TargetNoise]:
        values = [float(v) for v in np.exp(np.clip(p, -60, 60))]
        uniform, varying, time, drift, drift_time, jitter, fine = values
        jitter += LEAST_JITTER * self.size
        strength = Strength(uniform=uniform, varying=varying, length=float(length), time=time)
        noise = TargetNoise(drift=drift, time=drift_time, jitter=jitter, fine=fine / (1 + fine))
        return strength, noise

    def _encode(self, strength: Strength, noise: TargetNoise) -> np.ndarray:
        """The reverse of _decode."""
        least = LEAST_JITTER * self.size
        jitter, odds = max(noise.jitter - least, 1e-3 * least), noise.fine / (1 - noise.fine)
        varying, time = strength.varying, strength.time
        return np.log([strength.uniform, varying, time, noise.drift, noise.time, jitter, odds])


def white_jacobian(
    forces: np.ndarray,
    starts: np.ndarray,
    start: np.ndarray,
    model: Model,
    seen: np.ndarray,
    units: np.ndarray,
) -> np.ndarray:
    """(T, kept, (T-1) 3 J + K): what standard normal numbers do to white coordinates.

    forces, starts: from Response.jacobian; start: sqrt(kg) m/s, of modes in frame 0; seen: (T, 1)
    square root of the share of the body that is; units: (kept,) sqrt(kg), errors of modes.
    """
    steps, kept, _, width = forces.shape
    J = model.space.shape[0]
    split = forces.reshape(steps, kept, steps, width // J, J) @ model.space
    split = np.einsum("okta...,ts->oksa...", split, model.time, optimize=True)
    rows = np.concatenate([split.reshape(steps, kept, -1), starts * start], axis=2)
    rows = np.concatenate([np.zeros((1, *rows.shape[1:])), rows])  # frame 0 is what it is
    return model.noise.whiten(rows * seen[..., None], units, model.frame_dt)
