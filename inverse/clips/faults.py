"""Which pictures of a clip show what happened, and which were put in, lost or cut on the way."""

import dataclasses

import numpy as np
from scipy import ndimage

from inverse.clips.scan import Scan


# A picture shows nothing when its deviation is below so many gray levels, and below this share of
# what is usual in the clip.
BLANK, BLANK_SHARE = 5.0, 0.25
NOTHING = 0.5  # gray levels: what deviates by less shows nothing in any clip
# A run of pictures that differ from those around it by so many times what these differ from each
# other, and by so many gray levels on average, was put in: a flash, a damaged picture.
ODD, ODD_LEVELS, ODD_RUN = 3.0, 4.0, 5
# A picture is a repeated one when what changed most since the one before changed by less than this
# share of what it does in the steps around, and by so few gray levels, as compression may.
REPEATED, REPEATED_LEVELS = 0.2, 6.0
TURN = 3  # steps before and after one in which what moves turns back
SLOWER = 1.25  # times the last of them, the one before it
SAME_LEVELS = 2.0  # gray levels by which a copy of a picture may differ from it: noise, coding
PAUSE = 4  # repeated pictures in a row from which on the object itself may be at rest
SKIPPED = (
    1.5  # times the usual step, after a repeated picture: then the one in its place is missing
)
# Pictures that make a rhythm; the longest period that is looked for; shares of the beats on which
# pictures are repeated, and of the repeated ones that fall on beats.
RHYTHM, PERIODS, BEATS, ON_BEAT = 3, 12, 0.6, 0.8
# A cut is a step so many times larger than all steps around it, and of so many gray levels; or one
# across which pictures are hardly alike, in a clip in which they usually are.
CUT, CUT_LEVELS, NEAR = 3.5, 2.0, 3
ALIKE, USUALLY_ALIKE = 0.5, 0.8  # correlation


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Faults:
    """What is wrong with the P pictures of a clip.

    blank, odd, repeated: (P,) bool, of pictures that show nothing, that were put in, and that are
    the one before once more; inserted: whether repeated pictures come beside the true ones (as
    where 24 frames were stretched to 30 per second) and not in place of them; cuts: the pictures
    that begin a new scene.
    """

    blank: np.ndarray
    odd: np.ndarray
    repeated: np.ndarray
    inserted: bool
    cuts: list[int]

    @property
    def good(self) -> np.ndarray:
        """(P,) bool: pictures that show a moment of their own."""
        return ~(self.blank | self.odd | self.repeated)


def find_faults(scan: Scan) -> Faults:
    """Look for faults in a clip, by how each picture differs from those around it."""
    deviation = scan.deviation
    usual = np.median(deviation)
    blank = (deviation < BLANK) & (deviation < max(BLANK_SHARE * usual, NOTHING))
    repeated = _repeated(scan, blank)
    odd = _odd(scan, np.flatnonzero(~blank & ~repeated))
    good = np.flatnonzero(~(blank | odd | repeated))
    return Faults(
        blank=blank, odd=odd, repeated=repeated, inserted=_inserted(scan, repeated, good),
        cuts=_cuts(scan, good),
    )  # fmt: skip


def _repeated(scan: Scan, blank: np.ndarray) -> np.ndarray:
    """(P,) bool: hardly anything changed in this step, and much did in those around it."""
    moved = scan.moved
    still = np.zeros(len(scan), dtype=bool)
    steps = np.flatnonzero(~blank)
    steps = steps[steps > 0]
    steps = steps[~blank[steps - 1]]
    # The usual step nearby is not told by those that are still themselves, nor does anything move
    # in those that change no more than copies do: what rests is not repeated.
    for k in steps:
        low = max(moved[k] / REPEATED, SAME_LEVELS)
        before = [moved[j] for j in steps[(steps < k) & (steps >= k - PAUSE)] if moved[j] > low]
        after = [moved[j] for j in steps[(steps > k) & (steps <= k + PAUSE)] if moved[j] > low]
        # At an end of the clip one side has to be enough.
        sides = [side for side, there in ((before, k > 1), (after, k < len(scan) - 1)) if there]
        still[k] = moved[k] < REPEATED_LEVELS and bool(sides) and all(sides)
        still[k] &= not _turns(moved, int(k))
    still[_pauses(scan, still)] = False
    return _in_rhythm(moved, still) | (_between_beats(moved) & ~blank)


def _turns(moved: np.ndarray, k: int) -> bool:
    """Whether what moves turns back in a step, as a pendulum does: it slows down before, step by
    step, and hardly moves at the end of that; and the same backward in time. At an end of the clip
    one side has to be enough."""
    sides = moved[max(k - TURN, 1) : k][::-1], moved[k + 1 : k + 1 + TURN]
    return max(map(len, sides)) == TURN and all(
        bool((side[1:] > side[:-1]).all() and (side > moved[k]).all())
        and bool((side[1:2] > SLOWER * side[:1]).all())
        for side in sides
    )


