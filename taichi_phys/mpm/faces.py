"""What particles show of the faces of their bodies at nodes, the normals that follow, and adjoints.

Each field has a 4-vector (A, share) at a node: share = sum V w / dx^3, the part of the node's cell
that the body fills, and its slope A = sum V grad w / dx^2, grad w with respect to the particle. A
points out of the body.

The slope at a single node is a poor normal: at the rim of a face it leans, since it sees the sides
of the body, too, and a lattice of particles makes it waver. A body that slides runs against the
nodes whose normals lean towards it, and not against the others, so that any such error brakes it.
Therefore the normal of a body is the mean direction mu of its slopes at the 27 nodes around, each
weighted by what the other bodies fill there. The slopes are taken as samples of a von Mises-Fisher
distribution, whose concentration kappa says how well they agree (Banerjee et al. 2005). Of two
bodies, the most likely common normal is then along m_a - m_b, m = kappa mu: the flatter body
decides, a face against an edge, a corner or a ball.
"""

from taichi_phys.language import ti
from taichi_phys.mpm.nodes import (
    BITS,
    BLOCK,
    FIELD_BITS,
    IS_LISTED,
    REACHED,
    SLOPES,
    SURFACE,
    TURN,
    blocks_along,
    chunk_layer,
    count_fields,
    field_layer,
)
from taichi_phys.mpm.transfer import node_index, stencil, stencil_slopes


# 1 - R^2 where slopes differ by 2 degrees, as on a flat face of a lattice of particles; R is
# the length of the mean of their directions.
FLAT = 1e-3


@ti.func
def near_other(lists: ti.template(), base, shape, f):
    """Whether another field than f reaches the blocks of the 27 nodes from base on."""
    count = blocks_along(shape)
    first, last = base >> BITS, (base + 2) >> BITS
    fields = 0
    for i in range(first[0], last[0] + 1):
        for j in range(first[1], last[1] + 1):
            for k in range(first[2], last[2] + 1):
                fields = fields | lists[0, REACHED, (i * count[1] + j) * count[2] + k]
    return (fields & ~(1 << f)) != 0


@ti.func
def is_near(lists: ti.template(), f, X, shape, place, near):
    """Number of the stencil of a particle of field f at X, in cells, and `near_other` of it.

    place, near: those of another particle. Where both have one stencil, as neighbors in memory
    often do, blocks are not looked at again.
    """
    base, _ = stencil(X, shape)
    here, close = node_index(f, base, shape), near
    if here != place:
        close = near_other(lists, base, shape, f)
    return here, close


@ti.func
def show_surface(
    nodes: ti.template(), lists: ti.template(), c, f, X, shape, part, atomic: ti.template()
):  # fmt: skip
    """Scatter the surface of a particle.

    X: position in cells; part: the volume of the particle in cells.
    """
    base, W = stencil(X, shape)
    D = stencil_slopes(X, base)
    first = node_index(chunk_layer(lists, c, f, True) + 1, base, shape)
    for i in range(3):
        for j in range(3):
            row = first + (i * shape[1] + j) * shape[2]
            wij = part * W[0, i] * W[1, j]
            dx, dy = part * D[0, i] * W[1, j], part * W[0, i] * D[1, j]
            for k in ti.static(range(3)):
                w = W[2, k]
                value = ti.Vector([dx * w, dy * w, wij * D[2, k], wij * w])
                if ti.static(atomic):
                    nodes[row + k] += value
                else:
                    nodes[row + k] = nodes[row + k] + value
    count = blocks_along(shape)
    low, high = base >> BITS, (base + 2) >> BITS
    bit = 1 << (FIELD_BITS + f)
    for i in range(low[0], high[0] + 1):
        for j in range(low[1], high[1] + 1):
            for k in range(low[2], high[2] + 1):
                block = (i * count[1] + j) * count[2] + k
                if ti.static(atomic):
                    ti.atomic_or(lists[c, IS_LISTED, block], bit)
                else:
                    lists[c, IS_LISTED, block] = lists[c, IS_LISTED, block] | bit


@ti.func
def surface_adjoint(nodes: ti.template(), lists: ti.template(), f, X, shape, part):
    """Gradient in X, in cells, of a particle from the gradients in the surfaces of nodes."""
    base, W = stencil(X, shape)
    gX = ti.zero(X)
    if near_other(lists, base, shape, f):
        D = stencil_slopes(X, base)
        first = node_index(field_layer(f, True) + SURFACE, base, shape)
        bend = ti.Vector([1.0, -2.0, 1.0])  # second derivatives of the weights
        for i in range(3):
            for j in range(3):
                row = first + (i * shape[1] + j) * shape[2]
                for k in ti.static(range(3)):
                    g = nodes[row + k]
                    wz = g[3] * W[2, k]
                    xy, xz = D[0, i] * D[1, j] * W[2, k], D[0, i] * W[1, j] * D[2, k]
                    yz = W[0, i] * D[1, j] * D[2, k]
                    gX[0] += bend[i] * W[1, j] * W[2, k] * g[0] + xy * g[1] + xz * g[2]
                    gX[0] += D[0, i] * W[1, j] * wz
                    gX[1] += xy * g[0] + W[0, i] * bend[j] * W[2, k] * g[1] + yz * g[2]
                    gX[1] += W[0, i] * D[1, j] * wz
                    gX[2] += xz * g[0] + yz * g[1] + W[0, i] * W[1, j] * bend[k] * g[2]
                    gX[2] += W[0, i] * W[1, j] * D[2, k] * g[3]
    return part * gX


