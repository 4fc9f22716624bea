"""The effect of walls and colliders on grid velocities, and its adjoint.

The module has Taichi functions, generic in precision; surface.py describes the arrays table and
sdf.
"""

from taichi_phys.language import ti
from taichi_phys.mpm.colliders import (
    ACTIVE,
    CELL,
    CENTER,
    CONTACT,
    FRICTION,
    SPIN,
    TOLERANCE,
    VELOCITY,
)
from taichi_phys.mpm.grid import WALL_CELLS, WALLS
from taichi_phys.mpm.reactions import COUPLED, record
from taichi_phys.mpm.reactions import WALLS as WALL_ROWS
from taichi_phys.mpm.steering import steer
from taichi_phys.mpm.surface import distance_normal, free_surface, row3


STICKY, SLIP, SEPARATE, OPEN = range(len(WALLS))


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
def normal_gradient(v, n, u, contact, friction, gv):
    """Gradient in n of collide, from the gradient gv in its result.

    With the terms of collide_adjoint, and w = v - u: dt = -(w . dn) n - vn dn and dvn = w . dn.
    """
    r, w = ti.zero(gv), v - u
    vn = w.dot(n)
    if contact != STICKY and (contact == SLIP or vn < 0):
        tangent = w - vn * n
        size, cut = tangent.norm(), friction * ti.abs(vn)
        if friction == 0 or size > cut:
            g = gv
            if friction > 0:
                t = tangent / size
                along = t.dot(gv)
                g += cut / size * (along * t - gv)
                r += ti.select(vn < 0, friction * along, -friction * along) * w
            r -= g.dot(n) * w + vn * g
    return r


@ti.func
def motion(table: ti.template(), row, c, x):
    """Velocity of collider c at x, the index of its contact, and its friction."""
    u = row3(table, row, c, VELOCITY) + row3(table, row, c, SPIN).cross(x)
    return u, ti.cast(table[row, c, CONTACT], ti.i32), table[row, c, FRICTION]


@ti.func
def touch(
    node, shape, x, wall_contact, wall_friction, table: ti.template(), s, sdf: ti.template(), k,
    solids: ti.template(),
):  # fmt: skip
    """Contact k of a node at x: with collider k or, past the last collider, with a pair of walls.

    solids: whether there may be colliders; if not, their code is left out.

    Returns the number of surfaces that the node is in contact with, 0, 1 or 2; normal, velocity,
    contact and friction of the first; and the normal of the second, and its collider.
    """
    hits, contact, friction = 0, wall_contact, wall_friction
    n, u = ti.zero(x), ti.zero(x)
    m, other = ti.zero(x), 0
    for d in ti.static(range(3)):
        if k == _colliders(table, solids) + d:
            if node[d] <= WALL_CELLS:
                hits = 1
                n[d] += 1.0
            elif node[d] >= shape[d] - 1 - WALL_CELLS:
                hits = 1
                n[d] -= 1.0
    if ti.static(solids):
        row = ti.min(s, table.shape[0] - 1)  # a table with one row holds for all substeps
        if k < table.shape[1] and table[row, k, ACTIVE] > 0:
            distance, normal = distance_normal(table, k, row, sdf, x)
            if distance < TOLERANCE * table[row, k, CELL]:
                hits, n = 1, normal
                u, contact, friction = motion(table, row, k, x)
                walled = wall_contact != OPEN
                if contact != STICKY and (table.shape[1] > 1 or walled):
                    # of a node: its cells to the walls on both sides
                    low, high = node - WALL_CELLS, shape - 1 - WALL_CELLS - node
                    room = ti.Matrix.cols([low + ti.zero(x), high + ti.zero(x)])
                    hits, n, m, other = free_surface(
                        table, k, row, sdf, x, distance, normal, room, walled
                    )
                    if hits == 0:  # as deep as no material should be
                        hits, contact = 1, STICKY
    return hits, n, u, contact, friction, m, other


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
    solids: ti.template(), columns: ti.template(), numbers: ti.template(), place, mass, dx,
):  # fmt: skip
    """Velocity v of a node at x, m, after contact with all colliders and then with the walls.

    columns: in how many columns of numbers is recorded what the node, of a mass in kg, gives to
    each of them (reactions.py), or 0; dx: m, edge of a cell.
    """
    r = v
    for k in range(contacts(node, shape, wall_contact, table, solids)):
        hits, n, u, contact, friction, m, other = touch(
            node, shape, x, wall_contact, wall_friction, table, s, sdf, k, solids
        )
        before = r
        if hits > 0:
            r = collide(r, n, u, contact, friction)
            if ti.static(columns > 0):
                give(
                    numbers, place, table, s, k, node, shape, x, n, before, r, u, mass, dx, solids,
                    columns,
                )  # fmt: skip
        if hits == 2:
            before = r
            r = collide_second(r, m, table, s, other, x, solids)
            if ti.static(columns > 0 and solids):
                row = ti.min(s, table.shape[0] - 1)
                u = row3(table, row, other, VELOCITY) + row3(table, row, other, SPIN).cross(x)
                give(
                    numbers, place, table, s, other, node, shape, x, m, before, r, u, mass, dx,
                    solids, columns,
                )  # fmt: skip
    return r


