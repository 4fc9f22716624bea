"""Constitutive laws: what their parameters mean, what they conserve, and their derivatives."""

import functools
import math

import pytest
import taichi as ti
import torch

import taichi_phys as tp
from taichi_phys.materials import lame


f64 = torch.float64
E, NU, YIELD, VISCOSITY = 1e4, 0.3, 150.0, 5.0
DT = 1e-4
MATERIALS = {
    "elastic": tp.Elastic(E=E, nu=NU),
    "elastoplastic": tp.Elastoplastic(E=E, nu=NU, yield_stress=YIELD),
    "viscoplastic": tp.Viscoplastic(E=E, nu=NU, yield_stress=YIELD, viscosity=VISCOSITY),
}


@functools.cache
def kernels(law):
    """respond and respond_adjoint of a law over arrays, in f64."""
    mat3, vec4 = ti.types.matrix(3, 3, ti.f64), ti.types.vector(4, ti.f64)
    nd = ti.types.ndarray

    @ti.kernel
    def respond(F: nd(mat3, 1), params: nd(vec4, 1), Fe: nd(mat3, 1), tau: nd(mat3, 1), dt: ti.f64):
        for p in range(F.shape[0]):
            Fe[p], tau[p] = law.respond(F[p], params[p], dt)

    @ti.kernel
    def adjoint(
        F: nd(mat3, 1), params: nd(vec4, 1), gFe: nd(mat3, 1), gtau: nd(mat3, 1),
        gF: nd(mat3, 1), gparams: nd(vec4, 1), dt: ti.f64,
    ):  # fmt: skip
        for p in range(F.shape[0]):
            gF[p], gparams[p] = law.respond_adjoint(F[p], params[p], dt, gFe[p], gtau[p])

    return respond, adjoint


def respond(material, F, dt=DT, params=None):
    """Elastic part and Kirchhoff stress of F (n, 3, 3)."""
    if params is None:
        params = material.params(len(F), f64, F.device)
    Fe, tau = torch.empty_like(F), torch.empty_like(F)
    kernels(material.law)[0](F.contiguous(), params.contiguous(), Fe, tau, dt)
    return Fe, tau


def deformations(n=50, size=0.1):
    return torch.linalg.matrix_exp(size * torch.randn(n, 3, 3, dtype=f64))


def rotations(n):
    Q, _ = torch.linalg.qr(torch.randn(n, 3, 3, dtype=f64))
    return Q * torch.linalg.det(Q)[:, None, None]


def uniaxial(strain, nu=NU):
    """F of a bar stretched along x by a logarithmic strain, free at its sides."""
    return torch.diag(torch.exp(torch.tensor([strain, -nu * strain, -nu * strain], dtype=f64)))


def equivalent(tau):
    """Von Mises stress."""
    dev = tau - tau.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] * torch.eye(3, dtype=f64)
    return math.sqrt(1.5) * dev.flatten(-2).norm(dim=-1)


@pytest.mark.parametrize("name", MATERIALS)
@pytest.mark.parametrize("strain", [1e-6, -1e-6])
def test_small_strain_uniaxial_stress_is_E_times_strain(name, strain):
    _, tau = respond(MATERIALS[name], uniaxial(strain)[None])
    expected = torch.zeros(3, 3, dtype=f64)
    expected[0, 0] = E * strain
    torch.testing.assert_close(tau[0], expected, rtol=0, atol=1e-5 * E * abs(strain))


@pytest.mark.parametrize("name", MATERIALS)
def test_stress_is_the_derivative_of_the_energy(name):
    """tau = dpsi/dF F^T, with the textbook energies."""
    F = deformations(size=0.1 if name == "elastic" else 1e-3).requires_grad_()
    mu, lam = MATERIALS[name].params(1, f64, F.device)[0, :2]
    log_J = torch.logdet(F)
    if name == "elastic":
        psi = mu / 2 * ((F * F).sum((1, 2)) - 3) - mu * log_J + lam / 2 * log_J**2
    else:
        strain = 0.5 * torch.linalg.eigvalsh(F @ F.mT).log()
        psi = mu * (strain**2).sum(1) + lam / 2 * strain.sum(1) ** 2
    (P,) = torch.autograd.grad(psi.sum(), F)
    Fe, tau = respond(MATERIALS[name], F.detach())
    torch.testing.assert_close(tau, P @ F.detach().mT, rtol=1e-9, atol=1e-9 * E)
    torch.testing.assert_close(Fe, F.detach(), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["elastoplastic", "viscoplastic"])
