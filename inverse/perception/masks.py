"""Masks of the object, from files as segmentation tools and picture editors write them."""

from pathlib import Path

import cv2
import numpy as np

from inverse.perception.arrays import read_array
from inverse.perception.labelme import read_labelme
from renderers.films import IMAGES, natural_key
from renderers.video import read_video


NAMES = ("mask", "masks", "labels", "segmentation", "arr_0")
ARRAYS = {".npy", ".npz"}
FILMS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif"}
GRAY = (0.1, 0.9)  # of the largest value; between them lie gray rims, or labels
LABELS = 64  # integers below it are labels; a gray mask reaches higher
FLAT = 16  # px with equal ones all around them make a label; rims and noise have none
PICTURE = 0.3  # of the bright pixels; so much gray inside is no rim
RIM = np.ones((5, 5), np.uint8)  # px, as wide as a gray rim may be
FRAMED = 0.95  # of the pixels along the image's edge, bright in an inverted mask
ASPECT = 0.03  # by which a network's mask may be out of the clip's proportions


def load_mask(
    path: str | Path, size: tuple[int, int], *, notes: list[str] | None = None
) -> np.ndarray:
    """Read the mask of one object as (H, W) bool.

    path: a picture that is bright where the object is (above half of its largest value), a cut-out
    whose alpha channel says so, an array in npy or npz, or outlines by labelme; size: (width,
    height) of the video, px; notes: takes sentences about what was assumed.
    Raises ValueError for an unreadable file, other proportions than the video's, a mask that is
    empty, full or inverted, a picture that is no mask, and labels of several objects.
    """
    labels = load_labels(path, size, notes=notes)
    several = labels.max()
    if several > 1:
        raise ValueError(
            f"mask {path}: it has labels of {several} objects, expected one; give a mask that is "
            "white where the object is"
        )
    return labels == 1


def load_labels(
    path: str | Path, size: tuple[int, int], *, notes: list[str] | None = None
) -> np.ndarray:
    """Read a mask or an image of labels as (H, W) int: 0 is background, objects are 1, 2, ...

    Objects are numbered in the order of their values in the file; a mask has one. path, size,
    notes and what it raises: as for `load_mask`.
    """
    array = _squeezed(_read(path))
    if array.ndim != 2:
        raise ValueError(
            f"mask {path}: it holds {len(array)} masks, expected one; save the one of frame 0"
        )
    labels = _fitted(path, _labels(path, array), size, [] if notes is None else notes)
    _check_one(path, labels > 0)
    return labels


def load_masks(
    path: str | Path, size: tuple[int, int], frames: int, *, notes: list[str] | None = None
) -> np.ndarray:
    """Read the masks of one object in all frames as (T, H, W) bool; later ones may be empty.

    path: a folder of pictures in the order of their numbers, a film, or an array (T, H, W) in npy
    or npz; frames: of the clip; size, notes: as for `load_mask`.
    Raises ValueError as `load_mask` does, and for fewer masks than frames.
    """
    path, notes = Path(path), [] if notes is None else notes
    arrays: list[np.ndarray]
    if path.is_dir():
        files = [file for file in path.iterdir() if file.suffix.lower() in {*IMAGES, *ARRAYS}]
        names = sorted(files, key=natural_key)[:frames]
        arrays = [_squeezed(_read(file)) for file in names]
    elif path.suffix.lower() in FILMS:
        arrays = list(read_video(path, max_frames=frames).frames.max(axis=3))
        names = [path] * len(arrays)
    else:
        arrays = list(_squeezed(_read(path)))[:frames]
        names = [path] * len(arrays)
    if len(arrays) < frames:
        raise ValueError(
            f"mask {path}: it holds {len(arrays)} masks for {frames} frames, expected one for "
            "each, or the mask of frame 0 alone"
        )
    masks = []
    for name, array in zip(names, arrays, strict=True):
        if array.ndim != 2:
            raise ValueError(f"mask {name}: got shape {array.shape}, expected (height, width)")
        labels = _fitted(name, _labels(name, array), size, notes)
        if labels.max() > 1:
            raise ValueError(f"mask {name}: it has labels of {labels.max()} objects, expected one")
        masks.append(labels > 0)
    _check_one(path, masks[0])
    return np.stack(masks)


def is_sequence(path: str | Path) -> bool:
    """Whether a path holds masks of several frames: a folder, a film, or an array (T, H, W)."""
    path = Path(path)
    if path.is_dir() or path.suffix.lower() in FILMS:
        return True
    if path.suffix.lower() not in ARRAYS or not path.is_file():
        return False
    return _squeezed(_read(path)).ndim == 3


def _read(path: str | Path) -> np.ndarray:
    """An array (H, W) or (T, H, W) that is larger where the object is."""
    path = Path(path)
    if path.suffix.lower() in ARRAYS:
        array = _squeezed(read_array(path, "mask", NAMES))
        if array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8:
            return _gray(array)
        return array
    if not path.is_file():
        raise ValueError(f"mask {path}: no such file")
    if path.suffix.lower() == ".json":
        return read_labelme(path)
    return _read_picture(path)


