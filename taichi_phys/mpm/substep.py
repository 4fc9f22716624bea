"""Taichi kernels that advance particles by substeps, and their adjoint.

A substep (Hu et al. 2018, MLS-MPM; external force on particles as in "Seeing the wind", sec. 3):

    F_elastic, tau = material(F)                          return map, Kirchhoff stress
    v* = v + dt force / mass                              external force, before P2G
    A  = mass C - dt volume 4 / dx^2 tau
    (p, m)_i = sum w_ip (mass v* + A d_ip, mass)          P2G
    v_i = boundary(p_i / m_i + dt gravity)                grid
    v = sum w_ip v_i;  C = 4 / dx^2 sum w_ip v_i d_ip^T   G2P
    x += dt v;  F = (I + dt C) F_elastic

Particles are cut into chunks. Each chunk scatters to a grid of its own, in the order of its
particles, and lists the blocks of 4^3 nodes that it touches; the grid phase adds the chunks' nodes
in order, on listed blocks only. So nothing needs atomics, the result does not depend on the number
of threads, and the cost follows the particles, not the domain. G2P of a substep and P2G of the
next visit a particle once.

Three drivers run the same phases. "serial": one launch runs all substeps of a frame; for small
scenes, since a launch costs 0.3 ms and a pooled task 0.1 ms. "pooled": a launch per substep whose
two loops are shared among the CPU's threads. "gpu": particles in parallel, one grid, with atomics.
"""

import functools
from types import SimpleNamespace

import taichi as ti

from taichi_phys.materials import Law
from taichi_phys.mpm.nodes import (
    BLOCK,
    BROKEN,
    FAULT,
    LIST,
    LISTED,
    OK,
    OUTSIDE,
    PARTICLE,
    TOO_FAST,
    block_corner,
    grid_job,
    grid_node,
    list_blocks,
    shape_of,
    unlist_block,
    unlist_blocks,
)
from taichi_phys.mpm.transfer import gather, scatter, transfer_gradients


# Where a particle's quantities lie in the packed state, in numbers.
X, V, C, F, PLASTIC, STATE_SIZE = 0, 3, 6, 15, 24, 25

JOBS = 16  # that the grid phase is cut into, for the CPU's threads
# Taichi gives a CPU thread at least so many iterations of a loop: chunk and job i is iteration
# i * STRIDE.
STRIDE = 512


@ti.func
def vector_at(q, offset: ti.template()):
    """Three numbers of a packed state."""
    return ti.Vector([q[offset], q[offset + 1], q[offset + 2]])


@ti.func
def matrix_at(q, offset: ti.template()):
    """Nine numbers of a packed state, row by row."""
    return ti.Matrix([[q[offset + 3 * i + j] for j in range(3)] for i in range(3)])


@ti.func
def put_vector(a: ti.template(), s, p, offset: ti.template(), value):
    for i in ti.static(range(3)):
        a[s, p][offset + i] = value[i]


@ti.func
def put_matrix(a: ti.template(), s, p, offset: ti.template(), value):
    for i, j in ti.static(ti.ndrange(3, 3)):
        a[s, p][offset + 3 * i + j] = value[i, j]


@ti.func
def is_removed(F_trial, allowed: ti.template()):
    """Particles that left the grid, where that is allowed, are marked by F = 0."""
    gone = False
    if ti.static(allowed):
        gone = F_trial.norm_sqr() == 0
    return gone


