"""Contacts of rigid bodies with other solids and the walls, so that they do not fall through.

Points of one solid are tested against the distance to the other one. The impulses at these contacts
are found one contact after the other, repeatedly (projected Gauss-Seidel), such that no two
surfaces pass each other within the substep; the tangential part is limited by Coulomb friction.
Bodies do not bounce.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from taichi_phys.mpm.colliders import (
    ACTIVE,
    CENTER,
    ROTATION,
    SPIN,
    TRANSLATION,
    VELOCITY,
    Collider,
    Plane,
)
from taichi_phys.mpm.grid import Grid
from taichi_phys.mpm.rigid_bodies import RigidBody, contact_points, normals, solids_of


MARGIN = 0.1  # cells: surfaces closer than this may touch within the substep
MOST = 4  # contacts of two solids: more would not hold a body better
SWEEPS = 30
PUSH = 0.1  # share of an overlap that is undone in a substep
SLOWEST = 10.0  # 1/s: an overlap of one cell is undone at most this fast


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Contact:
    """A point where body `one` touches another solid.

    one, other: indices of the bodies, other is -1 for a solid that is not moved by others; row: of
    this solid among the colliders and walls; point: (3,) m; normal: (3,) from the other solid to
    the body; arms: of the point about the centers of both bodies, m; drift: (3,) m/s, velocity of
    the other solid there, if it is no body; limit: least normal speed, m/s, of the body relative to
    the other solid; friction: Coulomb coefficient.
    """

    one: int
    other: int
    row: int
    point: np.ndarray
    normal: np.ndarray
    arms: tuple[np.ndarray, np.ndarray]
    drift: np.ndarray
    limit: float
    friction: float


class Touching:
    """Finds the contacts of the rigid bodies among colliders, and with the walls of a grid."""

    def __init__(self, colliders: Sequence[Collider], grid: Grid):
        self.solids, self.grid = solids_of(colliders), grid
        self.bodies = [i for i, c in enumerate(colliders) if isinstance(c, RigidBody)]
        self.points = [contact_points(solid) for solid in self.solids]
        self.middles, self.reach = [], []
        for solid in self.solids:
            outline = solid.outline()
            middle = outline.mean(axis=0)
            self.middles.append(middle)
            far = np.linalg.norm(outline - middle, axis=1).max()
            self.reach.append(math.inf if isinstance(solid, Plane) else float(far))
        friction = [math.inf if s.contact == "sticky" else s.friction for s in self.solids]
        self.friction = np.array(friction)

    def find(self, table: np.ndarray, x: np.ndarray, U: np.ndarray, dt: float) -> list[Contact]:
        """The contacts in a substep of dt s.

        table: (k, COLUMNS), with the poses of all colliders; x: (b, 3) m, centers of mass; U:
        (b, 6) velocities of the bodies.
        """
        found: list[Contact] = []
        for one, row in enumerate(self.bodies):
            speed = np.linalg.norm(U[one, :3]) + np.linalg.norm(U[one, 3:]) * self.reach[row]
            margin = MARGIN * self.grid.dx + 2 * dt * float(speed)
            for j in range(len(self.solids)):
                other = self.bodies.index(j) if j in self.bodies else -1
                if j == row or (0 <= other < one) or table[j, ACTIVE] == 0:
                    continue
                if self._apart(table, row, j, margin):
                    continue
                friction = float(max(self.friction[row], self.friction[j]))
                spots = list(self._spots(table, row, j, margin))
                found += [
                    self._contact(table, x, one, other, j, spot, friction, dt)
                    for spot in _fewer(spots)
                ]
            found += self._walls(table, x, one, row, margin, dt)
        return found

    def _place(self, table: np.ndarray, row: int, local: np.ndarray) -> np.ndarray:
        """Points (n, 3) of a collider's own frame in the world."""
        R = table[row, ROTATION:TRANSLATION].reshape(3, 3)
        return (local - table[row, TRANSLATION:VELOCITY]) @ R

    def _apart(self, table: np.ndarray, row: int, j: int, margin: float) -> bool:
        """Whether two colliders are too far apart to touch."""
        a = self._place(table, row, self.middles[row])
        if math.isinf(self.reach[j]):
            R = table[j, ROTATION:TRANSLATION].reshape(3, 3)
            local = R @ a + table[j, TRANSLATION:VELOCITY]
            return bool(self.solids[j].distance_at(local[None])[0] > self.reach[row] + margin)
        b = self._place(table, j, self.middles[j])
        return bool(np.linalg.norm(a - b) > self.reach[row] + self.reach[j] + margin)

    def _spots(
        self, table: np.ndarray, row: int, j: int, margin: float
    ) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
        """Gap, m, point (3,) m and normal (3,), from j to row, wherever the two are close."""
        for a, b, sign in ((row, j, 1.0), (j, row, -1.0)):
            local, radius = self.points[a]
            if not len(local):
                continue
            world = self._place(table, a, local)
            R = table[b, ROTATION:TRANSLATION].reshape(3, 3)
            inside = world @ R.T + table[b, TRANSLATION:VELOCITY]
            gaps = self.solids[b].distance_at(inside) - radius
            close = np.flatnonzero(gaps < margin)
            if not len(close):
                continue
            out = normals(self.solids[b], inside[close], 0.01 * self.grid.dx) @ R
            for k, n in zip(close, out, strict=True):
                if n.any():
                    yield float(gaps[k]), world[k] - radius * n, sign * n

    def _contact(self, table, x, one, other, row, spot, friction, dt) -> Contact:
        gap, point, normal = spot
        drift = table[row, VELOCITY:SPIN] + np.cross(table[row, SPIN : SPIN + 3], point)
        return Contact(
            one=one,
            other=other,
            row=row,
            point=point,
            normal=normal,
            arms=(point - x[one], point - x[other]),
            drift=np.zeros(3) if other >= 0 else drift,
            limit=self._limit(gap, dt),
            friction=friction,
        )

    def _limit(self, gap: float, dt: float) -> float:
        return -gap / dt if gap > 0 else min(-PUSH * gap / dt, SLOWEST * self.grid.dx)

    def _walls(self, table, x, one, row, margin, dt) -> list[Contact]:
        """The contacts of a body with the walls of the grid."""
        if self.grid.contact == "open":
            return []
        friction = math.inf if self.grid.contact == "sticky" else self.grid.friction
        friction = float(max(self.friction[row], friction))
        local, radius = self.points[row]
        world, found = self._place(table, row, local), []
        for side, edge in enumerate(self.grid.room):
            for axis in range(3):
                normal = np.zeros(3)
                normal[axis] = 1 - 2 * side
                gaps = (world[:, axis] - edge[axis]) * normal[axis] - radius
                close = np.flatnonzero(gaps < margin)
                spots = [(gaps[k], world[k] - radius * normal, normal) for k in close]
                for gap, point, _ in _fewer(spots):
                    found.append(
                        Contact(
                            one=one,
                            other=-1,
                            row=len(self.solids) + 2 * axis + side,
                            point=point,
                            normal=normal,
                            arms=(point - x[one], point - x[one]),
                            drift=np.zeros(3),
                            limit=self._limit(float(gap), dt),
                            friction=friction,
                        )
                    )
        return found


