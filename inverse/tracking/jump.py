"""How far an object jumped between two frames, as a whole."""

import cv2
import numpy as np


REACH = 1.0  # of the longer side of the box around the points: how far they may have jumped


def common_shift(
    previous: np.ndarray, current: np.ndarray, xy: np.ndarray, *, radius: int
) -> np.ndarray:
    """The shift (2,) px under which the surroundings of points (N, 2) px look most alike.

    Normalized correlation of all patches together, in gray uint8 images: what is too little or
    moves too far to be followed point by point, a ball in flight, is found as a whole. radius: half
    a patch's side, px. Shifts are whole pixels.
    """
    height, width = previous.shape
    low = np.maximum(np.floor(xy.min(axis=0)).astype(int) - radius, 0)
    high = np.minimum(np.ceil(xy.max(axis=0)).astype(int) + radius + 1, [width, height])
    if (high - low < 2).any():  # out of the picture
        return np.zeros(2)
    mask = np.zeros((height, width), np.float32)
    for x, y in xy.astype(int):
        mask[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1] = 1
    reach = int(REACH * (high - low).max())
    start, end = np.maximum(low - reach, 0), np.minimum(high + reach, [width, height])
    score = cv2.matchTemplate(
        current[start[1] : end[1], start[0] : end[0]].astype(np.float32),
        previous[low[1] : high[1], low[0] : high[0]].astype(np.float32),
        cv2.TM_CCOEFF_NORMED,
        mask=mask[low[1] : high[1], low[0] : high[0]],
    )
    score = np.where(np.isfinite(score), score, -1)
    row, column = np.unravel_index(score.argmax(), score.shape)
    return np.array([column, row], dtype=float) + start - low
