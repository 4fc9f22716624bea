"""Reading transforms*.json of NeRF-synthetic, D-NeRF, NVFi, nerfstudio and instant-ngp.

The poses in a file are camera-to-world with OpenGL axes (x right, y up, z back) and are converted
to OpenCV's axes. nerfstudio's `applied_transform` is not applied: the poses already contain it.
"""

import functools
import json
import math
from collections import ChainMap
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from renderers.datasets.locate import Finder
from renderers.datasets.photograph import image_size
from renderers.datasets.views import CONVERT, Lens, View, build_view, existing, make_lens
from taichi_phys.rotations import nearest_rotation


PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
FISHEYE = ("OPENCV_FISHEYE", "FISHEYE", "SIMPLE_FISHEYE", "RADIAL_FISHEYE", "SIMPLE_RADIAL_FISHEYE")
# nerfstudio's name for parallel rays: fl_x and fl_y are the pixels for each unit of length.
ORTHOGRAPHIC = "ORTHOPHOTO"
# A pinhole camera so many widths of the picture away sees rays that are as good as parallel: at the
# rim, a depth of one width shifts what it sees by 1 / 4000 of the width.
AWAY = 2000.0

OPENGL_TO_OPENCV = np.array([1.0, -1.0, -1.0])


def read_json(file: Path) -> dict:
    """The object in a JSON file. Raises ValueError if the file holds anything else."""
    try:
        record = json.loads(file.read_text(encoding="utf-8-sig"))  # some editors write a BOM
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError
        raise ValueError(f"{file}: not valid JSON ({error})") from None
    if not isinstance(record, dict):
        raise ValueError(f"{file}: got a {type(record).__name__}, expected a JSON object")
    return record


def read_views(file: Path, *, split: str | None = None, downscale: int = 1) -> list[View]:
    """The views of a transforms*.json, in its order, without the views whose image is missing.

    split: keeps the frames in the file's list {split}_filenames, where a file without lists is all
    "train", None keeps all; downscale: divides the width and height of the images. Raises
    ValueError, which names the file and the frame.
    """
    meta = read_json(file)
    frames = [(_name(file, frame), frame) for frame in _frames(file, meta)]
    if split is not None:
        frames = _of_split(file, meta, frames, split)
    finder = Finder(file.parent, downscale)
    found = existing([(frame, finder.find(frame[0])) for frame in frames], file)
    # In a file without w and h, all images must have the size of the first, which load() checks.
    size = functools.cache(lambda: image_size(found[0][1].path))
    views = []
    for (name, frame), image in found:
        where = f"{file}: frame {name}"
        distortion, fisheye = _distortion(where, frame)
        mask = frame.get("mask_path")
        views.append(
            build_view(
                where,
                *_camera(where, frame, size),
                distortion=distortion,
                fisheye=fisheye,
                downscale=downscale,
                image=image,
                name=name,
                time=None if frame.get("time") is None else _number(where, frame, "time"),
                mask_path=None if mask is None else file.parent / _posix(str(mask)),
                sized_like=None if "w" in frame and "h" in frame else found[0][1].path,
            )
        )
    return views


def read_lenses(file: Path, size: tuple[int, int]) -> dict[str, Lens]:
    """The cameras of a transforms*.json by the names of their images, which need not be there.

    size: (width, height) px, where the file does not say it. Raises ValueError, which names the
    file and the frame.
    """
    found = {}
    for frame in _frames(file, read_json(file)):
        name = _name(file, frame)
        where = f"{file}: frame {name}"
        intrinsics, pose = _camera(where, frame, lambda: size)
        distortion, fisheye = _distortion(where, frame)
        found[name] = make_lens(where, intrinsics, pose, distortion, fisheye=fisheye)
    return found


def applied_transform(file: Path, meta: dict) -> np.ndarray:
    """The transform (3, 4) from COLMAP's world to the world of the poses. Raises ValueError."""
    return _matrix(file, meta.get("applied_transform", np.eye(4)), "applied_transform")[:3]


