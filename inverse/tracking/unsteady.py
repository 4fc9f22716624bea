"""Whether a camera stands still: how the background moves as a whole, from frame 0 on."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from inverse.clips.footage import Footage, keep_pictures
from inverse.tracking.alignment import MODELS, Alignment, PictureMotion
from inverse.tracking.lucas_kanade import forward_backward
from renderers.camera import Camera


ACROSS = 16  # points along the longer side of the picture
LONGEST = 640  # px, longer side of the pictures that are compared
WINDOW, LEVELS = 1 / 24, 3  # of the longer side: radius of what is compared; of the pyramid
BACK = 1.0  # px, by which following a point back may miss it
DETAIL = 1 / 24  # of the longer side: what is larger is shading
CONTRAST, FAINT = 40.0, 1.0  # gray levels that details get; of those that are noise
TOGETHER = 0.5  # px, by which a point may differ from a background that moves as one
ROUNDS = 5  # of the search for those that do
GROWTH = 0.05  # of the longer side, by which the object's mask grows: it moves
STILL = 0.3  # px, by which the background may shift before the camera moves
# px, error of the picture's shift in a single frame, from which on the jitter that is left of a
# camera's is as large as what moves an object: at 24 fps and 500 px per radian it is 0.3 m/s^2 for
# each meter of distance.
UNSURE = 0.1
ENOUGH = 8  # points
SMALLEST = 64  # px, of a picture's shorter side, below which its windows hardly differ
AGREE = 0.5  # share of the points that move as one, in a usual frame
TELLING = 12  # frames, those with the largest shifts, that tell how the camera moves


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Unsteadiness:
    """How a camera moved in T frames, as far as the background says.

    cameras: of all frames; center: (T, 2) px, by which the picture's center shifted; agree: (T,)
    share of the background that moved as one, NaN where too little of it was found again, as center
    is; error: px, of the center in a single frame, as two halves of the background tell; turns:
    whether the camera turned on the spot, as a hand turns one, and not the picture was shifted in
    it, as stabilizers and editors do.
    """

    cameras: list[Camera]
    center: np.ndarray
    agree: np.ndarray
    error: float = 0.0
    turns: bool = True

    @property
    def shift(self) -> np.ndarray:
        """(T,) px, by how far the picture's center shifted."""
        return np.linalg.norm(self.center, axis=1)

    @property
    def known(self) -> bool:
        """Whether the background says how the camera moved."""
        return bool(np.isfinite(self.agree).all() and np.median(self.agree) > AGREE)

    @property
    def sure(self) -> bool:
        """Whether it says that so well that it can be taken out."""
        return self.known and self.error < UNSURE

    @property
    def moves(self) -> bool:
        """Whether the camera moved."""
        return bool(np.nanmax(self.shift) > STILL)


def find_unsteadiness(video: Footage, camera: Camera, mask: np.ndarray) -> Unsteadiness:
    """How a camera that stands in one place moved a little, from the background beside frame 0.

    Points all over the background tell about how, and all its pixels exactly (`Alignment`).

    video: (T, H, W, 3) uint8; camera: that took frame 0; mask: (H, W) bool, the object in it.
    """
    scale = min(1.0, LONGEST / max(camera.size))
    size = round(camera.width * scale), round(camera.height * scale)
    x, y = size[0] / camera.width, size[1] / camera.height
    small = dataclasses.replace(
        camera, width=size[0], height=size[1],
        fx=camera.fx * x, fy=camera.fy * y, cx=camera.cx * x, cy=camera.cy * y,
    )  # fmt: skip
    mask = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    reach = 2 * int(GROWTH * max(size)) + 1
    free = cv2.dilate(mask, np.ones((reach, reach), np.uint8)) == 0
    first, frames = _details(video[0], size), len(video)
    turn = MODELS["turn"](small)
    rough = np.zeros((frames, 3))
    agree = np.full(frames, np.nan)
    agree[0] = 1.0
    points = _grid(size, free & (min(size) >= SMALLEST))
    for t in range(1, frames if len(points) >= ENOUGH else 0):
        found = _rough_turn(turn, first, _details(video[t], size), points, rough[t - 1])
        rough[t], agree[t] = found if found is not None else (rough[t - 1], np.nan)
    center = np.array([[small.cx, small.cy]])
    moved = np.stack([turn.places(center, p)[0] for p in rough]) - center
    moved[~np.isfinite(agree)] = np.nan
    if len(points) < ENOUGH:
        moved[:] = 0.0
    seen = Unsteadiness(cameras=[camera] * frames, center=moved / scale, agree=agree)
    if not seen.moves or not seen.known:
        return seen
    return _exactly(seen, video, camera, small, free, rough)


