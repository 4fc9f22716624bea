"""A second look that knows the surface: tracks without drift from a first lift.

The lifted surface says how every patch of frame 0 is turned, foreshortened and bent in every frame
of every view. With that warp given, only a shift per patch is to be found, always against frame 0
of the first view: nothing drifts, all views share one template, and points that were hidden or
lost are found again where they show.
"""

from collections.abc import Callable, Sequence

import numpy as np

from inverse.lifting.energy import camera_path
from inverse.lifting.keypoints import Keypoints
from inverse.lifting.sheet import thin_plate_weights
from inverse.lifting.solve import Lifted
from inverse.spread import farthest_points
from inverse.tracking.lucas_kanade import is_inside, normalized_information
from inverse.tracking.registration import Patches, SplineImage
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera


# A patch that the warp squeezes below the first or stretches above the second shows too little of
# frame 0 to be compared with it.
STRETCH = (0.2, 5.0)
MIN_GROUP = 4  # keypoints of one view


def refine_tracks(
    videos: Sequence[np.ndarray],
    cameras: Sequence[Camera | Sequence[Camera]],
    points: Keypoints,
    lifted: Lifted,
    *,
    radius: int = 10,
    nodes: int = 100,
    min_correlation: float = 0.75,
    max_shift: float = 3.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Tracks]:
    """Tracks of all keypoints in all views, registered through the lifted surface.

    videos: (T, H, W, 3) uint8 per view; cameras: one per view, or one per frame where it moves;
    points: the keypoints; lifted: a first lift of them; radius: half the patch's side, px; nodes:
    control points of the warp; min_correlation: below it a point counts as hidden; max_shift: px by
    which the lift may be wrong; progress: called with (done, frames in all views). Each keypoint is
    compared with frame 0 of the first view that sees it.
    """
    seen = np.stack(points.usable)
    home = np.where(seen.any(axis=0), seen.argmax(axis=0), 0)
    paths = [camera_path(camera, len(lifted.points)) for camera in cameras]
    settings = radius, nodes, min_correlation, max_shift
    groups = [(k, np.flatnonzero(home == k)) for k in np.unique(home)]
    if len(groups) == 1:
        k, own = groups[0]
        return _refine_from(videos, paths, points, k, own, lifted.points, settings, progress)
    xy = [
        np.stack([one.project(p)[0] for one, p in zip(path, lifted.points, strict=True)])
        for path in paths
    ]
    refined = [
        Tracks(
            xy=places,
            visible=np.zeros(places.shape[:2], dtype=bool),
            information=np.tile(np.eye(2), (*places.shape[:2], 1, 1)),
        )
        for places in xy
    ]
    for k, own in groups:
        if len(own) < MIN_GROUP:  # too few to say how the surface around them bends
            continue
        parts = _refine_from(videos, paths, points, k, own, lifted.points, settings, progress)
        for whole, part in zip(refined, parts, strict=True):
            whole.xy[:, own], whole.visible[:, own] = part.xy, part.visible
            whole.information[:, own] = part.information
    return refined


def _refine_from(
    videos: Sequence[np.ndarray],
    paths: Sequence[list[Camera]],
    points: Keypoints,
    home: int,
    own: np.ndarray,
    lifted: np.ndarray,
    settings: tuple[int, int, float, float],
    progress: Callable[[int, int], None] | None,
) -> list[Tracks]:
    """Tracks in all views of the keypoints own (n,), whose patches are those of view home.

    lifted: (T, N, 3) m, all keypoints.
    """
    radius, nodes, min_correlation, max_shift = settings
    lifted = lifted[:, own]
    template = points.queries[home][own]
    patches = Patches(videos[home][0], template, radius, points.masks[home])
    places0 = template[:, None] + patches.offsets
    chosen = farthest_points(template, nodes)
    W = thin_plate_weights(template[chosen], places0.reshape(-1, 2))
    moments = np.linalg.inv(patches.offsets.T @ patches.offsets)
    sharpness = patches.information(affine_free=False)
    frames, total = len(lifted), len(lifted) * len(videos)
    refined = []
    for view, (video, path) in enumerate(zip(videos, paths, strict=True)):
        xy = np.stack([one.project(p)[0] for one, p in zip(path, lifted, strict=True)])
        visible = np.zeros(xy.shape[:2], dtype=bool)
        affine = np.empty((*visible.shape, 2, 2))
        for t in range(frames):
            warp = path[t].project(W @ lifted[t, chosen])[0]
            warp = warp.reshape(places0.shape)
            # What the interpolation misses at the keypoint itself is no change of the shape.
            middle = len(patches.offsets) // 2
            warp += (xy[t] - warp[:, middle])[:, None]
            affine[t] = np.swapaxes(moments @ (patches.offsets.T @ warp), 1, 2)
            fit = patches.register(SplineImage(video[t]), xy[t], affine[t], warp=warp)
            shift = np.linalg.norm(fit.xy - xy[t], axis=1)
            # A mirrored patch shows the other side, and one seen edge-on shows nothing.
            stretch = np.linalg.svd(affine[t], compute_uv=False)
            facing = np.linalg.det(affine[t]) > 0
            facing &= (stretch[:, 1] > STRETCH[0]) & (stretch[:, 0] < STRETCH[1])
            inside = is_inside(fit.xy, path[0].width, path[0].height)
            visible[t] = (fit.ncc > min_correlation) & (shift < max_shift) & facing & inside
            xy[t] = np.where(visible[t][:, None], fit.xy, xy[t])
            if progress is not None:
                progress(view * frames + t + 1, total)
        safe = np.where(visible[..., None, None], affine, np.eye(2))
        information = normalized_information(sharpness, safe)
        refined.append(Tracks(xy=xy, visible=visible, information=information))
    return refined