@functools.cache
def kernels(precision: str, laws: tuple[Law, ...], driver: str, remove: bool) -> SimpleNamespace:
    """The forward and backward kernels for a precision, the laws in use and a driver.

    remove: particles that leave the grid are removed.
    """
    real = getattr(ti, precision)
    vec2, vec3 = ti.types.vector(2, real), ti.types.vector(3, real)
    vec4 = ti.types.vector(4, real)
    nd = ti.types.ndarray
    atomic = driver == "gpu"
    serial = driver == "serial"
    columns = max(len(law.columns) for law in laws)
    differentiable = [i for i, law in enumerate(laws) if law.respond_adjoint is not None]
    packed, scratch, row = (ti.types.vector(k, real) for k in (STATE_SIZE, 18, columns))
    Settings = ti.types.struct(
        dt=real, dx=real, inv_dx=real, lower=vec3, gravity=vec3, contact=ti.i32, friction=real,
        moving=ti.i32, keep=ti.i32,
    )  # fmt: skip

    @ti.func
    def respond(law, F_trial, C_, plastic, params, dt):
        Fe, tau, flowed = ti.zero(F_trial), ti.zero(F_trial), plastic
        for index in ti.static(range(len(laws))):
            if ti.static(len(laws) == 1) or law == index:
                Fe, tau, flowed = laws[index].respond(F_trial, C_, plastic, params, dt)
        return Fe, tau, flowed

    @ti.func
    def respond_adjoint(law, F_trial, C_, plastic, params, dt, gFe, gtau, gplastic):
        gF, gC, gq, gparams = gFe, ti.zero(F_trial), gplastic, ti.zero(params)
        for index in ti.static(range(len(laws))):
            if ti.static(index in differentiable):
                if ti.static(len(laws) == 1) or law == index:
                    gF, gC, gq, gparams = laws[index].respond_adjoint(
                        F_trial, C_, plastic, params, dt, gFe, gtau, gplastic
                    )
        return gF, gC, gq, gparams

    @ti.func
    def fault_of(v, cell, F_trial, shape, setting):
        """Why a particle's new state is to be rejected."""
        fault = OK
        speed = ti.abs(v).max()
        if not (speed * setting.dt < setting.dx):
            fault = TOO_FAST
        if (cell < 1).any() or (cell > shape - 2).any():
            fault = OUTSIDE
        if not (F_trial.determinant() > 0) or not (speed < 1e30):
            fault = BROKEN
        return fault

    @ti.func
    def p2g(
        force: ti.template(), body: ti.template(), params: ti.template(), law: ti.template(),
        nodes: ti.template(), active: ti.template(), marks: ti.template(),
        c, p, x, v, C_, F_trial, plastic, setting,
    ):  # fmt: skip
        """Scatter a particle; returns F_elastic, the plastic state after flow, and A."""
        Fe, tau, flowed = respond(law[p], F_trial, C_, plastic, params[p], setting.dt)
        mass, volume = body[p][0], body[p][1]
        momentum = mass * v + setting.dt * force[p]
        A = mass * C_ - (setting.dt * volume * 4.0 * setting.inv_dx**2) * tau
        cell, shape = (x - setting.lower) * setting.inv_dx, shape_of(nodes)
        base = scatter(nodes, c, cell, shape, setting.dx, momentum, A, mass, atomic)
        list_blocks(active, marks, c, base, shape, atomic)
        return Fe, flowed, A

    @ti.func
    def visit(
        state: ti.template(), force: ti.template(), body: ti.template(), params: ti.template(),
        law: ti.template(), nodes: ti.template(), grid: ti.template(), active: ti.template(),
        marks: ti.template(), c, p, s, first, last, setting,
    ):  # fmt: skip
        """G2P of substep s - 1, which completes state s, and P2G of substep s.

        P2G leaves F_elastic and the plastic state where state s + 1 will be.
        """
        before, now, after = (s - 1) * setting.keep, s * setting.keep, (s + 1) * setting.keep
        q = state[now, p]
        x, v, C_, F_trial = vector_at(q, X), vector_at(q, V), matrix_at(q, C), matrix_at(q, F)
        if s > first:
            shape = shape_of(grid)
            x = vector_at(state[before, p], X)
            if is_removed(F_trial, remove):
                v, C_ = ti.zero(v), ti.zero(C_)
            else:
                v, C_ = gather(grid, (x - setting.lower) * setting.inv_dx, shape, setting.dx)
                moved = x + setting.dt * v
                F_trial += setting.dt * (C_ @ F_trial)
                cell = (moved - setting.lower) * setting.inv_dx
                fault = fault_of(v, cell, F_trial, shape, setting)
                if ti.static(remove) and fault == OUTSIDE:
                    v, C_, F_trial = ti.zero(v), ti.zero(C_), ti.zero(F_trial)
                else:
                    x = moved
                    if fault != OK and marks[c, FAULT] == OK:
                        marks[c, FAULT], marks[c, PARTICLE] = fault, p
            put_vector(state, now, p, X, x)
            put_vector(state, now, p, V, v)
            put_matrix(state, now, p, C, C_)
            put_matrix(state, now, p, F, F_trial)
        if s < last:
            Fe, plastic = F_trial, q[PLASTIC]
            if not is_removed(F_trial, remove):
                Fe, plastic, _ = p2g(
                    force, body, params, law, nodes, active, marks,
                    c, p, x, v, C_, F_trial, plastic, setting,
                )  # fmt: skip
            put_matrix(state, after, p, F, Fe)
            state[after, p][PLASTIC] = plastic

    @ti.func
    def p2g_again(
        state: ti.template(), force: ti.template(), body: ti.template(), params: ti.template(),
        law: ti.template(), work: ti.template(), nodes: ti.template(), active: ti.template(),
        marks: ti.template(), c, p, s, setting,
    ):  # fmt: skip
        """p2g of a stored state, for the adjoint: A and F_elastic are kept in work."""
        q = state[s, p]
        F_trial = matrix_at(q, F)
        if not is_removed(F_trial, remove):
            Fe, _, A = p2g(
                force, body, params, law, nodes, active, marks,
                c, p, vector_at(q, X), vector_at(q, V), matrix_at(q, C), F_trial, q[PLASTIC],
                setting,
            )  # fmt: skip
            put_matrix(work, 0, p, 0, A)
            put_matrix(work, 0, p, 9, Fe)

    @ti.func
    def g2p_adjoint(
        state: ti.template(), work: ti.template(), g: ti.template(), nodes: ti.template(),
        c, p, s, setting,
    ):  # fmt: skip
        """Scatter the gradient of node velocities; g's v, C, F become those of gather's results
        and of F_elastic."""
        F_trial = matrix_at(state[s, p], F)
        if not is_removed(F_trial, remove):
            shape = shape_of(nodes)
            dt, dx = setting.dt, setting.dx
            gx, gv = vector_at(g[0, p], X), vector_at(g[0, p], V)
            gC, gF = matrix_at(g[0, p], C), matrix_at(g[0, p], F)
            if is_removed(matrix_at(state[s + 1, p], F), remove):
                gv, gC, gF = ti.zero(gv), ti.zero(gC), ti.zero(gF)
            else:
                gv += dt * gx
                gC += dt * (gF @ matrix_at(work[0, p], 9).transpose())
                gF += dt * (matrix_at(state[s + 1, p], C).transpose() @ gF)
                cell = (vector_at(state[s, p], X) - setting.lower) * setting.inv_dx
                scatter(
                    nodes, c, cell, shape, dx, gv, 4.0 * setting.inv_dx**2 * gC, ti.zero(dx), atomic
                )
            put_vector(g, 0, p, V, gv)
            put_matrix(g, 0, p, C, gC)
            put_matrix(g, 0, p, F, gF)

    @ti.func
    def particle_adjoint(
        state: ti.template(), force: ti.template(), body: ti.template(), params: ti.template(),
        law: ti.template(), work: ti.template(), g: ti.template(), gforce: ti.template(),
        gparams: ti.template(), grid: ti.template(), p, s, setting,
    ):  # fmt: skip
        """Adjoint of P2G, of the material and of the external force, and G2P's share in x.

        The gradient of tau is left in work, for laws whose adjoint is not in this kernel.
        """
        F_trial = matrix_at(state[s, p], F)
        if not is_removed(F_trial, remove):
            shape = shape_of(grid)
            dt, dx, mass = setting.dt, setting.dx, body[p][0]
            apic = 4.0 * setting.inv_dx**2
            momentum = mass * vector_at(state[s, p], V) + dt * force[p]
            cell = (vector_at(state[s, p], X) - setting.lower) * setting.inv_dx
            gx, P, Q = transfer_gradients(
                grid, cell, shape, dx, vector_at(g[0, p], V), apic * matrix_at(g[0, p], C),
                momentum, matrix_at(work[0, p], 0), mass,
            )  # fmt: skip
            gtau = (-dt * body[p][1] * apic) * Q
            put_matrix(work, 0, p, 0, gtau)
            gF, gC, gplastic, grow = respond_adjoint(
                law[p], F_trial, matrix_at(state[s, p], C), state[s, p][PLASTIC],
                params[p], dt, matrix_at(g[0, p], F), gtau, g[0, p][PLASTIC],
            )  # fmt: skip
            put_vector(g, 0, p, X, vector_at(g[0, p], X) + gx)
            put_vector(g, 0, p, V, mass * P)
            put_matrix(g, 0, p, C, mass * Q + gC)
            put_matrix(g, 0, p, F, gF)
            g[0, p][PLASTIC] = gplastic
            gforce[p] = gforce[p] + dt * P
            gparams[p] = gparams[p] + grow

    @ti.func
    def visit_chunk(
        state: ti.template(), force: ti.template(), body: ti.template(), params: ti.template(),
        law: ti.template(), nodes: ti.template(), grid: ti.template(), active: ti.template(),
        marks: ti.template(), c, s, first, last, setting,
    ):  # fmt: skip
        unlist_blocks(active, marks, c)
        n, chunks = state.shape[1], nodes.shape[0]
        for p in range(c * n // chunks, (c + 1) * n // chunks):
            visit(
                state, force, body, params, law, nodes, grid, active, marks,
                c, p, s, first, last, setting,
            )  # fmt: skip

    @ti.kernel
    def forward(
        state: nd(packed, 2), force: nd(vec3, 1), body: nd(vec2, 1), params: nd(row, 1),
        law: nd(ti.i32, 1), nodes: nd(vec4, 4), grid: nd(vec4, 4), active: nd(ti.i32, 3),
        marks: nd(ti.i32, 2), table: nd(real, 3), sdf: nd(real, 1),
        now: ti.i32, first: ti.i32, last: ti.i32, setting: Settings,
    ):  # fmt: skip
        """Substeps first..last-1; serially all of them, else what comes between the grids of
        substeps now - 1 and now, and the latter."""
        if ti.static(serial):
            ti.loop_config(serialize=True)
            for s in range(first, last + 1):
                for c in range(nodes.shape[0]):
                    visit_chunk(
                        state, force, body, params, law, nodes, grid, active, marks,
                        c, s, first, last, setting,
                    )  # fmt: skip
                grid_job(nodes, grid, active, marks, table, sdf, 0, 1, s, setting, "forward")
        elif ti.static(not atomic):
            for t in range(nodes.shape[0] * STRIDE):
                if t % STRIDE == 0:
                    visit_chunk(
                        state, force, body, params, law, nodes, grid, active, marks,
                        t // STRIDE, now, first, last, setting,
                    )  # fmt: skip
            for t in range(JOBS * STRIDE):
                if t % STRIDE == 0:
                    grid_job(
                        nodes, grid, active, marks, table, sdf, t // STRIDE, JOBS, now, setting,
                        "forward",
                    )  # fmt: skip
        else:
            for e in range(marks[0, LISTED]):
                unlist_block(active, 0, e)
            for _ in range(1):
                marks[0, LISTED] = 0
            for p in range(state.shape[1]):
                visit(
                    state, force, body, params, law, nodes, grid, active, marks,
                    0, p, now, first, last, setting,
                )  # fmt: skip
            for t in range(marks[0, LISTED] * BLOCK**3):
                grid_thread(nodes, grid, active, table, sdf, t, now, setting, "forward")

    @ti.func
    def grid_thread(
        nodes: ti.template(), grid: ti.template(), active: ti.template(), table: ti.template(),
        sdf: ti.template(), t, s, setting, what: ti.template(),
    ):  # fmt: skip
        """One node of a listed block, for a GPU's thread t."""
        shape = shape_of(grid)
        i = t % BLOCK**3
        node = block_corner(active[0, LIST, t // BLOCK**3], shape)
        node += ti.Vector([i // BLOCK**2, i // BLOCK % BLOCK, i % BLOCK])
        if (node < shape).all():
            grid_node(nodes, grid, table, sdf, 1, node, s, setting, what)

    @ti.func
    def chunk_again(
        state: ti.template(), force: ti.template(), body: ti.template(), params: ti.template(),
        law: ti.template(), work: ti.template(), nodes: ti.template(), active: ti.template(),
        marks: ti.template(), c, s, setting,
    ):  # fmt: skip
        unlist_blocks(active, marks, c)
        n, chunks = state.shape[1], nodes.shape[0]
        for p in range(c * n // chunks, (c + 1) * n // chunks):
            p2g_again(state, force, body, params, law, work, nodes, active, marks, c, p, s, setting)

    @ti.func
    def chunk_adjoint(
        state: ti.template(), work: ti.template(), g: ti.template(), nodes: ti.template(),
        c, s, setting,
    ):  # fmt: skip
        n, chunks = state.shape[1], nodes.shape[0]
        for p in range(c * n // chunks, (c + 1) * n // chunks):
            g2p_adjoint(state, work, g, nodes, c, p, s, setting)

    @ti.kernel
    def backward(
        state: nd(packed, 2), force: nd(vec3, 1), body: nd(vec2, 1), params: nd(row, 1),
        law: nd(ti.i32, 1), nodes: nd(vec4, 4), grid: nd(vec4, 4), active: nd(ti.i32, 3),
        marks: nd(ti.i32, 2), table: nd(real, 3), sdf: nd(real, 1), work: nd(scratch, 2),
        g: nd(packed, 2), gforce: nd(vec3, 1), gparams: nd(row, 1),
        first: ti.i32, last: ti.i32, setting: Settings,
    ):  # fmt: skip
        """Substeps last-1..first in reverse (one of them, unless serial); the grid of each is
        computed again from its state."""
        n = state.shape[1]
        if ti.static(serial):
            ti.loop_config(serialize=True)
            for turn in range(first, last):
                s = first + last - 1 - turn
                for c in range(nodes.shape[0]):
                    chunk_again(
                        state, force, body, params, law, work, nodes, active, marks, c, s, setting
                    )
                grid_job(nodes, grid, active, marks, table, sdf, 0, 1, s, setting, "both")
                for c in range(nodes.shape[0]):
                    chunk_adjoint(state, work, g, nodes, c, s, setting)
                grid_job(nodes, grid, active, marks, table, sdf, 0, 1, s, setting, "gradient")
                for p in range(n):
                    particle_adjoint(
                        state, force, body, params, law, work, g, gforce, gparams, grid,
                        p, s, setting,
                    )  # fmt: skip
        elif ti.static(not atomic):
            for t in range(nodes.shape[0] * STRIDE):
                if t % STRIDE == 0:
                    chunk_again(
                        state, force, body, params, law, work, nodes, active, marks,
                        t // STRIDE, first, setting,
                    )  # fmt: skip
            for t in range(JOBS * STRIDE):
                if t % STRIDE == 0:
                    grid_job(
                        nodes, grid, active, marks, table, sdf, t // STRIDE, JOBS, first, setting,
                        "both",
                    )  # fmt: skip
            for t in range(nodes.shape[0] * STRIDE):
                if t % STRIDE == 0:
                    chunk_adjoint(state, work, g, nodes, t // STRIDE, first, setting)
            for t in range(JOBS * STRIDE):
                if t % STRIDE == 0:
                    grid_job(
                        nodes, grid, active, marks, table, sdf, t // STRIDE, JOBS, first, setting,
                        "gradient",
                    )  # fmt: skip
        else:
            for e in range(marks[0, LISTED]):
                unlist_block(active, 0, e)
            for _ in range(1):
                marks[0, LISTED] = 0
            for p in range(n):
                p2g_again(
                    state, force, body, params, law, work, nodes, active, marks,
                    0, p, first, setting,
                )  # fmt: skip
            for t in range(marks[0, LISTED] * BLOCK**3):
                grid_thread(nodes, grid, active, table, sdf, t, first, setting, "both")
            for p in range(n):
                g2p_adjoint(state, work, g, nodes, 0, p, first, setting)
            for t in range(marks[0, LISTED] * BLOCK**3):
                grid_thread(nodes, grid, active, table, sdf, t, first, setting, "gradient")
        if ti.static(not serial):
            for p in range(n):
                particle_adjoint(
                    state, force, body, params, law, work, g, gforce, gparams, grid,
                    p, first, setting,
                )  # fmt: skip

    return SimpleNamespace(
        forward=forward,
        backward=backward,
        driver=driver,
        columns=columns,
        Settings=Settings,
    )