def _frames(file: Path, meta: dict) -> list[Mapping]:
    """The frames; keys that a frame lacks are taken from its camera (NVFi) and from the file."""
    cameras = [meta] if "frames" in meta else meta.get("data", [meta])
    if isinstance(cameras, dict):
        cameras = list(cameras.values())
    if not isinstance(cameras, list) or not all(isinstance(camera, dict) for camera in cameras):
        raise ValueError(f"{file}: data is not a list of cameras or an object of cameras")
    frames: list[Mapping] = []
    for camera in cameras:
        listed = camera.get("frames")
        if listed is None:
            raise ValueError(f"{file}: missing key frames")
        if not isinstance(listed, list) or not all(isinstance(frame, dict) for frame in listed):
            raise ValueError(f"{file}: frames is {listed!r:.40}, expected a list of objects")
        frames += [ChainMap(frame, camera, meta) for frame in listed]
    if not frames:
        raise ValueError(f"{file}: frames is empty, expected at least one")
    return frames


def _name(file: Path, frame: Mapping) -> str:
    path = frame.get("file_path")
    if not isinstance(path, str) or not path:
        raise ValueError(f"{file}: a frame has file_path {path!r}, expected the path of an image")
    return _posix(path)


def _posix(path: str) -> str:
    """A path, which may come from Windows, with forward slashes and without a leading ./"""
    return str(PurePosixPath(path.replace("\\", "/")))


def _of_split(file: Path, meta: dict, frames: list[tuple], split: str) -> list[tuple]:
    key, lists = f"{split}_filenames", [k for k in meta if k.endswith("_filenames")]
    if key not in meta:
        if split == "train" and not lists:
            return frames
        advice = f"only {', '.join(lists)}" if lists else "load 'train' and use hold_out"
        raise ValueError(f"{file}: has no {key}, so no split {split!r}; {advice}")
    if not isinstance(meta[key], list) or not meta[key]:
        raise ValueError(f"{file}: {key} is {meta[key]!r:.40}, expected a list of image paths")
    wanted = {_posix(str(path)) for path in meta[key]}
    unknown = sorted(wanted - {name for name, _ in frames})
    if unknown:
        raise ValueError(f"{file}: {key} names {unknown[0]}, which is not one of its frames")
    return [frame for frame in frames if frame[0] in wanted]


def _number(where: str | Path, frame: Mapping, key: str, default: float | None = None) -> float:
    value = frame.get(key, default)
    if value is None:
        raise ValueError(f"{where}: missing key {key}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where}: {key} is {value!r}, expected a finite number")
    return float(value)


def _camera(
    where: str, frame: Mapping, size: Callable[[], tuple[int, int]]
) -> tuple[dict, np.ndarray]:
    """Intrinsics and world-to-camera matrix of a frame."""
    intrinsics, matrix = _intrinsics(where, frame, size), _world_to_camera(where, frame)
    if frame.get("camera_model") == ORTHOGRAPHIC:
        distance = AWAY * intrinsics["width"] / intrinsics["fx"]
        intrinsics |= {key: distance * intrinsics[key] for key in ("fx", "fy")}
        matrix[2, 3] += distance
    return intrinsics, matrix


def _intrinsics(where: str, frame: Mapping, size: Callable[[], tuple[int, int]]) -> dict:
    if "w" in frame and "h" in frame:
        width, height = (_number(where, frame, key) for key in ("w", "h"))
        if not width.is_integer() or not height.is_integer():
            raise ValueError(f"{where}: w, h are {width}, {height}, expected whole numbers")
    else:
        width, height = size()
    if "fl_x" in frame:
        fx = _number(where, frame, "fl_x")
        fy = _number(where, frame, "fl_y", fx)
    elif "camera_angle_x" in frame:
        fx = fy = _focal(where, frame, "camera_angle_x", width)
        if "camera_angle_y" in frame:
            fy = _focal(where, frame, "camera_angle_y", height)
    else:
        raise ValueError(f"{where}: missing key fl_x or camera_angle_x")
    cx = _number(where, frame, "cx", width / 2)
    cy = _number(where, frame, "cy", height / 2)
    return dict(fx=fx, fy=fy, cx=cx, cy=cy, width=int(width), height=int(height))


