"""How far the points of an object are seen to stray from where they are in frame 0."""

from collections.abc import Sequence

import numpy as np

from inverse.tracking import Tracks
from renderers.camera import Camera


def strayed_px(
    tracks: Sequence[Tracks], cameras: Sequence[Sequence[Camera]], points: np.ndarray
) -> np.ndarray:
    """How far, px, points are seen off their places in frame 0: (T, k), of the views the farthest;
    NaN where none of the views that see a point in frame 0 sees it.

    It is what tracks show: a motion in space that was fitted to them bends at its ends. tracks and
    cameras, one for each frame: of each view; points: (T, k, 3) m, where they are in space, which
    counts for the motion of a camera only.
    """
    farthest = np.full(points.shape[:2], np.nan)
    for one, path in zip(tracks, cameras, strict=True):
        for t, (xy, x) in enumerate(zip(one.xy, points, strict=True)):
            if path[t] is not path[0]:  # where the camera of frame 0 would see it
                xy = path[0].project(path[t].unproject(xy, path[t].project(x)[1]))[0]
            off = np.linalg.norm(xy - one.xy[0], axis=1)
            seen = one.visible[0] & one.visible[t]
            farthest[t, seen] = np.fmax(farthest[t, seen], off[seen])
    return farthest
