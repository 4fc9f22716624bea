"""Whether most pictures of a clip were made from those around them, to bring a low rate to a high
one: between two true pictures things then move evenly, or one fades into the other, and all that
changes otherwise does so at the true ones, in a rhythm."""

import dataclasses

import numpy as np
from scipy import ndimage


PERIODS = range(3, 13)  # pictures from one true one to the next
# A picture's unevenness at the true ones over that of the others: in clips of cameras 1.02 at most,
# whatever encoders do to some of them.
EFFECT = 1.05
SURE = 3.5  # standard deviations by which it has to stand out of chance
OFTEN = 2.0  # times as often as by chance, a true picture is among the most uneven
LEAST = 6  # periods


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


def find_rhythm(uneven: np.ndarray) -> Rhythm | None:
    """The rhythm of pictures with unevenness (P,) (`Scan.uneven`), None without any."""
    known = np.flatnonzero(np.isfinite(uneven))
    if len(known) < 2:
        return None
    first = int(known[0])
    values = np.log(np.maximum(uneven[first : known[-1] + 1], 1e-6))
    values = np.where(np.isfinite(values), values, np.nanmedian(values))
    best, found = SURE, None
    for period in PERIODS:
        if len(values) < LEAST * period:
            break
        apart = values - ndimage.median_filter(values, 2 * period + 1)
        top = np.percentile(apart, 100 * (1 - 1 / period))
        for phase in range(period):
            on = np.arange(len(apart)) % period == phase
            sure = (apart[on].mean() - apart[~on].mean()) / (apart.std() / np.sqrt(on.sum()) + 1e-9)
            effect = np.exp(np.median(apart[on]) - np.median(apart[~on]))
            often = float((apart[on] > top).mean()) * period
            if sure > best and effect > EFFECT and often > OFTEN:
                best, found = sure, Rhythm(period=period, phase=(phase + first) % period)
    return found
