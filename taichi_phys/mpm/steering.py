"""Gradients in the poses of driven colliders.

A collider acts on a node through its velocity u there and through the normal n of its surface. Its
motion in a substep has the gradients

    of the velocity at the origin  sum gu,  of the spin  sum x x gu,

and a shift and a turn of the shape, which change n(x) by turn x n - H (turn x x + shift) with the
slopes H of n, the gradients  gshift = sum -H^T gn  and  gturn = sum n x gn + x x gshift.  Kernels
sum these COLUMNS numbers in `numbers`, behind the settings, for every substep, part and collider.
Which nodes lie within a collider has no gradient.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from taichi_phys.language import ti
from taichi_phys.mpm.colliders import (
    ACTIVE,
    CAPSULE,
    KIND,
    MESH,
    ROTATION,
    SHAPE,
    TRANSLATION,
    Collider,
)
from taichi_phys.mpm.layout import NUMBERS_SIZE
from taichi_phys.mpm.poses import is_steered, steered_twists
from taichi_phys.mpm.surface import row3


COLUMNS = 12  # gradients in velocity, spin, shift and turn
# Jobs of the CPU's threads, which run at the same time, have different parts.
PARTS = 16
POSE = 18  # numbers of a pose in a row of the table: rotation, translation, velocity and spin


def tail_size(substeps: int, colliders: int) -> int:
    """The count of numbers behind the settings in which kernels sum up the gradients."""
    return substeps * PARTS * colliders * COLUMNS


def has_steered(colliders: Sequence[Collider]) -> bool:
    """Whether the pose of a collider depends on tensors with requires_grad."""
    starts = [(c.pose, 0.0 if c.during is None else c.during[0]) for c in colliders]
    return any(pose is not None and is_steered(pose, start) for pose, start in starts)


def steered_poses(
    colliders: Sequence[Collider], time: float, dt: float, count: int
) -> torch.Tensor | None:
    """The poses (count, k, 18) in the table, with gradients; None if no pose has any.

    time: s, start of the first of count substeps of dt s.
    """
    times = time + dt * np.arange(count)
    parts = [torch.zeros(count, POSE, dtype=torch.float64)] * len(colliders)
    found = False
    for i, collider in enumerate(colliders):
        acting = np.arange(count)
        if collider.during is not None:
            middle = times + 0.5 * dt
            acting = np.flatnonzero((collider.during[0] <= middle) & (middle < collider.during[1]))
        if collider.pose is None or not len(acting):
            continue
        if not is_steered(collider.pose, float(times[acting[0]])):
            continue
        found = True
        rows = steered_twists(collider.pose, times[acting], dt)
        parts[i] = parts[i].index_put((torch.from_numpy(acting),), rows)
    return torch.stack(parts, dim=1) if found else None


def pose_gradients(tail: Any, table: np.ndarray, substeps: int, origin: np.ndarray) -> torch.Tensor:
    """The gradients (substeps, k, 18), f64, in the poses of the table.

    tail: what kernels summed; table: (substeps, k, columns), absolute; origin: (3,) m, of the
    positions in kernels.
    """
    sums = np.asarray(tail, dtype=np.float64).reshape(substeps, PARTS, -1, COLUMNS).sum(axis=1)
    gv, gspin, gshift, gturn = np.split(sums, 4, axis=-1)
    gspin = gspin + np.cross(origin, gv)
    gturn = gturn + np.cross(origin, gshift)
    R = table[..., ROTATION:TRANSLATION].reshape(*table.shape[:2], 3, 3)
    # A shift of the shape changes R x + T by -R shift, and a small turn by -R (turn x x). Of the
    # gradients in the nine numbers of R, only the part along turns counts.
    cross = np.cross(gturn[..., None, :], np.eye(3))  # row j: gturn x e_j
    gR = 0.5 * R @ cross
    gT = -np.einsum("skij,skj->ski", R, gshift)
    return torch.from_numpy(np.concatenate([gR.reshape(*gR.shape[:2], 9), gT, gv, gspin], axis=-1))


@ti.func
def bend(table: ti.template(), c, s, sdf: ti.template(), x, n, gn):
    """H^T gn, with the slopes H of the normal n of collider c at x."""
    kind = ti.cast(table[s, c, KIND], ti.i32)
    p, local = row3(table, s, c, TRANSLATION), ti.zero(x)
    for i in ti.static(range(3)):
        row = row3(table, s, c, ROTATION + 3 * i)
        p[i] += row.dot(x)
        local[i] = row.dot(gn - gn.dot(n) * n)
    r, result = ti.zero(x), ti.zero(x)
    if kind == CAPSULE:
        along = row3(table, s, c, SHAPE + 3)
        length = along.dot(along)
        r = p - row3(table, s, c, SHAPE)
        if length > 0:
            share = r.dot(along) / length
            r -= ti.max(0.0, ti.min(1.0, share)) * along
            if 0 < share < 1:
                local -= local.dot(along) / length * along
        if r.norm() > 0:
            result = local / r.norm()
    elif kind == MESH:
        spacing, shape = table[s, c, SHAPE + 1], row3(table, s, c, SHAPE + 3)
        X = (p - row3(table, s, c, SHAPE + 6)) / spacing
        if X.min() >= 0 and (shape - 1 - X).min() >= 0:
            dims, offset = ti.cast(shape, ti.i32), ti.cast(table[s, c, SHAPE], ti.i32)
            base = ti.max(0, ti.min(ti.floor(X, ti.i32), dims - 2))
            f = X - base
            slope, mixed = ti.zero(x), ti.zero(x)  # mixed: second slopes in yz, xz and xy
            for corner in range(8):
                bit = ti.Vector([corner // 4, corner // 2 % 2, corner % 2])
                node = base + bit
                value = sdf[offset + (node[0] * dims[1] + node[1]) * dims[2] + node[2]]
                side, w = 2 * bit - 1, 1 - bit + (2 * bit - 1) * f
                slope += value * side * ti.Vector([w[1] * w[2], w[0] * w[2], w[0] * w[1]])
                pairs = ti.Vector([side[1] * side[2], side[0] * side[2], side[0] * side[1]])
                mixed += value * pairs * w
            if slope.norm() > 0:
                bent = ti.Vector(
                    [
                        mixed[2] * local[1] + mixed[1] * local[2],
                        mixed[2] * local[0] + mixed[0] * local[2],
                        mixed[1] * local[0] + mixed[0] * local[1],
                    ]
                )
                result = bent / (spacing * slope.norm())
    world = ti.zero(x)
    for i in ti.static(range(3)):
        world += result[i] * row3(table, s, c, ROTATION + 3 * i)
    return world


@ti.func
def steer(
    numbers: ti.template(), place, table: ti.template(), sdf: ti.template(), s, c, x, n, gu, gn
):  # fmt: skip
    """Add what collider c gets, in substep s, from the gradients in its velocity u and normal n.

    place: any integer >= 0, that no thread uses at the same time.
    """
    row = ti.min(s, table.shape[0] - 1)
    if table[row, c, ACTIVE] > 0:
        first = ((s * PARTS + place % PARTS) * table.shape[1] + c) * COLUMNS + NUMBERS_SIZE
        gshift = -bend(table, c, row, sdf, x, n, gn)
        spin, turn = x.cross(gu), n.cross(gn) + x.cross(gshift)
        for i in ti.static(range(3)):
            numbers[first + i] += gu[i]
            numbers[first + 3 + i] += spin[i]
            numbers[first + 6 + i] += gshift[i]
            numbers[first + 9 + i] += turn[i]