@ti.func
def seen_around(lists: ti.template(), node, shape):
    """The bits of IS_LISTED of the block of a node, of all chunks; none outside of the grid."""
    bits = 0
    if (node >= 0).all() and (node < shape).all():
        count, b = blocks_along(shape), node >> BITS
        for c in range(lists.shape[0]):
            bits = bits | lists[c, IS_LISTED, (b[0] * count[1] + b[1]) * count[2] + b[2]]
    return bits


@ti.func
def surface_at(nodes: ti.template(), f, node, shape):
    """Slope and share of field f at a node."""
    return nodes[node_index(field_layer(f, True) + SURFACE, node, shape)]


@ti.func
def filled(nodes: ti.template(), lists: ti.template(), shown, node, shape):
    """The share of a node's cell that all fields with a bit in shown fill."""
    total = ti.zero(nodes[0][3])
    for f in range(count_fields(lists)):
        if (shown >> f) & 1:
            total += surface_at(nodes, f, node, shape)[3]
    return total


@ti.func
def sum_slopes(nodes: ti.template(), lists: ti.template(), fields, node, shape):
    """Write the sums of w A and of w |A| over the 27 nodes around to layer SLOPES of some fields.

    w: the share of the other fields, times a binomial weight.
    """
    for i in range(-1, 2):
        for j in range(-1, 2):
            shown = 0
            for k in range(-1, 2):
                near = node + ti.Vector([i, j, k])
                if k == -1 or near[2] % BLOCK == 0:
                    shown = seen_around(lists, near, shape) >> FIELD_BITS
                if (shown & (shown - 1)) != 0 and near[2] < shape[2]:
                    total = filled(nodes, lists, shown, near, shape)
                    for f in range(count_fields(lists)):
                        g = surface_at(nodes, f, near, shape)
                        if (fields >> f) & (shown >> f) & 1 and g[3] > 0 and total > g[3]:
                            w = (total - g[3]) * weight(i, j, k)
                            size = ti.Vector([g[0], g[1], g[2]]).norm()
                            n = node_index(field_layer(f, True) + SLOPES, node, shape)
                            nodes[n] = nodes[n] + w * ti.Vector([g[0], g[1], g[2], size])


@ti.func
def weight(i, j, k):
    """Binomial weight of a node i, j, k beside another one, -1 to 1."""
    return (2 - ti.abs(i)) * (2 - ti.abs(j)) * (2 - ti.abs(k))


@ti.func
def mean_normal(sums):
    """kappa mu, with kappa = R (3 - R^2) / (1 - R^2) (Banerjee et al. 2005, eq. 4.4)."""
    u = ti.Vector([sums[0], sums[1], sums[2]])
    if sums[3] > 0:
        u /= sums[3]
    r = u.norm_sqr()
    return (3 - r) / (1 - r + FLAT) * u


@ti.func
def mean_normal_adjoint(sums, gm):
    """The gradient in the sums from that in mean_normal."""
    g = ti.zero(sums)
    if sums[3] > 0:
        u = ti.Vector([sums[0], sums[1], sums[2]]) / sums[3]
        r = u.norm_sqr()
        below = 1 - r + FLAT
        gu = (3 - r) / below * gm + 2 * u.dot(gm) * (2 - FLAT) / below**2 * u
        g = ti.Vector([gu[0], gu[1], gu[2], -gu.dot(u)]) / sums[3]
    return g


@ti.func
def sum_slopes_adjoint(nodes: ti.template(), lists: ti.template(), shown, node, shape):
    """Replace the surfaces at a node by the gradients in them, from those in the sums, in TURN."""
    total, gtotal = filled(nodes, lists, shown, node, shape), ti.zero(nodes[0][3])
    for f in range(count_fields(lists)):
        if (shown >> f) & 1:
            s, gs = surface_at(nodes, f, node, shape), ti.zero(nodes[0])
            if s[3] > 0 and total > s[3]:
                g = ti.zero(nodes[0])
                for i in range(-1, 2):
                    for j in range(-1, 2):
                        for k in range(-1, 2):
                            near = node + ti.Vector([i, j, k])
                            if (seen_around(lists, near, shape) >> f) & 1:
                                n = node_index(field_layer(f, True) + TURN, near, shape)
                                g += weight(i, j, k) * nodes[n]
                A, gA = ti.Vector([s[0], s[1], s[2]]), ti.Vector([g[0], g[1], g[2]])
                size = A.norm()
                gw = gA.dot(A) + g[3] * size
                if size > 0:
                    gA += g[3] / size * A
                gA *= total - s[3]
                gs = ti.Vector([gA[0], gA[1], gA[2], -gw])
                gtotal += gw
            nodes[node_index(field_layer(f, True) + SURFACE, node, shape)] = gs
    for f in range(count_fields(lists)):
        if (shown >> f) & 1:
            nodes[node_index(field_layer(f, True) + SURFACE, node, shape)][3] += gtotal
