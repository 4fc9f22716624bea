"""Translation-rotation particles: order, exact motions, gradients, what each model can express."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.spatial.transform import Rotation

from taichi_phys.rigid import about_origin, advance, advance_rigid
from taichi_phys.rigid.motion import _steps


f64 = torch.float64
N = 5
RATES = ("v_bar", "a_bar", "w", "eps")
CENTRES = ("c", "v_c", "a_c", "w", "eps")


def random(*shape, dtype=f64):
    return torch.randn(shape, dtype=dtype)


def unit(q):
    return q / q.norm(dim=-1, keepdim=True)


def bodies(names, n=N, dtype=f64):
    """Random particles with the parameters in names, by name."""
    start = {"x": random(n, 3, dtype=dtype), "quats": unit(random(n, 4, dtype=dtype))}
    return start | {name: random(n, 3, dtype=dtype) for name in names}


def zeros(n=N):
    return torch.zeros(n, 3, dtype=f64)


def cross(a, b):
    return torch.linalg.cross(a, b)


def rotation(q):
    return Rotation.from_quat(q.detach().double().numpy(), scalar_first=True)


def parallel_to(w):
    return random(len(w), 1) * w


# Twins in plain torch


def product(p, q):
    a, u, b, v = p[:, :1], p[:, 1:], q[:, :1], q[:, 1:]
    return torch.cat([a * b - (u * v).sum(-1, keepdim=True), a * v + b * u + cross(u, v)], dim=-1)


def exponential(theta):
    half = theta.norm(dim=-1, keepdim=True) / 2
    return torch.cat([half.cos(), half.sin() * theta / (2 * half)], dim=-1)


def lengths(duration, max_step):
    """The loop as in the paper's code: h = sign min(|what remains|, max_step)."""
    while abs(duration) > 1e-12:
        h = math.copysign(min(abs(duration), max_step), duration)
        yield h
        duration -= h


def twin(x, quats, v_bar, a_bar, w, eps, duration, max_step, order=2):
    for h in lengths(duration, max_step):
        x_mid, v_mid, w_mid = x, v_bar, w
        if order == 2:
            x_mid = x + h / 2 * (v_bar + cross(w, x))
            v_mid, w_mid = v_bar + h / 2 * a_bar, w + h / 2 * eps
        quats = product(exponential(w_mid * h), quats)
        x = x + h * (v_mid + cross(w_mid, x_mid))
        v_bar, w = v_bar + h * a_bar, w + h * eps
    return x, unit(quats), v_bar, w


def twin_rigid(x, quats, c, v_c, a_c, w, eps, duration, max_step):
    arm = x - c
    for h in lengths(duration, max_step):
        w_mid = w + h / 2 * eps
        turn = exponential(w_mid * h + h**3 / 12 * cross(eps, w))
        quats = product(turn, quats)
        arm = torch.cat([0 * arm[:, :1], arm], dim=-1)
        arm = product(product(turn, arm), turn * INVERSE)[:, 1:]
        c, v_c, w = c + h * v_c + h * h / 2 * a_c, v_c + h * a_c, w + h * eps
    return c + arm, unit(quats), c, v_c, w


INVERSE = torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=f64)
MODELS = [
    pytest.param(advance, twin, RATES, {"order": 2}, id="advance"),
    pytest.param(advance, twin, RATES, {"order": 1}, id="euler"),
    pytest.param(advance_rigid, twin_rigid, CENTRES, {}, id="rigid"),
]


