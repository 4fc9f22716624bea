"""The background grid of the simulation."""

import dataclasses
import math
from typing import Any

import numpy as np

from taichi_phys.checks import finite_number, finite_vector, one_of, set_fields


WALL_CELLS = 3  # thickness of the walls at each face of the grid, in cells
MAX_NODES = 2**27  # 512^3
CONTACTS = ("sticky", "slip", "separate")
WALLS = (*CONTACTS, "open")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """A regular grid of cubic cells over a box, with walls at its faces.

    lower, upper: (3,) corners, m; dx: edge of a cell, m; contact: the motion of material at the
    walls, which are 3 cells thick, "sticky" (no motion), "slip" (no normal motion) or "separate"
    (no motion into the wall), or "open" for a grid without walls; friction: Coulomb coefficient of
    the walls, >= 0. Walls act after colliders, so that no collider pushes material through a wall.
    Raises ValueError.
    """

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
    dx: float
    contact: str = "separate"
    friction: float = 0.0

    def __post_init__(self):
        lower, upper = finite_vector("lower", self.lower), finite_vector("upper", self.upper)
        expected = "a positive number of meters"
        dx = finite_number("dx", self.dx, expected, low=0, open_end=True)
        one_of("contact", self.contact, WALLS)
        friction = finite_number("friction", self.friction, "a number >= 0", low=0)
        set_fields(self, lower=lower, upper=upper, dx=dx, friction=friction)
        corners = zip(self.lower, self.upper, strict=True)
        widest = max(abs(high / 2 - low / 2) for low, high in corners)
        if not 2 * (widest / dx) < 2**28:  # halves, since differences may be too large for a float
            raise ValueError(
                f"dx: got {dx!r} m, too small for a grid of {2 * widest:g} m: use a larger dx"
            )
        if min(self.shape) < 2 * WALL_CELLS + 2:
            raise ValueError(
                f"grid: got {self.shape} nodes, expected at least {2 * WALL_CELLS + 2} along each "
                "axis, since walls are 3 cells thick: use a smaller dx or a larger box"
            )
        if math.prod(self.shape) > MAX_NODES:
            raise ValueError(
                f"grid: got {self.shape} nodes, expected at most 2^27 in all: use a larger dx"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """The number of nodes along x, y and z."""
        i, j, k = (
            math.ceil((high - low) / self.dx - 1e-6) + 1
            for low, high in zip(self.lower, self.upper, strict=True)
        )
        return i, j, k

    @property
    def room(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The corners lower and upper, (3,) m each, of the box between the walls."""
        pad = 0 if self.contact == "open" else WALL_CELLS * self.dx
        return tuple(low + pad for low in self.lower), tuple(high - pad for high in self.upper)

    @classmethod
    def around(cls, points: Any, *, dx: float, margin: float, contact: str = "separate") -> "Grid":
        """The smallest grid whose walls are at least a margin away from all points.

        points: (..., 3) m; dx: edge of a cell, m; margin: m; contact: as in `Grid`. Raises
        ValueError.
        """
        points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        pad = margin + WALL_CELLS * dx
        return cls(
            lower=tuple(points.min(axis=0) - pad),
            upper=tuple(points.max(axis=0) + pad),
            dx=dx,
            contact=contact,
        )