@pytest.mark.parametrize("sign", [1, -1])
def test_yields_exactly_at_the_uniaxial_yield_stress(name, sign):
    strain = sign * YIELD / E
    below, above = uniaxial(strain * (1 - 1e-7)), uniaxial(strain * (1 + 1e-7))
    Fe, tau = respond(MATERIALS[name], torch.stack([below, above]))
    assert tau[0, 0, 0].item() == pytest.approx(sign * YIELD, rel=1e-6)
    torch.testing.assert_close(Fe[0], below, rtol=0, atol=0)
    assert 1e-11 < (Fe[1] - above).abs().max().item() < 1e-7


def test_returns_to_the_yield_surface_without_change_of_volume():
    F = deformations()
    Fe, tau = respond(MATERIALS["elastoplastic"], F)
    expected = torch.full((len(F),), YIELD, dtype=f64)
    torch.testing.assert_close(equivalent(tau), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.linalg.det(Fe), torch.linalg.det(F), rtol=1e-13, atol=0)
    again, same = respond(MATERIALS["elastoplastic"], Fe)
    torch.testing.assert_close(again, Fe, rtol=0, atol=1e-14)
    torch.testing.assert_close(same, tau, rtol=0, atol=1e-9 * YIELD)


def test_viscosity_interpolates_between_plastic_and_elastic():
    F = deformations()
    stresses = []
    for viscosity in (0.0, 1.0, 1e9):
        material = tp.Viscoplastic(E=E, nu=NU, yield_stress=YIELD, viscosity=viscosity)
        Fe, tau = respond(material, F)
        torch.testing.assert_close(torch.linalg.det(Fe), torch.linalg.det(F), rtol=1e-13, atol=0)
        stresses.append(equivalent(tau))
    plastic, between, elastic = stresses
    torch.testing.assert_close(plastic, torch.full_like(plastic, YIELD), rtol=1e-12, atol=0)
    assert ((plastic < between) & (between < elastic)).all()
    stiff = tp.Elastoplastic(E=E, nu=NU, yield_stress=1e12)
    torch.testing.assert_close(elastic, equivalent(respond(stiff, F)[1]), rtol=1e-6, atol=0)


def test_overstress_relaxes_with_time_constant_viscosity_over_2_mu():
    """Backward Euler: every step divides it by 1 + dt / t, t = viscosity / (2 mu)."""
    yield_stress = 1e-2 * YIELD  # small strains
    material = tp.Viscoplastic(E=E, nu=NU, yield_stress=yield_stress, viscosity=VISCOSITY)
    mu = E / (2 * (1 + NU))
    time_constant = VISCOSITY / (2 * mu)
    Fe = uniaxial(3 * yield_stress / E)[None]
    for dt, steps in ((time_constant / 7, 5), (time_constant / 2000, 1000)):
        overstress = []
        state = Fe
        for _ in range(steps + 1):
            b_mean = (state @ state.mT).diagonal(dim1=1, dim2=2).mean().item()
            state, tau = respond(material, state, dt=dt)
            overstress.append((equivalent(tau).item() - yield_stress, b_mean))
        for (before, _), (after, b_mean) in zip(overstress[:-1], overstress[1:], strict=True):
            # the law scales mu by tr(b) / 3, which is 1 for small strains
            assert after / before == pytest.approx(1 / (1 + dt * b_mean / time_constant), rel=1e-7)
    decay = overstress[-1][0] / overstress[0][0]
    assert decay == pytest.approx(math.exp(-steps * dt / time_constant), rel=5e-3)


@pytest.mark.parametrize("name", MATERIALS)
def test_objective_and_isotropic(name):
    """Fe(RF) = R Fe(F), tau(RF) = R tau(F) R^T, tau(FR) = tau(F), tau = tau^T."""
    F = deformations()
    R = rotations(len(F))
    Fe, tau = respond(MATERIALS[name], F)
    turned, turned_tau = respond(MATERIALS[name], R @ F)
    close = functools.partial(torch.testing.assert_close, rtol=0, atol=1e-12)
    close(turned, R @ Fe)
    close(turned_tau / E, R @ tau @ R.mT / E)
    close(respond(MATERIALS[name], F @ R)[1] / E, tau / E)
    close(tau.mT / E, tau / E)
    assert tau.abs().max() > 0.01 * YIELD


def test_viscoplastic_without_viscosity_is_elastoplastic():
    F = deformations()
    dry = tp.Viscoplastic(E=E, nu=NU, yield_stress=YIELD, viscosity=0.0)
    for got, expected in zip(respond(dry, F), respond(MATERIALS["elastoplastic"], F), strict=True):
        assert torch.equal(got, expected)


