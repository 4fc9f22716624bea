"""The depth of an object of which nothing says it, from how the object moves."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from inverse.clips.footage import Footage
from inverse.lifting.depth_from_motion import MotionDepth, depth_from_motion
from inverse.lifting.keypoints import keypoints
from inverse.lifting.shrink import shrink_camera, shrink_factor, shrink_footage, shrink_image
from inverse.tracking import Tracks, track_lucas_kanade
from inverse.tracking.silhouettes import inside_masks
from inverse.tracking.timing import at_even_times
from inverse.wind.config import WindJob
from inverse.wind.inputs.shape import Shape, shape_of_depth
from renderers.camera import Camera
from taichi_phys.geometry.repair import Triangles


LOOKED = 60  # frames at the beginning of a clip, in whose motion the depth is sought


def follow_points(
    video: Footage,
    mask: np.ndarray,
    depth: np.ndarray,
    camera: Camera,
    count: int,
    surface: Triangles | None = None,
) -> Tracks:
    """Follow up to count points of the object through a video (T, H, W, 3) uint8, made smaller for
    that where the object is large.

    mask: (H, W) bool and depth: (H, W) m, of frame 0; camera: that took it; surface: closed, of a
    solid.
    """
    size, scale = video.shape[2], shrink_factor(mask)
    if scale < 1:
        mask, depth = shrink_image(mask, scale), shrink_image(depth, scale)
        camera = shrink_camera(camera, scale)
        video = shrink_footage(video, scale)
    found = keypoints([video[0]], mask, depth, [camera], max_count=count, surface=surface)
    tracks = track_lucas_kanade(video, found.queries[0][found.usable[0]], mask=mask)
    return dataclasses.replace(tracks, xy=tracks.xy * (size / video.shape[2]))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Watched:
    """How an object is seen to move.

    video: (T, H, W, 3) uint8; cameras: of each frame; tracks: ready ones, or None; taken, fps: as
    for `at_even_times`.
    """

    video: Footage
    cameras: Sequence[Camera]
    tracks: Tracks | None
    taken: np.ndarray
    fps: float


def shape_from_motion(
    job: WindJob, shape: Shape, watched: Watched, assumptions: list[str]
) -> Shape:
    """The shape with the depth that the motion of the object shows, or flat where it shows none.

    shape: flat, at the job's distance; assumptions: takes sentences.
    """
    camera = watched.cameras[0]
    with threadpool_limits(1):  # it also makes sums repeatable
        found = _find(job, shape, watched)
    if found is None or not found.certain:
        assumptions.append(_flat_sentence(job, found))
        return shape_of_depth(job, shape, camera, assumptions, known=False)
    assumptions.append(
        f"The depth of frame 0 was found from how the object moves in frames 0 to {found.last}, as "
        f"of something that does not stretch: it is tilted by {found.tilt:.0f} degrees from the "
        f"line of sight, about {job.distance:g} m away; all lengths and forces scale with that "
        "distance."
    )
    deep = dataclasses.replace(shape, depth=found.depth, flat=False)
    return shape_of_depth(job, deep, camera, assumptions, known=True)


def _find(job: WindJob, shape: Shape, watched: Watched) -> MotionDepth | None:
    video, tracks, camera = watched.video[:LOOKED], watched.tracks, watched.cameras[0]
    if tracks is None:
        tracks = follow_points(video, shape.mask, shape.depth, camera, job.keypoints)
    tracks = at_even_times(tracks.until(len(video)), watched.taken[: len(video)], watched.fps)
    if shape.masks is not None:
        tracks = inside_masks(tracks, shape.masks[:LOOKED], camera.size)
    on_it = np.floor(np.nan_to_num(tracks.xy[0], nan=-1)).astype(int)
    inside = (on_it >= 0).all(axis=1) & (on_it < camera.size).all(axis=1)
    inside[inside] = shape.mask[on_it[inside, 1], on_it[inside, 0]]
    assert job.distance is not None
    return depth_from_motion(tracks.of(inside), watched.cameras, shape.mask, job.distance)


def _flat_sentence(job: WindJob, found: MotionDepth | None) -> str:
    why = "too few of its points are followed to find its shape from its motion"
    if found is not None:
        why = "its motion does not show another shape"
    if found is not None and found.known:
        why = "its motion shows that it is not, but not which way it is tilted"
    return (
        f"In frame 0 the object is flat, faces the camera and is {job.distance:g} m away ({why}); "
        "all lengths and forces scale with that distance."
    )
