"""How well values are known, from what the simulation misses.

Laplace: near the best numbers the simulated is linear in them, with slopes J, and the residuals r
are noise. Were that white, the covariance were s^2 (J^T J + P)^-1, with P of what is known before.
Residuals of a wrong model are alike over time and between neighbors, so that there are fewer
independent ones than residuals. The covariance between groups of neighbors (Liang and Zeger 1986)

    H^-1 (sum_c g_c g_c^T) H^-1,  g_c = J_c^T r_c,  H = J^T J + s^2 P

takes any correlation within a group, over all frames, as it is. What all points have in common for
a while is taken likewise by pieces of the clip; both are added up, as in Cameron, Gelbach and
Miller (2011). An error of the grid, which all have in common for ever, is measured apart: by how
much other numbers would fit better on another grid, H^-1 J^T (r' - r) with its residuals r'.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from inverse.identification.solve import huber


FEWEST = 4  # groups; fewer say nothing of their scatter


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Spreads:
    """deviation: (p,) standard deviations of the numbers; samples: (p,), to how many independent
    residuals all of them amount for each number; gain: (p, N), how the numbers follow residuals."""

    deviation: np.ndarray
    samples: np.ndarray
    gain: np.ndarray


def spreads(
    residuals: np.ndarray, slopes: np.ndarray, clusters: Sequence[np.ndarray], prior: np.ndarray
) -> Spreads:
    """How well p numbers are known.

    residuals: (N,); slopes: (N, p); clusters: (N,) int of each way of grouping; prior: (p,)
    standard deviations of what is known before.
    """
    weights = huber(residuals)
    bent = slopes * weights[:, None]
    # Residuals where the numbers change nothing say nothing of the noise where they do.
    power = (slopes**2 / np.maximum((slopes**2).sum(axis=0), 1e-300)).sum(axis=1)
    variance = float((power * weights * residuals**2).sum() / max(power.sum(), 1e-300))
    variance = max(variance, 1e-300)
    before = np.diag(1 / prior**2)
    white = np.linalg.inv(bent.T @ slopes / variance + before)
    added = np.zeros(len(prior))
    for way in clusters:
        groups = np.unique(way, return_inverse=True)[1]
        count = int(groups.max()) + 1
        if count < FEWEST:
            continue
        scores = np.zeros((count, slopes.shape[1]))
        np.add.at(scores, groups, bent * residuals[:, None] / variance)
        # as many groups less one as scatter around their mean
        middle = count / (count - 1) * scores.T @ scores
        covariance = white @ (middle + before) @ white
        added += np.maximum(np.diag(covariance) - np.diag(white), 0.0)
    variances = np.diag(white) + added
    return Spreads(
        deviation=np.sqrt(variances),
        samples=len(residuals) * np.diag(white) / variances,
        gain=white @ bent.T / variance,
    )
