"""How strong a force, how smooth, and how noisy its targets are: by marginal likelihood.

Under the linear model of the clip (response.py) and the prior of the force (prior.py), the modes'
coordinates are Gaussian: d = J c + e, with errors e that last for many frames, as those of tracks
do. The likelihood of d, with the force integrated out, is highest where the force explains what a
force can explain and the noise takes the rest. It trades both off in the clip's own units, and no
part of the clip has to be held out.

What is stiff hardly moves: there errors of the targets look like forces that change as forces do,
and the likelihood cannot tell them apart. So it may find more noise than what is known of it, but
not less. In each mode four errors add up:

1. what the motion differs between blocks of the tracks (inverse/lifting/jackknife.py), as large
   and as lasting as they show it;
2. a drift, alike for neighbors, that all tracks have in common: part of a pixel;
3. what a simulator lacks: it bends by some share more or less than the object, throughout the clip;
4. jitter, which is new in each frame.
"""

import dataclasses

import numpy as np
from scipy import linalg, optimize

from inverse.lifting.smoothness import estimate_smoothness
from inverse.wind.smoothing.modes import RIGID
from inverse.wind.smoothing.prior import Shapes, Strength, find_shapes, time_root, turned
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
TIME, SOURCES = 0.25, 0.1  # s, of the force; odds
WIDTH = 1.5
# The least drift, px, and the least jitter, of all errors: those of lifts with a known surface were
# 0.03 to 0.18 px in modes that move the whole body, of which 0.01 to 0.03 were new in each frame.
# Points that are held were seen to drift by 0.1 to 0.4 px beside what bends.
DRIFT, HELD_DRIFT, JITTER = 0.12, 0.25, 0.03
USUAL = 125.0  # px, size of an object, where it is not known
# What blocks of tracks show is this part of errors: those of four lifts were 1 to 5 times as large.
SHOWN = 0.5
LASTING = 0.2  # s, that a drift lasts, and other errors where no tracks show it
# Of what a body bends, that a simulation is off by: with the true force, grids of 24 and 33 cells
# sway by 0.8 and 0.92 of what they should, and one moved by part of a cell by 0.1 less or more.
BENDING = 0.1
TINY = 1e-12
FINE = 0.1  # size of errors in modes that are finer than errors are alike, beside the others


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetNoise:
    """Errors of the targets, beside those that blocks of their tracks show.

    drift, m: size of an error in the amplitude of a mode that moves the whole body alike; jitter:
    size of a part that is new in each frame, beside all errors.
    """

    drift: float
    jitter: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Errors:
    """What errors of the targets are like in K modes.

    spectrum: (K,) kg, squares of what a drift of 1 m, alike for neighbors, does to their
    coordinates; lasting: (T, T), its correlation between frames; measured: (T, K) kg m^2, variances
    of the coordinates by what blocks of the tracks show, and alike: (T, T), correlation of that;
    bent: (T, K) sqrt(kg) m, by how much a simulation is off.
    """

    spectrum: np.ndarray
    lasting: np.ndarray
    measured: np.ndarray
    alike: np.ndarray
    bent: np.ndarray

    def roots(self, noise: TargetNoise, kept: int) -> np.ndarray:
        """(kept, T, T) sqrt(kg) m: roots of the covariances of the errors of the first modes."""
        shown = np.sqrt(self.measured[:, :kept].T)
        bent = self.bent[:, :kept].T
        found = noise.drift**2 * self.spectrum[:kept, None, None] * self.lasting
        found = found + shown[:, :, None] * shown[:, None] * self.alike
        found += bent[:, :, None] * bent[:, None]
        each = np.arange(found.shape[1])
        found[:, each, each] *= 1 + noise.jitter**2
        return np.linalg.cholesky(found)

    def whiten(self, rows: np.ndarray, noise: TargetNoise) -> np.ndarray:
        """Rows (T, kept, ...) sqrt(kg) m such that errors in them are independent and of size 1."""
        flat = np.moveaxis(rows.reshape(*rows.shape[:2], -1), 1, 0)
        white = np.linalg.inv(self.roots(noise, rows.shape[1])) @ flat
        return np.moveaxis(white, 0, 1).reshape(rows.shape)


def lasting_in_time(frames: int, frame_dt: float) -> np.ndarray:
    """(T, T): correlation between frames of errors that last."""
    t = np.arange(frames) * frame_dt
    return np.exp(-0.5 * ((t[:, None] - t) / LASTING) ** 2)


