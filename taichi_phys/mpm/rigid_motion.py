"""The motion of rigid bodies that the material moves.

In each substep the velocities U' = (v, w) of a body and those of the nodes that it touches solve

    M (U' - U*) = J(U') + sum of the impulses at contacts with other solids,

where U* is the velocity after gravity and J(U') the momentum, and its moment, that the nodes give
to the body if it moves at U' (implicit Euler, so that a body may be much lighter than the material
around it). J is piecewise linear, and is solved for by Newton's method with the slopes that the
nodes sum up. Finally the momentum of the body changes by J exactly, so that none is lost if the
iteration ends early.
"""

from collections.abc import Callable, Sequence

import numpy as np

from taichi_phys.mpm.colliders import (
    CENTER,
    ROTATION,
    SPIN,
    TRANSLATION,
    VELOCITY,
    Collider,
)
from taichi_phys.mpm.grid import Grid
from taichi_phys.mpm.reactions import COLUMNS, stiffness
from taichi_phys.mpm.rigid_bodies import RigidBody, RigidState
from taichi_phys.mpm.rigid_contacts import Touching, resolve
from taichi_phys.rotations import rotation_matrix


TRIES = 12  # of the velocities of the bodies in a substep, at most
PRECISE = 1e-4  # of the change of velocity by gravity or in the last try: no further try is needed


class RigidMotion:
    """Moves the rigid bodies among k colliders, and holds their state.

    colliders: of MPM; grid: with its walls; state: of the bodies, at first.
    """

    def __init__(self, colliders: Sequence[Collider], grid: Grid, state: RigidState):
        found = [(i, c) for i, c in enumerate(colliders) if isinstance(c, RigidBody)]
        self.rows, bodies = [i for i, _ in found], [c for _, c in found]
        self.mass = np.array([b.mass for b in bodies])
        self.inertia = np.array([b.inertia for b in bodies])
        self.start = np.array([b.center for b in bodies])
        self.touching = Touching(colliders, grid)
        self.x, self.q, self.v, self.w = (np.array(a) for a in (state.x, state.q, state.v, state.w))
        self.last = np.zeros((len(bodies), COLUMNS))  # change of momentum in the last substep

    @property
    def state(self) -> RigidState:
        """The present state."""
        return RigidState(x=self.x, q=self.q, v=self.v, w=self.w)

    def substep(
        self,
        table: np.ndarray,
        gravity: Sequence[float],
        dt: float,
        settle: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """Move the bodies by dt s; return what the colliders and walls got, (k + 6, 6).

        table: (k, COLUMNS), rows of the other colliders in this substep, in f64, whose rows of the
        bodies are written; settle(table): the sums (k + 6, COUPLED) of the nodes.
        """
        R = rotation_matrix(self.q)
        inertia = R @ self.inertia @ R.transpose(0, 2, 1)
        M = np.zeros((len(R), 6, 6))
        M[:, [0, 1, 2], [0, 1, 2]] = self.mass[:, None]
        M[:, 3:, 3:] = inertia
        table[self.rows, ROTATION:TRANSLATION] = R.transpose(0, 2, 1).reshape(-1, 9)
        back = self.start - np.einsum("bji,bj->bi", R, self.x)
        table[self.rows, TRANSLATION:VELOCITY] = back
        table[self.rows, CENTER : CENTER + 3] = self.x
        pull = np.concatenate([dt * np.asarray(gravity), np.zeros(3)])
        free = np.concatenate([self.v, self.w], axis=1) + pull
        contacts = self.touching.find(table, self.x, free, dt)
        U, change = free + _solve(M, self.last), _solve(M, self.last)
        small = PRECISE * (np.abs(pull).max() + np.abs(change).max())
        for turn in range(TRIES):
            table[self.rows, VELOCITY:SPIN] = U[:, :3] - np.cross(U[:, 3:], self.x)
            table[self.rows, SPIN : SPIN + 3] = U[:, 3:]
            sums = settle(table)
            if not np.isfinite(sums).all():  # a particle broke: the frame will be rejected
                return np.zeros((len(sums), COLUMNS))
            J, slope = sums[self.rows, :COLUMNS], M + stiffness(sums[self.rows])
            wanted = U + _solve(slope, np.einsum("bij,bj->bi", M, free - U) + J)
            wanted, impulses = resolve(contacts, wanted, slope)
            given = J + impulses.on_bodies(len(U))
            end = free + _solve(M, given)
            if np.abs(end - U).max() <= small + PRECISE * np.abs(end - free).max():
                break
            # Where nodes begin and cease to touch in turns, the solution lies between both.
            U = wanted if turn < TRIES // 2 else 0.5 * (U + wanted)
        result = sums[:, :COLUMNS].copy()
        result[self.rows] = given
        impulses.give(result, table)
        self.last = given
        self._move(end, inertia, dt)
        return result

    def _move(self, end: np.ndarray, inertia: np.ndarray, dt: float) -> None:
        """Move by dt s from the velocities (b, 6), at constant angular momentum."""
        from scipy.spatial.transform import Rotation

        self.v, w = end[:, :3], end[:, 3:]
        self.x = self.x + dt * self.v
        momentum = np.einsum("bij,bj->bi", inertia, w)
        now = Rotation.from_quat(self.q[:, [1, 2, 3, 0]])

        def spin(turned: Rotation) -> np.ndarray:
            R = turned.as_matrix()
            return _solve(R @ self.inertia @ R.transpose(0, 2, 1), momentum)

        middle = spin(Rotation.from_rotvec(0.5 * dt * w) * now)
        after = Rotation.from_rotvec(dt * middle) * now
        self.q, self.w = after.as_quat()[:, [3, 0, 1, 2]], spin(after)


def _solve(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The solutions (b, n) of A (b, n, n) with right sides (b, n)."""
    return np.linalg.solve(A, b[..., None])[..., 0]
