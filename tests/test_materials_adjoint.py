"""Derivatives of every law against central differences, on each side of what switches."""

import math

import pytest
import torch
from laws import DT, adjoint, bodies, deformations, f64, respond

from taichi_phys import materials


SOLID = {"E": 1e4, "nu": 0.3}
PLASTIC = {**SOLID, "yield_stress": 150.0, "hardening": 2000.0}
NEVER = {**PLASTIC, "yield_stress": 1e8}
VISCOUS = {"viscosity": 5.0}
DRY = {**SOLID, "friction_angle": 30.0}
UNBROKEN = {**SOLID, "critical_compression": 0.9, "critical_stretch": 4.0}
MOIST = {**DRY, "cohesion": 400.0}
# kind, fields, cube root of J (of sand), inert columns
CASES = {
    "elastic": ("Elastic", SOLID, 1.0, ""),
    "fixed corotated": ("FixedCorotated", SOLID, 1.0, ""),
    "hencky": ("Hencky", SOLID, 1.0, "yield_stress viscosity hardening exponent"),
    "plastic": ("Elastoplastic", PLASTIC, 1.0, "exponent"),
    "plastic, below yield": (
        "Elastoplastic", NEVER, 1.0, "yield_stress viscosity hardening exponent"
    ),
    "viscoplastic": ("Viscoplastic", {**PLASTIC, **VISCOUS}, 1.0, ""),
    "viscoplastic, below yield": (
        "Viscoplastic", {**NEVER, **VISCOUS}, 1.0, "yield_stress viscosity hardening exponent"
    ),
    "herschel-bulkley": ("HerschelBulkley", {**PLASTIC, **VISCOUS, "exponent": 0.6}, 1.0, ""),
    "herschel-bulkley, plastic": (
        "HerschelBulkley", {**PLASTIC, "viscosity": 0.3, "exponent": 0.3}, 1.0, ""
    ),
    "herschel-bulkley, creep": (
        "HerschelBulkley", {**PLASTIC, "viscosity": 500.0, "exponent": 0.4}, 1.0, ""
    ),
    "herschel-bulkley, below yield": (
        "HerschelBulkley", {**NEVER, **VISCOUS, "exponent": 0.4}, 1.0,
        "yield_stress viscosity hardening exponent",
    ),
    "sand, cone": ("Sand", DRY, 0.97, ""),
    "sand with cohesion, cone": ("Sand", MOIST, 0.97, ""),
    "sand, tip": ("Sand", DRY, 1.6, "mu lam friction"),
    "sand with cohesion, tip": ("Sand", MOIST, 1.6, ""),
    "sand, elastic": ("Sand", {**SOLID, "friction_angle": 80.0}, 0.5, "friction strength"),
    "snow": ("Snow", SOLID, 0.99, ""),
    "snow, elastic": ("Snow", UNBROKEN, 0.97, "critical_compression critical_stretch"),
    "fluid": ("Fluid", {"bulk_modulus": 1e4, "viscosity": 3.0}, 1.0, ""),
}  # fmt: skip


def bodies_of(case):
    """Deformations on the side of yield that the case is about."""
    kind, _, factor, _ = CASES[case]
    F = deformations(20, size=0.05) if case == "sand, elastic" else bodies()
    if kind in ("Sand", "Snow"):
        F = factor * F / torch.linalg.det(F)[:, None, None] ** (1 / 3)
    return F


