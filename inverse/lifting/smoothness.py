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
    smooth part are white, those of the highest order K in `orders`, which remove every unknown
    start, are Gaussian with covariance s^2 D_K D_K^T + q^2 D_(K-k) D_(K-k)^T. Their restricted
    likelihood (Patterson and Thompson 1971) is maximised over q / s, with s in closed form, and
    over k; it is that of the same data for every k and may thus be compared. Orders that
    need more frames than twice their own are left out. Raises ValueError when none remains.
    """
    longest = max((len(y) for y in series), default=0)
    orders = [order for order in orders if 2 * order < longest]
    if not orders:
        raise ValueError(f"series: the longest has {longest} frames, too few to judge smoothness")
    top = max(orders)
    lengths = sorted({len(y) for y in series if len(y) > 2 * top})
    groups = [np.stack([y for y in series if len(y) == length]) for length in lengths]
    best, lowest = None, np.inf
    for order in orders:
        power, ratios = [], []
        for y in groups:
            whiten, spectrum = _whitened(y.shape[1], order, top)
            power.append(((y @ whiten) ** 2).ravel())
            ratios.append(np.tile(spectrum, len(y)))
        power, ratios = np.concatenate(power), np.concatenate(ratios)
        # A motion as exact as arithmetic has no noise: keep the logarithm finite.
        power += 1e-30 + 1e-20 * np.mean([(y**2).mean() for y in groups])
        for log_ratio in np.linspace(-12, 12, 193):
            variance = 1 + np.exp(2 * log_ratio) * ratios
            noise = (power / variance).mean()
            deviance = len(power) * np.log(noise) + np.log(variance).sum()
            if deviance < lowest:
                amplitude = np.exp(log_ratio) * np.sqrt(noise)
                best, lowest = (order, float(amplitude), float(np.sqrt(noise))), deviance
    return Smoothness(order=best[0], amplitude=best[1], noise=best[2])


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
    """Series (..., T) in which single values far off their neighbours become those' median
    (Hampel 1974), so that a few gross errors do not pass for noise or roughness."""
    frames = series.shape[-1]
    if frames < 7:
        return series
    padded = np.concatenate([series[..., 2:0:-1], series, series[..., -2:-4:-1]], axis=-1)
    window = np.lib.stride_tricks.sliding_window_view(padded, 5, axis=-1)
    middle = np.median(window, axis=-1)
    off = np.abs(series - middle)
    # Curved motion is off its running median too: the scale is that of the whole series.
    scale = 1.4826 * np.median(off, axis=-1, keepdims=True)
    everywhere = 1.4826 * np.median(off)
    return np.where(off > 6 * np.maximum(scale, everywhere), middle, series)


def _whitened(frames, order, top):
    """Matrix (frames, m) that makes noise white and independent, and the prior's share (m,)."""
    D = differences(frames, top)
    rest = differences(frames - order, top - order)
    root = np.linalg.inv(np.linalg.cholesky(D @ D.T))
    spectrum, vectors = np.linalg.eigh(root @ rest @ rest.T @ root.T)
    return (vectors.T @ root @ D).T, np.maximum(spectrum, 0)
