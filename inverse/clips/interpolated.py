"""Whether most pictures of a clip were made from those around them, to bring a low rate to a high
one: between two true pictures things then move evenly, or one fades into the other, and all that
changes otherwise does so at the true ones, in a rhythm.

Encoders have a rhythm of their own: they hold some pictures by themselves, in more detail, and make
others from those around them. So what pictures that are coded alike have in common does not count.
"""

import bisect
import dataclasses

import numpy as np
from scipy import ndimage


PERIODS = range(3, 13)  # pictures from one true one to the next
# A picture's unevenness at the true ones over that of the others: in clips of cameras 1.02 at most,
# whatever encoders do to some of them.
EFFECT = 1.05
STRONG = 5.0  # the same, from which on no encoder does that: in clips of cameras up to 3.9
SURE = 3.5  # standard deviations by which it has to stand out of chance
OFTEN = 2.0  # times as often as by chance, a true picture is among the most uneven
LEAST = 6  # periods
OWN = 0.4  # share of pictures made from later ones, from which on they follow the encoder's rhythm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rhythm:
    """Every `period`-th picture is true, one of them is `phase`."""

    period: int
    phase: int

    def chosen(self, pictures: np.ndarray, first: int) -> np.ndarray:
        """The true ones of pictures (k,), counted as the phase; or, where that is next to a true
        one, picture `first` and those in rhythm with it: the object was shown there."""
        off = (first - self.phase) % self.period
        phase = first if off in (0, 1, self.period - 1) else self.phase
        return pictures[(pictures - phase) % self.period == 0]


def find_rhythm(uneven: np.ndarray, coding: np.ndarray | None = None) -> Rhythm | None:
    """The rhythm of pictures with unevenness (P,) (`Scan.uneven`), None without any; coding: (P,)
    how each is coded (`Scan.coding`), default: all alike."""
    known = np.flatnonzero(np.isfinite(uneven))
    if len(known) < 2:
        return None
    first = int(known[0])
    values = np.log(np.maximum(uneven[first : known[-1] + 1], 1e-6))
    values = np.where(np.isfinite(values), values, np.nanmedian(values))
    found, effect = _strongest(values, np.zeros(len(values), dtype=int))
    if found is None:
        return None
    if coding is not None and effect < STRONG:
        own = _alike(coding)[first : known[-1] + 1]
        if _strongest(values, own)[0] is None:
            return None
    return dataclasses.replace(found, phase=(found.phase + first) % found.period)


def _strongest(values: np.ndarray, alike: np.ndarray) -> tuple[Rhythm | None, float]:
    """The rhythm that stands out most in values (P,), and its effect; alike: (P,) int, kinds of
    pictures, whose usual value does not count."""
    best, found, strength = SURE, None, 0.0
    for period in PERIODS:
        if len(values) < LEAST * period:
            break
        apart = values - ndimage.median_filter(values, 2 * period + 1)
        for kind in np.unique(alike):
            apart[alike == kind] -= np.median(apart[alike == kind])
        top = np.percentile(apart, 100 * (1 - 1 / period))
        for phase in range(period):
            on = np.arange(len(apart)) % period == phase
            sure = (apart[on].mean() - apart[~on].mean()) / (apart.std() / np.sqrt(on.sum()) + 1e-9)
            effect = float(np.exp(np.median(apart[on]) - np.median(apart[~on])))
            often = float((apart[on] > top).mean()) * period
            if sure > best and effect > EFFECT and often > OFTEN:
                best, found, strength = sure, Rhythm(period=period, phase=phase), effect
    return found, strength


def _alike(coding: np.ndarray) -> np.ndarray:
    """(P,) int: the same for pictures that are coded alike, and so are their neighbors: in the same
    way, as far beyond the last one that is not made from later ones, and as long before the next,
    which is coded alike, too. Where few are made from later ones, those were chosen by what they
    show, and count as the others."""
    names = coding.tolist()
    if names.count("B") < OWN * len(names):
        names = ["P" if name == "B" else name for name in names]
    anchors = [k for k, name in enumerate(names) if name != "B"]
    kinds: dict[tuple, int] = {}
    found = []
    for k, name in enumerate(names):
        after = bisect.bisect_right(anchors, k)
        before = anchors[after - 1] if after else -1
        following = anchors[after] if after < len(anchors) else len(names)
        beside = names[before] if before >= 0 else "", "".join(names[following : following + 1])
        kind = (name, names[max(k - 1, 0)], k - before, following - k, *beside)
        found.append(kinds.setdefault(kind, len(kinds)))
    return np.array(found)
