"""How a whole picture moved, from all its pixels: far more exact than from points of it."""

import abc
import dataclasses

import cv2
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from renderers.camera import Camera
from taichi_phys.rotations import nearest_rotation


SMOOTH = 1.0  # px, standard deviation: finer details differ by how pixels are sampled
EDGE = 4  # px, at the rim of a picture, that do not count
ROUNDS = 12
SHORTEST = 2e-3  # px, of the picture's corners: a shorter step is the last
# Of a usual deviation: pixels that differ by more show something else (Tukey's weights, which keep
# 95 % of what averages of normal errors are worth).
TUKEY, MAD_TO_SIGMA = 4.685, 1.4826
PIXELS = 40000  # those with the strongest gradients; more make it slow
BLOCKS = 4  # along each side, of the checkerboard whose colors are the halves


class PictureMotion(abc.ABC):
    """A way in which the picture of a background can move, with three parameters."""

    def __init__(self, camera: Camera):
        self._focal = np.array([camera.fx, camera.fy])
        self._center = np.array([camera.cx, camera.cy])

    def _rays(self, xy: np.ndarray) -> np.ndarray:
        """Directions (..., 3) in the camera's axes, of image coordinates (..., 2) px."""
        plane = (xy - self._center) / self._focal
        return np.concatenate([plane, np.ones_like(plane[..., :1])], axis=-1)

    @abc.abstractmethod
    def places(self, xy: np.ndarray, motion: np.ndarray) -> np.ndarray:
        """Where image coordinates (..., 2) px of the first picture are after a motion (3,)."""

    @abc.abstractmethod
    def slopes(self, xy: np.ndarray) -> np.ndarray:
        """(..., 2, 3): the derivative of `places` by the motion, for small ones."""

    @abc.abstractmethod
    def between(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """The motion (3,) that carries points (N, 2) px to others, in the least-squares sense."""

    @abc.abstractmethod
    def of_turn(self, turn: np.ndarray) -> np.ndarray:
        """The motion (3,) that is about that of a turn, a rotation vector (3,)."""

    @abc.abstractmethod
    def camera(self, camera: Camera, motion: np.ndarray, grow: float) -> Camera:
        """The camera that sees so, beside that of the first picture; grow: its pixels over those of
        the motion."""


class Turn(PictureMotion):
    """The camera turns on the spot by a rotation vector, as a hand turns it."""

    def places(self, xy: np.ndarray, motion: np.ndarray) -> np.ndarray:
        rays = self._rays(xy) @ Rotation.from_rotvec(motion).as_matrix().T
        return rays[..., :2] / rays[..., 2:] * self._focal + self._center

    def slopes(self, xy: np.ndarray) -> np.ndarray:
        u, v, one = np.moveaxis(self._rays(xy), -1, 0)
        rows = [[-u * v, one + u * u, -v], [-one - v * v, u * v, u]]
        return np.moveaxis(np.array(rows), (0, 1), (-2, -1)) * self._focal[:, None]

    def between(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        a, b = self._rays(before), self._rays(after)
        a, b = (rays / np.linalg.norm(rays, axis=1, keepdims=True) for rays in (a, b))
        return Rotation.from_matrix(nearest_rotation(b.T @ a)).as_rotvec()

    def of_turn(self, turn: np.ndarray) -> np.ndarray:
        return turn.copy()

    def camera(self, camera: Camera, motion: np.ndarray, grow: float) -> Camera:
        turn = Rotation.from_rotvec(motion).as_matrix()
        return dataclasses.replace(camera, world_to_camera=_turned(camera, turn))


class Shift(PictureMotion):
    """The picture is shifted (px) and rolled (rad) in itself, as stabilizers and editors do it."""

    def places(self, xy: np.ndarray, motion: np.ndarray) -> np.ndarray:
        cos, sin = np.cos(motion[2]), np.sin(motion[2])
        roll = np.array([[cos, -sin], [sin, cos]])
        return (xy - self._center) @ roll.T + self._center + motion[:2]

    def slopes(self, xy: np.ndarray) -> np.ndarray:
        x, y = np.moveaxis(xy - self._center, -1, 0)
        one, zero = np.ones_like(x), np.zeros_like(x)
        return np.moveaxis(np.array([[one, zero, -y], [zero, one, x]]), (0, 1), (-2, -1))

    def between(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        a, b = before - before.mean(axis=0), after - after.mean(axis=0)
        cross, dot = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum()
        roll = np.array([0.0, 0.0, np.arctan2(cross, dot)])
        roll[:2] = (after - self.places(before, roll)).mean(axis=0)
        return roll

    def of_turn(self, turn: np.ndarray) -> np.ndarray:
        return np.array([turn[1] * self._focal[0], -turn[0] * self._focal[1], turn[2]])

    def camera(self, camera: Camera, motion: np.ndarray, grow: float) -> Camera:
        turn = Rotation.from_rotvec([0, 0, motion[2]]).as_matrix()
        return dataclasses.replace(
            camera, world_to_camera=_turned(camera, turn),
            cx=camera.cx + grow * motion[0], cy=camera.cy + grow * motion[1],
        )  # fmt: skip


MODELS: dict[str, type[PictureMotion]] = {"turn": Turn, "shift": Shift}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AlignmentFit:
    """A motion (3,), the motions that each half of the picture says, and what is left, in squares
    of gray levels."""

    motion: np.ndarray
    halves: tuple[np.ndarray, np.ndarray]
    cost: float


class Alignment:
    """Finds how a picture (H, W) of gray levels moved, where free (H, W) bool says it is of use.

    Gauss-Newton with the first picture's gradients (Lucas and Kanade 1981; Baker and Matthews 2004)
    and weights that leave out what moves by itself.
    """

    def __init__(self, first: np.ndarray, free: np.ndarray):
        self._free = free.copy()
        for side in (slice(None, EDGE), slice(-EDGE, None)):
            self._free[side] = self._free[:, side] = False
        rows, columns = np.indices(first.shape)
        self._xy = np.stack([columns + 0.5, rows + 0.5], axis=-1)
        smooth = _smooth(first)
        gy, gx = np.gradient(smooth)
        strong = np.where(self._free, np.hypot(gx, gy), -1.0)
        if self._free.sum() > PIXELS:
            self._free &= strong >= np.partition(strong.ravel(), -PIXELS)[-PIXELS]
        self._values = smooth[self._free]
        self._gradient = np.stack([gx, gy], axis=-1)[self._free]
        half = rows * BLOCKS // first.shape[0] + columns * BLOCKS // first.shape[1]
        self._half = (half % 2 == 0)[self._free]

    def fit(self, model: PictureMotion, image: np.ndarray, start: np.ndarray) -> AlignmentFit:
        """The motion to another picture (H, W), near a first guess (3,)."""
        motion = np.array(start, dtype=float)
        height, width = image.shape
        # OpenCV's cubics would pull a shift to whole pixels, by up to 0.05 px.
        spline = ndimage.spline_filter(_smooth(image), order=3, output=np.float32)
        xy = self._xy[self._free]
        slopes = model.slopes(xy)
        J = np.einsum("nd,ndk->nk", self._gradient, slopes)
        reach = np.abs(model.slopes(np.array([0.0, 0.0]))).max(axis=0)  # px per unit, at a corner
        for _ in range(ROUNDS):
            x, y = model.places(xy, motion).T - 0.5
            seen = ndimage.map_coordinates(spline, [y, x], mode="nearest", prefilter=False)
            inside = (x > EDGE) & (y > EDGE) & (x < width - EDGE) & (y < height - EDGE)
            error = seen - self._values
            error = error - np.median(error[inside]) if inside.any() else error
            usual = MAD_TO_SIGMA * float(np.median(np.abs(error[inside]))) if inside.any() else 1.0
            share = np.minimum((error / (TUKEY * max(usual, 1e-3))) ** 2, 1.0)
            weight = inside * (1 - share) ** 2
            step = _step(J, weight, error)
            motion = motion - step
            if (np.abs(step) * reach).max() < SHORTEST:
                break
        halves = [motion - _step(J, weight * half, error) for half in (self._half, ~self._half)]
        # Beyond what the weights leave out everything is as bad.
        cost = float((1 - (1 - share) ** 3)[inside].mean()) * usual**2 if inside.any() else np.inf
        return AlignmentFit(motion=motion, halves=(halves[0], halves[1]), cost=cost)


def _step(J: np.ndarray, weight: np.ndarray, error: np.ndarray) -> np.ndarray:
    normal = (J * weight[:, None]).T @ J
    damped = normal + 1e-9 * (np.trace(normal) + 1) * np.eye(3)
    return np.linalg.solve(damped, J.T @ (weight * error))


def _smooth(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), SMOOTH)


def _turned(camera: Camera, turn: np.ndarray) -> np.ndarray:
    """The matrix of a camera whose axes are turned, on the spot."""
    pose = np.eye(4)
    pose[:3, :3] = turn @ camera.rotation
    pose[:3, 3] = -pose[:3, :3] @ camera.position
    return pose
