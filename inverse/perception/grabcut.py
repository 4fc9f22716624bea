"""The object in a box, without any model."""

import cv2
import numpy as np


ROUNDS = 5
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
            cv2.grabCut(bgr, labels, size, *models, ROUNDS, cv2.GC_INIT_WITH_RECT)
        except cv2.error as error:
            raise ValueError(f"{nothing} ({error})") from None
    found = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    mask = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, SPECKS)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        raise ValueError(f"{nothing}; draw the box tighter or wider, or give a mask")
    return parts == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
