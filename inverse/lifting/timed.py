"""A second look at pictures that were not all taken at even steps of time."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from inverse.clips.footage import Footage
from inverse.lifting.keypoints import Keypoints
from inverse.lifting.refine import refine_tracks
from inverse.lifting.solve import Lifted
from inverse.tracking.timing import at_even_times, at_times_taken
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera


def refine_timed(
    videos: Sequence[Footage],
    paths: Sequence[Sequence[Camera]],
    points: Keypoints,
    lifted: Lifted,
    taken: Sequence[np.ndarray],
    **options: Any,
) -> list[Tracks]:
    """What `refine_tracks` finds, at even steps of time.

    taken: (T,) s, when the pictures of each view were taken, as for `at_even_times`; the rest: as
    for `refine_tracks`. Pictures are compared with the motion at the time when they were taken.
    """
    found: dict[bytes, list[Tracks]] = {}
    tracks = []
    for view, times in enumerate(taken):
        moved = at_times_taken(lifted.points, times, lifted.fps)
        key = moved.tobytes()  # views that were taken at the same times are looked at together
        if key not in found:
            nodes = at_times_taken(lifted.nodes, times, lifted.fps)
            at = dataclasses.replace(lifted, points=moved, nodes=nodes)
            found[key] = refine_tracks(videos, paths, points, at, **options)
        tracks.append(at_even_times(found[key][view], times, lifted.fps))
    return tracks
