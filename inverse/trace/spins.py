"""Rotations of bodies whose spin changes, and integrals over time."""

from collections.abc import Callable

import numpy as np
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation


STEP = 1 / 24  # longest step of integrals over time, in spans
GAUSS = np.array([0.5 - 3**0.5 / 6, 0.5 + 3**0.5 / 6])  # nodes of Gauss' rule of order 4


def spun(rates: np.ndarray, times: np.ndarray) -> Rotation:
    """Rotations since time 0 of a body that spins at rates[0] + rates[1] t + rates[2] t^2 + ...

    rates: (d, 3) rad; times: (T,) in any order. Exact for d = 1, else Magnus steps of order 4.
    """
    if len(rates) == 1:
        return Rotation.from_rotvec(times[:, None] * rates)
    quats = np.empty((len(times), 4))
    for side in (times >= 0, times < 0):
        order = np.flatnonzero(side)[np.argsort(np.abs(times[side]), kind="stable")]
        if not len(order):
            continue
        ends = times[order]
        starts = np.concatenate([[0.0], ends[:-1]])
        parts = max(1, int(np.ceil(np.abs(ends - starts).max() / STEP)))
        share = np.arange(parts) / parts
        h = np.repeat((ends - starts) / parts, parts)
        begin = (starts[:, None] + share * (ends - starts)[:, None]).ravel()
        at = begin[:, None] + h[:, None] * GAUSS
        w = sum(rate * at[..., None] ** d for d, rate in enumerate(rates))
        vectors = h[:, None] / 2 * (w[:, 0] + w[:, 1])
        vectors += 3**0.5 / 12 * h[:, None] ** 2 * _cross(w[:, 1], w[:, 0])
        steps = Rotation.from_rotvec(vectors).as_quat()
        reach = 1  # steps that each product has so far; it doubles, so that few products are taken
        while reach < len(steps):
            steps[reach:] = _product(steps[reach:], steps[:-reach])
            reach *= 2
        quats[order] = steps[parts - 1 :: parts]
    return Rotation.from_quat(quats)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cross products of a (n, 3) and b (n, 3); numpy's own takes long for a few."""
    (u, v, w), (x, y, z) = a.T, b.T
    return np.stack([v * z - w * y, w * x - u * z, u * y - v * x], axis=1)


def _product(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The products of quaternions (n, 4) xyzw, which rotate by q first."""
    (a, b, c, d), (e, f, g, h) = p.T, q.T
    return np.stack(
        [
            d * e + a * h + b * g - c * f,
            d * f - a * g + b * h + c * e,
            d * g + a * f - b * e + c * h,
            d * h - a * e - b * f - c * g,
        ],
        axis=1,
    )


def integral(integrand: Callable[[np.ndarray], np.ndarray], times: np.ndarray) -> np.ndarray:
    """Integrals (T, ...) from 0 to times of integrand, which gives (G, ...) at times (G,)."""
    low, high = min(times.min(), -STEP), max(times.max(), STEP)
    before = np.linspace(low, 0.0, 1 + int(np.ceil(-low / STEP)))
    after = np.linspace(0.0, high, 1 + int(np.ceil(high / STEP)))
    grid = np.concatenate([before, after[1:]])
    h = np.diff(grid)
    at = grid[:-1, None] + h[:, None] * GAUSS
    values = integrand(np.concatenate([at.ravel(), grid]))  # once: each call costs more than a time
    shape = values.shape[1:]
    inner, rates = np.split(values.reshape(len(values), -1), [at.size])
    areas = h[:, None] * inner.reshape(len(h), 2, -1).mean(axis=1)
    whole = np.concatenate([np.zeros_like(areas[:1]), np.cumsum(areas, axis=0)])
    spline = CubicHermiteSpline(grid, whole, rates)
    return (spline(times) - spline(0.0)).reshape(len(times), *shape)
