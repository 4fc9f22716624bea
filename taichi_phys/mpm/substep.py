"""One substep of a particle as Taichi functions, and its adjoint.

The substep is that of MLS-MPM (Hu et al. 2018), with an external force on the particles as in
"Seeing the wind", sec. 3:

    F_elastic, tau = material(F)                          return map, Kirchhoff stress
    v* = v + dt force / mass                              external force, before P2G
    A  = mass C - dt volume 4 / dx^2 tau
    (p, m)_i = sum w_ip (mass v* + A d_ip, mass)          P2G
    v_i = boundary(p_i / m_i + dt gravity)                grid (nodes.py)
    v = sum w_ip v_i;  C = 4 / dx^2 sum w_ip v_i d_ip^T   G2P
    x += dt v;  F = (I + dt C) F_elastic

G2P of a substep and P2G of the next substep share one visit of a particle. drivers.py has the loops
over particles.
"""

from types import SimpleNamespace

from taichi_phys.language import ti
from taichi_phys.materials import Law
from taichi_phys.mpm.faces import is_near, show_surface, surface_adjoint
from taichi_phys.mpm.layout import (
    AFFINE,
    DT,
    DX,
    FORCE,
    GRAVITY,
    LAW,
    LOWER,
    MASS,
    PARAMS,
    PLASTIC,
    SHAPE,
    STATE_SIZE,
    STRESS_GRADIENT,
    VOLUME,
    WALL_CONTACT,
    WALL_FRICTION,
    WORK_SIZE,
    C,
    F,
    V,
    X,
)
from taichi_phys.mpm.nodes import (
    BROKEN,
    OK,
    OUTSIDE,
    TOO_FAST,
    chunk_layer,
    field_layer,
    grads_layer,
    list_blocks,
    mark_fault,
)
from taichi_phys.mpm.transfer import WARP, gather, scatter, scatter_together, transfer_gradients


@ti.func
def vector_at(q, offset: ti.template()):
    """Three numbers of a row, from offset on."""
    return ti.Vector([q[offset], q[offset + 1], q[offset + 2]])


@ti.func
def matrix_at(q, offset: ti.template()):
    """Nine numbers of a row, from offset on, as a matrix row by row."""
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
    """Whether a particle was removed, which F = 0 marks; allowed: whether any can be."""
    gone = False
    if ti.static(allowed):
        gone = F_trial.norm_sqr() == 0
    return gone