@pytest.mark.parametrize(("motion", "reference", "names", "options"), MODELS)
@pytest.mark.parametrize(("duration", "max_step"), [(0.5, 0.1), (-0.35, 0.1), (0.2, 1.0)])
def test_twin(motion, reference, names, options, duration, max_step):
    """Values and gradients, with a last step that is shorter, back in time, and in one step."""
    inputs = bodies(names)
    inputs["quats"] *= 1.5
    inputs = {name: t.requires_grad_() for name, t in inputs.items()}
    got = motion(**inputs, duration=duration, max_step=max_step, **options)
    expected = reference(**inputs, duration=duration, max_step=max_step, **options)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    weights = [random(*t.shape) for t in got]

    def gradients(outputs):
        loss = sum((w * t).sum() for w, t in zip(weights, outputs, strict=True))
        return dict(zip(inputs, torch.autograd.grad(loss, list(inputs.values())), strict=True))

    got, expected = gradients(got), gradients(expected)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    assert all(g.abs().max() > 1e-3 for g in got.values())


@pytest.mark.parametrize(("motion", "reference", "names", "options"), MODELS)
@pytest.mark.parametrize("still", [False, True], ids=["moving", "still"])
@pytest.mark.parametrize("duration", [0.25, -0.25, 0.0])
def test_central_differences(motion, reference, names, options, still, duration):
    """Also at w = 0 and eps = 0, where a formula with an axis and an angle has no value."""
    inputs = bodies(names, n=2)
    for name in ("w", "eps") if still else ():
        inputs[name].zero_()
    inputs = [t.requires_grad_() for t in inputs.values()]
    assert torch.autograd.gradcheck(lambda *t: motion(*t, duration, 0.1, **options), inputs)


def test_angles_from_none_to_several_turns():
    """The derivative of a rotation, in closed form or as a series: where they meet, and beyond."""
    sizes = torch.tensor(
        [[1e-9], [1e-2], [0.5], [0.7], [0.71], [1.0], [3.1], [6.3], [20]], dtype=f64
    )
    p = bodies(CENTRES, n=len(sizes))
    p["w"], p["eps"] = unit(p["w"]) * sizes, 0 * p["w"]
    p["w"].requires_grad_()
    weights = random(len(sizes), 4)
    ends = (motion(**p, duration=1.0, max_step=1.0)[1] for motion in (advance_rigid, twin_rigid))
    got, expected = (torch.autograd.grad((weights * end).sum(), p["w"])[0] for end in ends)
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-14)


# Rates about the origin


def solution(v_bar, a_bar, w, eps, x, duration):
    """dx/dt = v_bar + a_bar t + (w + eps t) x x, of one particle, to rounding."""

    def velocity(t, x):
        return v_bar + a_bar * t + np.cross(w + eps * t, x)

    return solve_ivp(velocity, (0, duration), x, rtol=1e-12, atol=1e-12).y[:, -1]


@pytest.mark.parametrize("order", [1, 2])
def test_order(order):
    """Halving the step divides the error by 2 to the order."""
    p = bodies(RATES)
    columns = zip(*(p[name].numpy() for name in (*RATES, "x")), strict=True)
    exact = np.stack([solution(*row, 1.0) for row in columns])
    errors = []
    for steps in (32, 64, 128):
        x, *_ = advance(**p, duration=1.0, max_step=1 / steps, order=order)
        errors.append(np.linalg.norm(x.numpy() - exact))
    ratios = [a / b for a, b in zip(errors, errors[1:], strict=False)]
    assert ratios == pytest.approx([2**order] * 2, rel=0.1)


