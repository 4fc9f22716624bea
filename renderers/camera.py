"""Pinhole cameras: one record, OpenCV axes inside (x right, y down, z forward).

Image coordinates are in pixels with the origin at the *corner* of the top-left pixel, so the
center of pixel (row i, column j) lies at (j + 0.5, i + 0.5), as in gsplat and COLMAP. Trackers
that count from the centers of pixels (OpenCV, CoTracker) are converted where they are called.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from taichi_phys.checks import finite_number, set_fields, whole_number


ORTHOGONAL = 1e-3  # by which R R^T may differ from the identity: files round to a few digits


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Camera:
    """A calibrated pinhole camera without distortion.

    fx, fy, cx, cy: focal lengths and principal point, px; width, height: of the image, px;
    world_to_camera: (4, 4) rotation and translation, m. Raises ValueError for values out of range,
    and for a matrix that is not finite, does not rotate, or mirrors.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    world_to_camera: np.ndarray

    def __post_init__(self) -> None:
        for name in ("fx", "fy"):
            value = getattr(self, name)
            finite_number(f"camera {name}", value, "a positive number", low=0, open_end=True)
        for name in ("cx", "cy"):
            finite_number(f"camera {name}", getattr(self, name))
        for name in ("width", "height"):
            value = getattr(self, name)
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            expected = "a whole number of pixels, 1 or more"
            set_fields(self, **{name: whole_number(f"camera {name}", value, expected, low=1)})
        pose = np.asarray(self.world_to_camera, dtype=np.float64)
        if pose.shape != (4, 4) or not np.isfinite(pose).all():
            raise ValueError(
                f"camera world_to_camera: got shape {pose.shape}, expected a finite (4, 4) matrix"
            )
        rotation = pose[:3, :3]
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=ORTHOGONAL):
            raise ValueError(
                "camera world_to_camera: its 3x3 part is not a rotation, expected rows of length 1 "
                "at right angles"
            )
        if np.linalg.det(rotation) < 0:
            raise ValueError(
                "camera world_to_camera: its 3x3 part mirrors (its determinant is -1), expected a "
                "rotation to axes x right, y down, z forward"
            )
        set_fields(self, world_to_camera=pose)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its pictures, px."""
        return self.width, self.height

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3) world-to-camera rotation."""
        return self.world_to_camera[:3, :3]

    @property
    def position(self) -> np.ndarray:
        """(3,) optical center in the world, m."""
        return -self.rotation.T @ self.world_to_camera[:3, 3]

    @property
    def K(self) -> np.ndarray:
        """(3, 3) intrinsic matrix, px."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Transform world points (..., 3) m to camera axes (..., 3) m."""
        return points @ self.rotation.T + self.world_to_camera[:3, 3]

    def resized(self, width: int, height: int) -> "Camera":
        """The camera of the same picture at another size, px.

        A picture whose sides are scaled differently is squeezed, not cut.
        """
        sx, sy = width / self.width, height / self.height
        return dataclasses.replace(
            self,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=self.cx * sx,
            cy=self.cy * sy,
            width=width,
            height=height,
        )

    def relative_to(self, origin: np.ndarray) -> "Camera":
        """The same camera in a world whose origin is at origin (3,) m of this one."""
        pose = self.world_to_camera.copy()
        pose[:3, 3] += self.rotation @ np.asarray(origin, dtype=np.float64)
        return dataclasses.replace(self, world_to_camera=pose)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project world points (..., 3) m to image coordinates (..., 2) px and depth (...,) m."""
        local = self.to_camera(np.asarray(points, dtype=np.float64))
        depth = local[..., 2]
        u = self.fx * local[..., 0] / depth + self.cx
        v = self.fy * local[..., 1] / depth + self.cy
        return np.stack([u, v], axis=-1), depth

    def unproject(self, pixels: np.ndarray, depth: np.ndarray | float) -> np.ndarray:
        """Find the world points (..., 3) m at image coordinates (..., 2) px.

        depth: (...,) m, along the optical axis.
        """
        pixels = np.asarray(pixels, dtype=np.float64)
        x = (pixels[..., 0] - self.cx) / self.fx * depth
        y = (pixels[..., 1] - self.cy) / self.fy * depth
        local = np.stack([x, y, np.broadcast_to(depth, x.shape)], axis=-1)
        return (local - self.world_to_camera[:3, 3]) @ self.rotation


def camera_from_fov(width: int, height: int, fov: float) -> Camera:
    """Make a camera at the origin that looks along +y with z up.

    width, height: px; fov: vertical field of view, degrees. Raises ValueError for values out of
    range.
    """
    if not 0 < fov < 180:
        raise ValueError(f"fov: got {fov}, expected degrees between 0 and 180")
    focal = 0.5 * height / math.tan(math.radians(fov) / 2)
    pose = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    return Camera(
        fx=focal,
        fy=focal,
        cx=width / 2,
        cy=height / 2,
        width=width,
        height=height,
        world_to_camera=pose,
    )


def camera_record(camera: Camera) -> dict[str, Any]:
    """The camera under the keys of a camera.json, as JSON can hold it."""
    record = {field.name: getattr(camera, field.name) for field in dataclasses.fields(Camera)}
    record["world_to_camera"] = np.asarray(camera.world_to_camera).tolist()
    return record


def load_camera(path: str | Path) -> tuple[Camera, dict]:
    """Read a camera.json with fx fy cx cy width height world_to_camera.

    Returns the camera and the other keys of the file. Where world_to_camera is a list of matrices,
    of a camera that moves, the camera is that of the first, and the key `path` has all. Raises
    ValueError, which names the file, if it is missing, is not valid JSON, lacks a key, or does not
    describe a camera.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8-sig"))  # some editors write a BOM
    except OSError as error:
        raise ValueError(f"camera {path}: cannot be read ({error.strerror})") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"camera {path}: not valid JSON ({error})") from None
    if not isinstance(record, dict):
        raise ValueError(
            f"camera {path}: got JSON of type {type(record).__name__}, expected a JSON object with "
            "the keys of a camera"
        )
    keys = [field.name for field in dataclasses.fields(Camera)]
    missing = [key for key in keys if key not in record]
    if missing:
        raise ValueError(f"camera {path}: missing {', '.join(missing)}, expected {', '.join(keys)}")
    extra = {key: value for key, value in record.items() if key not in keys}
    poses = record["world_to_camera"]
    several = isinstance(poses, list) and bool(poses) and np.ndim(poses[0]) == 2
    same = {key: record[key] for key in keys if key != "world_to_camera"}
    try:
        cameras = [Camera(**same, world_to_camera=pose) for pose in (poses if several else [poses])]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return cameras[0], extra | ({"path": cameras} if several else {})