def steadied(video: Footage, path: Sequence[Camera]) -> Footage:
    """A video (T, H, W, 3) uint8 of a camera that turns, or whose picture shifts, as if it stood
    still as in frame 0.

    path: the camera of each frame. What it does not show is as the edge of its picture.
    """
    first = path[0]
    if all(camera is first for camera in path):
        return video

    def turned(picture: np.ndarray, camera: Camera) -> np.ndarray:
        back = camera.K @ camera.rotation @ first.rotation.T
        # Pixels are counted from the middle of the first one there.
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        H = np.linalg.inv(half) @ back @ np.linalg.inv(first.K) @ half
        how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        return cv2.warpPerspective(
            picture, H, first.size, flags=how, borderMode=cv2.BORDER_REPLICATE
        )

    pictures = (turned(picture, camera) for picture, camera in zip(video, path, strict=True))
    return keep_pictures(pictures, len(video))


def _exactly(
    seen: Unsteadiness,
    video: Footage,
    camera: Camera,
    small: Camera,
    free: np.ndarray,
    rough: np.ndarray,
) -> Unsteadiness:
    """The same from all pixels of the background: rough (T, 3), turns to begin with."""
    scale = small.width / camera.width
    alignment = Alignment(_gray(video[0], small.size), free)
    models = {name: kind(small) for name, kind in MODELS.items()}
    telling = np.argsort(-seen.shift)[:TELLING]
    costs = {
        name: sum(
            alignment.fit(model, _gray(video[t], small.size), model.of_turn(rough[t])).cost
            for t in telling
        )
        for name, model in models.items()
    }
    best = min(costs, key=lambda name: costs[name])
    model: PictureMotion = models[best]
    center = np.array([[small.cx, small.cy]])
    moved, apart = np.zeros((len(video), 2)), np.zeros((len(video), 2))
    cameras = [camera]
    for t in range(1, len(video)):
        fit = alignment.fit(model, _gray(video[t], small.size), model.of_turn(rough[t]))
        moved[t] = (model.places(center, fit.motion) - center)[0] / scale
        halves = [model.places(center, half)[0] for half in fit.halves]
        apart[t] = (halves[1] - halves[0]) / scale
        cameras.append(model.camera(camera, fit.motion, 1 / scale))
    # Of a half the error is sqrt(2) times as large, and that of a difference of two, twice. What
    # differs slowly, as where the background has depth, is no jitter.
    jitter = np.diff(apart[1:], n=2, axis=0) / np.sqrt(6)
    error = float(np.sqrt((jitter**2).mean())) / 2 if len(jitter) else 0.0
    return dataclasses.replace(
        seen, cameras=cameras, center=moved, error=error, turns=best == "turn"
    )


def _grid(size: tuple[int, int], free: np.ndarray) -> np.ndarray:
    """Points (N, 2) px all over a picture of that size (width, height), where it is free."""
    step = max(size) / ACROSS
    grid = np.meshgrid(*(np.arange(step / 2, side, step) for side in size))
    points = np.stack(grid, axis=-1).reshape(-1, 2)
    return points[free[tuple(points[:, ::-1].astype(int).T)]]


def _rough_turn(
    turn: PictureMotion, first: np.ndarray, gray: np.ndarray, points: np.ndarray, before: np.ndarray
) -> tuple[np.ndarray, float] | None:
    """The turn (3,) that carries most points (N, 2) px of the first picture to where they are found
    in another, and the share of those found that it carries; None where few are found."""
    radius = max(5, round(WINDOW * max(first.shape)))
    there, error = forward_backward(first, gray, points, radius=radius, levels=LEVELS)
    good = error < BACK
    if good.sum() < ENOUGH:
        return None
    start, there = points[good], there[good]
    moved = there - start
    inside = np.linalg.norm(moved - np.median(moved, axis=0), axis=1) < 4 * TOGETHER
    motion = before
    for _ in range(ROUNDS):
        if inside.sum() < 3:
            break
        motion = turn.between(start[inside], there[inside])
        off = np.linalg.norm(turn.places(start, motion) - there, axis=1)
        inside = off < TOGETHER
    return motion, float(inside.mean())


def _gray(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Gray levels (H, W) float32 of a picture of that size (width, height), without shading."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if size != gray.shape[::-1]:
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return gray - cv2.GaussianBlur(gray, (0, 0), DETAIL * max(size))


def _details(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A gray picture (H, W) uint8 of that size (width, height) in which even a wall has details."""
    detail = _gray(image, size)
    around = cv2.GaussianBlur(detail**2, (0, 0), DETAIL * max(size))
    detail *= CONTRAST / np.sqrt(around + FAINT**2)
    return np.clip(detail + 128, 0, 255).astype(np.uint8)
