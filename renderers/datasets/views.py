"""One image of a dataset with its camera; the file is opened only when its pixels are asked for."""

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image

from renderers.camera import Camera


T = TypeVar("T")

# What Pillow raises for broken files of all kinds.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Lens:
    """What took the file, where that is not the pinhole camera of the view.

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
    or None; lens: what the file was taken with, None if that is `camera`.
    """

    name: str
    camera: Camera
    time: float | None
    path: Path
    mask_path: Path | None = None
    lens: Lens | None = None

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the image: colour (H, W, 3), straight (not times alpha), and alpha (H, W), 0..1.

        Both float32, undistorted and at the camera's size; alpha is one where the file has none,
        and zero where undistortion looks outside the file. Nothing is kept: each call reads the
        file. Raises ValueError if it cannot be read or is not of the size that the dataset says.
        """
        rgba = self._read(self.path, "RGBA") / np.float32(255)
        if self.lens is not None:
            # Averages of colours are right only when each counts by its alpha.
            rgba[..., :3] *= rgba[..., 3:]
            rgba = self._resample(rgba)
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

        Pixels that undistortion had to take from outside the file do not. Raises as load() does.
        """
        source = (self.lens or self).camera
        if self.mask_path is None:
            mask = np.ones((source.height, source.width), np.float32)
        else:
            mask = (self._read(self.mask_path, "L") > 0).astype(np.float32)
        return (mask if self.lens is None else self._resample(mask)) > 0.999

    def _read(self, path: Path, mode: str) -> np.ndarray:
        with _opened(path) as image:
            kind, size, pixels = image.mode, image.size, np.asarray(image.convert(mode))
        source = (self.lens or self).camera
        if size != (source.width, source.height):
            raise ValueError(
                f"image {path}: is {size[0]}x{size[1]}, expected {source.width}x{source.height} "
                "as the dataset says"
            )
        if kind[0] in "IF":  # Pillow clips them at 255 when it converts
            raise ValueError(f"image {path}: has pixels of mode {kind}, expected 8 bits a channel")
        return pixels

    def _resample(self, image: np.ndarray) -> np.ndarray:
        source, size = self.lens.camera, (self.camera.width, self.camera.height)
        if self.lens.fisheye or self.lens.distortion:
            maps = _undistortion(
                (source.fx, source.fy, source.cx, source.cy), (source.width, source.height),
                self.lens.distortion, self.lens.fisheye,
            )  # fmt: skip
            image = cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        if size != (source.width, source.height):
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return image


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"image {path}: cannot be read ({reason})") from None


@functools.lru_cache(maxsize=4)  # the views of a dataset share a lens or a few
def _undistortion(focal_and_centre, size, distortion, fisheye):
    fx, fy, cx, cy = focal_and_centre
    # OpenCV counts from the centre of the first pixel, we from its corner.
    K = np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])
    make = cv2.fisheye.initUndistortRectifyMap if fisheye else cv2.initUndistortRectifyMap
    return make(K, np.array(distortion), np.eye(3), K, size, cv2.CV_32FC1)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height from an image's header, px. Raises ValueError if it cannot be read."""
    with _opened(path) as image:
        return image.size


def existing(items: Sequence[tuple[T, Path]], where: Path) -> list[tuple[T, Path]]:
    """Those of (record, image path) whose image exists; warns once about the others.

    Raises ValueError if none exists; where: the file that lists them.
    """
    absent = [path for _, path in items if not path.is_file()]
    if len(absent) == len(items):
        raise ValueError(f"{where}: none of its {len(items)} images exists, first {absent[0]}")
    if absent:
        warnings.warn(
            f"{where}: left out {len(absent)} of {len(items)} images that do not exist, "
            f"first {absent[0]}",
            stacklevel=4,  # the caller of load_views
        )
    return [item for item in items if item[1].is_file()]


def build_view(
    where: str,
    intrinsics: dict,
    world_to_camera: np.ndarray,
    *,
    distortion: tuple[float, ...] = (),
    fisheye: bool = False,
    downscale: int = 1,
    **fields,
) -> View:
    """A view of a file that was taken with these intrinsics (fx fy cx cy width height, px).

    where: what an error shall name; fields: of View. Raises ValueError for an impossible camera.
    """
    try:
        camera = Camera(**intrinsics, world_to_camera=world_to_camera)
        scaled = camera if downscale == 1 else _scaled(camera, downscale)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if not any(distortion):
        distortion = ()
    lens = None
    if distortion or fisheye or downscale > 1:  # a fisheye of zeros is still no pinhole
        lens = Lens(camera=camera, distortion=distortion, fisheye=fisheye)
    return View(camera=scaled, lens=lens, **fields)


def _scaled(camera: Camera, downscale: int) -> Camera:
    width, height = camera.width // downscale, camera.height // downscale
    if not width or not height:
        raise ValueError(f"downscale {downscale} leaves nothing of {camera.width}x{camera.height}")
    # Not 1 / downscale: a side that it does not divide is squeezed, not cut.
    sx, sy = width / camera.width, height / camera.height
    return dataclasses.replace(
        camera, fx=camera.fx * sx, fy=camera.fy * sy, cx=camera.cx * sx, cy=camera.cy * sy,
        width=width, height=height,
    )  # fmt: skip
