"""Masks and depth maps of frame 0, from files or from a box and a distance."""

from pathlib import Path

import cv2
import numpy as np

from taichi_phys.checks import finite_number


GRABCUT_ROUNDS = 5
SPECKS = np.ones((3, 3), np.uint8)  # px; smaller pieces of a mask are removed


def grabcut_mask(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Find the largest object in a box by GrabCut (Rother et al. 2004); returns (H, W) bool.

    image: (H, W, 3) uint8 RGB; box: x0 y0 x1 y1, px. Raises ValueError for another kind of image,
    for a box without area or outside the image, and if GrabCut finds no object in the box.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image: got {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (int(round(value)) for value in box)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(
            f"box: got {tuple(box)}, expected x0 < x1 and y0 < y1 within the {width}x{height} "
            "pixels of the image"
        )
    labels = np.zeros((height, width), np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(image[..., ::-1])
    nothing = f"box: GrabCut finds no object in {tuple(box)}"
    if (x1 - x0) * (y1 - y0) < height * width:
        size = (x0, y0, x1 - x0, y1 - y0)
        try:
            cv2.setRNGSeed(0)
            cv2.grabCut(bgr, labels, size, *models, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_RECT)
        except cv2.error as error:
            raise ValueError(f"{nothing} ({error})") from None
    found = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    mask = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, SPECKS)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        raise ValueError(f"{nothing}; draw the box tighter or wider, or give a mask")
    return parts == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()


def load_mask(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """Read the image of a mask as (H, W) bool, which is true above half of its largest value.

    size: (width, height) of the video, px. Raises ValueError for an unreadable file, another
    size or an empty mask.
    """
    image = _read_array(path, "mask")
    if image.ndim == 3:
        image = image[..., :3].max(axis=2)
    _check_size(path, "mask", image, size)
    mask = image > 0.5 * image.max()
    if not mask.any():
        raise ValueError(f"mask {path}: it is empty, expected white pixels where the object is")
    return mask


def load_depth(path: str | Path, depth_scale: float, mask: np.ndarray) -> np.ndarray:
    """Read depth along the optical axis as (H, W) m, NaN outside the mask.

    path: 16 bit png or npy; integers are divided by depth_scale, floats are taken as meters; mask:
    (H, W) bool. Raises ValueError for a depth_scale that is not positive, an unreadable file,
    another size, or depth inside the mask that is zero, negative or not finite.
    """
    finite_number("depth_scale", depth_scale, "a positive number", low=0, open_end=True)
    raw = _read_array(path, "depth")
    _check_size(path, "depth", raw, mask.shape[::-1])
    depth = raw / depth_scale if raw.dtype.kind in "iu" else raw.astype(np.float64)
    bad = mask & ~(np.isfinite(depth) & (depth > 0))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"depth {path}: {bad.sum()} of {mask.sum()} pixels inside the mask are zero, negative "
            f"or not finite (first at row {row}, column {column}), expected positive depths; fill "
            "them, or leave them out of the mask"
        )
    return np.where(mask, depth, np.nan)


def constant_depth(mask: np.ndarray, distance: float) -> np.ndarray:
    """Depth (H, W) m of a flat object that faces the camera; NaN outside the mask.

    mask: (H, W) bool; distance: m. Raises ValueError for a distance that is not positive.
    """
    finite_number("distance", distance, "a positive length in meters", low=0, open_end=True)
    return np.where(mask, float(distance), np.nan)


def _read_array(path: str | Path, what: str) -> np.ndarray:
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{what} {path}: no such file")
    if path.suffix == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{what} {path}: not a readable npy file ({error})") from None
    else:
        data = np.fromfile(path, np.uint8)
        decoded = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
        if decoded is None:
            raise ValueError(f"{what} {path}: not a readable image")
        array = decoded
    if what == "depth" and array.ndim == 3:
        array = array[..., 0]
    return array


def _check_size(path: str | Path, what: str, array: np.ndarray, size: tuple[int, ...]) -> None:
    if array.ndim != 2 or array.shape[::-1] != tuple(size):
        got = "x".join(str(n) for n in array.shape[::-1])
        raise ValueError(
            f"{what} {path}: its size is {got}, expected {size[0]}x{size[1]}, that of the video"
        )
