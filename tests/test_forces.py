"""Force fields: what mechanics says of them, their gradients, and bad input."""

import math

import pytest
import torch
from helpers import AIR, FORCES, NOISE

from taichi_phys.bridge.causal_triplane import CausalTriplane
from taichi_phys.mpm.forces import (
    Acceleration,
    AirVelocity,
    Drag,
    ForceField,
    Noise,
    Triplane,
    Uniform,
    Vortex,
    evaluate,
    total,
)


f64 = torch.float64
NAN, INF = math.nan, math.inf


def particles(n=7, dtype=f64):
    x, v = torch.randn(n, 3, dtype=dtype), torch.randn(n, 3, dtype=dtype)
    return x, v, 0.1 + torch.rand(n, dtype=dtype)


def motion(force, v, mass, time, steps=400):
    """Positions and velocities after time s: classical Runge-Kutta, from the origin."""
    x, dt = torch.zeros_like(v), time / steps

    def slope(x, v, t):
        return v, evaluate(force, x, t, v, mass) / mass[:, None]

    for i in range(steps):
        t = i * dt
        a = slope(x, v, t)
        b = slope(x + dt / 2 * a[0], v + dt / 2 * a[1], t + dt / 2)
        c = slope(x + dt / 2 * b[0], v + dt / 2 * b[1], t + dt / 2)
        d = slope(x + dt * c[0], v + dt * c[1], t + dt)
        x = x + dt / 6 * (a[0] + 2 * b[0] + 2 * c[0] + d[0])
        v = v + dt / 6 * (a[1] + 2 * b[1] + 2 * c[1] + d[1])
    return x, v


def divergence(u, x):
    total = 0
    x = x.clone().requires_grad_()
    value = u(x, 0.7)
    for axis in range(3):
        total += torch.autograd.grad(value[:, axis].sum(), x, retain_graph=True)[0][:, axis]
    return total


# Mechanics


def test_uniform():
    x, v, mass = particles()
    force = Uniform(acceleration=(0, 0, -9.81))(x, 0.0, v, mass)
    torch.testing.assert_close(force, mass[:, None] * torch.tensor([0, 0, -9.81], dtype=f64))
    force = Uniform(force=(3, 0, 1))(x, 0.0, v, mass)
    torch.testing.assert_close(force.sum(0), torch.tensor([3, 0, 1], dtype=f64))
    torch.testing.assert_close(force[1] / mass[1], force[4] / mass[4])


def test_drag_relaxes_exponentially():
    _, v, mass = particles()
    air = torch.tensor([3.0, -1.0, 0.5], dtype=f64)
    _, end = motion(Drag(air=air, rate=2.0), v, mass, 1.3)
    torch.testing.assert_close(end, air + (v - air) * math.exp(-2.6), rtol=0, atol=1e-9)


def test_quadratic_drag_slows_as_one_over_time():
    _, v, mass = particles()
    x, end = motion(Drag(air=(0, 0, 0), quadratic=0.8), v, mass, 2.0)
    slowed = 1 + 0.8 * 2.0 * v.norm(dim=1, keepdim=True)
    torch.testing.assert_close(end, v / slowed, rtol=0, atol=1e-7)
    way = slowed.log() / 0.8 * v / v.norm(dim=1, keepdim=True)
    torch.testing.assert_close(x, way, rtol=0, atol=1e-7)


def test_steady_speed_under_gravity():
    _, v, mass = particles()
    gravity = Uniform(acceleration=(0, 0, -9.81))
    _, end = motion(Drag(air=(2, 0, 0), rate=4.0) + gravity, v, mass, 8.0)
    steady = torch.tensor([2, 0, -9.81 / 4], dtype=f64)
    torch.testing.assert_close(end, steady.expand_as(end), rtol=0, atol=1e-9)
    _, end = motion([Drag(air=(2, 0, 0), quadratic=0.3), gravity], 0 * v, mass, 20.0, 4000)
    balance = 0.3 * (end - torch.tensor([2, 0, 0])).norm(dim=1) ** 2
    torch.testing.assert_close(balance, torch.full_like(balance, 9.81), rtol=1e-6, atol=0)


