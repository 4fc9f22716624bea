"""Keypoints of frame 0 in space, and where each view sees them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from inverse.perception.mesh import mesh_in_view
from inverse.perception.surface import VisibleSurface, surface_in_view, visible_surface
from inverse.tracking.keypoints import select_keypoints
from renderers.camera import Camera
from taichi_phys.checks import set_fields
from taichi_phys.geometry.repair import Triangles


INTERPOLATED = 4  # samples of the surface between which a keypoint's depth is interpolated
SEEN_MARGIN = 2  # px, of the image's border, where no patch could be followed
# A point is hidden if something lies more than so many pixels' size before it: a depth buffer of
# samples is rough.
SEEN_DEPTH = 4
COINCIDENT = 1e-3  # of the object's extent: points closer than this are one


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Origins:
    """Where each of N keypoints was chosen: its picture is that of a frame of a view.

    view, frame: (N,) int; xy: (N, 2) px; masks: {(view, frame): (H, W) bool or None}, where that
    picture shows the object, or None where it is not known.
    """

    view: np.ndarray
    frame: np.ndarray
    xy: np.ndarray
    masks: dict[tuple[int, int], np.ndarray | None]

    def groups(self) -> list[tuple[tuple[int, int], np.ndarray]]:
        """The pictures (view, frame), in the order of frames, and their keypoints' indices."""
        pairs = sorted(set(zip(self.frame.tolist(), self.view.tolist(), strict=True)))
        return [
            ((view, frame), np.flatnonzero((self.view == view) & (self.frame == frame)))
            for frame, view in pairs
        ]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Keypoints:
    """Keypoints in space, as the object is in frame 0, and in every view.

    points: (N, 3) m; per view: queries (N, 2) px; usable (N,) bool, whether the view sees the point
    in frame 0; masks (H, W) bool, where it sees the object, or None where that is not known;
    origins: where each was chosen; without them, in frame 0 of the first view that sees it.
    """

    points: np.ndarray
    queries: list[np.ndarray]
    usable: list[np.ndarray]
    masks: list[np.ndarray | None]
    origins: Origins = None  # type: ignore[assignment]  # a record once it is made

    def __post_init__(self) -> None:
        if self.origins is None:
            view = np.stack(self.usable).argmax(axis=0)
            origins = Origins(
                view=view,
                frame=np.zeros_like(view),
                xy=np.stack(self.queries)[view, np.arange(len(view))],
                masks={(k, 0): mask for k, mask in enumerate(self.masks)},
            )
            set_fields(self, origins=origins)


def keypoints(
    images: Sequence[np.ndarray],
    mask: np.ndarray,
    depth: np.ndarray,
    cameras: Sequence[Camera],
    *,
    max_count: int = 200,
    surface: Triangles | None = None,
) -> Keypoints:
    """Choose keypoints in frame 0 of all views.

    What other views see of the surface follows from a depth buffer: of what the first sees, or of
    the whole surface where that is known.

    images: frame 0 of each view, (H, W, 3) uint8; mask (H, W) bool and depth (H, W) m belong to
    the first; max_count: keypoints chosen in the first view; each other view may add half as many
    where it shows texture; surface: closed, of the object. Raises ValueError when images and
    cameras disagree in number or size.
    """
    if len(images) != len(cameras) or len(images) == 0:
        raise ValueError(
            f"images: got {len(images)} for {len(cameras)} cameras, expected one for each camera"
        )
    for k, (image, camera) in enumerate(zip(images, cameras, strict=True)):
        if np.shape(image)[:2] != (camera.height, camera.width):
            raise ValueError(
                f"images[{k}]: got {np.shape(image)[1]}x{np.shape(image)[0]} pixels, expected "
                f"{camera.width}x{camera.height} as its camera has"
            )
    visible = visible_surface(mask, depth, cameras[0])
    xy = select_keypoints(images[0], mask, max_count=max_count)
    points = unproject_on(visible, xy, cameras[0])
    masks: list[np.ndarray | None] = [np.asarray(mask, dtype=bool)]
    buffers = [np.where(mask, depth, -np.inf)]
    for image, camera in zip(images[1:], cameras[1:], strict=True):
        if surface is None:
            buffer, owner = surface_in_view(visible, camera)
        else:
            buffer, owner = mesh_in_view(surface, camera)[0], None
        shown = np.isfinite(buffer)
        masks.append(shown)
        buffers.append(buffer)
        if not shown.any():
            continue
        have = camera.project(points)[0][_seen(points, camera, buffer, visible)]
        extra = select_keypoints(image, shown, max_count=max_count // 2, avoid=have)
        cell = np.floor(extra).astype(int)
        if owner is None:
            more = camera.unproject(extra, buffer[cell[:, 1], cell[:, 0]])
        else:
            more = visible.points[owner[cell[:, 1], cell[:, 0]]]
        points = np.concatenate([points, more])
    points = points[_distinct(points)]
    queries = [camera.project(points)[0] for camera in cameras]
    usable = [_seen(points, *view, visible) for view in zip(cameras, buffers, strict=True)]
    if surface is None:
        usable[0][:] = True
    return Keypoints(points=points, queries=queries, usable=usable, masks=masks)


def unproject_on(surface: VisibleSurface, xy: np.ndarray, camera: Camera) -> np.ndarray:
    """Points (N, 3) m of the surface at image coordinates xy (N, 2) px of its own camera.

    Depth is interpolated between the four nearest pixels, weighted by their inverse distance.
    """
    gap, near = cKDTree(surface.pixels + 0.5).query(xy, k=INTERPOLATED)
    weight = 1 / np.maximum(gap, 1e-6) ** 2
    z = camera.to_camera(surface.points)[near, 2]
    return camera.unproject(xy, (weight * z).sum(1) / weight.sum(1))


def _seen(
    points: np.ndarray, camera: Camera, buffer: np.ndarray, surface: VisibleSurface
) -> np.ndarray:
    """Whether a view sees points (N, 3) m, by its depth buffer (H, W) m: (N,) bool."""
    xy, z = camera.project(points)
    cell = np.floor(xy).astype(int)
    size = np.array([camera.width, camera.height])
    inside = (z > 0) & (cell >= SEEN_MARGIN).all(1) & (cell < size - SEEN_MARGIN).all(1)
    cell = np.clip(cell, 0, size - 1)
    limit = buffer[cell[:, 1], cell[:, 0]] + SEEN_DEPTH * np.median(surface.footprint)
    return inside & (z < limit)


def _distinct(points: np.ndarray) -> np.ndarray:
    """Indices of points without those that coincide with an earlier one."""
    pairs = cKDTree(points).query_pairs(COINCIDENT * np.linalg.norm(np.ptp(points, axis=0)))
    twins = {max(pair) for pair in pairs}
    return np.array([i for i in range(len(points)) if i not in twins])
