"""How well the forces of a run are known: standard deviations, and factors that all share.

With the smoothing pass, they are those of its linear model (smoothing/covariance.py), and what the
nudges did in its last run. Interval by interval, for an object that nothing holds, the net force is
mass times the acceleration of the center of mass, whatever the object is made of, and it is as well
known as that:

1. as the lift moves when blocks of tracks are left out (inverse/lifting/jackknife.py),
2. as the force misses the acceleration of the targets,
3. as the center of mass itself is known: where mass lies is a guess behind what is seen, and a
   share of it that moves otherwise is taken to be wrong.

The force on a part is known no better than that, and than the tracks of the part show it beside
the stiffness that couples it to others. Where that is hopeless, what remains is that forces vary
over the object by as much as was found. Of a solid that is held, the linear model says it; of a
sheet that is, what it carries along itself is open beside all of this (taut.py).

What scales all forces by one factor is no noise: the density (force is mass times what is seen),
the stiffness of what is held, a distance that was guessed. Such factors stand beside.
"""

import dataclasses
import warnings
from collections.abc import Collection, Sequence

import numpy as np
from scipy.spatial import cKDTree

from inverse.lifting import SEEN
from inverse.materials import Range
from inverse.wind.config import WindJob
from inverse.wind.impacts import pieces
from inverse.wind.inputs.load import Inputs
from inverse.wind.smoothing.smoother import WindSmoother
from inverse.wind.solver import WindResult, WindSolver, at_frames
from inverse.wind.spread import Spread
from inverse.wind.supports import Supports
from inverse.wind.targets import Tracked
from inverse.wind.taut import find_taut, hidden, is_taut


MISPLACED = 0.2  # share of the accelerations beside the mean, by which unknown mass shifts that
# Share of the force by which one on an object that was taken to be flat is wrong: leaves that are
# not gave 35 to 47 degrees.
FLAT = 0.6
GUESSED = 2.0  # factor by which a distance that nobody gave may be off
NETWORK = 1.2  # the same, of a distance by a network for metric depth


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Confidence:
    """How well forces are known.

    std: (T, n, 3) N, of the force on each particle along the axes of the world; net: (T, 3) N, of
    the whole; factors: by which all forces may be too large or too small, one standard deviation
    either way, by what is not known.
    """

    std: np.ndarray
    net: np.ndarray
    factors: dict[str, float]

    @property
    def factor(self) -> float:
        """All factors together."""
        logs = np.log([1.0, *self.factors.values()])
        return float(np.exp(np.sqrt((logs**2).sum())))

    def scaled(self, too_large: float) -> "Confidence":
        """The same where something tells by which factor forces are too large for the distance."""
        off = {"distance": max(too_large, 1 / too_large)}
        return dataclasses.replace(self, factors={**self.factors, **off})


def find_confidence(
    given: WindJob,
    inputs: Inputs,
    tracked: Tracked,
    supports: Supports,
    solver: WindSolver,
    result: WindResult,
    reaction: np.ndarray,
) -> Confidence:
    """How well the force of a result is known.

    given: the job as its user gave it; solver: of the intervals; reaction: (T, 3) N.
    """
    mass = solver.sim.mass.double().cpu().numpy()
    force = result.frame_forces().double().cpu().numpy()
    pushed = reaction / mass.sum()
    taut = is_taut(inputs, supports.held)
    if taut:
        spread = taut_spread(
            tracked, supports, force, mass, pushed, inputs.fps, given.gravity, solver.sim.grid.dx
        )  # fmt: skip
    elif result.spread is not None:
        spread = _with_nudges(result.spread, result, mass)
    elif supports.held.any():
        spread = _held_spread(tracked, supports, solver, force.sum(axis=1) / mass.sum(), given)
    else:
        spread = free_spread(tracked, force, mass, pushed, inputs.fps, supports.impacts)
    variance, part = spread.net**2, spread.part**2
    if supports.floor is not None:
        hidden = _carried(supports, result, solver.sim.grid.dx) * np.square(given.gravity)
        variance, part = variance + hidden, part + hidden[:, None]
    # The first and the last frame are known by half of their interval only.
    specific = force.sum(axis=1) / mass.sum()
    variance[[0, -1]] += (specific[[1, -2]] - specific[[0, -1]]) ** 2
    if inputs.flat:
        variance = variance + (FLAT * _size(specific))[:, None] ** 2 / 3
        part = part + (FLAT * _size(force / mass[:, None]))[..., None] ** 2 / 3
    return Confidence(
        std=mass[:, None] * np.sqrt(part),
        net=mass.sum() * np.sqrt(variance),
        factors=find_factors(given, inputs, bent=bool(supports.held.any()) and not taut),
    )


