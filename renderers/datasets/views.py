"""One image of a dataset with its camera; the file is opened only when its pixels are asked for."""

import contextlib
import dataclasses
import functools
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import cv2
import numpy as np
from PIL import Image

from renderers.camera import Camera
from taichi_phys.checks import set_fields


T = TypeVar("T")

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".exr")  # of images
WHOLE = 0.999  # of a pixel must lie inside the file and its mask to count
ORIENTATION, QUARTER_TURNS = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values that swap the sides
# What Pillow raises for broken files of all kinds.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Lens:
    """What the file was taken with, where that is not the pinhole camera of the view.

    camera: its pose and intrinsics at the file's size; distortion: OpenCV's coefficients, k1 k2 p1
    p2 [k3 [k4 k5 k6]], none for a pinhole; fisheye: the four k1 k2 k3 k4 of cv2.fisheye instead.
    """

    camera: Camera
    distortion: tuple[float, ...] = ()
    fisheye: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """An image and the pinhole camera that sees the same.

    name: the path of the image in the dataset, as the dataset writes it; camera: at the size of
    what load() returns; time: s, or None in a static scene; path: the image; mask_path: its mask,
    or None; lens: what the file was taken with, None if that is `camera`; sized_like: the image
    whose size was taken for this one's, None where the dataset says it; label: the view's name in
    names of result files, without folders and suffix; load_views makes it unique in the dataset.
    """

    name: str
    camera: Camera
    time: float | None
    path: Path
    mask_path: Path | None = None
    lens: Lens | None = None
    sized_like: Path | None = None
    label: str = ""

    def __post_init__(self) -> None:
        if not self.label:
            set_fields(self, label=_label(PurePosixPath(self.name).parts[-1:]))

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the image: color (H, W, 3), not multiplied by alpha, and alpha (H, W), 0..1.

        Both are float32, undistorted and at the camera's size; alpha is one where the file has
        none, and zero where undistortion looks outside the file. Nothing is kept: each call reads
        the file. Raises ValueError if it cannot be read or has another size than it should.
        """
        rgba = self._read(self.path, "RGBA") / np.float32(255)
        if self.lens is not None:
            # Averages of colors are right only when each counts by its alpha.
            rgba[..., :3] *= rgba[..., 3:]
            rgba = _resample(rgba, self.lens, self.camera)
            alpha = rgba[..., 3:]
            np.divide(rgba[..., :3], alpha, out=rgba[..., :3], where=alpha > 0)
            rgba = rgba.clip(0, 1)
        return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])

    def image(self, background: Sequence[float] = (0.0, 0.0, 0.0)) -> np.ndarray:
        """Read the image over a background, RGB 0..1: (H, W, 3) float32. Raises as load() does."""
        color = np.asarray(background, dtype=np.float32)
        if color.shape != (3,) or not np.isfinite(color).all():
            raise ValueError(f"background: got {background!r}, expected three finite numbers")
        rgb, alpha = self.load()
        return color + alpha[..., None] * (rgb - color)

    def mask(self) -> np.ndarray:
        """Read which pixels count, (H, W) bool: those that are not 0 in the dataset's mask, or all.

        Pixels that undistortion takes from outside the file do not count. Raises as load() does.
        """
        source = (self.lens or self).camera
        if self.mask_path is None:
            mask = np.ones((source.height, source.width), np.float32)
        else:
            mask = (self._read(self.mask_path, "L") > 0).astype(np.float32)
        whole = mask if self.lens is None else _resample(mask, self.lens, self.camera)
        return whole > WHOLE

    def _read(self, path: Path, mode: str) -> np.ndarray:
        with _opened(path) as image:
            kind, size, pixels = image.mode, image.size, np.asarray(image.convert(mode))
            turned = image.getexif().get(ORIENTATION) in QUARTER_TURNS
        source = (self.lens or self).camera
        if size != (source.width, source.height):
            says = "as the dataset says"
            if self.sized_like is not None:
                says = f"as {self.sized_like.name}, since the dataset gives no sizes"
            if turned:
                says += "; its EXIF data turn it by a quarter: save it without that"
            raise ValueError(
                f"image {path}: is {size[0]}x{size[1]}, expected {source.width}x{source.height} "
                f"{says}"
            )
        if kind[0] in "IF":  # Pillow clips them at 255 when it converts
            raise ValueError(f"image {path}: has pixels of mode {kind}, expected 8 bits a channel")
        return pixels


def _resample(image: np.ndarray, lens: Lens, camera: Camera) -> np.ndarray:
    """What a camera without distortion sees of an image that was taken with a lens."""
    source, size = lens.camera, (camera.width, camera.height)
    if lens.fisheye or lens.distortion:
        intrinsics = (source.fx, source.fy, source.cx, source.cy)
        file_size = (source.width, source.height)
        x, y = _undistortion(intrinsics, file_size, lens.distortion, lens.fisheye)
        image = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    if size != (source.width, source.height):
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image


def labeled(views: Sequence[View]) -> list[View]:
    """The views with labels that differ: as many of the last folders as that takes, then numbers.

    images/a.png becomes "a"; left/1.png and right/1.png become "left_1" and "right_1".
    """
    paths = [PurePosixPath(view.name).parts for view in views]
    deepest = max((len(parts) for parts in paths), default=1)
    labels: list[str] = []
    for depth in range(1, deepest + 1):
        labels = [_label(parts[-depth:]) for parts in paths]
        if len(set(labels)) == len(labels):
            break
    used: set[str] = set()
    for k, label in enumerate(labels):
        number = 1
        while labels[k] in used:  # the same image twice, or folders that read alike
            number += 1
            labels[k] = f"{label}-{number}"
        used.add(labels[k])
    return [dataclasses.replace(v, label=name) for v, name in zip(views, labels, strict=True)]


def _label(parts: Sequence[str]) -> str:
    """Parts of a path as a name that every file system takes, without the suffix of an image."""
    parts = [part for part in parts if part not in ("/", "..")] or ["view"]
    last = PurePosixPath(parts[-1])
    name = last.stem if last.suffix.lower() in SUFFIXES else parts[-1]
    return re.sub(r"[^\w.-]", "_", "_".join([*parts[:-1], name]))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image, open; ValueError in one sentence where it cannot be read."""
    try:
        with Image.open(path) as image:
            yield image
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"image {path}: cannot be read ({reason})") from None


