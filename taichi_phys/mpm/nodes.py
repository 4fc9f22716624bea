"""The grid phase: from what chunks of particles scattered to node velocities, and its adjoint.

nodes[c]: the grid of chunk c, all zero between substeps. grid[0]: (velocity after contact, mass);
grid[1]: before contact, or gradients. A chunk lists the blocks of 4^3 nodes that it touches, and
the grid phase visits listed blocks only, so that cost follows the particles, not the domain.
"""

import taichi as ti

from taichi_phys.mpm.contact import boundary_adjoint, boundary_velocity


# Why a frame was rejected: entry FAULT of a chunk's marks.
OK, BROKEN, OUTSIDE, TOO_FAST = range(4)
LISTED, FAULT, PARTICLE, MARKS = range(4)  # a chunk's marks: blocks listed, first fault, particle
# What a chunk knows of blocks: their list; whether one is listed; stencils that were seen in it.
LIST, IS_LISTED, SEEN, COLUMNS = range(4)

BITS = 2
BLOCK = 1 << BITS  # nodes a side


@ti.func
def blocks_along(shape):
    """Number of blocks along each axis."""
    return (shape + (BLOCK - 1)) >> BITS


@ti.func
def shape_of(grid: ti.template()):
    """Nodes along each axis."""
    return ti.Vector([grid.shape[1], grid.shape[2], grid.shape[3]])


@ti.func
def list_blocks(active: ti.template(), marks: ti.template(), c, base, shape, atomic: ti.template()):
    """Put the blocks of the 27 nodes from base on the list of chunk c.

    They are those of base and, along axes where base is in the second half of its block, the next:
    eight kinds of stencils a block, of which each is looked at once.
    """
    count = blocks_along(shape)
    first, last = base >> BITS, (base + 2) >> BITS
    step = last - first
    kind = 1 << (step[0] + 2 * step[1] + 4 * step[2])
    block = (first[0] * count[1] + first[1]) * count[2] + first[2]
    if (active[c, SEEN, block] & kind) == 0:
        if ti.static(atomic):
            ti.atomic_or(active[c, SEEN, block], kind)
        else:
            active[c, SEEN, block] = active[c, SEEN, block] | kind
        for i in range(first[0], last[0] + 1):
            for j in range(first[1], last[1] + 1):
                for k in range(first[2], last[2] + 1):
                    list_block(active, marks, c, (i * count[1] + j) * count[2] + k, atomic)


@ti.func
def list_block(active: ti.template(), marks: ti.template(), c, block, atomic: ti.template()):
    """Put a block on the list of chunk c, once."""
    if active[c, IS_LISTED, block] == 0:
        if ti.static(atomic):
            if ti.atomic_or(active[c, IS_LISTED, block], 1) == 0:
                active[c, LIST, ti.atomic_add(marks[c, LISTED], 1)] = block
        else:
            active[c, IS_LISTED, block] = 1
            active[c, LIST, marks[c, LISTED]] = block
            marks[c, LISTED] = marks[c, LISTED] + 1


@ti.func
def unlist_block(active: ti.template(), c, e):
    """Forget entry e of the list of chunk c."""
    block = active[c, LIST, e]
    active[c, IS_LISTED, block], active[c, SEEN, block] = 0, 0


@ti.func
def unlist_blocks(active: ti.template(), marks: ti.template(), c):
    """Empty the list of chunk c."""
    for e in range(marks[c, LISTED]):
        unlist_block(active, c, e)
    marks[c, LISTED] = 0


@ti.func
def chunks_that_list(active: ti.template(), block):
    """Bit set of the chunks that list a block."""
    chunks = 0
    for c in range(active.shape[0]):
        if active[c, IS_LISTED, block] != 0:
            chunks = chunks | (1 << c)
    return chunks


