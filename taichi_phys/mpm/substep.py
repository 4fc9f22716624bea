"""Taichi kernels that advance particles by substeps, and their adjoint.

A substep (Hu et al. 2018, MLS-MPM; external force on particles as in "Seeing the wind", sec. 3):

    F_elastic, tau = material(F)                          return map, Kirchhoff stress
    v* = v + dt force / mass                              external force, before P2G
    A  = mass C - dt volume 4 / dx^2 tau
    (p, m)_i = sum w_ip (mass v* + A d_ip, mass)          P2G
    v_i = walls(p_i / m_i + dt gravity)                   grid
    v = sum w_ip v_i;  C = 4 / dx^2 sum w_ip v_i d_ip^T   G2P
    x += dt v;  F = (I + dt C) F_elastic

The same phases serve two drivers. On a CPU one kernel runs all substeps of a frame serially: a
launch with tensors costs 0.7 ms and a pooled task 0.1 ms, more than the work of a small scene, and
serial P2G needs no atomics and is bitwise repeatable. On a GPU each substep is a launch of parallel
loops, with atomics.
"""

import functools
from types import SimpleNamespace

import taichi as ti

from taichi_phys.materials import Law
from taichi_phys.mpm.boundary import wall_adjoint, wall_velocity
from taichi_phys.mpm.transfer import gather, scatter, transfer_gradients


# Why a frame was rejected: first entry of the status array.
OK, BROKEN, OUTSIDE, TOO_FAST = range(4)