def _read_picture(path: Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
    except UnidentifiedImageError:
        raise ValueError(f"mask {path}: not a readable image") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"mask {path}: not a readable image ({error})") from None
    if image.mode == "P" and "transparency" not in image.info:
        colors = np.asarray(image.getpalette()).reshape(-1, 3)
        used = np.unique(np.asarray(image))
        if (np.ptp(colors[used], axis=1) > 0).any():
            return np.asarray(image)  # numbers of labels
    if image.mode in ("P", "PA", "LA"):
        image = image.convert("RGBA")
    elif image.mode not in ("1", "L", "I", "F", "I;16", "I;16B", "RGB", "RGBA"):
        image = image.convert("RGB")
    array = np.asarray(image)
    return _gray(array) if array.ndim == 3 else array


def _gray(picture: np.ndarray) -> np.ndarray:
    """(H, W) of a picture (H, W, 3 or 4): its alpha channel where that says something.

    Flat colors become numbers of labels, black is 0.
    """
    if picture.shape[2] == 4 and picture[..., 3].min() < picture[..., 3].max():
        return picture[..., 3]
    colors = picture[..., :3].astype(np.int64)
    if (np.ptp(colors, axis=2) == 0).all():
        return picture[..., 0]
    packed = colors @ [1, 256, 65536]
    flat = _flat_values(packed, colors.max(axis=2) > 0)
    if 1 <= len(flat) < LABELS and np.isin(packed, [0, *flat]).mean() > 1 - PICTURE:
        labels = np.searchsorted(flat, packed) + 1
        labels[~np.isin(packed, flat)] = 0
        return labels
    return picture[..., :3].max(axis=2)


def _squeezed(array: np.ndarray) -> np.ndarray:
    """(H, W) or (T, H, W), without axes of length 1."""
    shape = [n for n in array.shape if n > 1]
    return array.reshape(shape) if len(shape) in (2, 3, 4) else array


def _labels(path: str | Path, array: np.ndarray) -> np.ndarray:
    """Labels (H, W) 0, 1, 2, ... of an array (H, W) of a mask or of labels."""
    if array.dtype.kind not in "biuf" or 0 in array.shape:
        raise ValueError(f"mask {path}: got {array.dtype} {array.shape}, expected numbers")
    if array.dtype.kind == "f" and (array < 0).any():  # logits
        return (array > 0).astype(np.int64)
    values = np.nan_to_num(array.astype(np.float64))
    top, whole = float(values.max()), bool((values == values.round()).all())
    if top <= 0:
        return np.zeros(array.shape, np.int64)
    flat = _flat_values(values, values > 0)
    if whole and 1 < top < LABELS:
        found = flat if len(flat) else np.array([top])
        labels = np.zeros(array.shape, np.int64)
        for number, value in enumerate(found, 1):
            labels[values == value] = number
        return labels
    gray = (values > GRAY[0] * top) & (values < GRAY[1] * top)
    between = [value for value in flat if GRAY[0] * top < value < GRAY[1] * top]
    if whole and between and len(between) < LABELS:
        labels = np.zeros(array.shape, np.int64)
        for number, value in enumerate(between, 1):
            labels[values == value] = number
        bright = values >= GRAY[1] * top
        if bright.any():
            labels[bright] = len(between) + 1
        return labels
    inner = cv2.erode(gray.astype(np.uint8), RIM)
    if inner.sum() > PICTURE * (values > GRAY[0] * top).sum():
        raise ValueError(
            f"mask {path}: it is a picture rather than a mask, expected white where the object is "
            "and black elsewhere"
        )
    return (values > 0.5 * top).astype(np.int64)


def _flat_values(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The values (k,) of pixels in a mask whose neighbors all have the same, in rising order."""
    low = cv2.erode(values.astype(np.float64), np.ones((3, 3)))
    high = cv2.dilate(values.astype(np.float64), np.ones((3, 3)))
    found, counts = np.unique(values[where & (low == high)], return_counts=True)
    return found[counts >= FLAT]


def _fitted(
    path: str | Path, labels: np.ndarray, size: tuple[int, int], notes: list[str]
) -> np.ndarray:
    """Labels in the size of the video, if they have its proportions."""
    (rows, columns), (width, height) = labels.shape, size
    if (columns, rows) == (width, height):
        return labels
    if abs(columns * height / (rows * width) - 1) > ASPECT:
        raise ValueError(
            f"mask {path}: its size is {columns}x{rows}, expected {width}x{height}, that of the "
            "video, or its proportions"
        )
    sentence = f"The mask of {columns}x{rows} was resized to the {width}x{height} of the video."
    if sentence not in notes:
        notes.append(sentence)
    if labels.max() > 1:
        nearest = cv2.resize(labels.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
        return nearest.astype(np.int64)
    smooth = cv2.resize(labels.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return (smooth > 0.5).astype(np.int64)


def _check_one(path: str | Path, mask: np.ndarray) -> None:
    if not mask.any():
        raise ValueError(f"mask {path}: it is empty, expected white pixels where the object is")
    if mask.all():
        raise ValueError(
            f"mask {path}: all of its pixels are white, expected black ones where the object is not"
        )
    edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    if edge.mean() > FRAMED:
        raise ValueError(
            f"mask {path}: it is white along all edges of the image and seems to be inverted, "
            "expected white where the object is; invert it"
        )