def test_the_profile_of_a_vortex():
    vortex = Vortex(center=(1, 2, 3), strength=0.6, radius=0.2)
    r = torch.tensor([1e-9, 1e-3, 0.05, 0.2, 0.2 * 1.1209, 0.5, 20.0], dtype=f64)
    x = torch.stack([1 + r, torch.full_like(r, 2), torch.linspace(-9, 9, 7, dtype=f64)], dim=1)
    u = vortex(x, 0.0)
    assert (u[:, [0, 2]].abs() < 1e-12).all()
    expected = 0.6 / (2 * math.pi * r) * -torch.expm1(-((r / 0.2) ** 2))
    torch.testing.assert_close(u[:, 1], expected, rtol=1e-6, atol=0)
    assert u[:, 1].argmax() == 4
    assert u[4, 1].item() == pytest.approx(0.638 * 0.6 / (2 * math.pi * 0.2), rel=1e-3)
    turned = Vortex(center=(1, 2, 3), axis=(0, 0, -5), strength=0.6, radius=0.2)(x, 0.0)
    torch.testing.assert_close(turned, -u)


def test_a_vortex_is_at_rest_on_its_axis_with_a_gradient():
    x = torch.tensor([[0.0, 0.0, 1.0]], dtype=f64, requires_grad=True)
    u = Vortex(center=(0, 0, 0), strength=2 * math.pi, radius=0.5)(x, 0.0)
    assert (u == 0).all()
    (slope,) = torch.autograd.grad(u[0, 1], x)
    torch.testing.assert_close(slope, torch.tensor([[4.0, 0, 0]], dtype=f64))


@pytest.mark.parametrize("air", AIR.values(), ids=AIR)
def test_air_has_no_divergence(air):
    x = torch.cat([torch.randn(50, 3, dtype=f64), torch.tensor([[0.1, -0.2, 0.3]])])
    assert divergence(air, x).abs().max() < 1e-12


STORED = [
    [0.708285169, 0.234194080, -0.064422055],
    [-0.246712793, 1.130004866, -0.878245865],
    [-1.635526979, -1.069942080, 1.196180178],
]


def test_noise_is_the_same_everywhere():
    """Stored values: seeds mean the same field on every machine."""
    x = torch.tensor([[0, 0, 0], [0.1, 0.2, 0.3], [-5, 2, 7]], dtype=f64)
    expected = torch.tensor(STORED, dtype=f64)
    torch.testing.assert_close(NOISE(x, 1.25), expected, rtol=0, atol=1e-6)
    assert not torch.allclose(Noise(scale=0.5, speed=2.0, seed=5)(x, 0.0), expected)
    single = NOISE(x.float(), 1.25)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=1e-4)


def test_noise_has_its_speed_and_its_scales():
    wide = Noise(scale=0.5, speed=2.0, time_scale=3.0, modes=400)
    x = torch.rand(40_000, 3, dtype=f64) * 20
    u = wide(x, 0.0)
    assert u.square().sum(1).mean().sqrt().item() == pytest.approx(2.0, rel=0.05)
    torch.testing.assert_close(u.square().mean(0), torch.full((3,), 4 / 3), rtol=0.2, atol=0,
                               check_dtype=False)  # fmt: skip

    def likeness(other):
        return (u * other).sum().item() / (u * u).sum().item()

    step = torch.tensor([1.0, 0, 0], dtype=f64)
    assert likeness(wide(x + 0.02 * step, 0.0)) > 0.97
    assert abs(likeness(wide(x + 0.5 * step, 0.0))) < 0.4
    assert likeness(wide(x, 0.1)) > 0.95
    assert abs(likeness(wide(x, 2.0))) < 0.5
    frozen = Noise(scale=0.5, speed=2.0)
    assert torch.equal(frozen(x, 0.0), frozen(x, 9.0))
    hours = wide(x[:9].float(), 1e5) - wide(x[:9], 1e5)
    assert hours.abs().max() < 1e-3


