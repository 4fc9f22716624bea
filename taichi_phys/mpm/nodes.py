"""The grid phase, from the momenta that particles scattered to node velocities, and its adjoint.

nodes: layers of the grid one after the other (transfer.node_index). Layer VELOCITY holds (velocity
after contact, mass); layer OTHER holds the velocity before contact, or gradients; layer CHUNKS + c
holds the sums that chunk c scattered, and is zero between substeps. lists[c]: the blocks of 4^3
nodes that chunk c touches, and the marks of the chunk. The grid phase visits listed blocks only, so
that the cost depends on the particles and not on the size of the grid.

If bodies have velocity fields of their own ("several" in the functions below), each field f has the
layers VELOCITY to TURN from field_layer on, and each chunk and field two layers from chunk_layer
on, for momenta and for surfaces; see fields.py.

grads, in the backward pass: a layer for each chunk and field, where the chunk scatters the
gradients in the velocities after contact; zero between substeps, too.
"""

from taichi_phys.language import ti
from taichi_phys.mpm.contact import boundary_adjoint, boundary_velocity
from taichi_phys.mpm.reactions import COLUMNS, COUPLED
from taichi_phys.mpm.transfer import node_index


VELOCITY, OTHER, CHUNKS = range(3)  # layers of nodes
SURFACE, SLOPES, TURN, FIELD_LAYERS = 2, 3, 4, 5  # more layers of each of several fields
MAX_NODES = 2**29 - 1  # in all layers: Taichi's indices are int32, and a node has four numbers
# Rows of lists[c]: the listed blocks; for each block whether it is listed, and the kinds of
# stencils that were seen in it; the marks.
LIST, IS_LISTED, SEEN, MARKS, ROWS = range(5)
# With several fields, the bits of IS_LISTED say which fields reach the block and, from FIELD_BITS
# on, which have shown their surfaces there. Row REACHED of chunk 0 has the fields of all chunks.
# The other rows have what was seen of the fields after the first.
REACHED, FIELD_BITS = ROWS, 15
LISTED, FAULT, MARKED = range(3)  # marks: count of blocks, first fault
# The mark FAULT: the reason why a frame is rejected, in units of FAULTY, and the particle. One
# number, so that a thread of a GPU cannot write the reason, and another one the particle.
FAULTY = 1 << 28
OK, BROKEN, OUTSIDE, TOO_FAST = range(4)

BACKWARD = ("gradient", "steered")  # the grid phases of the backward pass, see grid_node

BITS = 2
BLOCK = 1 << BITS  # nodes along each edge of a block


@ti.func
def blocks_along(shape):
    """Number of blocks along each axis."""
    return (shape + (BLOCK - 1)) >> BITS


def count_layers(chunks: int, fields: int) -> int:
    """The number of layers of nodes."""
    return CHUNKS + chunks if fields == 1 else fields * (FIELD_LAYERS + 2 * chunks)


def count_rows(fields: int) -> int:
    """The number of rows of lists."""
    return ROWS if fields == 1 else ROWS + fields


@ti.func
def count_fields(lists: ti.template()):
    """The number of fields, if there are several."""
    return lists.shape[1] - ROWS


@ti.func
def field_layer(f, several: ti.template()):
    """The layer VELOCITY of field f; its other layers follow."""
    layer = VELOCITY
    if ti.static(several):
        layer = FIELD_LAYERS * f
    return layer


@ti.func
def chunk_layer(lists: ti.template(), c, f, several: ti.template()):
    """The layer to which chunk c scatters the momenta of field f; the next is for surfaces."""
    layer = CHUNKS + c
    if ti.static(several):
        fields = count_fields(lists)
        layer = FIELD_LAYERS * fields + 2 * (c * fields + f)
    return layer


@ti.func
def grads_layer(lists: ti.template(), c, f, several: ti.template()):
    """The layer of grads to which chunk c scatters the gradients of field f."""
    layer = c
    if ti.static(several):
        layer = c * count_fields(lists) + f
    return layer