def test_helix():
    """Constant rates: a turn about an axis and a drift along it (both parts of v_bar = 0 too)."""
    p = bodies(RATES, n=1)
    p["w"] = torch.tensor([[0.0, 0.0, 2.0]], dtype=f64)
    p["v_bar"] = torch.tensor([[0.0, 0.0, 0.7]], dtype=f64)
    p["a_bar"], p["eps"] = zeros(1), zeros(1)
    x, quats, v_bar, w = advance(**p, duration=1.5, max_step=1e-3)
    turn = Rotation.from_rotvec([0, 0, 3.0])
    expected = turn.apply(p["x"].numpy()) + [0, 0, 1.05]
    np.testing.assert_allclose(x.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(
        rotation(quats).as_matrix(), (turn * rotation(p["quats"])).as_matrix(), atol=1e-12
    )
    assert torch.equal(v_bar, p["v_bar"]) and torch.equal(w, p["w"])


def test_without_rotation_it_is_a_parabola():
    p = bodies(RATES)
    p["w"], p["eps"] = zeros(), zeros()
    x, quats, *_ = advance(**p, duration=2.0, max_step=0.3)
    torch.testing.assert_close(x, p["x"] + 2 * p["v_bar"] + 2 * p["a_bar"])
    torch.testing.assert_close(quats, p["quats"])


def test_there_and_back():
    """The orientation returns exactly; the midpoint rule's position as its order promises."""
    p = bodies(RATES)
    gaps = []
    for step in (1 / 16, 1 / 32):
        x, quats, v_bar, w = advance(**p, duration=1.0, max_step=step)
        there = {**p, "x": x, "quats": quats, "v_bar": v_bar, "w": w}
        back = advance(**there, duration=-1.0, max_step=step)
        torch.testing.assert_close(back[1:], (p["quats"], p["v_bar"], p["w"]))
        gaps.append((back[0] - p["x"]).norm().item())
    assert gaps[0] < 2e-2 and gaps[0] / gaps[1] > 4


# A centre of rotation


@pytest.mark.parametrize("case", ["parallel", "eps=0", "w=0"])
@pytest.mark.parametrize("max_step", [10.0, 0.3])
def test_rigid_is_exact_about_a_fixed_axis(case, max_step):
    p = bodies(CENTRES)
    if case == "parallel":
        p["eps"] = parallel_to(p["w"])
    else:
        p[case[:-2]] = zeros()
    for duration in (1.7, -0.9):
        x, quats, c, v_c, w = advance_rigid(**p, duration=duration, max_step=max_step)
        turn = Rotation.from_rotvec((p["w"] * duration + p["eps"] * duration**2 / 2).numpy())
        centre = p["c"] + duration * p["v_c"] + duration**2 / 2 * p["a_c"]
        arm = torch.from_numpy(turn.apply((p["x"] - p["c"]).numpy()))
        torch.testing.assert_close(x, centre + arm)
        torch.testing.assert_close(c, centre)
        torch.testing.assert_close(v_c, p["v_c"] + duration * p["a_c"])
        torch.testing.assert_close(w, p["w"] + duration * p["eps"])
        expected = (turn * rotation(p["quats"])).as_matrix()
        np.testing.assert_allclose(rotation(quats).as_matrix(), expected, atol=1e-12)


def test_rigid_order_four_for_a_turning_axis():
    p = bodies(CENTRES, n=1)
    w, eps = (p[name][0].numpy() for name in ("w", "eps"))

    def spin(t, R):
        return np.cross(w + eps * t, R.reshape(3, 3), axisb=0, axisc=0).ravel()

    R = solve_ivp(spin, (0, 2), np.eye(3).ravel(), rtol=1e-13, atol=1e-13).y[:, -1].reshape(3, 3)
    expected = R @ rotation(p["quats"]).as_matrix()[0]
    errors = []
    for steps in (4, 8, 16):
        x, quats, c, *_ = advance_rigid(**p, duration=2.0, max_step=2 / steps)
        errors.append(np.linalg.norm(rotation(quats).as_matrix()[0] - expected))
        arm = R @ (p["x"] - p["c"])[0].numpy()
        assert np.linalg.norm((x - c)[0].numpy() - arm) < 2 * errors[-1] * np.linalg.norm(arm)
    ratios = [a / b for a, b in zip(errors, errors[1:], strict=False)]
    assert ratios == pytest.approx([16, 16], rel=0.15)


def test_rigid_there_and_back():
    p = bodies(CENTRES)
    x, quats, c, v_c, w = advance_rigid(**p, duration=1.0, max_step=0.25)
    there = {**p, "x": x, "quats": quats, "c": c, "v_c": v_c, "w": w}
    back = advance_rigid(**there, duration=-1.0, max_step=0.25)
    torch.testing.assert_close(back, tuple(p[name] for name in ("x", "quats", "c", "v_c", "w")))


def test_about_origin():
    """v_bar is the body's velocity field at the origin, a_bar its rate of change, and that of
    a_bar is what the module says."""
    p = bodies(CENTRES)
    c, v_c, a_c, w, eps = (p[name] for name in CENTRES)

    def at(t):
        return about_origin(c + t * v_c + t * t / 2 * a_c, v_c + t * a_c, a_c, w + t * eps, eps)

    now, second = torch.tensor(0.0, dtype=f64), torch.tensor(1.0, dtype=f64)
    (v_bar, a_bar), rates = torch.autograd.functional.jvp(at, now, second)
    torch.testing.assert_close(v_bar + cross(w, p["x"]), v_c + cross(w, p["x"] - c))
    torch.testing.assert_close(rates, (a_bar, -2 * cross(eps, v_c) - cross(w, a_c)))


@pytest.mark.parametrize(("accelerates", "exact"), [(False, True), (True, False)])
def test_what_constant_rates_about_the_origin_can_express(accelerates, exact):
    """A spinning body that flies straight, but not one that spins and accelerates at once.

    Then smaller steps do not help; parameters with a centre are exact in a single one.
    """
    p = bodies(CENTRES)
    p["eps"] = zeros()
    if not accelerates:
        p["a_c"] = zeros()
    truth, *_ = advance_rigid(**p, duration=1.0, max_step=1.0)
    fine, *_ = advance_rigid(**p, duration=1.0, max_step=1e-3)
    torch.testing.assert_close(truth, fine)
    v_bar, a_bar = about_origin(*(p[name] for name in CENTRES))
    rates = {**{name: p[name] for name in ("x", "quats", "w", "eps")}, "a_bar": a_bar}
    errors = [
        (advance(**rates, v_bar=v_bar, duration=1.0, max_step=step)[0] - truth).norm().item()
        for step in (1e-2, 1e-3)
    ]
    if exact:
        assert errors[1] < 1e-4 and errors[0] / errors[1] > 90
    else:
        assert errors[1] > 0.1 and errors[0] == pytest.approx(errors[1], rel=0.01)


# Edges


@pytest.mark.parametrize("names", [RATES, CENTRES], ids=["advance", "rigid"])
def test_orientation_stays_orthonormal(names):
    """10,000 steps in f32, in one call and in ten; distances to the centre stay what they are.

    Quaternions are made to length one at the end of a call: what is left is the rounding of a few
    dozen operations, whatever the number of steps. Without that it grows to hundreds of times eps.
    """
    close = 64 * torch.finfo(torch.float32).eps
    p = bodies(names, dtype=torch.float32)
    if names is CENTRES:
        p["v_c"], p["a_c"] = torch.zeros(N, 3), torch.zeros(N, 3)
        radius = (p["x"] - p["c"]).norm(dim=-1)
    motion = advance_rigid if names is CENTRES else advance
    p["eps"] *= 0.1
    for calls in (1, 10):
        q = dict(p)
        for _ in range(calls):
            end = motion(**q, duration=100.0 / calls, max_step=0.01)
            q["x"], q["quats"], q["w"] = end[0], end[1], end[-1]
        R = rotation_matrix(q["quats"])
        assert (R @ R.mT - torch.eye(3)).abs().max() < close
        if names is CENTRES:
            torch.testing.assert_close((q["x"] - q["c"]).norm(dim=-1), radius, rtol=close, atol=0)


def rotation_matrix(q):
    """Of a quaternion as it is: orthonormal only if q has length one."""
    w, x, y, z = q.unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


@pytest.mark.parametrize(("motion", "reference", "names", "options"), MODELS)
def test_single_precision(motion, reference, names, options):
    p = bodies(names)
    settings = {"duration": 0.5, "max_step": 0.1, **options}
    single = motion(**{name: t.float() for name, t in p.items()}, **settings)
    for got, expected in zip(single, motion(**p, **settings), strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("motion", "reference", "names", "options"), MODELS)
def test_nothing_to_do(motion, reference, names, options):
    """No time, or no particles; the inputs are never the outputs' memory."""
    p = bodies(names)
    end = motion(**p, duration=0.0, max_step=0.1, **options)
    torch.testing.assert_close(end[:2], (p["x"], p["quats"]))
    assert end[0].data_ptr() != p["x"].data_ptr() and end[1].data_ptr() != p["quats"].data_ptr()
    empty = {name: t.requires_grad_() for name, t in bodies(names, n=0).items()}
    end = motion(**empty, duration=1.0, max_step=0.1, **options)
    assert [len(t) for t in end] == [0] * len(end)
    sum(t.sum() for t in end).backward()
    assert empty["x"].grad.shape == (0, 3)


@pytest.mark.parametrize(("motion", "reference", "names", "options"), MODELS)
def test_longest_steps(motion, reference, names, options):
    """max_step beyond the duration, even infinite, is a single step."""
    p = bodies(names)
    whole = motion(**p, duration=0.3, max_step=0.3, **options)
    for max_step in (0.5, math.inf):
        assert torch.equal(motion(**p, duration=0.3, max_step=max_step, **options)[0], whole[0])


def test_steps():
    """The last one takes the rest, if it is more than a rounding error: 0.1 x 3 > 0.3."""
    assert _steps(0.1 * 3, 0.1) == (3, 0.1, pytest.approx(0.1))
    assert _steps(-0.35, 0.1) == (4, -0.1, pytest.approx(-0.05))
    assert _steps(0.0, 0.1) == (1, 0.0, 0.0)


@pytest.mark.parametrize(("motion", "reference", "names", "options"), MODELS)
def test_quaternions_of_any_length(motion, reference, names, options):
    p = bodies(names)
    long = {**p, "quats": 3 * p["quats"]}
    settings = {"duration": 0.5, "max_step": 0.1, **options}
    torch.testing.assert_close(motion(**long, **settings), motion(**p, **settings))


BAD = [
    ("x", torch.zeros(3, dtype=f64)),
    ("x", torch.zeros(N, 2, dtype=f64)),
    ("x", torch.zeros((), dtype=f64)),
    ("x", torch.zeros(N, 3, dtype=torch.float16)),
    ("x", torch.full((N, 3), math.nan, dtype=f64)),
    ("quats", torch.zeros(N, 3, dtype=f64)),
    ("quats", torch.eye(5, 4, dtype=f64)),  # the last one is zero
    ("w", torch.zeros(N + 1, 3, dtype=f64)),
    ("eps", torch.zeros(N, 3)),
    ("eps", torch.full((N, 3), math.inf, dtype=f64)),
    ("duration", math.nan),
    ("duration", math.inf),
    ("max_step", 0.0),
    ("max_step", -0.1),
    ("max_step", math.nan),
]


@pytest.mark.parametrize(("name", "value"), BAD)
@pytest.mark.parametrize(
    ("motion", "names"), [(advance, RATES), (advance_rigid, CENTRES)], ids=["advance", "rigid"]
)
def test_bad_input(motion, names, name, value):
    arguments = {**bodies(names), "duration": 0.5, "max_step": 0.1, name: value}
    with pytest.raises(ValueError, match=f"^{name}: got .*, expected"):
        motion(**arguments)


def test_bad_order():
    with pytest.raises(ValueError, match="^order: got 3, expected 1 or 2"):
        advance(**bodies(RATES), duration=0.5, max_step=0.1, order=3)
