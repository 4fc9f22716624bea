"""Targets of the particles from tracks, and how noisy they are, kept for a run that resumes."""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from inverse.lifting import LiftQuality, Targets, targets_from_video
from inverse.lifting.binding import NEAREST
from inverse.lifting.energy import MOST_POISSON, LiftConfig
from inverse.perception import ObjectModel
from inverse.runs.checkpoint import fingerprint_of
from inverse.runs.folder import read_npz, write_npz
from inverse.tracking import Tracks, track_cotracker, track_lucas_kanade
from inverse.tracking.tapir import track_tapir
from inverse.wind.balls import follow_ball
from inverse.wind.config import WindJob
from inverse.wind.inputs.load import Inputs
from inverse.wind.noise import track_noise
from inverse.wind.strayed import strayed_px
from taichi_phys import runtime


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tracked:
    """What the tracks of a clip say of n particles, in T frames up to where the object is lost.

    targets: (T, n, 3) m; confidence: (T, n) in 0..1, how well each is seen; keypoints: (k, 2) px of
    those in frame 0 of the first view; paths: (SHOWN, k, 2) px, of these in the first frames, NaN
    where they are not seen; count: number of points that were followed in any view; anchors: (m, 3)
    m, where those seen in frame 0 are in it, and strayed: (V, T, m, 2) px, how far off from there
    each of V views sees them (strayed.py), NaN where it does not;
    noise: (T,) m/s^2, standard deviation, along an axis across the camera's, of the force per mass
    on a part beside that on the whole, as far as single tracks make it (noise.py); sampled: (m,)
    particles and shifts: (B, T, m, 3) m, by how much these move without a block of the tracks,
    which is how uncertain they are; quality: of the lift; by: what it was followed by, one of
    balls.FOLLOWED.
    """

    targets: np.ndarray
    confidence: np.ndarray
    keypoints: np.ndarray
    paths: np.ndarray
    count: int
    anchors: np.ndarray
    strayed: np.ndarray
    noise: np.ndarray
    sampled: np.ndarray
    shifts: np.ndarray
    quality: LiftQuality
    by: str = "tracks"

    @property
    def fits(self) -> bool:
        """Whether all arrays have the shapes that they should have."""
        frames, particles = len(self.targets), self.confidence.shape[-1]
        points, sampled = len(self.keypoints), len(self.sampled)
        expected = [
            (self.targets, (frames, particles, 3)),
            (self.confidence, (frames, particles)),
            (self.keypoints, (points, 2)),
            (self.paths, (len(self.paths), points, 2)),
            (self.anchors, (len(self.anchors), 3)),
            (self.strayed, (len(self.strayed), frames, len(self.anchors), 2)),
            (self.noise, (frames,)),
            (self.sampled, (sampled,)),
            (self.shifts, (len(self.shifts), frames, sampled, 3)),
            (self.quality.reprojection_px, (frames, 2)),
            (self.quality.seen_share, (frames,)),
            (self.quality.keypoints_seen_share, (frames,)),
        ]
        return all(array.shape == shape for array, shape in expected)

    def until(self, frames: int) -> "Tracked":
        """What the tracks say of the first frames."""
        return dataclasses.replace(
            self,
            targets=self.targets[:frames],
            confidence=self.confidence[:frames],
            strayed=self.strayed[:, :frames],
            noise=self.noise[:frames],
            shifts=self.shifts[:, :frames],
            quality=self.quality.until(frames),
        )


SHOWN = 12  # frames at the beginning of the clip, through which points are shown
NAMES = [field.name for field in dataclasses.fields(Tracked) if field.name != "quality"]
QUALITY = [field.name for field in dataclasses.fields(LiftQuality)]


