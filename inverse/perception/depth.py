"""Depth maps of frame 0, from files as depth cameras, networks and renderers write them."""

from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage
from scipy.interpolate import LinearNDInterpolator

from inverse.perception.arrays import read_array
from taichi_phys.checks import finite_number


INTEGERS_PER_METER = 1000.0  # integer maps are in millimeters, unless the file of the camera says
NAMES = ("depth", "depths", "depth_map", "predicted_depth", "metric_depth", "pred", "arr_0")
NEAR, FAR = 0.02, 300.0  # m; a median beyond these has another unit than meters
ASPECT = 0.03  # by which a network's map may be out of the clip's proportions
HOLES = 0.5  # of the object's pixels may lack depth
AROUND = 9  # px, side of the square by which the surroundings of the object reach out
BEHIND = 0.9  # of the object's depth; surroundings nearer than that hint at inverse depth
FORMATS = "16 bit PNG, TIFF, npy, npz, EXR, PFM or COLMAP's bin"


def load_depth(
    path: str | Path,
    depth_scale: float | None,
    mask: np.ndarray,
    *,
    scale: float | None = None,
    inverse: bool = False,
    whole: bool = False,
    notes: list[str] | None = None,
) -> np.ndarray:
    """Read depth along the optical axis as (H, W) m, NaN where it is not known, outside the mask.

    path: 16 bit png, tiff, npy, npz, exr, pfm, or COLMAP's bin; depth_scale: what integers are
    divided by, default 1000; floats are taken as meters; scale: what all numbers are divided by,
    instead; mask: (H, W) bool, of the object; inverse: the numbers, so divided, are 1/m; whole:
    whether depth outside the mask is kept; notes: takes sentences about what was assumed. A map of
    another size but the same proportions is resized, and holes in the object are filled from around
    them.
    Raises ValueError for a scale that is not positive, an unreadable file, pictures of 8 bits or of
    colors, other proportions, a unit that cannot be meters, and a mask in which most of the depth
    is zero, negative or not finite.
    """
    for name, value in (("depth_scale", depth_scale), ("scale", scale)):
        if value is not None:
            finite_number(name, value, "a positive number", low=0, open_end=True)
    notes = [] if notes is None else notes
    raw = _one_map(path, notes)
    integers = raw.dtype.kind in "iu"
    known = scale is not None or (integers and depth_scale is not None)
    if scale is None:
        scale = (depth_scale or INTEGERS_PER_METER) if integers else 1.0
    if integers and not known:
        _refuse_stretched(path, raw)
    values = raw.astype(np.float64) / scale
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(values > 0, 1 / values if inverse else values, np.nan)
    depth[~np.isfinite(depth)] = np.nan
    if (raw < 0).any() and not (raw > 0).any():
        raise ValueError(
            f"depth {path}: all of its numbers are negative, expected positive ones along the "
            "viewing direction; turn their signs"
        )
    mask = np.asarray(mask, dtype=bool)
    if depth.shape != mask.shape:
        depth = _resized(path, depth, mask, notes)
    depth = _without_holes(path, depth, mask, notes)
    _check_unit(path, float(np.median(depth[mask])), known)
    _compare_surroundings(path, depth, mask, notes)
    return depth if whole else np.where(mask, depth, np.nan)


def constant_depth(mask: np.ndarray, distance: float) -> np.ndarray:
    """Depth (H, W) m of a flat object that faces the camera; NaN outside the mask.

    mask: (H, W) bool; distance: m. Raises ValueError for a distance that is not positive.
    """
    finite_number("distance", distance, "a positive length in meters", low=0, open_end=True)
    return np.where(mask, float(distance), np.nan)


