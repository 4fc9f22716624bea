"""The search: values that are tried first, and Gauss-Newton steps from the best of them.

With one to ten unknowns, differences of forward runs give all slopes of all residuals for one run
an unknown. A reverse pass costs three forward runs and gives the slope of one number, the
loss; Gauss-Newton on the residuals needs a handful of steps where descent along that slope needs
hundreds. Differences over steps of a few percent also average over what contact makes jagged.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import qmc

from inverse.identification.unknowns import Unknown
from taichi_phys import SimulationError


HUBER = 3.0  # robust standard deviations, beyond which a residual counts less
LARGEST = 1.5  # step of an unknown: a factor of 4.5
DAMPING, EASIER, HARDER, HOPELESS = 1e-3, 0.2, 8.0, 1e6
TRUSTED = 0.5  # of what a step was to bring: with less, slopes are measured anew
ENOUGH = 0.1  # of its standard deviation: a step below that changes nothing

# (numbers, substeps) -> residuals (N,) and the substeps that were used
Run = Callable[[np.ndarray, Sequence[int]], tuple[np.ndarray, list[int]]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """Numbers that fit: numbers (p,); residuals (N,); substeps: of their run; loss: root mean
    square of the residuals; settled: whether the last step was small."""

    numbers: np.ndarray
    residuals: np.ndarray
    substeps: list[int]
    loss: float
    settled: bool


def tried(
    unknowns: Sequence[Unknown], start: np.ndarray, each: int, decades: float, seed: int
) -> np.ndarray:
    """Numbers (m, p) to try first: the start, and others around it of what may be far off.

    Those of one unknown are evenly spread, those of several a Sobol sequence, each many of them;
    parts have the same value. Of Poisson's ratio and of the initial motion the start holds.
    """
    names = scanned_names(unknowns)
    if not names:
        return start[None]
    if len(names) == 1:
        shares = (np.arange(each) + 0.5)[:, None] / each
    else:
        sobol = qmc.Sobol(len(names), rng=np.random.default_rng(seed))
        count = each * len(names)
        shares = sobol.random(1 << (count - 1).bit_length())[:count]
    moved = np.tile(start, (len(shares) + 1, 1))
    for k, unknown in enumerate(unknowns):
        if unknown.scanned:
            low, high = unknown.reach(decades)
            moved[1:, k] = low + (high - low) * shares[:, names.index(unknown.name)]
    return moved


def scanned_names(unknowns: Sequence[Unknown]) -> list[str]:
    """Names of the quantities of which values far from the guess are tried."""
    return list(dict.fromkeys(u.name for u in unknowns if u.scanned))


def huber(residuals: np.ndarray) -> np.ndarray:
    """Weights (N,) of residuals, smaller for those that lie far out."""
    size = np.abs(residuals)
    limit = HUBER * max(1.4826 * float(np.median(size)), float(size.mean()), 1e-300)
    return np.minimum(1.0, limit / np.maximum(size, 1e-300))


def slopes_of(
    run: Run,
    unknowns: Sequence[Unknown],
    numbers: np.ndarray,
    chosen: Sequence[int],
    substeps: Sequence[int],
    here: np.ndarray | None = None,
) -> np.ndarray:
    """(N, p) slopes of the simulated by the chosen numbers, by differences.

    substeps: at least these; here: (N,) the residuals of the numbers, which are differences' other
    end, for half the runs; None: central differences.
    """
    columns = []
    for k in chosen:
        ends = []
        for sign in (1, -1) if here is None else (1,):
            moved = numbers.copy()
            moved[k] += sign * unknowns[k].step
            ends.append(run(moved, substeps)[0])
        other, width = (ends[1], 2.0) if here is None else (here, 1.0)
        columns.append((other - ends[0]) / (width * unknowns[k].step))
    return np.stack(columns, axis=1)


def descend(
    run: Run,
    unknowns: Sequence[Unknown],
    numbers: np.ndarray,
    chosen: Sequence[int],
    *,
    iterations: int,
    tolerance: float,
    on_step: Callable[[np.ndarray, float], None] = lambda numbers, loss: None,
) -> Fitted:
    """Levenberg's steps from numbers (p,), of which those chosen move.

    on_step: told the numbers and the loss after each. Raises SimulationError if the start itself
    cannot be simulated.
    """
    index = list(chosen)
    limits = np.array([unknowns[k].bounds for k in index]).reshape(-1, 2)
    prior = np.array([unknowns[k].prior for k in index]).reshape(-1, 2)
    numbers = numbers.copy()
    residuals, substeps = run(numbers, ())
    slopes, damping, settled = None, DAMPING, False
    for _ in range(iterations):
        if slopes is None:
            slopes, fresh = slopes_of(run, unknowns, numbers, index, substeps, residuals), True
        weights = huber(residuals)
        variance = max(float((weights * residuals**2).mean()), 1e-300)
        pull = slopes.T @ (weights * residuals) / variance
        pull -= (numbers[index] - prior[:, 0]) / prior[:, 1] ** 2
        normal = (slopes * weights[:, None]).T @ slopes / variance + np.diag(1 / prior[:, 1] ** 2)
        before = float((weights * residuals**2).sum())
        # what is at its limit and pulled beyond stays there
        here = numbers[index]
        free = ~((here <= limits[:, 0]) & (pull < 0) | (here >= limits[:, 1]) & (pull > 0))
        part = normal[np.ix_(free, free)]
        moved = False
        while damping < HOPELESS and not moved:
            step = np.zeros(len(index))
            step[free] = np.linalg.solve(part + damping * np.diag(np.diag(part)), pull[free])
            step = np.clip(here + np.clip(step, -LARGEST, LARGEST), *limits.T) - here
            trial = numbers.copy()
            trial[index] += step
            try:
                found, used = run(trial, ())
                now = float((weights * found**2).sum())
                moved = now < before
            except SimulationError:
                moved = False
            if not moved and (np.abs(step).max() < tolerance or not fresh):
                break
            damping *= EASIER if moved else HARDER
        deviation = np.sqrt(np.diag(np.linalg.inv(normal)))
        small = bool((np.abs(step) < np.maximum(tolerance, ENOUGH * deviation)).all())
        if not moved and not fresh:  # slopes of another place led nowhere
            slopes = None
            continue
        settled = small or not moved
        if moved:
            promised = residuals - slopes @ step
            length = float(step @ step)
            left = float((weights * promised**2).sum())
            kept = before - now > TRUSTED * (before - left)
            # Broyden's slopes, which cost no run, as long as they foresee what steps bring
            slopes = slopes + np.outer(promised - found, step) / length if kept else None
            fresh = False
            numbers, residuals, substeps = trial, found, used
            on_step(numbers, size(residuals))
        if settled:
            break
    return Fitted(
        numbers=numbers,
        residuals=residuals,
        substeps=substeps,
        loss=size(residuals),
        settled=settled,
    )


def size(residuals: np.ndarray) -> float:
    """The root mean square."""
    return float(np.sqrt((residuals**2).mean()))
