"""The cameras of a wind run."""

from typing import Any

import numpy as np

from inverse.runs.settings import given
from inverse.tracking import camera_rotation
from inverse.wind.config import WindJob
from renderers.camera import Camera, camera_from_fov, load_camera


def read_cameras(
    job: WindJob, sizes: list[tuple[int, int]], assumptions: list[str]
) -> tuple[list[Camera], dict[str, Any]]:
    """The camera of frame 0 of each view, and the other keys of the first camera's file.

    sizes: (width, height) px of each view; assumptions: takes sentences about what was not given.
    Raises ValueError for a file that cannot be read, and for a camera of another size.
    """
    if not job.camera:
        fov, (width, height) = given("fov", job.fov), sizes[0]
        assumptions.append(
            f"The camera has a vertical field of view of {fov:g} degrees and no distortion; in "
            "frame 0 it looks along +y with z up."
        )
        return [camera_from_fov(width, height, fov)], {}
    records = [load_camera(path) for path in job.camera]
    cameras = [camera for camera, _ in records]
    for path, size, camera in zip(job.video, sizes, cameras, strict=True):
        if size != (camera.width, camera.height):
            raise ValueError(
                f"video {path}: its size is {size[0]}x{size[1]}, expected "
                f"{camera.width}x{camera.height} as its camera says"
            )
    return cameras, records[0][1]


def camera_paths(
    job: WindJob,
    videos: list[np.ndarray],
    cameras: list[Camera],
    mask: np.ndarray,
    assumptions: list[str],
) -> list[list[Camera]]:
    """The camera of each frame, for each view.

    videos: (T, H, W, 3) uint8 of each view; cameras: of frame 0 of each; mask: (H, W) bool, of the
    object in frame 0 of the first view; assumptions: takes sentences about what was not given.
    """
    if job.moving_camera:
        assumptions.append(
            "The camera turns on the spot; its rotation was found from the background, as if that "
            "stood still far away."
        )
        return [camera_rotation(videos[0], cameras[0], mask)]
    assumptions.append("The camera stands still.")
    return [[camera] * len(videos[0]) for camera in cameras]
