"""The object of a wind run in frame 0: its pixels and their depth."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from inverse.clips import ClipPlan
from inverse.lifting.shrink import shrink_camera, shrink_image
from inverse.perception import (
    fill_depth,
    grabcut_mask,
    is_sequence,
    load_depth,
    load_labels,
    load_mask,
    load_masks,
    moving_disc,
    moving_object,
    without_outliers,
)
from inverse.perception.networks import (
    NetworkDepth,
    find_box,
    follows_video,
    network_depth,
    segment,
    segment_video,
)
from inverse.perception.networks.depth import eroded
from inverse.perception.networks.detection import DEFAULT as DETECTOR
from inverse.perception.networks.segmentation import DEFAULT as SEGMENTER
from inverse.runs.settings import given, positive
from inverse.tracking import camera_rotation
from inverse.tracking.unsteady import STILL, steadied
from inverse.wind.config import HOLDS, WindJob
from renderers.camera import Camera


GUESSED_DISTANCE = 2.0  # m
FOLLOWED = 1024  # px, longer side of pictures that --segmenter follows: SAM 2 sees no more
# Size of the object, px, below which the tracker's patches hold more background than object: a leaf
# of 20 px gave a direction error of 36 degrees.
TINY = 20.0
# Frames in which something flies away; those that show what is behind it; their longer side.
FLYING, STILLS, LARGE_STILLS = 90, 16, 1280
TINY_BALL = 6.0  # px: of one that is followed by its silhouette


def read_mask(
    job: WindJob, plan: ClipPlan, camera: Camera, assumptions: list[str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels (H, W) of frame 0 of the first view, 0 where no object is, and the object's pixels
    (T, h, w) bool in all frames, which may be smaller.

    plan: of that view; camera: of frame 0; assumptions: takes sentences about what was not given.
    The second is None where masks of later frames are neither given nor found. Raises ValueError
    for a mask that cannot be read, and for a box in which nothing is found.
    """
    if job.mask is not None and is_sequence(job.mask):
        used = plan.filled  # of all pictures of the file
        masks = load_masks(job.mask, plan.size, int(used.max()) + 1, notes=assumptions)[used]
        return masks[0].astype(np.int64), masks
    if job.mask is not None:
        labels = load_labels(job.mask, plan.size, notes=assumptions)
    else:
        labels = _found_mask(job, plan, camera, assumptions).astype(np.int64)
    return labels, _followed_masks(job, plan, labels, assumptions)


def _followed_masks(
    job: WindJob, plan: ClipPlan, labels: np.ndarray, assumptions: list[str]
) -> np.ndarray | None:
    """The object's pixels (T, h, w) bool in all frames by --segmenter, None where that is no
    network for videos, and of what it cannot follow, which is said."""
    if job.segmenter is None or not follows_video(job.segmenter):
        return None
    mask = shrink_image(labels > 0, min(1.0, FOLLOWED / max(plan.size)))
    if labels.max() > 1 or not mask.any():
        why = "one object" if labels.max() > 1 else "no object as small as this one"
        assumptions.append(f"{job.segmenter} was not used for later frames: it follows {why}.")
        return None
    height, width = mask.shape
    assumptions.append(
        f"The object's pixels in later frames are what {job.segmenter} makes of those in frame 0; "
        "tracks count only inside of them."
    )
    return segment_video(plan.read((width, height)), mask, job.segmenter)


def _found_mask(job: WindJob, plan: ClipPlan, camera: Camera, assumptions: list[str]) -> np.ndarray:
    """The object's pixels (H, W) by word, point or box in frame 0 of the view of a plan, whose
    camera is that of frame 0."""
    image, box, place = plan.first, job.box, ""
    if box is None and job.point is not None:
        u, v = job.point
        assumptions.append(
            f"The object's pixels in frame 0 are what {job.segmenter or SEGMENTER} finds at "
            f"{u:g} {v:g}."
        )
        return segment(image, job.segmenter or SEGMENTER, point=job.point)
    if box is None and job.object is not None:
        detector = job.detector or DETECTOR
        box, score = find_box(image, job.object, detector)
        place = f", which {detector} finds for {job.object!r} with a score of {score:.2f}"
    box = given("box", box)
    network = job.segmenter or (SEGMENTER if job.box is None else None)
    place = f"box {' '.join(f'{v:.4g}' for v in box)}{place}"
    if network is None:
        mask, how = _without_network(plan, camera, box, place)
    else:
        mask, how = segment(image, network, box=box), f"what {network} finds in {place}"
    assumptions.append(f"The object's pixels in frame 0 are {how}.")
    return mask


def _without_network(
    plan: ClipPlan, camera: Camera, box: tuple[float, float, float, float], place: str
) -> tuple[np.ndarray, str]:
    """The object's pixels (H, W) bool in a box in frame 0, and which these are, in words.

    camera: of that frame; place: the box in words. Raises ValueError where nothing is found.
    """
    stills, steady = _steady_stills(plan, camera, box)
    x0, y0, x1, y1 = (stills.shape[2] / plan.size[0] * value for value in box)
    found, what = moving_disc(stills, (x0, y0, x1, y1)), "a ball"
    if found is None:
        try:
            return grabcut_mask(plan.first, box), f"what GrabCut finds in {place}"
        except ValueError:
            found = moving_object(stills, (x0, y0, x1, y1)) if steady else None
            if found is None:
                raise
            what = "something"
    mask = cv2.resize(255 * found.astype(np.uint8), plan.size) > 127
    how = f"those of {what} that flies out of {place}, found by what other frames show behind it"
    return mask, how


