"""What a run finds out beside the force: what its verdict and its report tell of it."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from inverse.wind.carried import Carried
from inverse.wind.flight import Flight, find_flight
from inverse.wind.forces.compare import (
    Explained,
    compare_forces,
    hold_out,
    hopes_for_uniform,
    misses,
    uniform_motion,
)
from inverse.wind.inputs.load import Inputs
from inverse.wind.results.pictures import carried_deformation
from inverse.wind.run import WindRun
from inverse.wind.solver import WindResult, WindSolver
from inverse.wind.supports import Supports
from inverse.wind.swing import Swing, find_swing
from inverse.wind.targets import Tracked


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """What a run knows beside its force.

    explained: which force explains the motion, None where that is not known; carried: objects by
    something that was not found; by_gravity: how gravity alone moves the object, None where it does
    not; too_large: factor by which all forces are, for a guessed distance, where a floor or gravity
    tells the true one, else None; factors: by which they may be off, by what is not known.
    """

    explained: Explained | None
    carried: Sequence[Carried]
    by_gravity: Swing | Flight | None
    too_large: float | None
    factors: Mapping[str, float]


def moved_by_gravity(
    run: WindRun, followed: int, *, guessed: float | None
) -> Swing | Flight | None:
    """How the only object of a run swings or flies, None where it does neither, or where something
    that is seen holds or carries it.

    followed: frames in which it is seen; guessed: its distance, m, where that is a guess.
    """
    if run.body.any() or run.held.any() or run.reaction.any():
        return None
    share = run.mass / run.mass.sum()
    specific = run.force[:followed].sum(axis=1) / run.mass.sum()
    path = np.einsum("n,tnd->td", share, run.x[:followed])
    swing = find_swing(path, specific, run.gravity, guessed=guessed)
    if swing is not None or guessed is None:
        return swing
    return find_flight(specific, run.gravity, guessed)


def find_explained(
    inputs: Inputs,
    tracked: Tracked,
    solver: WindSolver,
    result: WindResult,
    supports: Supports,
    weight: Sequence[float],
) -> Explained | None:
    """Whether a uniform force explains the motion as well; None where that is the one that was
    found, where it is not asked, and where no tracks could be held out.

    weight: (3,) m/s^2, that something held may begin to carry.
    """
    config = solver.config
    if not config.compare or config.force == "uniform":
        return None
    held_out = hold_out(inputs, tracked.keypoints, tracked.by)
    if held_out is None:
        return None

    def missed(motion: WindResult) -> np.ndarray:
        F = carried_deformation(motion, plastic=inputs.plastic)
        return misses(held_out, inputs, motion.x, F)

    own, uniform = missed(result), None
    if supports.touch or hopes_for_uniform(own, inputs, solver):
        uniform = uniform_motion(solver, supports.held, weight)
    return compare_forces(config.force, own, None if uniform is None else missed(uniform))
