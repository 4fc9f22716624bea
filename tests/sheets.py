"""Flat textured sheets in flight, ray-cast: a clip of several objects with a known motion."""

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation
from turning import rays, waves

from renderers.camera import Camera


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A square sheet that faces the camera in frame 0.

    center: (3,) m, velocity: (3,) m/s, in frame 0; acceleration: (3,) m/s^2; spin: rad/s about its
    normal; half: of its side, m.
    """

    center: tuple[float, float, float]
    velocity: tuple[float, float, float]
    acceleration: tuple[float, float, float]
    spin: float = 0.0
    half: float = 0.12

    def pose(self, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Rotation (3, 3) and center (3,) m at t s."""
        center, speed, pull = map(np.asarray, (self.center, self.velocity, self.acceleration))
        turn = Rotation.from_rotvec([0, self.spin * t, 0]).as_matrix()
        return turn, center + speed * t + pull / 2 * t**2


def film_sheets(
    sheets: list[Sheet], camera: Camera, frames: int, fps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Video (T, H, W, 3) uint8, labels (T, H, W) int, and depth (H, W) m of frame 0; earlier sheets
    lie before later ones. The camera looks along +y from the origin."""
    directions = rays(camera, 2)
    ground = 60 + 0.35 * waves(7, 0.5)(directions * (6 / directions[..., 1:2]))
    skins = [waves(number, 0.04) for number in range(len(sheets))]
    rng = np.random.default_rng(1)
    shape = (camera.height, 2, camera.width, 2)
    video, labels, first = [], [], np.zeros((camera.height, camera.width))
    for t in np.arange(frames) / fps:
        color, label, depth = ground.copy(), np.zeros(directions.shape[:2], int), 0 * ground[..., 0]
        for number, sheet in reversed(list(enumerate(sheets))):
            R, center = sheet.pose(t)
            z = center[1] / directions[..., 1]
            at = (z[..., None] * directions - center) @ R
            on = (np.abs(at[..., [0, 2]]) < sheet.half).all(axis=-1)
            color[on], label[on], depth[on] = skins[number](at[on]), number + 1, z[on]
        image = color.reshape(*shape, 3).mean(axis=(1, 3)) + rng.normal(0, 1, (*first.shape, 3))
        video.append(np.clip(image, 0, 255).astype(np.uint8))
        labels.append(label[::2, ::2])
        first = depth[::2, ::2] if t == 0 else first
    return np.stack(video), np.stack(labels), first