def _size(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1)


def _held_spread(
    tracked: Tracked, supports: Supports, solver: WindSolver, net: np.ndarray, given: WindJob
) -> Spread:
    """How well the force on an object that is held is known, around a net force (T, 3) m/s^2 per
    mass; NaN where no linear model says it."""
    smoother = WindSmoother(solver, held=supports.held, tracked=tracked, steady=given.gravity)
    try:
        likeliest, spread = smoother.spread()
    except (ValueError, np.linalg.LinAlgError) as error:
        warnings.warn(f"how well the force is known was not found: {error}", stacklevel=2)
        return Spread(net=np.full(net.shape, np.nan), part=np.full(tracked.targets.shape, np.nan))
    off = net - likeliest
    return Spread(net=np.hypot(spread.net, off), part=np.sqrt(spread.part**2 + off[:, None] ** 2))


def _with_nudges(spread: Spread, result: WindResult, mass: np.ndarray) -> Spread:
    """A spread and what nudges did beside the force."""
    if result.nudges is None:
        return spread
    nudges = at_frames(result.nudges).double().cpu().numpy()
    net, part = nudges.sum(axis=1) / mass.sum(), nudges / mass[:, None]
    return Spread(net=np.hypot(spread.net, net), part=np.hypot(spread.part, part))


def free_spread(
    tracked: Tracked,
    force: np.ndarray,
    mass: np.ndarray,
    pushed: np.ndarray,
    fps: float,
    gaps: Collection[int] = (),
) -> Spread:
    """How well the force on an object that nothing holds is known, without a linear model.

    force: (T, n, 3) N; mass: (n,) kg; pushed: (T, 3) m/s^2, by which a floor pushes it; fps: frames
    per second; gaps: intervals in which it is hit.
    """
    share = mass / mass.sum()
    specific = force / mass[:, None]
    net = force.sum(axis=1) / mass.sum()
    shifts = tracked.shifts.astype(np.float64)
    # Each of the sampled particles stands for the mass around it.
    start = tracked.targets[0]
    near = cKDTree(start[tracked.sampled]).query(start)[1]
    stands = np.bincount(near, weights=share, minlength=len(tracked.sampled))
    center = np.einsum("m,btmd->btd", stands, shifts)
    jackknife = (accelerations(center, fps, gaps) ** 2).sum(axis=0)
    moved = accelerations(np.moveaxis(tracked.targets, 1, 0), fps, gaps)  # (n, T, 3)
    middle = np.einsum("n,ntd->td", share, moved)
    missed = _around((net + pushed - middle) ** 2)
    beside = np.einsum("n,ntd->t", share, (moved - middle) ** 2)[:, None] / 3
    variance = jackknife + missed + MISPLACED**2 * beside
    varies = np.einsum("n,tnd->t", share, (specific - net[:, None]) ** 2)[:, None, None] / 3
    seen = (tracked.confidence >= SEEN)[..., None]
    shown = tracked.noise[:, None, None] ** 2
    known = np.where(seen, shown / np.maximum(shown + varies, 1e-300), 1.0)
    part = variance[:, None] + known * varies
    return Spread(net=np.sqrt(variance), part=np.sqrt(part))


