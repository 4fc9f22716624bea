"""The motion of particles that each translate and rotate (TRACE, eq. 3).

Two sets of parameters can describe the motion of a particle. `advance` takes rates about the
origin:

    v(x) = v_bar + w x x,    v_bar and w grow at the constant rates a_bar and eps,

TRACE learns these, since a motion does not determine both a center of rotation c and its velocity
v_c. `advance_rigid` takes a center of rotation for each particle, with constant a_c and eps. The
two sets are related by

    v_bar = v_c - w x c
    a_bar = d v_bar / dt = a_c - eps x c - w x v_c
    d a_bar / dt = -2 eps x v_c - w x a_c              (a_c and eps constant)

`advance` keeps a_bar constant. So, even with small steps, it is not exact for a body that both
spins and accelerates; `advance_rigid` is exact.
"""

import functools
import math
from types import SimpleNamespace

import torch

from taichi_phys.bridge.autograd import differentiable
from taichi_phys.language import ti
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
    """x, quats, v_bar and w after a duration with constant a_bar and eps (TRACE, sec. 3, RK2).

    x: (n, 3) positions, m; quats: (n, 4) orientations, wxyz, which the result normalizes; v_bar:
    (n, 3) m/s and a_bar: (n, 3) m/s^2, of the particle's velocity field at the origin; w: (n, 3)
    rad/s; eps: (n, 3) rad/s^2; duration: s, negative to go back in time; max_step: longest step, s;
    order: 2 for the midpoint rule or 1 for Euler's rule. Gradients reach all tensors. The backward
    pass holds the positions at all steps in memory. Raises ValueError.
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
    """x, quats, c, v_c and w after a duration; each particle turns about a moving center.

    c: (n, 3) m, v_c: (n, 3) m/s and a_c: (n, 3) m/s^2, of the center of rotation; the other
    arguments as in `advance`. The motion is x(t) = c + v_c t + a_c t^2 / 2 + R(t) (x - c) with
    dR/dt = [w + eps t] R. R is exact if eps is parallel to w or if eps or w is zero; otherwise each
    step is a Magnus step of order 4. Gradients reach all tensors. Raises ValueError.
    """
    _check(duration, max_step, x=x, quats=quats, c=c, v_c=v_c, a_c=a_c, w=w, eps=eps)
    run, steps = kernels(_precision(x)), _steps(duration, max_step)
    arm, quats_end = _differentiable(run.turn, run.turn_adjoint, *steps)(x - c, quats, w, eps)
    c_end = c + duration * v_c + (duration * duration / 2) * a_c
    return c_end + arm, quats_end, c_end, v_c + duration * a_c, w + duration * eps


def about_origin(
    c: torch.Tensor, v_c: torch.Tensor, a_c: torch.Tensor, w: torch.Tensor, eps: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The present v_bar and a_bar of particles whose motion is given about a center.

    The arguments, (n, 3) each, are those of `advance_rigid`, the results, (n, 3) each, those of
    `advance`.
    """
    cross = torch.linalg.cross
    return v_c - cross(w, c), a_c - cross(eps, c) - cross(w, v_c)


def _differentiable(kernel, adjoint, *steps):
    """A torch function that returns its first two inputs as the kernel moves them."""

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
    """Number of steps, at least 1; signed length of a step; signed length of the last step."""
    count = max(1, math.ceil(abs(duration) / max_step - 1e-9))  # 1e-9: rounding must not add a step
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
                f"expected {shape} {first.dtype} on {first.device} to fit x"
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
    """The kernels of both motions and of their adjoints; precision: "f32" or "f64".

    A thread takes a particle through all steps: count steps of length step, except the last, of
    length last. A step of length h from t evaluates the rates at t + stage h; stage is 1/2 for the
    midpoint rule and 0 for Euler's rule.
    """
    real = getattr(ti, precision)
    vec3, vec4 = ti.types.vector(3, real), ti.types.vector(4, real)
    nd = ti.types.ndarray

    @ti.func
    def angle(w, eps, h, magnus):
        """Rotation vector h w + magnus h^3 / 12 eps x w of a step of length h; w: at the stage.

        The second term is the commutator in Magnus' series for a linear w(t), with w at the middle
        (Blanes et al. 2009, "The Magnus expansion"). With magnus = 0 this is the midpoint rule.
        """
        return h * w + magnus * h * h * h / 12.0 * eps.cross(w)

    @ti.func
    def turned(w, eps, magnus, count, step, last, stage):
        """The rotation over all steps, as a unit quaternion."""
        turn = vec4(1, 0, 0, 0)
        for k in range(count):
            h = last if k == count - 1 else step
            w_mid = w + (k * step + stage * h) * eps
            turn = multiply(exponential(angle(w_mid, eps, h, magnus)), turn)
        return turn / turn.norm()

    @ti.func
    def turned_adjoint(w, eps, magnus, g_end, count, step, last, stage):
        """Gradients in w and eps from g_end, the tangent gradient of the rotation by all steps."""
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
        """Tangent gradient of turn and gradient in q, from g, the gradient in oriented's result."""
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
        """The kernel fills path, (count, n), with the positions at which the steps begin."""
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
