"""The pose of a body in one frame, from where its points are seen.

A nonrigid fit follows small steps only. The pose bridges large ones: Gauss-Newton over all views
at once, robust against wrong tracks, from several guesses, among them `cv2.solvePnPRansac`.
"""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from renderers.camera import Camera
from taichi_phys.rotations import nearest_rotation


MIN_POINTS = 6  # seen in all views together: fewer and a wrong one decides
ROUNDS = 25  # of Gauss-Newton, at most
# Of Gauss-Newton, as an angle and as a share of the body's size: a longer step is cut, since the
# cameras are linear over short ones only; a shorter one is the last.
LONGEST_STEP, SHORTEST_STEP = 0.5, 1e-6
CAUCHY = 2.385  # in scales, where an observation loses half its weight (Holland and Welsch 1977)
MEDIAN_LENGTH = 1.1774  # median length over standard deviation, of a Gaussian in two dimensions
RANSAC_ROUNDS, RANSAC_ERROR = 100, 4.0  # the error in px
NEAR = 1e-3  # of the body's size, in front of a camera, within which no point is seen
SURPRISE = 1.0  # of the body's size: how far a pose usually is from the one that was expected


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Sight:
    """What one view shows of some points: their indices (n,), and where, (n, 2) px."""

    camera: Camera
    index: np.ndarray
    xy: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pose:
    """A rigid motion x -> rotation x + shift, (3, 3) and (3,) m."""

    rotation: np.ndarray
    shift: np.ndarray

    def move(self, points: np.ndarray) -> np.ndarray:
        """The points (..., 3) m after the motion."""
        return points @ self.rotation.T + self.shift


STAY = Pose(rotation=np.eye(3), shift=np.zeros(3))


def motion_between(before: np.ndarray, after: np.ndarray) -> Pose:
    """The rigid motion that best carries points (N, 3) m to others (Kabsch 1976)."""
    a, b = before.mean(axis=0), after.mean(axis=0)
    rotation = nearest_rotation((after - b).T @ (before - a))
    return Pose(rotation=rotation, shift=b - rotation @ a)


def find_pose(
    shape: np.ndarray, sights: Sequence[Sight], guesses: Sequence[Pose], sigma_px: float
) -> tuple[Pose, float] | None:
    """The pose of a shape (N, 3) m in which it is seen where the sights say, and its cost.

    guesses: the motion that is expected first, then others; sigma_px: noise of the sights. The
    cost is twice a negative logarithm of likelihood, up to a constant. None where fewer than 6
    points are seen.
    """
    if sum(len(sight.index) for sight in sights) < MIN_POINTS:
        return None
    size = float(np.linalg.norm(shape.std(axis=0)))
    expected = guesses[0].move(shape)
    found = [_refine(shape, sights, pose, size, sigma_px) for pose in guesses]
    found += [
        _refine(shape, sights, pose, size, sigma_px)
        for pose in (_perspective(shape, sight) for sight in sights)
        if pose is not None
    ]
    # Seen from afar, a flat body and its mirror image in depth look the same.
    found += [
        _refine(shape, sights, _mirrored(shape, pose, sights[0].camera), size, sigma_px)
        for pose in [min(found, key=lambda p: _spread(shape, sights, p, size))]
    ]
    # Where the body bends, no pose fits to the noise: what the best one leaves is the scale.
    scale = max(min(_spread(shape, sights, pose, size) for pose in found), sigma_px)

    def cost(pose: Pose) -> float:
        r = _errors(shape, sights, pose, size)[0]
        away = np.linalg.norm(pose.move(shape) - expected, axis=1).mean()
        return float(CAUCHY**2 * np.log1p(r**2 / (CAUCHY * scale) ** 2).sum()
                     + (away / (SURPRISE * size)) ** 2)  # fmt: skip

    best = min(found, key=cost)
    fine = CAUCHY**2 * np.log1p(
        _errors(shape, sights, best, size)[0] ** 2 / (CAUCHY * sigma_px) ** 2
    )
    return best, float(fine.sum())