def fill_depth(depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fill in the pixels of a mask (H, W) bool that have no depth from those that have.

    depth: (H, W) m, NaN where it is not known. Returns (H, W) m: between known pixels it is
    linear, beyond them that of the nearest. Raises ValueError if none is known in the mask.
    """
    known = mask & np.isfinite(depth)
    if not known.any():
        raise ValueError("depth: none is known inside the mask")
    holes = mask & ~known
    if not holes.any():
        return depth
    nearest = depth[tuple(ndimage.distance_transform_edt(~known, return_indices=True)[1])]
    values = np.full(int(holes.sum()), np.nan)
    rim = known & ndimage.binary_dilation(holes, np.ones((3, 3)), iterations=2)
    places = np.argwhere(rim)
    if len(places) >= 3 and (np.ptp(places, axis=0) > 0).all():
        values = LinearNDInterpolator(places, depth[rim])(np.argwhere(holes))
    filled = depth.copy()
    filled[holes] = np.where(np.isfinite(values), values, nearest[holes])
    return filled


def _one_map(path: str | Path, notes: list[str]) -> np.ndarray:
    """The one map (H, W) of a file; of several, that of frame 0; of points, their depth."""
    array = read_array(path, "depth", NAMES)
    while array.ndim > 2 and 1 in array.shape:
        array = array.squeeze(axis=array.shape.index(1))
    if array.dtype == bool or array.dtype.itemsize == 1:
        kind = "colored picture" if array.ndim == 3 else "picture of 8 bits"
        raise ValueError(
            f"depth {path}: it is a {kind}, which holds no distances in meters; expected the "
            f"network's or camera's own numbers as {FORMATS}"
        )
    if array.ndim == 4 and array.shape[-1] == 3:
        array = array[0]
        notes.append(f"{path} holds several maps; the first was taken, as that of frame 0.")
    if array.ndim == 3 and array.shape[-1] in (3, 4):
        return _one_channel(path, array, notes)
    if array.ndim == 3:
        notes.append(
            f"{path} holds {len(array)} depth maps; the first was taken, as that of frame 0."
        )
        array = array[0]
    if array.ndim != 2 or 0 in array.shape:
        got = "x".join(str(n) for n in array.shape)
        raise ValueError(f"depth {path}: its shape is {got}, expected (height, width)")
    return array


def _one_channel(path: str | Path, array: np.ndarray, notes: list[str]) -> np.ndarray:
    """Of equal channels the first; of points (H, W, 3) their depth; nothing else."""
    same = np.array_equal(array[..., 0], array[..., 1], equal_nan=array.dtype.kind == "f")
    if same and np.array_equal(array[..., 0], array[..., 2], equal_nan=array.dtype.kind == "f"):
        return array[..., 0]
    points = Path(path).suffix.lower() in (".npy", ".npz", ".exr")
    if array.dtype.kind == "f" and array.shape[-1] == 3 and points:
        notes.append(
            f"{path} holds three numbers per pixel; they were taken to be points in the axes of "
            "the camera, the third of them depth."
        )
        return array[..., 2]
    raise ValueError(
        f"depth {path}: it is a colored picture, which holds no distances in meters; expected the "
        f"network's or camera's own numbers as {FORMATS}"
    )


def _refuse_stretched(path: str | Path, raw: np.ndarray) -> None:
    if raw.dtype == np.uint16 and raw.min() == 0 and raw.max() == np.iinfo(np.uint16).max:
        raise ValueError(
            f"depth {path}: its numbers fill 0 to 65535, as in pictures of relative depth, which "
            "hold no distances; if they are metric, say with --depth-scale what to divide them by"
        )


def _resized(path: str | Path, depth: np.ndarray, mask: np.ndarray, notes: list[str]) -> np.ndarray:
    """A map of another size, resized within the object: the background does not bleed into it."""
    (height, width), (rows, columns) = mask.shape, depth.shape
    got = f"{columns}x{rows}"
    if abs(columns * height / (rows * width) - 1) > ASPECT:
        raise ValueError(
            f"depth {path}: its size is {got}, expected {width}x{height}, that of the video, or "
            "its proportions"
        )
    share = cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    inside = (share > 0.5) & np.isfinite(depth)
    size, linear = (width, height), cv2.INTER_LINEAR
    weight = cv2.resize(inside.astype(np.float64), size, interpolation=linear)
    total = cv2.resize(np.where(inside, depth, 0.0), size, interpolation=linear)
    plain = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST)
    notes.append(f"The depth map of {got} was resized to the {width}x{height} of the video.")
    with np.errstate(divide="ignore", invalid="ignore"):
        resized = np.where(weight > 1e-6, total / weight, np.where(mask, np.nan, plain))
    if not (mask & np.isfinite(resized)).any():  # too small an object for so coarse a map
        resized = np.where(mask, plain, resized)
    known = np.isfinite(plain)
    filled = fill_depth(resized, mask & known) if (mask & np.isfinite(resized)).any() else resized
    return np.where(known, filled, np.nan)


def _without_holes(
    path: str | Path, depth: np.ndarray, mask: np.ndarray, notes: list[str]
) -> np.ndarray:
    holes = mask & ~np.isfinite(depth)
    if not holes.any():
        return depth
    if holes.sum() > HOLES * mask.sum():
        row, column = np.argwhere(holes)[0]
        raise ValueError(
            f"depth {path}: {holes.sum()} of {mask.sum()} pixels inside the mask are zero, "
            f"negative or not finite (first at row {row}, column {column}), expected positive "
            "depths in at least half of them"
        )
    notes.append(
        f"{holes.sum()} of {mask.sum()} pixels of the object have no depth in {path}; they were "
        "filled from those around them."
    )
    return fill_depth(depth, mask)


def _check_unit(path: str | Path, median: float, known: bool) -> None:
    if known or NEAR <= median <= FAR:
        return
    raise ValueError(
        f"depth {path}: the object would be {median:.3g} m away; if its numbers are in another "
        "unit, say with --depth-scale what to divide them by (1000 for millimeters, 1 for meters), "
        "and with --inverse-depth that they are inverse depth"
    )


def _compare_surroundings(
    path: str | Path, depth: np.ndarray, mask: np.ndarray, notes: list[str]
) -> None:
    """Say so where the object lies behind what surrounds it, as in a map of inverse depth."""
    kernel = np.ones((AROUND, AROUND), np.uint8)
    near = cv2.dilate(mask.astype(np.uint8), kernel, iterations=2) > 0
    rim = cv2.dilate(mask.astype(np.uint8), kernel) > 0  # depth bleeds there
    around = depth[near & ~rim]
    around = around[np.isfinite(around)]
    inside = float(np.median(depth[mask]))
    if len(around) and np.median(around) < BEHIND * inside:
        notes.append(
            f"In {path} what surrounds the object is nearer than the object. If it is not seen "
            "through a gap, the map holds inverse depth: give --inverse-depth."
        )
