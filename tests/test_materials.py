"""Solids: what their parameters mean and what their laws conserve."""

import dataclasses
import functools
import math

import pytest
import torch
from helpers import MATERIALS, NU, PLASTIC, SOLID, VISCOSITY, YIELD, E
from laws import EYE, deformations, equivalent, f64, respond, rotations, stretch
from scipy.integrate import solve_ivp

from taichi_phys import materials
from taichi_phys.materials import lame


MU, LAM = E / 2.6, E * 0.3 / (1.3 * 0.4)
SOLIDS = {name: m for name, m in MATERIALS.items() if isinstance(m, materials.Solid)}
VON_MISES = ("elastoplastic", "viscoplastic", "herschel_bulkley")


def uniaxial(strain, nu=NU):
    """F of a bar stretched along x by a logarithmic strain, free at its sides."""
    return stretch(strain, -nu * strain, -nu * strain)


@pytest.mark.parametrize("name", SOLIDS)
@pytest.mark.parametrize("strain", [1e-6, -1e-6])
def test_small_strain_uniaxial_stress_is_E_times_strain(name, strain):
    _, tau, _ = respond(MATERIALS[name], uniaxial(strain)[None])
    expected = torch.zeros(3, 3, dtype=f64)
    expected[0, 0] = E * strain
    torch.testing.assert_close(tau[0], expected, rtol=0, atol=1e-5 * E * abs(strain))


@pytest.mark.parametrize("name", SOLIDS)
def test_stress_is_the_derivative_of_the_energy(name):
    """tau = dpsi/dF F^T, with the textbook energies; what is elastic stays as it is."""
    elastic = name in ("elastic", "fixed_corotated", "hencky")
    F = deformations(size=0.1 if elastic else 1e-3).requires_grad_()
    log_J = torch.logdet(F)
    strain = 0.5 * torch.linalg.eigvalsh(F @ F.mT).log()
    if name == "elastic":
        psi = MU / 2 * ((F * F).sum((1, 2)) - 3) - MU * log_J + LAM / 2 * log_J**2
    elif name in ("fixed_corotated", "snow"):
        psi = MU * ((strain.exp() - 1) ** 2).sum(1) + LAM / 2 * (log_J.exp() - 1) ** 2
    else:
        psi = MU * (strain**2).sum(1) + LAM / 2 * strain.sum(1) ** 2
    (P,) = torch.autograd.grad(psi.sum(), F)
    Fe, tau, plastic = respond(MATERIALS[name], F.detach())
    torch.testing.assert_close(tau, P @ F.detach().mT, rtol=1e-9, atol=1e-9 * E)
    torch.testing.assert_close(Fe, F.detach(), rtol=0, atol=0)
    assert not plastic.any()


@pytest.mark.parametrize("name", VON_MISES)
@pytest.mark.parametrize("sign", [1, -1])
def test_yields_exactly_at_the_uniaxial_yield_stress(name, sign):
    strain = sign * YIELD / E
    below, above = uniaxial(strain * (1 - 1e-7)), uniaxial(strain * (1 + 1e-7))
    Fe, tau, plastic = respond(MATERIALS[name], torch.stack([below, above]))
    assert tau[0, 0, 0].item() == pytest.approx(sign * YIELD, rel=1e-6)
    torch.testing.assert_close(Fe[0], below, rtol=0, atol=0)
    assert 0 < (Fe[1] - above).abs().max().item() < 1e-7
    assert plastic[0] == 0 < plastic[1] < 1e-7


def test_returns_to_the_yield_surface_without_change_of_volume():
    F = deformations()
    Fe, tau, plastic = respond(MATERIALS["elastoplastic"], F)
    expected = torch.full((len(F),), YIELD, dtype=f64)
    torch.testing.assert_close(equivalent(tau), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.linalg.det(Fe), torch.linalg.det(F), rtol=1e-13, atol=0)
    again, same, _ = respond(MATERIALS["elastoplastic"], Fe)
    torch.testing.assert_close(again, Fe, rtol=0, atol=1e-14)
    torch.testing.assert_close(same, tau, rtol=0, atol=1e-9 * YIELD)


