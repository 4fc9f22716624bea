"""A textured ball in flight, ray-cast: a clip in which what is seen at first turns away."""

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from renderers.camera import Camera, camera_from_fov


FPS, RADIUS = 24, 0.15
CAMERA = camera_from_fov(200, 150, 24.0)
AXIS = np.array([0.3, 0.2, 1.0]) / np.linalg.norm([0.3, 0.2, 1.0])


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Ball:
    """A clip of a ball: video (T, H, W, 3), its pixels per frame (T, H, W), depth of frame 0, and
    its pose in each frame, rotation (T, 3, 3) and center (T, 3) m."""

    video: np.ndarray
    masks: np.ndarray
    depth: np.ndarray
    rotation: np.ndarray
    center: np.ndarray

    def carry(self, points0):
        """Where points (N, 3) m of frame 0 are in all frames, (T, N, 3) m."""
        body = (points0 - self.center[0]) @ self.rotation[0]
        return np.einsum("tij,nj->tni", self.rotation, body) + self.center[:, None]


def waves(seed, wavelength, count=16):
    """A random smooth color (..., 3), 0..255, of points (..., 3) m."""
    rng = np.random.default_rng(seed)
    k = rng.normal(size=(count, 3))
    k *= (
        2
        * np.pi
        / (wavelength * rng.uniform(0.8, 4, (count, 1)))
        / np.linalg.norm(k, axis=1, keepdims=True)
    )
    phase, amplitude = rng.uniform(0, 2 * np.pi, count), rng.normal(size=(count, 3))
    return lambda p: np.clip(
        128 + 55 * np.sin(p @ k.T + phase) @ amplitude / np.sqrt(count / 2), 0, 255
    )


def rays(camera: Camera, parts: int):
    """Directions (H parts, W parts, 3) through parts x parts places of each pixel."""
    step = (np.arange(parts) + 0.5) / parts
    u, v = ((np.arange(n)[:, None] + step).ravel() for n in (camera.width, camera.height))
    return camera.unproject(np.stack(np.meshgrid(u, v), axis=-1), 1.0) - camera.position


def ball(spin, frames):
    """A thrown ball that turns at spin rad/s."""
    directions, skin, ground = rays(CAMERA, 2), waves(0, 0.03), waves(7, 0.5)
    wall = 60 + 0.35 * ground(directions * (6 / directions[..., 1:2])) + [0, 10, 40]
    rng = np.random.default_rng(1)
    shape = (CAMERA.height, 2, CAMERA.width, 2)
    record = {"video": [], "masks": [], "rotation": [], "center": []}
    for t in np.arange(frames) / FPS:
        R = Rotation.from_rotvec(spin * t * AXIS).as_matrix()
        center = np.array([-0.2 + 0.8 * t, 2 + 0.2 * t, -0.1 + 1.2 * t - 2.2 * t**2])
        at, d = (CAMERA.position - center) @ R, directions @ R
        a, b = (d * d).sum(-1), d @ at
        inside = b * b - a * (at @ at - RADIUS**2)
        on, z = inside > 0, (-b - np.sqrt(np.maximum(inside, 0))) / a
        color = np.where(on[..., None], skin(at + z[..., None] * d), wall)
        image = color.reshape(*shape, 3).mean(axis=(1, 3))
        image += rng.normal(0, 1, image.shape)
        record["video"].append(np.clip(image, 0, 255).astype(np.uint8))
        cover = on.reshape(shape)
        record["masks"].append(cover.mean(axis=(1, 3)) > 0.5)
        record["rotation"].append(R)
        record["center"].append(center)
        if t == 0:
            depth = np.where(on, z, 0).reshape(shape).sum(axis=(1, 3))
            depth /= np.maximum(cover.sum(axis=(1, 3)), 1)
    return Ball(depth=depth, **{name: np.stack(values) for name, values in record.items()})