def bodies():
    """F at rest, with one, two and three different stretches, and large."""
    eye = torch.eye(3, dtype=f64)
    two = torch.diag(torch.tensor([1.2, 1.2, 0.9], dtype=f64))
    near = torch.diag(torch.tensor([1.2, 1.2 + 1e-9, 0.9], dtype=f64))
    R = rotations(3)
    special = [eye, 1.1 * eye, R[0], R[1] @ two @ R[2], R[1] @ near @ R[2], two]
    return torch.cat([torch.stack(special), deformations(10), deformations(4, size=0.3)])


@pytest.mark.parametrize("yielding", [True, False])
@pytest.mark.parametrize("name", MATERIALS)
def test_adjoint_agrees_with_central_differences(name, yielding):
    material = MATERIALS[name]
    F = bodies()
    params = material.params(len(F), f64, F.device).clone()
    if not yielding:
        params[:, 2] *= 1e6
    gFe, gtau = torch.randn_like(F), torch.randn_like(F) / E
    gF, gparams = torch.empty_like(F), torch.empty_like(params)
    kernels(material.law)[1](F, params, gFe, gtau, gF, gparams, DT)

    def value(F, params):
        Fe, tau = respond(material, F, params=params)
        return (gFe * Fe).sum((1, 2)) + (gtau * tau).sum((1, 2))

    for _ in range(3):
        dF, h = torch.randn_like(F), 1e-6
        expected = (value(F + h * dF, params) - value(F - h * dF, params)) / (2 * h)
        got = (gF * dF).sum((1, 2))
        torch.testing.assert_close(got, expected, rtol=2e-8, atol=2e-8 * float(gF.abs().max()))
    for column in range(4):
        step = torch.zeros_like(params)
        step[:, column] = 1e-5 * params[:, column]
        expected = value(F, params + step) - value(F, params - step)
        got = 2 * step[:, column] * gparams[:, column]
        torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-13)
        if yielding and params[0, column] > 0:
            assert gparams[:, column].abs().max() > 0
    if not yielding:
        assert (gparams[:, 2:] == 0).all()


@pytest.mark.parametrize("name", MATERIALS)
def test_parameters_carry_gradients(name):
    """Scalars and (n,) tensors reach the Lame parameters and receive their gradients."""
    kind = tp.MATERIALS[name]
    assert type(MATERIALS[name]) is kind
    values = {
        f: getattr(MATERIALS[name], f)
        for f in ("E", "nu", "yield_stress", "viscosity")
        if hasattr(MATERIALS[name], f)
    }
    one = {f: torch.tensor(v, dtype=f64, requires_grad=True) for f, v in values.items()}
    many = {f: torch.full((5,), v, dtype=f64, requires_grad=True) for f, v in values.items()}
    weights = torch.randn(5, 4, dtype=f64)
    for fields in (one, many):
        (kind(**fields).params(5, f64, torch.device("cpu")) * weights).sum().backward()
    for f in values:
        assert one[f].grad.item() == pytest.approx(many[f].grad.sum().item())
        assert one[f].grad.item() != 0


def test_parameters_keep_their_precision():
    """A number in double precision stays one: 0.3 is not the nearest f32."""
    params = tp.Elastic(E=3.3, nu=0.3).params(1, f64, torch.device("cpu"))[0, :2].tolist()
    expected = (3.3 / (2 * 1.3), 3.3 * 0.3 / (1.3 * 0.4))
    assert params == pytest.approx(expected, rel=1e-14)
    assert lame(torch.tensor(3.0), torch.tensor(0.25)) == pytest.approx((1.2, 1.2))


GOOD = {"E": 1e4, "nu": 0.3, "yield_stress": 100.0, "viscosity": 1.0}
BAD = [
    ("E", 0.0), ("E", -1.0), ("E", math.nan), ("E", math.inf), ("E", "stiff"), ("E", None),
    ("E", torch.ones(2, 2)), ("E", torch.tensor([1.0, -1.0])), ("nu", 0.5), ("nu", -1.0),
    ("nu", 0.7), ("nu", math.nan), ("yield_stress", 0.0), ("yield_stress", -5.0),
    ("viscosity", -1.0), ("viscosity", math.inf),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD)
def test_bad_parameters_are_named(field, value):
    with pytest.raises(ValueError, match=rf"^{field}: "):
        tp.Viscoplastic(**{**GOOD, field: value})


def test_parameters_of_another_number_of_particles_are_named():
    material = tp.Elastic(E=torch.ones(3), nu=0.3)
    with pytest.raises(ValueError, match=r"^E: got 3 values, expected 1 or 5"):
        material.params(5, f64, torch.device("cpu"))
