"""A camera that travels: its pose in every frame, from a background whose depth is known."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.sparse import lil_matrix
from scipy.spatial.transform import Rotation

from inverse.clips.footage import Footage
from inverse.tracking.camera_motion import (
    GROWTH,
    LEVELS,
    MAX_FORWARD_BACKWARD,
    MIN_CORNERS,
    RADIUS,
    new_corners,
)
from inverse.tracking.lucas_kanade import forward_backward
from renderers.camera import Camera
from taichi_phys.rotations import nearest_rotation


PARALLAX = 1.0  # px, of usual corners after the best turn, from which on the camera travels
SHARE = 0.05  # of the motion, that a turn may leave over
BEHIND = 1e-2  # of the usual distance: nothing is nearer than that to a camera
FITS = 3.0  # px, by which a corner may miss its place where a pose is first found
TOGETHER = 0.7  # share of the corners, from which on they move as one
TOGETHER_PX = 2 * FITS  # px, of motion, below which any would seem to
NOISE = 0.5  # px, of a corner: those that miss by more count less and less
# Of a depth, usual for sensors and networks; several views find it better.
DEPTH_ERROR = 0.05
NARROW = 2.0  # degrees between two views of a corner, below which its depth is not found from them
EVALUATIONS = 40  # at most, of the adjustment


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Corners:
    """Corners of the background through T frames: xy (T, N, 2) px and seen (T, N) bool; those of
    frame 0 come first, number of them: first."""

    xy: np.ndarray
    seen: np.ndarray
    first: int


def follow_corners(video: Footage, mask: np.ndarray | None = None) -> Corners:
    """Corners all over a clip (T, H, W, 3) uint8, each as long as it is found again.

    mask: (H, W) bool, the object in frame 0, on which none is chosen there. Raises ValueError where
    a frame shares fewer than 20 with the one before.
    """
    gray = cv2.cvtColor(video[0], cv2.COLOR_RGB2GRAY)
    free = np.full(gray.shape, 255, np.uint8)
    if mask is not None:
        free[cv2.dilate(np.asarray(mask, np.uint8), GROWTH) > 0] = 0
    now = new_corners(gray, free, np.zeros((0, 2)))
    first, live = len(now), np.arange(len(now))
    found = [[(0, *place)] for place in now]
    for t in range(1, len(video)):
        previous, gray = gray, cv2.cvtColor(video[t], cv2.COLOR_RGB2GRAY)
        if len(now) >= MIN_CORNERS:
            now, error = forward_backward(previous, gray, now, radius=RADIUS, levels=LEVELS)
            good = error < MAX_FORWARD_BACKWARD
            now, live = now[good], live[good]
        if len(now) < MIN_CORNERS:
            raise ValueError(
                f"video: frame {t} shares fewer than {MIN_CORNERS} corners of the background with "
                "the frame before, so that the camera's motion cannot be found"
            )
        for corner, place in zip(live, now, strict=True):
            found[corner].append((t, *place))
        fresh = new_corners(gray, None, now)
        live = np.concatenate([live, np.arange(len(found), len(found) + len(fresh))])
        found += [[(t, *place)] for place in fresh]
        now = np.concatenate([now, fresh])
    xy = np.zeros((len(video), len(found), 2))
    seen = np.zeros(xy.shape[:2], dtype=bool)
    for corner, places in enumerate(found):
        frames = [int(place[0]) for place in places]
        xy[frames, corner], seen[frames, corner] = [place[1:] for place in places], True
    return Corners(xy=xy, seen=seen, first=first)


def parallax(corners: Corners, camera: Camera) -> np.ndarray:
    """(T,) px, by which usual corners of frame 0 miss their places after the best turn; NaN where
    fewer than 20 are left."""
    found = np.full(len(corners.xy), np.nan)
    for t in range(len(found)):
        both = np.flatnonzero(corners.seen[0] & corners.seen[t])
        if len(both) < MIN_CORNERS:
            continue
        a, b = (_rays(camera, corners.xy[at, both]) for at in (0, t))
        inside = np.ones(len(both), dtype=bool)
        for _ in range(5):
            turned = a @ nearest_rotation(b[inside].T @ a[inside]).T
            away = np.linalg.norm((turned - b)[:, :2], axis=1) * camera.fx
            inside = away <= np.median(away)
        found[t] = np.median(away)
    return found


def travels(corners: Corners, camera: Camera) -> bool:
    """Whether a camera moves to another place, so far that near and far things shift apart.

    What a turn and a focal length that is somewhat wrong leave over is a small share of the motion.
    """
    apart = parallax(corners, camera)
    if np.isnan(apart[1:]).all():
        return False
    t = int(np.nanargmax(apart))
    both = corners.seen[0] & corners.seen[t]
    moved = float(np.median(np.linalg.norm(corners.xy[t, both] - corners.xy[0, both], axis=1)))
    return bool(apart[t] > max(PARALLAX, SHARE * moved))


def moved_as_one(corners: Corners) -> float:
    """How far, px, usual corners shift from frame 0 at most, if most of them do so together, as
    those of something flat or far away before a camera that moves (a homography); 0 else."""
    farthest = 0.0
    for t in range(1, len(corners.xy)):
        both = corners.seen[0] & corners.seen[t]
        if both.sum() < MIN_CORNERS:
            continue
        start, end = corners.xy[0, both], corners.xy[t, both]
        cv2.setRNGSeed(0)
        together = cv2.findHomography(start, end, cv2.RANSAC, FITS)[1]
        moved = float(np.median(np.linalg.norm(end - start, axis=1)))
        if together is not None and together.mean() > TOGETHER and moved > TOGETHER_PX:
            farthest = max(farthest, moved)
    return farthest


def camera_travel(
    corners: Corners,
    camera: Camera,
    depth: np.ndarray,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Camera]:
    """One camera per frame, of a clip whose background (H, W) m is known in frame 0.

    A pose is found in each frame from the corners whose place is known, beginning with that of the
    frame before; corners that come later are placed from two views. Then all poses and places are
    adjusted together (Triggs et al. 1999), depths within what they are usually wrong.

    camera: of frame 0; depth: along its axis, NaN or 0 where it is not known. Raises ValueError
    where a frame shows fewer than 20 corners whose place is known.
    """
    frames, count = corners.seen.shape
    points = np.full((count, 3), np.nan)  # in the axes of frame 0
    cell = np.floor(corners.xy[0, : corners.first]).astype(int)
    near = np.clip(cell, 0, [camera.width - 1, camera.height - 1])
    z = depth[near[:, 1], near[:, 0]].astype(float)
    z[~(np.isfinite(z) & (z > 0))] = np.nan
    points[: corners.first] = _plane(camera, corners.xy[0, : corners.first]) * z[:, None]
    poses = np.zeros((frames, 6))  # rotation vectors and translations, from the axes of frame 0
    good = np.zeros_like(corners.seen)
    good[0] = corners.seen[0] & np.isfinite(points[:, 0])
    for t in range(1, frames):
        known = np.flatnonzero(corners.seen[t] & np.isfinite(points[:, 0]))
        fits = np.zeros(0, dtype=int)
        if len(known) >= MIN_CORNERS:
            before = poses[t - 1], 2 * poses[t - 1] - poses[max(t - 2, 0)]  # at rest, or going on
            poses[t], inside = _pose(points[known], corners.xy[t, known], camera, before)
            fits = known[inside]
        if len(fits) < MIN_CORNERS:
            raise ValueError(
                f"video: frame {t} shows fewer than {MIN_CORNERS} corners of the background whose "
                "depth is known, so that the camera's motion cannot be found"
            )
        good[t, fits] = True
        _place_new(points, corners, camera, poses, good, t)
        if progress is not None:
            progress(t + 1, frames)
    poses = _adjusted(points, z, corners, camera, poses, good)
    cameras = []
    for pose in poses:
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = Rotation.from_rotvec(pose[:3]).as_matrix(), pose[3:]
        moved = local @ camera.world_to_camera
        moved[:3, :3] = nearest_rotation(moved[:3, :3])
        cameras.append(dataclasses.replace(camera, world_to_camera=moved))
    return [camera, *cameras[1:]]


def _pose(
    points: np.ndarray, xy: np.ndarray, camera: Camera, starts: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The pose (6,) in which most of the points (N, 3) m appear at xy (N, 2) px, and which do, (N,)
    bool; starts: poses to begin with, of which the one that leads to the least misfit counts.

    Corners on things that move miss by more and more; the Cauchy loss lets go of them. From a pose
    that is about right it also stays on this side: points behind the camera appear where they would
    before it.
    """

    focal, center = np.array([camera.fx, camera.fy]), np.array([camera.cx, camera.cy])
    usual = float(np.median(np.linalg.norm(points, axis=1)))

    def misses(pose: np.ndarray, some: np.ndarray) -> np.ndarray:
        local = Rotation.from_rotvec(pose[:3]).apply(points[some]) + pose[3:]
        return local[:, :2] / np.maximum(local[:, 2:], BEHIND * usual) * focal + center - xy[some]

    def fitted(start: np.ndarray, some: np.ndarray, scale: float) -> Any:
        return least_squares(
            lambda pose: misses(pose, some).ravel(), start, loss="cauchy", f_scale=scale,
            x_scale="jac",
        )  # fmt: skip

    whole = np.ones(len(points), dtype=bool)
    best = min((fitted(start, whole, FITS) for start in starts), key=lambda one: one.cost).x
    fits = np.linalg.norm(misses(best, whole), axis=1) < FITS
    if fits.sum() >= MIN_CORNERS:
        best = fitted(best, fits, NOISE).x
        fits = np.linalg.norm(misses(best, whole), axis=1) < FITS
    return best, fits


