"""How smooth a motion is: its noise and smoothness from tracks, by marginal likelihood."""

import dataclasses
from collections.abc import Sequence

import numpy as np


ORDERS = (2, 3, 4, 5)  # of differences: constant velocity, constant acceleration, ...
DEVIANCE = 2.0  # difference of -2 log likelihood below which two explanations are equally good
LOG_RATIOS = np.linspace(-12, 12, 193)  # log(amplitude / noise) that are tried
SPIKE = 8.0  # times the usual difference from a cubic through four neighbors
SPIKE_ROUNDS = 3  # a spike hides smaller ones beside it
MAD_TO_SIGMA = 1.4826  # median absolute deviation to standard deviation, of a Gaussian


@dataclasses.dataclass(frozen=True, kw_only=True)
class Smoothness:
    """A motion whose differences of some order are white noise, and its observations' noise.

    amplitude: standard deviation of the differences, in the unit of the series per frame^order;
    noise: standard deviation of the white noise of observations, in the unit of the series.
    """

    order: int
    amplitude: float
    noise: float


def differences(frames: int, order: int) -> np.ndarray:
    """(frames - order, frames) matrix of differences; no rows when there are too few frames."""
    return np.diff(np.eye(frames), order, axis=0) if frames > order else np.zeros((0, frames))


def estimate_smoothness(
    series: Sequence[np.ndarray], orders: Sequence[int] = ORDERS, *, noise: float | None = None
) -> Smoothness:
    """The smoothness under which sequences of one kind of motion are likeliest.

    If differences of order k of a motion are white, those of order K >= k of its observations,
    which remove every unknown start, are Gaussian with covariance s^2 D_K D_K^T + q^2 D_(K-k)
    D_(K-k)^T, with noise s and amplitude q. Their restricted likelihood (Patterson and Thompson
    1971) with the highest K is that of the same data for every k, and chooses k; the one with K = k
    then gives q and s from all that the data say.

    series: one-dimensional sequences, smooth motion with white noise; orders: the k to choose from.
    Those that are at least half of the longest sequence are left out; noise: where it is known
    already, in the unit of the series: a motion that is smooth at no order passes for noise
    otherwise. Raises ValueError when no order is left.
    """
    longest = max((len(y) for y in series), default=0)
    possible = sorted((order for order in orders if 2 * order < longest), reverse=True)
    if not possible:
        raise ValueError(f"series: the longest has {longest} frames, too few to judge smoothness")
    top = possible[0]
    lengths = sorted({len(y) for y in series if len(y) > 2 * top})
    groups = [np.stack([y for y in series if len(y) == length]) for length in lengths]
    best, lowest = top, np.inf
    for order in possible:
        deviance = _fit(groups, order, top, noise)[0]
        # Where only noise is left, all orders tie: then the highest, which presumes least.
        if deviance < lowest - DEVIANCE:
            best, lowest = order, deviance
    _, amplitude, noise = _fit(groups, best, best, noise)
    return Smoothness(order=best, amplitude=amplitude, noise=noise)


def _fit(
    groups: list[np.ndarray], order: int, top: int, known: float | None
) -> tuple[float, float, float]:
    """Least deviance over q / s, with q and s, of differences of order `top`."""
    powers, spectra = [], []
    for y in groups:
        whiten, spectrum = _whitened(y.shape[1], order, top)
        powers.append(((y @ whiten) ** 2).ravel())
        spectra.append(np.tile(spectrum, len(y)))
    power, ratios = np.concatenate(powers), np.concatenate(spectra)
    # A motion as exact as arithmetic has no noise: keep the logarithm finite.
    power += 1e-30 + 1e-20 * np.mean([(y**2).mean() for y in groups])

    def deviance(log_ratio):
        variance = 1 + np.exp(2 * log_ratio) * ratios
        if known is not None:
            return (power / variance).sum() / known**2 + np.log(variance).sum()
        return len(power) * np.log((power / variance).mean()) + np.log(variance).sum()

    values = np.array([deviance(x) for x in LOG_RATIOS])
    found = values.argmin()
    if values[0] < values[found] + DEVIANCE:
        # Only noise is seen: then the motion is as rough as would go unnoticed, not rigid.
        found = np.flatnonzero(values < values[found] + DEVIANCE)[-1]
    ratio = np.exp(LOG_RATIOS[found])
    if known is None:
        noise = np.sqrt((power / (1 + np.exp(2 * LOG_RATIOS[found]) * ratios)).mean())
    else:
        noise = known
    return float(values.min()), float(ratio * noise), float(noise)


def effective_count(series: np.ndarray, smoothness: Smoothness) -> float:
    """How many independent motions there are in series (c, n, T) of c axes and n points.

    Neighboring points move alike, so that n of them say less than n times what one says. The
    participation ratio (tr S)^2 / tr S^2 of the covariance S of their differences counts the modes.
    """
    D = differences(series.shape[2], smoothness.order)
    moves = np.swapaxes(series @ D.T, 1, 2).reshape(-1, series.shape[1])
    values = np.linalg.svd(moves, compute_uv=False) ** 2
    values = np.maximum(values - smoothness.noise**2 * np.trace(D @ D.T) * len(series), 0)
    return float(values.sum() ** 2 / max((values**2).sum(), 1e-300)) if values.any() else 1.0


def without_spikes(series: np.ndarray) -> np.ndarray:
    """Series (..., T) in which single values far off the cubic through their four neighbors are put
    on it, so that a few gross errors do not pass for noise or roughness."""
    series = series.copy()
    if series.shape[-1] < 7:
        return series
    for _ in range(SPIKE_ROUNDS):
        inner = series[..., 2:-2]
        near, far = series[..., 1:-3] + series[..., 3:-1], series[..., :-4] + series[..., 4:]
        off = np.pad(inner - (4 * near - far) / 6, [(0, 0)] * (series.ndim - 1) + [(2, 2)])
        size = np.abs(off)
        usual = MAD_TO_SIGMA * np.median(size[..., 2:-2], axis=-1, keepdims=True)
        window = np.lib.stride_tricks.sliding_window_view(size, 5, axis=-1)
        peak = size[..., 2:-2] >= window.max(axis=-1)
        spike = peak & (size[..., 2:-2] > SPIKE * usual)
        if not spike.any():
            break
        series[..., 2:-2] = np.where(spike, inner - off[..., 2:-2], inner)
    return series


def _whitened(frames: int, order: int, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (frames, m) that makes noise white and independent, and the prior's share (m,)."""
    D = differences(frames, top)
    rest = differences(frames - order, top - order)
    root = np.linalg.inv(np.linalg.cholesky(D @ D.T))
    spectrum, vectors = np.linalg.eigh(root @ rest @ rest.T @ root.T)
    return (vectors.T @ root @ D).T, np.maximum(spectrum, 0)
