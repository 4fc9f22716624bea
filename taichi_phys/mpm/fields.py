"""The grid where each body has a velocity field of its own, contact of the bodies, and its adjoint.

Particles of field f scatter to layers of their own (nodes.chunk_layer), so that bodies do not feel
each other through the grid. Where blocks are reached by more than one field, particles scatter
their surfaces too (faces.py).

At a node with the bodies a and b, the unit normal n (from a to b, exactly opposite for the two) is
that on which both agree best: n = q / |q|, q = m_a - m_b, see faces.py. A flat face at a distance d
from the node, in cells, fills the share B(d) of the node's cell, B the integral of the B-spline,
whose inverse gives back d. So d_a + d_b is the gap between the bodies. They touch if the gap is
closed and they approach. Then an impulse takes away the approach, and Coulomb friction what it can
of the sliding (Bardenhagen et al. 2000; for the gap compare Nairn et al. 2020). The impulses of a
pair are opposite, so that momentum is conserved; more than two bodies are taken pair by pair.
"""

from taichi_phys.language import ti
from taichi_phys.mpm.contact import boundary_adjoint, boundary_velocity
from taichi_phys.mpm.faces import mean_normal, mean_normal_adjoint, sum_slopes, sum_slopes_adjoint
from taichi_phys.mpm.meeting import depth, meet, meet_adjoint
from taichi_phys.mpm.nodes import (
    BACKWARD,
    BLOCK,
    FIELD_BITS,
    IS_LISTED,
    LIST,
    LISTED,
    MARKS,
    OTHER,
    REACHED,
    SLOPES,
    SURFACE,
    TURN,
    VELOCITY,
    block_corner,
    chunk_layer,
    count_fields,
    field_layer,
    take,
)
from taichi_phys.mpm.reactions import COLUMNS, COUPLED, PLACES
from taichi_phys.mpm.transfer import node_index


FIELD_MASK = (1 << FIELD_BITS) - 1
# Stages of the grid phase. Each needs what the one before has written at the nodes around.
SUM, MEET, TURN_BACK = range(3)


def stages(what: str) -> tuple[int, ...]:
    """The stages of a grid phase; what: see `nodes.grid_node`."""
    return (MEET,) if what == "settle" else (SUM, MEET, *((TURN_BACK,) * (what in BACKWARD)))


# The grid phase


@ti.func
def fields_of(lists: ti.template(), block):
    """The first chunk that lists a block, the fields that reach it, those that show surfaces."""
    owner, bits = -1, 0
    for c in range(lists.shape[0]):
        found = lists[c, IS_LISTED, block]
        if found != 0 and owner < 0:
            owner = c
        bits = bits | found
    return owner, bits & FIELD_MASK, bits >> FIELD_BITS


@ti.func
def mark_block(lists: ti.template(), c, block):
    """Write which fields reach a block, if chunk c is the first that lists it."""
    owner, fields, _ = fields_of(lists, block)
    if owner == c:
        lists[0, REACHED, block] = fields


