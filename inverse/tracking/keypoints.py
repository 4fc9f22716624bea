"""Where to put keypoints: well textured spots first, then whatever is left uncovered."""

import cv2
import numpy as np


CORNER_WINDOW = 9  # px, over which the strength of a corner is measured
# Of the spacing of a hexagonal covering: a greedy choice packs a little looser, and would run out
# of room before it has all points.
GREEDY_SPACING = 0.85
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


def select_keypoints(
    image: np.ndarray,
    mask: np.ndarray,
    *,
    max_count: int = 200,
    margin: float = 2.5,
    avoid: np.ndarray | None = None,
) -> np.ndarray:
    """Choose up to max_count points (N, 2) px that cover the mask, on texture where there is some.

    image: (H, W, 3) or (H, W) uint8; mask: (H, W) bool; margin: distance kept from the mask's rim,
    px; avoid: (M, 2) px, points that already cover their surroundings. Pixels are taken greedily in
    the order of their corner strength (Shi and Tomasi 1994), no two closer than in an even
    covering, so that strong corners come first and plain regions are filled afterwards. Raises
    ValueError for a mask that is empty or of another size.
    """
    gray = to_gray(image)
    mask = np.asarray(mask, dtype=bool)
    if mask.shape != gray.shape:
        raise ValueError(f"mask: got shape {mask.shape}, expected that of the image {gray.shape}")
    if not mask.any():
        raise ValueError("mask: it is empty, no keypoint can be chosen")
    padded = np.pad(mask.astype(np.uint8), 1)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    rows, columns = np.nonzero(inside > min(margin, 0.5 * inside.max()))
    strength = cv2.cornerMinEigenVal(gray, CORNER_WINDOW)[rows, columns]
    order = np.argsort(-strength, kind="stable")
    spacing = GREEDY_SPACING * np.sqrt(2 / np.sqrt(3) * mask.sum() / max_count)
    free = np.ones(gray.shape, dtype=np.uint8)
    for x, y in [] if avoid is None else np.asarray(avoid):
        cv2.circle(free, (int(x), int(y)), int(round(spacing)), 0, -1)
    chosen: list[tuple[float, float]] = []
    for k in order:
        if len(chosen) == max_count:
            break
        if free[rows[k], columns[k]]:
            chosen.append((columns[k] + 0.5, rows[k] + 0.5))
            cv2.circle(free, (int(columns[k]), int(rows[k])), int(round(spacing)), 0, -1)
    return np.array(chosen, dtype=np.float64).reshape(-1, 2)


def to_gray(image: np.ndarray) -> np.ndarray:
    """Luminance (H, W) float32, 0..255, of an RGB image (H, W, 3) or a gray one (H, W)."""
    image = np.asarray(image)
    if image.ndim == 3:
        image = image[..., :3] @ np.array(LUMINANCE)
    return np.ascontiguousarray(image, dtype=np.float32)
