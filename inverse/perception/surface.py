"""The visible surface in frame 0: a small patch in space for each pixel of the mask."""

import dataclasses

import cv2
import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from renderers.camera import Camera


GRAZING = 0.1  # |cos| between surface and ray below which a pixel's area is no longer believed
MIN_PIXELS = 16  # in a mask: below it there is no plane to fit
NEIGHBORHOOD = 37  # pixels, the disc of radius 3 px to which a plane is fitted for a normal
# A rim pixel mixes object and background where its depth differs from that of the nearest inner
# pixel by more than RIM_STEPS of the object's own large steps (their RIM_QUANTILE) and RIM_DEPTH
# of the depth, which is about the rounding of a depth map in millimeters.
RIM_STEPS, RIM_QUANTILE, RIM_DEPTH = 4.0, 0.95, 1e-3
# A pixel's depth is wrong where it lies more than STEP of the object's size from the median of the
# WINDOW pixels around it, and farther than a surface at the steepest angle would go on the way.
STEP, WINDOW = 0.25, 81
OUTLIER_ROUNDS = 4  # at corners most neighbors may be wrong, until others are mended
BLOCK = 16384  # pixels looked at at once, so that memory stays bounded
CLOSING = np.ones((5, 5), np.uint8)  # px, gaps between the samples that another view fills


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class VisibleSurface:
    """One sample of the object's surface per pixel of its mask.

    pixels: (m, 2) int (column, row); points: (m, 3) m; normals: (m, 3) towards the camera; area:
    (m,) m^2; footprint: (m,) m, the size of a pixel there.
    """

    pixels: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    area: np.ndarray
    footprint: np.ndarray


def visible_surface(mask: np.ndarray, depth: np.ndarray, camera: Camera) -> VisibleSurface:
    """Unproject the pixels of a mask, and estimate their normals by local plane fits.

    mask: (H, W) bool; depth: (H, W) m along the optical axis. Raises ValueError for sizes that
    disagree, an empty mask, or depth in it that is not positive.
    """
    mask, depth = np.asarray(mask, dtype=bool), np.asarray(depth, dtype=np.float64)
    if mask.shape != (camera.height, camera.width):
        raise ValueError(
            f"mask: got shape {mask.shape}, expected {(camera.height, camera.width)}, that of the "
            "camera"
        )
    if depth.shape != mask.shape:
        raise ValueError(f"depth: got shape {depth.shape}, expected {mask.shape}, that of the mask")
    if mask.sum() < MIN_PIXELS:
        raise ValueError(f"mask: it has {mask.sum()} pixels, expected at least {MIN_PIXELS}")
    if not (np.isfinite(depth[mask]) & (depth[mask] > 0)).all():
        raise ValueError(
            "depth: got zero, negative or not finite values inside the mask, expected positive ones"
        )
    depth = mend_rim(mask, depth)
    rows, columns = np.nonzero(mask)
    pixels = np.stack([columns, rows], axis=1)
    z = depth[rows, columns]
    points = camera.unproject(pixels + 0.5, z)
    _, near = cKDTree(pixels).query(pixels, k=min(NEIGHBORHOOD, len(pixels)))
    cloud = points[near] - points[near].mean(axis=1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nka,nkb->nab", cloud, cloud))[1][..., 0]
    ray = points - camera.position
    facing = (normals * ray).sum(1)
    normals *= -np.where(facing > 0, 1.0, -1.0)[:, None]
    # dA = z^2 / (fx fy) / |n . ray|, for a ray of unit depth.
    slope = np.maximum(np.abs(facing) / z, GRAZING)
    return VisibleSurface(
        pixels=pixels,
        points=points,
        normals=normals,
        area=z**2 / (camera.fx * camera.fy) / slope,
        footprint=z / np.sqrt(camera.fx * camera.fy),
    )


def mend_rim(mask: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Replace the depth of rim pixels that mix object and background by that of inner pixels.

    mask: (H, W) bool; depth: (H, W) m. Returns depth (H, W) m.
    """
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if not inner.any():
        return depth
    across = np.abs(np.diff(depth, axis=1))[inner[:, 1:] & inner[:, :-1]]
    down = np.abs(np.diff(depth, axis=0))[inner[1:] & inner[:-1]]
    slopes = np.concatenate([across, down])
    usual = RIM_STEPS * np.quantile(slopes, RIM_QUANTILE) if len(slopes) else 0.0
    nearest = depth[tuple(ndimage.distance_transform_edt(~inner, return_indices=True)[1])]
    mixed = mask & ~inner & (np.abs(depth - nearest) > usual + RIM_DEPTH * nearest)
    return np.where(mixed, nearest, depth)


def without_outliers(mask: np.ndarray, depth: np.ndarray, camera: Camera) -> tuple[np.ndarray, int]:
    """Replace depths in the mask that differ much from their neighbors by the neighbors' median.

    mask: (H, W) bool; depth: (H, W) m. Returns depth (H, W) m, and the number of replaced pixels.
    Depth maps bleed at rims: a few pixels of the mask show the background, and would make the
    object as deep as the room.
    """
    rows, columns = np.nonzero(mask)
    pixels, z = np.stack([columns, rows], axis=1), depth[rows, columns]
    tree, k = cKDTree(pixels), min(WINDOW, len(pixels))
    wrong = np.zeros(len(z), dtype=bool)
    for _ in range(OUTLIER_ROUNDS):
        usual, reach = np.empty(len(z)), np.empty(len(z))
        for start in range(0, len(z), BLOCK):
            block = slice(start, start + BLOCK)
            gap, near = tree.query(pixels[block], k=k)
            usual[block], reach[block] = np.median(z[near], axis=1), gap[:, -1]
        pixel = usual / np.sqrt(camera.fx * camera.fy)  # m
        size = np.ptp(pixels, axis=0).max() * np.median(pixel)
        found = np.abs(z - usual) > np.maximum(STEP * size, reach * pixel / GRAZING)
        if not found.any():
            break
        z, wrong = np.where(found, usual, z), wrong | found
    mended = depth.copy()
    mended[rows, columns] = z
    return mended, int(wrong.sum())


def surface_in_view(surface: VisibleSurface, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Project the surface into a camera: depth (H, W) m and the nearest sample (H, W) int.

    Where the camera does not see the surface, depth is infinite and the sample is -1.
    """
    shape = (camera.height, camera.width)
    buffer, owner = np.full(shape, np.inf), np.full(shape, -1)
    xy, z = camera.project(surface.points)
    cell = np.floor(xy).astype(int)
    inside = (z > 0) & (cell >= 0).all(1) & (cell < [camera.width, camera.height]).all(1)
    index = np.flatnonzero(inside)
    index = index[np.argsort(-z[index], kind="stable")]  # nearest last: it overwrites the others
    buffer[cell[index, 1], cell[index, 0]] = z[index]
    owner[cell[index, 1], cell[index, 0]] = index
    # This view may have smaller pixels: those between samples take the nearest drawn pixel.
    drawn = np.isfinite(buffer)
    if not drawn.any():
        return buffer, owner
    filled = cv2.morphologyEx(drawn.astype(np.uint8), cv2.MORPH_CLOSE, CLOSING)
    nearest = tuple(ndimage.distance_transform_edt(~drawn, return_indices=True)[1])
    hole = (filled > 0) & ~drawn
    return np.where(hole, buffer[nearest], buffer), np.where(hole, owner[nearest], owner)