@pytest.mark.parametrize("case", CASES)
def test_adjoint_agrees_with_central_differences(case):
    kind, fields, _, inert = CASES[case]
    material = getattr(materials, kind)(**fields)
    F = bodies_of(case)
    C = torch.randn_like(F)
    plastic = 0.01 * torch.rand(len(F), dtype=f64)
    params = material.params(len(F), f64, F.device).contiguous()
    inputs = (F, C, plastic, params)
    scale = fields.get("E", 1e4)
    seeds = (torch.randn_like(F), torch.randn_like(F) / scale, torch.randn_like(plastic))
    gradients = adjoint(material, inputs, seeds)
    names = material.law.columns

    def value(*inputs):
        Fe, tau, now = respond(material, *inputs)
        return (seeds[0] * Fe).sum((1, 2)) + (seeds[1] * tau).sum((1, 2)) + seeds[2] * now

    def compare(index, step):
        """Directional derivatives of each particle along step."""
        up, down = list(inputs), list(inputs)
        up[index], down[index] = inputs[index] + step, inputs[index] - step
        expected = value(*up) - value(*down)
        product = gradients[index] * step
        got = 2 * (product.flatten(1).sum(1) if step.ndim > 1 else product)
        size = gradients[index].abs().max() * step.abs().max()
        torch.testing.assert_close(got, expected, rtol=1e-7, atol=float(1e-7 * size) + 2e-13)

    for _ in range(3):
        compare(0, 1e-6 * torch.randn_like(F))
    compare(1, 1e-4 * torch.randn_like(C))
    compare(2, 1e-6 * torch.randn_like(plastic))
    for column, name in enumerate(names):
        if math.isfinite(params[0, column]):
            step = torch.zeros_like(params)
            step[:, column] = 1e-5 * params[:, column]
            compare(3, step)
        acts = gradients[3][:, column].abs().max() > 1e-12
        assert acts == (name not in inert.split()), name
    assert all(torch.isfinite(g).all() for g in gradients)
    assert gradients[1].any() == (kind == "Fluid")


@pytest.mark.parametrize("case", ["herschel-bulkley, plastic", "sand, cone"])
def test_single_precision_agrees_with_double(case):
    """Also where little of the overstress is left: r - P dp would lose the slope in exponent."""
    kind, fields, _, _ = CASES[case]
    material = getattr(materials, kind)(**fields)
    F = bodies_of(case).float().double()
    plastic = 0.01 * torch.rand(len(F), dtype=f64)
    inputs = (F, torch.zeros_like(F), plastic, material.params(len(F), f64, F.device))
    seeds = (torch.randn_like(F), torch.randn_like(F) / 1e4, torch.randn_like(plastic))
    double = adjoint(material, inputs, seeds)
    single = adjoint(material, [t.float() for t in inputs], [t.float() for t in seeds])
    for got, expected in zip(single, double, strict=True):
        size = expected.abs().amax(0) if expected.ndim == 2 else expected.abs().max()
        assert ((got.double() - expected).abs() <= 1e-5 * size).all()


@pytest.mark.parametrize("kind", ["Elastic", "Fluid"])
def test_padded_parameters_get_no_gradient(kind):
    """Scenes that mix laws give all the longest vector; what follows the columns is ignored."""
    fields = SOLID if kind == "Elastic" else {"bulk_modulus": 1e4, "viscosity": 3.0}
    material = getattr(materials, kind)(**fields)
    F = bodies()
    C, plastic = torch.randn_like(F), torch.rand(len(F), dtype=f64)
    params = material.params(len(F), f64, F.device)
    padded = torch.cat([params, torch.full((len(F), 3), torch.nan, dtype=f64)], 1)
    seeds = (torch.randn_like(F), torch.randn_like(F), torch.randn_like(plastic))
    expected = adjoint(material, (F, C, plastic, params), seeds)
    got = adjoint(material, (F, C, plastic, padded), seeds, width=padded.shape[1])
    for a, b in zip(got[:3], expected[:3], strict=True):
        assert torch.equal(a, b)
    assert torch.equal(got[3][:, : params.shape[1]], expected[3])
    assert not got[3][:, params.shape[1] :].any()


def test_sand_without_friction_and_cohesion_has_finite_gradients():
    material = materials.Sand(**SOLID, friction_angle=0.0)
    F = torch.cat([0.8 * bodies(), bodies(), 1.2 * bodies()])
    plastic = torch.zeros(len(F), dtype=f64)
    inputs = (F, torch.zeros_like(F), plastic, material.params(len(F), f64, F.device))
    seeds = (torch.randn_like(F), torch.randn_like(F), torch.randn_like(plastic))
    assert all(torch.isfinite(g).all() for g in adjoint(material, inputs, seeds, dt=DT))
