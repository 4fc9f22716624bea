"""Keypoints of surface that is not seen in frame 0, for objects that turn."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial import cKDTree

from inverse.lifting.adjust import adjust
from inverse.lifting.anchor import anchor_points, fits
from inverse.lifting.energy import MIN_TRACKS, LiftConfig, TrackedView
from inverse.lifting.keypoints import Keypoints, Origins
from inverse.lifting.quality import SEEN
from inverse.lifting.rigid import motion_between
from inverse.lifting.solve import Lifted, lift
from inverse.tracking.seeds import find_seeds
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera


# Share of the keypoints that are followed in any view, in some frame, below which others are chosen
# in the frames after frame 0.
ENOUGH = 0.7
# Confidence of a keypoint on the far side of a rigid body, and by how much a body may bend, of its
# size, until it is half of that.
CARRIED, BEND = 0.5, 0.02


def many_lost(tracks: Sequence[Tracks]) -> bool:
    """Whether so many keypoints are lost in some frame that new ones are worth their while."""
    seen = np.any([one.visible for one in tracks], axis=0)
    followed = seen.any(axis=0)
    return bool(followed.any() and seen[:, followed].mean(axis=1).min() < ENOUGH)


def add_late_points(
    videos: Sequence[np.ndarray],
    paths: Sequence[list[Camera]],
    points: Keypoints,
    tracks: Sequence[Tracks],
    draft: Lifted,
    *,
    tracker: Callable[..., Tracks],
    max_count: int,
    config: LiftConfig | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Keypoints, list[Tracks], Lifted]:
    """Keypoints, their tracks in every view and their motion, with those that come into view later.

    videos: (T, H, W, 3) uint8 per view; paths: a camera for each frame of each view; points,
    tracks, draft: of the keypoints of frame 0; tracker, max_count, config: as `targets_from_video`
    has them; progress: called with (stage, done, total). Without new points, what was given comes
    back.
    """
    count, origins = len(points.points), points.origins
    parts, views, frames = [list(tracks)], [origins.view], [origins.frame]
    places, masks = [origins.xy], dict(origins.masks)
    for k, (video, mask) in enumerate(zip(videos, points.masks, strict=True)):
        if mask is None or not mask.any():
            continue

        def report(done: int, total: int, view: int = k) -> None:
            if progress is not None:
                progress(f"new points in view {view}", done, total)

        found = find_seeds(
            video, mask, tracks[k], tracker=tracker, max_count=max_count, progress=report
        )
        new = len(found.frame)
        parts.append(
            [found.tracks if j == k else _unseen(found.tracks) for j in range(len(videos))]
        )
        views.append(np.full(new, k))
        frames.append(found.frame)
        places.append(found.tracks.xy[found.frame, np.arange(new)])
        masks |= {(k, frame): where for frame, where in found.masks.items()}
    both = [Tracks.together([part[k] for part in parts]) for k in range(len(videos))]
    if both[0].count == count:
        return points, list(tracks), draft

    def known(done: int, total: int) -> None:
        if progress is not None:
            progress("lift new points", done, total)

    anchored = anchor_points(
        list(zip(both, paths, strict=True)), points.points, draft, config=config, progress=known
    )
    keep = anchored.keep
    late = np.arange(len(keep)) >= count
    view, frame, xy = (np.concatenate(part)[keep] for part in (views, frames, places))
    position = anchored.points[keep]
    usable = [np.pad(one, (0, int(late.sum())))[keep] for one in points.usable]
    queries = [path[0].project(position)[0] for path in paths]
    for mine, given in zip(queries, points.queries, strict=True):
        mine[:count] = given
    every = dataclasses.replace(
        points, points=position, queries=queries, usable=usable,
        origins=Origins(view=view, frame=frame, xy=xy, masks=masks),
    )  # fmt: skip
    both = [one.of(keep) for one in both]
    every, moved = _adjusted(list(zip(both, paths, strict=True)), every, anchored.lifted.points)
    return every, both, dataclasses.replace(anchored.lifted, points=moved)


def lift_with_late_points(
    tracks: Sequence[Tracks],
    paths: Sequence[list[Camera]],
    points: Keypoints,
    draft: Lifted,
    *,
    config: LiftConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Keypoints, list[Tracks], Lifted]:
    """The motion of all keypoints, and where those lie in frame 0 that came into view later.

    Both are adjusted together, and the motion is then lifted with all keypoints. Keypoints that do
    not move with the object are left out.
    """
    views = list(zip(tracks, paths, strict=True))
    points, moved = _adjusted(views, points, draft.points)
    late = np.flatnonzero(points.origins.frame > 0)
    keep = np.ones(len(points.points), dtype=bool)
    keep[late] = fits(views, late, points.points[late], moved[:, late])
    points, tracks = _of(points, tracks, keep)
    views = list(zip(tracks, paths, strict=True))
    lifted = lift(
        views, points.points, draft.fps, config=config, initial=moved[:, keep], progress=progress
    )
    confidence = np.maximum(lifted.confidence, carried(points.points, lifted))
    return points, tracks, dataclasses.replace(lifted, confidence=confidence)


def carried(points0: np.ndarray, lifted: Lifted) -> np.ndarray:
    """How well hidden keypoints are known from those that are seen: (T, N) in 0..1/2.

    A body that hardly bends carries its far side along. By how much it bends over its whole size is
    measured where it is seen, and is the less the nearer something is that is seen. A frame in
    which fewer than 8 keypoints are seen carries nothing.

    points0: (N, 3) m, in frame 0.
    """
    seen = lifted.confidence >= SEEN
    size = float(np.linalg.norm(points0.std(axis=0)))
    known = np.zeros(seen.shape)
    off, gaps = [], []
    for t in np.flatnonzero(seen.sum(axis=1) >= MIN_TRACKS):
        x, rest = lifted.points[t, seen[t]], points0[seen[t]]
        off.append(np.linalg.norm(motion_between(rest, x).move(rest) - x, axis=1))
        gaps.append((t, cKDTree(rest).query(points0)[0]))
    if off:
        bends = float(np.sqrt(np.mean(np.concatenate(off) ** 2))) / size
        for t, gap in gaps:
            known[t] = CARRIED / (1 + (bends * gap / (BEND * size)) ** 2)
    return known


def _adjusted(
    views: Sequence[TrackedView], points: Keypoints, motion: np.ndarray
) -> tuple[Keypoints, np.ndarray]:
    late = np.flatnonzero(points.origins.frame > 0)
    at, moved = adjust(views, points.points, late, motion)
    return dataclasses.replace(points, points=at), moved


def _of(
    points: Keypoints, tracks: Sequence[Tracks], keep: np.ndarray
) -> tuple[Keypoints, list[Tracks]]:
    """Keypoints and tracks of some (N,) bool only."""
    origins = points.origins
    fewer = dataclasses.replace(
        points, points=points.points[keep],
        queries=[one[keep] for one in points.queries],
        usable=[one[keep] for one in points.usable],
        origins=dataclasses.replace(
            origins, view=origins.view[keep], frame=origins.frame[keep], xy=origins.xy[keep]
        ),
    )  # fmt: skip
    return fewer, [one.of(keep) for one in tracks]


def _unseen(tracks: Tracks) -> Tracks:
    """Tracks of the same points in a view that does not see them, as far as is known."""
    return dataclasses.replace(tracks, visible=np.zeros_like(tracks.visible))