# Sums and other kinds


def test_sums_and_evaluate():
    x, v, mass = particles()
    drag, uniform = FORCES["drag"], FORCES["uniform"]
    held = torch.ones(7, 3, dtype=f64)

    def spring(x, t):
        return -x * t

    expected = drag(x, 2.0, v, mass) + uniform(x, 2.0, v, mass) + held - 2 * x
    for force in (
        drag + uniform + held + spring,
        spring + (uniform + drag) + held,
        total([drag, uniform, held, spring]),
        [drag, uniform, held, spring],
        sum([drag, uniform]) + total([held, spring]),
    ):
        torch.testing.assert_close(evaluate(force, x, 2.0, v, mass), expected)
    assert len((drag + uniform + drag).parts) == 3
    assert torch.equal(evaluate(None, x, 0.0, v, mass), torch.zeros_like(x))
    assert torch.equal(evaluate([], x, 0.0, v, mass), torch.zeros_like(x))
    assert evaluate(held.float(), x, 0.0, v, mass).dtype == f64


def test_an_own_kind_of_force():
    class Brake(ForceField):
        def __call__(self, x, t, v, mass):
            return -mass[:, None] * v

    x, v, mass = particles()
    torch.testing.assert_close(evaluate(Brake() + Brake(), x, 0, v, mass), -2 * mass[:, None] * v)


def test_a_triplane_as_a_force():
    torch.manual_seed(0)
    field = CausalTriplane(lower=(-1, -1, -1), upper=(1, 1, 1), steps=3, resolution=4)
    torch.nn.init.normal_(field.decoder[-1].weight)
    x, v, mass = particles()
    states, forces = [], []
    for step in range(3):
        field.begin_step(step)
        torch.nn.init.normal_(field.time_encoder[0].bias)
        states.append({k: w.clone() for k, w in field.state_dict().items()})
        forces.append(mass[:, None] * field(x.float(), step))
        still = Triplane(field=field, step=step)
        torch.testing.assert_close(still(x, 9.0, v, mass), forces[-1])
    wind = Triplane(field=field, states=states, fps=10.0)
    for t, step in ((0.0, 0), (0.099, 0), (3 * 0.1 / 3, 1), (0.2, 2), (5.0, 2)):
        torch.testing.assert_close(wind(x, t, v, mass), forces[step])
    Triplane(field=field, step=1)(x, 0.0, v, mass).sum().backward()
    assert field.planes.grad.abs().sum() > 0


# Gradients


@pytest.mark.parametrize("name", FORCES)
def test_gradients(name):
    x, v, mass = particles(4)
    inputs = [a.requires_grad_() for a in (x, v, mass)]
    assert torch.autograd.gradcheck(lambda x, v, m: FORCES[name](x, 0.3, v, m), inputs)


def test_gradients_of_parameters():
    x, v, mass = particles(3)

    def force(wind, rate, quadratic, strength, radius, speed):
        air = Vortex(center=wind, strength=strength, radius=radius)
        air = air + Noise(scale=1.0, speed=speed) + wind
        return Drag(air=air, rate=rate, quadratic=quadratic)(x, 0.3, v, mass)

    wind = torch.tensor([1.0, 2, 3], dtype=f64, requires_grad=True)
    numbers = [torch.tensor(s, dtype=f64, requires_grad=True) for s in (0.5, 0.1, 0.7, 0.8, 1.5)]
    assert torch.autograd.gradcheck(force, [wind, *numbers])


def test_gradient_of_quadratic_drag_at_the_speed_of_the_air():
    x, v, mass = particles()
    v = torch.ones_like(x).requires_grad_()
    Drag(air=(1, 1, 1), quadratic=0.3)(x, 0.0, v, mass).sum().backward()
    assert (v.grad == 0).all()


@pytest.mark.parametrize("name", FORCES)
@pytest.mark.parametrize("dtype", [torch.float32, f64])
def test_dtypes(name, dtype):
    x, v, mass = particles(dtype=dtype)
    force = FORCES[name](x, 0.5, v, mass)
    assert force.dtype == dtype and force.shape == (7, 3)


