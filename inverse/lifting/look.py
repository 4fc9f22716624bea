"""Two looks at a clip: tracks and a draft of the motion, and tracks again through that draft.

Where the object is lost for good, nothing is worked on: a lift over frames in which nothing is
followed takes long and may fail.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from inverse.clips.footage import Footage
from inverse.lifting.energy import LiftConfig
from inverse.lifting.followed import frames_followed, frames_looked_at, well_followed
from inverse.lifting.keypoints import Keypoints
from inverse.lifting.late import WithLate, add_late_points, many_lost
from inverse.lifting.solve import Lifted, lift
from inverse.lifting.timed import refine_timed
from inverse.lifting.volume import VolumeNodes
from inverse.lifting.warp import CarriedSurface
from inverse.tracking.silhouettes import inside_masks
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera
from taichi_phys.geometry.repair import Triangles


ON_SKIN = 2  # times that tracks are sought through the motion, where the surface is known

StageProgress = Callable[[str, int, int], None]  # called with (stage, done, total)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """The pictures of T frames, and what is known of them.

    videos: (T, H, W, 3) uint8 per view; paths: a camera for each frame of each view; taken: (T,) s,
    when the pictures of each view were taken; masks: (T, h, w) bool, outside of which no track of
    the first view counts, or None.
    """

    videos: list[Footage]
    paths: list[list[Camera]]
    taken: list[np.ndarray]
    masks: np.ndarray | None

    @property
    def frames(self) -> int:
        """Number of frames T."""
        return len(self.videos[0])

    def until(self, frames: int) -> "Clip":
        """The first frames of the clip."""
        if frames == self.frames:
            return self
        return Clip(
            videos=[video[:frames] for video in self.videos],
            paths=[path[:frames] for path in self.paths],
            taken=[at[:frames] for at in self.taken],
            masks=None if self.masks is None else self.masks[:frames],
        )

    def views(self, tracks: Sequence[Tracks]) -> list[tuple[Tracks, list[Camera]]]:
        """The tracks of each view with its cameras."""
        return list(zip(tracks, self.paths, strict=True))

    def inside(self, tracks: Sequence[Tracks]) -> list[Tracks]:
        """Tracks of all views, of which those of the first count only inside its masks, if any."""
        if self.masks is None:
            return list(tracks)
        size = (self.paths[0][0].width, self.paths[0][0].height)
        return [inside_masks(tracks[0], self.masks, size), *tracks[1:]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Looked:
    """What two looks at a clip have found.

    points: keypoints; tracks: of them, per view; draft: the motion that they were sought with;
    late: with those that came into view after frame 0, None without any.
    """

    points: Keypoints
    tracks: list[Tracks]
    draft: Lifted
    late: WithLate | None

    def until(self, frames: int) -> "Looked":
        """What was found in the first frames."""
        tracks = [one.until(frames) for one in self.tracks]
        draft = self.draft.until(frames)
        late = self.late and dataclasses.replace(self.late, tracks=tracks, draft=draft)
        return dataclasses.replace(self, tracks=tracks, draft=draft, late=late)


def look_twice(
    clip: Clip,
    points: Keypoints,
    tracks: Sequence[Tracks],
    fps: float,
    *,
    check: Callable[[Lifted, Keypoints], Any],
    tracker: Callable[..., Tracks],
    max_count: int,
    config: LiftConfig,
    volume: VolumeNodes | None,
    surface: Triangles | None,
    progress: StageProgress | None,
) -> Looked:
    """Look at a clip again through a draft of the motion, up to where the object is lost.

    What hides an object for a few frames does not end that, nor does surface that turns away, where
    points on other surface are followed.

    clip: all frames; points, tracks: the keypoints of frame 0 and their tracks per view, by a first
    look; check: raises its ValueError for a draft of which nothing can be used; fps, tracker,
    max_count, config, progress: as those of `targets_from_video`; volume, surface: what carries a
    solid, and its surface.
    """
    options: dict[str, Any] = {
        "tracker": tracker, "max_count": max_count, "config": config, "volume": volume,
        "surface": surface, "progress": progress,
    }  # fmt: skip
    frames = frames_looked_at(tracks, clip.taken)
    while True:
        own = [one.until(frames) for one in tracks]
        found = _look(clip.until(frames), points, own, fps, check, options)
        end = frames_followed(found.tracks, clip.taken)
        if frames == clip.frames or not well_followed(found.tracks)[-1]:
            return found.until(end)
        frames = min(2 * frames, clip.frames)  # it goes on


def _look(
    clip: Clip,
    points: Keypoints,
    tracks: Sequence[Tracks],
    fps: float,
    check: Callable[[Lifted, Keypoints], Any],
    options: dict[str, Any],
) -> Looked:
    """Two looks at all frames of a clip."""
    config, volume, surface = (options[name] for name in ("config", "volume", "surface"))
    progress: StageProgress | None = options["progress"]
    draft = lift(
        clip.views(tracks), points.points, fps, config=config, volume=volume,
        progress=stage(progress, "lift draft"),
    )  # fmt: skip
    check(draft, points)  # a false draft finds false tracks
    late = None
    if many_lost(tracks):
        late = add_late_points(
            clip.videos, clip.paths, points, tracks, draft, clip.taken, **options
        )
    if late is not None:
        points, tracks, draft = late.points, late.tracks, late.draft
    skin = None if surface is None or volume is None else CarriedSurface(surface, volume)
    # Where the surface is known, tracks are as good as the motion that they are sought with.
    rounds = 1 if skin is None or late is not None else ON_SKIN
    found = list(tracks)
    for k in range(rounds):
        if k > 0:
            draft = lift(
                clip.views(clip.inside(found)), points.points, fps, config=config, volume=volume,
                initial=draft.points, progress=stage(progress, "lift again"),
            )  # fmt: skip
        found = refine_timed(
            clip.videos, clip.paths, points, draft, clip.taken, tracks=found, skin=skin,
            own_frames=surface is not None and all(at[0] == clip.taken[0][0] for at in clip.taken),
            progress=stage(progress, "refine tracks"),
        )  # fmt: skip
    found = clip.inside(found)
    late = late and dataclasses.replace(late, tracks=found)
    return Looked(points=points, tracks=found, draft=draft, late=late)


def stage(progress: StageProgress | None, name: str) -> Callable[[int, int], None] | None:
    """What reports the progress of one stage."""
    if progress is None:
        return None
    return lambda done, total: progress(name, done, total)
