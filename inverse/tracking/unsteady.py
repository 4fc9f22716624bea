"""Whether a camera stands still: how the background moves as a whole, from frame 0 on."""

import dataclasses

import cv2
import numpy as np

from inverse.tracking.lucas_kanade import forward_backward
from renderers.camera import Camera
from taichi_phys.rotations import nearest_rotation


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
SHAKES = 1.0  # px, usual change of the shift from frame to frame: a tenth of it cannot be found
ENOUGH = 8  # points
AGREE = 0.5  # share of the points that move as one, in a usual frame


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Unsteadiness:
    """How a camera moved in T frames, as far as the background says.

    rotations: (T, 3, 3), of its axes since frame 0; center: (T, 2) px, by which the picture's
    center shifted; agree: (T,) share of the background that moved as one, NaN where too little of
    it was found again, as center is.
    """

    rotations: np.ndarray
    center: np.ndarray
    agree: np.ndarray

    @property
    def shift(self) -> np.ndarray:
        """(T,) px, by how far the picture's center shifted."""
        return np.linalg.norm(self.center, axis=1)

    @property
    def shakes(self) -> bool:
        """Whether it moved back and forth from frame to frame, so much that what is left of it
        after it was found is as large as what moves an object."""
        jumps = np.linalg.norm(np.diff(self.center, n=2, axis=0), axis=1)
        return self.known and bool(np.sqrt((jumps**2).mean()) > SHAKES)

    @property
    def known(self) -> bool:
        """Whether the background says how the camera moved."""
        return bool(np.isfinite(self.agree).all() and np.median(self.agree) > AGREE)

    @property
    def moves(self) -> bool:
        """Whether the camera moved."""
        return bool(np.nanmax(self.shift) > STILL)


def find_unsteadiness(video: np.ndarray, camera: Camera, mask: np.ndarray) -> Unsteadiness:
    """How a camera turned a little, from points all over the background, compared with frame 0.

    video: (T, H, W, 3) uint8; camera: that took frame 0; mask: (H, W) bool, the object in it.
    """
    scale = min(1.0, LONGEST / max(camera.size))
    size = round(camera.width * scale), round(camera.height * scale)
    x, y = size[0] / camera.width, size[1] / camera.height
    camera = dataclasses.replace(
        camera, width=size[0], height=size[1],
        fx=camera.fx * x, fy=camera.fy * y, cx=camera.cx * x, cy=camera.cy * y,
    )  # fmt: skip
    mask = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    first = _gray(video[0], camera.size)
    height, width = first.shape
    step = max(width, height) / ACROSS
    grid = np.meshgrid(np.arange(step / 2, width, step), np.arange(step / 2, height, step))
    points = np.stack(grid, axis=-1).reshape(-1, 2)
    reach = 2 * int(GROWTH * max(width, height)) + 1
    grown = cv2.dilate(mask, np.ones((reach, reach), np.uint8)) > 0
    points = points[~grown[tuple(points[:, ::-1].astype(int).T)]]
    radius = max(5, round(WINDOW * max(width, height)))
    frames = len(video)
    rotations = np.tile(np.eye(3), (frames, 1, 1))
    moved, agree = np.zeros((frames, 2)), np.full(frames, np.nan)
    agree[0] = 1.0
    if len(points) < ENOUGH:
        return Unsteadiness(rotations=rotations, center=moved, agree=agree)
    start = _rays(camera, points)
    center = np.array([[camera.cx, camera.cy]])
    for t in range(1, frames):
        gray = _gray(video[t], camera.size)
        found, error = forward_backward(first, gray, points, radius=radius, levels=LEVELS)
        good = error < BACK
        if good.sum() < ENOUGH:
            rotations[t], moved[t] = rotations[t - 1], np.nan
            continue
        rotations[t], inside = _common_turn(camera, start[good], points[good], found[good])
        agree[t] = inside.mean()
        turned = _rays(camera, center) @ rotations[t].T
        moved[t] = (_pixels(camera, turned) - center)[0] / scale
    return Unsteadiness(rotations=rotations, center=moved, agree=agree)


def turned_cameras(camera: Camera, rotations: np.ndarray) -> list[Camera]:
    """The cameras of all frames, of one that turned on the spot; rotations: (T, 3, 3)."""
    cameras = []
    for turn in rotations:
        pose = np.eye(4)
        pose[:3, :3] = turn @ camera.rotation
        pose[:3, 3] = -pose[:3, :3] @ camera.position
        cameras.append(dataclasses.replace(camera, world_to_camera=pose))
    return cameras


def _common_turn(
    camera: Camera, start: np.ndarray, points: np.ndarray, found: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rotation that carries most rays start (N, 3) of points (N, 2) px to where they were found
    (N, 2) px, and which it does (N,) bool."""
    after = _rays(camera, found)
    moved = found - points
    inside = np.linalg.norm(moved - np.median(moved, axis=0), axis=1) < 4 * TOGETHER
    turn = np.eye(3)
    for _ in range(ROUNDS):
        if inside.sum() < 3:
            break
        turn = nearest_rotation(after[inside].T @ start[inside])
        off = np.linalg.norm(_pixels(camera, start @ turn.T) - found, axis=1)
        inside = off < TOGETHER
    return turn, inside


def _gray(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A gray picture (H, W) uint8 of that size (width, height) in which even a wall has details."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if size != gray.shape[::-1]:
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    detail = gray.astype(np.float32)
    detail -= cv2.GaussianBlur(detail, (0, 0), DETAIL * max(size))
    around = cv2.GaussianBlur(detail**2, (0, 0), DETAIL * max(size))
    detail *= CONTRAST / np.sqrt(around + FAINT**2)
    return np.clip(detail + 128, 0, 255).astype(np.uint8)


def _rays(camera: Camera, xy: np.ndarray) -> np.ndarray:
    """Unit directions (N, 3), in the camera's axes, of image coordinates (N, 2) px."""
    rays = np.stack(
        [(xy[:, 0] - camera.cx) / camera.fx, (xy[:, 1] - camera.cy) / camera.fy, np.ones(len(xy))],
        axis=1,
    )
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _pixels(camera: Camera, rays: np.ndarray) -> np.ndarray:
    """Image coordinates (N, 2) px of directions (N, 3) in the camera's axes."""
    return rays[:, :2] / rays[:, 2:] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
