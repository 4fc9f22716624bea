"""The object of a wind run in frame 0: its pixels and their depth."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from inverse.perception import (
    constant_depth,
    grabcut_mask,
    load_depth,
    load_mask,
    without_outliers,
)
from inverse.runs.settings import given, positive
from inverse.wind.config import WindJob
from renderers.camera import Camera


DEPTH_SCALE = 1000.0  # integer depth maps are in millimeters unless the camera file says otherwise


def read_mask(job: WindJob, image: np.ndarray, assumptions: list[str]) -> np.ndarray:
    """The object's pixels (H, W) bool in frame 0 of the first view.

    image: (H, W, 3) uint8, that frame; assumptions: takes sentences about what was not given.
    Raises ValueError for a mask that cannot be read, and for a box in which nothing is found.
    """
    if job.mask is not None:
        return load_mask(job.mask, (image.shape[1], image.shape[0]))
    box = given("box", job.box)
    mask = grabcut_mask(image, box)
    corners = " ".join(f"{v:g}" for v in box)
    assumptions.append(f"The object's pixels in frame 0 are what GrabCut finds in box {corners}.")
    return mask


def read_depth(
    job: WindJob,
    mask: np.ndarray,
    camera: Camera,
    extra: Mapping[str, Any],
    assumptions: list[str],
) -> np.ndarray:
    """The object's depth (H, W) m in frame 0 of the first view, NaN outside the mask.

    mask: (H, W) bool; camera: of that frame; extra: other keys of the camera's file; assumptions:
    takes sentences about what was not given. Raises ValueError for depth that cannot be used.
    """
    if job.depth is None:
        distance = given("distance", job.distance)
        assumptions.append(
            f"In frame 0 the object is flat, faces the camera and is {distance:g} m away; all "
            "lengths and forces scale with that distance."
        )
        return constant_depth(mask, distance)
    scale = positive(f"{job.depth}: depth_scale", extra.get("depth_scale", DEPTH_SCALE))
    depth, wrong = without_outliers(mask, load_depth(job.depth, scale, mask), camera)
    if wrong:
        assumptions.append(
            f"{wrong} of {mask.sum()} pixels of the depth map lie far off those around them "
            "and were taken to be as deep as these."
        )
    return depth
