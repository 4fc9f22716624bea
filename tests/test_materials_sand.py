"""Materials that flow like no solid: sand (Drucker-Prager) and fluid."""

import math

import pytest
import torch
from laws import EYE, deformations, f64, pressure, respond, rotations, stretch

from taichi_phys.materials import Fluid, Sand


E, NU, ANGLE, COHESION = 1e6, 0.3, 32.0, 2e3
MU, LAM = E / 2.6, E * 0.3 / (1.3 * 0.4)
PHI = math.radians(ANGLE)
SOLID = {"E": E, "nu": NU}
DRY = Sand(**SOLID, friction_angle=ANGLE)
MOIST = Sand(**SOLID, friction_angle=ANGLE, cohesion=COHESION)
CPU = torch.device("cpu")


def compressed(n=50, size=0.1, by=0.03):
    """Deformations under pressure, most of them beyond the cone; by: log strain of each axis."""
    F = deformations(n, size)
    return math.exp(-by) * F / torch.linalg.det(F)[:, None, None] ** (1 / 3)


@pytest.mark.parametrize(("sand", "cohesion"), [(DRY, 0.0), (MOIST, COHESION)])
def test_triaxial_compression_fails_by_mohr_coulomb(sand, cohesion):
    """s1 - s3 = (s1 + s3) sin(phi) + 2 c cos(phi), s1 > s2 = s3 compressive."""
    _, tau, _ = respond(sand, stretch(-0.05, 0.01, 0.01)[None])
    s1, s2, s3 = (-tau[0].diagonal()).tolist()
    assert s2 == pytest.approx(s3)
    strength = (s1 + s3) * math.sin(PHI) + 2 * cohesion * math.cos(PHI)
    assert s1 - s3 == pytest.approx(strength, rel=1e-12)


def klar(F, volume):
    """Klar et al. 2016 and Tampubolon et al. 2017 as published: strain space, no cohesion."""
    U, sigma, Vt = torch.linalg.svd(F)
    eps = sigma.log() + volume[:, None] / 3
    trace = eps.sum(1)
    dev = eps - trace[:, None] / 3
    alpha = math.sqrt(2 / 3) * 2 * math.sin(PHI) / (3 - math.sin(PHI))
    norm = dev.norm(dim=1)
    excess = norm + (3 * LAM + 2 * MU) / (2 * MU) * trace * alpha
    cone = eps - (excess.clamp(min=0) / norm)[:, None] * dev
    eps = torch.where((trace > 0)[:, None], torch.zeros_like(cone), cone)
    volume = volume + sigma.log().sum(1) - eps.sum(1)
    tau = U * (2 * MU * eps + LAM * eps.sum(1, keepdim=True))[:, None] @ U.mT
    return U * eps.exp()[:, None] @ Vt, tau, volume


def test_agrees_with_the_papers():
    F = torch.cat([compressed(), compressed(size=1e-3), compressed(by=-0.05), compressed(by=0.005)])
    volume = 0.03 * torch.rand(len(F), dtype=f64)
    got, expected = respond(DRY, F, None, volume), klar(F, volume)
    cases = [(expected[2] > 0).sum(), (expected[2] == 0).sum()]
    for a, b, scale in zip(got, expected, (1, E, 1), strict=True):
        torch.testing.assert_close(a / scale, b / scale, rtol=0, atol=1e-12)
    assert min(cases) > 20


def test_returned_states_stay_where_they_are():
    F = compressed()
    Fe, tau, _ = respond(MOIST, F)
    assert ((Fe - F).abs().amax((1, 2)) > 1e-4).sum() > 25  # most were beyond the cone
    again, same, volume = respond(MOIST, Fe)
    torch.testing.assert_close(again, Fe, rtol=0, atol=1e-14)
    torch.testing.assert_close(same / E, tau / E, rtol=0, atol=1e-14)
    assert not volume.any()
    torch.testing.assert_close(torch.linalg.det(Fe), torch.linalg.det(F), rtol=1e-13, atol=0)
    still = compressed(size=1e-4)
    assert torch.equal(respond(MOIST, still)[0], still)


def test_tension_ends_at_the_tip():
    """No stress at all in dry sand, c cot(phi) with cohesion; no strain but that is kept."""
    F = compressed(by=-0.1)
    R = rotations(len(F))
    Fe, tau, volume = respond(DRY, F)
    assert tau.abs().max() < 1e-12 * E
    torch.testing.assert_close(Fe.mT @ Fe, EYE.expand_as(Fe), rtol=0, atol=1e-14)
    torch.testing.assert_close(volume, torch.logdet(F), rtol=1e-12, atol=0)
    tension = COHESION / math.tan(PHI)
    _, tau, volume = respond(MOIST, R @ F)
    expected = (tension * EYE).expand_as(tau)
    torch.testing.assert_close(tau, expected, rtol=1e-10, atol=1e-10 * tension)
    below = math.exp(0.99 * tension / (3 * LAM + 2 * MU)) * EYE[None]
    assert torch.equal(respond(MOIST, below)[0], below)


def test_opened_sand_closes_before_it_pushes_back():
    """Volume correction: expand by 3 %, compress by 2 %: no pressure; by 2 % more: that of 1 %."""
    factor = [math.exp(e / 3) for e in (0.03, -0.02, -0.02)]
    Fe, tau, volume = respond(DRY, factor[0] * EYE[None])
    assert volume.item() == pytest.approx(0.03) and not tau.any()
    Fe, tau, volume = respond(DRY, factor[1] * Fe, None, volume)
    assert volume.item() == pytest.approx(0.01) and tau.abs().max() < 1e-10 * E
    Fe, tau, volume = respond(DRY, factor[2] * Fe, None, volume)
    assert volume.item() == 0
    assert pressure(tau).item() == pytest.approx((LAM + 2 / 3 * MU) * 0.01, rel=1e-10)
    assert torch.linalg.det(Fe).item() == pytest.approx(math.exp(-0.01), rel=1e-12)


