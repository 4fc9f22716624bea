"""Arrays from files of many kinds: numpy's, pictures, float pictures, COLMAP's maps."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from inverse.perception.exr import read_exr


COLMAP_HEADER = 64  # bytes that hold width&height&channels& with room to spare


def read_array(path: str | Path, what: str, keys: Sequence[str]) -> np.ndarray:
    """Read an array from npy, npz, exr, COLMAP's bin, or any picture that OpenCV reads.

    what: the name of the file in errors; keys: names under which an npz may hold the array, the
    best first. Pictures are (H, W), or (H, W, channels) in the order blue, green, red, alpha.
    Raises ValueError, which names the file, for what cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{what} {path}: no such file")
    reader = {".npy": _read_npy, ".exr": read_exr, ".bin": _read_colmap}.get(path.suffix.lower())
    try:
        if path.suffix.lower() == ".npz":
            return _read_npz(path, keys)
        return _read_picture(path) if reader is None else reader(path)
    except OSError as error:
        raise ValueError(f"{what} {path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise ValueError(f"{what} {path}: {error}") from None


def _read_npy(path: Path) -> np.ndarray:
    try:
        return _numbers(np.load(path, allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise ValueError(f"not a readable npy file ({error})") from None


def _read_npz(path: Path, keys: Sequence[str]) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as record:
            maps = {name: record[name] for name in record.files if record[name].ndim >= 2}
    except Exception as error:  # numpy and zipfile raise a dozen kinds for a damaged file
        raise ValueError(f"not a readable npz file ({type(error).__name__}: {error})") from None
    found = next((maps[key] for key in keys if key in maps), None)
    if found is None and len(maps) == 1:
        (found,) = maps.values()
    if found is None:
        held = ", ".join(sorted(maps)) or "none"
        raise ValueError(f"expected an array named {keys[0]!r} or only one, got {held}")
    return _numbers(found)


def _numbers(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"holds values of type {array.dtype}, expected numbers")
    return array


def _read_picture(path: Path) -> np.ndarray:
    data = np.fromfile(path, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if picture is None:
        raise ValueError("not a readable image")
    return picture


def _read_colmap(path: Path) -> np.ndarray:
    """A map of COLMAP's dense reconstruction: width&height&channels&, then floats by columns."""
    data = path.read_bytes()
    head = data[:COLMAP_HEADER].split(b"&", 3)
    try:
        width, height, channels = (int(word) for word in head[:3])
        start = len(data[:COLMAP_HEADER]) - len(head[3])
        values = np.frombuffer(data, np.float32, offset=start)
        array = values.reshape(width, height, channels, order="F").transpose(1, 0, 2)
    except (ValueError, IndexError):
        raise ValueError("not a map of COLMAP's dense reconstruction") from None
    return array[..., 0] if channels == 1 else array