def _focal(where: str, frame: Mapping, key: str, side: float) -> float:
    angle = _number(where, frame, key)
    if not 0 < angle < math.pi:
        raise ValueError(f"{where}: {key} is {angle}, expected radians between 0 and pi")
    return 0.5 * side / math.tan(0.5 * angle)


def _distortion(where: str, frame: Mapping) -> tuple[tuple[float, ...], bool]:
    model = frame.get("camera_model", "OPENCV_FISHEYE" if frame.get("is_fisheye") else "OPENCV")
    keys = ("k1", "k2", "k3", "k4", "p1", "p2")
    k1, k2, k3, k4, p1, p2 = (_number(where, frame, key, 0.0) for key in keys)
    if model == ORTHOGRAPHIC:
        return (), False
    if model in FISHEYE:
        if p1 or p2:
            raise ValueError(f"{where}: p1, p2 are {p1}, {p2}, but a fisheye has only k1 to k4")
        return (k1, k2, k3, k4), True
    if model not in PERSPECTIVE:
        supported = ", ".join((*PERSPECTIVE, *FISHEYE, ORTHOGRAPHIC))
        raise ValueError(
            f"{where}: camera_model is {model!r}, expected one of {supported}; COLMAP converts "
            f"images of other cameras: {CONVERT}"
        )
    if k4:  # nerfstudio's fourth radial term, which is not OpenCV's k4
        raise ValueError(f"{where}: k4 is {k4}, which OpenCV undistorts for a fisheye only")
    return (k1, k2, p1, p2, k3), False


def _matrix(where: str | Path, value: object, key: str) -> np.ndarray:
    try:
        matrix = np.asarray(cast(ArrayLike, value), dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: {key} is not a matrix of numbers") from None
    if matrix.shape not in {(3, 4), (4, 4)}:
        raise ValueError(f"{where}: {key} has shape {matrix.shape}, expected (4, 4) or (3, 4)")
    last = [0.0, 0.0, 0.0, 1.0]
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, last])
    if not np.isfinite(matrix).all():
        raise ValueError(f"{where}: {key} has NaN or infinite values, expected finite ones")
    if not np.allclose(matrix[3], last, atol=1e-6):
        raise ValueError(f"{where}: the last row of {key} is not 0 0 0 1")
    return matrix


def _world_to_camera(where: str, frame: Mapping) -> np.ndarray:
    if "transform_matrix" not in frame:
        raise ValueError(f"{where}: missing key transform_matrix")
    pose = _matrix(where, frame["transform_matrix"], "transform_matrix")
    stretch = np.linalg.svd(pose[:3, :3], compute_uv=False)
    if stretch[2] <= 1e-8 * max(stretch[0], 1e-300):
        raise ValueError(f"{where}: transform_matrix cannot be inverted")
    # Blender keeps the scale of an object in its pose; it does not change the image of a point.
    if stretch[0] - stretch[2] > 1e-3 * stretch[0]:
        raise ValueError(
            f"{where}: the 3x3 part of transform_matrix stretches by {stretch.round(4).tolist()}, "
            "expected a rotation, times one scale at most"
        )
    if np.linalg.det(pose[:3, :3]) < 0:
        raise ValueError(
            f"{where}: transform_matrix mirrors (its determinant is negative), expected a rotation"
        )
    rotation = nearest_rotation(pose[:3, :3])  # without the scale and the file's rounding
    matrix = np.eye(4)
    matrix[:3, :3] = OPENGL_TO_OPENCV[:, None] * rotation.T
    matrix[:3, 3] = -matrix[:3, :3] @ pose[:3, 3]
    return matrix
