"""The Panoptic data of Dynamic 3D Gaussians: train_meta.json, ims/ and init_pt_cld.npz."""

from pathlib import Path

import numpy as np

from renderers.datasets.locate import Located
from renderers.datasets.transforms import read_json
from renderers.datasets.views import View, build_view, existing


FPS = 30.0  # of the recordings
FILES = {"train": "train_meta.json", "val": "test_meta.json"}  # other cameras, the same times


def found_in(folder: Path) -> bool:
    """Whether a folder holds such a dataset."""
    return (folder / FILES["train"]).is_file()


def splits(folder: Path) -> tuple[str, ...]:
    """The splits of a dataset."""
    return tuple(split for split, name in FILES.items() if (folder / name).is_file())


def read_views(folder: Path, split: str, downscale: int) -> list[View]:
    """The views of a split. Raises ValueError, which names the file, if something is broken."""
    if split not in splits(folder):
        raise ValueError(f"dataset {folder}: has no split {split!r}, only {splits(folder)}")
    file = folder / FILES[split]
    meta = read_json(file)
    try:
        width, height = int(meta["w"]), int(meta["h"])
        rows = [
            ((t, np.asarray(k, float), np.asarray(w2c, float)), Located(folder / "ims" / name))
            for t, moment in enumerate(zip(meta["k"], meta["w2c"], meta["fn"], strict=True))
            for k, w2c, name in zip(*moment, strict=True)
        ]
        shapes = {(k.shape, w2c.shape) for (_, k, w2c), _ in rows}
        if shapes != {((3, 3), (4, 4))}:
            raise ValueError(f"matrices of shapes {shapes}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: not the cameras of a Panoptic recording ({error})") from None
    return [
        build_view(
            f"{file}: {image.path.name}",
            dict(fx=k[0, 0], fy=k[1, 1], cx=k[0, 2], cy=k[1, 2], width=width, height=height),
            w2c,
            image=image,
            downscale=downscale,
            name=str(image.path.relative_to(folder / "ims")),
            time=t / FPS,
        )
        for (t, k, w2c), image in existing(rows, file)
    ]
