"""Reading a dataset whose format is recognized from the files in its folder."""

import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from renderers.datasets import colmap, moving, transforms
from renderers.datasets.points import read_points
from renderers.datasets.views import View, labeled
from taichi_phys.checks import whole_number


def load_views(folder: str | Path, split: str = "train", *, downscale: int = 1) -> list[View]:
    """The posed images of a dataset, as views that read their pixels only on demand.

    folder: of the dataset, or its transforms.json; split: for example "train", "val" or "test";
    downscale: divides the width and height of the images.

    The function looks for transforms_{split}.json (NeRF-synthetic, D-NeRF, NVFi), then for
    transforms.json (nerfstudio, instant-ngp), then for a COLMAP model in sparse/0, sparse,
    colmap/sparse/0 or the folder itself. In the last two formats, all views belong to "train",
    unless the json file lists its splits. Warns once about frames whose image is missing. Raises
    ValueError, which names the file, if something is missing or broken.
    """
    folder, file = _place(folder)
    whole_number("downscale", downscale, "an integer >= 1", low=1)
    return labeled(_read_views(folder, split, downscale, file))


def _read_views(folder: Path, split: str, downscale: int, file: Path | None) -> list[View]:
    of_split, of_all = folder / f"transforms_{split}.json", folder / "transforms.json"
    if file is not None and not file.name.startswith("transforms_"):
        return transforms.read_views(file, split=split, downscale=downscale)
    if of_split.is_file():
        return transforms.read_views(of_split, downscale=downscale)
    if of_all.is_file():
        return transforms.read_views(of_all, split=split, downscale=downscale)
    others = sorted(file.name for file in folder.glob("transforms_*.json"))
    if others:
        raise ValueError(f"dataset {folder}: has no {of_split.name}, only {', '.join(others)}")
    cameras_file = colmap.find_model(folder)
    if cameras_file is None:
        kind = moving.find(folder)
        if kind is not None:
            return kind.read_views(folder, split, downscale)
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


def splits(folder: str | Path) -> list[str]:
    """Which of "train", "val" and "test" a dataset has. Raises ValueError for no such folder."""
    folder, file = _place(folder)
    names = ("train", "val", "test")
    found = {name for name in names if (folder / f"transforms_{name}.json").is_file()}
    of_all = file or folder / "transforms.json"
    if of_all.is_file():
        meta = transforms.read_json(of_all)
        found |= {key.removesuffix("_filenames") for key in meta if key.endswith("_filenames")}
    kind = moving.find(folder)
    if not found and kind is not None:
        found = set(kind.splits(folder))
    return [name for name in names if name in (found or {"train"})]


def hold_out(views: Sequence[View], every: int = 8) -> tuple[list[View], list[View]]:
    """Divide views into training views and test views; every 8th view is a test view.

    every: number of views from one test view to the next, of which the first view is one. This is
    the split of mip-NeRF 360 and 3D Gaussian splatting. Raises ValueError for every < 2.
    """
    whole_number("every", every, "an integer >= 2", low=2)
    return [view for i, view in enumerate(views) if i % every], list(views[::every])


def load_points(folder: str | Path) -> tuple[np.ndarray, np.ndarray] | None:
    """The points of a dataset, (n, 3) float64 m, and their colors, (n, 3) float32 from 0 to 1.

    folder: as in `load_views`. The points come from the first of these that exists: nerfstudio's
    ply_file_path, points3d.ply or points3D.ply, and COLMAP's points3D. A .ply file is in the world
    of the poses. COLMAP's points are brought to this world by comparing COLMAP's poses with those
    of the dataset. Points without colors are gray. Returns None if there are no points. Raises
    ValueError for a broken file.
    """
    folder, file = _place(folder)
    if file is None and not any(folder.glob("transforms*.json")):
        return read_points(folder, ())
    splits = [None] if file is not None else ["train", "val", "test"]
    views: list[View] = []
    for split in splits:
        with contextlib.suppress(ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # load_views says what is missing
            views += _read_views(folder, split or "train", 1, file)
    return read_points(folder, views)


def _place(folder: str | Path) -> tuple[Path, Path | None]:
    """The folder of a dataset, and the json file if that was given in its place."""
    path = Path(folder)
    if path.is_file() and path.suffix.lower() == ".json":
        return path.parent, path
    if not path.is_dir():
        raise ValueError(f"dataset {path}: no such folder")
    return path, None
