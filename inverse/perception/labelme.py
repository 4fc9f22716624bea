"""Outlines of objects as labelme draws them."""

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def read_labelme(path: Path) -> np.ndarray:
    """Read the outlines in a json file of labelme as labels (H, W) int, 0 where no object is.

    Polygons, rectangles, circles and masks count; those with the same word are one object, and
    objects are numbered in the order of their first outlines. Raises ValueError, which names the
    file, for another kind of file and for outlines that cannot be filled.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"))
        shapes = record["shapes"]
        size = int(record["imageHeight"]), int(record["imageWidth"])
    except OSError as error:
        raise ValueError(f"mask {path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"mask {path}: expected a json of labelme with shapes, imageHeight and imageWidth"
        ) from None
    numbers: dict[str, int] = {}
    labels = np.zeros(size, np.int32)
    for shape in shapes:
        try:
            inside = _filled(shape, size)
        except (ValueError, KeyError, TypeError, cv2.error) as error:
            raise ValueError(f"mask {path}: an outline cannot be filled ({error})") from None
        labels[inside] = numbers.setdefault(str(shape.get("label")), len(numbers) + 1)
    return labels.astype(np.int64)


def _filled(shape: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """The pixels (H, W) bool inside of an outline."""
    points, kind = np.asarray(shape["points"], np.float64), shape.get("shape_type", "polygon")
    image = np.zeros(size, np.uint8)
    if kind == "polygon" and len(points) > 2:
        # Corners of outlines lie between pixels, those of OpenCV on their centers.
        corners = np.rint(16 * (points - 0.5)).astype(np.int32)
        cv2.fillPoly(image, [corners], 1, shift=4)
    elif kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = np.rint(np.sort(points, axis=0)).astype(int).clip(0)
        image[y0:y1, x0:x1] = 1
    elif kind == "circle" and len(points) == 2:
        rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
        x, y = points[0]
        image[np.hypot(columns - x, rows - y) < np.linalg.norm(points[1] - points[0])] = 1
    elif kind == "mask" and len(points) == 2:
        data = np.frombuffer(base64.b64decode(shape["mask"]), np.uint8)
        part = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
        if part is None:
            raise ValueError("its mask is no picture")
        x, y = np.rint(points[0]).astype(int).clip(0)
        room = image[y : y + part.shape[0], x : x + part.shape[1]]
        room[:] = part[: room.shape[0], : room.shape[1]] > 0
    else:
        raise ValueError(f"it is a {kind} of {len(points)} points")
    return image > 0
