"""Screenshots, and videos that grow while a viewer runs."""

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from renderers.images import write_png
from renderers.video import write_video


class Recorder:
    """Writes picture_000.png, video_000.mp4 and so on into a folder.

    frames: number of pictures in the video that is being recorded, None if there is none.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.frames: int | None = None

    def _free(self, name: str) -> Path:
        """The first path that is not taken."""
        number = 0
        while (path := self.folder / name.format(number)).exists():
            number += 1
        return path

    def shoot(self, picture: np.ndarray) -> str:
        """Write a picture (H, W, 3) uint8; what to tell the user."""
        path = self._free("picture_{:03d}.png")
        write_png(path, picture)
        return f"wrote {path}"

    def toggle(self, fps: float) -> str:
        """Start a video, or write the end of the one that runs; what to tell the user."""
        if self.frames is None:
            self.path, self.frames = self._free("video_{:03d}.mp4"), 0
            self._last, self._error, self._ended = -math.inf, "", False
            self._queue: queue.Queue = queue.Queue(maxsize=16)
            self._thread = threading.Thread(target=self._write, args=(fps,), daemon=True)
            self._thread.start()
            return f"recording {self.path}"
        frames, self.frames = self.frames, None
        self._queue.put(None)
        self._thread.join()
        if not frames:
            return "no frames, no video"
        return self._error or f"wrote {self.path}, {frames} frames"

    def add(self, draw: Callable[[], np.ndarray], every: float = 0.0) -> None:
        """Append a picture to the video that is being recorded, if there is one, unless the last
        picture is less than `every` s old."""
        now = time.monotonic()
        if self.frames is not None and now - self._last >= every:
            self._last, self.frames = now, self.frames + 1
            self._queue.put(draw())

    def _write(self, fps: float) -> None:
        """Encode, on a thread of its own."""
        try:
            write_video(self.path, self._pictures(), fps)
        except ValueError as error:
            self._error = str(error)
            for _ in self._pictures():  # nobody must wait for room in the queue
                pass

    def _pictures(self) -> Iterator[np.ndarray]:
        while not self._ended and (picture := self._queue.get()) is not None:
            yield picture
        self._ended = True
