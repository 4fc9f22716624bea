"""Finding out what a folder holds, and reading it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyParseError

from renderers.datasets import colmap, transforms
from renderers.datasets.views import View, labeled
from taichi_phys.checks import whole_number


POINT_FILES = ("points3d.ply", "points3D.ply")


def load_views(folder: str | Path, split: str = "train", *, downscale: int = 1) -> list[View]:
    """The posed images of a dataset; a view reads its pixels only when it is asked for them.

    Looks for transforms_{split}.json (NeRF-synthetic, D-NeRF, NVFi), then for transforms.json
    (nerfstudio, instant-ngp), then for a COLMAP model in sparse/0, sparse, colmap/sparse/0 or the
    folder itself. All views of the latter two are "train", unless the json lists its splits.

    downscale: divides width and height of the images. Warns once about frames without an image.
    Raises ValueError, which names the file, for what is missing or broken.
    """
    folder = _folder(folder)
    whole_number("downscale", downscale, "a whole number from 1 on", low=1)
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
            f"dataset {folder}: not recognized, found no {of_split.name}, no {of_all.name} and no "
            f"cameras.bin or cameras.txt of COLMAP in {', '.join(colmap.PLACES)}"
        )
    if split != "train":
        raise ValueError(
            f"dataset {folder}: a COLMAP model has no split {split!r}; load 'train' and "
            "use hold_out"
        )
    return colmap.read_views(folder, cameras_file, downscale=downscale)


def hold_out(views: Sequence[View], every: int = 8) -> tuple[list[View], list[View]]:
    """Views to train on and views to test on: of every 8 views, say, the first is for the test.

    The split of mip-NeRF 360 and 3D Gaussian splatting. Raises ValueError for every < 2.
    """
    whole_number("every", every, "a whole number from 2 on", low=2)
    return [view for i, view in enumerate(views) if i % every], list(views[::every])


def load_points(folder: str | Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Points (n, 3) float64 m and colors (n, 3) float32 0..1 of a dataset, None if it has none.

    The first that is found: nerfstudio's ply_file_path, points3d.ply or points3D.ply, COLMAP's
    points3D. A .ply is in the world of the poses; COLMAP's points beside a transforms.json are
    brought there by its applied_transform. Points without colors are gray. Raises ValueError for
    broken files.
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
            f"points {where}: got {bad} points that are NaN or infinite, expected none"
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