def taut_spread(
    tracked: Tracked,
    supports: Supports,
    force: np.ndarray,
    mass: np.ndarray,
    pushed: np.ndarray,
    fps: float,
    gravity: Sequence[float],
    dx: float,
) -> Spread:
    """How well the force on a sheet that something holds is known (taut.py).

    force, mass, pushed, fps: as for free_spread; gravity: (3,) m/s^2; dx: of the grid, m.
    """
    spread = free_spread(tracked, force, mass, pushed, fps, supports.impacts)
    net = force.sum(axis=1) / mass.sum()
    down = np.asarray(gravity)
    taut = find_taut(tracked.targets, mass, supports.held, net + pushed, down, dx)
    variance = hidden(taut, tracked.targets, supports.held, down, fps, dx)
    variance += (taut.likeliest - net) ** 2
    part = np.sqrt(spread.part**2 + variance[:, None])
    return Spread(net=np.sqrt(spread.net**2 + variance), part=part)


def accelerations(paths: np.ndarray, fps: float, gaps: Collection[int] = ()) -> np.ndarray:
    """Accelerations (..., T, 3) m/s^2 of paths (..., T, 3) m, averaged over the frames beside, as
    forces at frames are; gaps: intervals that no difference may reach over."""
    frames = paths.shape[-2]
    inner = [np.arange(a + 1, b) for a, b in pieces(frames, gaps) if b > a + 1]
    if not inner:
        return np.zeros_like(paths)
    known = np.concatenate(inner)
    second = paths[..., known + 1, :] - 2 * paths[..., known, :] + paths[..., known - 1, :]
    nearest = np.abs(np.arange(frames)[:, None] - known).argmin(axis=1)
    full = second[..., nearest, :] * fps**2
    return _around(full)


def _around(values: np.ndarray) -> np.ndarray:
    """Values (..., T, 3), averaged with those of the frames beside."""
    wide = np.concatenate([values[..., :1, :], values, values[..., -1:, :]], axis=-2)
    return 0.25 * wide[..., :-2, :] + 0.5 * values + 0.25 * wide[..., 2:, :]


def _carried(supports: Supports, result: WindResult, dx: float) -> np.ndarray:
    """(T, 3): 1 along axes in which a floor may carry the object in a frame, and so hide a steady
    push towards it."""
    assert supports.floor is not None
    normal = np.asarray(supports.floor.normal)
    x = result.x.double().cpu().numpy()
    height = (x - np.asarray(supports.floor.point)) @ normal
    touches = height.min(axis=1) < dx
    for step in supports.impacts:  # there it is thrown back, which shows all of it
        touches[step : step + 2] = False
    return touches[:, None] * normal**2


def find_factors(given: WindJob, inputs: Inputs, *, bent: bool) -> dict[str, float]:
    """Factors by which all forces may be off, one standard deviation either way, by what is not
    known; bent: whether the force shows by how far it bends the object, and so in proportion to its
    stiffness."""
    found = {}
    substance, job = inputs.substance, inputs.job
    if substance is not None:
        names = ["density", *(["thickness"] if inputs.surface is None else [])]
        for name in [*names, *(["E"] if bent else [])]:
            known: Range | None = getattr(substance, name)
            if known is not None and getattr(job, name) == known.typical:
                found[name] = _factor(known)
    if given.distance_guessed:
        found["distance"] = GUESSED
    elif given.depth is None and given.depth_model is not None and not given.solid_given:
        found["distance"] = NETWORK
    return {name: value for name, value in found.items() if value > 1}


def _factor(known: Range) -> float:
    """The standard deviation of a quantity whose logarithm may be anywhere in its range."""
    return float(np.exp(np.log(known.high / known.low) / np.sqrt(12)))