@ti.func
def mark_reached(lists: ti.template(), job, jobs):
    """Write for every jobs-th listed block, from entry job on, which fields reach it."""
    for c in range(lists.shape[0]):
        for turn in range((lists[c, MARKS, LISTED] - job + jobs - 1) // jobs):
            block = lists[c, LIST, job + turn * jobs]
            mark_block(lists, c, block)


@ti.func
def chunks_of(lists: ti.template(), block, bit):
    """Bit set of the chunks that have a bit of IS_LISTED of a block."""
    chunks = 0
    for c in range(lists.shape[0]):
        chunks = chunks | ((lists[c, IS_LISTED, block] >> bit & 1) << c)
    return chunks


@ti.func
def sum_field(
    nodes: ti.template(), grads: ti.template(), lists: ti.template(), chunks, shows, f, node,
    setting, what: ti.template(),
):  # fmt: skip
    """Add up field f of a node: write (velocity, mass), surface and, to scratch -1, gradient."""
    shape, count, fields = setting.shape, lists.shape[0], count_fields(lists)
    layer, first = field_layer(f, True), chunk_layer(lists, 0, f, True)
    g, before = take(nodes, first, 2 * fields, count, chunks, node, shape), ti.zero(nodes[0])
    if g[3] > 0:
        v = ti.Vector([g[0], g[1], g[2]]) / g[3] + setting.dt * setting.gravity
        before = ti.Vector([v[0], v[1], v[2], g[3]])
    nodes[node_index(layer + VELOCITY, node, shape)] = before
    if shows != 0:
        surface = take(nodes, first + 1, 2 * fields, count, shows, node, shape)
        nodes[node_index(layer + SURFACE, node, shape)] = surface
    if ti.static(what in BACKWARD):
        nodes[node_index(layer + OTHER, node, shape)] = before
        nodes[at(lists, f, -1, node, shape)] = take(grads, f, fields, count, chunks, node, shape)


@ti.func
def at(lists: ti.template(), f, which, node, shape):
    """Index of a node in a layer of field f, or, for which = -1 and -2, in scratch of field f.

    The scratch is in the layers of chunk 0, which are zero but between sums and grid phase.
    """
    layer = field_layer(f, True) + which
    if which < 0:
        layer = chunk_layer(lists, 0, f, True) - 1 - which
    return node_index(layer, node, shape)


@ti.func
def find_slopes(nodes: ti.template(), lists: ti.template(), fields, node, shape):
    """Write layer SLOPES of the fields of a node; zero if no two of their bodies touch."""
    first = 2 + ti.zero(nodes[0][3])  # the smallest distances of the node from surfaces of bodies
    second = first
    for f in range(count_fields(lists)):
        if (fields >> f) & 1:
            nodes[at(lists, f, SLOPES, node, shape)] = ti.zero(nodes[0])
            if nodes[at(lists, f, VELOCITY, node, shape)][3] > 0:
                d = depth(nodes[at(lists, f, SURFACE, node, shape)][3])
                second = ti.min(second, ti.max(first, d))
                first = ti.min(first, d)
    if first + second < 0:
        sum_slopes(nodes, lists, fields, node, shape)


@ti.func
def face(nodes: ti.template(), lists: ti.template(), f, node, shape):
    """The normal of field f at a node, times its concentration, and the share."""
    m = mean_normal(nodes[at(lists, f, SLOPES, node, shape)])
    return ti.Vector([m[0], m[1], m[2], nodes[at(lists, f, SURFACE, node, shape)][3]])


@ti.func
def meet_pairs(
    nodes: ti.template(), lists: ti.template(), numbers: ti.template(), fields, which, node, shape,
    pairs,
):  # fmt: skip
    """Let the first of the pairs of fields meet at a node, with the velocities in layer `which`."""
    count = count_fields(lists)
    for pair in range(pairs):
        a, b = pair // count, pair % count
        if a < b and (fields >> a) & (fields >> b) & 1:
            i, j = at(lists, a, which, node, shape), at(lists, b, which, node, shape)
            nodes[i], nodes[j] = meet(
                nodes[i], nodes[j], face(nodes, lists, a, node, shape),
                face(nodes, lists, b, node, shape),
                numbers[numbers.shape[0] - count**2 + pair],
            )  # fmt: skip


@ti.func
def contact_fields(
    nodes: ti.template(), lists: ti.template(), table: ti.template(), sdf: ti.template(), fields,
    node, s, setting, solids: ti.template(), what: ti.template(), numbers: ti.template(), place,
):  # fmt: skip
    """Contact of the bodies with each other, and then with colliders and walls, at a node.

    what: see `nodes.grid_node`; between "sum" and "settle", layer OTHER has (velocity after the
    bodies met, mass).
    """
    columns = ti.static({"measured": COLUMNS, "settle": COUPLED}.get(what, 0))
    source = ti.static(OTHER if what == "settle" else VELOCITY)
    count, shape = count_fields(lists), setting.shape
    if ti.static(what != "settle"):
        if (fields & (fields - 1)) != 0:
            find_slopes(nodes, lists, fields, node, shape)
            meet_pairs(nodes, lists, numbers, fields, VELOCITY, node, shape, count**2)
    for f in range(count):
        if (fields >> f) & 1:
            g = nodes[at(lists, f, source, node, shape)]
            if ti.static(what == "sum"):
                nodes[at(lists, f, OTHER, node, shape)] = g
            elif g[3] > 0:
                u = boundary_velocity(
                    node, shape, setting.lower + node * setting.dx, setting.contact,
                    setting.friction, table, s, sdf, ti.Vector([g[0], g[1], g[2]]), solids,
                    columns, numbers, place % PLACES, g[3], setting.dx,
                )  # fmt: skip
                i = at(lists, f, VELOCITY, node, shape)
                nodes[i] = ti.Vector([u[0], u[1], u[2], g[3]])


@ti.func
def contact_fields_adjoint(
    nodes: ti.template(), lists: ti.template(), table: ti.template(), sdf: ti.template(), fields,
    node, s, setting, solids: ti.template(), steered: ti.template(),
    numbers: ti.template(), place,
):  # fmt: skip
    """Gradients in (momentum, mass), to layer OTHER, and in SLOPES, to TURN, of all fields.

    Layer OTHER has (velocity before contact, mass). Scratch -1 has the gradients in the velocities
    after contact; scratch -2 takes the velocities between contacts, which are computed again.
    """
    count, shape = count_fields(lists), setting.shape
    several = (fields & (fields - 1)) != 0
    for f in range(count):
        if (fields >> f) & 1:
            nodes[at(lists, f, -2, node, shape)] = nodes[at(lists, f, OTHER, node, shape)]
    if several:
        meet_pairs(nodes, lists, numbers, fields, -2, node, shape, count**2)
    for f in range(count):
        if (fields >> f) & 1:
            i = at(lists, f, -1, node, shape)
            g, n = nodes[i], nodes[at(lists, f, -2, node, shape)]
            gv = ti.Vector([ti.zero(g[0]), ti.zero(g[0]), ti.zero(g[0])])
            if n[3] > 0:
                gv = boundary_adjoint(
                    node, shape, setting.lower + node * setting.dx, setting.contact,
                    setting.friction, table, s, sdf, ti.Vector([n[0], n[1], n[2]]),
                    ti.Vector([g[0], g[1], g[2]]), solids, steered, numbers, place,
                )  # fmt: skip
            nodes[i] = ti.Vector([gv[0], gv[1], gv[2], ti.zero(g[0])])
            nodes[at(lists, f, TURN, node, shape)] = ti.zero(g)
    if several:
        for back in range(count**2):
            pair = count**2 - 1 - back
            a, b = pair // count, pair % count
            if a < b and (fields >> a) & (fields >> b) & 1:
                for f in range(count):
                    if (fields >> f) & 1:
                        i = at(lists, f, -2, node, shape)
                        nodes[i] = nodes[at(lists, f, OTHER, node, shape)]
                meet_pairs(nodes, lists, numbers, fields, -2, node, shape, pair)
                i, j = at(lists, a, -1, node, shape), at(lists, b, -1, node, shape)
                ga, gb, gq = meet_adjoint(
                    nodes[at(lists, a, -2, node, shape)], nodes[at(lists, b, -2, node, shape)],
                    face(nodes, lists, a, node, shape), face(nodes, lists, b, node, shape),
                    numbers[numbers.shape[0] - count**2 + pair], nodes[i], nodes[j],
                )  # fmt: skip
                nodes[i], nodes[j] = ga, gb
                turn = ti.Vector([gq[0], gq[1], gq[2], ti.zero(gq[0])])
                i, j = at(lists, a, TURN, node, shape), at(lists, b, TURN, node, shape)
                nodes[i] = nodes[i] + turn
                nodes[j] = nodes[j] - turn
    for f in range(count):
        if (fields >> f) & 1:
            i, j = at(lists, f, -1, node, shape), at(lists, f, OTHER, node, shape)
            g, n = nodes[i], nodes[j]
            r = ti.zero(g)
            if n[3] > 0:
                gp = ti.Vector([g[0], g[1], g[2]]) / n[3]
                v = ti.Vector([n[0], n[1], n[2]]) - setting.dt * setting.gravity
                r = ti.Vector([gp[0], gp[1], gp[2], g[3] - gp.dot(v)])
            nodes[j] = r
            nodes[i], nodes[at(lists, f, -2, node, shape)] = ti.zero(g), ti.zero(g)
            if several:
                k = at(lists, f, TURN, node, shape)
                g = nodes[k]
                sums = nodes[at(lists, f, SLOPES, node, shape)]
                nodes[k] = mean_normal_adjoint(sums, ti.Vector([g[0], g[1], g[2]]))


@ti.func
def field_node(
    nodes: ti.template(), lists: ti.template(), table: ti.template(), sdf: ti.template(), fields,
    shown, node, s, setting, solids: ti.template(), what: ti.template(), stage: ti.template(),
    numbers: ti.template(), place,
):  # fmt: skip
    """Stage MEET or TURN_BACK of the grid phase of a node; arguments as in `nodes.grid_node`."""
    if ti.static(stage == TURN_BACK):
        if shown != 0:
            sum_slopes_adjoint(nodes, lists, shown, node, setting.shape)
    else:
        contact_fields(
            nodes, lists, table, sdf, fields, node, s, setting, solids, what, numbers, place
        )
        if ti.static(what in BACKWARD):
            contact_fields_adjoint(
                nodes, lists, table, sdf, fields, node, s, setting, solids,
                ti.static(what == "steered"), numbers, place,
            )  # fmt: skip


@ti.func
def sum_block(
    nodes: ti.template(), grads: ti.template(), lists: ti.template(), block, f, corner, end,
    setting, what: ti.template(),
):  # fmt: skip
    """Run sum_field on the nodes of a block, from its corner to its end."""
    chunks, shows = chunks_of(lists, block, f), chunks_of(lists, block, FIELD_BITS + f)
    for i in range(corner[0], end[0]):
        for j in range(corner[1], end[1]):
            for k in range(corner[2], end[2]):
                node = ti.Vector([i, j, k])
                sum_field(nodes, grads, lists, chunks, shows, f, node, setting, what)


@ti.func
def field_job(
    nodes: ti.template(), grads: ti.template(), lists: ti.template(), table: ti.template(),
    sdf: ti.template(), job, jobs, s, setting, solids: ti.template(), what: ti.template(),
    stage: ti.template(), numbers: ti.template(),
):  # fmt: skip
    """Run a stage on every jobs-th listed block of each chunk, as `nodes.grid_job` does."""
    for c in range(lists.shape[0]):
        for turn in range((lists[c, MARKS, LISTED] - job + jobs - 1) // jobs):
            block = lists[c, LIST, job + turn * jobs]
            owner, fields, shown = fields_of(lists, block)
            if owner == c:
                corner = block_corner(block, setting.shape)
                end = ti.min(corner + BLOCK, setting.shape)
                if ti.static(stage == SUM):
                    for f in range(count_fields(lists)):
                        if (fields >> f) & 1:
                            sum_block(nodes, grads, lists, block, f, corner, end, setting, what)
                else:
                    for i in range(corner[0], end[0]):
                        for j in range(corner[1], end[1]):
                            for k in range(corner[2], end[2]):
                                field_node(
                                    nodes, lists, table, sdf, fields, shown,
                                    ti.Vector([i, j, k]), s, setting, solids, what, stage,
                                    numbers, s * jobs + job,
                                )  # fmt: skip


@ti.func
def field_thread(
    nodes: ti.template(), grads: ti.template(), lists: ti.template(), table: ti.template(),
    sdf: ti.template(), block, node, s, setting, solids: ti.template(), what: ti.template(),
    stage: ti.template(), numbers: ti.template(), place,
):  # fmt: skip
    """A stage of one node of a block of the only chunk, in a thread of a GPU."""
    _, fields, shown = fields_of(lists, block)
    if ti.static(stage == SUM):
        for f in range(count_fields(lists)):
            if (fields >> f) & 1:
                sum_field(nodes, grads, lists, 1, (shown >> f) & 1, f, node, setting, what)
    else:
        field_node(
            nodes, lists, table, sdf, fields, shown, node, s, setting, solids, what, stage,
            numbers, place,
        )  # fmt: skip
