"""One image of a dataset with its camera; the file is opened only when its pixels are read."""

import dataclasses
import functools
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import cv2
import numpy as np

from renderers.camera import Camera
from renderers.datasets.films import film_pictures
from renderers.datasets.locate import Located
from renderers.datasets.photograph import SUFFIXES, Photograph, read_pixels
from taichi_phys.checks import set_fields


T = TypeVar("T")  # what is known of an image

# How COLMAP turns pictures of any of its cameras into those of pinhole cameras.
CONVERT = (
    "colmap image_undistorter --image_path images --input_path sparse/0 --output_path undistorted"
)
WHOLE = 0.999  # least fraction of a pixel inside the file and its mask for the pixel to be seen


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

    @property
    def pinhole(self) -> bool:
        """Whether it bends nothing; a fisheye does, even with zeros."""
        return not self.distortion and not self.fisheye

    def bend(self) -> float:
        """By how many px at most it moves what a pinhole camera of its focal lengths shows."""
        if self.pinhole:
            return 0.0
        camera = self.camera
        x, y = _undistortion(
            (camera.fx, camera.fy, camera.cx, camera.cy), camera.size, self.distortion,
            self.fisheye,
        )  # fmt: skip
        columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        return float(np.hypot(x - columns, y - rows).max())


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """An image and a pinhole camera that shows the same.

    name: path of the image as the dataset writes it; camera: pinhole camera, at the size of the
    image that load() returns; time: s, None in a static scene; path: image file; mask_path: mask
    file, or None; lens: the camera that took the file, None if it is `camera`; sized_like: image
    whose size this one is expected to have, None if the dataset gives the size; frame: number of
    the picture, if path is a film; label: name of the
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
    frame: int | None = None
    label: str = ""

    def __post_init__(self) -> None:
        if not self.label:
            set_fields(self, label=_label(PurePosixPath(self.name).parts[-1:]))

    def load(self) -> Photograph:
        """Read the photograph, undistorted and at the size of the camera.

        A pixel is not seen where the mask of the dataset is 0, and where undistortion reaches
        outside the file. Each call reads the files. Raises ValueError if a file cannot be read or
        does not have the expected size.
        """
        if self.frame is not None:
            rgb = film_pictures(self.path, self.camera.size)[self.frame] / np.float32(255)
            return Photograph(rgb=rgb, alpha=np.ones(rgb.shape[:2], np.float32))
        rgba = self._read(self.path, "RGBA") / np.float32(255)
        seen = self._seen()
        if self.lens is not None:
            # Multiplied by alpha, so that the resampling weights each color by its alpha.
            rgba[..., :3] *= rgba[..., 3:]
            rgba = _resample(rgba, self.lens, self.camera)
            alpha = rgba[..., 3:]
            np.divide(rgba[..., :3], alpha, out=rgba[..., :3], where=alpha > 0)
            rgba = rgba.clip(0, 1)
        return Photograph(
            rgb=np.ascontiguousarray(rgba[..., :3]),
            alpha=np.ascontiguousarray(rgba[..., 3]),
            seen=seen,
        )

    def _seen(self) -> np.ndarray | None:
        """Which pixels (H, W) of the camera are seen, None for all of them."""
        source = (self.lens or self).camera
        distorted = self.lens is not None and (self.lens.fisheye or self.lens.distortion)
        if self.mask_path is not None:
            mask = (self._read(self.mask_path, "L", scaled=True) > 0).astype(np.float32)
        elif distorted:
            mask = np.ones((source.height, source.width), np.float32)
        else:
            return None
        whole = mask if self.lens is None else _resample(mask, self.lens, self.camera)
        return None if (whole > WHOLE).all() else whole > WHOLE

    def _read(self, path: Path, mode: str, scaled: bool = False) -> np.ndarray:
        size = (self.lens or self).camera.size
        return read_pixels(path, mode, size, sized_like=self.sized_like, scaled=scaled)


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


def existing(items: Sequence[tuple[T, Located]], where: Path) -> list[tuple[T, Located]]:
    """The (record, image) items whose image exists; warns once about the other items.

    where: the file that lists the images. Raises ValueError if no image exists.
    """
    absent = [image.path for _, image in items if not image.path.is_file()]
    if len(absent) == len(items):
        raise ValueError(f"{where}: none of its {len(items)} images exists, first {absent[0]}")
    if absent:
        warnings.warn(
            f"{where}: left out {len(absent)} of {len(items)} images that do not exist, "
            f"first {absent[0]}",
            stacklevel=5,  # the caller of load_views
        )
    return [item for item in items if item[1].path.is_file()]


def build_view(
    where: str,
    intrinsics: dict[str, Any],
    world_to_camera: np.ndarray,
    *,
    image: Located,
    distortion: tuple[float, ...] = (),
    fisheye: bool = False,
    downscale: int = 1,
    **fields: Any,
) -> View:
    """The view of an image file and of the camera that took it.

    where: place that error messages name; intrinsics: fx fy cx cy width height, px;
    world_to_camera: (4, 4); image: the file; distortion, fisheye: as in `Lens`; downscale: divides
    width and height; fields: further fields of View. A file that was shrunk already is used as it
    is, if it is not larger than wanted. Raises ValueError for an impossible camera.
    """
    lens = make_lens(where, intrinsics, world_to_camera, distortion, fisheye=fisheye)
    camera = lens.camera
    try:
        scaled = camera if downscale == 1 else _scaled(camera, downscale)
        if image.size is not None:
            camera = camera.resized(*image.size)
            if camera.width <= scaled.width:
                scaled = camera
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if lens.pinhole and camera.size == scaled.size:
        return View(camera=scaled, path=image.path, **fields)
    lens = dataclasses.replace(lens, camera=camera)
    return View(camera=scaled, lens=lens, path=image.path, **fields)


def make_lens(
    where: str,
    intrinsics: dict[str, Any],
    world_to_camera: np.ndarray,
    distortion: tuple[float, ...],
    *,
    fisheye: bool,
) -> Lens:
    """The camera of an image file; all is as for `build_view`."""
    try:
        camera = Camera(**intrinsics, world_to_camera=world_to_camera)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return Lens(camera=camera, distortion=distortion if any(distortion) else (), fisheye=fisheye)


def _scaled(camera: Camera, downscale: int) -> Camera:
    width, height = camera.width // downscale, camera.height // downscale
    if not width or not height:
        raise ValueError(
            f"downscale: got {downscale}, which leaves nothing of {camera.width}x{camera.height} px"
        )
    return camera.resized(width, height)  # a side that downscale does not divide is squeezed
