"""A camera that turns: its rotation, frame by frame, from the background."""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from inverse.clips.footage import Footage, as_footage
from inverse.tracking.lucas_kanade import forward_backward
from renderers.camera import Camera
from taichi_phys.rotations import nearest_rotation


MIN_CORNERS = 20  # shared with the frame before: fewer may all lie on one thing that moves
MAX_CORNERS = 500  # followed at once
CORNER_QUALITY = 0.01  # of the strongest corner's strength (Shi and Tomasi 1994)
CORNER_SPACING = 8  # px, between corners
GROWTH = np.ones((15, 15), np.uint8)  # px, by which the object's mask grows: it moves a little
RADIUS, LEVELS = 10, 4  # of the tracker's window, px, and pyramid: a turn moves the whole image far
MAX_FORWARD_BACKWARD = 0.5  # px, by which tracking a corner back may miss it
MAX_HOMOGRAPHY_ERROR = 1.0  # px, by which a corner may differ from what moves as one


def camera_rotation(
    video: Footage,
    camera: Camera,
    mask: np.ndarray | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Camera]:
    """One camera per frame of a video (T, H, W, 3) uint8 taken by turning a camera on the spot.

    Corners of the background are followed from frame to frame. The rotation that carries the rays
    on which they were first seen to where they are is fitted to those that move as one (RANSAC,
    then Kabsch 1976). This is right for a background far away or a camera on a tripod; a camera
    that travels also has a translation, which is not found.

    camera: that of frame 0; mask: (H, W) bool, the object in frame 0, which is left out; progress:
    called with (frame, frames). Raises ValueError when a frame shares fewer than 20 corners with
    the one before.
    """
    video = as_footage(video)
    if video.shape[1:] != (camera.height, camera.width, 3):
        raise ValueError(
            f"video: got shape {video.shape}, expected (T, {camera.height}, {camera.width}, 3)"
        )
    still = dataclasses.replace(camera, world_to_camera=np.eye(4))
    cameras, gray = [camera], cv2.cvtColor(video[0], cv2.COLOR_RGB2GRAY)
    free = np.full(gray.shape, 255, np.uint8)
    if mask is not None:
        free[cv2.dilate(np.asarray(mask, np.uint8), GROWTH) > 0] = 0
    xy = new_corners(gray, free, np.zeros((0, 2)))
    world = _rays(camera, xy)  # where each corner lies: fixed when it is first seen
    for t in range(1, len(video)):
        previous, gray = gray, cv2.cvtColor(video[t], cv2.COLOR_RGB2GRAY)
        keep = np.zeros(len(xy), dtype=bool)
        if len(xy) >= MIN_CORNERS:
            after, error = forward_backward(previous, gray, xy, radius=RADIUS, levels=LEVELS)
            keep = error < MAX_FORWARD_BACKWARD
        if keep.sum() >= MIN_CORNERS:
            # The object and leaves in the wind have corners, too: the background moves as one.
            cv2.setRNGSeed(0)
            _, agree = cv2.findHomography(xy[keep], after[keep], cv2.RANSAC, MAX_HOMOGRAPHY_ERROR)
            keep[keep] = False if agree is None else agree[:, 0] > 0
        if keep.sum() < MIN_CORNERS:
            raise ValueError(
                f"video: frame {t} shares fewer than {MIN_CORNERS} corners of the background with "
                "the frame before, so that the camera's rotation cannot be found"
            )
        xy, world = after[keep], world[keep]
        turn = _rotation_between(world, _rays(still, xy))
        pose = np.eye(4)
        pose[:3, :3] = turn
        pose[:3, 3] = -turn @ camera.position
        cameras.append(dataclasses.replace(camera, world_to_camera=pose))
        fresh = new_corners(gray, None, xy)
        xy = np.concatenate([xy, fresh])
        world = np.concatenate([world, _rays(cameras[-1], fresh)])
        if progress is not None:
            progress(t + 1, len(video))
    return cameras


def new_corners(gray: np.ndarray, free: np.ndarray | None, have: np.ndarray) -> np.ndarray:
    """New corners (N, 2) px, apart from those that there are, up to MAX_CORNERS in all."""
    mask = np.full(gray.shape, 255, np.uint8) if free is None else free.copy()
    for x, y in have:
        cv2.circle(mask, (int(x), int(y)), CORNER_SPACING, 0, -1)
    count = MAX_CORNERS - len(have)
    if count <= 0:
        return np.zeros((0, 2))
    found = cv2.goodFeaturesToTrack(gray, count, CORNER_QUALITY, CORNER_SPACING, mask=mask)
    return np.zeros((0, 2)) if found is None else found[:, 0].astype(np.float64) + 0.5


def _rays(camera: Camera, xy: np.ndarray) -> np.ndarray:
    """Unit directions (N, 3), in the world, of image coordinates (N, 2) px."""
    rays = camera.unproject(xy, np.ones(len(xy))) - camera.position
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rotation R with b = R a in the least-squares sense, for unit vectors (n, 3)."""
    return nearest_rotation(b.T @ a)
