"""A clip as it comes, read for a wind run: its frames at even steps of time, and what was done."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from inverse.clips.faults import Faults, find_faults
from inverse.clips.footage import SpooledFootage, keep_pictures
from inverse.clips.interpolated import Rhythm, find_rhythm
from inverse.clips.scan import Scan, scan_clip
from inverse.clips.timing import Timing, every, find_timing, scaled, usual_rate
from renderers.decoding import HDR
from renderers.films import DEFAULT_FPS, open_film


LEAST = 4  # frames that a motion needs
FEW = 8  # frames below which the part of a clip before a cut is no use where another is longer
SPARE = 64  # pictures that are looked at beyond those asked for: some may be left out
INTERLACED = 0.1  # share of interlaced pictures from which on all are taken to be
NAMED = 6  # frames that a sentence names one by one
CUT_OFF = 0.9  # share of the duration in the file's head below which its end is missing
USUAL = 45.0  # frames per second, above which most may have been made from a usual rate
FAST = 90.0  # frames per second from which on some are left out unless all are asked for
MOST = 90  # steps that are used unless more are asked for: 3 s at 30 per second, minutes of work
LOOK = 6000  # pictures of a long clip that are looked at, to say where most of it moves
LIVELY = 3.0  # times as much motion as in the first steps, elsewhere, that is worth a word
ENOUGH = 60.0  # frames per second that are kept then, about


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ClipPlan:
    """Which pictures of a clip are used, and when they were taken.

    path: of the clip; size: (width, height) px of its pictures; timing: steps of time, whose
    pictures are counted from 0 at the beginning of the file; notes: sentences about the clip that
    a reader of the results has to know; hdr, interlaced: whether the material is.
    """

    path: Path
    size: tuple[int, int]
    timing: Timing
    notes: tuple[str, ...]
    hdr: bool
    interlaced: bool

    def __len__(self) -> int:
        return len(self.timing.picture)

    @property
    def filled(self) -> np.ndarray:
        """(T,) index of the picture of each step; where it has none, of the step before, or of the
        first that has one."""
        there = np.flatnonzero(self.timing.picture >= 0)
        before = np.searchsorted(there, np.arange(len(self)), side="right") - 1
        return self.timing.picture[there[np.maximum(before, 0)]]

    @functools.cached_property
    def first(self) -> np.ndarray:
        """(H, W, 3) uint8, the frame of the first step. Raises ValueError as `read` does."""
        return self.read(frames=1)[0]

    def read(
        self, size: tuple[int, int] | None = None, *, frames: int | None = None
    ) -> np.ndarray | SpooledFootage:
        """The frames (T, H, W, 3) uint8 of all steps, or of the first; where a step has no picture,
        that of the step before. Where they are many they are not all in memory.

        size: (width, height) px, to which they are reduced; frames: their largest number. Raises
        ValueError where the file cannot be read.
        """
        count = len(self) if frames is None else min(frames, len(self))
        return keep_pictures(self._pictures(size or self.size, count), count)

    def _pictures(self, size: tuple[int, int], frames: int) -> Iterator[np.ndarray]:
        """The frames (H, W, 3) uint8 of the first steps, one after the other."""
        width, height = size
        longest = max(width, height) if max(width, height) < max(self.size) else None
        pictures = self.filled[:frames]
        with open_film(
            self.path, longest=longest, deinterlace=self.interlaced, hdr=self.hdr
        ) as film:
            for count, picture in enumerate(film):
                steps = int((pictures == count).sum())  # one after the other: pictures increase
                if steps:
                    image = picture.image
                    if image.shape[:2] != (height, width):
                        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
                    yield from itertools.repeat(image, steps)
                if count >= pictures[-1]:
                    return
        raise ValueError(f"video {self.path}: ends early when it is read a second time")


def plan_clip(
    path: str | Path,
    *,
    start: int = 0,
    each: int | None = None,
    frames: int | None = None,
    fps: float | None = None,
    fps_from: str = "--fps",
    most: int | None = MOST,
) -> ClipPlan:
    """Look at a clip and decide which of its pictures to use.

    start: the first picture that is looked at, counted from 0; each: only every so many frames are
    used, default: all, and about 60 per second of fast ones; frames: the largest number of them,
    default: most, which is said where there are more, and without a limit if that is None, too;
    fps: frames per second of the camera, where the file's rate is another, such as slow motion;
    fps_from: who says so. Raises ValueError, in a sentence, for a clip that cannot be used.
    """
    if frames is not None:
        limit = start + 2 * frames * (each or 1) + SPARE
    else:
        limit = None if most is None else start + LOOK
    scan = scan_clip(path, limit=limit)
    rhythm = None if fps is not None else _rhythm(scan)
    if rhythm is not None and frames is not None and len(scan) == limit:
        limit = start + rhythm.period * (2 * frames * (each or 1)) + SPARE
        scan = scan_clip(path, limit=limit)
    if start >= len(scan):
        raise ValueError(f"video {path}: has {len(scan)} frames, so that none is left from "
                         f"--start {start} on")  # fmt: skip
    whole = limit is None or len(scan) < limit
    scan = dataclasses.replace(
        scan, times=scan.times[start:], thumbs=scan.thumbs[start:],
        moved=np.concatenate([[np.inf], scan.moved[start + 1 :]]), uneven=scan.uneven[start:],
        coding=scan.coding[start:],
    )  # fmt: skip
    notes = [*scan.notes, *_material(path, scan, whole=whole)]
    faults = find_faults(scan)
    if rhythm is not None and faults.repeated.mean() > 0.5:
        rhythm = None  # pictures are repeated, and none is made
    elif rhythm is not None:  # what hardly differs from the one before was made from it
        faults = dataclasses.replace(
            faults, repeated=np.zeros_like(faults.repeated), inserted=False
        )
    notes += _left_out(faults, start)
    used, note = _one_scene(path, scan, faults, start)
    notes += note
    if rhythm is not None:
        used = rhythm.chosen(used + start, start) - start
        notes.append(
            f"Of {rhythm.period} frames of the file {rhythm.period - 1} were made from those "
            "around them, to show more per second than the camera took; they were left out."
        )
    timing, note = _timing(path, scan, faults, used, start, fps, fps_from)
    notes += note
    timing, note = _thinned(timing, each)
    notes += note
    if frames is None and most is not None and len(timing.picture) > most:
        notes.append(_too_long(timing, scan, start, most, more=not whole))
        frames = most
    if frames is not None:
        kept = timing.picture[:frames]
        timing = dataclasses.replace(timing, picture=kept, taken=timing.taken[:frames])
    timing = _without_open_end(timing)
    seen = int((timing.picture >= 0).sum())
    if seen < LEAST:
        raise ValueError(
            f"video {path}: has {seen} frames that can be used, expected at least {LEAST}"
            + (f". {' '.join(notes)}" if notes else "")
        )
    missing = len(timing.picture) - seen
    if missing:
        notes.append(
            f"In {missing} of {len(timing.picture)} frames there is no picture; the motion is "
            "carried over them from those before and after."
        )
    if not timing.even:
        notes.append(
            f"Pictures were not taken at an even rate; tracks were brought to {timing.fps:.4g} "
            "frames per second by their time stamps."
        )
    return ClipPlan(
        path=Path(path), size=scan.size, timing=timing, notes=tuple(notes),
        hdr=scan.transfer in HDR, interlaced=scan.interlaced > INTERLACED,
    )  # fmt: skip


def _rhythm(scan: Scan) -> Rhythm | None:
    """The rhythm of the true pictures of a clip of a high rate, None if all are."""
    fast = len(scan) > 1 and 1 / float(np.median(np.diff(scan.times))) > USUAL
    return find_rhythm(scan.uneven, scan.coding) if fast else None


def _material(path: str | Path, scan: Scan, *, whole: bool) -> list[str]:
    """Sentences about how the file holds its pictures; whole: whether all of it was looked at."""
    notes = []
    if scan.transfer in HDR:
        notes.append(f"The clip is HDR ({HDR[scan.transfer]}); its colors were mapped to those of "
                     "an ordinary screen.")  # fmt: skip
    if scan.interlaced > INTERLACED:
        notes.append("The clip is interlaced; in each frame every second line was taken later, and "
                     "was made from those around it.")  # fmt: skip
    if not scan.square:
        notes.append(f"The pixels of the file are not square; pictures are {scan.size[0]}x"
                     f"{scan.size[1]} with square ones.")  # fmt: skip
    duration = scan.facts.duration
    short = duration is not None and scan.times[-1] < CUT_OFF * duration - 0.2
    if whole and short:
        notes.append(f"The file is cut off or damaged: of {duration:.2f} s, {scan.times[-1]:.2f} s "
                     "can be read.")  # fmt: skip
    elif scan.damaged:
        notes.append("The file is damaged; some of its pictures may be wrong.")
    return notes


def _left_out(faults: Faults, start: int) -> list[str]:
    notes = []
    for flags, text in (
        (faults.blank, "shows nothing"),
        (faults.odd, "does not fit those before and after it"),
        (faults.repeated, "is the one before it once more"),
    ):
        where = np.flatnonzero(flags) + start
        if len(where) == 1:
            notes.append(f"Frame {where[0]} of the file {text}, and was left out.")
        elif len(where):
            several = text.replace("shows", "show").replace("does", "do")
            several = several.replace("is the one before it", "are the ones before them")
            several = several.replace("after it", "after them")
            names = ", ".join(map(str, where[:NAMED])) + (" ..." if len(where) > NAMED else "")
            notes.append(f"{len(where)} frames of the file {several}, and were left out ({names}).")
    return notes


def _one_scene(
    path: str | Path, scan: Scan, faults: Faults, start: int
) -> tuple[np.ndarray, list[str]]:
    """The good pictures of the scene with the first good one: the object was shown there."""
    good = np.flatnonzero(faults.good)
    if len(good) == 0:
        raise ValueError(f"video {path}: none of its {len(scan)} frames shows anything")
    edges = [0, *np.searchsorted(good, faults.cuts), len(good)]
    scenes = [good[a:b] for a, b in zip(edges[:-1], edges[1:], strict=True)]
    if len(scenes) == 1:
        return good, []
    longest = max(scenes, key=len)
    cut = f"frame {faults.cuts[0] + start} ({scan.times[faults.cuts[0]]:.2f} s)"
    other = f"frames {longest[0] + start} to {longest[-1] + start}"
    way = f"--start {longest[0] + start}, and a mask or box of that frame"
    if len(scenes[0]) >= min(FEW, len(longest)):
        text = f"The clip is cut at {cut}: only what comes before it was used."
        if longest is not scenes[0]:
            text += f" The longest scene is {other}; to see that one, give {way}."
        return scenes[0], [text]
    raise ValueError(
        f"video {path}: is cut at {cut}, and only {len(scenes[0])} frames come before; the longest "
        f"scene is {other}: give {way}"
    )


def _timing(
    path: str | Path,
    scan: Scan,
    faults: Faults,
    used: np.ndarray,
    start: int,
    fps: float | None,
    fps_from: str,
) -> tuple[Timing, list[str]]:
    """The timing of the used pictures, which are counted from the beginning of the file."""
    notes, times = [], scan.times[used]
    if faults.inserted and faults.repeated[used[0] : used[-1]].any():
        # Between them others were put in: their own rate is even.
        count = np.arange(len(used))
        away = count - count.mean()
        rate = usual_rate(float(away @ away / (away @ times)))
        times = times[0] + count / rate
        notes.append(f"Without the repeated ones there are {rate:.4g} frames per second.")
    try:
        timing = find_timing(times, scan.facts.tick)
    except ValueError as error:
        if fps is None or len(used) < 2:
            raise ValueError(f"video {path}: {error}") from None
        timing = find_timing(times[0] + np.arange(len(times)) / fps)
    timing = dataclasses.replace(
        timing, picture=np.where(timing.picture < 0, -1, used[timing.picture] + start)
    )
    return _at_rate(timing, scan, fps, fps_from, notes)


def _at_rate(
    timing: Timing, scan: Scan, fps: float | None, fps_from: str, notes: list[str]
) -> tuple[Timing, list[str]]:
    """The timing with the rate of the camera, where that is known to be another."""
    if fps is not None:
        if abs(timing.fps - fps) > 0.02 * fps and scan.facts.fps is not None:
            notes.append(f"The camera took {fps:g} frames per second, as {fps_from} says; by the "
                         f"file they are {timing.fps:.4g}.")  # fmt: skip
        return scaled(timing, fps), notes
    capture = scan.facts.capture_fps
    if capture is not None and capture > 1.5 * timing.fps:
        notes.append(f"The file says that it is slow motion, taken at {capture:g} frames per "
                     f"second and shown at {timing.fps:.4g}.")  # fmt: skip
        return scaled(timing, capture), notes
    if scan.facts.fps is None and scan.facts.tick is None:
        notes.append(f"Nothing says at which rate the images were taken: {DEFAULT_FPS:g} per "
                     "second were assumed (--fps).")  # fmt: skip
    return timing, notes


def _thinned(timing: Timing, each: int | None) -> tuple[Timing, list[str]]:
    if each is not None:
        return every(timing, each), []
    if timing.fps < FAST:
        return timing, []
    each = max(1, round(timing.fps / ENOUGH))
    return every(timing, each), [
        f"Of {timing.fps:.4g} frames per second one in {each} was used; --every 1 uses all."
    ]


def _too_long(timing: Timing, scan: Scan, start: int, most: int, *, more: bool) -> str:
    """A sentence about a clip of which only the first steps are used; more: whether it goes on
    after what was looked at."""
    total, fps = len(timing.picture), timing.fps
    text = (
        f"The clip is long, and every frame takes its time: of {'more than ' if more else ''}"
        f"{total} frames ({total / fps:.3g} s) the first {most} ({most / fps:.3g} s) were used; "
        f"--frames {total} uses {'so many' if more else 'all'}, --start begins elsewhere."
    )
    moved = np.where(timing.picture < 0, 0.0, scan.moved[timing.picture - start])
    moved[0] = 0.0  # nothing comes before it
    sums = np.convolve(moved, np.ones(most), mode="valid")
    best = int(sums.argmax())
    if timing.picture[best] >= 0 and sums[best] > LIVELY * sums[0]:
        first = timing.picture[best]
        text += (
            f" Most moves from {best / fps:.3g} s on: for that part give --start {first}, and a "
            "mask or box of that frame."
        )
    return text


def _without_open_end(timing: Timing) -> Timing:
    """Without steps after the last picture."""
    count = int(np.flatnonzero(timing.picture >= 0)[-1]) + 1
    return dataclasses.replace(timing, picture=timing.picture[:count], taken=timing.taken[:count])
