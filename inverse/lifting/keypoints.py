"""Keypoints of frame 0 in space, and where each view sees them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from inverse.perception.surface import surface_in_view, visible_surface
from inverse.tracking.keypoints import select_keypoints
from renderers.camera import Camera


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Keypoints:
    """points (N, 3) m in frame 0; per view: queries (N, 2) px, usable (N,) bool, true where the
    view sees the point in frame 0, and masks (H, W) bool, where it sees the object."""

    points: np.ndarray
    queries: list[np.ndarray]
    usable: list[np.ndarray]
    masks: list[np.ndarray]


def keypoints(
    images: Sequence[np.ndarray],
    mask: np.ndarray,
    depth: np.ndarray,
    cameras: Sequence[Camera],
    *,
    max_count: int = 200,
) -> Keypoints:
    """Choose keypoints in frame 0 of all views.

    images: frame 0 of each view, (H, W, 3) uint8; mask (H, W) bool and depth (H, W) m belong to
    the first; max_count: keypoints chosen in the first view, every other view may add half as
    many where it shows texture. What other views see of the surface follows from a depth buffer.
    Raises ValueError when images and cameras disagree in number or size.
    """
    if len(images) != len(cameras) or len(images) == 0:
        raise ValueError(f"images: got {len(images)} for {len(cameras)} cameras, expected as many")
    for k, (image, camera) in enumerate(zip(images, cameras, strict=True)):
        if np.shape(image)[:2] != (camera.height, camera.width):
            raise ValueError(
                f"images[{k}]: got {np.shape(image)[1]}x{np.shape(image)[0]} pixels, expected "
                f"{camera.width}x{camera.height} as its camera"
            )
    surface = visible_surface(mask, depth, cameras[0])
    xy = select_keypoints(images[0], mask, max_count=max_count)
    points = unproject_on(surface, xy, cameras[0])
    masks, buffers = [np.asarray(mask, dtype=bool)], [None]
    for image, camera in zip(images[1:], cameras[1:], strict=True):
        buffer, owner = surface_in_view(surface, camera)
        masks.append(np.isfinite(buffer))
        buffers.append(buffer)
        if not masks[-1].any():
            continue
        have = camera.project(points)[0][_seen(points, camera, buffer, surface)]
        extra = select_keypoints(image, masks[-1], max_count=max_count // 2, avoid=have)
        cell = np.floor(extra).astype(int)
        points = np.concatenate([points, surface.points[owner[cell[:, 1], cell[:, 0]]]])
    points = points[_distinct(points)]
    queries = [camera.project(points)[0] for camera in cameras]
    usable = [np.ones(len(points), dtype=bool)]
    for camera, buffer in zip(cameras[1:], buffers[1:], strict=True):
        usable.append(_seen(points, camera, buffer, surface))
    return Keypoints(points=points, queries=queries, usable=usable, masks=masks)


def unproject_on(surface, xy, camera):
    """Points (N, 3) m of the surface at image coordinates xy (N, 2) px of its own camera.

    Depth is interpolated between pixels by inverse distance to the four nearest.
    """
    gap, near = cKDTree(surface.pixels + 0.5).query(xy, k=4)
    weight = 1 / np.maximum(gap, 1e-6) ** 2
    z = camera.to_camera(surface.points)[near, 2]
    return camera.unproject(xy, (weight * z).sum(1) / weight.sum(1))


def _seen(points, camera, buffer, surface):
    """Whether a view's depth buffer leaves points (N, 3) visible, a few pixels' depth allowed."""
    xy, z = camera.project(points)
    cell = np.floor(xy).astype(int)
    inside = (z > 0) & (cell >= 2).all(1) & (cell < [camera.width - 2, camera.height - 2]).all(1)
    cell = np.clip(cell, 0, [camera.width - 1, camera.height - 1])
    return inside & (z < buffer[cell[:, 1], cell[:, 0]] + 4 * np.median(surface.footprint))


def _distinct(points):
    """Indices of points without those that coincide with an earlier one."""
    pairs = cKDTree(points).query_pairs(1e-3 * np.linalg.norm(np.ptp(points, axis=0)))
    twins = {max(pair) for pair in pairs}
    return np.array([i for i in range(len(points)) if i not in twins])
