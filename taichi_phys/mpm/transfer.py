"""Transfers between particles and grid (MLS-MPM, APIC, quadratic B-splines) and their adjoints.

A grid node holds one 4-vector: (momentum, mass), later (velocity, mass). Positions X are in cells.
Loops over i and j are run-time loops on purpose: unrolling all 27 nodes takes 8 times longer to
compile and runs no faster.
"""

import taichi as ti


@ti.func
def stencil(X, shape):
    """First node and weights W[d, i] of the 27 nodes around X, clamped into the grid."""
    base = ti.floor(X - 0.5, ti.i32)
    for d in ti.static(range(3)):
        # only broken states are clamped (they are reported at the frame's end), never memory
        base[d] = ti.max(0, ti.min(base[d], shape[d] - 3))
    f = X - base
    return base, ti.Matrix.cols([0.5 * (1.5 - f) ** 2, 0.75 - (f - 1.0) ** 2, 0.5 * (f - 0.5) ** 2])


@ti.func
def stencil_slopes(X, base):
    """Derivatives D[d, i] of the weights by X."""
    f = X - base
    return ti.Matrix.cols([f - 1.5, -2.0 * (f - 1.0), f - 0.5])


@ti.func
def scatter(grid: ti.template(), X, shape, dx, a, B, m, atomic: ti.template()):
    """node += w (a + B d, m) with d = x_node - x: P2G, and the adjoint of G2P."""
    base, W = stencil(X, shape)
    d0 = (base - X) * dx
    q0 = a + B @ d0
    bx, by, bz = (
        ti.Vector([B[0, 0], B[1, 0], B[2, 0]]) * dx,
        ti.Vector([B[0, 1], B[1, 1], B[2, 1]]) * dx,
        ti.Vector([B[0, 2], B[1, 2], B[2, 2]]) * dx,
    )
    for i in range(3):
        for j in range(3):
            wij = W[0, i] * W[1, j]
            q = q0 + i * bx + j * by
            for k in ti.static(range(3)):
                w = wij * W[2, k]
                g = w * (q + k * bz)
                node = ti.Vector([base[0] + i, base[1] + j, base[2] + k])
                value = ti.Vector([g[0], g[1], g[2], w * m])
                if ti.static(atomic):
                    grid[node] += value
                else:
                    grid[node] = grid[node] + value


@ti.func
def gather(grid: ti.template(), X, shape, dx):
    """Velocity v = sum w v_i and APIC matrix C = 4 / dx^2 sum w v_i d_i^T (Hu 2018, eq. 2)."""
    base, W = stencil(X, shape)
    v = ti.zero(X)
    Cx, Cy, Cz = ti.zero(X), ti.zero(X), ti.zero(X)
    for i in range(3):
        for j in range(3):
            s, sz = ti.zero(X), ti.zero(X)
            for k in ti.static(range(3)):
                g = grid[base[0] + i, base[1] + j, base[2] + k]
                wg = W[2, k] * ti.Vector([g[0], g[1], g[2]])
                s += wg
                sz += wg * (base[2] + k - X[2])
            wij = W[0, i] * W[1, j]
            v += wij * s
            Cx += wij * (base[0] + i - X[0]) * s
            Cy += wij * (base[1] + j - X[1]) * s
            Cz += wij * sz
    return v, 4.0 / dx * ti.Matrix.cols([Cx, Cy, Cz])


@ti.func
def transfer_gradients(
    grid: ti.template(), ggrid: ti.template(), X, shape, dx, a, B, momentum, A, mass
):
    """One pass over the nodes for the gradients that both transfers leave on a particle.

    grid holds (velocity, mass), ggrid the gradient of (momentum, mass). G2P's adjoint weights each
    node velocity by (a + B d), P2G sent (momentum + A d, mass). With
    phi_i = v_i . (a + B d_i) + gp_i . (momentum + A d_i) + gm_i mass, returns
    gx = sum grad w_i phi_i - w_i (B^T v_i + A^T gp_i),  P = sum w_i gp_i,  Q = sum w_i gp_i d_i^T.
    """
    base, W = stencil(X, shape)
    D = stencil_slopes(X, base)
    gx, P, V = ti.zero(X), ti.zero(X), ti.zero(X)
    Qx, Qy, Qz = ti.zero(X), ti.zero(X), ti.zero(X)
    for i in range(3):
        for j in range(3):
            for k in ti.static(range(3)):
                d = (ti.Vector([base[0] + i, base[1] + j, base[2] + k]) - X) * dx
                n = grid[base[0] + i, base[1] + j, base[2] + k]
                g = ggrid[base[0] + i, base[1] + j, base[2] + k]
                v, gp = ti.Vector([n[0], n[1], n[2]]), ti.Vector([g[0], g[1], g[2]])
                phi = v.dot(a + B @ d) + gp.dot(momentum + A @ d) + g[3] * mass
                gx += phi * ti.Vector(
                    [
                        D[0, i] * W[1, j] * W[2, k],
                        W[0, i] * D[1, j] * W[2, k],
                        W[0, i] * W[1, j] * D[2, k],
                    ]
                )
                w = W[0, i] * W[1, j] * W[2, k]
                P += w * gp
                V += w * v
                Qx += w * d[0] * gp
                Qy += w * d[1] * gp
                Qz += w * d[2] * gp
    gx = gx / dx - B.transpose() @ V - A.transpose() @ P
    return gx, P, ti.Matrix.cols([Qx, Qy, Qz])
