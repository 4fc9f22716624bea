"""The effect of walls and colliders on grid velocities, and its adjoint.

The module has Taichi functions, generic in precision. Two arrays describe the colliders: a table
with a row for each collider and substep (taichi_phys.mpm.colliders.table), and the distances of all
meshes.
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
FAR = 1e30  # m, the distance outside the grid of a mesh


@ti.func
def row3(table: ti.template(), s, c, k):
    """The three columns from column k of a row of the table."""
    return ti.Vector([table[s, c, k], table[s, c, k + 1], table[s, c, k + 2]])


@ti.func
def sample_distance(sdf: ti.template(), offset, dims, X):
    """The distance at grid coordinates X by trilinear interpolation, and its gradient per cell."""
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
    """Signed distance, m, from collider c to a point x in substep s, and the outward unit normal.

    Where several points of the surface are equally near, the normal is that of one of these. The
    distance to a mesh is FAR outside its grid.
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
    """Velocity v after contact with a surface of unit normal n and velocity u.

    Coulomb friction: the tangential relative speed falls by at most friction times the change of
    the normal speed.
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
    """Gradient in v of collide, from the gradient gv in its result.

    When the material slides, with t = P (v - u), P = I - n n^T and k = friction |vn| / |t|, the
    result is v - vn n - k t, and dk = friction sign(vn) / |t| dvn - k / |t|^2 t . dt.
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
    """Contact k of a node at x: with collider k or, past the last collider, with a pair of walls.

    solids: whether there may be colliders; if not, their code is left out.

    Returns whether the node is in contact, and normal, velocity, contact and friction of the
    surface.
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
        row = ti.min(s, table.shape[0] - 1)  # a table with one row holds for all substeps
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
    """The number of contacts k for touch: the colliders and, near the walls, three pairs of walls.

    Walls come last. The friction of a collider depends on a speed that walls would take away, and
    no velocity that a collider sets may lead through a wall.
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
    """Velocity v of a node at x, m, after contact with all colliders and then with the walls."""
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
    """Gradient in v, the velocity before all contacts, from the gradient gv after all contacts.

    The contacts are taken in reverse. The velocity before a contact is not stored but computed
    again from the first contact on, since a node seldom has more than one.
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
