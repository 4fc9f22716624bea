"""What the grid does to a simulation, as a finer grid shows it.

The error of a simulation falls with the square of its cells. So of two grids whose cells have the
ratio q, the finer one is off by their difference over q^2 - 1, which may be taken off (Richardson
1911). The search does not need the finer grid for that: it goes on with the coarser one, to which
the difference and the rest are added, measured at the values found so far (defect correction,
Stetter 1978). One simulation on the finer grid for each round is enough.

Where the two grids differ much, as in what necks, tears or bounces, the square law holds no more,
and what is left of the error is about as large as what was taken off. Frames count less for that:
with noise s, and an error e that as many residuals n share as lie in a group of neighbors, as
s^2 / (s^2 + n e^2). Else the last frames of a clip, which are off the most, would bend values that
its first frames tell.
"""

import dataclasses

import numpy as np

from inverse.identification.evidence import MotionEvidence


FINER = 1.2  # ratio of the cells, below which two grids tell nothing of their errors


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Correction:
    """offset: (N,) to be added to the residuals of the coarser grid; rest: (N,) of that, what the
    finer grid itself is estimated to be off by; shares: (T,) of the frames, as they count."""

    offset: np.ndarray
    rest: np.ndarray
    shares: np.ndarray


def correction(
    evidence: MotionEvidence,
    coarse: tuple[np.ndarray, np.ndarray],
    fine: tuple[np.ndarray, np.ndarray],
    ratio: float,
) -> Correction:
    """How residuals of a coarser grid have to be corrected, and frames to be trusted.

    coarse, fine: particles in frame 0 (n, 3) m and in all frames (T, n, 3) m, of simulations with
    the same values; ratio: of the cells. The evidence is left with these shares, and bound to the
    coarser particles.
    """
    left = 1 / (ratio**2 - 1)
    evidence.bind(fine[0])
    shown = evidence.shown(fine[1])
    evidence.bind(coarse[0])
    error = left * (shown - evidence.shown(coarse[1]))
    clusters = evidence.clusters
    alike = len(clusters) / evidence.count / len(np.unique(clusters))
    noise = max(evidence.noise, 1e-9 * max(evidence.still, 1e-300)) ** 2
    shares = noise / (noise + alike * (error**2).mean(axis=1))
    evidence.trust(shares)
    evidence.bind(fine[0])
    better = evidence.residuals(fine[1])
    evidence.bind(coarse[0])
    change = better - evidence.residuals(coarse[1])
    return Correction(offset=(1 + left) * change, rest=left * change, shares=shares)
