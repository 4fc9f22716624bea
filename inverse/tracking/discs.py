"""A ball, followed by its silhouette: for one that is too fast, too plain or too small for patches.

A ball is a disc wherever it is and however it turns. In each frame the disc is sought whose pixels
have the ball's colors, and whose surroundings have not; it also differs from what the camera, which
stands still, sees there in other frames. Center and radius are then those of the smeared disc over
this background that explains the picture best (smeared_disc.py): motion blur smears a ball along
its way. How long the camera exposes a picture, the fastest smears tell.

Off the axis of a camera a ball is an ellipse, whose middle is not where the ball's center is seen.
So discs are fitted in the picture of a camera that looks at the ball (turned.py).
"""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
from scipy import ndimage

from inverse.clips.footage import Footage, as_footage
from inverse.tracking.smeared_disc import EDGES, SmearedDisc, fit_disc
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera


BINS = 16  # of each color, in histograms
MOST = 3.0  # logarithm of how much likelier a color is on the ball than elsewhere, at most
REACH, FIRST_REACH = 1.5, 4.0  # diameters from where the ball is expected; in frame 1
RING = 1.6  # radii, to which the surroundings of a disc reach
SIZES = (0.85, 1.0, 1.18)  # times the last radius, that are tried
CONTRAST = 0.25 * MOST  # of a disc over its surroundings, from which on it is one
BACKGROUNDS = 40  # frames that show what is behind
LEAST_SHOWN = 3  # of them, in which a pixel shows it
DIFFERS = 4.0  # standard deviations of noise, from which on a pixel is not the background
LEAST_NOISE = 2.0  # gray levels: compression
EDGE = 1.5  # radii, beyond which nothing is ball
JUDGES = 8  # frames that tell the exposure
USUAL = 0.5  # exposure, of the time between frames, where no smear tells it
TURNS = 0.25  # radii, by which smears before and after a blow differ, so that both are tried
FEWEST = 4  # frames
CUT = 0.25  # radii, by which a disc may be cut by the edge of the picture
CHANGE = 1.5  # times the usual radius, beyond which it is something else
POINTS = 24  # keypoints of a disc
FAR = 0.6  # radii, of keypoints from the center
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Disc:
    """A ball in T frames: its center (T, 2) px, its radius (T,) px in a camera of the same focal
    length that looks at it, and where it was found, (T,) bool; error: (T, 2) px, of center and
    radius, as each picture tells it, which is in proportion to that of the others; None where it is
    the same in all."""

    center: np.ndarray
    radius: np.ndarray
    found: np.ndarray
    error: np.ndarray | None = None

    def until(self, frames: int) -> "Disc":
        """The disc in the first frames."""
        error = None if self.error is None else self.error[:frames]
        return Disc(
            center=self.center[:frames], radius=self.radius[:frames], found=self.found[:frames],
            error=error,
        )  # fmt: skip

    def tracks(self) -> Tracks:
        """Tracks of points on the disc, as those of a ball that does not turn."""
        angle = np.arange(POINTS) * np.pi * (3 - np.sqrt(5))  # a sunflower's
        away = FAR * np.sqrt((np.arange(POINTS) + 0.5) / POINTS)
        arms = np.stack([np.cos(angle), np.sin(angle)], axis=1) * away[:, None]
        xy = self.center[:, None] + self.radius[:, None, None] * arms
        visible = np.repeat(self.found[:, None], POINTS, axis=1)
        return Tracks(xy=xy, visible=visible)


def follow_disc(
    video: Footage, mask: np.ndarray, camera: Camera, *, progress: Progress | None = None
) -> Disc | None:
    """Follow a ball through a video (T, H, W, 3) uint8; None where it is not found for long,
    and where it stays in its place.

    mask: (H, W) bool, the ball in frame 0; camera: that took it and stands still; progress: called
    with (frame, frames).
    """
    video = as_footage(video)
    mask = np.asarray(mask, dtype=bool)
    rows, columns = np.nonzero(mask)
    if len(rows) < 4:
        return None
    start = np.array([columns.mean(), rows.mean()]) + 0.5
    radius = float(np.sqrt(mask.sum() / np.pi))
    seen = np.unique(np.linspace(0, len(video) - 1, BACKGROUNDS).round().astype(int))
    stills = np.stack([video[t] for t in seen])
    behind, noise = _behind(stills, None)
    apart = np.abs(video[0].astype(np.float32) - behind).max(axis=-1)
    if not float(np.median(apart[mask])) > DIFFERS * noise:
        return None  # it stays in its place, and nothing shows what is behind it
    likely = _Colors(video[0], mask)
    draft = _search(video, likely, behind, noise, start, radius, progress)
    if draft.found.sum() < FEWEST or not draft.found[1]:
        return None
    discs = [(draft.center[t], draft.radius[t]) if draft.found[t] else None for t in seen]
    behind, noise = _behind(stills, discs)
    return _measured(video, draft, behind, camera)


