"""Look again, knowing the surface: tracks without drift from a first lift.

The lifted surface says how every patch of frame 0 is turned, foreshortened and bent in every
frame of every view. With that warp given, only a shift per patch is left to find, always against
frame 0 of the first view: nothing drifts, all views share one template, and points that were
hidden or lost are found again where they show.
"""

from collections.abc import Sequence

import numpy as np

from inverse.lifting.keypoints import Keypoints
from inverse.lifting.solve import Lifted, camera_path, thin_plate_weights
from inverse.spread import farthest_points
from inverse.tracking.lucas_kanade import normalized_information
from inverse.tracking.registration import Image, Patches
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera


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
    progress=None,
) -> list[Tracks]:
    """Tracks of all keypoints in all views, registered through the lifted surface.

    videos: (T, H, W, 3) uint8 per view; radius: half the patch size, px; nodes: control points of
    the warp; min_correlation: below it a point counts as hidden; max_shift: px by which the lift
    may be wrong; progress: called with (done, frames in all views).
    """
    template = points.queries[0]
    patches = Patches(videos[0][0], template, radius, points.masks[0])
    places0 = template[:, None] + patches.offsets
    chosen = farthest_points(template, nodes)
    W = thin_plate_weights(template[chosen], places0.reshape(-1, 2))
    spread = np.linalg.inv(patches.offsets.T @ patches.offsets)
    sharpness = patches.information(affine_free=False)
    frames, total = len(lifted.points), len(lifted.points) * len(videos)
    refined = []
    for view, (video, camera) in enumerate(zip(videos, cameras, strict=True)):
        path = camera_path(camera, frames)
        edge = [path[0].width - 1, path[0].height - 1]
        xy = np.stack([one.project(p)[0] for one, p in zip(path, lifted.points, strict=True)])
        visible = np.zeros(xy.shape[:2], dtype=bool)
        affine = np.empty((*visible.shape, 2, 2))
        for t in range(frames):
            warp = path[t].project(W @ lifted.points[t, chosen])[0]
            warp = warp.reshape(places0.shape)
            # Whatever the interpolation leaves at the keypoint itself is not the patch's shape.
            middle = warp.shape[1] // 2
            warp += (xy[t] - warp[:, middle])[:, None]
            affine[t] = np.swapaxes(spread @ (patches.offsets.T @ warp), 1, 2)
            fit = patches.register(Image(video[t]), xy[t], affine[t], warp=warp)
            shift = np.linalg.norm(fit.xy - xy[t], axis=1)
            # A mirrored or edge-on patch shows the other side or nothing.
            size = np.linalg.svd(affine[t], compute_uv=False)
            facing = (np.linalg.det(affine[t]) > 0) & (size[:, 1] > 0.2) & (size[:, 0] < 5)
            inside = (fit.xy > 1).all(1) & (fit.xy < edge).all(1)
            visible[t] = (fit.ncc > min_correlation) & (shift < max_shift) & facing & inside
            xy[t] = np.where(visible[t][:, None], fit.xy, xy[t])
            if progress is not None:
                progress(view * frames + t + 1, total)
        safe = np.where(visible[..., None, None], affine, np.eye(2))
        information = normalized_information(sharpness, safe)
        refined.append(Tracks(xy=xy, visible=visible, information=information))
    return refined