@ti.func
def list_blocks(
    lists: ti.template(), c, f, base, shape, several: ti.template(), atomic: ti.template()
):  # fmt: skip
    """Put the blocks of the 27 nodes from base on the list of chunk c, as reached by field f.

    These are the block of base and, along each axis where base is in the second half of its block,
    the next block. So a block has eight kinds of stencils, and each kind needs this work once.
    """
    count = blocks_along(shape)
    first, last = base >> BITS, (base + 2) >> BITS
    step = last - first
    kind = 1 << (step[0] + 2 * step[1] + 4 * step[2])
    block = (first[0] * count[1] + first[1]) * count[2] + first[2]
    seen = SEEN
    if ti.static(several):
        seen = ti.select(f == 0, SEEN, REACHED + f)
    if (lists[c, seen, block] & kind) == 0:
        if ti.static(atomic):
            ti.atomic_or(lists[c, seen, block], kind)
        else:
            lists[c, seen, block] = lists[c, seen, block] | kind
        for i in range(first[0], last[0] + 1):
            for j in range(first[1], last[1] + 1):
                for k in range(first[2], last[2] + 1):
                    list_block(lists, c, 1 << f, (i * count[1] + j) * count[2] + k, atomic)


@ti.func
def list_block(lists: ti.template(), c, bit, block, atomic: ti.template()):
    """Put a block on the list of chunk c unless it is listed already; bit: of the field."""
    listed = lists[c, IS_LISTED, block]
    if (listed & bit) == 0:
        if ti.static(atomic):
            if ti.atomic_or(lists[c, IS_LISTED, block], bit) == 0:
                lists[c, LIST, ti.atomic_add(lists[c, MARKS, LISTED], 1)] = block
        else:
            lists[c, IS_LISTED, block] = listed | bit
            if listed == 0:
                lists[c, LIST, lists[c, MARKS, LISTED]] = block
                lists[c, MARKS, LISTED] = lists[c, MARKS, LISTED] + 1


@ti.func
def unlist_block(lists: ti.template(), c, e):
    """Mark the block of entry e of the list of chunk c as not listed."""
    block = lists[c, LIST, e]
    lists[c, IS_LISTED, block], lists[c, SEEN, block] = 0, 0
    for row in range(REACHED + 1, lists.shape[1]):
        lists[c, row, block] = 0


@ti.func
def unlist_blocks(lists: ti.template(), c):
    """Empty the list of chunk c."""
    for e in range(lists[c, MARKS, LISTED]):
        unlist_block(lists, c, e)
    lists[c, MARKS, LISTED] = 0


@ti.func
def mark_fault(lists: ti.template(), c, fault, p, atomic: ti.template()):
    """Note the first substep's fault of chunk c: of its first particle, or on a GPU of any."""
    if fault != OK and lists[c, MARKS, FAULT] == OK:
        if ti.static(atomic):
            ti.atomic_max(lists[c, MARKS, FAULT], fault * FAULTY + p)
        else:
            lists[c, MARKS, FAULT] = fault * FAULTY + p


@ti.func
def chunks_that_list(lists: ti.template(), block):
    """Bit set of the chunks that list a block."""
    chunks = 0
    for c in range(lists.shape[0]):
        if lists[c, IS_LISTED, block] != 0:
            chunks = chunks | (1 << c)
    return chunks


@ti.func
def block_corner(block, shape):
    """First node of a block."""
    count = blocks_along(shape)
    i, j, k = block // (count[1] * count[2]), block // count[2] % count[1], block % count[2]
    return BLOCK * ti.Vector([i, j, k])


@ti.func
def take(nodes: ti.template(), layer, step, count, chunks, node, shape):
    """The sum of a node over the chunks in a bit set, whose nodes are set to zero.

    layer: of the first of count chunks; step: from there to the layer of the next.
    """
    g = ti.zero(nodes[0])
    for c in range(count):
        if (chunks >> c) & 1:
            i = node_index(layer + c * step, node, shape)
            g += nodes[i]
            nodes[i] = ti.zero(g)
    return g


@ti.func
def _velocities(
    g, node, table: ti.template(), sdf: ti.template(), s, setting, solids: ti.template(),
    columns: ti.template(), numbers: ti.template(), place,
):  # fmt: skip
    """(momentum, mass) g -> (velocity, mass) before and after contact."""
    before, after = ti.zero(g), ti.zero(g)
    if g[3] > 0:
        v = ti.Vector([g[0], g[1], g[2]]) / g[3] + setting.dt * setting.gravity
        u = boundary_velocity(
            node, setting.shape, setting.lower + node * setting.dx, setting.contact,
            setting.friction, table, s, sdf, v, solids, columns, numbers, place, g[3], setting.dx,
        )  # fmt: skip
        before = ti.Vector([v[0], v[1], v[2], g[3]])
        after = ti.Vector([u[0], u[1], u[2], g[3]])
    return before, after


