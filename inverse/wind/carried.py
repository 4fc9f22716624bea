"""Things that stay in their place though nothing was found that carries them.

A net force says what acts on a free object. But an object that stays where it is, while its weight
would take it far away, is hardly free: a wind would have to cancel the weight from the first frame
to the last. Then something out of sight holds it, or something that the clip does not tell from it,
and its pull is part of the net force.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from inverse.lifting.quality import followed_frames
from inverse.wind.inputs.load import Inputs
from inverse.wind.run import WindRun
from inverse.wind.targets import Tracked


STAYS = 0.5  # of an object's radius of gyration: what leaves its place moves by more
CANCELED = 10.0  # times the way that it moves, that its weight would take it: within a tenth of it


def canceled_fall(
    x: np.ndarray, mass: np.ndarray, gravity: Sequence[float], duration: float
) -> float | None:
    """How far, m, its weight would have moved an object that stays in its place; None where it does
    not.

    It is no fall where the object is seen for so short that it would not have left its place.

    x: (T, n, 3) m; mass: (n,) kg; gravity: (3,) m/s^2; duration: s, of these frames.
    """
    share = mass / mass.sum()
    center = np.einsum("n,tnd->td", share, x)
    radius = float(np.sqrt(share @ ((x[0] - center[0]) ** 2).sum(axis=1)))
    moved = float(np.linalg.norm(center - center[0], axis=1).max())
    fall = 0.5 * float(np.linalg.norm(gravity)) * duration**2
    stays = moved <= STAYS * radius and fall >= CANCELED * max(moved, STAYS * radius)
    return fall if stays else None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Carried:
    """An object that something carries that was not found.

    fall: m, by which its weight would have moved it; sheet: whether it is one; particles: (n,)
    bool, its own.
    """

    fall: float
    sheet: bool
    particles: np.ndarray


def find_carried(run: WindRun, inputs: Inputs, tracked: Tracked) -> list[Carried]:
    """The objects that stay in their place, where supports were searched for and none was found."""
    found: list[Carried] = []
    if run.job.hold != "auto" or run.job.hold_box is not None or run.job.floor is not None:
        return found
    x = tracked.targets[: followed_frames(tracked.quality.seen_share)]
    for number, one in enumerate(inputs.each):
        own = run.body == number
        duration = (len(x) - 1) / inputs.fps
        fall = canceled_fall(x[:, own], run.mass[own], run.job.gravity, duration)
        if fall is not None and not run.held[own].any():
            found.append(Carried(fall=fall, sheet=one.surface is None, particles=own))
    return found


def pulled(run: WindRun, carried: Sequence[Carried]) -> WindRun:
    """The run with standard deviations that know of a pull that was not found.

    It is taken to be about as strong as the weight, along any axis. That is so for sheets alone: a
    solid may hover or roll.
    """
    weight = run.mass * np.linalg.norm(run.gravity)
    for one in carried:
        if one.sheet:
            own = np.where(one.particles, weight, 0.0)
            std, net_std = np.hypot(run.std, own[:, None]), np.hypot(run.net_std, own.sum())
            run = dataclasses.replace(run, std=std, net_std=net_std)
    return run