def alike_in_time(shifts: np.ndarray, frames: int, frame_dt: float) -> np.ndarray:
    """(T, T): correlation of errors between frames, as shifts (B, T, K) of coordinates without
    blocks of tracks show it; without any, errors are taken to last for a while."""
    size = np.sqrt((shifts**2).sum(axis=0))
    shown = size > 1e-3 * size.max(axis=0, initial=1e-300)
    series = np.where(shown, shifts / np.maximum(size, 1e-300), 0.0)
    if not shown.any():
        return lasting_in_time(frames, frame_dt)
    found = np.einsum("btk,buk->tu", series, series) / shown.any(axis=0).sum()
    found[np.diag_indices_from(found)] += 1 - np.diagonal(found)  # frame 0 is what it is
    return found


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A chosen prior and noise, with what follows from them for T-1 intervals.

    strength, noise: the choice; shapes: functions of space; space: (T-1, 3, J, 3, J), in each
    interval, and time: (T-1, T-1) roots of the prior's covariance; misfit: negative logarithm of
    its likelihood, and of what was presumed.
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
        cls,
        strength: Strength,
        noise: TargetNoise,
        shapes: Shapes,
        turns: np.ndarray,
        frame_dt: float,
    ) -> "Model":
        """The model of a choice for a body that turns by turns (T-1, 3, 3) from frame 0."""
        return cls(
            strength=strength,
            noise=noise,
            shapes=shapes,
            space=turned(shapes.root(strength), turns),
            time=time_root(len(turns), frame_dt, strength.time),
            frame_dt=frame_dt,
        )

    def coefficients(self, z: np.ndarray) -> np.ndarray:
        """(T-1, 3, J) m/s^2, of standard normal numbers (T-1, 3, J)."""
        along = np.einsum("ts,saj->taj", self.time, z)
        return np.einsum("tajbl,tbl->taj", self.space, along, optimize=True)


