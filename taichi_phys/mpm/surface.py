"""Where the surface of the colliders is: distances, normals, and what other solids cover.

Colliders that touch or overlap are one solid. A face that lies within another collider, or that
stands on a wall of the grid, is no surface of this solid, and material is not pushed out there.

The module has Taichi functions, generic in precision. Two arrays describe the colliders: a table
with a row for each collider and substep (taichi_phys.mpm.colliders.table), and the distances of all
meshes.
"""

from taichi_phys.language import ti
from taichi_phys.mpm.colliders import (
    ACTIVE,
    BOX,
    CAPSULE,
    CELL,
    KIND,
    MESH,
    PLANE,
    ROTATION,
    SHAPE,
    TRANSLATION,
)


FAR = 1e30  # m, the distance outside the grid of a mesh
NOTHING, WALL = -1, -2  # what covers a point of a surface, if no collider does
# In cells: how far before a surface the solid that may cover it is looked for; solids that are less
# than half of this apart touch.
GAP = 0.1
REACH = 1.5  # cells: the particles that a node feels are no farther away along an axis


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
def distance_to(table: ti.template(), c, s, sdf: ti.template(), x):
    """The distance of `distance_normal` alone; the compiler leaves out what makes the normal."""
    d, _ = distance_normal(table, c, s, sdf, x)
    return d


@ti.func
def exit_face(table: ti.template(), c, s, x, i):
    """The way out of collider c from a point x inside through its face i of 6: length, m, normal.

    The way is FAR through the surface of shapes other than boxes.
    """
    t, n = FAR + ti.zero(x[0]), ti.zero(x)
    if ti.cast(table[s, c, KIND], ti.i32) == BOX:
        axis, side = i // 2, 2 * (i % 2) - 1
        row = row3(table, s, c, ROTATION + 3 * axis)
        p = row.dot(x) + table[s, c, TRANSLATION + axis] - table[s, c, SHAPE + axis]
        t, n = table[s, c, SHAPE + 3 + axis] - side * p, side * row
    return t, n


@ti.func
def cover(table: ti.template(), c, s, sdf: ti.template(), y, n, room, walled):
    """The collider that covers the surface of collider c at y, m, or WALL.

    n: to the outside, the normal of the surface or, at an edge, the sum of both normals; room: y in
    cells from the walls of the grid on the lower and the upper side, columns 0 and 1; walled:
    whether the grid has walls. Returns NOTHING where the surface is free.
    """
    gap = GAP * table[s, c, CELL]
    found, nearest = NOTHING, -0.5 * gap
    for j in range(table.shape[1]):
        if j != c and table[s, j, ACTIVE] > 0:
            d = distance_to(table, j, s, sdf, y + gap * n)
            if d < nearest:
                found, nearest = j, d
    if walled:
        for d in ti.static(range(3)):
            low, high = room[d, 0] + GAP * n[d], room[d, 1] - GAP * n[d]
            if (n[d] < -0.5 and low < -0.5 * GAP) or (n[d] > 0.5 and high < -0.5 * GAP):
                found = WALL
    return found


@ti.func
def free_surface(
    table: ti.template(), c, s, sdf: ti.template(), x, distance, normal, room, walled
):  # fmt: skip
    """The surface of the solid that all colliders make together, near a node x in collider c.

    distance, normal: from `distance_normal` for c; room, walled: of x, as in `cover`. Returns how
    many normals the surface has, and two of them, of collider c and of collider `other`: 1, if the
    nearest free surface is a face of c; 2, if it is an edge in which c meets another collider; and
    0, if no particle at a free surface can reach the node, or if it may lie on either side of a
    thin solid. The search is along the normals of the faces of c and then of a box that covers
    them: exact for boxes at right angles.
    """
    cell = table[s, c, CELL]
    gap = GAP * cell
    # A start a little within c: what lies on two flush faces would not be covered by either.
    start, nearest, first_face = x, -distance, 0
    for i in range(6):
        t, way = exit_face(table, c, s, x, i)
        if t < gap:
            start -= (gap - t) * way
        if i == 0 or t < nearest:
            nearest, first_face = t, i
    if nearest == FAR:
        nearest = -distance
    one, hits, n, m, other = 0, 0, normal, normal, c
    single, best_single, best = normal, ti.max(REACH * cell, nearest) + gap, 2 * REACH * cell
    # the way through face i of c, and whether it ends in collider j; then through face k of j
    i, j, free = 0, NOTHING, 0
    y, first, length, away = start, normal, ti.zero(cell), room
    # One loop for both steps, which halves the time to compile.
    for turn in range(42):
        k = turn % 7 - 1
        if k < 0:
            i, j = (first_face + turn // 7) % 6, NOTHING
        if free == 0 and (k < 0 or j >= 0):
            source, begin, face = c, start, i
            if k >= 0:
                source, begin, face = j, y, k
            t, way = exit_face(table, source, s, begin, face)
            if k < 0 and i == 0 and t == FAR:  # no box: the nearest point is all that is known
                t, way = -distance, normal
            step = ti.max(t, 0.0)
            total = ti.sqrt(length**2 + step**2)
            if (k < 0 and step < best_single) or (
                k >= 0 and t < REACH * cell + gap and total < best and way.dot(first) > -0.5
            ):
                shift = t / cell * way
                left = ti.Matrix.cols([shift, -shift])
                outwards = way
                if k < 0:
                    left += room
                else:
                    left += away
                    outwards += first
                end = begin + t * way
                found = cover(table, source, s, sdf, end, outwards, left, walled)
                if found == NOTHING:
                    if k < 0:
                        one, single, best_single = 1, way, step
                        free = ti.cast(turn == 0, ti.i32)
                    else:
                        hits, n, m, other, best = 2, first, way, j, total
                elif k < 0 and t < REACH * cell + gap:
                    j, y, first, length, away = found, end, way, step, left
    if one == 1:
        opposed = single.dot(n) < -0.5 or single.dot(m) < -0.5
        if hits == 2 and opposed and free == 0:
            hits = 0
        elif hits == 0 or best_single < best:
            hits, n = 1, single
    return hits, n, m, other
