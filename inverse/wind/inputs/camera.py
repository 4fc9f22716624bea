"""The cameras of a wind run."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from inverse.clips import ClipPlan
from inverse.clips.footage import Footage
from inverse.perception.camera_files import CameraFile, read_camera_file
from inverse.perception.focal import focal_of_file
from inverse.perception.networks import NetworkDepth
from inverse.tracking import camera_rotation
from inverse.tracking.travel import Corners, camera_travel, follow_corners, moved_as_one, travels
from inverse.tracking.unsteady import find_unsteadiness
from inverse.wind.config import WindJob
from inverse.wind.inputs.object import file_depth
from renderers.camera import Camera, camera_from_fov
from renderers.films import ImageFolder


GUESSED_FOV = 60.0  # degrees along the longer side: films of phones and cameras have 45 to 70
COMPARED = 8  # points with a depth, from which on the unit of a file is found
MOVING = 2.0  # px, by which what is behind the object shifts when it is not that of a still camera


def read_cameras(
    job: WindJob,
    plans: list[ClipPlan],
    assumptions: list[str],
    network: NetworkDepth | None = None,
) -> list[CameraFile]:
    """What is known of the camera of each view.

    plans: of each view; assumptions: takes sentences about what was not given; network: what a
    network says of frame 0. Raises ValueError for a file that cannot be read, for a camera of
    another size, and for poses of fewer frames than the clip.
    """
    if not job.camera:
        fov, source = _field_of_view(job, plans[0].size, network)
        assumptions.append(
            f"The camera has a vertical field of view of {fov:.4g} degrees{source} and no "
            "distortion; in frame 0 it looks along +y with z up."
        )
        return [CameraFile(cameras=(camera_from_fov(*plans[0].size, fov),))]
    return [
        _read_file(job, path, plan, assumptions)
        for path, plan in zip(job.camera, plans, strict=True)
    ]


def _read_file(job: WindJob, path: str, plan: ClipPlan, assumptions: list[str]) -> CameraFile:
    names = [file.name for file in ImageFolder(plan.path).files] if plan.path.is_dir() else []
    file = read_camera_file(path, plan.size, first=int(plan.filled[0]), names=names)
    size = file.cameras[0].size
    if plan.size != size:
        raise ValueError(
            f"video {plan.path}: its size is {plan.size[0]}x{plan.size[1]}, expected "
            f"{size[0]}x{size[1]} as its camera says"
        )
    if file.moves and len(file.cameras) <= plan.filled.max():
        raise ValueError(
            f"camera {path}: has the poses of {len(file.cameras)} frames, expected at least "
            f"{plan.filled.max() + 1}, as many as are used of the clip"
        )
    if not file.own_world and (len(job.video) > 1 or job.solid_given):
        what = "several views" if len(job.video) > 1 else "a mesh or a model"
        raise ValueError(
            f"camera {path}: its world is not known, expected a camera.json for {what}"
        )
    assumptions += file.notes
    return file if job.camera_scale is None else file.in_meters(job.camera_scale)


def first_camera(file: CameraFile, plan: ClipPlan) -> Camera:
    """The camera of the first frame that is used."""
    return file.cameras[plan.filled[0] if file.moves else 0]


def settled(
    job: WindJob,
    file: CameraFile,
    mask: np.ndarray,
    depth: Callable[[], np.ndarray | None],
    assumptions: list[str],
) -> CameraFile:
    """What a file says of the first camera, in meters.

    mask: (H, W) bool, of the object in frame 0; depth: gives (H, W) m, of all that frame 0 shows,
    or None. Raises ValueError where nothing says how long a unit of the file is.
    """
    if file.metric:
        return file
    known, source = depth(), "the depth of what is seen there"
    column, row = np.floor(file.pixels).astype(int).T.clip(0)
    if known is None and job.distance is not None:
        known, source = np.where(mask, job.distance, np.nan), "the distance of the object"
    if known is not None and len(file.depth):
        found = file.depth / known[row.clip(0, len(mask) - 1), column.clip(0, len(mask[0]) - 1)]
        found = found[np.isfinite(found) & (found > 0)]
        if len(found) >= COMPARED:
            units = float(np.median(found))
            assumptions.append(f"A meter is {units:.4g} units of {job.camera[0]}, by {source}.")
            return file.in_meters(units)
    raise ValueError(
        f"camera {job.camera[0]}: how long a unit of its poses is, is not known; say by "
        "--camera-scale how many of them are a meter, or give a --depth of the whole picture or a "
        "--depth-model, if the file has points or depth, too"
    )


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


def background_depth(
    job: WindJob, mask: np.ndarray, camera: Camera, extra: dict, network: NetworkDepth | None
) -> np.ndarray | None:
    """The depth (H, W) m of all that frame 0 shows, NaN where it is not known, None without any.

    mask: (H, W) bool, of the object; camera, extra: what its file says; network: says the depth
    where there is no file.
    """
    if job.depth is not None:
        return file_depth(job, mask, extra, [], whole=True)
    return None if network is None else network.of_camera(camera.fx)


def camera_paths(
    job: WindJob,
    videos: list[Footage],
    cameras: list[Camera],
    mask: np.ndarray,
    assumptions: list[str],
    *,
    given: Sequence[Sequence[Camera] | None] = (),
    depth: Callable[[], np.ndarray | None] = lambda: None,
) -> tuple[list[list[Camera]], float, bool]:
    """The camera of each frame, for each view, and by how many px what is behind the object shifts
    although the camera is taken to stand still: 0 where it does, or where its motion is known; and
    whether it shifts as one, as before a camera that moves.

    videos: (T, H, W, 3) uint8 of each view; cameras: of frame 0 of each; mask: (H, W) bool, of the
    object in frame 0 of the first view; assumptions: takes sentences about what was not given;
    given: those of views whose file has the poses of all frames; depth: gives (H, W) m, of all that
    frame 0 of the first view shows, or None. Raises ValueError for a camera whose motion cannot be
    found.
    """
    if any(given):
        return (
            [
                list(path or [camera] * len(videos[0]))
                for path, camera in zip(given, cameras, strict=True)
            ],
            0.0,
            False,
        )
    if job.moving_camera:
        return [_moving(job, videos[0], cameras[0], mask, assumptions, depth)], 0.0, False
    adrift, as_one = 0.0, False
    paths = [[camera] * len(videos[0]) for camera in cameras]
    seen = find_unsteadiness(videos[0], cameras[0], mask)
    shift = float(np.nanmax(seen.shift))
    if len(videos) > 1 or (seen.known and not seen.moves):
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
        corners = _corners(videos[0], mask)
        together = 0.0 if corners is None else moved_as_one(corners)
        turned = _turned(videos[0], cameras[0], mask, corners) if corners and together else None
        if turned is not None:
            assumptions.append(
                f"The camera turns on the spot: the background shifts by up to {together:.0f} px. "
                "Its rotation was found from corners of the background, as if that stood still far "
                "away, and taken out."
            )
            paths = [turned]
        elif together or np.nanmedian(seen.shift) > MOVING:
            adrift, as_one = together or shift, together > 0
            assumptions.insert(0, _moving_background(adrift, as_one=as_one))  # to be read first
        else:
            assumptions.append("The camera stands still.")
    return paths, adrift, as_one


def _moving_background(adrift: float, *, as_one: bool) -> str:
    """What to say where what is behind the object shifts by so many px, although the camera is
    taken to stand still; as_one: whether it does so together."""
    if as_one:
        return (
            f"The camera travels: what is behind the object shifts as one, by {adrift:.0f} px. It "
            "is taken to stand still, so that the force holds its accelerations, too; "
            "--moving-camera with a --depth of the whole picture or a --depth-model takes them out."
        )
    return (
        f"The camera stands still. But what is behind the object moves, too, by {adrift:.0f} px. "
        "If the camera turned or traveled, give --moving-camera; else the force holds its "
        "accelerations, too."
    )


def _corners(video: Footage, mask: np.ndarray) -> Corners | None:
    """Corners of what is behind the object, None where there are too few."""
    try:
        return follow_corners(video, mask)
    except ValueError:
        return None


def _turned(
    video: Footage, camera: Camera, mask: np.ndarray, corners: Corners
) -> list[Camera] | None:
    """The camera of each frame, of one that turns on the spot; None for one that travels."""
    if travels(corners, camera):
        return None
    try:
        return camera_rotation(video, camera, mask)
    except ValueError:  # too few corners move as one from a frame to the next
        return None


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
