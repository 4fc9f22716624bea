"""What a sheet that is held shows of the force on it: what acts across it where it is held.

A thin sheet bends so easily that it pulls at what holds it along itself only: of the reaction R
nothing is across the planes in which the sheet leaves its supports. With M, the mean of n n^T over
normals n of the sheet there, the external force F on the mass m, whose center has the acceleration
a, obeys

    M F = M m a,    P F = P (m a - R),    P = 1 - M

Along the sheet it is carried as tension. That shows by how far the sheet stretches, by less than
tracks see of any cloth; its simulation, with a stiffness and a thickness that can be afforded,
stretches more, and says nothing. What is known there is gravity, and how strong a wind may be: the
whole hangs in the wind and its weight about as a mass on a thread, so that its directions across
that thread show how strong such forces are.
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
FEWEST = 6  # of those


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Taut:
    """A sheet that is held, in T frames.

    across: (T, 3, 3), the mean of n n^T over normals n where it leaves its supports; likeliest:
    (T, 3) m/s^2, its external force per mass without a wind along itself; wind: m/s^2, standard
    deviation along each axis of one that may act there.
    """

    across: np.ndarray
    likeliest: np.ndarray
    wind: float

    @property
    def hidden(self) -> np.ndarray:
        """(T, 3) m^2/s^4: variance of the net force per mass along the axes of the world, by what
        the sheet carries along itself."""
        return self.wind**2 * (1 - np.einsum("taa->ta", self.across))


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
    beside = acceleration - gravity  # of the wind and of what holds it
    thread = np.einsum("n,tnd->td", mass / mass.sum(), x) - x[:, held].mean(axis=1)
    thread /= np.maximum(np.linalg.norm(thread, axis=1, keepdims=True), 1e-300)
    aside = beside - (beside * thread).sum(axis=1, keepdims=True) * thread  # along two axes
    return Taut(
        across=across,
        likeliest=gravity + np.einsum("tij,tj->ti", across, beside),
        wind=float(np.sqrt((aside**2).sum(axis=1).mean() / 2)),
    )


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
    supports, is its weight: the supports carry it, and no motion changes.

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
    tree = cKDTree(free[0])
    edge = np.flatnonzero(cKDTree(x[0, held]).query(free[0])[0] <= EDGE * dx)
    if len(edge) == 0:  # the rest is farther away: all of it counts
        edge = np.arange(free.shape[1])
    found = []
    for place in edge:
        near = tree.query_ball_point(free[0, place], AROUND * dx)
        if len(near) < FEWEST:
            near = tree.query(free[0, place], k=min(FEWEST, free.shape[1]))[1]
        found.append(_normals(free[:, near]))
    return np.stack(found, axis=1)


def _normals(x: np.ndarray) -> np.ndarray:
    """Normals (T, 3) of a small piece x (T, k, 3) m of a sheet, as the plane of frame 0 moves."""
    arms = x - x.mean(axis=1, keepdims=True)
    along = np.linalg.svd(arms[0], full_matrices=False)[2][:2]
    places = arms[0] @ along.T
    sides = np.einsum("ik,tkd->tid", np.linalg.pinv(places), arms)
    normals = np.cross(sides[:, 0], sides[:, 1])
    size = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.maximum(size, 1e-300)
