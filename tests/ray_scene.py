"""Opaque, textured scenes from a ray caster that shares no code with the renderer."""

import numpy as np

from renderers.camera import Camera
from renderers.datasets import Photograph
from renderers.orbit import look_at


def texture(points: np.ndarray) -> np.ndarray:
    """A smooth color (n, 3) at each point (n, 3) m, nowhere the same for long."""
    rng = np.random.default_rng(3)
    total = np.zeros(points.shape)
    for k in range(4):
        total += np.sin(points @ rng.normal(size=(3, 3)).T * (2 + 2 * k) + rng.uniform(0, 6, 3))
    return (0.5 + 0.15 * total).clip(0, 1)


def photograph(camera: Camera, box: tuple, outside: bool = True) -> tuple[Photograph, np.ndarray]:
    """What a camera sees of a box, and the points (H, W, 3) m that it sees.

    box: its corners; outside: whether the camera looks at it from outside, over an endless floor
    at z = 0, and not from inside.
    """
    v, u = np.mgrid[: camera.height, : camera.width] + 0.5
    ahead = camera.unproject(np.stack([u, v], axis=-1), 1.0) - camera.position
    with np.errstate(divide="ignore", invalid="ignore"):
        walls = [(np.array(corner) - camera.position) / ahead for corner in box]
        near = np.minimum(*walls).max(axis=-1)
        far = np.maximum(*walls).min(axis=-1)
        floor = -camera.position[2] / ahead[..., 2]
    if outside:
        floor = np.where(floor > 0, floor, 1e3)
        depth = np.where((near < far) & (near > 0), near, floor)
    else:
        depth = far
    points = camera.position + depth[..., None] * ahead
    rgb = texture(points.reshape(-1, 3)).reshape(points.shape).astype(np.float32)
    return Photograph(rgb=rgb, alpha=np.ones(rgb.shape[:2], np.float32)), points


BOX = ((-0.5, -0.4, 0.0), (0.5, 0.4, 0.7))
ROOM = ((-3.0, -2.5, 0.0), (3.0, 2.5, 2.6))
LENS = {"width": 64, "height": 48, "fx": 60.0}


def ring(count: int = 16) -> list[Camera]:
    """Cameras around the box that look at it."""
    angles = 2 * np.pi * np.arange(count) / count
    return [
        look_at((2.4 * np.cos(a), 2.4 * np.sin(a), 1.0 + 0.3 * (k % 2)), (0, 0, 0.3), **LENS)
        for k, a in enumerate(angles)
    ]


def flight(side: int = 5, jitter: float = 0.0) -> list[Camera]:
    """Cameras on a grid 4 m above the box that look down, up to a jitter, rad."""
    rng = np.random.default_rng(0)
    places = [(x - (side - 1) / 2, y - (side - 1) / 2) for x in range(side) for y in range(side)]
    return [
        look_at((x, y, 4.0), (x + 4 * dx, y + 4 * dy, 0.0), up=(0, 1, 0), **LENS)
        for (x, y), (dx, dy) in zip(places, jitter * rng.normal(size=(side**2, 2)), strict=True)
    ]


def outward(count: int = 24) -> list[Camera]:
    """Cameras in the middle of the room that look out."""
    turns = [(np.cos(a), np.sin(a)) for a in 2 * np.pi * np.arange(count) / count]
    return [
        look_at((0.5 * x, 0.5 * y, 1.4), (2 * x, 2 * y, 1.2 + 0.4 * (k % 3)), **LENS)
        for k, (x, y) in enumerate(turns)
    ]