@ti.func
def _gradient(
    g, n, node, table: ti.template(), sdf: ti.template(), s, setting, solids: ti.template(),
    steered: ti.template(), numbers: ti.template(), place,
):  # fmt: skip
    """Gradient in (momentum, mass) from g, the gradient in the velocity after contact.

    n: (velocity before contact, mass); steered, numbers, place: see `boundary_adjoint`.
    """
    r = ti.zero(g)
    if n[3] > 0:
        v = ti.Vector([n[0], n[1], n[2]])
        gv = boundary_adjoint(
            node, setting.shape, setting.lower + node * setting.dx, setting.contact,
            setting.friction, table, s, sdf, v, ti.Vector([g[0], g[1], g[2]]), solids, steered,
            numbers, place,
        )  # fmt: skip
        gp = gv / n[3]
        r = ti.Vector([gp[0], gp[1], gp[2], -gp.dot(v - setting.dt * setting.gravity)])
    return r


@ti.func
def grid_node(
    nodes: ti.template(), grads: ti.template(), lists: ti.template(), table: ti.template(),
    sdf: ti.template(), chunks, node, s, setting, solids: ti.template(), what: ti.template(),
    numbers: ti.template(), place,
):  # fmt: skip
    """Add up a node over the chunks, and compute from the sum what the argument what names.

    "forward": the velocity after contact; "measured": the same, and what colliders and walls take
    is recorded in part place of the sums in numbers (reactions.py); "gradient": the same as
    "forward", and the gradient in (momentum, mass), from the gradient in the velocity after
    contact; "steered": that, too, and the gradients in the poses of colliders are added to the sums
    in numbers (steering.py). Where the material moves rigid bodies, "sum" keeps
    the sum, and "settle" does from it what "measured" does, once for each try of the velocities of
    the bodies.
    """
    other = node_index(OTHER, node, setting.shape)
    g = ti.zero(nodes[0])
    if ti.static(what == "settle"):
        g = nodes[other]
    else:
        g = take(nodes, CHUNKS, 1, lists.shape[0], chunks, node, setting.shape)
    if ti.static(what == "sum"):
        nodes[other] = g
    else:
        columns = ti.static({"measured": COLUMNS, "settle": COUPLED}.get(what, 0))
        before, after = _velocities(
            g, node, table, sdf, s, setting, solids, columns, numbers, place
        )
        nodes[node_index(VELOCITY, node, setting.shape)] = after
        if ti.static(what in BACKWARD):
            gafter = take(grads, 0, 1, lists.shape[0], chunks, node, setting.shape)
            nodes[other] = _gradient(
                gafter, before, node, table, sdf, s, setting, solids,
                ti.static(what == "steered"), numbers, place,
            )  # fmt: skip


@ti.func
def grid_job(
    nodes: ti.template(), grads: ti.template(), lists: ti.template(), table: ti.template(),
    sdf: ti.template(), job, jobs, s, setting, solids: ti.template(), what: ti.template(),
    numbers: ti.template(),
):  # fmt: skip
    """Run grid_node on every jobs-th listed block of each chunk, from entry job on.

    A block that several chunks list belongs to the first of these chunks.
    """
    for c in range(lists.shape[0]):
        for turn in range((lists[c, MARKS, LISTED] - job + jobs - 1) // jobs):
            block = lists[c, LIST, job + turn * jobs]
            chunks = chunks_that_list(lists, block)
            if (chunks & ((1 << c) - 1)) == 0:
                corner = block_corner(block, setting.shape)
                end = ti.min(corner + BLOCK, setting.shape)
                for i in range(corner[0], end[0]):
                    for j in range(corner[1], end[1]):
                        for k in range(corner[2], end[2]):
                            node = ti.Vector([i, j, k])
                            grid_node(
                                nodes, grads, lists, table, sdf, chunks, node, s, setting, solids,
                                what, numbers, s * jobs + job,
                            )  # fmt: skip
