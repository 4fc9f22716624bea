"""The cameras of a wind run."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from inverse.clips import ClipPlan
from inverse.clips.footage import Footage
from inverse.perception.depth import load_whole_depth
from inverse.perception.focal import focal_of_file
from inverse.perception.networks import NetworkDepth
from inverse.tracking import camera_rotation
from inverse.tracking.travel import camera_travel, follow_corners, travels
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


def given_paths(job: WindJob, plans: list[ClipPlan]) -> list[list[Camera] | None]:
    """The camera of each frame that is used, for each view whose file has poses of all frames.

    Raises ValueError where it has fewer than the clip.
    """
    paths: list[list[Camera] | None] = [None] * len(plans)
    for view, (file, plan) in enumerate(zip(job.camera, plans, strict=False)):
        poses = load_camera(file)[1].get("path")
        if poses is None:
            continue
        if len(poses) <= plan.filled.max():
            raise ValueError(
                f"camera {file}: has the poses of {len(poses)} frames, expected at least "
                f"{plan.filled.max() + 1}, as many as are used of the clip"
            )
        paths[view] = [poses[k] for k in plan.filled]
    return paths


def background_depth(
    job: WindJob, mask: np.ndarray, camera: Camera, extra: dict, network: NetworkDepth | None
) -> np.ndarray | None:
    """The depth (H, W) m of all that frame 0 shows, NaN where it is not known, None without any.

    mask: (H, W) bool, of the object; camera, extra: what its file says; network: says the depth
    where there is no file.
    """
    if job.depth is not None:
        return load_whole_depth(
            job.depth, extra.get("depth_scale"), mask, scale=job.depth_scale,
            inverse=job.inverse_depth,
        )  # fmt: skip
    return None if network is None else network.of_camera(camera.fx)


def camera_paths(
    job: WindJob,
    videos: list[Footage],
    cameras: list[Camera],
    mask: np.ndarray,
    assumptions: list[str],
    *,
    given: Sequence[list[Camera] | None] = (),
    depth: Callable[[], np.ndarray | None] = lambda: None,
) -> tuple[list[list[Camera]], float]:
    """The camera of each frame, for each view, and by how many px what is behind the object shifts
    although the camera is taken to stand still: 0 where it does, or where its motion is known.

    videos: (T, H, W, 3) uint8 of each view; cameras: of frame 0 of each; mask: (H, W) bool, of the
    object in frame 0 of the first view; assumptions: takes sentences about what was not given;
    given: those of views whose file has the poses of all frames; depth: gives (H, W) m, of all that
    frame 0 of the first view shows, or None. Raises ValueError for a camera whose motion cannot be
    found.
    """
    if any(given):
        assumptions.append("The camera moves as its file says.")
        return [
            path or [camera] * len(videos[0]) for path, camera in zip(given, cameras, strict=True)
        ], 0.0
    if job.moving_camera:
        return [_moving(job, videos[0], cameras[0], mask, assumptions, depth)], 0.0
    adrift = 0.0
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
            adrift = shift
            text += (
                " But what is behind the object moves, too. If the camera turned or traveled, give "
                "--moving-camera; else the force holds its accelerations, too."
            )
        assumptions.append(text)
    return paths, adrift


def _moving(
    job: WindJob,
    video: Footage,
    camera: Camera,
    mask: np.ndarray,
    assumptions: list[str],
    depth: Callable[[], np.ndarray | None],
) -> list[Camera]:
    """The camera of each frame, of one that moves."""
    try:
        corners = follow_corners(video, mask)
        if not travels(corners, camera):
            cameras = camera_rotation(video, camera, mask)
            assumptions.append(
                "The camera turns on the spot; its rotation was found from the background, as if "
                "that stood still far away."
            )
            return cameras
    except ValueError:
        seen = find_unsteadiness(video, camera, mask)
        if not seen.known:
            raise
        assumptions.append(
            "The camera stands in one place; how it turns was found from all of the background."
        )
        return seen.cameras
    behind = depth()
    if behind is None or not np.isfinite(behind[~mask]).any():
        raise ValueError(
            f"video {job.video[0]}: the camera travels, and how far it does is not known without "
            "the depth of what is behind the object: give a --depth of the whole picture, a "
            "--depth-model, or the poses of all frames in the camera file"
        )
    assumptions.append(
        "The camera travels; its poses were found from the background, whose depth in frame 0 is "
        "that of the depth map. What stands there must not move."
    )
    return camera_travel(corners, camera, behind)
