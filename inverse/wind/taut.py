"""What a sheet that is held shows of the force on it: what acts across it where it is held.

A thin sheet bends so easily that it pulls at what holds it along itself only: of the reaction R
nothing is across the planes in which the sheet leaves its supports. With M, the mean of n n^T over
normals n of the sheet there, the external force F on the mass m, whose center has the acceleration
a, obeys

    M F = M m a,    P F = P (m a - R),    P = 1 - M

Along the sheet it is carried as tension. That shows by how far the sheet stretches, by less than
tracks see of any cloth; its simulation, with a stiffness and a thickness that can be afforded,
stretches more, and says nothing. What is known there is

1. gravity,
2. that cloth is no beam: a flag is held out beside its weight, as a line between two poles is, by a
   pull about as strong, or it would droop by more than 45 degrees; what hangs needs none,
3. that air presses across a sheet, wherever it is: along the planes at its edge that acts on what
   is not parallel to them. By the inequality of Cauchy and Schwarz it is at most what presses on it
   (root mean square), times that of the normals along these planes.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree

from inverse.wind.inputs.load import Inputs
from inverse.wind.solver import WindResult


EDGE = 1.5  # grid spacings from what is held, within which a sheet leaves it
AROUND = 3.0  # the same, within which particles show how the sheet lies there
PRESSED = 1.5  # the same, where air presses on it: what is smaller than a cell is not simulated
FEWEST = 6  # of those
OPEN = 0.5  # of the pull that holds a sheet out: with twice of it, it droops by half as much
PLACES = 100  # of the sheet, at which that is looked at


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Taut:
    """A sheet that is held, in T frames.

    across: (T, 3, 3), the mean of n n^T over normals n where it leaves its supports; likeliest:
    (T, 3) m/s^2, its external force per mass with no more pull along itself than holds it out, and
    pull: (T, 3) m/s^2, that.
    """

    across: np.ndarray
    likeliest: np.ndarray
    pull: np.ndarray


def is_taut(inputs: Inputs, held: np.ndarray) -> bool:
    """Whether what is held, particles (n,) bool, is part of a sheet."""
    return bool(held.any()) and any(one.surface is None for one in inputs.each)


def find_taut(
    x: np.ndarray,
    mass: np.ndarray,
    held: np.ndarray,
    acceleration: np.ndarray,
    gravity: np.ndarray,
    dx: float,
) -> Taut:
    """What a sheet that is held shows.

    x: (T, n, 3) m; mass: (n,) kg; held: (n,) bool; acceleration: (T, 3) m/s^2, of its center of
    mass; gravity: (3,) m/s^2; dx: of the grid, m.
    """
    n = edge_normals(x, held, dx)
    across = np.einsum("tei,tej->tij", n, n) / n.shape[1]
    along = np.eye(3) - across
    # From the nearest support outwards: what hangs between two is not pulled to one side.
    support = np.flatnonzero(held)[cKDTree(x[0, held]).query(x[0])[1]]
    arms = x - x[:, support]
    arms /= np.maximum(np.linalg.norm(arms, axis=2, keepdims=True), 1e-300)
    out = np.einsum("n,tij,tnj->ti", mass / mass[~held].sum(), along, arms)
    weight = along @ gravity
    square = np.maximum((out**2).sum(axis=1, keepdims=True), 1e-300)
    beside = weight - (weight * out).sum(axis=1, keepdims=True) / square * out
    pull = np.linalg.norm(beside, axis=1, keepdims=True) * out
    shown = np.einsum("tij,tj->ti", across, acceleration - gravity)
    return Taut(across=across, likeliest=gravity + shown + pull, pull=pull)


def hidden(
    taut: Taut, x: np.ndarray, held: np.ndarray, gravity: np.ndarray, fps: float, dx: float
) -> np.ndarray:
    """(T, 3) m^2/s^4: variance of the net force per mass along the axes of the world, by what the
    sheet carries along itself.

    x, held, gravity, dx: as for find_taut; fps: frames per second.
    """
    free = x[:, ~held]
    places = np.linspace(0, free.shape[1] - 1, min(PLACES, free.shape[1])).astype(int)
    around = _around(free[0], places, PRESSED * dx)
    n = np.stack([_normals(free[:, near]) for near in around], axis=1)
    path = np.stack([free[:, near].mean(axis=1) for near in around], axis=1)
    pressed = 0.0
    if len(path) > 2:
        force = np.diff(path, n=2, axis=0) * fps**2 - gravity
        pressed = float(((force * n[1:-1]).sum(axis=2) ** 2).mean())
    leans = np.einsum("tij,tej->tei", np.eye(3) - taut.across, n)
    return pressed * (leans**2).mean(axis=1) + (OPEN * taut.pull) ** 2


def with_weight(
    result: WindResult,
    x: np.ndarray,
    mass: torch.Tensor,
    held: np.ndarray,
    gravity: Sequence[float],
    fps: float,
    dx: float,
) -> WindResult:
    """The result of a sheet that is held, whose net force along the sheet, where that leaves its
    supports, is its weight and what holds it out: the supports carry it, and no motion changes.

    x: (T, n, 3) m, targets; mass: (n,) kg; held: (n,) bool; gravity: (3,) m/s^2; fps: frames per
    second; dx: of the grid, m.
    """
    weights = mass.double().cpu().numpy()
    share = weights / weights.sum()
    v, force = (values.double().cpu().numpy() for values in (result.v, result.force))
    acceleration = np.einsum("n,tnd->td", share, v[1:] - v[:-1]) * fps
    middle = 0.5 * (x[1:] + x[:-1])
    taut = find_taut(middle, weights, held, acceleration, np.asarray(gravity), dx)
    lacks = taut.likeliest - force.sum(axis=1) / weights.sum()
    along = lacks - np.einsum("tij,tj->ti", taut.across, lacks)
    added = torch.as_tensor(along).to(result.force)
    return dataclasses.replace(result, force=result.force + mass[:, None] * added[:, None])


def edge_normals(x: np.ndarray, held: np.ndarray, dx: float) -> np.ndarray:
    """Normals (T, e, 3) of a sheet x (T, n, 3) m at e places where it leaves held (n,) particles;
    dx: of the grid, m."""
    free = x[:, ~held]
    edge = np.flatnonzero(cKDTree(x[0, held]).query(free[0])[0] <= EDGE * dx)
    if len(edge) == 0:  # the rest is farther away: all of it counts
        edge = np.arange(free.shape[1])
    around = _around(free[0], edge, AROUND * dx)
    return np.stack([_normals(free[:, near]) for near in around], axis=1)


def _around(x: np.ndarray, places: np.ndarray, reach: float) -> list[np.ndarray]:
    """Particles of x (n, 3) m, by index, within a reach, m, of each of some of them: they show how
    a sheet lies there."""
    tree = cKDTree(x)
    found = []
    for place in places:
        near = tree.query_ball_point(x[place], reach)
        if len(near) < FEWEST:
            near = tree.query(x[place], k=min(FEWEST, len(x)))[1]
        found.append(np.asarray(near))
    return found


def _normals(x: np.ndarray) -> np.ndarray:
    """Normals (T, 3) of a small piece x (T, k, 3) m of a sheet, as the plane of frame 0 moves."""
    arms = x - x.mean(axis=1, keepdims=True)
    along = np.linalg.svd(arms[0], full_matrices=False)[2][:2]
    places = arms[0] @ along.T
    sides = np.einsum("ik,tkd->tid", np.linalg.pinv(places), arms)
    normals = np.cross(sides[:, 0], sides[:, 1])
    size = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.maximum(size, 1e-300)
