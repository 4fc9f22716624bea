"""Particles with a translation and a rotation of their own (TRACE, eq. 3), and their stepping.

Two sets of parameters describe how such a particle moves. Rates about the origin (`advance`):

    v(x) = v_bar + w x x,    v_bar and w grow at the constant rates a_bar and eps,

as TRACE learns them, since a center of rotation c and its velocity v_c cannot both be seen in a
motion. And a center of its own (`advance_rigid`), with constant a_c and eps. They agree through

    v_bar = v_c - w x c
    a_bar = d v_bar / dt = a_c - eps x c - w x v_c
    d a_bar / dt = -2 eps x v_c - w x a_c              (a_c and eps constant)

so the first, which keeps a_bar constant, is not exact for a body that spins and accelerates at
once, however small its steps; the second is.
"""

import functools
import math
from types import SimpleNamespace

import taichi as ti
import torch

from taichi_phys.bridge.autograd import differentiable
from taichi_phys.rigid.rotation import (
    conjugate,
    exponential,
    exponential_adjoint,
    multiply,
    rotate,
    vector_part,
)
from taichi_phys.runtime import PRECISIONS, ensure_initialized


def advance(
    x: torch.Tensor,
    quats: torch.Tensor,
    v_bar: torch.Tensor,
    a_bar: torch.Tensor,
    w: torch.Tensor,
    eps: torch.Tensor,
    duration: float,
    max_step: float,
    order: int = 2,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, quats, v_bar, w after duration, with a_bar and eps constant (TRACE, sec. 3, RK2).

    x (n, 3) m; quats (n, 4) orientation, wxyz, normalized in the result; v_bar (n, 3) m/s and
    a_bar (n, 3) m/s^2, of the particle's velocity field at the origin; w (n, 3) rad/s; eps (n, 3)
    rad/s^2; duration s, negative to go back in time; max_step s; order 2 (midpoint) or 1 (Euler).
    Gradients reach all tensors; backward holds the positions of all steps. Raises ValueError.
    """
    _check(duration, max_step, x=x, quats=quats, v_bar=v_bar, a_bar=a_bar, w=w, eps=eps)
    if order not in (1, 2):
        raise ValueError(f"order: got {order!r}, expected 1 or 2")
    run, steps = kernels(_precision(x)), _steps(duration, max_step)

    def adjoint(*arguments):
        path = x.new_empty(steps[0], *x.shape)
        run.advance_adjoint(path, *arguments)

    motion = _differentiable(run.advance, adjoint, *steps, (order - 1) / 2)
    x_end, quats_end = motion(x, quats, v_bar, a_bar, w, eps)
    return x_end, quats_end, v_bar + duration * a_bar, w + duration * eps


def advance_rigid(
    x: torch.Tensor,
    quats: torch.Tensor,
    c: torch.Tensor,
    v_c: torch.Tensor,
    a_c: torch.Tensor,
    w: torch.Tensor,
    eps: torch.Tensor,
    duration: float,
    max_step: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, quats, c, v_c, w after duration: the particle turns about a center on its parabola.

    x(t) = c + v_c t + a_c t^2 / 2 + R(t) (x - c), dR/dt = [w + eps t] R. R is exact in any step
    where eps is parallel to w or one of them is zero; else each step is one of Magnus, of order 4.
    c (n, 3) m, v_c (n, 3) m/s, a_c (n, 3) m/s^2: center of rotation; the others as in `advance`.
    Gradients reach all tensors. Raises ValueError.
    """
    _check(duration, max_step, x=x, quats=quats, c=c, v_c=v_c, a_c=a_c, w=w, eps=eps)
    run, steps = kernels(_precision(x)), _steps(duration, max_step)
    arm, quats_end = _differentiable(run.turn, run.turn_adjoint, *steps)(x - c, quats, w, eps)
    c_end = c + duration * v_c + (duration * duration / 2) * a_c
    return c_end + arm, quats_end, c_end, v_c + duration * a_c, w + duration * eps


def about_origin(
    c: torch.Tensor, v_c: torch.Tensor, a_c: torch.Tensor, w: torch.Tensor, eps: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """v_bar, a_bar at this instant of particles given by a center: all (n, 3), as in `advance`."""
    cross = torch.linalg.cross
    return v_c - cross(w, c), a_c - cross(eps, c) - cross(w, v_c)


def _differentiable(kernel, adjoint, *steps):
    """A torch function whose first two inputs are moved by a kernel."""

    def forward(*inputs):
        outputs = tuple(torch.empty_like(t) for t in inputs[:2])
        kernel(*inputs, *outputs, *steps)
        return outputs

    def backward(inputs, outputs, grads):
        gradients = tuple(torch.empty_like(t) for t in inputs)
        adjoint(*inputs, *grads, *gradients, *steps)
        return gradients

    return differentiable(forward, backward)


def _precision(x: torch.Tensor) -> str:
    return next(name for name, dtype in PRECISIONS.items() if dtype == x.dtype)


def _steps(duration: float, max_step: float) -> tuple[int, float, float]:
    """Number of steps, >= 1, their signed length, and that of the last, which takes the rest."""
    count = max(1, math.ceil(abs(duration) / max_step - 1e-9))  # no step for a rounding error
    step = math.copysign(min(abs(duration), max_step), duration)
    return count, step, duration - (count - 1) * step


def _check(duration: float, max_step: float, **tensors: torch.Tensor):
    ensure_initialized()
    first = tensors["x"]
    if first.dtype not in PRECISIONS.values():
        raise ValueError(f"x: got {first.dtype}, expected torch.float32 or torch.float64")
    for name, t in tensors.items():
        shape = (len(first) if first.ndim else 0, 4 if name == "quats" else 3)
        if t.shape != shape or t.dtype != first.dtype or t.device != first.device:
            raise ValueError(
                f"{name}: got {tuple(t.shape)} {t.dtype} on {t.device}, "
                f"expected {shape} {first.dtype} on {first.device} as x has"
            )
        if not torch.isfinite(t.detach().sum()):
            raise ValueError(f"{name}: got NaN or infinite values, expected finite ones")
    if not tensors["quats"].detach().any(dim=-1).all():
        raise ValueError("quats: got a zero quaternion, expected unit quaternions")
    if not math.isfinite(duration):
        raise ValueError(f"duration: got {duration}, expected a finite number of seconds")
    if not max_step > 0:
        raise ValueError(f"max_step: got {max_step}, expected > 0 s")


@functools.cache
def kernels(precision: str) -> SimpleNamespace:
    """The two motions and their adjoints, for tensors of a precision: f32 or f64.

    A thread takes its particle through all steps: count of them, of length step, the last of
    length last. A step from t sees the rates of t + stage h: the midpoint (1/2) or Euler (0).
    """
    real = getattr(ti, precision)
    vec3, vec4 = ti.types.vector(3, real), ti.types.vector(4, real)
    nd = ti.types.ndarray

    @ti.func
    def angle(w, eps, h, magnus):
        """Rotation vector of a step with w at its stage: h w + h^3 / 12 eps x w.

        The second term, for w at the middle, is the commutator in Magnus' series of a linear w(t)
        (Blanes et al. 2009, "The Magnus expansion"); without it this is the midpoint rule.
        """
        return h * w + magnus * h * h * h / 12.0 * eps.cross(w)

    @ti.func
    def turned(w, eps, magnus, count, step, last, stage):
        """Rotation over all steps, a unit quaternion."""
        turn = vec4(1, 0, 0, 0)
        for k in range(count):
            h = last if k == count - 1 else step
            w_mid = w + (k * step + stage * h) * eps
            turn = multiply(exponential(angle(w_mid, eps, h, magnus)), turn)
        return turn / turn.norm()

    @ti.func
    def turned_adjoint(w, eps, magnus, g_end, count, step, last, stage):
        """Gradients in w and eps of the rotation over all steps from its tangent gradient."""
        gw, geps, g = ti.zero(w), ti.zero(w), g_end
        for j in range(count):
            k = count - 1 - j
            h = last if k == count - 1 else step
            t_mid = k * step + stage * h
            w_mid = w + t_mid * eps
            theta = angle(w_mid, eps, h, magnus)
            gtheta = exponential_adjoint(theta, g)
            g = rotate(conjugate(exponential(theta)), g)
            gcross = magnus * h * h * h / 12.0 * gtheta
            gw_mid = h * gtheta + gcross.cross(eps)
            gw += gw_mid
            geps += t_mid * gw_mid + w_mid.cross(gcross)
        return gw, geps

    @ti.func
    def oriented(turn, q):
        return multiply(turn, q) / q.norm()

    @ti.func
    def oriented_adjoint(turn, q, g):
        """Tangent gradient of the rotation and gradient in q, from the gradient g of oriented."""
        end = oriented(turn, q)
        gturn = 0.5 * vector_part(multiply(g, conjugate(end)))
        gq = multiply(conjugate(turn), g - g.dot(end) * end) / q.norm()
        return gturn, gq

    @ti.func
    def moved(x, v_bar, a_bar, w, eps, t, h, stage):
        """x + h v(x + stage h v(x, t), t + stage h), with v = v_bar + w x x (TRACE, eq. 3)."""
        t_mid = t + stage * h
        x_mid = x + stage * h * (v_bar + t * a_bar + (w + t * eps).cross(x))
        return x + h * (v_bar + t_mid * a_bar + (w + t_mid * eps).cross(x_mid))

    @ti.kernel
    def advance(
        x: nd(vec3, 1), quats: nd(vec4, 1), v_bar: nd(vec3, 1), a_bar: nd(vec3, 1),
        w: nd(vec3, 1), eps: nd(vec3, 1), x_end: nd(vec3, 1), quats_end: nd(vec4, 1),
        count: ti.i32, step: real, last: real, stage: real,
    ):  # fmt: skip
        for i in range(x.shape[0]):
            p = x[i]
            for k in range(count):
                h = last if k == count - 1 else step
                p = moved(p, v_bar[i], a_bar[i], w[i], eps[i], k * step, h, stage)
            x_end[i] = p
            turn = turned(w[i], eps[i], 0, count, step, last, stage)
            quats_end[i] = oriented(turn, quats[i])

    @ti.kernel
    def advance_adjoint(
        path: nd(vec3, 2), x: nd(vec3, 1), quats: nd(vec4, 1), v_bar: nd(vec3, 1),
        a_bar: nd(vec3, 1), w: nd(vec3, 1), eps: nd(vec3, 1),
        gx_end: nd(vec3, 1), gquats_end: nd(vec4, 1),
        gx: nd(vec3, 1), gquats: nd(vec4, 1), gv_bar: nd(vec3, 1), ga_bar: nd(vec3, 1),
        gw: nd(vec3, 1), geps: nd(vec3, 1),
        count: ti.i32, step: real, last: real, stage: real,
    ):  # fmt: skip
        """path, (count, n): the positions at which the steps begin, filled here."""
        for i in range(x.shape[0]):
            turn = turned(w[i], eps[i], 0, count, step, last, stage)
            gturn, gq = oriented_adjoint(turn, quats[i], gquats_end[i])
            gw_i, geps_i = turned_adjoint(w[i], eps[i], 0, gturn, count, step, last, stage)
            p = x[i]
            for k in range(count):
                path[k, i] = p
                p = moved(p, v_bar[i], a_bar[i], w[i], eps[i], k * step, step, stage)
            g, gv, ga = gx_end[i], ti.zero(p), ti.zero(p)
            for j in range(count):
                k = count - 1 - j
                h = last if k == count - 1 else step
                t, t_mid, p = k * step, k * step + stage * h, path[k, i]
                w_start, w_mid = w[i] + t * eps[i], w[i] + t_mid * eps[i]
                p_mid = p + stage * h * (v_bar[i] + t * a_bar[i] + w_start.cross(p))
                gv_mid = h * g
                gp_mid = gv_mid.cross(w_mid)
                gv_start = stage * h * gp_mid
                g += gp_mid + gv_start.cross(w_start)
                gv += gv_mid + gv_start
                ga += t_mid * gv_mid + t * gv_start
                gw_i += p_mid.cross(gv_mid) + p.cross(gv_start)
                geps_i += t_mid * p_mid.cross(gv_mid) + t * p.cross(gv_start)
            gx[i], gquats[i], gv_bar[i], ga_bar[i], gw[i], geps[i] = g, gq, gv, ga, gw_i, geps_i

    @ti.kernel
    def turn(
        arm: nd(vec3, 1), quats: nd(vec4, 1), w: nd(vec3, 1), eps: nd(vec3, 1),
        arm_end: nd(vec3, 1), quats_end: nd(vec4, 1), count: ti.i32, step: real, last: real,
    ):  # fmt: skip
        for i in range(arm.shape[0]):
            R = turned(w[i], eps[i], 1, count, step, last, 0.5)
            arm_end[i], quats_end[i] = rotate(R, arm[i]), oriented(R, quats[i])

    @ti.kernel
    def turn_adjoint(
        arm: nd(vec3, 1), quats: nd(vec4, 1), w: nd(vec3, 1), eps: nd(vec3, 1),
        garm_end: nd(vec3, 1), gquats_end: nd(vec4, 1),
        garm: nd(vec3, 1), gquats: nd(vec4, 1), gw: nd(vec3, 1), geps: nd(vec3, 1),
        count: ti.i32, step: real, last: real,
    ):  # fmt: skip
        for i in range(arm.shape[0]):
            R = turned(w[i], eps[i], 1, count, step, last, 0.5)
            gturn, gquats[i] = oriented_adjoint(R, quats[i], gquats_end[i])
            gturn += rotate(R, arm[i]).cross(garm_end[i])
            garm[i] = rotate(conjugate(R), garm_end[i])
            gw[i], geps[i] = turned_adjoint(w[i], eps[i], 1, gturn, count, step, last, 0.5)

    return SimpleNamespace(
        advance=advance, advance_adjoint=advance_adjoint, turn=turn, turn_adjoint=turn_adjoint
    )
