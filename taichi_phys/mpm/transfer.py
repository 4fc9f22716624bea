"""Transfers between particles and grid (MLS-MPM, APIC, quadratic B-splines) and their adjoints.

A grid node holds one 4-vector: (momentum, mass), later (velocity, mass). All nodes are in one
array, layer by layer, with z as the fastest index. Positions X are in cells. Sums over nodes are of
4-vectors too, so that the compiler can use vector instructions, and they are factored by axis. The
loops over i and j are run-time loops on purpose: unrolling all 27 nodes takes 8 times longer to
compile and runs no faster.
"""

from taichi_phys.language import ti


WARP = 32  # threads of a GPU that run together
ALL = 0xFFFFFFFF  # all of them, as bits


@ti.func
def node_index(layer, node, shape):
    """Index of a node of a layer in the array of all nodes; shape: nodes along each axis."""
    return ((layer * shape[0] + node[0]) * shape[1] + node[1]) * shape[2] + node[2]


@ti.func
def stencil(X, shape):
    """The first of the 27 nodes around X, clamped into the grid, and the weights W[d, i]."""
    base = ti.floor(X - 0.5, ti.i32)
    for d in ti.static(range(3)):
        # Only faulty states, which are reported at the end of the frame, need the clamp; it keeps
        # them from writing outside the grid.
        base[d] = ti.max(0, ti.min(base[d], shape[d] - 3))
    f = X - base
    return base, ti.Matrix.cols([0.5 * (1.5 - f) ** 2, 0.75 - (f - 1.0) ** 2, 0.5 * (f - 0.5) ** 2])


@ti.func
def stencil_slopes(X, base):
    """The derivatives D[d, i] of the weights with respect to X."""
    f = X - base
    return ti.Matrix.cols([f - 1.5, -2.0 * (f - 1.0), f - 0.5])


@ti.func
def _column(B, d):
    return ti.Vector([B[0, d], B[1, d], B[2, d]])


@ti.func
def _node(v, m):
    """The 4-vector of a node."""
    return ti.Vector([v[0], v[1], v[2], m])


@ti.func
def scatter(nodes: ti.template(), layer, X, shape, dx, a, B, m, atomic: ti.template()):
    """Add w (a + B d, m), d = x_node - x, to the nodes of a layer: P2G, and the adjoint of G2P."""
    base, W = stencil(X, shape)
    first = node_index(layer, base, shape)
    zero = ti.zero(m)
    q0 = _node(a + B @ ((base - X) * dx), m)
    bx = _node(_column(B, 0) * dx, zero)
    by, bz = _node(_column(B, 1) * dx, zero), _node(_column(B, 2) * dx, zero)
    for i in range(3):
        qi = q0 + i * bx
        for j in range(3):
            q = qi + j * by
            wij = W[0, i] * W[1, j]
            row = first + (i * shape[1] + j) * shape[2]
            for k in ti.static(range(3)):
                value = (wij * W[2, k]) * (q + k * bz)
                if ti.static(atomic):
                    nodes[row + k] += value
                else:
                    nodes[row + k] = nodes[row + k] + value
    return base


@ti.func
def scatter_together(nodes: ti.template(), layer, X, shape, dx, a, B, m, here, thread):
    """`scatter` of the particles of a warp, for f32 on a GPU.

    here: whether the thread has a particle; thread: its number in the warp.

    The threads take the particles one after the other. Thread 9 i + 3 j + k adds up node (i, j, k)
    for as long as particles have the same nodes, and then adds the sum to the grid. Where
    particles are sorted by cell, there are as many atomics as cells, and not as particles. All
    threads of the warp must come here together.
    """
    base, _ = stencil(X, shape)
    first, f = -1, X - base
    if here:
        first = node_index(layer, base, shape)
    zero = ti.zero(m)
    q0 = _node(a - B @ (f * dx), m)
    bx = _node(_column(B, 0) * dx, zero)
    by, bz = _node(_column(B, 1) * dx, zero), _node(_column(B, 2) * dx, zero)
    i, j, k = thread // 9, thread // 3 % 3, thread % 3
    node = (i * shape[1] + j) * shape[2] + k
    total, at = ti.zero(q0), -1
    for turn in range(WARP + 1):
        start = -1
        if turn < WARP:
            start = ti.simt.warp.shfl_sync_i32(ti.u32(ALL), first, turn)
        if start != at:
            if at >= 0 and thread < 27:
                nodes[at + node] += total
            total, at = ti.zero(q0), start
        if start >= 0:
            w = _weight(_from(f[0], turn), i) * _weight(_from(f[1], turn), j)
            w *= _weight(_from(f[2], turn), k)
            for d in ti.static(range(3)):
                q = _from(q0[d], turn) + i * _from(bx[d], turn)
                q += j * _from(by[d], turn) + k * _from(bz[d], turn)
                total[d] += w * q
            total[3] += w * _from(m, turn)
    return base


