"""Reactions: what colliders and walls take from the material, averaged over a frame.

The grid phase changes the velocity of a node at each surface that it touches, one after the other;
the momentum that the node loses there is given to the collider or wall. Kernels sum these impulses
in `numbers`, behind the settings: PLACES parts, which host code adds up in double precision, of a
row for each collider and each wall, of COLUMNS numbers.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from taichi_phys.checks import finite_vector
from taichi_phys.language import ti
from taichi_phys.mpm.colliders import Collider
from taichi_phys.mpm.grid import Grid
from taichi_phys.mpm.layout import NUMBERS_SIZE
from taichi_phys.mpm.poses import places_of


COLUMNS = 6  # impulse (3) N s, and its moment (3) N m s about the point of the collider or wall
WALLS = 6  # the rows behind the colliders: lower and upper x, y and z
# Sums in single precision lose digits with the number of terms, so that many parts are summed.
# Jobs of the CPU's threads, which run at the same time, have different parts.
PLACES = 512


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reactions:
    """The mean force and torque on each collider and each wall of the grid during a frame.

    force: (k + 6, 3) N; torque: (k + 6, 3) N m about point: (k + 6, 3) m. Rows are the colliders,
    in the order given to MPM, and then the walls at lower x, upper x, lower y, upper y, lower z and
    upper z. The point of a collider is the middle of its shape (of a plane, its given point) in the
    middle of the frame; the point of the walls is the middle of the grid. All are float64 arrays.
    """

    force: np.ndarray
    torque: np.ndarray
    point: np.ndarray

    @property
    def walls(self) -> np.ndarray:
        """(6, 3) N: the forces on the walls alone, in the order of the rows."""
        return self.force[-WALLS:]

    def about(self, point: Sequence[float] | np.ndarray) -> "Reactions":
        """The same forces with their torques about another point (3,) m. Raises ValueError."""
        other = np.broadcast_to(finite_vector("point", point), self.point.shape)
        moved = self.torque + np.cross(self.point - other, self.force)
        return dataclasses.replace(self, torque=moved, point=other.copy())


class Tally:
    """Adds up the impulses of one frame.

    colliders: k colliders; grid: with the walls; time: start of the frame, s; duration: of the
    frame, s.
    """

    def __init__(self, colliders: Sequence[Collider], grid: Grid, time: float, duration: float):
        middle = (np.add(grid.lower, grid.upper) / 2)[None]
        points = [_point(c, time, duration)[None] for c in colliders]
        self.points = np.concatenate([*points, np.repeat(middle, WALLS, axis=0)])
        self.sums = np.zeros((len(self.points), COLUMNS))
        self.duration = duration

    def add(self, tail: Any) -> None:
        """Add what kernels summed; tail: the numbers behind the settings."""
        parts = np.asarray(tail, dtype=np.float64).reshape(-1, *self.sums.shape)
        self.sums += parts.sum(axis=0)

    def reactions(self) -> Reactions:
        """The reactions of the frame."""
        mean = self.sums / self.duration
        return Reactions(force=mean[:, :3], torque=mean[:, 3:], point=self.points)


def tail_size(colliders: int) -> int:
    """The count of numbers behind the settings in which kernels sum up impulses."""
    return PLACES * (colliders + WALLS) * COLUMNS


def _point(collider: Collider, time: float, duration: float) -> np.ndarray:
    """The point (3,) m about which the torque on a collider is taken in a frame."""
    middle = collider.outline().mean(axis=0)
    start, end = collider.during or (time, time + duration)
    if collider.pose is None or not (start < time + duration and time < end):
        return middle  # a pose need not exist when the collider does not act
    now = np.clip(time + 0.5 * duration, start, end)
    R, T = places_of(collider.pose, np.array([now]))
    return R[0] @ middle + T[0]


@ti.func
def record(numbers: ti.template(), place, rows, row, impulse, arm):
    """Add an impulse, N s, with a lever arm, m, to a row of a part of the sums.

    place: any integer >= 0, that no thread uses at the same time; rows: count of rows.
    """
    first = NUMBERS_SIZE + (place % PLACES * rows + row) * COLUMNS
    turn = arm.cross(impulse)
    for i in ti.static(range(3)):
        numbers[first + i] += impulse[i]
        numbers[first + 3 + i] += turn[i]
