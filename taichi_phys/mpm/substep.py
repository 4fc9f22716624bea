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

import numpy as np
import taichi as ti

from taichi_phys.materials import Law
from taichi_phys.mpm.nodes import (
    BLOCK,
    BROKEN,
    CHUNKS,
    FAULT,
    LIST,
    LISTED,
    MARKS,
    OK,
    OUTSIDE,
    PARTICLE,
    TOO_FAST,
    block_corner,
    grid_job,
    grid_node,
    list_blocks,
    unlist_block,
    unlist_blocks,
)
from taichi_phys.mpm.transfer import gather, scatter, transfer_gradients


# Where a particle's quantities lie: in the packed state, and in what is given for a frame.
X, V, C, F, PLASTIC, STATE_SIZE = 0, 3, 6, 15, 24, 25
FORCE, MASS, VOLUME, LAW, PARAMS = 0, 3, 4, 5, 6

JOBS = 16  # that the grid phase is cut into, for the CPU's threads
# Taichi gives a CPU thread at least so many iterations of a loop: chunk and job i is iteration
# i * STRIDE.
STRIDE = 512


def settings(dt: float, dx: float, lower, gravity, shape, contact: int, friction: float):
    """What kernels take as `numbers`, (13,): one array, since Taichi takes 70 us for a struct."""
    return np.array([dt, dx, *lower, *gravity, *shape, contact, friction])


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
def kernels(
    precision: str, laws: tuple[Law, ...], driver: str, remove: bool, solids: bool
) -> SimpleNamespace:
    """The forward and backward kernels for a precision, the laws in use and a driver.

    remove: particles that leave the grid are removed; solids: there are colliders.

    Their arguments: states (slots, n): packed states of substeps first, first + 1, ..., or one
    that is overwritten; given (n,): force, mass, volume, law and its parameters; nodes, lists: see
    nodes.py; numbers: settings; table, sdf: see contact.py. For the adjoint: work: scratch; g (1,
    n): gradient of the packed state; ggiven: gradient of given, added to.
    """
    real = getattr(ti, precision)
    vec3, vec4 = ti.types.vector(3, real), ti.types.vector(4, real)
    nd = ti.types.ndarray
    atomic = driver == "gpu"
    serial = driver == "serial"
    columns = max(len(law.columns) for law in laws)
    differentiable = [i for i, law in enumerate(laws) if law.respond_adjoint is not None]
    packed, scratch, row = (ti.types.vector(k, real) for k in (STATE_SIZE, 18, PARAMS + columns))
    Settings = ti.types.struct(
        dt=real, dx=real, inv_dx=real, lower=vec3, gravity=vec3,
        shape=ti.types.vector(3, ti.i32), contact=ti.i32, friction=real,
    )  # fmt: skip

    @ti.func
    def read(numbers: ti.template()):
        lower = ti.Vector([numbers[2], numbers[3], numbers[4]])
        gravity = ti.Vector([numbers[5], numbers[6], numbers[7]])
        shape = ti.Vector([ti.cast(numbers[8 + d], ti.i32) for d in range(3)])
        return Settings(
            dt=numbers[0], dx=numbers[1], inv_dx=1 / numbers[1], lower=lower, gravity=gravity,
            shape=shape, contact=ti.cast(numbers[11], ti.i32), friction=numbers[12],
        )  # fmt: skip

    @ti.func
    def params_of(q):
        """Parameters of a particle's law."""
        return ti.Vector([q[PARAMS + k] for k in range(columns)])

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
    def fault_of(v, cell, F_trial, setting):
        """Why a particle's new state is to be rejected."""
        fault = OK
        speed = ti.abs(v).max()
        if not (speed * setting.dt < setting.dx):
            fault = TOO_FAST
        if (cell < 1).any() or (cell > setting.shape - 2).any():
            fault = OUTSIDE
        if not (F_trial.determinant() > 0) or not (speed < 1e30):
            fault = BROKEN
        return fault

    @ti.func
    def p2g(
        given: ti.template(), nodes: ti.template(), lists: ti.template(),
        c, p, x, v, C_, F_trial, plastic, setting,
    ):  # fmt: skip
        """Scatter a particle; returns F_elastic, the plastic state after flow, and A."""
        q = given[p]
        Fe, tau, flowed = respond(
            ti.cast(q[LAW], ti.i32), F_trial, C_, plastic, params_of(q), setting.dt
        )
        momentum = q[MASS] * v + setting.dt * vector_at(q, FORCE)
        A = q[MASS] * C_ - (setting.dt * q[VOLUME] * 4.0 * setting.inv_dx**2) * tau
        cell = (x - setting.lower) * setting.inv_dx
        base = scatter(
            nodes, CHUNKS + c, cell, setting.shape, setting.dx, momentum, A, q[MASS], atomic
        )
        list_blocks(lists, c, base, setting.shape, atomic)
        return Fe, flowed, A

    @ti.func
    def visit(
        states: ti.template(), given: ti.template(), nodes: ti.template(), lists: ti.template(),
        c, p, s, first, last, setting,
    ):  # fmt: skip
        """G2P of substep s - 1, which completes state s, and P2G of substep s.

        P2G leaves F_elastic and the plastic state where state s + 1 will be.
        """
        keep = ti.min(states.shape[0] - 1, 1)
        before, now, after = (s - 1) * keep, s * keep, (s + 1) * keep
        q = states[now, p]
        x, v, C_, F_trial = vector_at(q, X), vector_at(q, V), matrix_at(q, C), matrix_at(q, F)
        if s > first:
            x = vector_at(states[before, p], X)
            if is_removed(F_trial, remove):
                v, C_ = ti.zero(v), ti.zero(C_)
            else:
                cell = (x - setting.lower) * setting.inv_dx
                v, C_ = gather(nodes, cell, setting.shape, setting.dx)
                moved = x + setting.dt * v
                F_trial += setting.dt * (C_ @ F_trial)
                cell = (moved - setting.lower) * setting.inv_dx
                fault = fault_of(v, cell, F_trial, setting)
                if ti.static(remove) and fault == OUTSIDE:
                    v, C_, F_trial = ti.zero(v), ti.zero(C_), ti.zero(F_trial)
                else:
                    x = moved
                    if fault != OK and lists[c, MARKS, FAULT] == OK:
                        lists[c, MARKS, FAULT], lists[c, MARKS, PARTICLE] = fault, p
            put_vector(states, now, p, X, x)
            put_vector(states, now, p, V, v)
            put_matrix(states, now, p, C, C_)
            put_matrix(states, now, p, F, F_trial)
        if s < last:
            Fe, plastic = F_trial, q[PLASTIC]
            if not is_removed(F_trial, remove):
                Fe, plastic, _ = p2g(given, nodes, lists, c, p, x, v, C_, F_trial, plastic, setting)
            put_matrix(states, after, p, F, Fe)
            states[after, p][PLASTIC] = plastic

    @ti.func
    def visit_chunk(
        states: ti.template(), given: ti.template(), nodes: ti.template(), lists: ti.template(),
        numbers: ti.template(), c, s, first, last,
    ):  # fmt: skip
        unlist_blocks(lists, c)
        setting, n, chunks = read(numbers), given.shape[0], lists.shape[0]
        for p in range(c * n // chunks, (c + 1) * n // chunks):
            visit(states, given, nodes, lists, c, p, s, first, last, setting)

    @ti.func
    def p2g_again(
        states: ti.template(), given: ti.template(), nodes: ti.template(), lists: ti.template(),
        work: ti.template(), c, p, s, setting,
    ):  # fmt: skip
        """p2g of a stored state, for the adjoint: A and F_elastic are kept in work."""
        q = states[s, p]
        F_trial = matrix_at(q, F)
        if not is_removed(F_trial, remove):
            Fe, _, A = p2g(
                given, nodes, lists, c, p, vector_at(q, X), vector_at(q, V), matrix_at(q, C),
                F_trial, q[PLASTIC], setting,
            )  # fmt: skip
            put_matrix(work, 0, p, 0, A)
            put_matrix(work, 0, p, 9, Fe)

    @ti.func
    def p2g_chunk_again(
        states: ti.template(), given: ti.template(), nodes: ti.template(), lists: ti.template(),
        numbers: ti.template(), work: ti.template(), c, s,
    ):  # fmt: skip
        unlist_blocks(lists, c)
        setting, n, chunks = read(numbers), given.shape[0], lists.shape[0]
        for p in range(c * n // chunks, (c + 1) * n // chunks):
            p2g_again(states, given, nodes, lists, work, c, p, s, setting)

    @ti.func
    def g2p_adjoint(
        states: ti.template(), nodes: ti.template(), work: ti.template(), g: ti.template(),
        c, p, s, setting,
    ):  # fmt: skip
        """Scatter the gradient of node velocities; g's v, C, F become those of gather's results
        and of F_elastic."""
        F_trial = matrix_at(states[s, p], F)
        if not is_removed(F_trial, remove):
            dt = setting.dt
            gx, gv = vector_at(g[0, p], X), vector_at(g[0, p], V)
            gC, gF = matrix_at(g[0, p], C), matrix_at(g[0, p], F)
            if is_removed(matrix_at(states[s + 1, p], F), remove):
                gv, gC, gF = ti.zero(gv), ti.zero(gC), ti.zero(gF)
            else:
                gv += dt * gx
                gC += dt * (gF @ matrix_at(work[0, p], 9).transpose())
                gF += dt * (matrix_at(states[s + 1, p], C).transpose() @ gF)
                cell = (vector_at(states[s, p], X) - setting.lower) * setting.inv_dx
                scatter(
                    nodes, CHUNKS + c, cell, setting.shape, setting.dx, gv,
                    4.0 * setting.inv_dx**2 * gC, ti.zero(dt), atomic,
                )  # fmt: skip
            put_vector(g, 0, p, V, gv)
            put_matrix(g, 0, p, C, gC)
            put_matrix(g, 0, p, F, gF)

    @ti.func
    def g2p_chunk_adjoint(
        states: ti.template(), nodes: ti.template(), lists: ti.template(), numbers: ti.template(),
        work: ti.template(), g: ti.template(), c, s,
    ):  # fmt: skip
        setting, n, chunks = read(numbers), states.shape[1], lists.shape[0]
        for p in range(c * n // chunks, (c + 1) * n // chunks):
            g2p_adjoint(states, nodes, work, g, c, p, s, setting)

    @ti.func
    def particle_adjoint(
        states: ti.template(), given: ti.template(), nodes: ti.template(), work: ti.template(),
        g: ti.template(), ggiven: ti.template(), p, s, setting,
    ):  # fmt: skip
        """Adjoint of P2G, of the material and of the external force, and G2P's share in x.

        The gradient of tau is left in work, for laws whose adjoint is not in this kernel.
        """
        F_trial = matrix_at(states[s, p], F)
        if not is_removed(F_trial, remove):
            q, dt = given[p], setting.dt
            mass, apic = q[MASS], 4.0 * setting.inv_dx**2
            momentum = mass * vector_at(states[s, p], V) + dt * vector_at(q, FORCE)
            cell = (vector_at(states[s, p], X) - setting.lower) * setting.inv_dx
            gx, P, Q = transfer_gradients(
                nodes, cell, setting.shape, setting.dx, vector_at(g[0, p], V),
                apic * matrix_at(g[0, p], C), momentum, matrix_at(work[0, p], 0), mass,
            )  # fmt: skip
            gtau = (-dt * q[VOLUME] * apic) * Q
            put_matrix(work, 0, p, 0, gtau)
            gF, gC, gplastic, gparams = respond_adjoint(
                ti.cast(q[LAW], ti.i32), F_trial, matrix_at(states[s, p], C),
                states[s, p][PLASTIC], params_of(q), dt, matrix_at(g[0, p], F), gtau,
                g[0, p][PLASTIC],
            )  # fmt: skip
            put_vector(g, 0, p, X, vector_at(g[0, p], X) + gx)
            put_vector(g, 0, p, V, mass * P)
            put_matrix(g, 0, p, C, mass * Q + gC)
            put_matrix(g, 0, p, F, gF)
            g[0, p][PLASTIC] = gplastic
            total = ggiven[p]
            for i in ti.static(range(3)):
                total[FORCE + i] += dt * P[i]
            for k in ti.static(range(columns)):
                total[PARAMS + k] += gparams[k]
            ggiven[p] = total

    @ti.func
    def grid_thread(
        nodes: ti.template(), lists: ti.template(), numbers: ti.template(), table: ti.template(),
        sdf: ti.template(), t, s, what: ti.template(),
    ):  # fmt: skip
        """One node of a listed block, for a GPU's thread t."""
        setting = read(numbers)
        i = t % BLOCK**3
        node = block_corner(lists[0, LIST, t // BLOCK**3], setting.shape)
        node += ti.Vector([i // BLOCK**2, i // BLOCK % BLOCK, i % BLOCK])
        if (node < setting.shape).all():
            grid_node(nodes, lists, table, sdf, 1, node, s, setting, solids, what)

    @ti.func
    def grid_jobs(
        nodes: ti.template(), lists: ti.template(), numbers: ti.template(), table: ti.template(),
        sdf: ti.template(), job, jobs, s, what: ti.template(),
    ):  # fmt: skip
        grid_job(nodes, lists, table, sdf, job, jobs, s, read(numbers), solids, what)

    @ti.kernel
    def forward(
        states: nd(packed, 2), given: nd(row, 1), nodes: nd(vec4, 1), lists: nd(ti.i32, 3),
        numbers: nd(real, 1), table: nd(real, 3), sdf: nd(real, 1),
        now: ti.i32, first: ti.i32, last: ti.i32,
    ):  # fmt: skip
        """Substeps first..last-1; serially all of them, else what comes between the grids of
        substeps now - 1 and now, and the latter."""
        if ti.static(serial):
            ti.loop_config(serialize=True)
            for s in range(first, last + 1):
                for c in range(lists.shape[0]):
                    visit_chunk(states, given, nodes, lists, numbers, c, s, first, last)
                grid_jobs(nodes, lists, numbers, table, sdf, 0, 1, s, "forward")
        elif ti.static(not atomic):
            for t in range(lists.shape[0] * STRIDE):
                if t % STRIDE == 0:
                    c = t // STRIDE
                    visit_chunk(states, given, nodes, lists, numbers, c, now, first, last)
            for t in range(JOBS * STRIDE):
                if t % STRIDE == 0:
                    job = t // STRIDE
                    grid_jobs(nodes, lists, numbers, table, sdf, job, JOBS, now, "forward")
        else:
            for e in range(lists[0, MARKS, LISTED]):
                unlist_block(lists, 0, e)
            for _ in range(1):
                lists[0, MARKS, LISTED] = 0
            for p in range(given.shape[0]):
                visit(states, given, nodes, lists, 0, p, now, first, last, read(numbers))
            for t in range(lists[0, MARKS, LISTED] * BLOCK**3):
                grid_thread(nodes, lists, numbers, table, sdf, t, now, "forward")

    @ti.kernel
    def backward(
        states: nd(packed, 2), given: nd(row, 1), nodes: nd(vec4, 1), lists: nd(ti.i32, 3),
        numbers: nd(real, 1), table: nd(real, 3), sdf: nd(real, 1),
        work: nd(scratch, 2), g: nd(packed, 2), ggiven: nd(row, 1), first: ti.i32, last: ti.i32,
    ):  # fmt: skip
        """Substeps last-1..first in reverse (one of them, unless serial); the grid of each is
        computed again from its state."""
        if ti.static(serial):
            ti.loop_config(serialize=True)
            for turn in range(first, last):
                s = first + last - 1 - turn
                for c in range(lists.shape[0]):
                    p2g_chunk_again(states, given, nodes, lists, numbers, work, c, s)
                grid_jobs(nodes, lists, numbers, table, sdf, 0, 1, s, "both")
                for c in range(lists.shape[0]):
                    g2p_chunk_adjoint(states, nodes, lists, numbers, work, g, c, s)
                grid_jobs(nodes, lists, numbers, table, sdf, 0, 1, s, "gradient")
                setting = read(numbers)
                for p in range(given.shape[0]):
                    particle_adjoint(states, given, nodes, work, g, ggiven, p, s, setting)
        elif ti.static(not atomic):
            for t in range(lists.shape[0] * STRIDE):
                if t % STRIDE == 0:
                    c = t // STRIDE
                    p2g_chunk_again(states, given, nodes, lists, numbers, work, c, first)
            for t in range(JOBS * STRIDE):
                if t % STRIDE == 0:
                    job = t // STRIDE
                    grid_jobs(nodes, lists, numbers, table, sdf, job, JOBS, first, "both")
            for t in range(lists.shape[0] * STRIDE):
                if t % STRIDE == 0:
                    g2p_chunk_adjoint(states, nodes, lists, numbers, work, g, t // STRIDE, first)
            for t in range(JOBS * STRIDE):
                if t % STRIDE == 0:
                    job = t // STRIDE
                    grid_jobs(nodes, lists, numbers, table, sdf, job, JOBS, first, "gradient")
        else:
            for e in range(lists[0, MARKS, LISTED]):
                unlist_block(lists, 0, e)
            for _ in range(1):
                lists[0, MARKS, LISTED] = 0
            for p in range(given.shape[0]):
                p2g_again(states, given, nodes, lists, work, 0, p, first, read(numbers))
            for t in range(lists[0, MARKS, LISTED] * BLOCK**3):
                grid_thread(nodes, lists, numbers, table, sdf, t, first, "both")
            for p in range(given.shape[0]):
                g2p_adjoint(states, nodes, work, g, 0, p, first, read(numbers))
            for t in range(lists[0, MARKS, LISTED] * BLOCK**3):
                grid_thread(nodes, lists, numbers, table, sdf, t, first, "gradient")
        if ti.static(not serial):
            for p in range(given.shape[0]):
                particle_adjoint(states, given, nodes, work, g, ggiven, p, first, read(numbers))

    return SimpleNamespace(forward=forward, backward=backward, driver=driver, columns=columns)
