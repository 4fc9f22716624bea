"""The cameras of a wind run."""

import math
from typing import Any

import numpy as np

from inverse.clips.footage import Footage
from inverse.perception.focal import focal_of_file
from inverse.perception.networks import NetworkDepth
from inverse.tracking import camera_rotation
from inverse.tracking.unsteady import find_unsteadiness
from inverse.wind.config import WindJob
from renderers.camera import Camera, camera_from_fov, load_camera


GUESSED_FOV = 60.0  # degrees along the longer side: films of phones and cameras have 45 to 70
MOVING = 2.0  # px, by which what is behind the object shifts when it is not that of a still camera


def read_cameras(
    job: WindJob,
    sizes: list[tuple[int, int]],
    assumptions: list[str],
    network: NetworkDepth | None = None,
) -> tuple[list[Camera], dict[str, Any]]:
    """The camera of frame 0 of each view, and the other keys of the first camera's file.

    sizes: (width, height) px of each view; assumptions: takes sentences about what was not given;
    network: what a network says of frame 0. Raises ValueError for a file that cannot be read, and
    for a camera of another size.
    """
    if not job.camera:
        fov, source = _field_of_view(job, sizes[0], network)
        assumptions.append(
            f"The camera has a vertical field of view of {fov:.4g} degrees{source} and no "
            "distortion; in frame 0 it looks along +y with z up."
        )
        return [camera_from_fov(*sizes[0], fov)], {}
    records = [load_camera(path) for path in job.camera]
    cameras = [camera for camera, _ in records]
    for path, size, camera in zip(job.video, sizes, cameras, strict=True):
        if size != (camera.width, camera.height):
            raise ValueError(
                f"video {path}: its size is {size[0]}x{size[1]}, expected "
                f"{camera.width}x{camera.height} as its camera says"
            )
    return cameras, records[0][1]


def _field_of_view(
    job: WindJob, size: tuple[int, int], network: NetworkDepth | None
) -> tuple[float, str]:
    """The vertical field of view, degrees, and where it comes from if the job does not say it."""
    if job.fov is not None:
        return job.fov, ""
    said = focal_of_file(job.video[0], size)
    if said is not None:
        focal, source = said[0], f", from the file ({said[1]:g} mm as of a 35 mm camera),"
    elif network is not None and network.focal is not None:
        focal, source = network.focal, f", by {job.depth_model},"
    else:
        focal = 0.5 * max(size) / math.tan(math.radians(GUESSED_FOV) / 2)
        source = (
            f" (a guess: {GUESSED_FOV:g} along the longer side, as of a phone; --fov says it; if "
            "it is half as wide, what moves along the axis moves about twice as far)"
        )
    return math.degrees(2 * math.atan(0.5 * size[1] / focal)), source


def camera_paths(
    job: WindJob,
    videos: list[Footage],
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
        try:
            return [camera_rotation(videos[0], cameras[0], mask)]
        except ValueError:
            seen = find_unsteadiness(videos[0], cameras[0], mask)
            if not seen.known:
                raise
            return [seen.cameras]
    paths = [[camera] * len(videos[0]) for camera in cameras]
    seen = find_unsteadiness(videos[0], cameras[0], mask)
    shift = float(np.nanmax(seen.shift))
    if len(videos) > 1 or not seen.moves:
        assumptions.append("The camera stands still.")
    elif seen.known and not seen.sure:
        raise ValueError(
            f"video {job.video[0]}: the camera shakes, the background jumps by up to {shift:.1f} "
            f"px, and shows that no better than to {seen.error:.2g} px; what is left of that when "
            "it is taken out is as large as the object's own accelerations. Film from a tripod or "
            "stabilize the clip; --moving-camera tries it all the same"
        )
    elif seen.known:
        how = "camera turns" if seen.turns else "picture is shifted"
        assumptions.append(
            f"The camera is not steady: the background shifts by up to {shift:.1f} px. The "
            f"{how}; that was found from all of the background, and taken out."
        )
        paths = [seen.cameras]
    else:
        text = "The camera stands still."
        if np.nanmedian(seen.shift) > MOVING:
            text += (
                " But what is behind the object moves, too. If the camera turned, give "
                "--moving-camera; if it traveled, the force holds its accelerations, too."
            )
        assumptions.append(text)
    return paths
