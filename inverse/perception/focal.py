"""The focal length that a camera wrote into its file."""

import math
import re
import subprocess
from pathlib import Path

from renderers.films import IMAGES, natural_key


FULL_FRAME = math.hypot(36, 24)  # mm, the diagonal to which "35 mm equivalent" refers
# QuickTime's tag is com.apple.quicktime.camera.focal_length.35mm_equivalent, that of EXIF
# FocalLengthIn35mmFilm.
TAG = re.compile(r"focal_?length\S*35\S*\s*[:=]\s*([0-9.]+)")
EXIF, FILM_LENGTH = 0x8769, 41989  # the group of a camera's tags, and FocalLengthIn35mmFilm in it
LIMITS = (5.0, 3000.0)  # mm; 0 stands for unknown


def focal_of_file(path: str | Path, size: tuple[int, int]) -> tuple[float, float] | None:
    """The focal length in pixels, and its 35 mm equivalent in mm, from a file's metadata.

    path: of a film, or of a folder of pictures, of which the first counts; size: (width, height),
    px. None where the file says nothing of it.
    """
    path = Path(path)
    length = _of_pictures(path) if path.is_dir() else _of_film(path)
    if length is None or not LIMITS[0] <= length <= LIMITS[1]:
        return None
    return length * math.hypot(*size) / FULL_FRAME, length


def _of_pictures(folder: Path) -> float | None:
    from PIL import Image

    files = sorted((f for f in folder.iterdir() if f.suffix.lower() in IMAGES), key=natural_key)
    if not files:
        return None
    try:
        with Image.open(files[0]) as image:
            return float(image.getexif().get_ifd(EXIF)[FILM_LENGTH])
    except (OSError, SyntaxError, LookupError, TypeError, ValueError):
        return None


def _of_film(path: Path) -> float | None:
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    try:
        run = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = TAG.search(run.stderr.decode(errors="replace").lower())
    try:
        return None if found is None else float(found.group(1))
    except ValueError:
        return None
