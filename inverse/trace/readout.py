"""The motion of every rigid part at one instant, from the rates of its particles (TRACE, eq. 3)."""

from typing import Any

import numpy as np


ROBUST_ROUNDS = 10  # of reweighting
HUBER = 1.5  # times the median misfit; beyond that a particle counts less


def motion_of_parts(
    x: np.ndarray,
    v_bar: np.ndarray,
    a_bar: np.ndarray,
    w: np.ndarray,
    eps: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
) -> list[dict[str, Any]]:
    """Fit the motion of each part: one record per label, in rising order, ready for JSON.

    x: (n, 3) m; v_bar: (n, 3) m/s, a_bar: (n, 3) m/s^2, w: (n, 3) rad/s and eps: (n, 3) rad/s^2,
    rates of each particle's velocity field about the origin (`rigid.advance`); labels: (n,) int,
    as `segment` gives them; weights: (n,), at least 0, such as opacities. A record has label,
    count, share (of the weight), centre m (weighted), velocity m/s and acceleration m/s^2 of that
    point, angular_velocity rad/s, angular_speed, axis (None if the spin is within its spread),
    angular_acceleration rad/s^2, and spread: the robust standard deviations, in each axis, of the
    velocity, acceleration, angular_velocity and angular_acceleration that single particles give
    for that point. Raises ValueError for other shapes, NaN, or unusable weights.

    The rates of a particle give v_i = v_bar_i + w_i x x_i at its place and, since dx/dt = v,

        A_i = dv_i/dt = a_bar_i + eps_i x x_i + w_i x v_i.

    In a rigid body with arms r = x - c these are v_c + w x r and a_c + eps x r + w x (w x r).
    v_c and w, then a_c and eps with w known, are fitted to all particles of a part: velocities over
    an extended body tell its spin better than the mean of w_i, of which pictures show little.
    """
    x, v_bar, a_bar, w, eps, weights = check_particles(
        weights, x=x, v_bar=v_bar, a_bar=a_bar, w=w, eps=eps
    )
    labels = np.asarray(labels)
    if labels.shape != (len(x),) or labels.dtype.kind not in "iu":
        raise ValueError(f"labels: got {labels.dtype} {labels.shape}, expected int ({len(x)},)")
    v = v_bar + np.cross(w, x)
    a = a_bar + np.cross(eps, x) + np.cross(w, v)
    total = weights.sum()
    records = []
    for label in np.unique(labels):
        k = labels == label
        records.append(
            {"label": int(label), "count": int(k.sum()), "share": float(weights[k].sum() / total)}
            | _motion(x[k], v[k], a[k], w[k], eps[k], weights[k])
        )
    return records


def _motion(
    x: np.ndarray,
    v: np.ndarray,
    a: np.ndarray,
    w: np.ndarray,
    eps: np.ndarray,
    weights: np.ndarray,
) -> dict[str, Any]:
    center, velocity, spin = rigid_fit(x, v, weights)
    turning = np.cross(spin, np.cross(spin, x - center))
    _, acceleration, spin_up = rigid_fit(x, a - turning, weights)
    to_center = center - x
    v_there = v + np.cross(w, to_center)
    said = {
        "velocity": v_there,
        "acceleration": a + np.cross(eps, to_center) + np.cross(w, v_there - v),
        "angular_velocity": w,
        "angular_acceleration": eps,
    }
    spread = {name: _spread(claims, weights) for name, claims in said.items()}
    speed = np.linalg.norm(spin)
    seen = speed > np.linalg.norm(spread["angular_velocity"])
    return {
        "centre": center.tolist(),
        "velocity": velocity.tolist(),
        "acceleration": acceleration.tolist(),
        "angular_velocity": spin.tolist(),
        "angular_speed": float(speed),
        "axis": (spin / speed).tolist() if seen else None,
        "angular_acceleration": spin_up.tolist(),
        "spread": {name: values.tolist() for name, values in spread.items()},
    }


def _spread(claims: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Robust standard deviation of claims (n, 3) in each axis, from weighted medians."""
    return 1.4826 * _median(np.abs(claims - _median(claims, weights)), weights)


def _median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted medians of the columns of values (n, 3)."""
    order = np.argsort(values, axis=0)
    below = np.cumsum(weights[order], axis=0)
    rank = (below < below[-1] / 2).sum(axis=0)
    return np.take_along_axis(values, np.take_along_axis(order, rank[None], axis=0), axis=0)[0]


def rigid_fit(
    x: np.ndarray, v: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit the rigid field v_c + w x (x - c) to velocities v (n, 3) at x (n, 3).

    Least squares with weights (n,), reweighted after Huber because of outliers. Returns c (3,), the
    center by the given weights, v_c (3,) and w (3,). If all x are on a line, the spin about it is
    zero.
    """
    q = weights
    for _ in range(ROBUST_ROUNDS):
        middle, mean = q @ x / q.sum(), q @ v / q.sum()
        r, s = x - middle, v - mean
        inertia = (q @ (r * r).sum(axis=1)) * np.eye(3) - (q[:, None] * r).T @ r
        w = np.linalg.pinv(inertia, rtol=1e-9, hermitian=True) @ (q @ np.cross(r, s))
        miss = np.linalg.norm(s - np.cross(w, r), axis=1)
        q = weights / np.maximum(1, miss / max(HUBER * np.median(miss), 1e-300))
    center = weights @ x / weights.sum()
    return center, mean + np.cross(w, center - middle), w


def check_particles(weights: np.ndarray, **vectors: np.ndarray) -> list[np.ndarray]:
    """Check vectors (n, 3) and weights (n,); returns them as float64, the weights last.

    Raises ValueError for other shapes, NaN, infinite values, or unusable weights.
    """
    arrays = {name: np.asarray(a, dtype=np.float64) for name, a in vectors.items()}
    arrays["weights"] = np.asarray(weights, dtype=np.float64)
    n = len(np.atleast_1d(arrays["x"])) or 1
    for name, a in arrays.items():
        shape = (n,) if name == "weights" else (n, 3)
        if a.shape != shape:
            raise ValueError(f"{name}: got {a.shape}, expected {shape}")
        if not np.isfinite(a).all():
            raise ValueError(f"{name}: got NaN or infinite values, expected finite ones")
    if not (arrays["weights"] >= 0).all() or not arrays["weights"].any():
        raise ValueError(
            "weights: got negative or only zero values, expected values from 0 on, some above 0"
        )
    # Particles without weight are counted and labeled too: a small weight avoids division by zero.
    arrays["weights"] = np.maximum(arrays["weights"], 1e-9 * arrays["weights"].max())
    return list(arrays.values())