def phases(
    precision: str, laws: tuple[Law, ...], atomic: bool, remove: bool, several: bool
) -> SimpleNamespace:
    """The functions with which `drivers.kernels` visits particles, and the types of its arguments.

    atomic: whether several threads scatter to one grid; the other arguments, and the arrays, are
    described there. types: the types of a number, a node, a packed state, a row of given and a row
    of work. In the functions, c is a chunk, p a particle, s a substep, and setting is what `read`
    returns for numbers. threads: how many p a driver must visit for n particles: on a GPU the
    threads of a warp scatter together, so that those without a particle come along.
    """
    real = getattr(ti, precision)
    together = atomic and precision == "f32" and ti.lang.impl.current_cfg().arch == ti.cuda
    vec3, vec4 = ti.types.vector(3, real), ti.types.vector(4, real)
    columns = max(len(law.columns) for law in laws)
    differentiable = [i for i, law in enumerate(laws) if law.respond_adjoint is not None]
    packed, scratch, row = (
        ti.types.vector(k, real) for k in (STATE_SIZE, WORK_SIZE, PARAMS + columns + several)
    )
    Settings = ti.types.struct(
        dt=real, dx=real, inv_dx=real, lower=vec3, gravity=vec3,
        shape=ti.types.vector(3, ti.i32), contact=ti.i32, friction=real,
    )  # fmt: skip

    @ti.func
    def read(numbers: ti.template()):
        lower = ti.Vector([numbers[LOWER + d] for d in range(3)])
        gravity = ti.Vector([numbers[GRAVITY + d] for d in range(3)])
        shape = ti.Vector([ti.cast(numbers[SHAPE + d], ti.i32) for d in range(3)])
        return Settings(
            dt=numbers[DT],
            dx=numbers[DX],
            inv_dx=1 / numbers[DX],
            lower=lower,
            gravity=gravity,
            shape=shape,
            contact=ti.cast(numbers[WALL_CONTACT], ti.i32),
            friction=numbers[WALL_FRICTION],
        )

    @ti.func
    def params_of(q):
        """Parameters of a particle's law."""
        return ti.Vector([q[PARAMS + k] for k in range(columns)])

    @ti.func
    def field_of(q):
        """Velocity field of a particle."""
        f = 0
        if ti.static(several):
            f = ti.cast(q[PARAMS + columns], ti.i32)
        return f

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
        """The reason to reject a particle's new state, or OK."""
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
    def threads(n):
        count = n
        if ti.static(together):
            count = (n + WARP - 1) // WARP * WARP
        return count

    @ti.func
    def exists(given: ti.template(), p):
        """Whether p is a particle."""
        there = True
        if ti.static(together):
            there = p < given.shape[0]
        return there

    @ti.func
    def existing(given: ti.template(), p):
        """The particle p, or the last one."""
        last = p
        if ti.static(together):
            last = ti.min(p, given.shape[0] - 1)
        return last

    @ti.func
    def spread(nodes: ti.template(), layer, cell, setting, a, B, m, here, p):
        """Scatter what a particle has, if it is here; see `transfer.scatter`."""
        base = ti.zero(setting.shape)
        if ti.static(together):
            base = scatter_together(
                nodes, layer, cell, setting.shape, setting.dx, a, B, m, here, p % WARP
            )
        elif here:
            base = scatter(nodes, layer, cell, setting.shape, setting.dx, a, B, m, atomic)
        return base

    @ti.func
    def p2g(
        given: ti.template(), nodes: ti.template(), lists: ti.template(),
        c, p, x, v, C_, F_trial, plastic, setting, here,
    ):  # fmt: skip
        """Scatter a particle, if it is here; return F_elastic, the plastic state after, and A."""
        Fe, tau, flowed = F_trial, ti.zero(F_trial), plastic
        momentum, A, mass, layer, f = ti.zero(v), ti.zero(C_), ti.cast(0.0, real), 0, 0
        if here:
            q = given[p]
            Fe, tau, flowed = respond(
                ti.cast(q[LAW], ti.i32), F_trial, C_, plastic, params_of(q), setting.dt
            )
            mass, f = q[MASS], field_of(q)
            momentum = mass * v + setting.dt * vector_at(q, FORCE)
            A = mass * C_ - (setting.dt * q[VOLUME] * 4.0 * setting.inv_dx**2) * tau
            layer = chunk_layer(lists, c, f, several)
        cell = (x - setting.lower) * setting.inv_dx
        base = spread(nodes, layer, cell, setting, momentum, A, mass, here, p)
        if here:
            list_blocks(lists, c, f, base, setting.shape, several, atomic)
        return Fe, flowed, A

    @ti.func
    def visit(
        states: ti.template(), given: ti.template(), nodes: ti.template(), lists: ti.template(),
        c, p, s, first, last, setting,
    ):  # fmt: skip
        """G2P of substep s - 1, which completes state s, and P2G of substep s.

        P2G writes F_elastic and the plastic state to the place of state s + 1.
        """
        keep = ti.min(states.shape[0] - 1, 1)
        before, now, after = (s - 1) * keep, s * keep, (s + 1) * keep
        there = exists(given, p)
        q = states[now, existing(given, p)]
        x, v, C_, F_trial = vector_at(q, X), vector_at(q, V), matrix_at(q, C), matrix_at(q, F)
        if s > first and there:
            x = vector_at(states[before, p], X)
            if is_removed(F_trial, remove):
                v, C_ = ti.zero(v), ti.zero(C_)
            else:
                cell = (x - setting.lower) * setting.inv_dx
                layer = field_layer(field_of(given[p]), several)
                v, C_ = gather(nodes, layer, cell, setting.shape, setting.dx)
                moved = x + setting.dt * v
                F_trial += setting.dt * (C_ @ F_trial)
                cell = (moved - setting.lower) * setting.inv_dx
                fault = fault_of(v, cell, F_trial, setting)
                if ti.static(remove) and fault == OUTSIDE:
                    v, C_, F_trial = ti.zero(v), ti.zero(C_), ti.zero(F_trial)
                else:
                    x = moved
                    mark_fault(lists, c, fault, p, atomic)
            put_vector(states, now, p, X, x)
            put_vector(states, now, p, V, v)
            put_matrix(states, now, p, C, C_)
            put_matrix(states, now, p, F, F_trial)
        if s < last:
            here = there and not is_removed(F_trial, remove)
            Fe, plastic, _ = p2g(
                given, nodes, lists, c, p, x, v, C_, F_trial, q[PLASTIC], setting, here
            )
            if there:
                put_matrix(states, after, p, F, Fe)
                states[after, p][PLASTIC] = plastic

    @ti.func
    def show(
        states: ti.template(), given: ti.template(), nodes: ti.template(), lists: ti.template(),
        c, p, s, setting, place, near,
    ):  # fmt: skip
        """Scatter the surface of a particle whose P2G of substep s is done, if others are near.

        place, near: what this function returned for the particle before, see `is_near`.
        """
        s_ = s * ti.min(states.shape[0] - 1, 1)
        here, close = place, near
        if not is_removed(matrix_at(states[s_, p], F), remove):
            q = given[p]
            cell, f = (vector_at(states[s_, p], X) - setting.lower) * setting.inv_dx, field_of(q)
            here, close = is_near(lists, f, cell, setting.shape, place, near)
            if close:
                part = q[VOLUME] * setting.inv_dx**3
                show_surface(nodes, lists, c, f, cell, setting.shape, part, atomic)
        return here, close

    @ti.func
    def visit_adjoint(
        states: ti.template(), given: ti.template(), nodes: ti.template(), grads: ti.template(),
        lists: ti.template(), work: ti.template(), g: ti.template(), ggiven: ti.template(),
        c, p, s, first, last, setting,
    ):  # fmt: skip
        """The adjoint of P2G of substep s + 1; P2G of substep s once more, and the adjoint of G2P.

        g comes and goes with the gradient in state s + 1. Between the two visits of a substep, its
        v, C and F are the gradients in the v and C that gather returned and in F_elastic.
        """
        if s + 1 < last and exists(given, p):
            particle_adjoint(states, given, nodes, lists, work, g, ggiven, p, s + 1, setting)
        if s >= first:
            scatter_adjoint(states, given, nodes, grads, lists, work, g, c, p, s, setting)

    @ti.func
    def scatter_adjoint(
        states: ti.template(), given: ti.template(), nodes: ti.template(), grads: ti.template(),
        lists: ti.template(), work: ti.template(), g: ti.template(), c, p, s, setting,
    ):  # fmt: skip
        """P2G of substep s, from the stored state, and the gradient in its node velocities."""
        there, dt = exists(given, p), setting.dt
        q = states[s, existing(given, p)]
        x, F_trial = vector_at(q, X), matrix_at(q, F)
        here = there and not is_removed(F_trial, remove)
        Fe, _, A = p2g(
            given, nodes, lists, c, p, x, vector_at(q, V), matrix_at(q, C), F_trial, q[PLASTIC],
            setting, here,
        )  # fmt: skip
        gv, gC, gF = ti.zero(x), ti.zero(A), ti.zero(A)
        layer, stays = 0, False
        if here:
            put_matrix(work, 0, p, AFFINE, A)
            stays = not is_removed(matrix_at(states[s + 1, p], F), remove)
        if stays:
            gx = vector_at(g[0, p], X)
            gC, gF = matrix_at(g[0, p], C), matrix_at(g[0, p], F)
            gv = vector_at(g[0, p], V) + dt * gx
            gC += dt * (gF @ Fe.transpose())
            gF += dt * (matrix_at(states[s + 1, p], C).transpose() @ gF)
            layer = grads_layer(lists, c, field_of(given[p]), several)
        spread(
            grads, layer, (x - setting.lower) * setting.inv_dx, setting, gv,
            4.0 * setting.inv_dx**2 * gC, ti.zero(dt), stays, p,
        )  # fmt: skip
        if here:
            put_vector(g, 0, p, V, gv)
            put_matrix(g, 0, p, C, gC)
            put_matrix(g, 0, p, F, gF)

    @ti.func
    def particle_adjoint(
        states: ti.template(), given: ti.template(), nodes: ti.template(), lists: ti.template(),
        work: ti.template(), g: ti.template(), ggiven: ti.template(), p, s, setting,
    ):  # fmt: skip
        """The adjoint of P2G, the material and the external force, and the part of G2P in x.

        The gradient in tau stays in work, for laws whose adjoint is not in this kernel.
        """
        F_trial = matrix_at(states[s, p], F)
        if not is_removed(F_trial, remove):
            q, dt = given[p], setting.dt
            mass, apic = q[MASS], 4.0 * setting.inv_dx**2
            momentum = mass * vector_at(states[s, p], V) + dt * vector_at(q, FORCE)
            cell = (vector_at(states[s, p], X) - setting.lower) * setting.inv_dx
            f = field_of(q)
            gx, P, Q = transfer_gradients(
                nodes, field_layer(f, several), cell, setting.shape, setting.dx,
                vector_at(states[s + 1, p], V), vector_at(g[0, p], V), apic * matrix_at(g[0, p], C),
                momentum, matrix_at(work[0, p], AFFINE), mass,
            )  # fmt: skip
            if ti.static(several):
                part = q[VOLUME] * setting.inv_dx**4
                gx += surface_adjoint(nodes, lists, f, cell, setting.shape, part)
            gtau = (-dt * q[VOLUME] * apic) * Q
            put_matrix(work, 0, p, STRESS_GRADIENT, gtau)
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

    return SimpleNamespace(
        types=(real, vec4, packed, row, scratch), columns=columns, read=read, threads=threads,
        visit=visit, visit_adjoint=visit_adjoint, show=show,
    )  # fmt: skip
