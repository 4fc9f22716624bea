"""Pictures of a clip, of which only a window is in memory where they are many."""

import collections
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import cv2
import numpy as np


MEMORY = 384 * 2**20  # bytes of pictures that are kept in memory; more go to a temporary file
WINDOW = 8  # pictures of such a file that are kept decoded: those that are looked at together
LIGHT = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # stronger compression takes longer than the disk


class Footage(Protocol):
    """Pictures (T, H, W, 3) uint8: an array, or what gives one picture after the other as that
    would."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, which: Any, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


class SpooledFootage:
    """Footage that lies in a temporary file, without loss; a slice is made without reading any.

    The file has no name, and is gone with the last footage that uses it.
    """

    def __init__(self, store: "_Store", order: range):
        self._store, self._order = store, order

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, H, W, 3)."""
        return len(self), *self._store.shape

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, which: Any, /) -> Any:
        """A picture (H, W, 3) uint8, or of a slice of them footage."""
        if isinstance(which, slice):
            return SpooledFootage(self._store, self._order[which])
        return self._store.read(self._order[which])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._store.read(k) for k in self._order)


class _Store:
    """Pictures of one shape in a temporary file, each compressed for itself."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as this object
        self._ends = [0]
        self._window: collections.OrderedDict[int, np.ndarray] = collections.OrderedDict()

    def append(self, picture: np.ndarray) -> None:
        data = cv2.imencode(".png", picture, LIGHT)[1]
        self._file.write(data.tobytes())
        self._ends.append(self._ends[-1] + len(data))

    def flush(self) -> None:
        self._file.flush()

    def read(self, index: int) -> np.ndarray:
        picture = self._window.pop(index, None)
        if picture is None:
            start, end = self._ends[index : index + 2]
            self._file.seek(start)
            data = np.frombuffer(self._file.read(end - start), np.uint8)
            picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
            assert picture is not None
        self._window[index] = picture
        if len(self._window) > WINDOW:
            self._window.popitem(last=False)
        return picture


def keep_pictures(
    pictures: Iterable[np.ndarray], count: int, *, memory: int | None = None
) -> np.ndarray | SpooledFootage:
    """So many pictures (H, W, 3) uint8, at least one, in an array, or in a temporary file where
    they would need more than memory bytes (default: MEMORY).

    Raises ValueError where pictures end before, and where the disk is full.
    """
    stream = iter(pictures)
    first = next(stream, None)
    if first is None:
        raise ValueError(f"pictures: got none, expected {count}")
    memory = MEMORY if memory is None else memory
    if count * first.nbytes <= memory:
        result = np.empty((count, *first.shape), np.uint8)
        result[0] = first
        for k in range(1, count):
            result[k] = _next(stream, k, count)
        return result
    store = _Store(first.shape)
    try:
        store.append(first)
        for k in range(1, count):
            store.append(_next(stream, k, count))
        store.flush()
    except OSError as error:
        raise ValueError(
            f"the clip's pictures do not fit into {tempfile.gettempdir()} ({error.strerror}): use "
            "fewer (--frames), or name a folder with more room in the variable TMPDIR"
        ) from None
    return SpooledFootage(store, range(count))


def as_footage(video: Any) -> Footage:
    """Footage, or an array of its shape. Raises ValueError for any other shape."""
    result: Footage = video if isinstance(video, SpooledFootage) else np.asarray(video)
    if len(result.shape) != 4 or result.shape[3] != 3 or len(result) == 0:
        raise ValueError(f"video: got shape {result.shape}, expected (T, H, W, 3)")
    return result


def _next(stream: Iterator[np.ndarray], index: int, count: int) -> np.ndarray:
    picture = next(stream, None)
    if picture is None:
        raise ValueError(f"pictures: got {index}, expected {count}")
    return picture