def _errors(
    shape: np.ndarray, sights: Sequence[Sight], pose: Pose, size: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances (n,) px of all sights, differences (n, 2) and their derivatives (n, 2, 3) by x."""
    x, lengths, offsets, slopes = pose.move(shape), [], [], []
    for sight in sights:
        camera, at = sight.camera, x[sight.index]
        local = camera.to_camera(at)
        z = np.maximum(local[:, 2], NEAR * size)
        behind = local[:, 2] < NEAR * size
        off = camera.project(at)[0] - sight.xy
        off[behind] = camera.width + camera.height
        J = np.zeros((len(z), 2, 3))
        J[:, 0, 0], J[:, 0, 2] = camera.fx / z, -camera.fx * local[:, 0] / z**2
        J[:, 1, 1], J[:, 1, 2] = camera.fy / z, -camera.fy * local[:, 1] / z**2
        J[behind] = 0
        lengths.append(np.linalg.norm(off, axis=1))
        offsets.append(off)
        slopes.append(J @ camera.rotation)
    return np.concatenate(lengths), np.concatenate(offsets), np.concatenate(slopes)


def _spread(shape: np.ndarray, sights: Sequence[Sight], pose: Pose, size: float) -> float:
    return float(np.median(_errors(shape, sights, pose, size)[0])) / MEDIAN_LENGTH


def _refine(
    shape: np.ndarray, sights: Sequence[Sight], pose: Pose, size: float, sigma_px: float
) -> Pose:
    """The pose after Gauss-Newton, robust at the scale of what is left."""
    index = np.concatenate([sight.index for sight in sights])
    for _ in range(ROUNDS):
        r, off, J = _errors(shape, sights, pose, size)
        scale = max(float(np.median(r)) / MEDIAN_LENGTH, sigma_px)
        weight = 1 / (1 + (r / (CAUCHY * scale)) ** 2)
        x = pose.move(shape)
        center = x.mean(axis=0)
        turn = np.cross(np.eye(3)[None], (x - center)[index][:, None])  # (n, 3, 3): d x / d angle
        G = (
            np.concatenate([J @ np.swapaxes(turn, 1, 2), J], axis=2)
            * np.sqrt(weight)[:, None, None]
        )
        A, b = G.reshape(-1, 6), (off * np.sqrt(weight)[:, None]).ravel()
        H = A.T @ A
        H += 1e-9 * np.diag(np.diag(H)) + 1e-12 * np.trace(H) * np.eye(6)
        if not H.any():  # wholly behind the cameras
            break
        step = -np.linalg.solve(H, A.T @ b)
        length = max(np.linalg.norm(step[:3]), np.linalg.norm(step[3:]) / size)
        step *= min(1.0, LONGEST_STEP / length)
        R = Rotation.from_rotvec(step[:3]).as_matrix()
        pose = Pose(
            rotation=R @ pose.rotation,
            shift=R @ (pose.shift - center) + center + step[3:],
        )
        if length < SHORTEST_STEP:
            break
    return pose


def _perspective(shape: np.ndarray, sight: Sight) -> Pose | None:
    """The pose that one view alone shows, by RANSAC over a perspective-n-point solver."""
    if len(sight.index) < MIN_POINTS:
        return None
    camera, center = sight.camera, shape[sight.index].mean(axis=0)
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    cv2.setRNGSeed(0)
    try:
        done, turn, shift, _ = cv2.solvePnPRansac(
            shape[sight.index] - center, sight.xy, matrix, None, flags=cv2.SOLVEPNP_SQPNP,
            iterationsCount=RANSAC_ROUNDS, reprojectionError=RANSAC_ERROR,
        )  # fmt: skip
    except cv2.error:  # all on a line, for example
        return None
    if not done or not np.isfinite(turn).all() or not np.isfinite(shift).all():
        return None
    rotation = camera.rotation.T @ Rotation.from_rotvec(turn[:, 0]).as_matrix()
    at = camera.rotation.T @ shift[:, 0] + camera.position
    return Pose(rotation=rotation, shift=at - rotation @ center)


def _mirrored(shape: np.ndarray, pose: Pose, camera: Camera) -> Pose:
    """The pose in which a flat shape looks about the same: reflected along the line of sight."""
    center = shape.mean(axis=0)
    normal = np.linalg.svd(shape - center, full_matrices=False)[2][2]
    at = pose.move(center)
    sight = (at - camera.position) / np.linalg.norm(at - camera.position)
    flip = np.eye(3) - 2 * np.outer(sight, sight)
    rotation = flip @ pose.rotation @ (np.eye(3) - 2 * np.outer(normal, normal))
    return Pose(rotation=rotation, shift=at - rotation @ center)
