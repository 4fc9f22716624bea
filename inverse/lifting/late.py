"""Keypoints of surface that is not seen in frame 0, for objects that turn."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from inverse.clips.footage import Footage
from inverse.lifting.adjust import adjust
from inverse.lifting.anchor import anchor_points, fits
from inverse.lifting.carried import carried, covered
from inverse.lifting.energy import LiftConfig, TrackedView
from inverse.lifting.keypoints import Keypoints, Origins
from inverse.lifting.solve import Lifted, lift
from inverse.lifting.volume import VolumeNodes
from inverse.tracking.seeds import find_seeds
from inverse.tracking.timing import at_even_times
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera
from taichi_phys.geometry.repair import Triangles


# Share of the keypoints that are followed in any view, in some frame, below which others are chosen
# in the frames after frame 0.
ENOUGH = 0.7


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WithLate:
    """Keypoints with those that came into view after frame 0.

    tracks: of all of them, per view; draft: their motion; silhouettes: per view, the object's
    pixels (H, W) bool in each frame, as far as they were followed.
    """

    points: Keypoints
    tracks: list[Tracks]
    draft: Lifted
    silhouettes: list[list[np.ndarray]]


def many_lost(tracks: Sequence[Tracks]) -> bool:
    """Whether so many keypoints are lost in some frame that new ones are worth their while."""
    seen = np.any([one.visible for one in tracks], axis=0)
    followed = seen.any(axis=0)
    return bool(followed.any() and seen[:, followed].mean(axis=1).min() < ENOUGH)


def add_late_points(
    videos: Sequence[Footage],
    paths: Sequence[list[Camera]],
    points: Keypoints,
    tracks: Sequence[Tracks],
    draft: Lifted,
    taken: Sequence[np.ndarray],
    *,
    tracker: Callable[..., Tracks],
    max_count: int,
    config: LiftConfig | None = None,
    volume: VolumeNodes | None = None,
    surface: Triangles | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> WithLate | None:
    """Find keypoints that come into view later; None if there are none.

    videos: (T, H, W, 3) uint8 per view; paths: a camera for each frame of each view; points,
    tracks, draft: of the keypoints of frame 0; taken, tracker, max_count, config: as those of
    `targets_from_video`; volume, surface: what carries a solid, and its surface in frame 0;
    progress: called with (stage, done, total).
    """
    count, origins = len(points.points), points.origins
    parts, views, frames = [list(tracks)], [origins.view], [origins.frame]
    places, masks = [origins.xy], dict(origins.masks)
    silhouettes: list[list[np.ndarray]] = [[] for _ in videos]
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
        even = at_even_times(found.tracks, taken[k], draft.fps)
        parts.append([even if j == k else _unseen(even) for j in range(len(videos))])
        views.append(np.full(new, k))
        frames.append(found.frame)
        places.append(found.tracks.xy[found.frame, np.arange(new)])
        masks |= {(k, int(frame)): found.masks[frame] for frame in np.unique(found.frame)}
        silhouettes[k] = found.masks
    both = [Tracks.together([part[k] for part in parts]) for k in range(len(videos))]
    if both[0].count == count:
        return None

    def known(done: int, total: int) -> None:
        if progress is not None:
            progress("lift new points", done, total)

    anchored = anchor_points(
        list(zip(both, paths, strict=True)),
        points.points,
        draft,
        config=config,
        volume=volume,
        progress=known,
    )
    keep = anchored.keep
    if keep.sum() == count:
        return None
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
    every, moved = _adjusted(
        list(zip(both, paths, strict=True)), every, anchored.lifted.points, surface
    )
    draft = dataclasses.replace(anchored.lifted, points=moved)
    return WithLate(points=every, tracks=both, draft=draft, silhouettes=silhouettes)


def lift_with_late_points(
    late: WithLate,
    paths: Sequence[list[Camera]],
    *,
    config: LiftConfig | None = None,
    volume: VolumeNodes | None = None,
    surface: Triangles | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Keypoints, list[Tracks], Lifted]:
    """The motion of all keypoints, and where those lie in frame 0 that came into view later.

    Both are adjusted together, and the motion is then lifted with all keypoints. Keypoints that do
    not move with the object are left out.
    """
    views = list(zip(late.tracks, paths, strict=True))
    points, moved = _adjusted(views, late.points, late.draft.points, surface)
    new = np.flatnonzero(points.origins.frame > 0)
    keep = np.ones(len(points.points), dtype=bool)
    keep[new] = fits(views, new, points.points[new], moved[:, new])
    points, tracks = _of(points, late.tracks, keep)
    views = list(zip(tracks, paths, strict=True))
    lifted = lift(
        views, points.points, late.draft.fps, config=config, volume=volume,
        initial=moved[:, keep], spread=True, progress=progress,
    )  # fmt: skip
    camera = paths[0][0]
    pixel = float(np.median(camera.to_camera(points.points)[:, 2])) / camera.fx
    known = carried(points.points, lifted, pixel)
    for path, masks in zip(paths, late.silhouettes, strict=True):
        known *= covered(lifted.points, path, masks)
    confidence = np.maximum(lifted.confidence, known)
    return points, tracks, dataclasses.replace(lifted, confidence=confidence)


def _adjusted(
    views: Sequence[TrackedView],
    points: Keypoints,
    motion: np.ndarray,
    surface: Triangles | None,
) -> tuple[Keypoints, np.ndarray]:
    late = np.flatnonzero(points.origins.frame > 0)
    at, moved = adjust(views, points.points, late, motion, surface)
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