def _place_new(
    points: np.ndarray,
    corners: Corners,
    camera: Camera,
    poses: np.ndarray,
    good: np.ndarray,
    t: int,
) -> None:
    """Place corners that came later, in frame t, where two views of them are far enough apart."""
    new = np.flatnonzero(corners.seen[t] & ~np.isfinite(points[:, 0]))
    new = new[new >= corners.first]
    if not len(new):
        return
    begin = corners.seen[:, new].argmax(axis=0)
    now = Rotation.from_rotvec(poses[t, :3])
    for start in np.unique(begin[begin < t]):
        some = new[begin == start]
        before = Rotation.from_rotvec(poses[start, :3])
        a = before.inv().apply(_rays(camera, corners.xy[start, some]))
        b = now.inv().apply(_rays(camera, corners.xy[t, some]))
        some = some[np.degrees(np.arccos(np.clip((a * b).sum(axis=1), -1, 1))) > NARROW]
        if not len(some):
            continue
        matrices = [
            np.concatenate([turn.as_matrix(), poses[at, 3:, None]], axis=1)
            for turn, at in ((before, start), (now, t))
        ]
        flat = [_plane(camera, corners.xy[at, some])[:, :2].T for at in (start, t)]
        placed = cv2.triangulatePoints(*matrices, *flat)
        placed = (placed[:3] / placed[3]).T
        ahead = now.apply(placed)[:, 2] + poses[t, 5] > 0
        points[some[ahead]] = placed[ahead]
        good[t, some[ahead]] = good[start, some[ahead]] = True


