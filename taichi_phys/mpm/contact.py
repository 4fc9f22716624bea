"""What happens to grid velocities at walls and colliders, and its adjoint.

Taichi functions, generic in precision. Colliders come as a table of numbers, one row for each
collider and substep (taichi_phys.mpm.colliders.table), and the distances of all meshes.
"""

import taichi as ti

from taichi_phys.mpm.colliders import (
    ACTIVE,
    BOX,
    CAPSULE,
    CONTACT,
    FRICTION,
    KIND,
    MESH,
    PLANE,
    ROTATION,
    SHAPE,
    SPIN,
    TOLERANCE,
    TRANSLATION,
    VELOCITY,
)
from taichi_phys.mpm.grid import WALL_CELLS, WALLS


STICKY, SLIP, SEPARATE, OPEN = range(len(WALLS))
FAR = 1e30  # m, distance where a mesh has no samples


@ti.func
def row3(table: ti.template(), s, c, k):
    """Three columns of a row of the table, from k."""
    return ti.Vector([table[s, c, k], table[s, c, k + 1], table[s, c, k + 2]])


@ti.func
def sample_distance(sdf: ti.template(), offset, dims, X):
    """Trilinear interpolant of distances at grid coordinates X, and its gradient per cell."""
    base = ti.max(0, ti.min(ti.floor(X, ti.i32), dims - 2))
    f = X - base
    d, gradient = ti.zero(X[0]), ti.zero(X)
    for corner in range(8):
        bit = ti.Vector([corner // 4, corner // 2 % 2, corner % 2])
        node = base + bit
        value = sdf[offset + (node[0] * dims[1] + node[1]) * dims[2] + node[2]]
        w = 1 - bit + (2 * bit - 1) * f
        d += w[0] * w[1] * w[2] * value
        side = (2 * bit - 1) * value
        gradient += side * ti.Vector([w[1] * w[2], w[0] * w[2], w[0] * w[1]])
    return d, gradient


@ti.func
def distance_normal(table: ti.template(), c, s, sdf: ti.template(), x):
    """Signed distance, m, of a point x to collider c in substep s, and the unit outward normal.

    Where several points of the surface are equally near, one of their normals. Outside the
    samples of a mesh: far away.
    """
    p = row3(table, s, c, TRANSLATION)
    for i in ti.static(range(3)):
        p[i] += row3(table, s, c, ROTATION + 3 * i).dot(x)
    kind = ti.cast(table[s, c, KIND], ti.i32)
    a, b = row3(table, s, c, SHAPE), row3(table, s, c, SHAPE + 3)
    d, n = ti.zero(p[0]), ti.zero(p)
    if kind == PLANE:
        d, n = (p - a).dot(b), b
    elif kind == BOX:
        q = ti.abs(p - a) - b
        out = ti.max(q, 0.0)
        d = out.norm()
        if d > 0:
            n = out / d
        else:
            d = q.max()
            if q[0] == d:
                n[0] += 1.0
            elif q[1] == d:
                n[1] += 1.0
            else:
                n[2] += 1.0
        for i in ti.static(range(3)):
            if p[i] < a[i]:
                n[i] = -n[i]
    elif kind == CAPSULE:  # b: from start to end; zero for a sphere
        length = b.dot(b)
        r = p - a
        if length > 0:
            r -= ti.max(0.0, ti.min(1.0, r.dot(b) / length)) * b
        size = r.norm()
        d = size - table[s, c, SHAPE + 6]
        n = row3(table, s, c, SHAPE + 7)  # on the axis: a direction across it
        if size > 0:
            n = r / size
    elif kind == MESH:  # a: offset, spacing, 0; b: number of nodes
        X = (p - row3(table, s, c, SHAPE + 6)) / a[1]
        dims = ti.cast(b, ti.i32)
        d += FAR
        n[2] += 1.0
        if X.min() >= 0 and (b - 1 - X).min() >= 0:
            distance, gradient = sample_distance(sdf, ti.cast(a[0], ti.i32), dims, X)
            d = distance
            if gradient.norm() > 0:
                n = gradient / gradient.norm()
    world = ti.zero(p)
    for i in ti.static(range(3)):
        world += n[i] * row3(table, s, c, ROTATION + 3 * i)
    return d, world


@ti.func
def collide(v, n, u, contact, friction):
    """Velocity v after contact with a surface of unit normal n that moves with u.

    Coulomb: tangential relative speed falls by at most friction times the change of normal speed.
    """
    r = v
    vn = (v - u).dot(n)
    if contact == STICKY:
        r = u
    elif contact == SLIP or vn < 0:
        r = v - vn * n
        if friction > 0:
            tangent = r - u
            size, cut = tangent.norm(), friction * ti.abs(vn)
            if size <= cut:
                r = u
            else:
                r -= cut / size * tangent
    return r


@ti.func
def collide_adjoint(v, n, u, contact, friction, gv):
    """Gradient in v of collide, from the gradient gv of its result.

    Sliding, with t = P (v - u), P = I - n n^T and k = friction |vn| / |t|: the result is
    v - vn n - k t, and dk = friction sign(vn) / |t| dvn - k / |t|^2 t . dt.
    """
    r = gv
    vn = (v - u).dot(n)
    if contact == STICKY:
        r = ti.zero(gv)
    elif contact == SLIP or vn < 0:
        r = gv - gv.dot(n) * n
        if friction > 0:
            tangent = v - u - vn * n
            size, cut = tangent.norm(), friction * ti.abs(vn)
            if size <= cut:
                r = ti.zero(gv)
            else:
                t = tangent / size
                along = t.dot(gv)
                r += cut / size * (along * t - r)
                slope = friction * along
                r -= ti.select(vn < 0, -slope, slope) * n
    return r


@ti.func
def touch(
    node, shape, x, wall_contact, wall_friction, table: ti.template(), s, sdf: ti.template(), k,
    solids: ti.template(),
):  # fmt: skip
    """Contact k of a node at x: a collider, or, past the last, the walls across an axis.

    solids: whether there may be colliders; without, their code is left out.

    Returns whether they touch, the normal, the surface's velocity, contact and friction.
    """
    hit, contact, friction = 0, wall_contact, wall_friction
    n, u = ti.zero(x), ti.zero(x)
    for d in ti.static(range(3)):
        if k == _colliders(table, solids) + d:
            if node[d] <= WALL_CELLS:
                hit = 1
                n[d] += 1.0
            elif node[d] >= shape[d] - 1 - WALL_CELLS:
                hit = 1
                n[d] -= 1.0
    if ti.static(solids):
        row = ti.min(s, table.shape[0] - 1)  # one row: nothing moves
        if k < table.shape[1] and table[row, k, ACTIVE] > 0:
            distance, normal = distance_normal(table, k, row, sdf, x)
            if distance < table[row, k, TOLERANCE]:
                hit = 1
                n = normal
                u = row3(table, row, k, VELOCITY) + row3(table, row, k, SPIN).cross(x)
                contact = ti.cast(table[row, k, CONTACT], ti.i32)
                friction = table[row, k, FRICTION]
    return hit, n, u, contact, friction


@ti.func
def _colliders(table: ti.template(), solids: ti.template()):
    count = 0
    if ti.static(solids):
        count = table.shape[1]
    return count


@ti.func
def contacts(node, shape, wall_contact, table: ti.template(), solids: ti.template()):
    """How many of touch's k there are: colliders, and near walls those.

    Walls come last: what a collider's friction needs is the speed that they would take away, and
    whatever colliders do, nothing passes a wall.
    """
    count = _colliders(table, solids)
    if wall_contact != OPEN:
        if (node <= WALL_CELLS).any() or (node >= shape - 1 - WALL_CELLS).any():
            count += 3
    return count


@ti.func
def boundary_velocity(
    node, shape, x, wall_contact, wall_friction, table: ti.template(), s, sdf: ti.template(), v,
    solids: ti.template(),
):  # fmt: skip
    """Velocity v of a node at x, m, after contact with each collider and then with the walls."""
    r = v
    for k in range(contacts(node, shape, wall_contact, table, solids)):
        hit, n, u, contact, friction = touch(
            node, shape, x, wall_contact, wall_friction, table, s, sdf, k, solids
        )
        if hit:
            r = collide(r, n, u, contact, friction)
    return r


@ti.func
def boundary_adjoint(
    node, shape, x, wall_contact, wall_friction, table: ti.template(), s, sdf: ti.template(), v, gv,
    solids: ti.template(),
):  # fmt: skip
    """Gradient in v, the velocity before all contacts, from the gradient gv after them.

    Contacts in reverse; a node seldom has more than one, so the velocity before each is computed
    again from the first on rather than stored.
    """
    r = gv
    count = contacts(node, shape, wall_contact, table, solids)
    for back in range(count):
        k = count - 1 - back
        hit, n, u, contact, friction = touch(
            node, shape, x, wall_contact, wall_friction, table, s, sdf, k, solids
        )
        if hit:
            before = v
            for i in range(k):
                hit_i, n_i, u_i, contact_i, friction_i = touch(
                    node, shape, x, wall_contact, wall_friction, table, s, sdf, i, solids
                )
                if hit_i:
                    before = collide(before, n_i, u_i, contact_i, friction_i)
            r = collide_adjoint(before, n, u, contact, friction, r)
    return r
