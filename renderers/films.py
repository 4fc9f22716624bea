"""Films of any kind, picture by picture: video files, animated pictures, folders of images."""

import collections
import re
from collections.abc import Generator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from renderers.decoding import Film, FilmFacts, Picture
from taichi_phys.checks import path_of


IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}
DEFAULT_FPS = 24.0  # if the source does not say it, such as a folder of images
# Words in names of images that are made from frames. Where a folder holds as many of each, those
# are not the frames.
MADE = ("mask", "depth", "disparity", "seg", "alpha", "label", "flow", "normal", "matte")
REGULAR = 0.8  # of the steps between the numbers of images: the rest are images that are missing


class Pictures(Protocol):
    """A film that is open: iterate over its pictures, once."""

    @property
    def facts(self) -> FilmFacts: ...

    @property
    def damaged(self) -> bool: ...

    @property
    def notes(self) -> list[str]: ...

    def __enter__(self) -> "Pictures": ...

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Generator[Picture, None, None]: ...


def open_film(
    path: str | Path,
    *,
    longest: int | None = None,
    gray: bool = False,
    deinterlace: bool = False,
    hdr: bool = False,
) -> Pictures:
    """Open a video file, an animated picture, or a folder of images in the order of their numbers.

    longest: px, to which the longer side of pictures is reduced; gray: whether colors are left
    out; deinterlace, hdr: for such material. Raises ValueError where there is nothing to read, also
    while pictures are read.
    """
    path = path_of("video", path)
    if not path.exists():
        raise ValueError(f"video {path}: no such file or folder")
    if path.is_dir():
        return ImageFolder(path, longest=longest, gray=gray)
    if not path.stat().st_size:
        raise ValueError(f"video {path}: cannot be read (the file is empty)")
    return Film(path, longest=longest, gray=gray, deinterlace=deinterlace, hdr=hdr)


class ImageFolder:
    """The images of a folder as a film: those whose names differ in a number only.

    Where numbers are missing, so are pictures: times leave room for them. Their rate is
    DEFAULT_FPS. Raises ValueError for a folder without images, or with several kinds of them.
    """

    damaged = False

    def __init__(self, path: Path, *, longest: int | None = None, gray: bool = False):
        self.path, self.longest, self.gray = path, longest, gray
        self.facts = FilmFacts()  # a folder says no rate
        self.files, others = _frames_of(path)
        self.notes: list[str] = []
        if others:
            names = ", ".join(other.name for other in others[:3])
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            self.notes.append(
                f"Of the images in {path}, {names}{more} were taken not to be frames: their names "
                f"are not like {self.files[0].name}."
            )
        self.slots = _slots(self.files)

    def __enter__(self) -> "ImageFolder":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Generator[Picture, None, None]:
        for file, slot in zip(self.files, self.slots, strict=True):
            image = _image(file)
            size = image.shape[1], image.shape[0]
            if self.longest is not None and max(size) > self.longest:
                by = self.longest / max(size)
                small = max(1, round(size[0] * by)), max(1, round(size[1] * by))
                image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
            if self.gray:
                image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            yield Picture(
                image=image, time=slot / DEFAULT_FPS, size=size, scan="P", transfer="unknown",
                square=True,
            )  # fmt: skip


def _image(file: Path) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"video {file}: cannot be read ({reason})") from None


def _frames_of(path: Path) -> tuple[list[Path], list[Path]]:
    """The images of a folder that are frames, in their order, and those that are not."""
    files = [
        file for file in path.iterdir()
        if file.suffix.lower() in IMAGES and not file.name.startswith(".")
    ]  # fmt: skip
    if not files:
        raise ValueError(f"video {path}: holds no frame: there are no images in this folder")
    kinds = collections.defaultdict(list)
    for file in files:
        kinds[re.sub(r"\d+", "#", file.stem)].append(file)
    numbered = {kind: files for kind, files in kinds.items() if "#" in kind}
    if not numbered:
        return sorted(files), []
    most = max(len(group) for group in numbered.values())
    largest = [kind for kind, group in numbered.items() if len(group) == most]
    frames = [k for k in largest if not any(word in k.lower() for word in MADE)] or largest
    if len(frames) > 1:
        names = " and ".join(sorted(numbered[kind][0].name for kind in frames)[:2])
        raise ValueError(
            f"video {path}: holds {most} images like each of {names}; put the frames into a folder "
            "of their own"
        )
    chosen = sorted(numbered[frames[0]], key=natural_key)
    return chosen, sorted(set(files) - set(chosen))


def natural_key(file: Path) -> list:
    """A key that sorts frame_2 before frame_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]


def _slots(files: list[Path]) -> list[int]:
    """The place of each image in time, by the number that differs between their names."""
    plain = list(range(len(files)))
    numbers = np.array([[int(n) for n in re.findall(r"\d+", file.stem)] for file in files])
    varies = np.flatnonzero((numbers != numbers[0]).any(axis=0))
    if len(varies) != 1:
        return plain
    steps = np.diff(numbers[:, varies[0]])
    usual = int(np.median(steps))
    if usual < 1 or (steps == usual).mean() < REGULAR or (steps % usual).any():
        return plain
    return [int(n) for n in (numbers[:, varies[0]] - numbers[0, varies[0]]) // usual]
