"""The pixels of a photograph: what is opaque, what is transparent, and what was not seen."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".exr")  # of images
ORIENTATION, QUARTER_TURNS = 0x0112, (5, 6, 7, 8)  # EXIF's tag; values that swap the sides
# The exceptions that Pillow raises for broken files of all kinds.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Photograph:
    """What a camera saw, pixel by pixel.

    rgb: (H, W, 3) float32 from 0 to 1, not multiplied by alpha; alpha: (H, W) float32, 0 where the
    photograph shows that nothing is there; seen: (H, W) bool, False where the photograph shows
    nothing at all, neither an object nor emptiness, such as under a mask; None if it shows
    something everywhere.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    seen: np.ndarray | None = None

    def over(self, background: Sequence[float] = (0.0, 0.0, 0.0)) -> np.ndarray:
        """The photograph over a background: (H, W, 3) float32, RGB.

        background: (3,) RGB from 0 to 1. Raises ValueError unless it is three finite numbers.
        """
        color = np.asarray(background, dtype=np.float32)
        if color.shape != (3,) or not np.isfinite(color).all():
            raise ValueError(f"background: got {background!r}, expected 3 finite numbers")
        return color + self.alpha[..., None] * (self.rgb - color)


def read_pixels(
    path: Path,
    mode: str,
    size: tuple[int, int],
    *,
    sized_like: Path | None = None,
    scaled: bool = False,
) -> np.ndarray:
    """Read the pixels of an 8-bit image, (H, W) or (H, W, channels) uint8.

    mode: of Pillow, "RGBA" or "L"; size: the expected width and height, px; sized_like: the image
    that has this size, None if the dataset says it; scaled: whether an image of the same shape and
    another size is brought to this size, as masks of shrunk images need it. An image is turned as
    its EXIF data say only if that gives it the expected size: some programs save the poses of
    turned images, and others those of the pixels as they are stored. Raises ValueError if the file
    cannot be read or has another size.
    """
    with _opened(path) as image:
        kind, found = image.mode, image.size
        turned = image.getexif().get(ORIENTATION) in QUARTER_TURNS
        if turned and found != size and found[::-1] == size:
            found, pixels = size, np.asarray(ImageOps.exif_transpose(image).convert(mode))
        else:
            pixels = np.asarray(image.convert(mode))
    if scaled and found != size and _same_shape(found, size):
        found, pixels = (
            size,
            np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)),
        )
    if found != size:
        says = "as the dataset says"
        if sized_like is not None:
            says = f"as {sized_like.name}, since the dataset gives no sizes"
        raise ValueError(
            f"image {path}: is {found[0]}x{found[1]}, expected {size[0]}x{size[1]} {says}"
        )
    if kind[0] in "IF":  # Pillow's conversion would clip them at 255
        raise ValueError(f"image {path}: has pixels of mode {kind}, expected 8-bit channels")
    return pixels


def _same_shape(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two sizes differ by a factor, but for the rounding of the smaller one."""
    small, large = sorted((a, b))
    factor = large[0] / small[0]
    return factor >= 1.5 and abs(large[1] - factor * small[1]) <= factor


def image_size(path: Path) -> tuple[int, int]:
    """Width and height, px, from the header of an image. Raises ValueError."""
    with _opened(path) as image:
        return image.size


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The opened image. Raises ValueError, in one sentence, if it cannot be read."""
    try:
        with Image.open(path) as image:
            yield image
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"image {path}: cannot be read ({reason})") from None
