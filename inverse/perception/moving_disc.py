"""What flies out of a box, found by what a camera that stands still sees behind it in other frames.

A small thing before a lively background has colors that are there, too, and motion blur mixes it
with what is behind: GrabCut then finds too little or nothing. But where it flies away, later
pictures show what it hid. What differs from that is the thing, smeared along its way: of a ball a
disc, or, of a fast one, the hull of two discs.
"""

import cv2
import numpy as np

from inverse.perception.grabcut import grabcut_mask


DIFFERS = 6.0  # standard deviations of noise, from which on a pixel is not the background
LEAST_NOISE = 2.0  # gray levels: compression
SPECKS = np.ones((3, 3), np.uint8)  # px; smaller pieces are removed
# Share of the pixels of the hull of what differs, which it fills; parts of a ball may have the
# color of what is behind them.
FILLED = 0.75
AROUND = 0.5  # of the box, by which a smeared ball may reach beyond it, on each side
LEAST_SHARE = 0.1  # of the box, which was drawn around the ball
LIKE = 0.91  # pixels in both over those in either, of what differs and of a smeared disc
FEWEST = 4  # pictures
EXPOSURES = (0.25, 0.4, 0.5, 0.6, 0.75, 1.0)  # of the time between frames, that are tried
# Share of the ball's pixels, as many as which still move in the box in usual pictures of the second
# half: a flag does not fly out of it.
GONE = 0.5
ROUND = 0.2  # radii, of a smear that is not told from none
CLEAR = 3.0  # standard deviations of noise, by which a usual pixel of what flies away differs
SHOWN = 10.0  # gray levels of a standard deviation, in a picture of how much pixels differ