def _between_beats(moved: np.ndarray) -> np.ndarray:
    """Pictures (P,) bool that are repeated many times, as where a low rate was brought to a high
    one: hardly anything changes but in single steps, which come in an even rhythm."""
    around = ndimage.maximum_filter1d(np.where(np.isfinite(moved), moved, 0.0), 2 * PERIODS + 1)
    same = (moved < REPEATED * around) & (moved < SAME_LEVELS) & (around > SAME_LEVELS)
    gaps = np.diff(np.flatnonzero(~same))  # the first picture is one of those that are new
    usual = float(np.median(gaps)) if len(gaps) >= RHYTHM else 0.0
    even = PAUSE < usual <= PERIODS and float((np.abs(gaps - usual) <= 1).mean()) >= ON_BEAT
    return same if even else np.zeros_like(same)


def _in_rhythm(moved: np.ndarray, still: np.ndarray) -> np.ndarray:
    """Repeated pictures (P,) bool, also those that were not sure by themselves, since all moved
    little there, where the sure ones come in a rhythm; without a rhythm not those at the ends, with
    nothing to compare with on one side."""
    order = np.arange(len(moved))
    inner = (order > 1) & (order < len(moved) - 1)
    around = np.minimum(np.roll(moved, 1), np.roll(moved, -1))
    for period in range(2, PERIODS + 1):
        for phase in range(period):
            beat = (order % period == phase) & (order > 0)
            sure = still & beat
            if sure.sum() >= max(RHYTHM, BEATS * beat.sum(), ON_BEAT * still.sum()):
                return still | (beat & (moved <= around) & (moved < REPEATED_LEVELS))
    return still & inner


def _pauses(scan: Scan, still: np.ndarray) -> np.ndarray:
    """Pictures of runs in which the object itself may be at rest: it then starts off gently, and
    does not make up for the time that was lost."""
    found: list[int] = []
    for first, last in _runs(still):
        if last - first + 1 < PAUSE:
            continue
        usual = _usual_step(scan, still, first, last)
        after = scan.way(last, last + 1) if last + 1 < len(scan) else 0.0
        if after < SKIPPED * usual:
            found += range(first, last + 1)
    return np.array(found, dtype=int)


def _usual_step(scan: Scan, still: np.ndarray, first: int, last: int) -> float:
    """How far things move from picture to picture around a run, as `Scan.way`."""
    around = [*range(first - NEAR, first), *range(last + 2, last + 2 + NEAR)]
    steps = [k for k in around if 0 < k < len(scan) and not still[k] and not still[k - 1]]
    return float(np.median([scan.way(k - 1, k) for k in steps])) if steps else float("nan")


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _inserted(scan: Scan, repeated: np.ndarray, good: np.ndarray) -> bool:
    """Whether repeated pictures come in an even rhythm, as where a rate was brought to a higher
    one, and the step after each is like others: then no picture is missing."""
    ratios: list[float] = []
    runs = _runs(repeated)
    if len(runs) < RHYTHM or np.ptp(np.diff([first for first, _ in runs])) > 1:
        return False
    for first, last in runs:
        if last + 1 < len(scan):
            usual = _usual_step(scan, repeated, first, last)
            ratios.append(scan.way(last, last + 1) / max(usual, 1e-6))
    known = [ratio for ratio in ratios if np.isfinite(ratio)]
    # Where every step follows a repeated picture there is nothing to compare with.
    return bool(np.median(known) < SKIPPED) if known else True


def _odd(scan: Scan, kept: np.ndarray) -> np.ndarray:
    """(P,) bool: pictures that differ from both those before and those after, which are alike, as
    those beside them are: what swings fast also comes back to where it was."""
    odd = np.zeros(len(scan), dtype=bool)
    k = 1
    while k < len(kept) - 1:
        for run in range(1, min(ODD_RUN, len(kept) - 1 - k) + 1):
            a, b = kept[k - 1], kept[k + run]
            inside = kept[k : k + run]
            away = min(_plain(scan, edge, x) for edge in (a, b) for x in inside)
            beside = [
                _plain(scan, kept[j], kept[j + 1])
                for j in (k - 2, k + run)
                if 0 <= j < len(kept) - 1
            ]
            alike = max(_plain(scan, a, b), min(beside, default=0.0))
            if away > ODD_LEVELS and away > ODD * alike:
                odd[inside] = True
                k += run
                break
        k += 1
    return odd


def _plain(scan: Scan, a: int, b: int) -> float:
    """Gray levels by which two pictures differ on average, changes of light included."""
    return float(np.abs(scan.thumbs[a] - scan.thumbs[b]).mean())


def _cuts(scan: Scan, good: np.ndarray) -> list[int]:
    """The pictures of `good` that begin a new scene."""
    if len(good) < 3:
        return []
    pairs = list(zip(good[:-1], good[1:], strict=True))
    usual = float(np.median(np.diff(scan.times[good])))
    # Steps over missing pictures are longer.
    gaps = np.maximum(np.round(np.diff(scan.times[good]) / max(usual, 1e-9)), 1)
    steps = np.array([scan.distance(a, b) for a, b in pairs]) / gaps
    alike = np.array([_correlation(scan.thumbs[a], scan.thumbs[b]) for a, b in pairs])
    found = []
    for k in range(len(steps)):
        near = [j for j in range(max(0, k - NEAR), min(len(steps), k + NEAR + 1)) if j != k]
        jump = steps[k] > CUT * steps[near].max() and steps[k] > CUT_LEVELS
        if jump or (alike[k] < ALIKE and alike[near].min() > USUALLY_ALIKE):
            found.append(int(good[k + 1]))
    return found


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(float(np.sqrt((a**2).sum() * (b**2).sum())), 1e-9))