@functools.cache
def kernels(precision: str, laws: tuple[Law, ...], serial: bool) -> SimpleNamespace:
    """The forward and backward kernels for a precision, the laws in use and a driver."""
    real = getattr(ti, precision)
    vec3, vec4 = ti.types.vector(3, real), ti.types.vector(4, real)
    mat3 = ti.types.matrix(3, 3, real)
    nd = ti.types.ndarray
    atomic = not serial

    @ti.func
    def respond(law, F, params, dt):
        Fe, tau = ti.zero(F), ti.zero(F)
        for index in ti.static(range(len(laws))):
            if ti.static(len(laws) == 1) or law == index:
                Fe, tau = laws[index].respond(F, params, dt)
        return Fe, tau

    @ti.func
    def respond_adjoint(law, F, params, dt, gFe, gtau):
        gF, gparams = ti.zero(F), ti.zero(params)
        for index in ti.static(range(len(laws))):
            if ti.static(len(laws) == 1) or law == index:
                gF, gparams = laws[index].respond_adjoint(F, params, dt, gFe, gtau)
        return gF, gparams

    @ti.func
    def stress(
        F: ti.template(), C: ti.template(), mass: ti.template(), volume: ti.template(),
        params: ti.template(), law: ti.template(), Fe: ti.template(), A: ti.template(),
        s, dt, dx,
    ):  # fmt: skip
        for p in range(F.shape[1]):
            elastic, tau = respond(law[p], F[s, p], params[p], dt)
            Fe[p] = elastic
            A[p] = mass[p] * C[s, p] - (dt * volume[p] * 4.0 / (dx * dx)) * tau

    @ti.func
    def bounds(x: ti.template(), box: ti.template(), shape, lower, dx, s):
        """box: first and last node that any particle touches."""
        for _ in range(1):
            for d in ti.static(range(3)):
                box[d], box[d + 3] = shape[d], -1
        if ti.static(serial):
            for p in range(x.shape[1]):
                base = ti.floor((x[s, p] - lower) / dx - 0.5, ti.i32)
                for d in ti.static(range(3)):
                    b = ti.max(0, ti.min(base[d], shape[d] - 3))
                    box[d] = ti.min(box[d], b)
                    box[d + 3] = ti.max(box[d + 3], b + 2)
        else:
            for p in range(x.shape[1]):
                base = ti.floor((x[s, p] - lower) / dx - 0.5, ti.i32)
                for d in ti.static(range(3)):
                    b = ti.max(0, ti.min(base[d], shape[d] - 3))
                    ti.atomic_min(box[d], b)
                    ti.atomic_max(box[d + 3], b + 2)

    @ti.func
    def p2g(
        x: ti.template(), v: ti.template(), force: ti.template(), mass: ti.template(),
        A: ti.template(), grid: ti.template(), shape, lower, s, dt, dx,
    ):  # fmt: skip
        for p in range(x.shape[1]):
            momentum = mass[p] * v[s, p] + dt * force[p]
            scatter(grid, (x[s, p] - lower) / dx, shape, dx, momentum, A[p], mass[p], atomic)

    @ti.func
    def grid_step(grid: ti.template(), box: ti.template(), shape, gravity, contact, dt):
        """(momentum, mass) -> (velocity, mass)."""
        for i in range(box[0], box[3] + 1):
            for j in range(box[1], box[4] + 1):
                for k in range(box[2], box[5] + 1):
                    g = grid[i, j, k]
                    if g[3] > 0:
                        v = ti.Vector([g[0], g[1], g[2]]) / g[3] + dt * gravity
                        v = wall_velocity(ti.Vector([i, j, k]), shape, contact, v)
                        grid[i, j, k] = ti.Vector([v[0], v[1], v[2], g[3]])

    @ti.func
    def g2p(
        x: ti.template(), v: ti.template(), C: ti.template(), F: ti.template(),
        Fe: ti.template(), grid: ti.template(), status: ti.template(),
        shape, lower, src, dst, dt, dx,
    ):  # fmt: skip
        for p in range(x.shape[1]):
            X = (x[src, p] - lower) / dx
            new_v, new_C = gather(grid, X, shape, dx)
            X += dt / dx * new_v
            x[dst, p] = x[src, p] + dt * new_v
            v[dst, p] = new_v
            C[dst, p] = new_C
            F[dst, p] = Fe[p] + dt * (new_C @ Fe[p])
            fault = OK
            speed = ti.abs(new_v).max()
            if not (speed * dt < dx):
                fault = TOO_FAST
            for d in ti.static(range(3)):
                if X[d] < 1 or X[d] > shape[d] - 2:
                    fault = OUTSIDE
            if not (F[dst, p].determinant() > 0) or not (speed < 1e30):
                fault = BROKEN
            if fault != OK and status[0] == OK:
                status[0], status[1] = fault, p

    @ti.func
    def clear(grid: ti.template(), box: ti.template()):
        """Leave the grid all zero for the next substep, by touching the active box only."""
        for i in range(box[0], box[3] + 1):
            for j in range(box[1], box[4] + 1):
                for k in range(box[2], box[5] + 1):
                    grid[i, j, k] = ti.zero(grid[i, j, k])

    @ti.func
    def g2p_adjoint(
        x: ti.template(), C: ti.template(), Fe: ti.template(), gx: ti.template(),
        gv: ti.template(), gC: ti.template(), gF: ti.template(), ggrid: ti.template(),
        shape, lower, s, dt, dx,
    ):  # fmt: skip
        """Scatter the gradient of node velocities; gv, gC become those of gather's results."""
        for p in range(gx.shape[0]):
            gv[p] += dt * gx[p]
            gC[p] += dt * (gF[p] @ Fe[p].transpose())
            gF[p] += dt * (C[s + 1, p].transpose() @ gF[p])
            X, B = (x[s, p] - lower) / dx, 4.0 / (dx * dx) * gC[p]
            scatter(ggrid, X, shape, dx, gv[p], B, ti.zero(dx), atomic)

    @ti.func
    def grid_adjoint(
        grid: ti.template(), ggrid: ti.template(), box: ti.template(), shape, gravity, contact, dt
    ):
        """Gradient of node velocity -> gradient of (momentum, mass)."""
        for i in range(box[0], box[3] + 1):
            for j in range(box[1], box[4] + 1):
                for k in range(box[2], box[5] + 1):
                    n, g = grid[i, j, k], ggrid[i, j, k]
                    if n[3] > 0:
                        v = ti.Vector([n[0], n[1], n[2]])
                        node = ti.Vector([i, j, k])
                        gv = ti.Vector([g[0], g[1], g[2]])
                        gp = wall_adjoint(node, shape, contact, v, gv) / n[3]
                        gm = -gp.dot(v - dt * gravity)
                        ggrid[i, j, k] = ti.Vector([gp[0], gp[1], gp[2], gm])

    @ti.func
    def particle_adjoint(
        x: ti.template(), v: ti.template(), F: ti.template(), force: ti.template(),
        mass: ti.template(), volume: ti.template(), params: ti.template(), law: ti.template(),
        A: ti.template(), gx: ti.template(), gv: ti.template(), gC: ti.template(),
        gF: ti.template(), gforce: ti.template(), gparams: ti.template(), grid: ti.template(),
        ggrid: ti.template(), shape, lower, s, dt, dx,
    ):  # fmt: skip
        """Adjoint of P2G, of the material and of the external force, and G2P's share in x."""
        for p in range(gx.shape[0]):
            momentum = mass[p] * v[s, p] + dt * force[p]
            dx_gx, P, Q = transfer_gradients(
                grid, ggrid, (x[s, p] - lower) / dx, shape, dx,
                gv[p], 4.0 / (dx * dx) * gC[p], momentum, A[p], mass[p],
            )  # fmt: skip
            gx[p] += dx_gx
            gv[p] = mass[p] * P
            gC[p] = mass[p] * Q
            gforce[p] += dt * P
            gtau = (-dt * volume[p] * 4.0 / (dx * dx)) * Q
            dF, dparams = respond_adjoint(law[p], F[s, p], params[p], dt, gF[p], gtau)
            gF[p] = dF
            gparams[p] += dparams

    @ti.func
    def particles_to_grid(
        x: ti.template(), v: ti.template(), C: ti.template(), F: ti.template(),
        force: ti.template(), mass: ti.template(), volume: ti.template(), params: ti.template(),
        law: ti.template(), Fe: ti.template(), A: ti.template(), grid: ti.template(),
        box: ti.template(),
        s, dt, dx, lower, gravity, contact, shape,
    ):  # fmt: skip
        """First half of a substep: from the state s to node velocities."""
        stress(F, C, mass, volume, params, law, Fe, A, s, dt, dx)
        bounds(x, box, shape, lower, dx, s)
        p2g(x, v, force, mass, A, grid, shape, lower, s, dt, dx)
        grid_step(grid, box, shape, gravity, contact, dt)

    @ti.func
    def substep(
        x: ti.template(), v: ti.template(), C: ti.template(), F: ti.template(),
        force: ti.template(), mass: ti.template(), volume: ti.template(), params: ti.template(),
        law: ti.template(), Fe: ti.template(), A: ti.template(), grid: ti.template(),
        box: ti.template(), status: ti.template(),
        src, dst, dt, dx, lower, gravity, contact, shape,
    ):  # fmt: skip
        particles_to_grid(
            x, v, C, F, force, mass, volume, params, law, Fe, A, grid, box,
            src, dt, dx, lower, gravity, contact, shape,
        )  # fmt: skip
        g2p(x, v, C, F, Fe, grid, status, shape, lower, src, dst, dt, dx)
        clear(grid, box)

    @ti.func
    def substep_adjoint(
        x: ti.template(), v: ti.template(), C: ti.template(), F: ti.template(),
        force: ti.template(), mass: ti.template(), volume: ti.template(), params: ti.template(),
        law: ti.template(), Fe: ti.template(), A: ti.template(), grid: ti.template(),
        box: ti.template(),
        gx: ti.template(), gv: ti.template(), gC: ti.template(), gF: ti.template(),
        gforce: ti.template(), gparams: ti.template(), ggrid: ti.template(),
        s, dt, dx, lower, gravity, contact, shape,
    ):  # fmt: skip
        particles_to_grid(
            x, v, C, F, force, mass, volume, params, law, Fe, A, grid, box,
            s, dt, dx, lower, gravity, contact, shape,
        )  # fmt: skip
        g2p_adjoint(x, C, Fe, gx, gv, gC, gF, ggrid, shape, lower, s, dt, dx)
        grid_adjoint(grid, ggrid, box, shape, gravity, contact, dt)
        particle_adjoint(
            x, v, F, force, mass, volume, params, law, A, gx, gv, gC, gF, gforce, gparams,
            grid, ggrid, shape, lower, s, dt, dx,
        )  # fmt: skip
        clear(grid, box)
        clear(ggrid, box)

    @ti.kernel
    def forward(
        x: nd(vec3, 2), v: nd(vec3, 2), C: nd(mat3, 2), F: nd(mat3, 2), force: nd(vec3, 1),
        mass: nd(real, 1), volume: nd(real, 1), params: nd(vec4, 1), law: nd(ti.i32, 1),
        Fe: nd(mat3, 1), A: nd(mat3, 1), grid: nd(vec4, 3), box: nd(ti.i32, 1),
        status: nd(ti.i32, 1), first: ti.i32, last: ti.i32, keep: ti.i32,
        dt: real, dx: real, lower: vec3, gravity: vec3, contact: ti.i32,
    ):  # fmt: skip
        """Substeps first..last-1; keep = 1 stores every state, keep = 0 overwrites slot 0.

        The parallel driver takes one substep a launch: first.
        """
        shape = ti.Vector([grid.shape[0], grid.shape[1], grid.shape[2]])
        if ti.static(serial):
            ti.loop_config(serialize=True)
            for s in range(first, last):
                substep(
                    x, v, C, F, force, mass, volume, params, law, Fe, A, grid, box, status,
                    s * keep, (s + 1) * keep, dt, dx, lower, gravity, contact, shape,
                )  # fmt: skip
        else:
            substep(
                x, v, C, F, force, mass, volume, params, law, Fe, A, grid, box, status,
                first * keep, (first + 1) * keep, dt, dx, lower, gravity, contact, shape,
            )  # fmt: skip

    @ti.kernel
    def backward(
        x: nd(vec3, 2), v: nd(vec3, 2), C: nd(mat3, 2), F: nd(mat3, 2), force: nd(vec3, 1),
        mass: nd(real, 1), volume: nd(real, 1), params: nd(vec4, 1), law: nd(ti.i32, 1),
        Fe: nd(mat3, 1), A: nd(mat3, 1), grid: nd(vec4, 3), box: nd(ti.i32, 1),
        gx: nd(vec3, 1), gv: nd(vec3, 1), gC: nd(mat3, 1), gF: nd(mat3, 1),
        gforce: nd(vec3, 1), gparams: nd(vec4, 1), ggrid: nd(vec4, 3),
        first: ti.i32, last: ti.i32,
        dt: real, dx: real, lower: vec3, gravity: vec3, contact: ti.i32,
    ):  # fmt: skip
        """Substeps last-1..first in reverse; the grid of each is recomputed from its state."""
        shape = ti.Vector([grid.shape[0], grid.shape[1], grid.shape[2]])
        if ti.static(serial):
            ti.loop_config(serialize=True)
            for step in range(first, last):
                substep_adjoint(
                    x, v, C, F, force, mass, volume, params, law, Fe, A, grid, box,
                    gx, gv, gC, gF, gforce, gparams, ggrid,
                    first + last - 1 - step, dt, dx, lower, gravity, contact, shape,
                )  # fmt: skip
        else:
            substep_adjoint(
                x, v, C, F, force, mass, volume, params, law, Fe, A, grid, box,
                gx, gv, gC, gF, gforce, gparams, ggrid,
                first, dt, dx, lower, gravity, contact, shape,
            )  # fmt: skip

    return SimpleNamespace(forward=forward, backward=backward, serial=serial)