@ti.func
def give(
    numbers: ti.template(), place, table: ti.template(), s, k, node, shape, x, n, before, after, u,
    mass, dx, solids: ti.template(), columns: ti.template(),
):  # fmt: skip
    """Record what a node at x gives to contact k, whose normal n tells the two walls apart.

    before, after: velocities of the node; u: of the surface.
    """
    count = _colliders(table, solids)
    row, arm = k, dx * (node - 0.5 * (shape - 1))  # from the middle of the grid
    if k >= count:
        d = k - count
        row = count + 2 * d + ti.select(n[d] > 0, 0, 1)
    elif ti.static(solids):
        arm = x - row3(table, ti.min(s, table.shape[0] - 1), k, CENTER)
    lost = before - after
    rate, across = ti.zero(mass), ti.zero(mass)
    if ti.static(columns == COUPLED):
        vn, change = (before - u).dot(n), lost.dot(n)
        side, cut = (before - u - vn * n).norm(), (lost - change * n).norm()
        if ti.abs(vn) > 0:
            rate = mass * ti.min(1.0, ti.abs(change / vn))
        if side > 0:
            across = mass * ti.min(1.0, cut / side)
    record(numbers, place, count + WALL_ROWS, row, mass * lost, arm, rate, n, across, columns)


@ti.func
def collide_second(v, m, table: ti.template(), s, other, x, solids: ti.template()):
    """Velocity v after contact with collider other, whose surface has the normal m."""
    r = v
    if ti.static(solids):
        u, contact, friction = motion(table, ti.min(s, table.shape[0] - 1), other, x)
        r = collide(v, m, u, contact, friction)
    return r


@ti.func
def boundary_adjoint(
    node, shape, x, wall_contact, wall_friction, table: ti.template(), s, sdf: ti.template(), v, gv,
    solids: ti.template(), steered: ti.template(), numbers: ti.template(), place,
):  # fmt: skip
    """Gradient in v, the velocity before all contacts, from the gradient gv after all contacts.

    The contacts are taken in reverse. The velocity before a contact is not stored but computed
    again from the first contact on, since a node seldom has more than one. steered: whether the
    gradients in the poses of colliders are added to part place of numbers (steering.py).
    """
    r = gv
    count = contacts(node, shape, wall_contact, table, solids)
    for back in range(count):
        k = count - 1 - back
        before, n, u, m = v, ti.zero(v), ti.zero(v), ti.zero(v)
        hits, contact, friction, other = 0, wall_contact, wall_friction, 0
        for i in range(k + 1):
            if hits > 0:
                before = collide(before, n, u, contact, friction)
            if hits == 2:
                before = collide_second(before, m, table, s, other, x, solids)
            hits, n, u, contact, friction, m, other = touch(
                node, shape, x, wall_contact, wall_friction, table, s, sdf, i, solids
            )
        if ti.static(solids):
            if hits == 2:
                row = ti.min(s, table.shape[0] - 1)
                second_u, second_contact, second_friction = motion(table, row, other, x)
                between, after = collide(before, n, u, contact, friction), r
                r = collide_adjoint(between, m, second_u, second_contact, second_friction, r)
                if ti.static(steered):
                    gm = normal_gradient(
                        between, m, second_u, second_contact, second_friction, after
                    )
                    steer(numbers, place, table, sdf, s, other, x, m, after - r, gm)
        if hits > 0:
            after = r
            r = collide_adjoint(before, n, u, contact, friction, r)
            if ti.static(steered and solids):
                if k < table.shape[1]:
                    gn = normal_gradient(before, n, u, contact, friction, after)
                    steer(numbers, place, table, sdf, s, k, x, n, after - r, gn)
    return r
