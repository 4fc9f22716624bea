"""A camera turned to look at a place in the picture of another: there a ball is a circle."""

import numpy as np
from scipy.spatial.transform import Rotation

from renderers.camera import Camera


class Turned:
    """The picture of a camera that is turned to look at a place (2,) px in the picture of another,
    with its focal length; there that place is (0, 0)."""

    def __init__(self, camera: Camera, place: np.ndarray):
        self.focal = float(np.sqrt(camera.fx * camera.fy))
        self._scale = np.array([camera.fx, camera.fy])
        self._middle = np.array([camera.cx, camera.cy])
        ahead = self._rays(np.asarray(place, dtype=np.float64))
        ahead = ahead / np.linalg.norm(ahead)
        axis = np.cross(ahead, [0.0, 0.0, 1.0])
        angle = float(np.arctan2(np.linalg.norm(axis), ahead[2]))
        length = max(float(np.linalg.norm(axis)), 1e-300)
        self._turn = Rotation.from_rotvec(axis * (angle / length)).as_matrix()

    def _rays(self, xy: np.ndarray) -> np.ndarray:
        flat = (xy - self._middle) / self._scale
        return np.concatenate([flat, np.ones((*flat.shape[:-1], 1))], axis=-1)

    def see(self, xy: np.ndarray) -> np.ndarray:
        """(..., 2) px in the turned picture of places xy (..., 2) px of the other."""
        turned = self._rays(xy) @ self._turn.T
        return self.focal * turned[..., :2] / turned[..., 2:]

    def back(self, xy: np.ndarray) -> np.ndarray:
        """The reverse of see."""
        rays = np.concatenate([xy / self.focal, np.ones((*xy.shape[:-1], 1))], axis=-1) @ self._turn
        return self._middle + self._scale * rays[..., :2] / rays[..., 2:]

    def area(self, place: np.ndarray) -> float:
        """How many times larger things near a place (2,) px are in the other picture, in area."""
        step = self.back(self.see(place) + np.eye(2)) - place
        return abs(float(np.linalg.det(step)))