def _adjusted(
    points: np.ndarray,
    z: np.ndarray,
    corners: Corners,
    camera: Camera,
    poses: np.ndarray,
    good: np.ndarray,
) -> np.ndarray:
    """Poses (T, 6) after an adjustment of all, of which frame 0 stays; z: (n,) m, known depths."""
    used = np.flatnonzero(good.sum(axis=0) >= 2)
    frame, which = np.nonzero(good[:, used])
    seen = corners.xy[frame, used[which]]
    known = np.flatnonzero((used < len(z)) & np.isfinite(z[np.minimum(used, len(z) - 1)]))
    frames, focal = len(poses), np.array([camera.fx, camera.fy])
    center, moved = np.array([camera.cx, camera.cy]), 6 * (frames - 1)

    def residuals(values: np.ndarray) -> np.ndarray:
        pose = np.concatenate([np.zeros((1, 6)), values[:moved].reshape(-1, 6)])
        place = values[moved:].reshape(-1, 3)
        local = Rotation.from_rotvec(pose[frame, :3]).apply(place[which]) + pose[frame, 3:]
        off = (local[:, :2] / local[:, 2:] * focal + center - seen) / NOISE
        deep = (place[known, 2] / z[used[known]] - 1) / DEPTH_ERROR
        return np.concatenate([off.ravel(), deep])

    pattern = lil_matrix((2 * len(frame) + len(known), moved + 3 * len(used)), dtype=np.int8)
    rows = 2 * np.arange(len(frame))
    for k in range(2):
        for axis in range(3):
            pattern[rows + k, moved + 3 * which + axis] = 1
        later = np.flatnonzero(frame > 0)
        for axis in range(6):
            pattern[rows[later] + k, 6 * (frame[later] - 1) + axis] = 1
    pattern[2 * len(frame) + np.arange(len(known)), moved + 3 * known + 2] = 1
    start = np.concatenate([poses[1:].ravel(), points[used].ravel()])
    found = least_squares(
        residuals, start, jac_sparsity=pattern, x_scale="jac", loss="huber",
        max_nfev=EVALUATIONS, method="trf",
    )  # fmt: skip
    return np.concatenate([np.zeros((1, 6)), found.x[:moved].reshape(-1, 6)])


def _plane(camera: Camera, xy: np.ndarray) -> np.ndarray:
    """Points (N, 3) at depth 1 in the camera's axes, of image coordinates (N, 2) px."""
    plane = (xy - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    return np.concatenate([plane, np.ones((len(xy), 1))], axis=1)


def _rays(camera: Camera, xy: np.ndarray) -> np.ndarray:
    """Unit directions (N, 3) in the camera's axes, of image coordinates (N, 2) px."""
    plane = _plane(camera, xy)
    return plane / np.linalg.norm(plane, axis=1, keepdims=True)
