"""Films as sources of photographs: their times, and all their pictures at one size."""

import functools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from renderers.decoding import Film, Picture


@functools.lru_cache(maxsize=64)
def film_times(path: Path) -> tuple[float, ...]:
    """The time of each picture of a film, s, from 0 on. Raises ValueError if it is unreadable."""
    times = [picture.time for picture in _pictures(path, longest=32)]
    return tuple(time - times[0] for time in times)


@functools.lru_cache(maxsize=1)  # views are read camera after camera
def film_pictures(path: Path, size: tuple[int, int]) -> np.ndarray:
    """All pictures of a film, (T, H, W, 3) uint8.

    size: their width and height, px. Raises ValueError if the film cannot be read.
    """
    shrink = functools.partial(cv2.resize, dsize=size, interpolation=cv2.INTER_AREA)
    return np.stack([shrink(picture.image) for picture in _pictures(path)])


def _pictures(path: Path, longest: int | None = None) -> Iterator[Picture]:
    with Film(path, longest=longest) as film:
        yield from film
