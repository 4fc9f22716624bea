"""Poses of colliders: rotations and translations as functions of the time."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from taichi_phys.checks import finite_vector
from taichi_phys.rotations import rotation_matrix


Pose = Callable[[float], tuple[Any, Any]]


def moving(
    *,
    velocity: Sequence[float] | torch.Tensor = (0.0, 0.0, 0.0),
    angular_velocity: Sequence[float] | torch.Tensor = (0.0, 0.0, 0.0),
    center: Sequence[float] | torch.Tensor = (0.0, 0.0, 0.0),
) -> Pose:
    """A pose for colliders that move at constant velocities from their given place at t = 0.

    velocity: (3,) of the center, m/s; angular_velocity: (3,) about the center, rad/s; center: (3,)
    at t = 0, m. Gradients reach those that are tensors with requires_grad. Raises ValueError.
    """
    given = {"velocity": velocity, "angular_velocity": angular_velocity, "center": center}
    plain = {name: np.array(finite_vector(name, _detached(a))) for name, a in given.items()}
    if any(isinstance(a, torch.Tensor) and a.requires_grad for a in given.values()):
        v, w, x = (torch.as_tensor(a, dtype=torch.float64).cpu() for a in given.values())
        return functools.partial(_moved_tensors, v, w, x)
    velocity, spin, center = plain.values()
    rate = math.hypot(*spin)
    axis = np.cross(np.eye(3), spin / rate if rate > 0 else spin)  # axis @ x = cross(direction, x)
    return functools.partial(_moved, velocity, rate, axis, center)


def _moved(velocity, rate, axis, center, t):
    R = np.eye(3) + math.sin(rate * t) * axis + (1 - math.cos(rate * t)) * (axis @ axis)
    return R, center + velocity * t - R @ center


def _moved_tensors(
    velocity: torch.Tensor, spin: torch.Tensor, center: torch.Tensor, t: float
) -> tuple[torch.Tensor, torch.Tensor]:
    R = torch.linalg.matrix_exp(t * _cross_matrix(spin))
    return R, center + t * velocity - R @ center


def _detached(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


def is_steered(pose: Pose, t: float) -> bool:
    """Whether what a pose returns at time t, s, depends on tensors with requires_grad."""
    with torch.enable_grad():
        result = pose(t)
    parts = result if isinstance(result, tuple | list) else (result,)
    return any(isinstance(part, torch.Tensor) and part.requires_grad for part in parts)


def steered_twists(pose: Pose, times: np.ndarray, dt: float) -> torch.Tensor:
    """The numbers (n, 18) of `twists` with gradients in what the pose depends on.

    The pose is one that `twists` accepts. All turns from t to t + dt are less than a quarter.
    """
    places = [_tensors(*pose(float(t))) for t in [*times, times[-1] + dt]]
    R, T = (torch.stack(parts) for parts in zip(*places, strict=True))
    R, T, next_R, next_T = R[:-1], T[:-1], R[1:], T[1:]
    turn = next_R @ R.mT
    # The angle is asin(sine) along the axis of sine; both quotients are series near zero.
    sine = torch.stack([turn[:, k, j] - turn[:, j, k] for j, k in ((1, 2), (2, 0), (0, 1))], 1) / 2
    s2 = (sine**2).sum(dim=1, keepdim=True)
    small = s2 < 1e-6
    s = torch.where(small, 0.5, s2).sqrt()
    angle = torch.where(small, 1 + s2 / 6 + 3 / 40 * s2**2, torch.asin(s) / s) * sine
    r2 = (angle**2).sum(dim=1, keepdim=True)
    r = torch.where(small, 0.5, r2).sqrt()
    k = torch.where(small, 1 / 12 + r2 / 720, (1 - r / 2 / torch.tan(r / 2)) / r**2)
    shift = next_T - (turn @ T[:, :, None])[:, :, 0]
    cross = torch.linalg.cross(angle, shift)
    twist = shift - 0.5 * cross + k * torch.linalg.cross(angle, cross)
    back = -(R.mT @ T[:, :, None])[:, :, 0]
    return torch.cat([R.mT.reshape(-1, 9), back, twist / dt, angle / dt], dim=1)


def _tensors(rotation: Any, translation: Any) -> tuple[torch.Tensor, torch.Tensor]:
    R, T = (torch.as_tensor(part, dtype=torch.float64).cpu() for part in (rotation, translation))
    return rotation_matrix(R) if R.shape == (4,) else R, T


def _cross_matrix(v: torch.Tensor) -> torch.Tensor:
    """The matrix (3, 3) of the cross product with v (3,) from the left."""
    zero = torch.zeros_like(v[0])
    x, y, z = v.unbind()
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)


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
        with torch.no_grad():
            result = pose(t)
        try:
            rotation, translation = (
                np.asarray(_detached(part), dtype=np.float64) for part in result
            )
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
