"""The camera that a viewer's mouse moves: around a center, nearer and farther."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from renderers.camera import Camera
from renderers.orbit import look_at, outward
from renderers.viewer.stage import Stage


FOV = 40.0  # degrees, vertical
TURN = 0.35  # degrees per px of a drag
CLOSER = 0.005  # logarithm of the distance, per px of a drag


class Eye:
    """A camera that looks at a center from around it, at first from a stage's side; or one that is
    given."""

    def __init__(self, stage: Stage):
        self.up, self.azimuth, self.elevation = stage.up, stage.azimuth, stage.elevation
        self.center, self.distance = np.zeros(3), 1.0
        self.given: Camera | None = None

    def see(self, box: np.ndarray, share: float = 1.0) -> None:
        """Look at all of a box (2, 3) m; share: width of the free view by its height."""
        self.given, self.center = None, np.mean(box, axis=0)
        slope = math.tan(math.radians(FOV) / 2) * min(1.0, share)
        size = max(float(np.linalg.norm(box[1] - box[0])), 1e-6)
        self.distance = 0.5 * size / math.sin(math.atan(slope))

    def drag(self, way: str, camera: Camera, dx: float, dy: float) -> None:
        """Turn, move across the view of a camera, or zoom by a drag of so many px."""
        self.given = None
        if way == "turn":
            self.azimuth -= TURN * dx
            self.elevation = min(max(self.elevation + TURN * dy, -89.0), 89.0)
        elif way == "move":
            meters = self.distance / camera.fy
            self.center = self.center - meters * (dx * camera.rotation[0] + dy * camera.rotation[1])
        else:
            self.zoom(math.exp(CLOSER * dy))

    def zoom(self, factor: float) -> None:
        """Multiply the distance to the center."""
        self.given = None
        self.distance *= factor

    def next(self, cameras: Sequence[Camera]) -> None:
        """Go on to the next of these cameras; after the last, to its own."""
        at = next((i for i, camera in enumerate(cameras) if camera is self.given), -1) + 1
        self.given = cameras[at] if at < len(cameras) else None

    def camera(self, width: int, height: int, left: float, right: float) -> Camera:
        """The camera of a picture of which only the columns from left to right are free, px."""
        middle, given = (left + right) / 2, self.given
        size: dict[str, Any] = {"width": width, "height": height}
        if given is None:
            side = outward(self.azimuth, self.elevation, self.up)
            place = self.center + self.distance * side
            return look_at(place, self.center, self.up, fov=FOV, cx=middle, **size)
        zoom = min((right - left) / given.width, height / given.height)
        return dataclasses.replace(
            given,
            fx=zoom * given.fx,
            fy=zoom * given.fy,
            cx=middle + zoom * (given.cx - given.width / 2),
            cy=height / 2 + zoom * (given.cy - given.height / 2),
            **size,
        )
