"""Reading and writing moving pictures: frames are (T, H, W, 3) uint8 RGB."""

import contextlib
import dataclasses
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO, cast

import numpy as np

from renderers.films import DEFAULT_FPS as DEFAULT_FPS
from renderers.films import Pictures, open_film
from taichi_phys.checks import finite_number, path_of, whole_number
from taichi_phys.io.files import atomic_path


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Video:
    """A moving picture: frames (T, H, W, 3) uint8 RGB; fps, frames per second."""

    frames: np.ndarray
    fps: float

    def __len__(self) -> int:
        return self.frames.shape[0]


def read_video(
    path: str | Path, *, start: int = 0, max_frames: int | None = None, fps: float | None = None
) -> Video:
    """Read a video file, an animated GIF, or a folder of images in the order of their numbers.

    Frames come at even steps of time: where those of the file do not, some are repeated or left
    out.

    start: the first frame to keep; max_frames: the largest number of frames; fps: frames per
    second, in place of the rate of the file. Raises ValueError if the video cannot be read, holds
    no frame, or has frames of different sizes.
    """
    path = path_of("video", path)
    whole_number(f"video {path}: start", start, "a whole number from 0 on", low=0)
    if max_frames is not None:
        whole_number(f"video {path}: max_frames", max_frames, "a whole number from 1 on", low=1)
    if fps is not None:
        _check_fps(path, fps)
    stop = None if max_frames is None else start + max_frames
    with open_film(path) as film:
        stream = _even_frames(film)
        frames = list(islice(stream, start, stop))
        found_fps = film.facts.fps or DEFAULT_FPS
    if not frames:
        raise ValueError(f"video {path}: holds no frame" + (f" from {start} on" if start else ""))
    sizes = {frame.shape for frame in frames}
    if len(sizes) > 1:
        raise ValueError(
            f"video {path}: frames differ in size: got {sorted(sizes)}, expected one size"
        )
    return Video(frames=np.stack(frames), fps=float(fps or found_fps))


def _even_frames(film: Pictures) -> Iterator[np.ndarray]:
    """The pictures of a film at even steps of time: repeated or left out where its are not even."""
    count, shown = 0, None
    for picture in film:
        slot = round(picture.time * (film.facts.fps or DEFAULT_FPS))
        while shown is not None and count < slot:
            yield shown
            count += 1
        shown = picture.image
    if shown is not None:
        yield shown


def _check_fps(path: Path, fps: float) -> None:
    finite_number(f"video {path}: fps", fps, "a positive number", low=0, open_end=True)


def write_video(
    path: str | Path, frames: Iterable[np.ndarray], fps: float, *, quality: int = 18
) -> None:
    """Write an .mp4 that browsers play (H.264, yuv420p); the file appears only when complete.

    frames: (T, H, W, 3) uint8, or any iterable of (H, W, 3); an odd width or height is padded by
    repeating the last column or row; quality: x264's constant rate factor, 0 (exact) to 51.
    Raises ValueError for no frames, frames that differ in size, or a file that cannot be written.
    """
    path = path_of("video", path)
    if path.suffix.lower() != ".mp4":
        raise ValueError(
            f"video {path}: got a name that ends in {path.suffix!r}, expected a name that ends in "
            ".mp4"
        )
    _check_fps(path, fps)
    stream = iter(frames)
    first = next(stream, None)
    if first is None:
        raise ValueError(f"video {path}: got no frames, expected at least one")
    with atomic_path(path) as partial:
        try:
            with _encoder(partial, first.shape, fps, quality) as pipe:
                for frame in chain([first], stream):
                    pipe.write(_even(path, frame, first.shape).data)
        except OSError as error:
            reason = error.strerror or " ".join(str(error).split())[-200:]
            raise ValueError(f"video {path}: cannot be written ({reason})") from None


@contextlib.contextmanager
def _encoder(path: Path, shape: tuple[int, ...], fps: float, quality: int) -> Iterator[IO[bytes]]:
    """Open the input of ffmpeg for raw frames; raises OSError with ffmpeg's message if it fails."""
    import imageio_ffmpeg

    height, width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-",
        "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", str(quality),
        # Tagged as BT.709 and converted so: untagged files look washed out in some players.
        "-vf", "scale=out_color_matrix=bt709:out_range=tv", "-color_range", "tv",
        "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
        "-movflags", "+faststart", str(path),
    ]  # fmt: skip
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log)
        pipe = cast(IO[bytes], process.stdin)
        broken = False
        try:
            yield pipe
        except BrokenPipeError:
            broken = True  # ffmpeg ended early: the log says why
        except BaseException:
            process.kill()
            raise
        finally:
            with contextlib.suppress(OSError):
                pipe.close()
            process.wait()
        if broken or process.returncode:
            log.seek(0)
            raise OSError(log.read().decode(errors="replace").strip() or "ffmpeg failed")


def _even(path: Path, frame: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Check that a frame has this shape, that of the first frame, and pad it to even sides."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape != shape:
        raise ValueError(
            f"video {path}: got a frame of shape {frame.shape} and type {frame.dtype}, "
            f"expected (H, W, 3) uint8, all of the size of the first, {shape[:2]}"
        )
    height, width = shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)
