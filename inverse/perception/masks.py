"""Masks and depth maps of the first frame, from files or from a box and a distance."""

from pathlib import Path

import cv2
import numpy as np


def grabcut_mask(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Separate the object in a box from its background with GrabCut (Rother et al. 2004).

    image: (H, W, 3) uint8 RGB; box: x0 y0 x1 y1, px. Returns (H, W) bool, without specks. Raises
    ValueError for a box outside the image or without area, or when nothing is found in it.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image: got {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (int(round(value)) for value in box)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(
            f"box: got {tuple(box)}, expected x0 < x1, y0 < y1 within {width}x{height} pixels"
        )
    labels = np.zeros((height, width), np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(image[..., ::-1])
    if (x1 - x0) * (y1 - y0) < height * width:
        try:
            cv2.setRNGSeed(0)
            cv2.grabCut(bgr, labels, (x0, y0, x1 - x0, y1 - y0), *models, 5, cv2.GC_INIT_WITH_RECT)
        except cv2.error as error:
            raise ValueError(f"box: GrabCut finds no object in {tuple(box)} ({error})") from None
    mask = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        raise ValueError(f"box: GrabCut finds no object in {tuple(box)}, draw it tighter or wider")
    return parts == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()


def load_mask(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """Read a mask image as (H, W) bool, true above half of its largest value.

    size: (width, height) of the video, px. Raises ValueError for an unreadable file, another
    size or an empty mask.
    """
    image = _read(path, "mask")
    if image.ndim == 3:
        image = image[..., :3].max(axis=2)
    _check_size(path, "mask", image, size)
    mask = image > 0.5 * image.max()
    if not mask.any():
        raise ValueError(f"mask {path}: it is empty, no pixel belongs to the object")
    return mask


def load_depth(path: str | Path, depth_scale: float, mask: np.ndarray) -> np.ndarray:
    """Read depth along the optical axis as (H, W) m, NaN outside the mask.

    path: 16 bit png or npy; integers are divided by depth_scale, floats are metres already;
    mask: (H, W) bool. Raises ValueError for an unreadable file, another size, or depth inside
    the mask that is zero, negative or not finite.
    """
    if not depth_scale > 0:
        raise ValueError(f"depth_scale: got {depth_scale}, expected > 0")
    raw = _read(path, "depth")
    _check_size(path, "depth", raw, mask.shape[::-1])
    depth = raw / depth_scale if raw.dtype.kind in "iu" else raw.astype(np.float64)
    bad = mask & ~(np.isfinite(depth) & (depth > 0))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"depth {path}: {bad.sum()} of {mask.sum()} pixels inside the mask are zero, negative "
            f"or not finite (first at row {row}, column {column})"
        )
    return np.where(mask, depth, np.nan)


def constant_depth(mask: np.ndarray, distance: float) -> np.ndarray:
    """Depth (H, W) m of an object facing the camera at a distance, m; NaN outside the mask."""
    if not distance > 0:
        raise ValueError(f"distance: got {distance}, expected > 0")
    return np.where(mask, float(distance), np.nan)


def _read(path, what):
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{what} {path}: no such file")
    if path.suffix == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{what} {path}: not a readable npy file ({error})") from None
    else:
        array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED) if (
            path.stat().st_size
        ) else None  # fmt: skip
        if array is None:
            raise ValueError(f"{what} {path}: not a readable image")
    if what == "depth" and array.ndim == 3:
        array = array[..., 0]
    return array


def _check_size(path, what, array, size):
    if array.ndim != 2 or array.shape[::-1] != tuple(size):
        got = "x".join(str(n) for n in array.shape[::-1])
        raise ValueError(
            f"{what} {path}: its size is {got}, expected {size[0]}x{size[1]} as the video"
        )
