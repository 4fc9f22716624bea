"""Finding the image files of a dataset, which move and shrink on their way between programs."""

import dataclasses
import functools
from pathlib import Path

from renderers.datasets.photograph import SUFFIXES, image_size


# Folders that programs put in place of images/: the originals of 3D Gaussian Splatting, the copies
# that nerfstudio and mip-NeRF 360 have shrunk.
ORIGINALS, SHRUNK = "input", ("images_2", "images_4", "images_8")


@dataclasses.dataclass(frozen=True)
class Located:
    """An image file. path: of the file; shrunk: whether it is smaller than the dataset says."""

    path: Path
    shrunk: bool = False

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of a shrunk file, px; None for a file of the dataset's own size."""
        return image_size(self.path) if self.shrunk else None


class Finder:
    """Finds images below a folder.

    folder: of the dataset; downscale: if images_{downscale} exists, its files are used.
    """

    def __init__(self, folder: Path, downscale: int = 1):
        self.folder = folder
        first = (f"images_{downscale}",) if downscale > 1 else ()
        self.shrunk = first + tuple(name for name in SHRUNK if name not in first)
        self.first = first

    def find(self, name: str) -> Located:
        """The file of an image; its name may lack the suffix, or have that of the original.

        If there is no such file, the path is that of the name itself.
        """
        inside = name.removeprefix("images/")
        for folder in self.first:
            path = self._file(f"{folder}/{inside}")
            if path is not None:
                return Located(path, shrunk=True)
        for place in dict.fromkeys((name, f"{ORIGINALS}/{inside}", f"images/{inside}", inside)):
            path = self._file(place)
            if path is not None:
                return Located(path)
        for folder in self.shrunk:
            path = self._file(f"{folder}/{inside}")
            if path is not None:
                return Located(path, shrunk=True)
        return Located(self.folder / name)

    def mask(self, name: str) -> Path | None:
        """The mask of an image in the folder masks, as COLMAP (a.jpg.png) or others name it."""
        if not self._has_masks:
            return None
        inside = name.removeprefix("images/")
        stem = str(Path(inside).with_suffix(""))
        names = (f"{inside}.png", f"{stem}.png", inside, f"{stem}.jpg")
        paths = (self.folder / "masks" / name for name in names)
        return next((path for path in paths if path.is_file()), None)

    @functools.cached_property
    def _has_masks(self) -> bool:
        return (self.folder / "masks").is_dir()

    def _file(self, name: str) -> Path | None:
        """The file of this name, or of this name with another suffix of images; .png is first."""
        path = self.folder / name
        if path.is_file():
            return path
        if not path.parent.is_dir():
            return None
        stem = name[: -len(path.suffix)] if path.suffix.lower() in SUFFIXES else name
        for base in dict.fromkeys((name, stem)):
            for suffix in SUFFIXES:
                for end in (suffix, suffix.upper()):
                    if (self.folder / (base + end)).is_file():
                        return self.folder / (base + end)
        return None
