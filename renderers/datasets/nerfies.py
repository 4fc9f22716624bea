"""The data of Nerfies and HyperNeRF: a camera file for each photograph of a moving scene."""

from pathlib import Path
from typing import Any

import numpy as np

from renderers.datasets.locate import Located
from renderers.datasets.transforms import read_json
from renderers.datasets.views import View, build_view, existing


SIZES = (1, 2, 4, 8, 16)  # the folders rgb/1x, rgb/2x ... of shrunk photographs


def found_in(folder: Path) -> bool:
    """Whether a folder holds such a dataset."""
    return (folder / "dataset.json").is_file() and (folder / "camera").is_dir()


def splits(folder: Path) -> tuple[str, ...]:
    """The splits of a dataset."""
    return ("train", "val") if read_json(folder / "dataset.json").get("val_ids") else ("train",)


def read_views(folder: Path, split: str, downscale: int) -> list[View]:
    """The views of a split, with the numbers of their moments as times.

    Raises ValueError, which names the file, if something is missing or broken.
    """
    dataset = read_json(folder / "dataset.json")
    names = dataset.get(f"{split}_ids") or (dataset.get("ids") if split == "train" else None)
    if not names:
        raise ValueError(f"{folder / 'dataset.json'}: has no {split}_ids")
    scene = read_json(folder / "scene.json") if (folder / "scene.json").is_file() else {}
    moments = read_json(folder / "metadata.json")
    center = np.asarray(scene.get("center", (0, 0, 0)), dtype=np.float64)
    scale = float(scene.get("scale", 1.0))
    views = []
    listed = [(name, _located(folder, str(name), downscale)) for name in names]
    for name, image in existing(listed, folder / "dataset.json"):
        file = folder / "camera" / f"{name}.json"
        record, moment = read_json(file), moments.get(name, {})
        try:
            intrinsics, distortion = _lens(record)
            rotation = np.asarray(record["orientation"], dtype=np.float64).reshape(3, 3)
            matrix = np.eye(4)
            matrix[:3, :3] = rotation
            matrix[:3, 3] = -rotation @ (scale * (np.asarray(record["position"]) - center))
            time = float(moment.get("time_id", moment.get("warp_id")))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{file}: not a camera of a photograph with a time ({error})"
            ) from None
        views.append(
            build_view(
                str(file), intrinsics, matrix, image=image, distortion=distortion,
                downscale=downscale, name=str(name), time=time,
            )
        )  # fmt: skip
    return views


def _located(folder: Path, name: str, downscale: int) -> Located:
    """The photograph at the size that is wanted, or the next larger one that there is."""
    for size in sorted(SIZES, key=lambda size: (size > downscale, abs(size - downscale))):
        path = folder / "rgb" / f"{size}x" / f"{name}.png"
        if path.is_file():
            return Located(path, shrunk=size > 1)
    return Located(folder / "rgb" / "1x" / f"{name}.png")


def _lens(record: dict[str, Any]) -> tuple[dict[str, Any], tuple[float, ...]]:
    focal, (width, height) = float(record["focal_length"]), record["image_size"]
    cx, cy = record["principal_point"]
    k1, k2, k3 = (*record.get("radial_distortion", ()), 0.0, 0.0, 0.0)[:3]
    p1, p2 = (*record.get("tangential_distortion", ()), 0.0, 0.0)[:2]
    aspect = float(record.get("pixel_aspect_ratio", 1.0))
    intrinsics = dict(fx=focal, fy=focal * aspect, cx=cx, cy=cy, width=width, height=height)
    return intrinsics, (k1, k2, p1, p2, k3)
