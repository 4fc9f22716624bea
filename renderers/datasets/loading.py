"""Reading a dataset whose format is recognized from the files in its folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyParseError

from renderers.datasets import colmap, transforms
from renderers.datasets.views import View, labeled
from taichi_phys.checks import whole_number


POINT_FILES = ("points3d.ply", "points3D.ply")


def load_views(folder: str | Path, split: str = "train", *, downscale: int = 1) -> list[View]:
    """The posed images of a dataset, as views that read their pixels only on demand.

    folder: of the dataset; split: for example "train", "val" or "test"; downscale: divides the
    width and height of the images.

    The function looks for transforms_{split}.json (NeRF-synthetic, D-NeRF, NVFi), then for
    transforms.json (nerfstudio, instant-ngp), then for a COLMAP model in sparse/0, sparse,
    colmap/sparse/0 or the folder itself. In the last two formats, all views belong to "train",
    unless the json file lists its splits. Warns once about frames whose image is missing. Raises
    ValueError, which names the file, if something is missing or broken.
    """
    folder = _folder(folder)
    whole_number("downscale", downscale, "an integer >= 1", low=1)
    return labeled(_read_views(folder, split, downscale))


def _read_views(folder: Path, split: str, downscale: int) -> list[View]:
    of_split, of_all = folder / f"transforms_{split}.json", folder / "transforms.json"
    if of_split.is_file():
        return transforms.read_views(of_split, downscale=downscale)
    if of_all.is_file():
        return transforms.read_views(of_all, split=split, downscale=downscale)
    others = sorted(file.name for file in folder.glob("transforms_*.json"))
    if others:
        raise ValueError(f"dataset {folder}: has no {of_split.name}, only {', '.join(others)}")
    cameras_file = colmap.find_model(folder)
    if cameras_file is None:
        raise ValueError(
            f"dataset {folder}: not recognized, expected {of_split.name}, {of_all.name}, or "
            f"COLMAP's cameras.bin or cameras.txt in {', '.join(colmap.PLACES)}"
        )
    if split != "train":
        raise ValueError(
            f"dataset {folder}: a COLMAP model has no split {split!r}; load 'train' and "
            "use hold_out"
        )
    return colmap.read_views(folder, cameras_file, downscale=downscale)


def hold_out(views: Sequence[View], every: int = 8) -> tuple[list[View], list[View]]:
    """Divide views into training views and test views; every 8th view is a test view.

    every: number of views from one test view to the next, of which the first view is one. This is
    the split of mip-NeRF 360 and 3D Gaussian splatting. Raises ValueError for every < 2.
    """
    whole_number("every", every, "an integer >= 2", low=2)
    return [view for i, view in enumerate(views) if i % every], list(views[::every])


def load_points(folder: str | Path) -> tuple[np.ndarray, np.ndarray] | None:
    """The points of a dataset, (n, 3) float64 m, and their colors, (n, 3) float32 from 0 to 1.

    The points come from the first of these that exists: nerfstudio's ply_file_path, points3d.ply or
    points3D.ply, and COLMAP's points3D. A .ply file is in the world of the poses. COLMAP's points
    are transformed to this world by the applied_transform of transforms.json, if there is one.
    Points without colors are gray. Returns None if there are no points. Raises ValueError for a
    broken file.
    """
    folder = _folder(folder)
    of_all = folder / "transforms.json"
    meta = transforms.read_json(of_all) if of_all.is_file() else {}
    if meta.get("ply_file_path") is not None:
        return _read_ply(folder / str(meta["ply_file_path"]))
    for name in POINT_FILES:
        if (folder / name).is_file():
            return _read_ply(folder / name)
    cameras_file = colmap.find_model(folder)
    cloud = None if cameras_file is None else colmap.read_points(cameras_file)
    if cameras_file is None or cloud is None:
        return None
    matrix = transforms.applied_transform(of_all, meta)
    return _finite(cameras_file.parent, cloud[0] @ matrix[:, :3].T + matrix[:, 3]), cloud[1]


def _folder(folder: str | Path) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"dataset {folder}: no such folder")
    return folder


def _finite(where: Path, points: np.ndarray) -> np.ndarray:
    bad = int((~np.isfinite(points).all(1)).sum())
    if bad:
        raise ValueError(
            f"points {where}: got {bad} points that are NaN or infinite, expected finite ones"
        )
    return points


def _read_ply(file: Path) -> tuple[np.ndarray, np.ndarray]:
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
    return _finite(file, points), colors
