"""A textured ball in flight, ray-cast: a clip in which what is seen at first turns away."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from renderers.camera import Camera, camera_from_fov, camera_record
from renderers.video import write_video


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


def thrown(t):
    """The center (3,) m of a ball at t s."""
    return np.array([-0.2 + 0.8 * t, 2 + 0.2 * t, -0.1 + 1.2 * t - 2.2 * t**2])


def ball(
    spin, frames, path: Callable[[float], np.ndarray] = thrown, *,
    camera: Camera = CAMERA, grain: float = 0.03, fps: float = FPS,
):  # fmt: skip
    """A ball that turns at spin rad/s, its center at path(t) (3,) m; grain: of its skin, m."""
    directions, skin, ground = rays(camera, 2), waves(0, grain), waves(7, 0.5)
    wall = 60 + 0.35 * ground(directions * (6 / directions[..., 1:2])) + [0, 10, 40]
    rng = np.random.default_rng(1)
    shape = (camera.height, 2, camera.width, 2)
    record = {"video": [], "masks": [], "rotation": [], "center": []}
    for t in np.arange(frames) / fps:
        R = Rotation.from_rotvec(spin * t * AXIS).as_matrix()
        center = path(t)
        at, d = (camera.position - center) @ R, directions @ R
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


# Clips of a ball under gravity, of which 1.1 m show.
WIDE, FAST = camera_from_fov(220, 200, 21.0), 30
HEIGHT, GRAVITY, KEPT = -0.5, 9.81, 0.75  # of the floor, m; m/s^2; of the speed after a blow


def falling(t):
    """The center of a ball that is thrown up."""
    return np.array([-0.3 + 0.9 * t, 3 + 0.2 * t, -0.3 + 3.1 * t - GRAVITY / 2 * t**2])


def resting(t):
    """The center of a ball that lies still."""
    return np.array([0.0, 3, HEIGHT + RADIUS])


def bouncing(t):
    """The center of a ball that is dropped and bounces off the floor."""
    height, fall = 0.6, np.sqrt(2 * 0.6 / GRAVITY)
    start, speed = -fall, KEPT * GRAVITY * fall
    up = height - GRAVITY / 2 * t**2
    while t > fall:
        start, fall = fall, fall + 2 * speed / GRAVITY
        up = speed * (t - start) - GRAVITY / 2 * (t - start) ** 2
        speed *= KEPT
    return np.array([-0.25 + 0.6 * t, 3, HEIGHT + RADIUS + up])


def write_clip(folder: Path, clip: Ball, camera: Camera = WIDE, fps: float = FAST) -> None:
    """Write video.mp4, camera.json, mask.png and depth.png of a clip."""
    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / "video.mp4", clip.video, fps, quality=10)
    record = camera_record(camera) | {"fps": fps, "depth_scale": 4000}
    (folder / "camera.json").write_text(json.dumps(record))
    cv2.imwrite(str(folder / "mask.png"), 255 * clip.masks[0].astype(np.uint8))
    depth = np.where(clip.masks[0], clip.depth, 0)
    cv2.imwrite(str(folder / "depth.png"), (4000 * depth).round().astype(np.uint16))
