"""The clips of a wind run."""

import contextlib
import dataclasses
import math

import numpy as np

from inverse.clips import ClipPlan, plan_clip
from inverse.clips.clip import MOST
from inverse.clips.timing import Timing
from inverse.perception.camera_files import rate_of
from inverse.runs.settings import positive
from inverse.tracking import Tracks, load_tracks
from inverse.wind.config import WindJob


# Pictures are made so small that their longer side is this, px, unless the object then gets smaller
# than that, px: trackers see nothing finer, and memory grows with the square.
LONGEST, OBJECT = 1280, 256
# Seconds that a frame takes on two cores: 3.5 of the leaf in assets, a sheet of 36 frames, up to
# twice that of what is large or a solid.
SECONDS = (3.5, 7.0)


def plan_clips(
    job: WindJob, assumptions: list[str] | None = None, *, need_cameras: bool = True
) -> list[ClipPlan]:
    """Which pictures of each view are used: all at the steps of time of the first.

    assumptions: takes sentences about what was left out or found; need_cameras: whether cameras,
    which may say a rate, have to be there. Raises ValueError, in a sentence, for clips that cannot
    be used.
    """
    plans: list[ClipPlan] = []
    for view, path in enumerate(job.video):
        fps, source = job.fps, "--fps"
        if fps is None and job.camera:
            source = job.camera[view]
            with contextlib.suppress(*(() if need_cameras else (ValueError,))):
                fps = _camera_fps(source)
        # Of the other views only the time that the first shows is used.
        plan = plan_clip(
            path, start=job.start, each=job.every, fps=fps, fps_from=source,
            frames=job.frames if view == 0 else None, most=None if view else MOST,
        )  # fmt: skip
        if view:
            timing = _on_steps(plan.timing, plans[0].timing)
            missing = int((timing.picture < 0).sum())
            if missing == len(timing.picture):
                raise ValueError(f"video {path}: shows no moment that {job.video[0]} shows")
            plan = dataclasses.replace(plan, timing=timing)
        plans.append(plan)
        if assumptions is not None:
            named = f" ({path})" if len(job.video) > 1 else ""
            assumptions += [note[:-1] + named + "." for note in plan.notes]
    return plans


def how_long(frames: int) -> str | None:
    """A sentence on how long a run takes that was asked for so many frames, and what shortens it;
    None of no more than are used anyway."""
    if frames <= MOST:
        return None
    least, most = (math.ceil(frames * seconds / 60) for seconds in SECONDS)
    return (
        f"{frames} frames take about {least} to {most} minutes on two cores; --frames {MOST} uses "
        "fewer, --every 2 every second one, and --preview only looks at what is followed."
    )


def sensible_scale(size: tuple[int, int], mask: np.ndarray) -> float:
    """By how much to reduce pictures of that size (width, height), whose object has this mask."""
    rows, columns = np.nonzero(mask)
    side = max(np.ptp(rows), np.ptp(columns)) + 1
    return float(min(1.0, max(LONGEST / max(size), OBJECT / side)))


def read_tracks(job: WindJob, plans: list[ClipPlan]) -> list[Tracks] | None:
    """The ready tracks of a job in the frames that are used, or None.

    Raises ValueError for a file that cannot be read, or that has fewer frames than the clip.
    """
    if not job.tracks:
        return None
    found = []
    for path, plan in zip(job.tracks, plans, strict=True):
        tracks, used = load_tracks(path, plan.size), plan.filled
        if tracks.frames <= used.max():
            raise ValueError(f"tracks {path}: got {tracks.frames} frames, expected at least "
                             f"{used.max() + 1}, as many as are used of the clip")  # fmt: skip
        found.append(
            Tracks(
                xy=tracks.xy[used],
                visible=tracks.visible[used],
                information=tracks.information[used],
            )  # fmt: skip
        )
    return found


def _camera_fps(path: str) -> float | None:
    """What a camera file says of the rate."""
    rate = rate_of(path)
    return None if rate is None else positive(f"{path}: fps", rate)


def _on_steps(timing: Timing, steps: Timing) -> Timing:
    """A timing's pictures at the steps of another one: the nearest to each, within half a step of
    the timing's own."""
    there = timing.picture >= 0
    times, pictures = timing.start + timing.taken[there], timing.picture[there]
    wanted = steps.start + np.arange(len(steps.picture)) / steps.fps
    near = np.abs(wanted[:, None] - times).argmin(axis=1)
    off = times[near] - wanted
    found = np.abs(off) < 0.5 / timing.fps + 1e-9
    # Rates of cameras differ by a little: what was taken in step counts as taken at the step.
    even = timing.even and np.abs(off[found]).max(initial=0) < 0.02 / steps.fps
    taken = wanted - steps.start + (0 if even else off)
    return Timing(
        fps=steps.fps, start=steps.start, picture=np.where(found, pictures[near], -1),
        taken=np.where(found, taken, np.nan),
    )  # fmt: skip
