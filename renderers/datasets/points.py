"""The points of a dataset, in the world of its poses."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from plyfile import PlyData, PlyParseError

from renderers.camera import Camera
from renderers.datasets import colmap, transforms
from renderers.datasets.views import View
from taichi_phys.rotations import nearest_rotation


POINT_FILES = ("points3d.ply", "points3D.ply")
POSES = 3  # poses that two worlds must share to be compared
# Two worlds are taken for one if their poses agree so well: centers by this share of what they lie
# apart, axes by this angle (rad). Poses that a program has improved differ by less than that.
CENTERS, AXES = 0.05, 0.05

Points = tuple[np.ndarray, np.ndarray]  # (n, 3) float64 m, and (n, 3) float32 colors from 0 to 1


def read_points(folder: Path, views: Sequence[View]) -> Points | None:
    """The points of a dataset and their colors, None if there are none.

    views: of the dataset. They tell how the world of COLMAP's model lies in that of the poses, if
    the dataset has both: programs turn, shift and scale the poses that they take from COLMAP.
    Points of whose world nothing is known are left out with a warning, as are points that are NaN
    or infinite. Raises ValueError for a broken file.
    """
    of_all = folder / "transforms.json"
    meta = transforms.read_json(of_all) if of_all.is_file() else {}
    if meta.get("ply_file_path") is not None:
        return _finite(_read_ply(folder / str(meta["ply_file_path"]).replace("\\", "/")))
    for name in POINT_FILES:
        if (folder / name).is_file():
            return _finite(_read_ply(folder / name))
    model = colmap.find_model(folder)
    cloud = None if model is None else colmap.read_points(model)
    if model is None or cloud is None:
        return None
    own = not any(folder.glob("transforms*.json"))  # the poses are those of the model
    matrix = np.eye(4)[:3] if own else _between(folder, model, views, of_all, meta)
    if matrix is None:
        warnings.warn(
            f"points {model.parent}: left out, because the poses of this model do not agree with "
            "those of the dataset",
            stacklevel=4,
        )
        return None
    return _finite((cloud[0] @ matrix[:, :3].T + matrix[:, 3], cloud[1]))


def _between(
    folder: Path, model: Path, views: Sequence[View], of_all: Path, meta: Mapping
) -> np.ndarray | None:
    """The similarity (3, 4) from COLMAP's world to that of the views; None if there is none."""
    theirs = {_key(name): camera for name, camera in colmap.read_poses(model).items()}
    pairs = [(theirs[_key(v.name)], v.camera) for v in views if _key(v.name) in theirs]
    if len(pairs) < POSES:  # nothing to compare: believe what the file says
        return transforms.applied_transform(of_all, dict(meta))
    return similarity(*zip(*pairs, strict=True))


def similarity(source: Sequence[Camera], target: Sequence[Camera]) -> np.ndarray | None:
    """The similarity (3, 4) that maps the world of some cameras to that of the same cameras.

    None if the two sets of poses differ by more than a turn, a shift and a scale.
    """
    turns = [b.rotation.T @ a.rotation for a, b in zip(source, target, strict=True)]
    turn = nearest_rotation(np.mean(turns, axis=0))
    left = np.array(turns) @ turn.T
    angles = np.arccos(np.clip((np.trace(left, axis1=1, axis2=2) - 1) / 2, -1, 1))
    x, y = (np.array([camera.position for camera in side]) for side in (source, target))
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = (x - x_mean) @ turn.T, y - y_mean
    size = (x * x).sum()
    if not size > 0:
        return None
    scale = (x * y).sum() / size
    missed = np.median(np.linalg.norm(scale * x - y, axis=1))
    apart = np.median(np.linalg.norm(y, axis=1))
    if scale <= 0 or np.median(angles) > AXES or missed > CENTERS * apart:
        return None
    return np.column_stack([scale * turn, y_mean - scale * turn @ x_mean])


def _key(name: str) -> str:
    """What the names of one image in two files have in common."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    inside = parts[1:] if len(parts) > 1 and parts[0] in ("images", "input") else parts
    return str(PurePosixPath(*inside).with_suffix(""))


def _finite(points: Points) -> Points | None:
    """The points without those that are NaN or infinite; None if none are left."""
    good = np.asarray(np.isfinite(points[0]).all(axis=1))
    bad = int((~good).sum())
    if bad and good.any():
        warnings.warn(
            f"points: left out {bad} of {good.size} that are NaN or infinite", stacklevel=5
        )
    return (points[0][good], points[1][good]) if good.any() else None


def _read_ply(file: Path) -> Points:
    try:
        vertex = PlyData.read(file)["vertex"].data
        points = np.stack([vertex[axis].astype(np.float64) for axis in "xyz"], axis=-1)
    except (OSError, PlyParseError, KeyError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"points {file}: cannot be read ({reason})") from None
    colors = np.full(points.shape, 0.5, np.float32)
    for channel, name in enumerate(("red", "green", "blue")):
        if name in vertex.dtype.names:
            values = vertex[name]
            top = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1
            colors[:, channel] = values / top
    return points, colors
