"""A ball, followed by its silhouette: for one that is too fast, too plain or too small for patches.

A ball is a disc wherever it is and however it turns. In each frame the disc is sought whose pixels
have the ball's colors, and whose surroundings have not; it also differs from what the camera, which
stands still, sees there in other frames. Center and radius are then those of the smeared disc over
this background that explains the picture best: motion blur smears a ball along its way.

Off the axis of a camera a ball is an ellipse, whose middle is not where the ball's center is seen.
So discs are fitted in the picture of a camera that looks at the ball (`Turned`).
"""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
from scipy import ndimage

from inverse.clips.footage import Footage, as_footage
from inverse.tracking.tracks import Tracks
from inverse.tracking.turned import Turned
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
LEAST_NOISE, LARGE_NOISE = 2.0, 64.0  # gray levels: compression; what is no outlier at first
# Radii: within the first all is ball, of a smeared one within the second most; beyond the third
# nothing.
CORE, MIDDLE, EDGE = 0.75, 0.3, 1.5
# Of the time between frames, that are tried first; then steps around the best are halved so often.
# A ball of 17 px that smears by 30 px is 2 px too large where the exposure is 0.15 too short.
EXPOSURES, HALVED = (0.0, 0.25, 0.5, 0.75, 1.0), 3
JUDGES, SMEARS, ROUNDS = 4, 5, 20  # frames that choose; places of a smeared disc; Gauss-Newton
FEWEST = 4  # frames
CUT = 0.25  # radii, by which a disc may be cut by the edge of the picture
CHANGE = 1.5  # times the usual radius, beyond which it is something else
GAMMA = 2.2  # of pictures
SHOWN = 0.9  # radii, within which the rim is no part of the ball's colors
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
    frames, speed = np.flatnonzero(draft.found), np.zeros_like(draft.center)
    speed[frames] = np.gradient(draft.center[frames], frames, axis=0)
    few = frames[np.unique(np.linspace(0, len(frames) - 1, JUDGES).round().astype(int))]

    def fit(t: np.intp, exposure: float) -> tuple[np.ndarray, float, float, np.ndarray]:
        smear = exposure * speed[t]
        return _fit(video[t], draft.center[t], draft.radius[t], behind, smear, camera)

    exposure = _cheapest(lambda one: float(np.median([fit(t, one)[2] for t in few])))
    center, radius, found = draft.center.copy(), draft.radius.copy(), draft.found.copy()
    error = np.full((len(found), 2), np.nan)
    for t in frames:
        center[t], radius[t], _, error[t] = fit(t, exposure)
    usual = float(np.median(radius[frames]))
    found &= (radius < CHANGE * usual) & (radius > usual / CHANGE)
    found &= np.linalg.norm(center - draft.center, axis=1) < 0.5 * usual
    return Disc(center=center, radius=radius, found=found, error=error)


def _cheapest(cost: Callable[[float], float]) -> float:
    """The exposure of the least cost."""
    costs, step = {exposure: cost(exposure) for exposure in EXPOSURES}, EXPOSURES[1]
    for _ in range(HALVED):
        best, step = min(costs, key=costs.__getitem__), 0.5 * step
        for exposure in (best - step, best + step):
            if 0 <= exposure <= 1:
                costs[exposure] = cost(exposure)
    return min(costs, key=costs.__getitem__)


