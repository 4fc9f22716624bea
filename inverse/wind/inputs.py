"""Everything a wind run reads, checked before any work is done."""

import dataclasses
from typing import Any, TypeVar

import numpy as np

from inverse.perception import (
    constant_depth,
    grabcut_mask,
    load_depth,
    load_mask,
    without_outliers,
)
from inverse.tracking import Tracks, camera_rotation, load_tracks
from inverse.wind.config import WindJob
from renderers.camera import Camera, camera_from_fov, load_camera
from renderers.video import read_video


T = TypeVar("T")

DEPTH_SCALE = 1000.0  # integer depth maps are in millimetres unless the camera file says otherwise


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """What a wind run reads.

    videos: (T, H, W, 3) uint8 of each view; cameras: of each view, one for each frame; mask:
    (H, W) bool and depth: (H, W) m, of frame 0 of the first view; fps: 1/s; tracks: of each view,
    or None; assumptions: sentences about what was not given.
    """

    videos: list[np.ndarray]
    cameras: list[list[Camera]]
    mask: np.ndarray
    depth: np.ndarray
    fps: float
    tracks: list[Tracks] | None
    assumptions: list[str]


def load_inputs(job: WindJob) -> Inputs:
    """Read all inputs of a job. Raises ValueError, in one sentence, for what cannot be used."""
    assumptions = [
        f"The object is a sheet of {job.material} material: {_material_text(job)}.",
        "A video shows accelerations, not forces: the forces are those of the assumed mass.",
    ]
    loaded = [read_video(path, max_frames=job.frames) for path in job.video]
    shapes = {video.frames.shape[0] for video in loaded}
    if len(shapes) > 1:
        raise ValueError(f"video: the views have {sorted(shapes)} frames, expected as many in each")
    if min(shapes) < 4:
        raise ValueError(f"video {job.video[0]}: has {min(shapes)} frames, expected at least 4")
    videos, fps = [video.frames for video in loaded], loaded[0].fps
    height, width = videos[0].shape[1:3]
    extra: dict[str, Any] = {}
    if job.camera:
        records = [load_camera(path) for path in job.camera]
        cameras, extra = [camera for camera, _ in records], records[0][1]
        fps = _positive(job.camera[0], "fps", extra.get("fps", fps))
        for path, video, camera in zip(job.video, videos, cameras, strict=True):
            if video.shape[1:3] != (camera.height, camera.width):
                raise ValueError(
                    f"video {path}: its size is {video.shape[2]}x{video.shape[1]}, expected "
                    f"{camera.width}x{camera.height} as its camera says"
                )
    else:
        fov = _given("fov", job.fov)
        cameras = [camera_from_fov(width, height, fov)]
        assumptions.append(
            f"The camera has a vertical field of view of {fov:g} degrees and no distortion; in "
            "frame 0 it looks along +y with z up."
        )
    if job.mask is not None:
        mask = load_mask(job.mask, (width, height))
    else:
        box = _given("box", job.box)
        mask = grabcut_mask(videos[0][0], box)
        corners = " ".join(f"{v:g}" for v in box)
        assumptions.append(
            f"The object's pixels in frame 0 are what GrabCut finds in box {corners}."
        )
    if job.depth is not None:
        scale = _positive(job.depth, "depth_scale", extra.get("depth_scale", DEPTH_SCALE))
        depth, wrong = without_outliers(mask, load_depth(job.depth, scale, mask), cameras[0])
        if wrong:
            assumptions.append(
                f"{wrong} of {mask.sum()} pixels of the depth map lie far off those around them "
                "and were taken to be as deep as these."
            )
    else:
        distance = _given("distance", job.distance)
        depth = constant_depth(mask, distance)
        assumptions.append(
            f"In frame 0 the object is flat, faces the camera and is {distance:g} m away; all "
            "lengths and forces scale with that distance."
        )
    tracks = [load_tracks(path) for path in job.tracks] or None
    if job.moving_camera:
        paths = [camera_rotation(videos[0], cameras[0], mask)]
        assumptions.append(
            "The camera turns on the spot; its rotation was found from the background, as if that "
            "stood still far away."
        )
    else:
        paths = [[camera] * len(videos[0]) for camera in cameras]
        assumptions.append("The camera stands still.")
    return Inputs(
        videos=videos, cameras=paths, mask=mask, depth=depth, fps=fps,
        tracks=tracks, assumptions=assumptions,
    )  # fmt: skip


def _material_text(job: WindJob) -> str:
    text = f"E = {job.E:g} Pa, nu = {job.nu:g}, density = {job.density:g} kg/m³"
    if job.material != "elastic":
        text += f", yield stress = {job.yield_stress:g} Pa"
    if job.material == "viscoplastic":
        text += f", viscosity = {job.viscosity:g} Pa s"
    return text


def _given(name: str, value: T | None) -> T:
    """A value that a WindJob has wherever it is asked for."""
    if value is None:
        raise ValueError(f"{name}: none given")
    return value


def _positive(path: str, name: str, value: object) -> float:
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{path}: {name} is {value!r}, expected a positive number")
    return float(value)