@functools.lru_cache(maxsize=4)  # the views of a dataset share a lens or a few
def _undistortion(
    intrinsics: tuple[float, ...],
    size: tuple[int, int],
    distortion: tuple[float, ...],
    fisheye: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of an undistorted image lies in the file, x and y (H, W) px."""
    fx, fy, cx, cy = intrinsics
    # OpenCV counts from the center of the first pixel, we from its corner.
    K = np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])
    make: Callable = cv2.fisheye.initUndistortRectifyMap if fisheye else cv2.initUndistortRectifyMap
    return make(K, np.array(distortion), np.eye(3), K, size, cv2.CV_32FC1)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height from an image's header, px. Raises ValueError if it cannot be read."""
    with _opened(path) as image:
        return image.size


def existing(items: Sequence[tuple[T, Path]], where: Path) -> list[tuple[T, Path]]:
    """Those of the (record, image path) whose image exists; warns once about the others.

    where: the file that lists them. Raises ValueError if no image exists.
    """
    absent = [path for _, path in items if not path.is_file()]
    if len(absent) == len(items):
        raise ValueError(f"{where}: none of its {len(items)} images exists, first {absent[0]}")
    if absent:
        warnings.warn(
            f"{where}: left out {len(absent)} of {len(items)} images that do not exist, "
            f"first {absent[0]}",
            stacklevel=5,  # the caller of load_views
        )
    return [item for item in items if item[1].is_file()]


def build_view(
    where: str,
    intrinsics: dict[str, Any],
    world_to_camera: np.ndarray,
    *,
    distortion: tuple[float, ...] = (),
    fisheye: bool = False,
    downscale: int = 1,
    **fields: Any,
) -> View:
    """A view of a file that was taken with these intrinsics (fx fy cx cy width height, px).

    where: what an error names; fields: of View. Raises ValueError for an impossible camera.
    """
    try:
        camera = Camera(**intrinsics, world_to_camera=world_to_camera)
        scaled = camera if downscale == 1 else _scaled(camera, downscale)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if not any(distortion):
        distortion = ()
    lens = None
    if distortion or fisheye or downscale > 1:  # a fisheye with zeros is no pinhole either
        lens = Lens(camera=camera, distortion=distortion, fisheye=fisheye)
    return View(camera=scaled, lens=lens, **fields)


def _scaled(camera: Camera, downscale: int) -> Camera:
    width, height = camera.width // downscale, camera.height // downscale
    if not width or not height:
        raise ValueError(f"downscale {downscale} leaves nothing of {camera.width}x{camera.height}")
    # Not 1 / downscale: a side that it does not divide is squeezed, not cut.
    sx, sy = width / camera.width, height / camera.height
    return dataclasses.replace(
        camera,
        fx=camera.fx * sx,
        fy=camera.fy * sy,
        cx=camera.cx * sx,
        cy=camera.cy * sy,
        width=width,
        height=height,
    )