def _steady_stills(
    plan: ClipPlan, camera: Camera, box: tuple[float, float, float, float]
) -> tuple[np.ndarray, bool]:
    """Pictures (K, h, w, 3) uint8 of the first frames of a clip, reduced where they are large, as
    if the camera stood still as in frame 0; and whether it is known how it turned.

    camera: that of frame 0; box: around the object, which is left out.
    """
    scale = min(1.0, LARGE_STILLS / max(plan.size))
    small = shrink_camera(camera, scale)
    video = plan.read(small.size, frames=FLYING)
    later = np.linspace(1, len(video) - 1, STILLS).round().astype(int)
    stills = np.stack([video[k] for k in np.unique([0, *later])])
    x0, y0, x1, y1 = np.clip(np.rint(np.multiply(box, scale)).astype(int), 0, None)
    inside = np.zeros(stills.shape[1:3], dtype=bool)
    inside[y0:y1, x0:x1] = True
    try:
        path = camera_rotation(stills, small, inside)
    except ValueError:
        return stills, False
    center = small.unproject(0.5 * np.array([small.size]), 1.0)
    shifts = [np.ptp([c.project(center)[0] for c in (small, one)], axis=0) for one in path]
    if np.max(shifts) > STILL:
        stills = np.stack(list(steadied(stills, path)))
    return stills, True


def check_size(mask: np.ndarray, *, ball: bool = False) -> None:
    """Raise ValueError for an object in frame 0 that is too small to be followed.

    mask: (H, W) bool; ball: whether it may be followed by its silhouette alone.
    """
    size, least = float(np.sqrt(mask.sum())), TINY_BALL if ball else TINY
    if size < least:
        raise ValueError(
            f"mask: the object is {size:.0f} px across in frame 0, expected at least {least:.0f}: "
            "what is smaller cannot be followed; film from nearer or with a longer lens, or give "
            "--tracks"
        )


def read_network(job: WindJob, plan: ClipPlan) -> NetworkDepth | None:
    """What the network of the job says of the depth of frame 0, None where none is asked.

    plan: of the clip of the first view. Raises ValueError for a network that cannot be used.
    """
    if job.depth_model is None or job.depth is not None or job.solid_given:
        return None
    return network_depth(plan.first, job.depth_model)


def settle_distance(job: WindJob, assumptions: list[str]) -> WindJob:
    """The job with a distance: that which it gives, or else a guess, which is said."""
    if job.distance is not None:
        return job
    assumptions.append(
        f"No depth and no distance were given: {GUESSED_DISTANCE:g} m is a guess. Directions do "
        "not depend on it; if the object is twice as far away, forces per mass are twice as large. "
        "--distance, --depth or --depth-model say it."
    )
    return dataclasses.replace(job, distance=GUESSED_DISTANCE)


def read_hold(job: WindJob, shape: tuple[int, int]) -> np.ndarray | None:
    """Pixels (H, W) bool of frame 0 of the first view in which the object is held, None where the
    job does not say.

    shape: (H, W). Raises ValueError for an image that cannot be read, for no box, and for one
    without area or outside the image.
    """
    height, width = shape
    if job.hold not in HOLDS:
        return load_mask(job.hold, (width, height))
    if job.hold_box is None:
        return None
    if not job.hold_box:
        raise ValueError("hold_box: got no values, expected x0 y0 x1 y1")
    pixels = np.zeros(shape, dtype=bool)
    for box in np.reshape(job.hold_box, (-1, 4)).tolist():
        x0, y0, x1, y1 = (round(value) for value in box)
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(
                f"hold_box: got {tuple(box)}, expected x0 < x1 and y0 < y1 within the "
                f"{width}x{height} pixels of the image"
            )
        pixels[y0:y1, x0:x1] = True
    return pixels


def read_depth(
    job: WindJob,
    mask: np.ndarray,
    camera: Camera,
    extra: Mapping[str, Any],
    assumptions: list[str],
    network: NetworkDepth | None = None,
) -> np.ndarray:
    """The object's depth (H, W) m in frame 0 of the first view, NaN outside the mask.

    mask: (H, W) bool; camera: of that frame; extra: other keys of the camera's file; assumptions:
    takes sentences about what was not given; network: what a network says of that frame. Raises
    ValueError for depth that cannot be used.
    """
    if network is not None:
        # Depth of networks bleeds over the rims of things.
        seen = np.where(eroded(mask), network.of_camera(camera.fx), np.nan)
        depth = fill_depth(seen, mask)
        middle = float(np.median(depth[mask]))
        assumptions.append(
            f"The depth of frame 0 is by {job.depth_model}: the object is {middle:.3g} m away; all "
            "lengths and forces are as right as that."
        )
    else:
        depth = file_depth(job, mask, extra, assumptions)
    depth, wrong = without_outliers(mask, depth, camera)
    if wrong:
        assumptions.append(
            f"{wrong} of {mask.sum()} pixels of the depth map lie far off those around them "
            "and were taken to be as deep as these."
        )
    return depth


def file_depth(
    job: WindJob,
    mask: np.ndarray,
    extra: Mapping[str, Any],
    assumptions: list[str],
    *,
    whole: bool = False,
) -> np.ndarray:
    """The depth (H, W) m of the job's file, NaN outside the mask (H, W) bool unless whole is set.

    extra: other keys of the camera's file; assumptions: takes sentences about what was not given.
    Raises ValueError for a file that cannot be used.
    """
    scale = extra.get("depth_scale")
    return load_depth(
        given("depth", job.depth),
        None if scale is None else positive(f"{job.camera[0]}: depth_scale", scale),
        mask,
        scale=job.depth_scale,
        inverse=job.inverse_depth,
        whole=whole,
        notes=assumptions,
    )