def test_viscosity_interpolates_between_plastic_and_elastic():
    F = deformations()
    stresses = []
    for viscosity in (0.0, 1.0, 1e9):
        material = materials.Viscoplastic(E=E, nu=NU, yield_stress=YIELD, viscosity=viscosity)
        Fe, tau, _ = respond(material, F)
        torch.testing.assert_close(torch.linalg.det(Fe), torch.linalg.det(F), rtol=1e-13, atol=0)
        stresses.append(equivalent(tau))
    plastic, between, elastic = stresses
    torch.testing.assert_close(plastic, torch.full_like(plastic, YIELD), rtol=1e-12, atol=0)
    assert ((plastic < between) & (between < elastic)).all()
    stiff = materials.Elastoplastic(E=E, nu=NU, yield_stress=1e12)
    torch.testing.assert_close(elastic, equivalent(respond(stiff, F)[1]), rtol=1e-6, atol=0)


def test_overstress_relaxes_with_time_constant_viscosity_over_2_mu():
    """Backward Euler: every step divides it by 1 + dt / t, t = viscosity / (2 mu)."""
    yield_stress = 1e-2 * YIELD  # small strains
    material = materials.Viscoplastic(E=E, nu=NU, yield_stress=yield_stress, viscosity=VISCOSITY)
    mu = E / (2 * (1 + NU))
    time_constant = VISCOSITY / (2 * mu)
    Fe = uniaxial(3 * yield_stress / E)[None]
    for dt, steps in ((time_constant / 7, 5), (time_constant / 2000, 1000)):
        overstress = []
        state = Fe
        for _ in range(steps + 1):
            b_mean = (state @ state.mT).diagonal(dim1=1, dim2=2).mean().item()
            state, tau, _ = respond(material, state, dt=dt)
            overstress.append((equivalent(tau).item() - yield_stress, b_mean))
        for (before, _), (after, b_mean) in zip(overstress[:-1], overstress[1:], strict=True):
            # the law scales mu by tr(b) / 3, which is 1 for small strains
            assert after / before == pytest.approx(1 / (1 + dt * b_mean / time_constant), rel=1e-7)
    decay = overstress[-1][0] / overstress[0][0]
    assert decay == pytest.approx(math.exp(-steps * dt / time_constant), rel=5e-3)


def test_hardening_slope():
    """q = yield_stress + hardening p; strain splits into q / (3 mu) and p."""
    hardening = 2000.0
    material = materials.Elastoplastic(**PLASTIC, hardening=hardening)
    path = torch.linspace(0.0, 0.1, 21, dtype=f64).tolist()
    Fe, plastic, stresses = EYE[None], None, []
    for step in [b - a for a, b in zip(path[:-1], path[1:], strict=True)]:
        # equivalent strain of an isochoric stretch: its axial strain
        Fe, tau, plastic = respond(
            material, stretch(step, -step / 2, -step / 2) @ Fe, None, plastic
        )
        stresses.append(equivalent(tau).item())
    assert stresses[-1] == pytest.approx(YIELD + hardening * plastic.item(), rel=1e-12)
    assert path[-1] == pytest.approx(stresses[-1] / (3 * MU) + plastic.item(), rel=1e-12)
    slope = (stresses[-1] - stresses[-2]) / (path[-1] - path[-2])
    assert slope == pytest.approx(3 * MU * hardening / (3 * MU + hardening), rel=1e-10)


@pytest.mark.parametrize("hardening", [0.0, 3000.0])
@pytest.mark.parametrize("exponent", [1.0, 0.6, 0.3])
def test_overstress_relaxes_like_the_ordinary_differential_equation(exponent, hardening):
    """dp/dt of o = sqrt(3)/2 viscosity (sqrt(3) dp/dt)^exponent, o = q - Y - hardening p."""
    yield_stress, viscosity = 1.5, 0.02  # small strains
    material = materials.HerschelBulkley(
        **SOLID, yield_stress=yield_stress, viscosity=viscosity, exponent=exponent,
        hardening=hardening,
    )  # fmt: skip
    start = 3 * yield_stress
    axial = start / (3 * MU)

    def rate(_, p):
        o = (start - yield_stress - (3 * MU + hardening) * p).clip(0)
        return (2 / math.sqrt(3) * o / viscosity) ** (1 / exponent) / math.sqrt(3)

    initial_rate = rate(0, torch.zeros(1).numpy())[0]
    time = axial / initial_rate
    exact = solve_ivp(rate, (0, time), [0.0], rtol=1e-10, atol=1e-16).y[0, -1]
    assert exact > 0.05 * axial
    errors = []
    for steps in (200, 400):
        Fe, plastic = stretch(axial, -axial / 2, -axial / 2)[None], None
        for _ in range(steps):
            Fe, _, plastic = respond(material, Fe, None, plastic, dt=time / steps)
        errors.append(abs(plastic.item() / exact - 1))
    assert errors[1] < 5e-3  # tr(b) / 3 adds 1e-7
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)  # backward Euler: first order