@ti.func
def block_corner(block, shape):
    """First node of a block."""
    count = blocks_along(shape)
    i, j, k = block // (count[1] * count[2]), block // count[2] % count[1], block % count[2]
    return BLOCK * ti.Vector([i, j, k])


@ti.func
def _take(nodes: ti.template(), chunks, node):
    """A node's sum over chunks (a bit set), which are left zero."""
    g = ti.zero(nodes[0, 0, 0, 0])
    for c in range(nodes.shape[0]):
        if (chunks >> c) & 1:
            g += nodes[c, node[0], node[1], node[2]]
            nodes[c, node[0], node[1], node[2]] = ti.zero(g)
    return g


@ti.func
def _velocities(g, node, shape, table: ti.template(), sdf: ti.template(), s, setting):
    """(momentum, mass) g -> (velocity, mass) before and after contact."""
    before, after = ti.zero(g), ti.zero(g)
    if g[3] > 0:
        v = ti.Vector([g[0], g[1], g[2]]) / g[3] + setting.dt * setting.gravity
        u = boundary_velocity(
            node, shape, setting.lower + node * setting.dx, setting.contact, setting.friction,
            table, s * setting.moving, sdf, v,
        )  # fmt: skip
        before = ti.Vector([v[0], v[1], v[2], g[3]])
        after = ti.Vector([u[0], u[1], u[2], g[3]])
    return before, after


@ti.func
def _gradient(g, n, node, shape, table: ti.template(), sdf: ti.template(), s, setting):
    """Gradient g of the velocity after contact -> gradient of (momentum, mass); n: before it."""
    r = ti.zero(g)
    if n[3] > 0:
        v = ti.Vector([n[0], n[1], n[2]])
        gv = boundary_adjoint(
            node, shape, setting.lower + node * setting.dx, setting.contact, setting.friction,
            table, s * setting.moving, sdf, v, ti.Vector([g[0], g[1], g[2]]),
        )  # fmt: skip
        gp = gv / n[3]
        r = ti.Vector([gp[0], gp[1], gp[2], -gp.dot(v - setting.dt * setting.gravity)])
    return r


@ti.func
def grid_node(
    nodes: ti.template(), grid: ti.template(), table: ti.template(), sdf: ti.template(),
    chunks, node, s, setting, what: ti.template(),
):  # fmt: skip
    """Add up a node and turn it, by what, into

    "forward": the velocity after contact; "both": also that before contact;
    "gradient": from the gradient of the velocity after contact that of (momentum, mass).
    """
    shape = shape_of(grid)
    i, j, k = node[0], node[1], node[2]
    g = _take(nodes, chunks, node)
    if ti.static(what == "gradient"):
        grid[1, i, j, k] = _gradient(g, grid[1, i, j, k], node, shape, table, sdf, s, setting)
    else:
        before, after = _velocities(g, node, shape, table, sdf, s, setting)
        grid[0, i, j, k] = after
        if ti.static(what == "both"):
            grid[1, i, j, k] = before


@ti.func
def grid_job(
    nodes: ti.template(), grid: ti.template(), active: ti.template(), marks: ti.template(),
    table: ti.template(), sdf: ti.template(), job, jobs, s, setting, what: ti.template(),
):  # fmt: skip
    """grid_node on every jobs-th listed block; a block belongs to the first chunk that lists it."""
    shape = shape_of(grid)
    for c in range(nodes.shape[0]):
        for turn in range((marks[c, LISTED] - job + jobs - 1) // jobs):
            block = active[c, LIST, job + turn * jobs]
            chunks = chunks_that_list(active, block)
            if (chunks & ((1 << c) - 1)) == 0:
                corner = block_corner(block, shape)
                end = ti.min(corner + BLOCK, shape)
                for i in range(corner[0], end[0]):
                    for j in range(corner[1], end[1]):
                        for k in range(corner[2], end[2]):
                            node = ti.Vector([i, j, k])
                            grid_node(nodes, grid, table, sdf, chunks, node, s, setting, what)