def _fewer(spots: list) -> list:
    """The deepest spot, and those farthest from each other."""
    if len(spots) <= MOST:
        return spots
    points = np.array([point for _, point, _ in spots])
    gaps = np.array([gap for gap, _, _ in spots])
    kept = [int(gaps.argmin())]
    apart = np.linalg.norm(points - points[kept[0]], axis=1)
    while len(kept) < MOST:
        kept.append(int(apart.argmax()))
        apart = np.minimum(apart, np.linalg.norm(points - points[kept[-1]], axis=1))
    return [spots[k] for k in kept]


@dataclasses.dataclass(frozen=True, eq=False)
class Impulses:
    """Impulses (n, 3) N s that n contacts give to their first bodies."""

    contacts: list[Contact]
    values: np.ndarray

    def on_bodies(self, count: int) -> np.ndarray:
        """(count, 6): the impulse on each body and its moment about the center of mass."""
        result = np.zeros((count, 6))
        for contact, p in zip(self.contacts, self.values, strict=True):
            result[contact.one] += _wrench(contact.arms[0], p)
            if contact.other >= 0:
                result[contact.other] -= _wrench(contact.arms[1], p)
        return result

    def give(self, result: np.ndarray, table: np.ndarray) -> None:
        """Add to the rows of `result` what other colliders and walls get."""
        for contact, p in zip(self.contacts, self.values, strict=True):
            if contact.other < 0:
                center = table[contact.row, CENTER : CENTER + 3] if contact.row < len(table) else 0
                result[contact.row] -= _wrench(contact.point - center, p)


def resolve(
    contacts: list[Contact], U: np.ndarray, slope: np.ndarray
) -> tuple[np.ndarray, Impulses]:
    """The velocities (b, 6) of bodies after the impulses at their contacts, and these impulses.

    U: (b, 6) without contacts; slope: (b, 6, 6) kg, kg m and kg m^2, what resists a change of U.
    """
    values = np.zeros((len(contacts), 3))
    if not contacts:
        return U, Impulses(contacts, values)
    U, inverse = U.copy(), np.linalg.inv(slope)
    arms = [(_arm(c.arms[0]), _arm(c.arms[1])) for c in contacts]
    shares = []  # how the impulse changes the velocity at the point
    for c, (A, B) in zip(contacts, arms, strict=True):
        K = A @ inverse[c.one] @ A.T
        shares.append(K if c.other < 0 else K + B @ inverse[c.other] @ B.T)
    for _ in range(SWEEPS):
        largest = 0.0
        for k, c in enumerate(contacts):
            A, B = arms[k]
            u = A @ U[c.one] - (c.drift if c.other < 0 else B @ U[c.other])
            n, before = c.normal, values[k]
            along = before @ n
            normal = max(0.0, along + (c.limit - u @ n) / (n @ shares[k] @ n))
            side = before - along * n
            if normal == 0 or c.friction == 0:
                side = np.zeros(3)
            else:
                slide = u - (u @ n) * n
                side = side - slide / max(np.trace(shares[k]) / 2, 1e-300)
                size = np.linalg.norm(side)
                if size > c.friction * normal:
                    side = side * (c.friction * normal / size)
            step = normal * n + side - before
            values[k] = before + step
            U[c.one] += inverse[c.one] @ A.T @ step
            if c.other >= 0:
                U[c.other] -= inverse[c.other] @ B.T @ step
            largest = max(largest, np.abs(step).max())
        if largest <= 1e-6 * np.abs(values).max():
            break
    return U, Impulses(contacts, values)


def _arm(r: np.ndarray) -> np.ndarray:
    """(3, 6): the velocity at an arm r from the center, of the velocities (6,) of a body."""
    x, y, z = r
    return np.array([[1, 0, 0, 0, z, -y], [0, 1, 0, -z, 0, x], [0, 0, 1, y, -x, 0]])


def _wrench(arm: np.ndarray, p: np.ndarray) -> np.ndarray:
    return np.concatenate([p, np.cross(arm, p)])
