"""Poses of colliders: rotations and translations as functions of the time."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from taichi_phys.checks import finite_vector
from taichi_phys.rotations import rotation_matrix


Pose = Callable[[float], tuple[Any, Any]]


def moving(
    *,
    velocity: Sequence[float] = (0.0, 0.0, 0.0),
    angular_velocity: Sequence[float] = (0.0, 0.0, 0.0),
    center: Sequence[float] = (0.0, 0.0, 0.0),
) -> Callable[[float], tuple[np.ndarray, np.ndarray]]:
    """A pose for colliders that move at constant velocities from their given place at t = 0.

    velocity: (3,) of the center, m/s; angular_velocity: (3,) about the center, rad/s; center: (3,)
    at t = 0, m. Raises ValueError.
    """
    velocity, center = (
        np.array(finite_vector("velocity", velocity)),
        np.array(finite_vector("center", center)),
    )
    spin = np.array(finite_vector("angular_velocity", angular_velocity))
    rate = math.hypot(*spin)
    axis = np.cross(np.eye(3), spin / rate if rate > 0 else spin)  # axis @ x = cross(direction, x)
    return functools.partial(_moved, velocity, rate, axis, center)


def _moved(velocity, rate, axis, center, t):
    R = np.eye(3) + math.sin(rate * t) * axis + (1 - math.cos(rate * t)) * (axis @ axis)
    return R, center + velocity * t - R @ center


def twists(pose: Pose, times: np.ndarray, dt: float) -> np.ndarray:
    """Where a pose puts things and how it moves them, (n, 18), at times (n,) s.

    The columns are a rotation (9), row by row, and a translation (3) m that take a point of the
    world to the unposed shape, and of the steady screw motion from t to t + dt the velocity (3) m/s
    at the origin of the world and the spin (3) rad/s. Raises ValueError for what a pose returns.
    """
    from scipy.spatial.transform import Rotation

    if (np.abs(np.diff(times) - dt) < 1e-7 * dt).all():  # each substep ends where the next begins
        R, T = places_of(pose, np.append(times, times[-1] + dt))
        R, T, next_R, next_T = R[:-1], T[:-1], R[1:], T[1:]
    else:
        R, T = places_of(pose, times)
        next_R, next_T = places_of(pose, times + dt)
    turn = next_R @ R.transpose(0, 2, 1)
    angle = Rotation.from_matrix(turn).as_rotvec()
    # x -> turn x + shift is the exponential of the twist (angle, V^-1 shift), with V^-1 shift =
    # shift - angle x shift / 2 + k angle x (angle x shift) and
    # k = (1 - (r / 2) / tan(r / 2)) / r^2, r = |angle| (Sola et al. 2018, "A micro Lie theory",
    # eq. 174 and the inverse of eq. 145).
    shift = next_T - np.einsum("tij,tj->ti", turn, T)
    r = np.linalg.norm(angle, axis=1, keepdims=True)
    half = np.maximum(0.5 * r, 1e-4)  # below this, the series below: its next term is rounding
    k = np.where(r > 2e-4, (1 - half / np.tan(half)) / (4 * half**2), 1 / 12 + r**2 / 720)
    cross = np.cross(angle, shift)
    twist = shift - 0.5 * cross + k * np.cross(angle, cross)
    back = -np.einsum("tji,tj->ti", R, T)
    return np.hstack([R.transpose(0, 2, 1).reshape(-1, 9), back, twist / dt, angle / dt])


def places_of(pose: Pose, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (n, 3, 3) and translations (n, 3) m of a pose at times (n,) s.

    Raises ValueError, which names the time, if the pose returns anything else.
    """
    from scipy.spatial.transform import Rotation

    expected = "expected (rotation (3, 3) or unit quaternion (4,) wxyz, translation (3,) m)"
    results, rotations, translations = [], [], []
    for t in times.tolist():
        result = pose(t)
        try:
            rotation, translation = (np.asarray(part, dtype=np.float64) for part in result)
            fits = translation.shape == (3,) and rotation.shape in ((3, 3), (4,))
        except (TypeError, ValueError, OverflowError, RuntimeError):
            fits = False
        if not fits:
            raise ValueError(f"pose: at t = {t:g} s got {result!r}, {expected}")
        results.append(result)
        if rotation.shape == (4,):  # scaled, so that the check below finds a length other than 1
            with np.errstate(invalid="ignore", over="ignore"):
                rotation = rotation_matrix(rotation) * (rotation @ rotation)
        rotations.append(rotation)
        translations.append(translation)
    R, T = np.array(rotations), np.array(translations)
    with np.errstate(invalid="ignore", over="ignore"):
        good = np.isfinite(T).all(axis=1) & (
            np.abs(R.transpose(0, 2, 1) @ R - np.eye(3)) < 1e-3
        ).all(axis=(1, 2))
        good &= np.linalg.det(R) > 0
    if not good.all():
        bad = int(np.flatnonzero(~good)[0])
        raise ValueError(f"pose: at t = {times[bad]:g} s got {results[bad]!r}, {expected}")
    return Rotation.from_matrix(R).as_matrix(), T  # orthogonal to rounding
