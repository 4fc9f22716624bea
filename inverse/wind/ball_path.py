"""The path of a ball in space, from the discs that it is in the pictures of one camera.

Across the axis of the camera a disc shows meters directly. How far away it is, only its radius
says, which is 100 times worse. Both are wrong by what is behind the ball, which changes as fast as
the ball passes it, and by light and shade, which last. So how fast the acceleration drifts is not
known, nor how large the errors are: third differences of the motion are white, of an amplitude over
which, as over the size of the errors, the posterior is summed. A motion as smooth as free flight is
believed where the discs do not tell it from a rougher one.

What hits the ball changes its velocity at once, and not the force before and after: at such a frame
the path may have a kink of any size, beside the smooth motion, along the axis of the camera one as
large as that across.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.interpolate import CubicSpline

from inverse.lifting.smoothness import MAD_TO_SIGMA, differences
from inverse.tracking.discs import Disc
from renderers.camera import Camera


ORDER = 3  # of differences that are white: the acceleration drifts
AMPLITUDES = np.geomspace(1e-5, 2.0, 21)  # of those, times the usual second difference, are tried
# Errors of centers and radii: white ones and those that last, by light, shade and compression, over
# a share of the clip, are at least as large as the first; larger ones, by what is behind, are
# tried, from px to a share of the radius. They are new when the ball has passed what is behind it,
# or later, where that is large or shade is added.
LEAST_JITTER, LEAST_LASTING, LASTING, LASTS = 0.03, 0.05, 0.0075, 1 / 3  # px, px, radii
SMALLEST, LARGEST, SIZES = 0.03, 0.15, 9  # px, radii
PASSES = (1.0, 3.0)  # times its width, that the ball has flown by then, are tried
EVEN = 3.0, 10.0  # the error in a frame over the usual one is at least 1 / the first, at most this
# Widths, of logarithms: what is presumed of the motion along the axis, and of the errors of radii,
# around that of centers.
WIDTH, ERROR_WIDTH = 1.5, 0.7
KINK, MOST_KINKS = 6.0, 1 / 3  # times the usual second difference; share of them, at most
LOOSE = 10.0  # times what is seen of a kink, that it may be
OUTLIER = 4.0  # usual errors, from which on a radius says nothing
UNKNOWN = 1e4  # px, error of what says nothing
UNLIKELY = 1e-3  # of the likeliest, below which an explanation is left out


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BallPath:
    """Where a ball is in T frames: center (T, 2) px; depth (T,), along the axis of the camera, over
    that in frame 0; depths (T, T): covariance of depth; centers (T, T) px^2: of the center along
    an axis of the picture, both against frame 0."""

    center: np.ndarray
    depth: np.ndarray
    depths: np.ndarray
    centers: np.ndarray


def find_path(disc: Disc, camera: Camera) -> BallPath:
    """Where a ball is, from its disc in the pictures of a camera."""
    frames, known = np.arange(len(disc.found)), np.flatnonzero(disc.found)
    raw = CubicSpline(known, disc.center[known])(np.clip(frames, known[0], known[-1]))
    radius = np.interp(frames, known, disc.radius[known])
    focal, middle = float(np.sqrt(camera.fx * camera.fy)), np.array([camera.cx, camera.cy])
    usual, kinks = float(np.median(radius[known])), _kinks(raw)
    sizes = np.geomspace(SMALLEST, max(LARGEST * usual, 2 * SMALLEST), SIZES)
    noise = _Noise(disc, raw, usual)
    scale, said = np.ones(len(frames)), disc.found.copy()
    # Along the axis, in radii of the ball, and its slope by px of the radius.
    ahead = np.linalg.norm(camera.unproject(raw, 1.0) - camera.position, axis=1)
    depth = np.hypot(focal, radius) / radius / ahead
    slope = depth * focal**2 / (radius * (focal**2 + radius**2))
    unit = float(np.median(depth)) / focal
    for _ in range(2):
        # Across, in px of the usual depth: in these, free flight is a parabola.
        across = (raw - middle) * scale[:, None]
        second = np.diff(across, 2, axis=0)
        rough = max(float(np.sqrt(np.mean(second[~kinks] ** 2))), LEAST_JITTER)
        hit = float(np.abs(second[kinks]).max(initial=0.0))
        beside = np.convolve(kinks, np.ones(3), mode="same") > 0  # a hit between frames bends two
        ramps = np.maximum(frames[:, None] - 1.0 - np.flatnonzero(beside), 0.0)
        found = _explain(
            across.T, noise.of(0, disc.found, sizes, scale), LOOSE * hit * ramps,
            rough * AMPLITUDES, np.zeros((len(AMPLITUDES), SIZES * len(PASSES))),
        )  # fmt: skip
        along = _explain(
            depth[None], noise.of(1, said, sizes, slope), unit * hit * ramps,
            unit * rough * AMPLITUDES, found.presumed(sizes),
        )  # fmt: skip
        off = np.abs(depth - along.means[0]) / slope
        said = disc.found & (off < OUTLIER * max(1.5 * float(np.median(off[known])), LEAST_JITTER))
        deep = np.maximum(along.means[0], 0.1 * along.means[0][0])
        scale = deep / np.median(deep)
    # Frame 0 is where it is: all else is known beside it.
    first = np.eye(len(frames))[0]
    beside = (np.eye(len(frames)) - np.outer(deep / deep[0], first)) / deep[0]
    apart = (np.eye(len(frames)) - first) / scale[:, None]
    return BallPath(
        center=middle + found.means.T / scale[:, None], depth=deep / deep[0],
        depths=beside @ along.covariance @ beside.T, centers=apart @ found.covariance @ apart.T,
    )  # fmt: skip


class _Noise:
    """Covariances of the errors of discs; center: (T, 2) px, their way; radius: px, usual one."""

    def __init__(self, disc: Disc, center: np.ndarray, radius: float):
        frames = len(disc.found)
        apart = np.abs(np.arange(frames)[:, None] - np.arange(frames))
        error = np.ones((frames, 2)) if disc.error is None else disc.error
        error = error / np.nanmedian(error[disc.found], axis=0)
        self._error = np.clip(np.nan_to_num(error, nan=1.0), 1 / EVEN[0], EVEN[1])
        lasts = max(LASTS * frames, 1.0)
        self._lasting = max(LASTING * radius, LEAST_LASTING) ** 2 * _matern(apart, lasts)
        self._lasting += LEAST_JITTER**2 * np.eye(frames)
        # Half is white; what is behind the ball is new when it has flown as far as it is wide.
        speed = float(np.median(np.linalg.norm(np.diff(center, axis=0), axis=1)))
        flown = 2 * radius / max(speed, 1e-9)  # frames
        passing = [_matern(apart, float(np.clip(k * flown, k, lasts))) for k in PASSES]
        self._passing = [0.5 * (np.eye(frames) + alike) for alike in passing]

    def of(
        self, which: int, said: np.ndarray, sizes: np.ndarray, scale: np.ndarray
    ) -> list[np.ndarray]:
        """(T, T) of centers (0) or radii (1), for each way that what is behind may count: of each
        of PASSES for each size, px.

        said: (T,) bool, frames that say something; scale: (T,), of what is measured, by px.
        """
        one = self._error[:, which]
        passing = [one[:, None] * alike * one for alike in self._passing]
        rest = self._lasting + np.diag(np.where(said, 0.0, UNKNOWN**2))
        return [
            scale[:, None] * (size**2 * alike + rest) * scale for size in sizes for alike in passing
        ]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Explained:
    """Series (S, T), smoothed: means (S, T) and the covariance (T, T) of each; share: of all
    explanations, (amplitudes, errors)."""

    means: np.ndarray
    covariance: np.ndarray
    share: np.ndarray

    def presumed(self, sizes: np.ndarray) -> np.ndarray:
        """Logarithms (amplitudes, errors) of what this makes likely elsewhere."""
        motion = _blur(np.log(AMPLITUDES), WIDTH) @ self.share.sum(axis=1)
        errors = _blur(np.log(sizes), ERROR_WIDTH) @ self.share.sum(axis=0).reshape(SIZES, -1)
        return np.log(motion + 1e-12)[:, None] + np.log(errors.ravel() + 1e-12)


def _blur(places: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-0.5 * ((places[:, None] - places) / width) ** 2)


def _explain(
    series: np.ndarray,
    noises: Sequence[np.ndarray],
    kinks: np.ndarray,
    amplitudes: np.ndarray,
    presumed: np.ndarray,
) -> _Explained:
    """Smooth series (S, T), which are alike in kind.

    noises: (T, T) covariances of errors that are tried; kinks: (T, K), what hits may add;
    amplitudes: (A,) of white differences; presumed: (A, errors), logarithms of what is
    likely before.
    """
    D = differences(series.shape[1], ORDER)
    seen, bends = D @ series.T, D @ kinks
    log = presumed.copy()
    for s, noise in enumerate(noises):
        values, vectors = np.linalg.eigh(D @ noise @ D.T + bends @ bends.T)
        variance = np.maximum(values, 0.0) + amplitudes[:, None] ** 2
        power = ((vectors.T @ seen) ** 2).sum(axis=1)
        log[:, s] -= 0.5 * (power / variance + len(series) * np.log(variance)).sum(axis=1)
    share = np.exp(log - log.max())
    share[share < UNLIKELY] = 0.0
    share /= share.sum()
    informed = [np.linalg.inv(noise) for noise in noises]
    means, covariances, weights = [], [], []
    for a, s in np.argwhere(share > 0):
        # What hits may add is nothing that the prior knows (Woodbury's formula).
        free = amplitudes[a] ** 2 * np.eye(bends.shape[1]) + bends.T @ bends
        known = np.linalg.pinv(free, rcond=1e-12, hermitian=True)
        prior = (D - bends @ known @ bends.T @ D) / amplitudes[a] ** 2
        covariances.append(np.linalg.inv(informed[s] + D.T @ prior))
        means.append(series @ informed[s] @ covariances[-1])
        weights.append(share[a, s])
    weight, each = np.array(weights), np.stack(means)
    mean = np.einsum("k,kst->st", weight, each)
    covariance = np.einsum("k,ktu->tu", weight, np.stack(covariances))
    covariance += np.einsum("k,kst,ksu->tu", weight, each - mean, each - mean) / len(series)
    return _Explained(means=mean, covariance=covariance, share=share)


def _kinks(center: np.ndarray) -> np.ndarray:
    """(T-2,) bool: second differences of a path (T, 2) px in which something hits the ball."""
    second = np.diff(center, 2, axis=0)
    off = np.linalg.norm(second - np.median(second, axis=0), axis=1)
    usual = max(MAD_TO_SIGMA * float(np.median(off)), np.sqrt(6) * LEAST_JITTER)
    kinks = off > KINK * usual
    return kinks if kinks.mean() < MOST_KINKS else np.zeros(len(kinks), dtype=bool)


def _matern(apart: np.ndarray, time: float) -> np.ndarray:
    """Covariance of errors of size 1, frames apart, that change over a time, in frames (Matern
    3/2)."""
    r = np.sqrt(3) * apart / time
    return (1 + r) * np.exp(-r)
