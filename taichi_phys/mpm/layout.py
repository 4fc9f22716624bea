"""The layout of the arrays that kernels take. No other module counts columns.

states (slots, n), rows of STATE_SIZE numbers: the fields of a State one after the other, matrices
row by row. given (n,), rows of PARAMS numbers and the parameters: the constants of a particle
during a launch. work (1, n), rows of WORK_SIZE numbers: intermediate results of a backward substep.
numbers (NUMBERS_SIZE,): the settings of the simulation in one array, since passing a struct to
Taichi takes 70 us.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch

from taichi_phys.mpm.grid import WALLS, Grid


# states: the shape of each field of State for one particle, and the offsets of the fields
STATE_FIELDS: dict[str, tuple[int, ...]] = {
    "x": (3,),
    "v": (3,),
    "C": (3, 3),
    "F": (3, 3),
    "plastic": (),
}
STATE_SIZES = [math.prod(shape) for shape in STATE_FIELDS.values()]
X, V, C, F, PLASTIC, STATE_SIZE = itertools.accumulate([0, *STATE_SIZES])

# given: force (3) N, mass kg, volume m^3, index of the law, and the law's parameters; then, if
# bodies have velocity fields of their own, the index of the field
FORCE, MASS, VOLUME, LAW, PARAMS = 0, 3, 4, 5, 6

# work: A of P2G; at the end the gradient in tau replaces it
AFFINE, WORK_SIZE = 0, 9
STRESS_GRADIENT = AFFINE

# numbers
DT, DX, LOWER, GRAVITY, SHAPE, WALL_CONTACT, WALL_FRICTION, NUMBERS_SIZE = 0, 1, 2, 5, 8, 11, 12, 13


def pack_body(
    mass: torch.Tensor, volume: torch.Tensor, law: torch.Tensor, field: torch.Tensor | None = None
) -> torch.Tensor:
    """(n, 3 or 4): the columns of `given` that are the same in all launches; arguments: (n,)."""
    columns = [mass, volume, law] if field is None else [mass, volume, law, field]
    return torch.stack(columns, dim=1)


def pack_given(force: torch.Tensor, body: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
    """The array `given`: force (n, 3) N, body (n, 3 or 4) of `pack_body`, params (n, k)."""
    return torch.cat([force, body[:, :3], params, body[:, 3:]], dim=1)


def pack_numbers(
    dt: float, grid: Grid, lower: Sequence[float] | np.ndarray, gravity: Sequence[float]
) -> np.ndarray:
    """The array `numbers`, (NUMBERS_SIZE,) in f64.

    dt: s; grid: its cells and walls; lower: (3,) m, its corner as positions are given to kernels;
    gravity: (3,) m/s^2.
    """
    walls = WALLS.index(grid.contact), grid.friction
    return np.array([dt, grid.dx, *lower, *gravity, *grid.shape, *walls])
