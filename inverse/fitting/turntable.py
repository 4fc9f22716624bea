"""A film around a fitted scene, from where the cameras tell what it looks like."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from inverse.fitting.config import FitConfig
from inverse.fitting.region import Region
from inverse.runs.training import BACKGROUNDS
from renderers.camera import Camera
from renderers.images import to_bytes
from renderers.orbit import look_at, orbit
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import render
from renderers.video import write_video


FPS = 30.0
CONE = 15.0  # degrees by which a film of views that look the same way leaves their direction


def write_turntable(
    path: Path,
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    region: Region,
    frames: int,
    config: FitConfig,
) -> None:
    """Write a video of the scene, with the cameras of `film_cameras`."""
    behind = BACKGROUNDS.get(config.background, BACKGROUNDS["white"])
    tensors: dict[str, Any] = gaussians.tensors()

    def pictures() -> Iterator[np.ndarray]:
        for camera in tqdm(film_cameras(cameras, region, frames), desc="video", disable=None):
            image = render(camera, **tensors, background=behind, antialiased=config.antialiased)
            yield to_bytes(image.rgb)

    write_video(path, pictures(), FPS)


def film_cameras(cameras: Sequence[Camera], region: Region, frames: int) -> list[Camera]:
    """The cameras of a film of a scene, which repeats without a halt.

    Where the cameras stand around the scene, the film goes around it too, at their mean height and
    distance; where they all look the same way, it circles about that direction; where they stand
    inside and look out, it turns around in their midst.
    """
    if region.cameras == "around":
        return _around(cameras, region, frames)
    first = cameras[0]
    up = -np.mean([camera.rotation[1] for camera in cameras], axis=0)
    eyes = np.array([camera.position for camera in cameras])
    lens: dict[str, Any] = {
        "width": first.width,
        "height": first.height,
        "fx": float(np.median([camera.fx / camera.width for camera in cameras])) * first.width,
    }
    turns = 2 * np.pi * np.arange(frames) / frames
    if region.cameras == "inside":
        # From the camera nearest to their middle, which is certainly in the open.
        middle = np.median(eyes, axis=0)
        eye = eyes[np.linalg.norm(eyes - middle, axis=1).argmin()]
        tilts = [camera.rotation[2] @ (up / np.linalg.norm(up)) for camera in cameras]
        right, ahead, up = _frame(np.mean([c.rotation[2] for c in cameras], axis=0), up)
        rise = float(np.clip(np.mean(tilts), -0.5, 0.5))
        return [
            look_at(eye, eye + np.cos(t) * ahead + np.sin(t) * right + rise * up, up, **lens)
            for t in turns
        ]
    direction = np.mean([camera.rotation[2] for camera in cameras], axis=0)
    direction /= np.linalg.norm(direction)
    right, upward, _ = _frame(up, direction)
    distance = float(np.median((region.center - eyes) @ direction))
    if not distance > 0:
        distance = region.half
    lean = distance * np.tan(np.radians(CONE))
    return [
        look_at(
            region.center - distance * direction + lean * (np.cos(t) * right + np.sin(t) * upward),
            region.center,
            upward,
            **lens,
        )
        for t in turns
    ]


def _around(cameras: Sequence[Camera], region: Region, frames: int) -> list[Camera]:
    eyes = np.array([camera.position for camera in cameras]) - region.center
    up = -np.mean([camera.rotation[1] for camera in cameras], axis=0)
    up /= np.linalg.norm(up)
    radius = float(np.linalg.norm(eyes, axis=1).mean())
    elevation = float(np.degrees(np.arcsin(np.clip((eyes @ up).mean() / radius, -0.9, 0.9))))
    first = cameras[0]
    return orbit(
        region.center.tolist(),
        radius,
        up=up.tolist(),
        elevation=elevation,
        frames=frames,
        fov=float(np.degrees(2 * np.arctan(first.height / (2 * first.fy)))),
        width=first.width,
        height=first.height,
    )


def _frame(first: np.ndarray, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three unit vectors: across, the part of first that is at right angles to axis, and axis."""
    axis = axis / np.linalg.norm(axis)
    first = first - (first @ axis) * axis
    if np.linalg.norm(first) < 1e-6:
        first = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    first = first / np.linalg.norm(first)
    return np.cross(first, axis), first, axis
