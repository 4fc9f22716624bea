"""Files of tracks, as trackers write them."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inverse.tracking.tracks import FIELDS, Tracks


HALF = 0.5  # px: CoTracker counts from the centers of pixels
# Names under which CoTracker's results are saved, and those of TAP-Vid and of TAPIR, TAPNext and
# BootsTAPIR: of positions, and of what says whether they are seen (True where it says hidden).
COTRACKER = ("pred_tracks", "tracks"), {"pred_visibility": False, "visibility": False}
TAP = ("points", "tracks", "target_points"), {"occluded": True, "visibles": False}
NORMALIZED = 2.0  # the largest coordinate of points between 0 and 1, some of which left the picture
EXPECTED = (
    "expected xy (T, N, 2) px and visible (T, N), CoTracker's pred_tracks (1, T, N, 2) and "
    "pred_visibility, or TAP-Vid's points (N, T, 2) and occluded (N, T)"
)


def load_tracks(path: str | Path, size: tuple[int, int] | None = None) -> Tracks:
    """Read tracks written by `Tracks.save`, those of CoTracker, or those of TAP-Vid.

    Files are npz, or pt of `torch.save`. `xy` (T, N, 2) px with `visible` (T, N) are our own.
    CoTracker's `pred_tracks` (1, T, N, 2) with `pred_visibility` count pixels from their centers.
    TAP-Vid's `points` or `tracks` (N, T, 2) with `occluded` or `visibles` (N, T) are pixels, or, if
    they are all small, shares of the picture.

    size: (width, height) px of the pictures, which shares of it need. Raises ValueError for a file
    that is missing, broken, or has none of these, by name.
    """
    arrays = _read(Path(path))
    try:
        if "xy" in arrays or "visible" in arrays:
            missing = [key for key in FIELDS[:2] if key not in arrays]
            if missing:
                raise ValueError(f"missing {', '.join(missing)}; {EXPECTED}")
            fields: dict[str, Any] = {key: arrays[key] for key in FIELDS if key in arrays}
            return Tracks(**fields)
        for (names, flags), convert in ((TAP, _tap), (COTRACKER, _cotracker)):
            places = next((name for name in names if name in arrays), None)
            seen = next((name for name in flags if name in arrays), None)
            if places is not None and seen is not None:
                shown = arrays[seen] < 0.5 if flags[seen] else arrays[seen] > 0.5
                return convert(arrays[places], shown, size)
        raise ValueError(f"has {', '.join(sorted(arrays)) or 'nothing'}; {EXPECTED}")
    except ValueError as error:
        raise ValueError(f"tracks {path}: {error}") from None


def _cotracker(xy: np.ndarray, seen: np.ndarray, size: tuple[int, int] | None) -> Tracks:
    xy, seen = _of_one_clip(xy, 3), _of_one_clip(seen, 2)
    return _tracks(xy + HALF, seen)


def _tap(points: np.ndarray, seen: np.ndarray, size: tuple[int, int] | None) -> Tracks:
    points, seen = _of_one_clip(points, 3), _of_one_clip(seen, 2)
    xy, seen = np.swapaxes(points, 0, 1).astype(np.float64), seen.T
    if seen.shape == xy.shape[:2] and seen.any() and np.abs(xy[seen]).max() < NORMALIZED:
        if size is None:
            raise ValueError("points are shares of the picture, whose size is not known")
        xy = xy * size
    return _tracks(xy, seen)


def _tracks(xy: np.ndarray, seen: np.ndarray) -> Tracks:
    """Tracks of which what is not finite is not seen."""
    if xy.shape != (*seen.shape, 2):
        raise ValueError(f"positions have shape {xy.shape}, what is seen {seen.shape}; {EXPECTED}")
    return Tracks(xy=xy, visible=seen & np.isfinite(xy).all(axis=-1))


def _of_one_clip(array: np.ndarray, axes: int) -> np.ndarray:
    """An array without the axes of a batch, and of a single number, that models put around it."""
    while array.ndim > axes and 1 in (array.shape[0], array.shape[-1]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    return array


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name."""
    if path.suffix.lower() in (".pkl", ".pickle"):
        raise ValueError(
            f"tracks {path}: a pickle can run programs and is not read; load it and save its "
            "arrays by numpy.savez"
        )
    try:
        if path.suffix.lower() in (".pt", ".pth"):
            import torch

            record = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(record, Mapping):
                raise ValueError(f"holds a {type(record).__name__}, expected a dictionary")
            return {str(key): _array(value) for key, value in record.items()}
        with np.load(path, allow_pickle=False) as record:
            return {key: record[key] for key in record.files}
    except OSError as error:
        raise ValueError(f"tracks {path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"tracks {path}: not a readable npz file ({error})") from None
    except (RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"tracks {path}: not a readable pt file ({reason})") from None


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