class _Colors:
    """How much likelier colors are on an object than elsewhere, from one picture and its mask."""

    def __init__(self, image: np.ndarray, mask: np.ndarray):
        grown = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        inside = image[inner if inner.any() else mask]
        on, off = self._histogram(inside), self._histogram(image[~grown])
        self._log = np.clip(np.log((on + 1e-6) / (off + 1e-6)), -MOST, MOST)

    def _histogram(self, colors: np.ndarray) -> np.ndarray:
        places = (colors.reshape(-1, 3).astype(int) * BINS) // 256
        table = np.zeros((BINS,) * 3, dtype=np.float32)
        np.add.at(table, tuple(places.T), 1)
        for axis in range(3):  # bins are soft: light and noise shift colors
            padded = np.pad(table, [(1, 1) if k == axis else (0, 0) for k in range(3)], mode="edge")
            low, high = np.delete(padded, [-1, -2], axis), np.delete(padded, [0, 1], axis)
            table = 0.25 * low + 0.5 * table + 0.25 * high
        return table / max(float(table.sum()), 1.0)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W) logarithms, between -MOST and MOST."""
        places = (image.astype(int) * BINS) // 256
        return self._log[places[..., 0], places[..., 1], places[..., 2]]


def _behind(
    stills: np.ndarray, discs: list[tuple[np.ndarray, float] | None] | None
) -> tuple[np.ndarray, float]:
    """What is behind, (H, W, 3), from pictures (K, H, W, 3), and how much pictures differ from it.

    discs: center and radius, px, in each, which do not show it; a picture whose disc is not known
    counts as a whole. NaN where it is hardly ever seen.
    """
    middle = np.median(stills, axis=0).astype(np.float32)
    if discs is not None:
        hidden = np.zeros(stills.shape[:3], dtype=np.uint8)
        for covered, disc in zip(hidden, discs, strict=True):
            if disc is not None:
                at = tuple(np.round(disc[0] - 0.5).astype(int).tolist())
                cv2.circle(covered, at, int(np.ceil(EDGE * disc[1])), 1, -1)
        often = np.flatnonzero(hidden.any(axis=0))  # the median of few pixels is made anew
        colors, covered = (
            stills.reshape(len(stills), -1, 3)[:, often],
            hidden.reshape(len(stills), -1),
        )
        shown = np.where(covered[:, often, None] > 0, np.nan, colors.astype(np.float32))
        enough = (covered[:, often] == 0).sum(axis=0) >= LEAST_SHOWN
        again = np.full((len(often), 3), np.nan, dtype=np.float32)
        again[enough] = np.nanmedian(shown[:, enough], axis=0)
        middle.reshape(-1, 3)[often] = again
    off = np.abs(stills[len(stills) // 2].astype(np.float32) - middle)
    return middle, max(1.5 * float(np.nanmedian(off)), LEAST_NOISE)


def _search(
    video: Footage,
    likely: _Colors,
    behind: np.ndarray,
    noise: float,
    start: np.ndarray,
    radius: float,
    progress: Progress | None,
) -> Disc:
    """The disc in each frame, to whole pixels."""
    frames, height, width = video.shape[:3]
    center, radii = np.tile(start, (frames, 1)), np.full(frames, radius)
    found = np.zeros(frames, dtype=bool)
    found[0], speed, lost = True, np.zeros(2), 0
    for t in range(1, frames):
        guess, last = center[t - 1] + speed, radii[t - 1]
        reach = (FIRST_REACH if t == 1 else REACH * (1 + lost)) * 2 * radius
        pad = int(np.ceil(reach + 2 * RING * last)) + 2
        low = np.maximum(np.floor(guess).astype(int) - pad, 0)
        high = np.minimum(np.floor(guess).astype(int) + pad + 1, [width, height])
        center[t], radii[t] = guess, last
        if (high - low < 3).any():
            break  # it has left the picture
        part = video[t][low[1] : high[1], low[0] : high[0]]
        apart = np.abs(part - behind[low[1] : high[1], low[0] : high[0]]).max(axis=-1)
        score = np.where(apart < DIFFERS * noise, -MOST, likely(part))
        best, place, size = -np.inf, guess, last
        for factor in SIZES if t > 1 else (1.0,):
            contrast, at = _best_disc(score.astype(np.float32), factor * last, guess - low, reach)
            # Others are about as good: the size that it had, unless one is clearly better.
            if contrast > best + (0.02 * MOST if factor != 1 else 0.0):
                best, place, size = contrast, at + low, factor * last
        edge = (1 - CUT) * size
        inside = (place > edge).all() and (place < [width, height] - edge).all()
        found[t] = best > CONTRAST and inside and 1 / 4 < size / radius < 4
        if found[t]:
            speed = place - center[t - 1] if lost == 0 else speed
            center[t], radii[t], lost = place, 0.5 * (size + last), 0
        else:
            lost += 1
        if progress is not None:
            progress(t + 1, frames)
    return Disc(center=center, radius=radii, found=found)


def _best_disc(
    score: np.ndarray, radius: float, guess: np.ndarray, reach: float
) -> tuple[float, np.ndarray]:
    """The contrast of the best disc over its surroundings in a score (H, W), and its center."""
    outer = int(np.ceil(RING * radius))
    span = np.arange(-outer, outer + 1)
    away = np.hypot(span[:, None], span[None])
    disc = np.clip(radius + 0.5 - away, 0, 1).astype(np.float32)
    ring = (np.clip(RING * radius + 0.5 - away, 0, 1) - np.clip(radius + 1.5 - away, 0, 1)).astype(
        np.float32
    )
    kernel = disc / disc.sum() - ring / max(float(ring.sum()), 1e-6)
    contrast = cv2.filter2D(score, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    rows, columns = np.indices(score.shape)
    apart = np.hypot(columns + 0.5 - guess[0], rows + 0.5 - guess[1])
    contrast = np.where(apart <= reach, contrast - 0.1 * MOST * apart / reach, -np.inf)
    row, column = np.unravel_index(int(contrast.argmax()), contrast.shape)
    return float(contrast[row, column]), np.array([column, row]) + 0.5


def _measured(video: Footage, draft: Disc, behind: np.ndarray, camera: Camera) -> Disc:
    """The same discs to parts of a pixel, with the exposure that explains the pictures best."""
    behind = _filled(behind)
    frames, ways = np.flatnonzero(draft.found), np.zeros_like(draft.center)
    ways[frames] = np.gradient(draft.center[frames], frames, axis=0)

    def fit(t: int, way: np.ndarray, exposure: float | None, edge: float) -> SmearedDisc:
        return fit_disc(
            video[t], behind, camera, draft.center[t], float(draft.radius[t]), way, exposure,
            edge=edge,
        )  # fmt: skip

    speed = np.linalg.norm(ways, axis=1)
    fast = frames[speed[frames] >= np.median(speed[frames])]
    judges = fast[np.unique(np.linspace(0, len(fast) - 1, JUDGES).round().astype(int))].tolist()
    tried = {edge: [fit(t, ways[t], None, edge) for t in judges] for edge in EDGES}
    edge = min(tried, key=lambda one: float(np.median([disc.cost for disc in tried[one]])))
    exposure = _exposure(tried[edge], speed[judges])
    center, radius, found = draft.center.copy(), draft.radius.copy(), draft.found.copy()
    error = np.full((len(found), 2), np.nan)
    for k, t in enumerate(frames.tolist()):
        leads = [ways[t]]
        before, after = frames[max(k - 1, 0)], frames[min(k + 1, len(frames) - 1)]
        if before < t < after:
            beside = [
                (draft.center[t] - draft.center[before]) / (t - before),
                (draft.center[after] - draft.center[t]) / (after - t),
            ]
            if exposure * np.linalg.norm(beside[1] - beside[0]) > TURNS * radius[t]:
                leads += beside  # it was hit: before, meanwhile, or afterwards
        best = min((fit(t, way, exposure, edge) for way in leads), key=lambda one: one.cost)
        center[t], radius[t], error[t] = best.center, best.radius, best.error
    usual = float(np.median(radius[frames]))
    found &= (radius < CHANGE * usual) & (radius > usual / CHANGE)
    found &= np.linalg.norm(center - draft.center, axis=1) < 0.5 * usual
    found &= np.isfinite(error).all(axis=1)
    return Disc(center=center, radius=radius, found=found, error=error)


def _exposure(discs: list[SmearedDisc], speed: np.ndarray) -> float:
    """The share of the time between frames in which light is taken in, from discs with speeds px a
    frame: the median of what they say, weighed by how well they know it."""
    errors = np.array([disc.smear_error for disc in discs])
    told = errors > 0
    if not told.any():
        return USUAL
    shares = np.array([disc.smear for disc in discs])[told] / speed[told]
    weight, order = speed[told] / errors[told], np.argsort(shares)
    passed = np.cumsum(weight[order])
    return float(shares[order][np.searchsorted(passed, 0.5 * passed[-1])])


def _filled(image: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) whose NaN are the nearest of its other values."""
    known = np.isfinite(image).all(axis=-1)
    if known.all() or not known.any():
        return np.nan_to_num(image, nan=128.0)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return image[tuple(nearest)]
