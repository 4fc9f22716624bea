"""From videos to particle targets in one call."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from inverse.clips.footage import Footage
from inverse.lifting.binding import (
    TriangleBinding,
    bind_to_triangles,
    carried_shifts,
    dense_targets,
    solid_targets,
)
from inverse.lifting.energy import MIN_TRACKS, LiftConfig, camera_path
from inverse.lifting.followed import FEWEST_FRAMES, frames_followed
from inverse.lifting.keypoints import Keypoints, keypoints, unproject_on
from inverse.lifting.late import WithLate, lift_with_late_points
from inverse.lifting.look import Clip, StageProgress, look_twice, stage
from inverse.lifting.quality import LiftQuality, seen_share, width_px
from inverse.lifting.shrink import (
    enlarge,
    shrink_camera,
    shrink_factor,
    shrink_footage,
    shrink_image,
)
from inverse.lifting.solve import Lifted, lift
from inverse.lifting.volume import VolumeNodes
from inverse.perception.surface import visible_surface
from inverse.spread import farthest_points
from inverse.tracking.lucas_kanade import track_lucas_kanade
from inverse.tracking.silhouettes import carried_masks
from inverse.tracking.timing import at_even_times
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera
from taichi_phys.geometry.repair import Triangles


SAMPLED = 200  # particles whose uncertainty is found


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """Targets of particles, and what they were made from.

    targets: (T, n, 3) m, up to the frame after which the object is lost; confidence: (T, n), 0 to
    1; lifted: the keypoints in space; tracks: of the keypoints, per view; quality: how far all this
    is to be believed; sampled: (m,) particles whose uncertainty was found, and shifts: (B, T, m, 3)
    m, by how much these move without a block of the tracks: the sum of squares over the blocks is
    the variance.
    """

    targets: np.ndarray
    confidence: np.ndarray
    lifted: Lifted
    keypoints: Keypoints
    tracks: list[Tracks]
    quality: LiftQuality
    sampled: np.ndarray
    shifts: np.ndarray

    def until(self, frames: int) -> "Targets":
        """The first frames of the targets."""
        return dataclasses.replace(
            self,
            targets=self.targets[:frames],
            confidence=self.confidence[:frames],
            lifted=self.lifted.until(frames),
            tracks=[one.until(frames) for one in self.tracks],
            quality=self.quality.until(frames),
            shifts=self.shifts[:, :frames],
        )


def targets_from_video(
    videos: Sequence[Footage],
    cameras: Sequence[Camera | Sequence[Camera]],
    mask: np.ndarray,
    depth: np.ndarray,
    fps: float,
    x0: np.ndarray,
    *,
    surface: Triangles | None = None,
    taken: Sequence[np.ndarray] | None = None,
    masks: np.ndarray | None = None,
    tracks: Sequence[Tracks] | None = None,
    tracker: Callable[..., Tracks] = track_lucas_kanade,
    max_count: int = 200,
    config: LiftConfig | None = None,
    progress: StageProgress | None = None,
) -> Targets:
    """Track, lift and carry the particles x0 (n, 3) m of frame 0 through all frames.

    Videos are looked at twice: tracks, a draft of the motion, tracks again through the surface of
    the draft (`refine_tracks`), the motion. Pictures of a large object are made smaller for that.
    Ready tracks are taken as they are. Where the object is lost for good, the targets end.

    videos: (T, H, W, 3) uint8 per view, synchronized; cameras: one for each, or one per frame where
    it turns (`camera_rotation`); mask (H, W) bool and depth (H, W) m: frame 0 of the first view;
    fps: frames per second; surface: closed, that encloses x0 where the object is a solid; taken:
    (T,) s after frame 0, when the pictures of each view were taken, NaN where a frame has none of
    its own, default: at even steps; masks: (T, H, W) bool, of the object in all frames of the first
    view, outside of which no track counts, default: what flow and GrabCut make of frame 0, for
    tracks that were not compared with frame 0 (`Tracks.compared`); tracks: ready ones of
    the same points per view, instead of the tracker; tracker: called with (video, queries, mask=,
    progress=); max_count: keypoints;
    progress: called with (stage, done, total). Raises ValueError for inputs that disagree, for
    fewer than 8 usable tracks, for an object that is lost at once, and for tracks that no motion of
    the object explains.
    """
    if len(videos) != len(cameras) or len(videos) == 0:
        raise ValueError(
            f"videos: got {len(videos)} for {len(cameras)} cameras, expected one for each camera"
        )
    frames = min(len(video) for video in videos)
    videos = [video[:frames] for video in videos]
    paths = [camera_path(camera, frames) for camera in cameras]
    first = [path[0] for path in paths]
    if taken is None:
        taken = [np.arange(frames) / fps] * len(videos)
    config = config or LiftConfig()
    volume = None if surface is None else VolumeNodes(x0, config.nodes)
    scale = shrink_factor(mask) if tracks is None else 1.0
    late: WithLate | None = None
    initial: np.ndarray | None
    if tracks is None:
        if scale < 1:
            videos = [shrink_footage(video, scale) for video in videos]
            paths = [[shrink_camera(camera, scale) for camera in path] for path in paths]
            mask, depth = (shrink_image(np.asarray(map), scale) for map in (mask, depth))
        images = [video[0] for video in videos]
        points = keypoints(
            images, mask, depth, [path[0] for path in paths], max_count=max_count, surface=surface
        )
        _check_count(len(points.points), mask)
        tracks = [
            _track(tracker, videos[k], points, k, stage(progress, f"track view {k}"))
            for k in range(len(videos))
        ]
        compared = tracks[0].compared
        tracks = [at_even_times(one, at, fps) for one, at in zip(tracks, taken, strict=True)]
        if masks is None and not compared:
            masks = carried_masks(videos[0], mask, tracks[0])
        clip = Clip(videos=videos, paths=paths, taken=list(taken), masks=masks)
        tracks = clip.inside(tracks)
        seen = np.any([one.visible[1:].any(axis=0) for one in tracks], axis=0)
        _check_count(int(seen.sum()), mask)
        looked = look_twice(
            clip, points, tracks, fps, tracker=tracker, max_count=max_count, config=config,
            check=lambda draft, points: _quality(draft, points, draft.confidence),
            volume=volume, surface=surface, progress=progress,
        )  # fmt: skip
        points, tracks, late = looked.points, looked.tracks, looked.late
        initial = looked.draft.points
    else:
        points, tracks = _from_tracks(tracks, mask, depth, first, frames)
        tracks = [at_even_times(one, at, fps) for one, at in zip(tracks, taken, strict=True)]
        if masks is None:
            masks = _silhouettes(videos[0], mask, tracks[0])
        clip = Clip(videos=videos, paths=paths, taken=list(taken), masks=masks)
        tracks = clip.inside(tracks)
        tracks = [one.until(frames_followed(tracks, taken)) for one in tracks]
        initial = None
    clip = clip.until(tracks[0].frames)
    _check_length(clip.frames, frames)
    report = stage(progress, "lift")
    if late is not None:
        points, tracks, lifted = lift_with_late_points(
            late, clip.paths, config=config, volume=volume, surface=surface, progress=report
        )
    else:
        lifted = lift(
            clip.views(tracks), points.points, fps, config=config, volume=volume, initial=initial,
            spread=True, progress=report,
        )  # fmt: skip
    if scale < 1:
        small = [path[0] for path in paths]
        points, tracks, lifted = enlarge(points, tracks, lifted, first, small)
    carrier: TriangleBinding | VolumeNodes
    if volume is None:
        carrier = bind_to_triangles(x0, points.points)
        targets, confidence = dense_targets(carrier, lifted)
    else:
        carrier = volume
        targets, confidence = solid_targets(volume, x0, points.points, lifted)
    sampled = farthest_points(x0, min(SAMPLED, len(x0)))
    return Targets(
        targets=targets,
        confidence=confidence,
        lifted=lifted,
        keypoints=points,
        tracks=list(tracks),
        quality=_quality(lifted, points, confidence),
        sampled=sampled,
        shifts=carried_shifts(carrier, lifted, sampled),
    )


def _silhouettes(video: Footage, mask: np.ndarray, tracks: Tracks) -> np.ndarray:
    """The object's pixels in all frames (T, h, w) bool, of pictures that are smaller where the
    object is large; tracks: in pixels of those (T, H, W, 3)."""
    scale = shrink_factor(mask)
    if scale < 1:
        width, video = video.shape[2], shrink_footage(video, scale)
        tracks = dataclasses.replace(tracks, xy=tracks.xy * (video.shape[2] / width))
        mask = shrink_image(np.asarray(mask), scale)
    return carried_masks(video, mask, tracks)


def _quality(lifted: Lifted, points: Keypoints, confidence: np.ndarray) -> LiftQuality:
    """How far a lift is to be believed; confidence: (T, n), of particles. Raises ValueError where
    nothing of it can be used."""
    quality = LiftQuality(
        converged=lifted.converged,
        reprojection_px=lifted.reprojection_px,
        seen_share=seen_share(confidence),
        keypoints_seen_share=seen_share(lifted.confidence),
        sigma_px=lifted.sigma_px,
        object_px=width_px(points.queries[0][points.origins.frame == 0]),
    )
    failure = quality.failure()
    if failure is not None:
        raise ValueError(failure)
    return quality


def _track(
    tracker: Callable[..., Tracks],
    video: Footage,
    points: Keypoints,
    view: int,
    progress: Callable[[int, int], None] | None,
) -> Tracks:
    """Tracks of all keypoints in one view; those it does not see in frame 0 are never visible."""
    usable = points.usable[view]
    frames, n = len(video), len(usable)
    xy = np.tile(points.queries[view], (frames, 1, 1))
    visible = np.zeros((frames, n), dtype=bool)
    information, compared = np.tile(np.eye(2), (frames, n, 1, 1)), True
    if usable.any():
        found = tracker(
            video, points.queries[view][usable], mask=points.masks[view], progress=progress
        )
        xy[:, usable], visible[:, usable] = found.xy, found.visible
        information[:, usable], compared = found.information, found.compared
    return Tracks(xy=xy, visible=visible, information=information, compared=compared)


def _from_tracks(
    tracks: Sequence[Tracks],
    mask: np.ndarray,
    depth: np.ndarray,
    cameras: list[Camera],
    frames: int,
) -> tuple[Keypoints, list[Tracks]]:
    """Keypoints of ready tracks: those that start on the object in the first view."""
    if len(tracks) != len(cameras):
        raise ValueError(
            f"tracks: got {len(tracks)} for {len(cameras)} views, expected one for each view"
        )
    for k, one in enumerate(tracks):
        if one.count != tracks[0].count or one.frames < frames:
            raise ValueError(
                f"tracks[{k}]: got {one.frames} frames of {one.count} points, expected "
                f"{frames} frames of {tracks[0].count}"
            )
    surface = visible_surface(mask, depth, cameras[0])
    cell = np.floor(np.nan_to_num(tracks[0].xy[0], nan=-1)).astype(int)
    height, width = mask.shape
    inside = (cell >= 0).all(1) & (cell < [width, height]).all(1) & tracks[0].visible[0]
    cell = np.clip(cell, 0, [width - 1, height - 1])
    keep = inside & mask[cell[:, 1], cell[:, 0]]
    _check_count(int(keep.sum()), mask)
    chosen = [
        Tracks(
            xy=one.xy[:frames, keep],
            visible=one.visible[:frames, keep],
            information=one.information[:frames, keep],
        )
        for one in tracks
    ]
    points = Keypoints(
        points=unproject_on(surface, chosen[0].xy[0], cameras[0]),
        queries=[one.xy[0] for one in chosen],
        usable=[one.visible[0] for one in chosen],
        masks=[np.asarray(mask, dtype=bool), *[None] * (len(chosen) - 1)],
    )
    return points, chosen


def _check_count(count: int, mask: np.ndarray) -> None:
    if count < MIN_TRACKS:
        rows, columns = np.nonzero(mask)
        wide, high = (int(np.ptp(side)) + 1 if len(side) else 0 for side in (columns, rows))
        raise ValueError(
            f"tracks: got {count} on the object, at least {MIN_TRACKS} are needed; it is {wide} px "
            f"wide and {high} px high, and has to be larger, sharper or of more texture than that"
        )


def _check_length(frames: int, given: int) -> None:
    if frames < min(FEWEST_FRAMES, given):
        raise ValueError(
            f"tracks: the object is lost in frame {frames}, and {frames} of {given} frames show no "
            "force; it is too fast, too blurred or too small to be followed, or the mask is not of "
            "it: begin where it moves less (--start, and a mask or box of that frame), or give "
            "--tracks"
        )
