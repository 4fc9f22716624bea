"""What lies where in the arrays that kernels take. No other module counts columns.

states (slots, n) of rows of STATE_SIZE: the fields of a State one after the other, matrices row by
row. given (n,) of rows of PARAMS and more: what does not change while a kernel runs. work (1, n)
of rows of WORK_SIZE: what the phases of a backward substep leave to each other. numbers
(NUMBERS_SIZE,): settings of the simulation in one array, since Taichi takes 70 us for a struct.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch

from taichi_phys.mpm.grid import WALLS, Grid


# states: offsets of the fields of State, each of this shape for a particle
STATE_FIELDS: dict[str, tuple[int, ...]] = {
    "x": (3,),
    "v": (3,),
    "C": (3, 3),
    "F": (3, 3),
    "plastic": (),
}
STATE_SIZES = [math.prod(shape) for shape in STATE_FIELDS.values()]
X, V, C, F, PLASTIC, STATE_SIZE = itertools.accumulate([0, *STATE_SIZES])

# given: force (3) N, mass kg, volume m^3, index of the law, and the law's parameters
FORCE, MASS, VOLUME, LAW, PARAMS = 0, 3, 4, 5, 6

# work: A of P2G and F_elastic; at the end the gradient of tau in place of A
AFFINE, ELASTIC, WORK_SIZE = 0, 9, 18
STRESS_GRADIENT = AFFINE

# numbers
DT, DX, LOWER, GRAVITY, SHAPE, WALL_CONTACT, WALL_FRICTION, NUMBERS_SIZE = 0, 1, 2, 5, 8, 11, 12, 13


def pack_body(mass: torch.Tensor, volume: torch.Tensor, law: torch.Tensor) -> torch.Tensor:
    """(n, 3): what `given` holds between the force and the parameters, each (n,)."""
    return torch.stack([mass, volume, law], dim=1)


def pack_given(force: torch.Tensor, body: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
    """(n, 6 + k) `given`: force (n, 3) N, body (n, 3) of `pack_body`, params (n, k)."""
    return torch.cat([force, body, params], dim=1)


def pack_numbers(dt: float, grid: Grid, gravity: Sequence[float]) -> np.ndarray:
    """`numbers` (NUMBERS_SIZE,) in f64: dt s; the grid with its walls; gravity (3,) m/s^2."""
    walls = WALLS.index(grid.contact), grid.friction
    return np.array([dt, grid.dx, *grid.lower, *gravity, *grid.shape, *walls])