@pytest.mark.parametrize("dtype", [torch.float32, f64])
def test_balance_of_the_overstress_over_many_magnitudes(dtype):
    """r = o + 3 mu dp holds to rounding, from creep to flow at once, without NaN."""
    n, unit = 4000, torch.finfo(dtype).eps
    params = torch.zeros(n, 6, dtype=dtype)
    exponent = 0.05 + 0.95 * torch.rand(n, dtype=dtype)
    viscosity = 10 ** (30 * torch.rand(n, dtype=dtype) - 20)
    viscosity[:50], exponent[50:100] = 0.0, 1.0
    params[:] = torch.tensor([MU, LAM, 1.0, 0.0, 0.0, 0.0], dtype=dtype)
    params[:, 3], params[:, 5] = viscosity, exponent
    axial = 10 ** (-2 * torch.rand(n, dtype=f64)) / 10
    F = torch.diag_embed(torch.exp(axial[:, None] * torch.tensor([1, -0.5, -0.5])))
    Fe, tau, p = respond(MATERIALS["herschel_bulkley"], F, params=params, dtype=dtype, dt=1e-4)
    assert torch.isfinite(Fe).all() and torch.isfinite(tau).all() and (p >= 0).all()
    q, p, exponent, viscosity = (
        t.double() for t in (equivalent(tau.double()), p, exponent, viscosity)
    )
    mean_b = (F * F).sum((1, 2)) / 3
    rate = math.sqrt(3) * p / (1e-4 * mean_b)
    o = math.sqrt(3) / 2 * viscosity * rate**exponent
    r = 3 * MU * axial - 1
    known = p > torch.finfo(dtype).tiny  # creep slower than that says nothing of o
    assert known.sum() > 0.9 * n
    # logarithms of 1e30 amplify rounding
    assert ((o + 3 * MU * p) / r - 1)[known].abs().max() < 1e3 * unit
    torch.testing.assert_close(q, 3 * MU * (axial - p), rtol=1e3 * unit, atol=1e3 * unit * MU)
    flowing = viscosity == 0
    torch.testing.assert_close(q[flowing], torch.ones(50, dtype=f64), rtol=1e3 * unit, atol=0)


@pytest.mark.parametrize("exponent", [1.0, 0.5])
def test_steady_simple_shear_is_what_a_rheometer_reads(exponent):
    """tau_xy = yield_stress / sqrt(3) + viscosity / 2 (shear rate)^exponent."""
    rate, yield_stress, viscosity = 4.0, 3.0, 5.0
    material = materials.HerschelBulkley(
        **SOLID, yield_stress=yield_stress, viscosity=viscosity, exponent=exponent
    )
    C = torch.zeros(1, 3, 3, dtype=f64)
    C[0, 0, 1] = rate
    Fe, dt = EYE[None], 2e-5
    for _ in range(400):
        Fe, tau, _ = respond(material, (EYE + dt * C) @ Fe, C, dt=dt)
    expected = yield_stress / math.sqrt(3) + viscosity / 2 * rate**exponent
    assert tau[0, 0, 1].item() == pytest.approx(expected, rel=2e-3)