class Evidence:
    """The likelihood of coordinates of the lowest modes.

    response: the linear model; size: m, of the object; start: (K,) sqrt(kg) m/s, how fast modes may
    be in frame 0; seen: (T,) how much of the body is, 0 to 1; shifts: (B, T, kept) sqrt(kg) m, of
    coordinates without blocks of tracks, whose squares add up to a variance; bent: (T, kept)
    sqrt(kg) m, how far the targets bend; pixels: size of the object, px; only: the functions of
    space, where these are no question of a length.
    """

    def __init__(
        self,
        response: Response,
        size: float,
        start: np.ndarray,
        seen: np.ndarray,
        shifts: np.ndarray,
        bent: np.ndarray,
        pixels: float = USUAL,
        only: Shapes | None = None,
    ):
        self.response, self.size, self.start, self.only = response, size, start, only
        drift = DRIFT if response.modes.free else HELD_DRIFT
        self._least = drift * size / pixels  # m, of the drift
        self.intervals = response.frames - 1
        kept = int(np.clip(ROWS // self.intervals, FEWEST, MOST))
        self.kept = min(kept, response.modes.count)
        self._seen = np.sqrt(seen)[:, None]
        self._unit = float(np.sqrt(response.mass.sum()))
        smooth = find_shapes(response.x, response.mass, NOISE_LENGTH * size, FUNCTIONS)
        spread = (response.loads(smooth.values) ** 2).sum(axis=1) @ smooth.variances
        spread = spread / max(spread.max(), 1e-300) + FINE**2
        measured = (shifts**2).sum(axis=0) / SHOWN**2
        spread = self._unit**2 * spread[: measured.shape[1]]
        self.errors = Errors(
            spectrum=spread,
            lasting=lasting_in_time(response.frames, response.frame_dt),
            measured=measured,
            alike=alike_in_time(shifts, response.frames, response.frame_dt),
            bent=BENDING * bent,
        )
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
        far from which it is, and whose length it takes of what is held."""
        d = coordinates[:, : self.kept] * self._seen
        scale, least = self._scale(coordinates), self._least
        h = self.response.frame_dt
        # Within what a clip of few frames, or of few per second, can tell.
        time = float(np.clip(TIME, 3 * h, 3 * h * self.intervals))
        white = self._jitter(coordinates)
        drift, jitter = max(0.5 * least, white), max(0.5 * JITTER, white / least)
        middle = np.log([scale, scale, time, SOURCES, drift, jitter])
        length, guess = LENGTHS[1] * self.size, middle
        if near is not None:
            length, guess = near.strength.length, self._encode(near.strength, near.noise)
        for _ in range(2):
            guess = self._refine(d, length, guess, middle, EVALUATIONS if near is None else FEW)
            if self.only is not None or (near is not None and not self.response.modes.free):
                break
            misfits = [self._misfit(d, part * self.size, guess, middle) for part in LENGTHS]
            best = LENGTHS[int(np.argmin(misfits))] * self.size
            if np.isclose(best, length):
                break
            length = best
        strength, noise = self._decode(guess, length)
        model = Model.of(strength, noise, self.shapes(length), self.response.turns, h)
        return dataclasses.replace(model, misfit=self._misfit(d, length, guess, middle))

    def _scale(self, coordinates: np.ndarray) -> float:
        """m/s^2: size of the accelerations of the center of mass."""
        second = np.diff(coordinates[:, :3], 2, axis=0) / self.response.frame_dt**2
        return max(float(np.sqrt((second**2).mean())) / self._unit, 1e-3)

    def _jitter(self, coordinates: np.ndarray) -> float:
        """m: white noise of the slowest modes, as their smoothness in time alone tells it."""
        series = coordinates[:, : min(RIGID, self.kept)].T / self._unit
        try:
            return estimate_smoothness(list(series)).noise
        except ValueError:  # too few frames
            return 0.0

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
        if not 2 * h < strength.time < longest:
            return float(np.inf)
        return presumed + self._unlikely(d, strength, noise)

    def unlikely(self, coordinates: np.ndarray, model: Model) -> float:
        """Negative logarithm of the likelihood of coordinates (T, K) sqrt(kg) m under a model."""
        return self._unlikely(coordinates[:, : self.kept] * self._seen, model.strength, model.noise)

    def _unlikely(self, d: np.ndarray, strength: Strength, noise: TargetNoise) -> float:
        h = self.response.frame_dt
        shapes, forces, starts = self._of_length(strength.length)
        model = Model.of(strength, noise, shapes, self.response.turns, h)
        white = white_jacobian(forces, starts, self.start, model, self._seen, self.errors)
        white = white.reshape(len(d) * self.kept, -1)
        covariance = white @ white.T
        covariance[np.diag_indices_from(covariance)] += 1
        seen = self.errors.whiten(d, noise).ravel()
        try:
            factor = linalg.cholesky(covariance, lower=True, check_finite=False)
        except (linalg.LinAlgError, ValueError):
            return float(np.inf)
        part = linalg.solve_triangular(factor, seen, lower=True, check_finite=False)
        volume = np.log(np.diagonal(factor)).sum()
        roots = self.errors.roots(noise, self.kept)
        volume += np.log(np.diagonal(roots, axis1=1, axis2=2)).sum()
        return float(0.5 * part @ part + volume)

    def _decode(self, p: np.ndarray, length: float) -> tuple[Strength, TargetNoise]:
        values = [float(v) for v in np.exp(np.clip(p, -60, 60))]
        uniform, varying, time, odds, drift, jitter = values
        strength = Strength(
            uniform=uniform, varying=varying, length=float(length), time=time,
            sources=odds / (1 + odds),
        )  # fmt: skip
        return strength, TargetNoise(drift=drift + self._least, jitter=jitter + JITTER)

    def _encode(self, strength: Strength, noise: TargetNoise) -> np.ndarray:
        """The reverse of _decode."""
        force = strength.uniform, strength.varying, strength.time
        odds = strength.sources / (1 - strength.sources)
        drift, jitter = noise.drift - self._least, noise.jitter - JITTER
        return np.log([*force, odds, *np.maximum([drift, jitter], TINY)])


def white_jacobian(
    forces: np.ndarray,
    starts: np.ndarray,
    start: np.ndarray,
    model: Model,
    seen: np.ndarray,
    errors: Errors,
) -> np.ndarray:
    """(T, kept, (T-1) 3 J + K): what standard normal numbers do to white coordinates.

    forces, starts: from Response.jacobian; start: sqrt(kg) m/s, of modes in frame 0; seen: (T, 1)
    square root of the share of the body that is; errors: of the targets.
    """
    steps, kept, _, width = forces.shape
    space = model.space.reshape(steps, width, width)
    split = np.einsum("oktj,tjl->oktl", forces, space, optimize=True)
    split = np.einsum("oktl,ts->oksl", split, model.time, optimize=True)
    rows = np.concatenate([split.reshape(steps, kept, -1), starts * start], axis=2)
    rows = np.concatenate([np.zeros((1, *rows.shape[1:])), rows])  # frame 0 is what it is
    return errors.whiten(rows * seen[..., None], model.noise)
