"""How smooth is a motion? Noise and smoothness estimated from tracks by marginal likelihood."""

import dataclasses

import numpy as np


ORDERS = (2, 3, 4, 5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Smoothness:
    """Differences of this order of the motion are white, with standard deviation `amplitude`
    (unit of the series per frame^order); observations carry white `noise` (unit of the series).
    """

    order: int
    amplitude: float
    noise: float


def differences(frames: int, order: int) -> np.ndarray:
    """(frames - order, frames) matrix of differences; no rows when there are too few frames."""
    return np.diff(np.eye(frames), order, axis=0) if frames > order else np.zeros((0, frames))


def estimate_smoothness(series: list[np.ndarray], orders=ORDERS) -> Smoothness:
    """The smoothness under which sequences of one kind of motion are likeliest.

    series: one-dimensional sequences y = smooth + white noise. If differences of order k of the
    smooth part are white, those of order K >= k, which remove every unknown start, are Gaussian
    with covariance s^2 D_K D_K^T + q^2 D_(K-k) D_(K-k)^T. Their restricted likelihood (Patterson
    and Thompson 1971) with the highest K is that of the same data for every k, and chooses k; the
    one with K = k then gives q and s from all that the data say. Orders that need more frames
    than twice their own are left out. Raises ValueError when none remains.
    """
    longest = max((len(y) for y in series), default=0)
    orders = sorted((order for order in orders if 2 * order < longest), reverse=True)
    if not orders:
        raise ValueError(f"series: the longest has {longest} frames, too few to judge smoothness")
    top = orders[0]
    lengths = sorted({len(y) for y in series if len(y) > 2 * top})
    groups = [np.stack([y for y in series if len(y) == length]) for length in lengths]
    best, lowest = top, np.inf
    for order in orders:
        deviance = _fit(groups, order, top)[0]
        # Where only noise remains all orders tie: then the highest, which presumes least.
        if deviance < lowest - 2:
            best, lowest = order, deviance
    _, amplitude, noise = _fit(groups, best, best)
    return Smoothness(order=best, amplitude=amplitude, noise=noise)


def _fit(groups, order, top):
    """Least deviance over q / s, with q and s, of differences of order `top`."""
    power, ratios = [], []
    for y in groups:
        whiten, spectrum = _whitened(y.shape[1], order, top)
        power.append(((y @ whiten) ** 2).ravel())
        ratios.append(np.tile(spectrum, len(y)))
    power, ratios = np.concatenate(power), np.concatenate(ratios)
    # A motion as exact as arithmetic has no noise: keep the logarithm finite.
    power += 1e-30 + 1e-20 * np.mean([(y**2).mean() for y in groups])

    def deviance(log_ratio):
        variance = 1 + np.exp(2 * log_ratio) * ratios
        return len(power) * np.log((power / variance).mean()) + np.log(variance).sum()

    grid = np.linspace(-12, 12, 193)
    values = np.array([deviance(x) for x in grid])
    found = values.argmin()
    if values[0] < values[found] + 2:
        # Nothing but noise can be told: then as rough as would go unnoticed, not rigid.
        found = np.flatnonzero(values < values[found] + 2)[-1]
    noise = np.sqrt((power / (1 + np.exp(2 * grid[found]) * ratios)).mean())
    return values.min(), float(np.exp(grid[found]) * noise), float(noise)


def effective_count(series: np.ndarray, smoothness: Smoothness) -> float:
    """How many independent motions there are in series (c, n, T): the participation ratio.

    Neighbouring points move alike, so n of them say less than n times what one says. The ratio
    (tr S)^2 / tr S^2 of the covariance S of their differences counts the modes of motion.
    """
    D = differences(series.shape[2], smoothness.order)
    moves = np.swapaxes(series @ D.T, 1, 2).reshape(-1, series.shape[1])
    values = np.linalg.svd(moves, compute_uv=False) ** 2
    values = np.maximum(values - smoothness.noise**2 * np.trace(D @ D.T) * len(series), 0)
    return float(values.sum() ** 2 / max((values**2).sum(), 1e-300)) if values.any() else 1.0


def without_spikes(series: np.ndarray) -> np.ndarray:
    """Series (..., T) in which single values far off the cubic through their four neighbours are
    put on it, so that a few gross errors do not pass for noise or roughness."""
    series = series.copy()
    if series.shape[-1] < 7:
        return series
    for _ in range(3):  # a spike hides smaller ones beside it
        inner = series[..., 2:-2]
        near, far = series[..., 1:-3] + series[..., 3:-1], series[..., :-4] + series[..., 4:]
        off = np.pad(inner - (4 * near - far) / 6, [(0, 0)] * (series.ndim - 1) + [(2, 2)])
        size = np.abs(off)
        usual = 1.4826 * np.median(size[..., 2:-2], axis=-1, keepdims=True)
        window = np.lib.stride_tricks.sliding_window_view(size, 5, axis=-1)
        peak = size[..., 2:-2] >= window.max(axis=-1)
        spike = peak & (size[..., 2:-2] > 8 * usual)
        if not spike.any():
            break
        series[..., 2:-2] = np.where(spike, inner - off[..., 2:-2], inner)
    return series


def _whitened(frames, order, top):
    """Matrix (frames, m) that makes noise white and independent, and the prior's share (m,)."""
    D = differences(frames, top)
    rest = differences(frames - order, top - order)
    root = np.linalg.inv(np.linalg.cholesky(D @ D.T))
    spectrum, vectors = np.linalg.eigh(root @ rest @ rest.T @ root.T)
    return (vectors.T @ root @ D).T, np.maximum(spectrum, 0)
