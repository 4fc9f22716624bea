"""How far through a clip so many points are followed that their motion can be lifted."""

from collections.abc import Sequence

import numpy as np

from inverse.lifting.energy import MIN_TRACKS
from inverse.lifting.quality import GAP, followed_frames
from inverse.tracking.tracks import Tracks


FEWEST_FRAMES = 4  # of a motion that shows a force
SPARSE = 0.15  # of the points usually seen: where fewer are, the motion is not known


def well_followed(tracks: Sequence[Tracks]) -> np.ndarray:
    """Whether as many points are seen in a frame, in any view, as show how all move: (T,) bool."""
    count = _seen(tracks)
    return count >= max(MIN_TRACKS, SPARSE * count[:2].max())


def frames_followed(tracks: Sequence[Tracks], taken: Sequence[np.ndarray] = ()) -> int:
    """Number of frames before the object is lost for good: from then on no frame, or but for a few
    none, shows as many of its points, in any view, as a lift needs.

    taken: (T,) s of each view, NaN for pictures that are others once more. What no view took shows
    nothing, and is not lost.
    """
    seen = _seen(tracks) >= MIN_TRACKS
    if taken:
        seen |= np.isnan(np.stack(taken)).all(axis=0)[: len(seen)]
    return followed_frames(seen.astype(float))


def frames_looked_at(tracks: Sequence[Tracks], taken: Sequence[np.ndarray] = ()) -> int:
    """The same, with the frames after them in which something that passes may hide the object."""
    return min(frames_followed(tracks, taken) + GAP + 1, tracks[0].frames)


def _seen(tracks: Sequence[Tracks]) -> np.ndarray:
    """How many points are seen in a frame: (T,)."""
    return np.any([one.visible for one in tracks], axis=0).sum(axis=1)