def test_exponent_one_is_viscoplastic():
    F = deformations()
    bingham = materials.HerschelBulkley(**PLASTIC, viscosity=VISCOSITY, exponent=1.0)
    near = materials.HerschelBulkley(**PLASTIC, viscosity=VISCOSITY, exponent=1 - 1e-9)
    expected = respond(MATERIALS["viscoplastic"], F)
    for got, close, want in zip(respond(bingham, F), respond(near, F), expected, strict=True):
        assert torch.equal(got, want)
        torch.testing.assert_close(close, want, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", MATERIALS)
def test_objective_and_isotropic(name):
    """Fe(RF) = R Fe(F), tau(RF) = R tau(F) R^T, tau(FR) = tau(F), tau = tau^T."""
    F = deformations()
    R = rotations(len(F))
    plastic = 0.01 * torch.rand(len(F), dtype=f64)
    Fe, tau, now = respond(MATERIALS[name], F, None, plastic)
    turned, turned_tau, turned_now = respond(MATERIALS[name], R @ F, None, plastic)
    close = functools.partial(torch.testing.assert_close, rtol=0, atol=1e-12)
    close(turned, Fe if name == "fluid" else R @ Fe)  # a fluid keeps its volume only
    close(turned_tau / E, R @ tau @ R.mT / E)
    close(turned_now, now)
    close(respond(MATERIALS[name], F @ R, None, plastic)[1] / E, tau / E)
    close(tau.mT / E, tau / E)
    assert tau.abs().max() > 0.01 * YIELD


def test_viscoplastic_without_viscosity_is_elastoplastic():
    F = deformations()
    for kind, fields in (("Viscoplastic", {}), ("HerschelBulkley", {"exponent": 0.4})):
        dry = getattr(materials, kind)(**PLASTIC, viscosity=0.0, **fields)
        expected = respond(MATERIALS["elastoplastic"], F)
        for got, want in zip(respond(dry, F), expected, strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize("name", MATERIALS)
def test_parameters_carry_gradients(name):
    """Scalars and (n,) tensors reach the columns of the law and receive their gradients."""
    kind = materials.MATERIALS[name]
    assert type(MATERIALS[name]) is kind
    values = {f.name: getattr(MATERIALS[name], f.name) for f in dataclasses.fields(kind)}
    one = {f: torch.tensor(v, dtype=f64, requires_grad=True) for f, v in values.items()}
    many = {f: torch.full((5,), v, dtype=f64, requires_grad=True) for f, v in values.items()}
    weights = torch.randn(5, len(kind.law.columns), dtype=f64)
    for fields in (one, many):
        params = kind(**fields).params(5, f64, torch.device("cpu"))
        assert params.shape == (5, len(kind.law.columns))
        (params * weights).nan_to_num(posinf=0, neginf=0).sum().backward()
    for f in values:
        assert one[f].grad.item() == pytest.approx(many[f].grad.sum().item())
        assert one[f].grad.item() != 0


def test_stiffness_is_the_slope_of_confined_compression():
    """d tau_xx / d strain at rest, with the sides held; no law of these flows at C's rate."""
    h, cpu = 1e-7, torch.device("cpu")
    for name, material in SOLIDS.items():
        tau = respond(material, stretch(-h, 0.0, 0.0)[None])[1]
        slope = -tau[0, 0, 0].item() / h
        assert material.stiffness(1, f64, cpu).item() == pytest.approx(slope, rel=1e-6), name
        assert material.stiffness(3, torch.float32, cpu).shape == (3,)
        assert not material.explicit_viscosity(3, f64, cpu).any()


def test_parameters_keep_their_precision():
    """A number in double precision stays one: 0.3 is not the nearest f32."""
    params = materials.Elastic(E=3.3, nu=0.3).params(1, f64, torch.device("cpu"))[0, :2].tolist()
    expected = (3.3 / (2 * 1.3), 3.3 * 0.3 / (1.3 * 0.4))
    assert params == pytest.approx(expected, rel=1e-14)
    assert lame(torch.tensor(3.0), torch.tensor(0.25)) == pytest.approx((1.2, 1.2))


GOOD = {"E": 1e4, "nu": 0.3, "yield_stress": 100.0, "viscosity": 1.0, "exponent": 0.5}
BAD = [
    ("E", 0.0), ("E", -1.0), ("E", math.nan), ("E", math.inf), ("E", "stiff"), ("E", None),
    ("E", torch.ones(2, 2)), ("E", torch.tensor([1.0, -1.0])), ("nu", 0.5), ("nu", -1.0),
    ("nu", 0.7), ("nu", math.nan), ("yield_stress", 0.0), ("yield_stress", -5.0),
    ("viscosity", -1.0), ("viscosity", math.inf), ("exponent", 0.0), ("exponent", 1.1),
    ("exponent", -0.5), ("hardening", -1.0), ("hardening", math.nan),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD)
def test_bad_parameters_are_named(field, value):
    with pytest.raises(ValueError, match=rf"^{field}: "):
        materials.HerschelBulkley(**{**GOOD, field: value})


def test_parameters_of_another_number_of_particles_are_named():
    material = materials.Elastic(E=torch.ones(3), nu=0.3)
    with pytest.raises(ValueError, match=r"^E: got 3 values, expected 1 or 5"):
        material.params(5, f64, torch.device("cpu"))
