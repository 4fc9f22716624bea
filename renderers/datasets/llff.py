"""LLFF's poses_bounds.npy, with photographs, or with one film per camera (Neural 3D Video)."""

from pathlib import Path
from typing import Any

import numpy as np

from renderers.datasets.films import film_times
from renderers.datasets.locate import SHRUNK, Located
from renderers.datasets.photograph import SUFFIXES, image_size
from renderers.datasets.views import View, build_view


POSES = "poses_bounds.npy"
FILMS = (".mp4", ".mov", ".avi", ".mkv")
SPLITS = ("train", "val")  # of films: the first camera is held out, as by everybody


def found_in(folder: Path) -> bool:
    """Whether a folder holds such a dataset."""
    return (folder / POSES).is_file()


def splits(folder: Path) -> tuple[str, ...]:
    """The splits of a dataset."""
    return SPLITS if _films(folder) else ("train",)


def read_views(folder: Path, split: str, downscale: int) -> list[View]:
    """The views of a split. Raises ValueError, which names the file, if something is broken."""
    file = folder / POSES
    try:
        rows = np.asarray(np.load(file, allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{file}: cannot be read ({error})") from None
    films = _films(folder)
    files = films or _images(folder)
    if rows.ndim != 2 or rows.shape[1] != 17 or len(rows) != len(files):
        raise ValueError(
            f"{file}: got an array {rows.shape} for {len(files)} films or images, expected "
            f"({len(files)}, 17)"
        )
    if split not in splits(folder):
        raise ValueError(f"dataset {folder}: has no split {split!r}, only {splits(folder)}")
    views = []
    for k, (row, path) in enumerate(zip(rows, files, strict=True)):
        if films and (k == 0) != (split == "val"):
            continue
        matrix = row[:15].reshape(3, 5)
        height, width, focal = matrix[:, 4]
        pose = np.eye(4)  # columns of the file: down, right, back, position
        pose[:3, :3] = np.stack([matrix[:, 1], matrix[:, 0], -matrix[:, 2]], axis=1)
        pose[:3, 3] = matrix[:, 3]
        shrunk = not films and image_size(path) != (int(width), int(height))
        common: dict[str, Any] = {
            "where": f"{file}: row {k}",
            "intrinsics": dict(
                fx=focal, fy=focal, cx=width / 2, cy=height / 2, width=int(width),
                height=int(height),
            ),
            "world_to_camera": np.linalg.inv(pose),
            "image": Located(path, shrunk=shrunk),
            "downscale": downscale,
        }  # fmt: skip
        if not films:
            views.append(build_view(**common, name=f"images/{path.name}", time=None))
            continue
        for index, time in enumerate(film_times(path)):
            name = f"{path.stem}/{index:04d}"
            views.append(build_view(**common, name=name, time=time, frame=index))
    return views


def _films(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("cam*") if path.suffix.lower() in FILMS)


def _images(folder: Path) -> list[Path]:
    for name in ("images", *SHRUNK):
        paths = sorted(p for p in folder.glob(f"{name}/*") if p.suffix.lower() in SUFFIXES)
        if paths:
            return paths
    return []
