"""The object in a box, without any model."""

import cv2
import numpy as np


ROUNDS = 5
LARGE, LARGE_BOX = 1280, 256  # px, longer sides of pictures and boxes above which they are reduced
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
    nothing = f"box: GrabCut finds no object in {tuple(box)}"
    # It takes minutes for what a smaller picture shows as well.
    by = min(1.0, max(LARGE / max(width, height), LARGE_BOX / max(x1 - x0, y1 - y0)))
    small = max(1, round(width * by)), max(1, round(height * by))
    found = np.zeros(small[::-1], bool)
    if (x1 - x0) * (y1 - y0) < height * width:
        edges = np.rint(np.array([x0, y0, x1, y1]) * np.tile(np.array(small), 2)
                        / [width, height, width, height]).astype(int)  # fmt: skip
        try:
            found = _grabcut(cv2.resize(image, small, interpolation=cv2.INTER_AREA), edges)
        except cv2.error as error:
            raise ValueError(f"{nothing} ({error})") from None
    mask = found.astype(np.uint8)
    if small != (width, height):
        mask = cv2.resize(255 * mask, (width, height), interpolation=cv2.INTER_LINEAR) // 128
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, SPECKS)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        raise ValueError(
            f"{nothing}; draw the box tighter or wider, or give a --mask, "
            "an image of frame 0 that is white on the object and black elsewhere"
        )
    return parts == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()


def _grabcut(image: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """What GrabCut finds in the box with these edges x0 y0 x1 y1 of an image (H, W, 3): (H, W)."""
    labels = np.zeros(image.shape[:2], np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    x0, y0, x1, y1 = (int(v) for v in edges)
    bgr = np.ascontiguousarray(image[..., ::-1])
    cv2.setRNGSeed(0)
    cv2.grabCut(bgr, labels, (x0, y0, x1 - x0, y1 - y0), *models, ROUNDS, cv2.GC_INIT_WITH_RECT)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
