"""What the grid does to a simulation, as other grids show it.

The error of a simulation falls with a power of its cells, the square where the motion is smooth. So
of two grids whose cells have the ratio q, the finer one is off by their difference over q^2 - 1,
which may be taken off (Richardson 1911). The search does not need the finer grid for that: it goes
on with the coarser one, to which the difference and the rest are added, measured at the values
found so far (defect correction, Stetter 1978). One simulation on the finer grid for each round is
enough.

From where on bodies neck, tear or bounce the power is less than two. A third grid shows it, by how
much less the two finer ones differ than the two coarser ones until then (Roache 1994). The error
counts as large as that power says. Of what the square law says that the finer grid is off by, the
share is taken off by which the two differences are alike: where they are not, they go on anyhow.

Frames count less for their error: with noise s, and an error e that as many residuals n share as
lie in a group of neighbors, as s^2 / (s^2 + n e^2). Else the last frames of a clip, which are off
the most, would bend values that its first frames tell. What a quarter of the frames is off by
counts as noise: else points without noise would leave nothing of a clip but its first frames.
"""

import dataclasses

import numpy as np

from inverse.identification.evidence import MotionEvidence


FINER = 1.2  # ratio of the cells, below which two grids tell nothing of their errors
SMOOTH, LEAST = 2.0, 1.0  # powers of the cells with which errors fall
CALM = 0.25  # of the frames: their error counts as noise


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class GridRun:
    """A simulation: dx: m, the edge of its cells; x: (T, n, 3) m, its particles in all frames."""

    dx: float
    x: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Correction:
    """offset: (N,) to be added to the residuals of the grid; rest: (N,) what the finer grid is
    estimated to be off by; shares: (T,) of the frames, as they count."""

    offset: np.ndarray
    rest: np.ndarray
    shares: np.ndarray


def correction(
    evidence: MotionEvidence, run: GridRun, finer: GridRun, coarser: GridRun | None
) -> Correction:
    """How residuals of a run have to be corrected for its grid, and frames to be trusted.

    All runs are of the same values; coarser: None if there is none. The evidence is left with these
    shares, and bound to the particles of the run.
    """
    ratio = run.dx / finer.dx
    shown = {}
    for each in (coarser, finer, run):
        if each is not None:
            evidence.bind(each.x[0])
            shown[each.dx] = evidence.shown(each.x)
    change = shown[finer.dx] - shown[run.dx]
    powers, steady = np.full(evidence.count, SMOOTH), np.ones(evidence.count)
    if coarser is not None:
        before = shown[run.dx] - shown[coarser.dx]
        powers = orders(change, before, ratio, coarser.dx / run.dx)
        steady = likeness(change, before)
    off = 1 / (ratio**powers - 1)
    left = steady / (ratio**SMOOTH - 1)
    clusters = evidence.clusters
    alike = len(clusters) / evidence.count / len(np.unique(clusters))
    error = alike * off**2 * (change**2).mean(axis=1)
    noise = max(evidence.noise, 1e-9 * max(evidence.still, 1e-300)) ** 2
    noise += np.quantile(error, CALM)
    shares = noise / (noise + error)
    evidence.trust(shares)
    evidence.bind(finer.x[0])
    better = evidence.residuals(finer.x)
    evidence.bind(run.x[0])
    gained = (better - evidence.residuals(run.x)).reshape(evidence.count, -1)
    return Correction(
        offset=((1 + left)[:, None] * gained).reshape(-1),
        rest=(off[:, None] * gained).reshape(-1),
        shares=shares,
    )


def orders(fine: np.ndarray, coarse: np.ndarray, ratio: float, coarser: float) -> np.ndarray:
    """The powers (T,) of the cells with which errors fall, from LEAST to SMOOTH, until each frame.

    fine, coarse: (T, N), by what two finer and two coarser grids differ; ratio, coarser: of their
    cells, above 1. Of errors c h^p, the differences are c h^p (1 - ratio^-p) and
    c h^p (coarser^p - 1) with h the cells of the grid that both have.
    """
    powers = np.linspace(LEAST, SMOOTH, 101)
    foreseen = (1 - ratio**-powers) / (coarser**powers - 1)
    sizes = [np.cumsum(np.sqrt((d**2).mean(axis=1))) for d in (fine, coarse)]
    seen = sizes[0] / np.maximum(sizes[1], 1e-300)
    return powers[np.abs(foreseen - seen[:, None]).argmin(axis=1)]


def likeness(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The correlations (T,), from 0 to 1, of two differences (T, N) until each frame; 1 of none."""
    both, first, second = (
        np.cumsum((a * b).sum(axis=1)) for a, b in ((one, other), (one, one), (other, other))
    )
    scale = np.sqrt(first * second)
    return np.clip(np.where(scale > 0, both, 1.0) / np.where(scale > 0, scale, 1.0), 0.0, 1.0)
