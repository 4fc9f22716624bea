"""New points on an object that turns: surface that comes into view is followed, too."""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from inverse.clips.footage import Footage
from inverse.tracking.keypoints import select_keypoints
from inverse.tracking.lucas_kanade import track_lucas_kanade
from inverse.tracking.silhouette import carry_mask
from inverse.tracking.tracks import Tracks


COVERED = 0.75  # of the silhouette, near a point that is followed: below it new ones are chosen
SHARE = 0.5  # as many new points for an area as were chosen in frame 0
REST = 2  # frames after new points were chosen, in which none are
FEW_POINTS = 8  # to be seen of the object, below which its silhouette is no longer followed
# The area of the silhouette, of that in frame 0, beyond which it is no longer the object's.
LARGEST, SMALLEST = 4.0, 0.02
LEAST_FRAMES = 4  # in which a new point must have been seen


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Seeds:
    """Points that were chosen after frame 0, and the silhouettes that they were chosen in.

    tracks: of m points through T frames; frame: (m,), where each was chosen; masks: (H, W) bool,
    the object's pixels in each frame, up to the one in which it was lost.
    """

    tracks: Tracks
    frame: np.ndarray
    masks: list[np.ndarray]


def find_seeds(
    video: Footage,
    mask: np.ndarray,
    tracks: Tracks,
    *,
    tracker: Callable[..., Tracks] = track_lucas_kanade,
    max_count: int = 200,
    progress: Callable[[int, int], None] | None = None,
) -> Seeds:
    """Choose and follow points where an object shows what was not seen in frame 0.

    The object's silhouette is carried from frame to frame. Where less than three quarters of it
    are near a point that is followed, new ones are chosen, half as densely as in frame 0, and
    followed forward and back.

    video: (T, H, W, 3) uint8; mask: (H, W) bool, the object in frame 0; tracks: of the points of
    frame 0; tracker: called with (video, queries, mask=); max_count: points for a silhouette as
    large as in frame 0; progress: called with (frame, frames).
    """
    frames, area = len(video), int(mask.sum())
    reach = np.sqrt(area / (SHARE * max_count))  # px, about the distance of neighbors
    found: list[Tracks] = [tracks]
    starts: list[np.ndarray] = []
    now, last = np.asarray(mask, dtype=bool), 0
    masks = [now]
    for t in range(1, frames):
        seen = [one.visible[t - 1] & one.visible[t] for one in found]
        moves = [(one.xy[t] - one.xy[t - 1])[keep] for one, keep in zip(found, seen, strict=True)]
        moved = np.concatenate(moves)
        if len(moved) < FEW_POINTS:
            break
        now = carry_mask(video[t - 1], video[t], now, np.median(moved, axis=0))
        if not SMALLEST * area < now.sum() < LARGEST * area:
            break
        masks.append(now)
        have = np.concatenate([one.xy[t, one.visible[t]] for one in found])
        if t >= last + REST and _coverage(now, have, reach) < COVERED:
            count = max(FEW_POINTS, int(SHARE * max_count * now.sum() / area))
            xy = select_keypoints(video[t], now, max_count=count, avoid=have)
            if len(xy):
                new = _both_ways(tracker, video, xy, t, now)
                keep = new.visible.sum(axis=0) >= min(LEAST_FRAMES, frames)
                found.append(new.of(keep))
                starts.append(np.full(int(keep.sum()), t))
                last = t
        if progress is not None:
            progress(t + 1, frames)
    empty = tracks.of(np.zeros(tracks.count, dtype=bool))
    return Seeds(
        tracks=Tracks.together(found[1:] or [empty]),
        frame=np.concatenate([*starts, np.zeros(0, dtype=int)]).astype(int),
        masks=masks,
    )


def _coverage(mask: np.ndarray, points: np.ndarray, reach: float) -> float:
    """Share of a mask within reach px of a point (N, 2) px."""
    near = np.zeros(mask.shape, np.uint8)
    for x, y in points.astype(int):
        cv2.circle(near, (int(x), int(y)), int(np.ceil(reach)), 1, -1)
    return float((near[mask] > 0).mean())


def _both_ways(
    tracker: Callable[..., Tracks], video: Footage, xy: np.ndarray, t: int, mask: np.ndarray
) -> Tracks:
    """Points (N, 2) px of frame t followed forward and back."""
    ahead = tracker(video[t:], xy, mask=mask)
    back = tracker(video[t::-1], xy, mask=mask)
    return Tracks(
        xy=np.concatenate([back.xy[:0:-1], ahead.xy]),
        visible=np.concatenate([back.visible[:0:-1], ahead.visible]),
        information=np.concatenate([back.information[:0:-1], ahead.information]),
    )