@ti.func
def _weight(f, i):
    """The weight of the i-th of three nodes along an axis, f cells after the first."""
    d = ti.abs(f - i)
    return ti.select(i == 1, 0.75 - d * d, 0.5 * (1.5 - d) ** 2)


@ti.func
def _from(value, thread):
    """The f32 that a thread of the warp has; as bits, since Taichi's f32 shuffle returns an i32."""
    bits = ti.simt.warp.shfl_sync_i32(ti.u32(ALL), ti.bit_cast(value, ti.i32), thread)
    return ti.bit_cast(bits, ti.f32)


@ti.func
def _row(nodes: ti.template(), row, W):
    """The sums of w g and of k w g over three nodes g along z, from index row on."""
    g0 = W[2, 0] * nodes[row]
    g1 = W[2, 1] * nodes[row + 1]
    g2 = W[2, 2] * nodes[row + 2]
    return g0 + g1 + g2, g1 + 2.0 * g2


@ti.func
def gather(nodes: ti.template(), layer, X, shape, dx):
    """v = sum w v_i and the APIC matrix C = 4 / dx^2 sum w v_i d_i^T (Hu et al. 2018, eq. 2).

    layer: of the node velocities v_i.
    """
    base, W = stencil(X, shape)
    first = node_index(layer, base, shape)
    f = X - base
    zero = ti.zero(nodes[0])
    v, Cx, Cy, Cz = zero, zero, zero, zero
    for i in range(3):
        plane = zero
        for j in range(3):
            s, sz = _row(nodes, first + (i * shape[1] + j) * shape[2], W)
            wij = W[0, i] * W[1, j]
            plane += wij * s
            Cy += (wij * (j - f[1])) * s
            Cz += wij * sz
        v += plane
        Cx += (i - f[0]) * plane
    Cz -= f[2] * v
    C = ti.zero(W)
    for d in ti.static(range(3)):
        C[d, 0], C[d, 1], C[d, 2] = Cx[d], Cy[d], Cz[d]
    return ti.Vector([v[0], v[1], v[2]]), 4.0 / dx * C


@ti.func
def transfer_gradients(nodes: ti.template(), layer, X, shape, dx, v, a, B, momentum, A, mass):
    """The gradients of a particle from both transfers, in one pass over the nodes.

    The layer of the nodes holds (velocity v_i, mass), the next one the gradient (gp_i, gm_i) in
    (momentum, mass); v = sum w_i v_i. The adjoint of G2P weights a node velocity by (a + B d); P2G
    sent (momentum + A d, mass). With
    phi_i = v_i . (a + B d_i) + gp_i . (momentum + A d_i) + gm_i mass, the result is
    gx = sum grad w_i phi_i - B^T v - A^T P,  P = sum w_i gp_i and  Q = sum w_i gp_i d_i^T.
    """
    base, W = stencil(X, shape)
    D = stencil_slopes(X, base)
    first, size = node_index(layer, base, shape), shape[0] * shape[1] * shape[2]
    f = X - base
    away = (base - X) * dx
    q0, p0 = a + B @ away, momentum + A @ away
    bx, by, bz = dx * _column(B, 0), dx * _column(B, 1), dx * _column(B, 2)
    ex, ey, ez = dx * _column(A, 0), dx * _column(A, 1), dx * _column(A, 2)
    zero = ti.zero(X)
    gx, P, Qx, Qy, Qz = zero, zero, zero, zero, zero
    for i in range(3):
        plane, qi, pi = zero, q0 + i * bx, p0 + i * ex
        for j in range(3):
            q, p = qi + j * by, pi + j * ey
            s, sz = ti.zero(mass), ti.zero(mass)  # sums of w phi and of dw/dz phi
            g_row, gz_row = zero, zero
            row = first + (i * shape[1] + j) * shape[2]
            for k in ti.static(range(3)):
                u, h = nodes[row + k], nodes[size + row + k]
                vk, gk = ti.Vector([u[0], u[1], u[2]]), ti.Vector([h[0], h[1], h[2]])
                phi = vk.dot(q + k * bz) + gk.dot(p + k * ez) + h[3] * mass
                s += W[2, k] * phi
                sz += D[2, k] * phi
                wg = W[2, k] * gk
                g_row += wg
                gz_row += k * wg
            wij = W[0, i] * W[1, j]
            gx += ti.Vector([D[0, i] * W[1, j] * s, W[0, i] * D[1, j] * s, wij * sz])
            plane += wij * g_row
            Qy += (wij * (j - f[1])) * g_row
            Qz += wij * gz_row
        P += plane
        Qx += (i - f[0]) * plane
    Qz -= f[2] * P
    return gx / dx - B.transpose() @ v - A.transpose() @ P, P, dx * ti.Matrix.cols([Qx, Qy, Qz])