# Bad input


@pytest.mark.parametrize(
    ("kind", "given", "named"),
    [
        (Uniform, {}, "acceleration"), (Uniform, {"acceleration": (1, 2)}, "acceleration"),
        (Uniform, {"acceleration": (1, 2, NAN)}, "acceleration"),
        (Uniform, {"force": (0, 0, 1), "acceleration": (0, 0, 1)}, "acceleration"),
        (Uniform, {"force": torch.zeros(2)}, "force"), (Drag, {"air": (0, 0), "rate": 1}, "air"),
        (Drag, {"air": "west", "rate": 1}, "air"), (Drag, {"air": None, "rate": 1}, "air"),
        (Drag, {"air": (1, 0, 0)}, "rate"), (Drag, {"air": (1, 0, 0), "rate": -1}, "rate"),
        (Drag, {"air": (1, 0, 0), "rate": "a"}, "rate"),
        (Drag, {"air": (1, 0, 0), "rate": torch.tensor(-1.0)}, "rate"),
        (Drag, {"air": (1, 0, 0), "rate": True}, "rate"),
        (Drag, {"air": (1, 0, 0), "quadratic": INF}, "quadratic"),
        (Drag, {"air": FORCES["drag"], "rate": 1.0}, "air"),
        (Vortex, {"radius": 0}, "radius"), (Vortex, {"radius": NAN}, "radius"),
        (Vortex, {"axis": (0, 0, 0)}, "axis"), (Vortex, {"center": (0, 0)}, "center"),
        (Vortex, {"strength": "a"}, "strength"), (Vortex, {"strength": INF}, "strength"),
        (Noise, {"scale": 0}, "scale"), (Noise, {"speed": -1}, "speed"),
        (Noise, {"time_scale": 0}, "time_scale"), (Noise, {"seed": 1.5}, "seed"),
        (Noise, {"seed": -1}, "seed"), (Noise, {"modes": 0}, "modes"),
        (Acceleration, {"field": (1, 2, 3)}, "field"),
        (Acceleration, {"field": NOISE, "scale": NAN}, "scale"),
        (Triplane, {"field": NOISE}, "field"),
        (Triplane, {"field": torch.nn.Linear(3, 3), "states": []}, "states"),
        (Triplane, {"field": torch.nn.Linear(3, 3), "fps": 0}, "fps"),
    ],
)  # fmt: skip
def test_bad_fields(kind, given, named):
    good = {
        Vortex: {"center": (0, 0, 0), "strength": 1.0, "radius": 1.0},
        Noise: {"scale": 1.0, "speed": 1.0},
    }.get(kind, {})
    with pytest.raises(ValueError, match=rf"^{named}"):
        kind(**{**good, **given})


@pytest.mark.parametrize(
    ("force", "named"),
    [
        ("push", "force"), (3.0, "force"), (torch.zeros(3), "force"), (NOISE, "force.*Drag"),
        (lambda x, t: x[0], "force"), (lambda x, t: None, "force"), ([NOISE], "force"),
        (Drag(air=lambda x, t: x[0], rate=1.0), "air"), ([None], "force"),
        (Drag(air=NOISE + (lambda x, t: 1.0), rate=1.0), "air"),
        (Acceleration(field=lambda x, t: x[:2]), "field"),
    ],
)  # fmt: skip
def test_bad_forces(force, named):
    x, v, mass = particles()
    with pytest.raises(ValueError, match=rf"^{named}"):
        evaluate(force, x, 0.0, v, mass)


def test_bad_sums():
    with pytest.raises(ValueError, match="^force: "):
        FORCES["drag"] + 3.0
    with pytest.raises(ValueError, match="^forces: "):
        total(FORCES["drag"])
    with pytest.raises(ValueError, match="^air: "):
        NOISE + FORCES["drag"]
    with pytest.raises(ValueError, match="^air: "):
        NOISE + "west"
    assert isinstance((1, 0, 0) + NOISE, AirVelocity)