def find_targets(job: WindJob, inputs: Inputs, model: ObjectModel, path: Path) -> Tracked:
    """Track, lift and carry the particles of a model; or read what path holds, where the job
    resumes and that was made from the same inputs. Raises ValueError for tracks that no motion of
    the object explains."""
    stamp = _stamp(job, inputs, model)
    if job.resume:
        with contextlib.suppress(ValueError):  # then it is made again
            return _kept(path, stamp)
    tracker: Callable[..., Tracks] = track_lucas_kanade
    if job.tracker == "tapir":
        device = str(runtime.ensure_initialized().device)
        tracker = functools.partial(track_tapir, checkpoint=job.tapir, device=device)
    if job.tracker.startswith("cotracker"):
        device = str(runtime.ensure_initialized().device)
        tracker = functools.partial(
            track_cotracker,
            repo_or_checkpoint=job.cotracker,
            device=device,
            online=job.tracker == "cotracker-online",
        )
    with _StageBar() as bar:

        def follow(
            tracks: Sequence[Tracks] | None, masks: np.ndarray | None, nodes: int = LiftConfig.nodes
        ) -> Targets:
            config = LiftConfig(poisson=float(np.clip(job.nu, 0.0, MOST_POISSON)), nodes=nodes)
            return targets_from_video(
                inputs.videos, inputs.cameras, inputs.mask, inputs.depth, inputs.fps, model.x,
                surface=model.surface, taken=inputs.taken, masks=masks, tracks=tracks,
                tracker=tracker, max_count=job.keypoints, config=config, progress=bar,
            )  # fmt: skip

        found, by = follow_ball(inputs, follow)
    tracked = dataclasses.replace(_tracked(job, found, inputs, model.seen), by=by)
    arrays = {name: getattr(tracked, name) for name in NAMES}
    write_npz(path, stamp=stamp, **arrays, **tracked.quality.to_arrays())
    return tracked


def _kept(path: Path, stamp: str) -> Tracked:
    """What a file holds. Raises ValueError for one that is missing or damaged, and for one made
    from other input or by another version."""
    saved, *arrays = read_npz(path, "stamp", *NAMES, *QUALITY)
    record = dict(zip([*NAMES, *QUALITY], arrays, strict=True))
    quality = LiftQuality.from_arrays({name: record.pop(name) for name in QUALITY})
    count, by = int(record.pop("count")), str(record.pop("by"))
    kept = Tracked(**record, count=count, quality=quality, by=by)
    if str(saved) != stamp or not kept.fits:
        raise ValueError(f"{path}: made from other input, or by another version")
    return kept


def _tracked(job: WindJob, found: Targets, inputs: Inputs, seen: np.ndarray) -> Tracked:
    lifted, frames, fps = found.lifted, len(found.targets), inputs.fps
    camera = inputs.cameras[0][0]
    pixel = float(np.median(camera.to_camera(found.keypoints.points)[:, 2])) / camera.fx  # m
    one = lifted.sigma_px * pixel
    followed = np.any([tracks.visible[1:].any(axis=0) for tracks in found.tracks], axis=0)
    count = max(int(followed.sum()), 1)
    off, local = track_noise(lifted.local, one, frames, fps)
    # Jitter that stays is not white, and not smoothed away: what a single frame shows, of the few
    # keypoints that carry a part.
    off = np.maximum(off, one / np.sqrt(NEAREST))
    spread = max(int(followed[found.keypoints.origins.frame == 0].sum()), 1)
    apart = pixel * np.sqrt(inputs.mask.sum() / spread)  # m, between keypoints
    stiff = job.E / job.density * off / apart**2
    usable, tracks = found.keypoints.usable[0], found.tracks[0].until(SHOWN)
    strayed = strayed_px(found.tracks, inputs.cameras, lifted.points)
    there = np.isfinite(strayed[:, 0, :, 0]).any(axis=0)
    return Tracked(
        targets=found.targets,
        confidence=found.confidence * seen,
        keypoints=found.keypoints.queries[0][usable],
        paths=np.where(tracks.visible[..., None], tracks.xy, np.nan)[:, usable],
        count=count,
        anchors=found.keypoints.points[there],
        strayed=strayed[:, :, there],
        noise=np.hypot(local, stiff),
        sampled=found.sampled,
        shifts=found.shifts.astype(np.float32),
        quality=found.quality,
    )


def _stamp(job: WindJob, inputs: Inputs, model: ObjectModel) -> str:
    """Digest of what targets depend on."""
    cameras = [dataclasses.asdict(camera) for path in inputs.cameras for camera in path]
    arrays = [*inputs.taken, inputs.mask, inputs.depth, model.x, model.seen]
    if inputs.masks is not None:
        arrays.append(inputs.masks)
    for tracks in inputs.tracks or ():
        arrays += [tracks.xy, tracks.visible]
    settings = (inputs.fps, job.tracker, job.cotracker, job.tapir, job.keypoints, job.nu, cameras)
    return fingerprint_of(settings, itertools.chain(*inputs.videos, arrays))


class _StageBar:
    """A progress bar for stages that report (stage, done, total); quiet without a terminal."""

    def __enter__(self) -> "_StageBar":
        self._bar: Any = None
        self._stage = ""
        return self

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage:
            self.__exit__()
            self._bar, self._stage = tqdm(desc=stage, total=total, disable=None), stage
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