def test_without_friction():
    """Nothing holds shear or tension but cohesion: 2 c is the strength."""
    F = torch.cat([compressed(), compressed(by=-0.05)])
    _, tau, _ = respond(Sand(**SOLID, friction_angle=0.0), F)
    dev = tau + pressure(tau)[:, None, None] * EYE
    assert dev.abs().max() < 1e-12 * E and (pressure(tau) >= 0).all()
    _, tau, _ = respond(
        Sand(**SOLID, friction_angle=0.0, cohesion=COHESION), stretch(-0.05, 0.0, 0.0)[None]
    )
    s1, _, s3 = (-tau[0].diagonal()).tolist()
    assert s1 - s3 == pytest.approx(2 * COHESION)


def test_pressure_of_compressed_water():
    """p = K / gamma (J^-gamma - 1): K strain at first, no shear, no memory but of volume."""
    K, gamma = 2e5, 7.0
    F = torch.cat([deformations(), math.exp(-1e-6) * EYE[None]])
    J = torch.linalg.det(F)
    Fe, tau, _ = respond(Fluid(bulk_modulus=K), F)
    expected = -(J * K / gamma * (J**-gamma - 1))[:, None, None] * EYE
    torch.testing.assert_close(tau / K, expected / K, rtol=1e-10, atol=1e-12)
    assert pressure(tau[-1]).item() == pytest.approx(K * 3e-6, rel=1e-4)
    torch.testing.assert_close(Fe, J[:, None, None] ** (1 / 3) * EYE, rtol=1e-13, atol=1e-14)
    other = respond(Fluid(bulk_modulus=K, gamma=1.0), F)[1]
    torch.testing.assert_close(pressure(other), K * (1 - J), rtol=1e-10, atol=1e-9 * K)


def test_newtonian_shear_stress():
    """tau_xy = viscosity dv_x/dy; neither spin nor dilation is resisted; frames do not matter."""
    material = Fluid(bulk_modulus=1e4, viscosity=0.7)
    C = torch.zeros(3, 3, 3, dtype=f64)
    C[0, 0, 1] = 5.0
    C[1, 0, 1], C[1, 1, 0] = 5.0, -5.0
    C[2] = 4 * EYE
    _, tau, _ = respond(material, EYE.repeat(3, 1, 1), C)
    expected = torch.zeros_like(tau)
    expected[0, 0, 1] = expected[0, 1, 0] = 0.7 * 5.0
    torch.testing.assert_close(tau, expected, rtol=1e-14, atol=1e-13)
    F, R, C = deformations(), rotations(50), torch.randn(50, 3, 3, dtype=f64)
    _, tau, _ = respond(material, F, C)
    _, turned, _ = respond(material, R @ F, R @ C @ R.mT)
    torch.testing.assert_close(turned, R @ tau @ R.mT, rtol=0, atol=1e-8)
    torch.testing.assert_close(respond(material, F @ R, C)[1], tau, rtol=0, atol=1e-8)


def test_limits_of_time_steps():
    water = Fluid(bulk_modulus=torch.tensor([2e5, 3e5]), viscosity=0.1)
    assert water.stiffness(2, f64, CPU).tolist() == [2e5, 3e5]
    assert water.explicit_viscosity(2, f64, CPU).tolist() == [0.1, 0.1]
    assert DRY.stiffness(1, f64, CPU).item() == pytest.approx(LAM + 2 * MU)
    assert DRY.explicit_viscosity(2, f64, CPU).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("material", "columns"),
    [
        (Sand, {"E": E, "nu": NU, "friction_angle": ANGLE, "cohesion": COHESION}),
        (Fluid, {"bulk_modulus": 1e5, "viscosity": 0.1, "gamma": 7.0}),
    ],
)
def test_parameters_carry_gradients(material, columns):
    fields = {f: torch.tensor(v, dtype=f64, requires_grad=True) for f, v in columns.items()}
    params = material(**fields).params(3, f64, CPU)
    assert params.shape == (3, len(material.law.columns))
    (params * torch.rand_like(params)).sum().backward()
    assert all(t.grad.item() != 0 for t in fields.values())


SAND = {"E": E, "nu": NU, "friction_angle": 30.0, "cohesion": 0.0}
WATER = {"bulk_modulus": 1e5, "viscosity": 0.1, "gamma": 7.0}
BAD = [
    (Sand, SAND, "friction_angle", 90.0), (Sand, SAND, "friction_angle", -1.0),
    (Sand, SAND, "friction_angle", math.nan), (Sand, SAND, "cohesion", -1.0),
    (Sand, SAND, "nu", 0.5), (Sand, SAND, "E", 0.0), (Fluid, WATER, "bulk_modulus", 0.0),
    (Fluid, WATER, "viscosity", -1.0), (Fluid, WATER, "gamma", 0.0), (Fluid, WATER, "gamma", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "good", "field", "value"), BAD)
def test_bad_parameters_are_named(kind, good, field, value):
    with pytest.raises(ValueError, match=rf"^{field}: "):
        kind(**{**good, field: value})
