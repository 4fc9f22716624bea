"""The object of a wind run in frame 0: its pixels and their depth."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from inverse.clips import ClipPlan
from inverse.perception import (
    constant_depth,
    grabcut_mask,
    is_sequence,
    load_depth,
    load_mask,
    load_masks,
    without_outliers,
)
from inverse.runs.settings import given, positive
from inverse.wind.config import HOLDS, WindJob
from renderers.camera import Camera


def read_mask(
    job: WindJob, plan: ClipPlan, assumptions: list[str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """The object's pixels (H, W) bool in frame 0 of the first view, and (T, H, W) in all frames.

    plan: of that view; assumptions: takes sentences about what was not given. The second is None
    where masks of later frames are not given. Raises ValueError for a mask that cannot be read, and
    for a box in which nothing is found.
    """
    if job.mask is not None and is_sequence(job.mask):
        used = plan.filled  # of all pictures of the file
        masks = load_masks(job.mask, plan.size, int(used.max()) + 1, notes=assumptions)[used]
        return masks[0], masks
    if job.mask is not None:
        return load_mask(job.mask, plan.size, notes=assumptions), None
    box = given("box", job.box)
    mask = grabcut_mask(plan.read(frames=1)[0], box)
    corners = " ".join(f"{v:g}" for v in box)
    assumptions.append(f"The object's pixels in frame 0 are what GrabCut finds in box {corners}.")
    return mask, None


def read_hold(job: WindJob, shape: tuple[int, int]) -> np.ndarray | None:
    """Pixels (H, W) bool of frame 0 of the first view in which the object is held, None where the
    job does not say.

    shape: (H, W). Raises ValueError for an image that cannot be read and for a box without area or
    outside the image.
    """
    height, width = shape
    if job.hold not in HOLDS:
        return load_mask(job.hold, (width, height))
    if job.hold_box is None:
        return None
    x0, y0, x1, y1 = (round(value) for value in job.hold_box)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(
            f"hold_box: got {job.hold_box}, expected x0 < x1 and y0 < y1 within the "
            f"{width}x{height} pixels of the image"
        )
    pixels = np.zeros(shape, dtype=bool)
    pixels[y0:y1, x0:x1] = True
    return pixels


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
    whole = extra.get("depth_scale")
    depth = load_depth(
        job.depth,
        None if whole is None else positive(f"{job.camera[0]}: depth_scale", whole),
        mask,
        scale=job.depth_scale,
        inverse=job.inverse_depth,
        notes=assumptions,
    )
    depth, wrong = without_outliers(mask, depth, camera)
    if wrong:
        assumptions.append(
            f"{wrong} of {mask.sum()} pixels of the depth map lie far off those around them "
            "and were taken to be as deep as these."
        )
    return depth