def moving_disc(stills: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray | None:
    """The pixels (H, W) bool of a ball in the middle of its way while the first picture is taken;
    None where what moves in the box is no ball, or nothing does.

    stills: (K, H, W, 3) uint8, pictures of a camera that stands still, of which the first shows the
    ball in the box, and the second is the next frame; box: x0 y0 x1 y1, px.
    """
    height, width = stills.shape[1:3]
    given = np.reshape(box, (2, 2))
    wide = np.round(given + AROUND * np.ptp(given, axis=0) * [[-1], [1]]).astype(int)
    (x0, y0), (x1, y1) = np.clip(wide, 0, [width, height])
    if len(stills) < FEWEST or x0 >= x1 or y0 >= y1:
        return None
    found = cv2.morphologyEx(_moving(stills[:, y0:y1, x0:x1], 0), cv2.MORPH_OPEN, SPECKS)
    pieces = cv2.connectedComponents(found)[1]
    (a0, b0), (a1, b1) = np.clip(np.round(given).astype(int) - [x0, y0], 0, None)
    inside = np.bincount(pieces[b0:b1, a0:a1].ravel(), minlength=2)
    if not inside[1:].any():
        return None
    piece = (pieces == 1 + inside[1:].argmax()).astype(np.uint8)
    edge = np.concatenate([piece[0], piece[-1], piece[:, 0], piece[:, -1]])
    outline = cv2.convexHull(np.argwhere(piece)[:, ::-1].astype(np.int32))
    hull = cv2.fillConvexPoly(np.zeros_like(piece), outline, 1) > 0
    few = piece.sum() < LEAST_SHARE * np.ptp(given, axis=0).prod()
    if edge.any() or few or piece.sum() < FILLED * hull.sum():
        return None
    middle, radius, smear = _smeared_disc(hull)
    rows, columns = np.indices(stills.shape[1:3])
    at = np.stack([columns, rows], axis=-1) - [x0, y0]
    like = _smeared(at, middle, radius, smear)
    whole = np.zeros((height, width), dtype=bool)
    whole[y0:y1, x0:x1] = hull
    if (like & whole).sum() < LIKE * (like | whole).sum():
        return None
    if not _leaves(stills[:, y0:y1, x0:x1], piece > 0):
        return None
    if smear.any() and not _flies(_moving(stills, 1), at, middle, radius, smear):
        return None
    return np.linalg.norm(at - middle, axis=-1) <= radius


def moving_object(stills: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray | None:
    """The pixels (H, W) bool of what flies out of a box, whatever its form, by GrabCut of how it
    differs from what is behind it; None where nothing does.

    stills: (K, H, W, 3) uint8, pictures of a camera that stands still, of which the first shows it
    in the box; box: x0 y0 x1 y1, px.
    """
    if len(stills) < FEWEST:
        return None
    apart = _apart(stills, 0)
    try:
        found = grabcut_mask(np.clip(128 + SHOWN * apart, 0, 255).astype(np.uint8), box)
    except ValueError:
        return None
    # Noise has pieces, too; and of what stays in the box only a part differs.
    clear = np.median(np.abs(apart).max(axis=-1)[found]) > CLEAR
    x0, y0, x1, y1 = (round(value) for value in box)
    leaves = _leaves(stills[:, y0:y1, x0:x1], found[y0:y1, x0:x1])
    return found if clear and leaves else None


def _apart(pictures: np.ndarray, which: int) -> np.ndarray:
    """(H, W, 3): by how many standard deviations of noise one of pictures (K, H, W, 3) differs from
    what others show."""
    others = np.delete(pictures, which, axis=0).astype(np.float32)
    behind = np.median(others, axis=0)
    # Noise, and what sways behind: what is usual there in other pictures.
    usual = 1.5 * np.median(np.abs(others - behind).max(axis=-1), axis=0)
    noise = np.maximum(usual, max(float(np.median(usual)), LEAST_NOISE))
    return (pictures[which] - behind) / noise[..., None]


def _moving(pictures: np.ndarray, which: int) -> np.ndarray:
    """(H, W) uint8: where one of pictures (K, H, W, 3) shows what others do not."""
    return (np.abs(_apart(pictures, which)).max(axis=-1) > DIFFERS).astype(np.uint8)


def _smeared(at: np.ndarray, middle: np.ndarray, radius: float, smear: np.ndarray) -> np.ndarray:
    """Which of places at (H, W, 2) px a disc covers that moves by smear (2,) px."""
    away = at - middle
    share = np.clip(away @ smear / max(float(smear @ smear), 1e-12), -0.5, 0.5)
    return np.linalg.norm(away - share[..., None] * smear, axis=-1) <= radius


def _leaves(stills: np.ndarray, piece: np.ndarray) -> bool:
    """Whether a piece (h, w) bool that moved in the first of pictures (K, h, w, 3) is away in the
    second half of them, also from places around it."""
    later = range((len(stills) + 1) // 2, len(stills))
    still = [cv2.morphologyEx(_moving(stills, k), cv2.MORPH_OPEN, SPECKS).sum() for k in later]
    return bool(np.median(still) < GONE * piece.sum())


def _flies(
    later: np.ndarray, at: np.ndarray, middle: np.ndarray, radius: float, smear: np.ndarray
) -> bool:
    """Whether something moves in the next picture where a ball would be, were its length a smear:
    what is long by itself does not fly that way."""
    for exposure in EXPOSURES:
        for way in (smear / exposure, -smear / exposure):
            there = _smeared(at, middle + way, radius, smear)
            if there.any() and later[there].mean() > FILLED:
                return True
    return False


def _smeared_disc(hull: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Middle (2,), radius and smear (2,) px of the disc that covers a mask (H, W) when it is
    smeared: its width is the diameter, and its area pi r^2 + 2 r s that of a smear s."""
    rows, columns = np.nonzero(hull)
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    middle = points.mean(axis=0)
    vectors = np.linalg.eigh(np.cov((points - middle).T))[1]
    radius = 0.5 * (np.ptp((points - middle) @ vectors[:, 0]) + 1)
    smear = (len(points) - np.pi * radius**2) / (2 * radius)
    if smear < ROUND * radius:
        return middle, float(np.sqrt(len(points) / np.pi)), np.zeros(2)
    return middle, radius, smear * vectors[:, 1]
