"""One image of a dataset with its camera; the file is opened only when its pixels are read."""

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
WHOLE = 0.999  # least fraction of a pixel inside the file and its mask for the pixel to count
ORIENTATION, QUARTER_TURNS = 0x0112, (5, 6, 7, 8)  # EXIF's tag; values that swap the sides
# The exceptions that Pillow raises for broken files of all kinds.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Lens:
    """The camera that took an image file, if it differs from the pinhole camera of the view.

    camera: pose and intrinsics at the size of the file; distortion: OpenCV's coefficients, k1 k2 p1
    p2 [k3 [k4 k5 k6]], empty for a pinhole camera; fisheye: whether distortion has the coefficients
    k1 k2 k3 k4 of cv2.fisheye instead.
    """

    camera: Camera
    distortion: tuple[float, ...] = ()
    fisheye: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """An image and a pinhole camera that shows the same.

    name: path of the image as the dataset writes it; camera: pinhole camera, at the size of the
    image that load() returns; time: s, None in a static scene; path: image file; mask_path: mask
    file, or None; lens: the camera that took the file, None if it is `camera`; sized_like: image
    whose size this one is expected to have, None if the dataset gives the size; label: name of the
    view in the names of result files, without folders and suffix, which `load_views` makes unique
    in the dataset.
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
        """Read the image: color (H, W, 3), not multiplied by alpha, and alpha (H, W), from 0 to 1.

        Both are float32, undistorted and at the size of the camera. alpha is 1 if the file has no
        alpha, and 0 where undistortion reaches outside the file. Each call reads the file. Raises
        ValueError if the file cannot be read or does not have the expected size.
        """
        rgba = self._read(self.path, "RGBA") / np.float32(255)
        if self.lens is not None:
            # Multiplied by alpha, so that the resampling weights each color by its alpha.
            rgba[..., :3] *= rgba[..., 3:]
            rgba = _resample(rgba, self.lens, self.camera)
            alpha = rgba[..., 3:]
            np.divide(rgba[..., :3], alpha, out=rgba[..., :3], where=alpha > 0)
            rgba = rgba.clip(0, 1)
        return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])

    def image(self, background: Sequence[float] = (0.0, 0.0, 0.0)) -> np.ndarray:
        """Read the image over a background: (H, W, 3) float32, RGB.

        background: (3,) RGB from 0 to 1. Raises ValueError, as load() does.
        """
        color = np.asarray(background, dtype=np.float32)
        if color.shape != (3,) or not np.isfinite(color).all():
            raise ValueError(f"background: got {background!r}, expected 3 finite numbers")
        rgb, alpha = self.load()
        return color + alpha[..., None] * (rgb - color)

    def mask(self) -> np.ndarray:
        """Read which pixels count, (H, W) bool.

        A pixel counts if it is not 0 in the mask of the dataset; without a mask all pixels count.
        Pixels that undistortion takes from outside the file do not count. Raises ValueError, as
        load() does.
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
                says += "; its EXIF data turn it by 90 degrees: save it turned, without EXIF data"
            raise ValueError(
                f"image {path}: is {size[0]}x{size[1]}, expected {source.width}x{source.height} "
                f"{says}"
            )
        if kind[0] in "IF":  # Pillow's conversion would clip them at 255
            raise ValueError(f"image {path}: has pixels of mode {kind}, expected 8-bit channels")
        return pixels


def _resample(image: np.ndarray, lens: Lens, camera: Camera) -> np.ndarray:
    """An image that was taken with a lens, resampled for a camera without distortion."""
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
    """The views with unique labels.

    images/a.png becomes "a"; left/1.png and right/1.png become "left_1" and "right_1". A label
    contains as many of the last folders as uniqueness needs, and a number if that is not enough.
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
        while labels[k] in used:  # the same image twice, or names that become equal
            number += 1
            labels[k] = f"{label}-{number}"
        used.add(labels[k])
    return [dataclasses.replace(v, label=name) for v, name in zip(views, labels, strict=True)]


def _label(parts: Sequence[str]) -> str:
    """Parts of a path joined to a valid file name, without the suffix of an image."""
    parts = [part for part in parts if part not in ("/", "..")] or ["view"]
    last = PurePosixPath(parts[-1])
    name = last.stem if last.suffix.lower() in SUFFIXES else parts[-1]
    return re.sub(r"[^\w.-]", "_", "_".join([*parts[:-1], name]))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The opened image. Raises ValueError, in one sentence, if it cannot be read."""
    try:
        with Image.open(path) as image:
            yield image
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"image {path}: cannot be read ({reason})") from None


@functools.lru_cache(maxsize=4)  # the views of a dataset share a few lenses
def _undistortion(
    intrinsics: tuple[float, ...],
    size: tuple[int, int],
    distortion: tuple[float, ...],
    fisheye: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """The place in the file, x and y (H, W) px, of each pixel of the undistorted image."""
    fx, fy, cx, cy = intrinsics
    # OpenCV's origin is the center of the first pixel; the origin here is its corner.
    K = np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])
    make: Callable = cv2.fisheye.initUndistortRectifyMap if fisheye else cv2.initUndistortRectifyMap
    return make(K, np.array(distortion), np.eye(3), K, size, cv2.CV_32FC1)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height, px, from the header of an image. Raises ValueError."""
    with _opened(path) as image:
        return image.size


def existing(items: Sequence[tuple[T, Path]], where: Path) -> list[tuple[T, Path]]:
    """The (record, image path) items whose image exists; warns once about the other items.

    where: the file that lists the images. Raises ValueError if no image exists.
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
    """The view of an image file and of the camera that took it.

    where: place that error messages name; intrinsics: fx fy cx cy width height, px;
    world_to_camera: (4, 4); distortion, fisheye: as in `Lens`; downscale: divides width and height;
    fields: further fields of View. Raises ValueError for an impossible camera.
    """
    try:
        camera = Camera(**intrinsics, world_to_camera=world_to_camera)
        scaled = camera if downscale == 1 else _scaled(camera, downscale)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if not any(distortion):
        distortion = ()
    lens = None
    if distortion or fisheye or downscale > 1:  # a fisheye is no pinhole camera, even with zeros
        lens = Lens(camera=camera, distortion=distortion, fisheye=fisheye)
    return View(camera=scaled, lens=lens, **fields)


def _scaled(camera: Camera, downscale: int) -> Camera:
    width, height = camera.width // downscale, camera.height // downscale
    if not width or not height:
        raise ValueError(
            f"downscale: got {downscale}, which leaves nothing of {camera.width}x{camera.height} px"
        )
    # Not 1 / downscale: a side that downscale does not divide is squeezed, not cut.
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
