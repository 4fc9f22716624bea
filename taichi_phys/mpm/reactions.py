"""Reactions: what colliders and walls take from the material, averaged over a frame.

The grid phase changes the velocity of a node at each surface that it touches, one after the other;
the momentum that the node loses there is given to the collider or wall. Kernels sum these impulses
in `numbers`, behind the settings: parts, which host code adds up in double precision, of a row for
each collider and each wall. A row has COLUMNS numbers; for rigid bodies that the material moves it
has COUPLED numbers, the last of which tell how the impulse depends on the velocity of the body.
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
# With a node's mass m, arm a, A = [1, -[a]], and m P what its impulse loses per velocity of the
# collider there, the sum of m A^T P A, a symmetric 6x6 matrix (kg, kg m, kg m^2): its upper left
# block (6 numbers), its upper right one (9) and its lower right one (6).
COUPLED = COLUMNS + 21
UPPER = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # the entries of a symmetric 3x3 matrix
WALLS = 6  # the rows behind the colliders: lower and upper x, y and z
# Sums in single precision lose digits with the number of terms, so that many parts are summed.
# Jobs of the CPU's threads, which run at the same time, have different parts.
PLACES = 512
COUPLED_PLACES = 16  # sums over one substep only


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reactions:
    """The mean force and torque on each collider and each wall of the grid during a frame.

    force: (k + 6, 3) N; torque: (k + 6, 3) N m about point: (k + 6, 3) m. Rows are the colliders,
    in the order given to MPM, and then the walls at lower x, upper x, lower y, upper y, lower z and
    upper z. The point of a collider is the middle of its shape (of a plane, its given point) in the
    middle of the frame, and of a rigid body its center of mass at the start of the frame; the point
    of the walls is the middle of the grid. All are float64 arrays.
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
    frame, s; motion: moves the rigid bodies among the colliders, if there are any.
    """

    def __init__(
        self,
        colliders: Sequence[Collider],
        grid: Grid,
        time: float,
        duration: float,
        motion: Any = None,
    ):
        middle = (np.add(grid.lower, grid.upper) / 2)[None]
        points = [_point(c, time, duration)[None] for c in colliders]
        self.points = np.concatenate([*points, np.repeat(middle, WALLS, axis=0)])
        self.sums = np.zeros((len(self.points), COLUMNS))
        self.duration, self.motion = duration, motion
        if motion is not None:
            self.points[motion.rows] = motion.x

    def add(self, tail: Any) -> None:
        """Add what kernels summed; tail: the numbers behind the settings."""
        self.sums += summed(tail, len(self.sums), COLUMNS)

    def add_rows(self, rows: np.ndarray, centers: np.ndarray) -> None:
        """Add impulses and moments (k + 6, 6), of the colliders about centers (k, 3) m."""
        self.sums += rows
        off = centers - self.points[: len(centers)]
        self.sums[: len(off), 3:] += np.cross(off, rows[: len(off), :3])

    def reactions(self) -> Reactions:
        """The reactions of the frame."""
        mean = self.sums / self.duration
        return Reactions(force=mean[:, :3], torque=mean[:, 3:], point=self.points)


def summed(tail: Any, rows: int, columns: int) -> np.ndarray:
    """The sums (rows, columns) over all parts of the numbers behind the settings, in f64."""
    return np.asarray(tail, dtype=np.float64).reshape(-1, rows, columns).sum(axis=0)


def tail_size(colliders: int, columns: int = COLUMNS) -> int:
    """The count of numbers behind the settings in which kernels sum up rows of some columns."""
    return (PLACES if columns == COLUMNS else COUPLED_PLACES) * (colliders + WALLS) * columns


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
def record(
    numbers: ti.template(), place, rows, row, impulse, arm, rate, n, across,
    columns: ti.template(),
):  # fmt: skip
    """Add an impulse, N s, with a lever arm, m, to a row of a part of the sums.

    place: any integer >= 0, that no thread uses at the same time; rows: count of rows; columns: of
    a row; rate and across: kg, what the impulse loses, per velocity of the collider, along the
    normal n and across it.
    """
    places = (numbers.shape[0] - NUMBERS_SIZE) // (rows * columns)
    first = NUMBERS_SIZE + (place % places * rows + row) * columns
    turn = arm.cross(impulse)
    for i in ti.static(range(3)):
        numbers[first + i] += impulse[i]
        numbers[first + 3 + i] += turn[i]
    if ti.static(columns == COUPLED):
        # rows of P, and of P [a] and -[a] P [a], whose columns are crossed with the arm
        P = (rate - across) * n.outer_product(n)
        for i in ti.static(range(3)):
            P[i, i] += across
        Q = ti.zero(P)
        for i in ti.static(range(3)):
            side = ti.Vector([P[i, 0], P[i, 1], P[i, 2]]).cross(arm)
            for j in ti.static(range(3)):
                Q[i, j] = -side[j]
        R = ti.zero(P)
        for j in ti.static(range(3)):
            side = arm.cross(ti.Vector([Q[0, j], Q[1, j], Q[2, j]]))
            for i in ti.static(range(3)):
                R[i, j] = side[i]
        for k in ti.static(range(6)):
            numbers[first + COLUMNS + k] += P[ti.static(UPPER[k][0]), ti.static(UPPER[k][1])]
            numbers[first + COLUMNS + 15 + k] += R[ti.static(UPPER[k][0]), ti.static(UPPER[k][1])]
        for i, j in ti.static(ti.ndrange(3, 3)):
            numbers[first + COLUMNS + 6 + 3 * i + j] += Q[i, j]


def stiffness(rows: np.ndarray) -> np.ndarray:
    """The 6x6 matrices (k, 6, 6) in rows (k, COUPLED) of the sums."""
    H = np.zeros((len(rows), 6, 6))
    for k, (i, j) in enumerate(UPPER):
        H[:, i, j] = H[:, j, i] = rows[:, COLUMNS + k]
        H[:, 3 + i, 3 + j] = H[:, 3 + j, 3 + i] = rows[:, COLUMNS + 15 + k]
    H[:, :3, 3:] = rows[:, COLUMNS + 6 : COLUMNS + 15].reshape(-1, 3, 3)
    H[:, 3:, :3] = H[:, :3, 3:].transpose(0, 2, 1)
    return H
