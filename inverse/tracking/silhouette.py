"""The object's silhouette, carried from frame to frame."""

import cv2
import numpy as np

from inverse.tracking.dense_flow import dense_flow


BAND, LEAST_BAND = 0.04, 3  # of the object's width, and px: by how much the flow may miss its rim
ROUNDS = 2  # of GrabCut in each frame
MARGIN = 0.5  # of the object's width, around it: the background that colors are learnt from
# The area may change by this factor from one frame to the next; where GrabCut says more, it has
# taken the background for the object, or the object for the background, and the flow is believed.
MOST_CHANGE = 1.3


def carry_mask(
    previous: np.ndarray, current: np.ndarray, mask: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """The mask (H, W) bool of an object in the frame after the one that it is known in.

    Dense flow carries it, and GrabCut (Rother et al. 2004) decides about a band around its rim.

    previous, current: (H, W, 3) uint8; mask: (H, W) bool, in the previous frame; shift: (2,) px,
    how far the object has moved as a whole, about.
    """
    if not mask.any():
        return mask.copy()
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    low = np.array([columns.min(), rows.min()])
    high = np.array([columns.max(), rows.max()]) + 1
    size = int((high - low).max())
    pad = int(np.ceil(MARGIN * size)) + LEAST_BAND
    start, end = low - pad, high + pad
    step = np.round(shift).astype(int)
    box, before = end - start, _crop(previous, start, end)
    after, was = _crop(current, start + step, end + step), _crop(mask.astype(np.uint8), start, end)
    gray = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (after, before)]
    flow = dense_flow(*gray)
    x, y = np.meshgrid(np.arange(box[0], dtype=np.float32), np.arange(box[1], dtype=np.float32))
    moved = cv2.remap(
        was.astype(np.float32), x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    found = _decide(after, moved > 0.5, max(LEAST_BAND, int(np.ceil(BAND * size))))
    result = np.zeros((height, width), dtype=bool)
    to, of = np.maximum(start + step, 0), np.minimum(end + step, [width, height])
    if (of > to).all():
        part = found[
            to[1] - start[1] - step[1] : of[1] - start[1] - step[1],
            to[0] - start[0] - step[0] : of[0] - start[0] - step[0],
        ]
        result[to[1] : of[1], to[0] : of[0]] = part
    return result


def _decide(image: np.ndarray, mask: np.ndarray, band: int) -> np.ndarray:
    """The mask after GrabCut of the pixels within a band (px) around its rim."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    whole = mask.astype(np.uint8)
    inner, outer = cv2.erode(whole, kernel) > 0, cv2.dilate(whole, kernel) > 0
    if not inner.any() or outer.all():
        return mask
    labels = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[inner], labels[~outer] = cv2.GC_FGD, cv2.GC_BGD
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        cv2.grabCut(
            np.ascontiguousarray(image[..., ::-1]), labels, None, *models, ROUNDS,  # type: ignore[call-overload]
            cv2.GC_INIT_WITH_MASK,
        )  # fmt: skip
    except cv2.error:  # of one color only
        return mask
    found = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    change = found.sum() / mask.sum()
    return found if 1 / MOST_CHANGE < change < MOST_CHANGE else mask


def _crop(image: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The part of an image between two corners (column, row); its border continues outside."""
    height, width = image.shape[:2]
    rows = np.clip(np.arange(start[1], end[1]), 0, height - 1)
    columns = np.clip(np.arange(start[0], end[0]), 0, width - 1)
    return np.ascontiguousarray(image[rows[:, None], columns])
