"""Positions relative to a corner of the grid, for scenes that lie far from the origin.

Kernels compute in f32, which at 5,000 km from the origin knows positions to half a meter only. So
in such a scene kernels see positions relative to `origin`, and State.x is f64. Near the origin
nothing is shifted.
"""

from collections.abc import Sequence

import numpy as np
import torch

from taichi_phys.mpm.colliders import (
    KIND,
    MESH,
    PLANE,
    ROTATION,
    SHAPE,
    SPIN,
    TRANSLATION,
    VELOCITY,
)
from taichi_phys.mpm.grid import Grid


# Cells: in f32, positions this far away from the origin are known to 1e-4 cells.
FAR = 1024


def origin_of(grid: Grid, dtype: torch.dtype) -> np.ndarray:
    """(3,) m: what positions are relative to in kernels; zero unless the grid is far away.

    dtype: of the simulation. A grid is far away if a corner is more than 1024 cells from the origin
    and farther than twice the longest side of the grid.
    """
    corners = np.array([grid.lower, grid.upper])
    farthest, longest = np.abs(corners).max(), (corners[1] - corners[0]).max()
    far = dtype == torch.float32 and farthest > max(FAR * grid.dx, 2 * longest)
    return corners[0] if far else np.zeros(3)


def shift_table(rows: np.ndarray, origin: Sequence[float] | np.ndarray) -> None:
    """Make the table (substeps, colliders, COLUMNS) of `colliders.table` take relative positions.

    origin: (3,) m, of `origin_of`. In place, in f64. The frames of the shapes are shifted too, to
    the places of the origin in them, so that no large number is left.
    """
    origin = np.asarray(origin)
    if not origin.any():
        return
    R = rows[..., ROTATION:TRANSLATION].reshape(*rows.shape[:2], 3, 3)
    places = R @ origin + rows[..., TRANSLATION:VELOCITY]
    rows[..., TRANSLATION:VELOCITY] = 0
    rows[..., VELOCITY:SPIN] += np.cross(rows[..., SPIN : SPIN + 3], origin)
    for i in range(rows.shape[1]):
        kind = rows[0, i, KIND]
        at = SHAPE + (6 if kind == MESH else 0)
        point = rows[:, i, at : at + 3] - places[:, i]
        if kind == PLANE:  # any point of the plane will do: the nearest
            normal = rows[:, i, SHAPE + 3 : SHAPE + 6]
            point = (point * normal).sum(axis=1, keepdims=True) * normal
        rows[:, i, at : at + 3] = point