def _filled(image: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) whose NaN are the nearest of its other values."""
    known = np.isfinite(image).all(axis=-1)
    if known.all() or not known.any():
        return np.nan_to_num(image, nan=128.0)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return image[tuple(nearest)]


def _fit(
    image: np.ndarray,
    center: np.ndarray,
    radius: float,
    behind: np.ndarray,
    smear: np.ndarray,
    camera: Camera,
) -> tuple[np.ndarray, float, float, np.ndarray]:
    """Center (2,) px and radius, px, of the disc that explains a picture best, its cost, and the
    errors (2,) px of both, were those of pixels independent.

    The picture is that of the ball where it covers all, and of what is behind where it covers
    nothing; at its rim, the ball's color is that farther inside. center, radius: px, of a draft in
    the picture; smear: (2,) px, its way while the picture is taken.
    """
    height, width = image.shape[:2]
    pad = EDGE * radius + 0.5 * np.abs(smear) + 2
    low = np.maximum(np.floor(center - pad).astype(int), 0)
    high = np.minimum(np.ceil(center + pad).astype(int) + 1, [width, height])
    turned = Turned(camera, center)
    radius = radius / np.sqrt(turned.area(center))
    if (high - low < 3).any():
        return center, radius, np.inf, np.full(2, np.nan)
    part = _linear(image[low[1] : high[1], low[0] : high[0]])
    back = _linear(behind[low[1] : high[1], low[0] : high[0]])
    rows, columns = np.indices(part.shape[:2])
    at = turned.see(np.stack([columns, rows], axis=-1) + low + 0.5)
    smear = turned.see(center + 0.5 * smear) - turned.see(center - 0.5 * smear)
    sigma = max(0.08 * radius, 0.5)
    state = np.array([0.0, 0.0, radius])
    steps = np.array([0.5, 0.5, 0.25])
    length = float(np.linalg.norm(smear))
    along = smear / max(length, 1e-9)
    # Places in the middle of equal parts of the way.
    shares = (np.arange(SMEARS) + 0.5) / SMEARS - 0.5 if np.abs(smear).max() > 0.5 else np.zeros(1)
    shifts = [share * smear for share in shares]

    def cover(state: np.ndarray) -> np.ndarray:
        parts = [np.linalg.norm(at - state[:2] - shift, axis=-1) for shift in shifts]
        return np.mean([np.clip(state[2] + 0.5 - away, 0, 1) for away in parts], axis=0)

    cost, error, weight = np.inf, np.full(2, np.nan), np.ones(part.shape[:2])
    for step in range(ROUNDS):
        lit = _lit(at, state, shifts)
        share = lit[..., 0]
        # The ball's own colors: light from one side, and what else is seen on it.
        left = part - (1 - share[..., None]) * back
        shown = cover(state * [1, 1, SHOWN])
        shown = shown > 0.5 * shown.max()
        flat, light = lit[shown], weight[shown][:, None]
        A = flat.T @ (light * flat)
        A += 1e-3 * A[0, 0] * np.diag([1e-3, 1, 1, 1])
        shade = np.linalg.solve(A, flat.T @ (light * left[shown]))
        bright = lit @ shade
        own = cv2.GaussianBlur(share[..., None] * (left - bright), (0, 0), sigma)
        own /= cv2.GaussianBlur(share**2, (0, 0), sigma)[..., None] + 1e-2
        inner = cv2.remap(own, *_inside(at, state, along, length, turned, low), cv2.INTER_LINEAR)
        inner += bright / np.maximum(share, 1e-3)[..., None]
        rim = _lit(at, state, shifts, beyond=True) @ shade
        inner = np.where(share[..., None] > 0.02, inner, rim)
        apart = inner - back
        off = part - back - share[..., None] * apart
        usual = max(float(np.median(np.abs(off[share > 0.02]))) * 1.5, LEAST_NOISE)
        scale = max(usual, LARGE_NOISE / 2**step)  # at first the rim is far off, and no outlier
        weight = 1 / (1 + (off**2).sum(axis=-1) / (2 * scale) ** 2)
        cost = float(np.minimum((off**2).sum(axis=-1), (6 * scale) ** 2).mean())
        slopes = [
            (cover(state + nudge) - cover(state - nudge)) / (2 * nudge.sum())
            for nudge in np.diag(steps)
        ]
        J = np.stack(slopes, axis=-1)[:, :, None] * apart[..., None]
        H = np.einsum("hw,hwca,hwcb->ab", weight, J, J)
        g = np.einsum("hw,hwca,hwc->a", weight, J, off)
        spread = np.linalg.inv(H + 1e-6 * (np.trace(H) + 1) * np.eye(3))
        move = spread @ g
        variance = float((weight * (off**2).sum(axis=-1)).sum() / weight.sum()) * np.diag(spread)
        error = np.sqrt([variance[:2].mean(), variance[2]])
        move = np.clip(move, -0.1 * radius - 0.5, 0.1 * radius + 0.5)
        state = state + move
        state[2] = np.clip(state[2], 0.6 * radius, 1.6 * radius)
        if scale == usual and np.abs(move).max() < 0.02:
            break
    return turned.back(state[:2]), float(state[2]), cost, error


def _lit(
    at: np.ndarray, state: np.ndarray, shifts: list[np.ndarray], *, beyond: bool = False
) -> np.ndarray:
    """(H, W, 4): how much of a smeared ball is seen at places (H, W, 2) px, and how much light it
    has there from the right, from below and from the front, of a surface that is matt.

    state: center and radius, px; shifts: (2,) px, where it is meanwhile; beyond: as if it were seen
    everywhere, with the colors of its rim.
    """
    total = np.zeros((*at.shape[:2], 4))
    for shift in shifts:
        away = at - state[:2] - shift
        length = np.linalg.norm(away, axis=-1)
        normal = away / np.maximum(length, state[2])[..., None]
        front = np.sqrt(np.maximum(1 - (normal**2).sum(axis=-1), 0))
        lit = np.stack([np.ones_like(front), normal[..., 0], normal[..., 1], front], axis=-1)
        cover = 1.0 if beyond else np.clip(state[2] + 0.5 - length, 0, 1)[..., None]
        total += cover * lit / len(shifts)
    return total


def _linear(image: np.ndarray) -> np.ndarray:
    """Amounts of light, 0 to 255, of the gray levels of an image: light is what blur mixes."""
    return (255 * (image / 255.0) ** GAMMA).astype(np.float32)


def _inside(
    at: np.ndarray,
    state: np.ndarray,
    along: np.ndarray,
    smeared: float,
    turned: Turned,
    low: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows, from low on, of the places in the picture whose colors those at (H, W, 2)
    px in the turned one have: themselves, and for what is near the rim of a disc, farther inside,
    where nothing has been the rim while the picture was taken."""
    away = at - state[:2]
    length = np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-6)
    blurred = np.abs(away @ along)[..., None] / length
    depth = np.maximum(CORE * state[2] - blurred * 0.5 * smeared, MIDDLE * state[2])
    inside = state[:2] + away * np.minimum(1, depth / length)
    place = (turned.back(inside) - low - 0.5).astype(np.float32)
    return place[..., 0], place[..., 1]
