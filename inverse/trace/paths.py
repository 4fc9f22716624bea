"""The motion of every part, from the paths of its particles through all observed times.

The rates that the dynamics give a particle at one time predict its path well, but they tell its
acceleration at that instant far less exactly than the path does. So a part's motion is fitted to
the paths of all its particles: a constant acceleration of its center, and a spin that is constant,
or that changes at a constant rate if the paths show it.
"""

from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, least_squares
from scipy.spatial.transform import Rotation

from taichi_phys.rotations import nearest_rotation


ROUNDS = 8  # of reweighting
SURE = 3.0  # standard errors from which an angular acceleration is believed
THIN = 1e-3  # of their length; particles closer than this to a line do not show a spin about it


def motion_along_paths(
    times: np.ndarray, x: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> list[dict[str, Any]]:
    """Fit the motion of each part: one record per label, in rising order, ready for JSON.

    times: (T,) s, ascending; x: (T, n, 3) m, the particles at these times; labels: (n,) int;
    weights: (n,), at least 0, such as opacities. A record holds the motion at the last of the
    times: label, count, share (of the weight), centre m (the point that moves on a parabola, if
    the part turns enough to show it), velocity m/s and acceleration m/s^2 of that point,
    angular_velocity rad/s, angular_speed, axis (None if the spin is within its spread),
    angular_acceleration rad/s^2 (zero if it cannot be told from zero), residual m (root mean square
    distance of the particles from the rigid motion), and spread: the standard errors of these rates
    in each axis. Raises ValueError for other shapes, times that do not rise, or unusable weights.
    """
    times, x, weights = (np.asarray(a, dtype=np.float64) for a in (times, x, weights))
    labels = np.asarray(labels)
    if times.ndim != 1 or len(times) < 3 or not (np.diff(times) > 0).all():
        raise ValueError(f"times: got {times}, expected at least 3 times in ascending order")
    if x.ndim != 3 or x.shape[0] != len(times) or x.shape[2] != 3 or not np.isfinite(x).all():
        raise ValueError(f"x: got {x.shape}, expected finite ({len(times)}, n, 3)")
    for name, value in (("labels", labels), ("weights", weights)):
        if value.shape != (x.shape[1],):
            raise ValueError(f"{name}: got {value.shape}, expected ({x.shape[1]},)")
    if not (weights >= 0).all() or not weights.any():
        raise ValueError(
            "weights: got negative or only zero values, expected values from 0 on, some above 0"
        )
    records = []
    for label in np.unique(labels):
        k = (labels == label) & (weights > 0)
        if k.any():
            share = float(weights[k].sum() / weights.sum())
            head = {"label": int(label), "count": int(k.sum()), "share": share}
            records.append(head | _motion(times, x[:, k], weights[k]))
    return records


def _motion(times: np.ndarray, x: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    centers, turns, residual = rigid_path(x, weights)
    since = times - times[-1]
    size = float(np.sqrt(weights @ ((x[-1] - centers[-1]) ** 2).sum(axis=1) / weights.sum()))
    (center, velocity, acceleration), errors = center_fit(since, centers, turns, max(size, 1e-9))
    spin, spin_rate, spin_errors, rate_errors = spin_of(since, turns)
    speed = float(np.linalg.norm(spin))
    seen = speed > SURE * np.linalg.norm(spin_errors)
    return {
        "centre": center.tolist(),
        "velocity": velocity.tolist(),
        "acceleration": acceleration.tolist(),
        "angular_velocity": spin.tolist(),
        "angular_speed": speed,
        "axis": (spin / speed).tolist() if seen else None,
        "angular_acceleration": spin_rate.tolist(),
        "residual": residual,
        "spread": {
            "velocity": errors[1].tolist(),
            "acceleration": errors[2].tolist(),
            "angular_velocity": spin_errors.tolist(),
            "angular_acceleration": rate_errors.tolist(),
        },
    }


def rigid_path(x: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, Rotation, float]:
    """Fit a rigid motion to particles x (T, n, 3) m.

    Particles count by weights (n,), and count less and less as they leave the body (Cauchy), or, at
    first, if they are far from it. Particles on a line do not show a spin about it, which is then
    taken as zero. Returns the centers (T, 3) m, the rotations since the first time, and the root
    mean square of the residuals, m, of the particles by how much they count.
    """
    far = np.sqrt(((x - np.median(x, axis=1, keepdims=True)) ** 2).sum(axis=2).max(axis=0))
    q = weights / np.maximum(1, far / max(median(far, weights), 1e-150)) ** 2
    for _ in range(ROUNDS):
        share = q / q.sum()
        centers = np.einsum("n,tnd->td", share, x)
        arms = x - centers[:, None]
        turns = _turns(arms, share)
        # The body itself: the mean over all times, turned back.
        body = np.einsum("tji,tnj->ni", turns, arms) / len(x)
        miss = arms - np.einsum("tij,nj->tni", turns, body)
        miss = np.sqrt((miss**2).sum(axis=2).mean(axis=0))
        residual = float(np.sqrt(share @ miss**2))
        q = weights / np.maximum(1, miss / max(1.5 * median(miss, weights), 1e-150)) ** 2
    return centers, Rotation.from_matrix(turns), residual


def median(values: np.ndarray, weights: np.ndarray) -> float:
    """The weighted median of values (n,)."""
    order = np.argsort(values)
    return float(values[order][np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)])


def _turns(arms: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Rotations (T, 3, 3) since the first time that turn arms (T, n, 3) m best; share: (n,)."""
    covariances = np.stack([(arms[0] * share[:, None]).T @ later for later in arms])
    sizes = np.linalg.svd(arms[0] * np.sqrt(share)[:, None], compute_uv=False)
    if len(sizes) > 1 and sizes[1] > THIN * sizes[0]:
        later = np.swapaxes(nearest_rotation(covariances[1:]), 1, 2)
        return np.concatenate([np.eye(3)[None], later])
    _, _, directions = np.linalg.svd(covariances)
    turns = [np.eye(3)]
    for before, after in zip(directions[:-1, 0], directions[1:, 0], strict=True):
        turns.append(_shortest_turn(before, after) @ turns[-1])
    return np.array(turns)


def _shortest_turn(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) by the smallest angle that turns one unit vector (3,) into another."""
    axis, cosine = np.cross(before, after), before @ after
    sine = np.linalg.norm(axis)
    if sine < 1e-12:  # equal directions, or opposite ones, for which any axis across will do
        axis = np.cross(before, np.eye(3)[np.abs(before).argmin()])
    angle = np.arctan2(sine, cosine)
    return Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()


def spin_of(
    since: np.ndarray, turns: Rotation
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fit the spin (3,) rad/s at since = 0 and its rate (3,) rad/s^2 to rotations at since (T,) s.

    The rate is zero unless it exceeds SURE standard errors. Returns both and their standard errors.
    """
    steps = (turns[1:] * turns[:-1].inv()).as_rotvec() / np.diff(since)[:, None]
    start = np.concatenate([turns[-1].as_rotvec(), np.median(steps, axis=0)])

    def misfit(p: np.ndarray) -> np.ndarray:
        rate = p[6:] if len(p) > 6 else np.zeros(3)
        return (turns * turned(since, p[3:6], rate, p[:3]).inv()).as_rotvec().ravel()

    constant = least_squares(misfit, start)
    if len(since) < 5:
        return constant.x[3:6], np.zeros(3), _errors(constant)[3:6], np.full(3, np.nan)
    changing = least_squares(misfit, np.concatenate([constant.x, np.zeros(3)]))
    rate, errors = changing.x[6:], _errors(changing)
    if np.linalg.norm(rate) > SURE * np.linalg.norm(errors[6:]):
        return changing.x[3:6], rate, errors[3:6], errors[6:]
    return constant.x[3:6], np.zeros(3), _errors(constant)[3:6], errors[6:]


def turned(since: np.ndarray, spin: np.ndarray, rate: np.ndarray, at_zero: np.ndarray) -> Rotation:
    """Rotations at since (T,) s, ascending to 0, of a body that at 0 is turned by the rotation
    vector at_zero and spins at spin + rate t: steps of Magnus' series between the times."""
    h = np.diff(since)[:, None]
    middle = spin + rate * (since[1:] + since[:-1])[:, None] / 2
    vectors = h * middle + h**3 / 12 * np.cross(np.broadcast_to(rate, middle.shape), middle)
    steps = Rotation.from_rotvec(vectors).inv()
    back = [Rotation.from_rotvec(at_zero)]
    for k in reversed(range(len(h))):
        back.append(steps[k] * back[-1])
    return Rotation.concatenate(back[::-1])


def center_fit(
    since: np.ndarray, centers: np.ndarray, turns: Rotation, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Find the point of a body whose path is nearest to a parabola.

    Returns its position, velocity and acceleration (3, 3) at since = 0, and their standard errors
    (3, 3).

    centers (T, 3) m is the path of one point, which circles the center of mass where it is not
    that, so the arm p between them is found too: centers + R p = c + v t + a t^2 / 2, linear in
    all four. A body that hardly turns says little about p: it is expected within a fifth of size m.
    """
    count = len(since)
    powers = np.stack([np.ones_like(since), since, since**2 / 2], axis=1)
    rows = np.concatenate([np.kron(powers, np.eye(3)), -turns.as_matrix().reshape(-1, 3)], axis=1)
    target = centers.ravel()
    free = 3 * count - 12
    plain = np.linalg.lstsq(rows[:, :9], target, rcond=None)[0]
    left = target - rows[:, :9] @ plain
    if free <= 0:
        noise = np.sqrt(left @ left / max(3 * count - 9, 1))
    else:
        left = target - rows @ np.linalg.lstsq(rows, target, rcond=None)[0]
        noise = np.sqrt(left @ left / free)
    # Errors of a path are correlated in time, so that they are larger than their scatter.
    noise = max(3 * noise, 1e-6 * size)
    prior = np.zeros((3, 12))
    prior[:, 9:] = np.eye(3) * noise / (size / 5)
    system = np.concatenate([rows, prior])
    solution = np.linalg.lstsq(system, np.concatenate([target, np.zeros(3)]), rcond=None)[0]
    errors = noise * np.sqrt(np.diag(np.linalg.inv(system.T @ system)))
    return solution[:9].reshape(3, 3), errors[:9].reshape(3, 3)


def _errors(fit: OptimizeResult) -> np.ndarray:
    free = max(len(fit.fun) - len(fit.x), 1)
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac) * (fit.fun @ fit.fun) / free
    return np.sqrt(np.maximum(np.diag(covariance), 0))
