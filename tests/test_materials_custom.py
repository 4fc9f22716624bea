"""Materials of users: one principal function, registered, differentiated by `pull`."""

import sys
from pathlib import Path

import pytest
import torch
from laws import adjoint, bodies, deformations, f64, respond, stretch

from taichi_phys import materials
from taichi_phys.language import ti
from taichi_phys.materials import Elastoplastic, FixedCorotated, Solid, base, pull, spectral_law


ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))
from custom_material import Ogden  # noqa: E402


# ---- twins of laws that we have


@ti.func
def corotated(eps, plastic, params, dt):
    s = ti.exp(eps)
    J = s[0] * s[1] * s[2]
    return eps, 2 * params[0] * s * (s - 1) + params[1] * J * (J - 1), plastic


@ti.func
def plasticity(eps, plastic, params, dt):
    """Von Mises, rate free, with hardening."""
    mu, lam = params[0], params[1]
    m = eps.sum() / 3
    e = eps - m
    size = ti.sqrt((e * e).sum() * 2 / 3 + 1e-30)  # its slope at 0 stays finite
    dp = (3 * mu * size - params[2] - params[3] * plastic) / (3 * mu + params[3])
    dp = ti.select(dp > 0, dp, ti.zero(dp))
    elastic = e * (1 - dp / size)
    return elastic + m, 2 * mu * elastic + (2 * mu + 3 * lam) * m, plastic + dp


COROTATED = spectral_law("corotated", ("mu", "lam"), corotated)
PLASTICITY = spectral_law("plasticity", ("mu", "lam", "yield_stress", "hardening"), plasticity)
MU, LAM = 1e4 / 2.6, 1e4 * 0.3 / (1.3 * 0.4)
DT = 1e-4


class Stress:
    """A law with constant parameters, as laws.respond takes it."""

    def __init__(self, law, *params):
        self.law, self.values = law, params

    def params(self, n, dtype, device):
        return torch.tensor(self.values, dtype=dtype, device=device).repeat(n, 1)


def pulled(material, F, plastic, params, seeds, precision="f64"):
    gF, gtau, gplastic = (t.clone() for t in seeds)
    gC, gparams = torch.zeros_like(F), torch.zeros_like(params)
    ids = torch.zeros(len(F), dtype=torch.int32)
    C = torch.zeros_like(F)
    pull(material.law, precision)(
        F, C, plastic, params, ids, 0, DT, gF, gC, gtau, gplastic, gparams
    )
    assert not gC.any()
    return gF, gplastic, gparams


def problem(material, F):
    plastic = 0.01 * torch.rand(len(F), dtype=f64)
    params = material.params(len(F), f64, F.device).contiguous()
    seeds = (torch.randn_like(F), torch.randn_like(F) / 1e4, torch.randn_like(plastic))
    return plastic, params, seeds


TWINS = {
    "corotated": (Stress(COROTATED, MU, LAM), FixedCorotated(E=1e4, nu=0.3), [0, 1]),
    "plastic": (
        Stress(PLASTICITY, MU, LAM, 150.0, 2000.0),
        Elastoplastic(E=1e4, nu=0.3, yield_stress=150.0, hardening=2000.0),
        [0, 1, 2, 4],
    ),
    "below yield": (
        Stress(PLASTICITY, MU, LAM, 1e8, 2000.0),
        Elastoplastic(E=1e4, nu=0.3, yield_stress=1e8, hardening=2000.0),
        [0, 1, 2, 4],
    ),
}


@pytest.mark.parametrize("name", TWINS)
def test_twins_of_our_laws(name):
    """The same response, and the same derivatives without a hand-written adjoint."""
    user, ours, columns = TWINS[name]
    F = bodies()
    plastic, params, seeds = problem(user, F)
    expected = respond(ours, F, None, plastic)
    for got, want in zip(respond(user, F, None, plastic), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    own = ours.params(len(F), f64, F.device)
    gF, _, gplastic, gparams = adjoint(ours, (F, torch.zeros_like(F), plastic, own), seeds)
    expected = (gF, gplastic, gparams[:, columns])
    for got, want in zip(pulled(user, F, plastic, params, seeds), expected, strict=True):
        size = want.abs().max().item()
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8 * size)


@pytest.mark.parametrize("kind", ["ogden", "plastic"])
def test_pull_agrees_with_central_differences(kind):
    material = Ogden(E=1e4, nu=0.3, alpha=3.0) if kind == "ogden" else TWINS["plastic"][0]
    F = bodies()
    plastic, params, seeds = problem(material, F)
    gradients = dict(zip("Fqp", pulled(material, F, plastic, params, seeds), strict=True))
    inputs = {"F": F, "q": plastic, "p": params}

    def value(F, q, p):
        Fe, tau, now = respond(material, F, None, q, p)
        return (seeds[0] * Fe).sum((1, 2)) + (seeds[1] * tau).sum((1, 2)) + seeds[2] * now

    for name, t in inputs.items():
        step = 1e-6 * torch.randn_like(t) * t.abs().amax(0)
        up, down = (value(**{**inputs, name: t + s * step}) for s in (1, -1))
        product = gradients[name] * step
        got = 2 * (product.flatten(1).sum(1) if t.ndim > 1 else product)
        torch.testing.assert_close(got, up - down, rtol=1e-7, atol=2e-13)


def test_single_precision_agrees_with_double():
    material = Ogden(E=1e4, nu=0.3, alpha=3.0)
    F = torch.cat([bodies(), deformations(200)])
    plastic, params, seeds = problem(material, F)
    expected = pulled(material, F, plastic, params, seeds)
    single = [t.float() for t in (F, plastic, params)]
    got = pulled(material, *single, [t.float() for t in seeds], precision="f32")
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=0, atol=1e-4 * b.abs().max().item())


def test_only_particles_of_the_law_are_touched():
    """Others keep their gradients; parameters longer than the columns are padding."""
    material = Ogden(E=1e4, nu=0.3, alpha=3.0)
    F = deformations(6)
    plastic, params, seeds = problem(material, F)
    gF, gplastic, gparams = pulled(material, F, plastic, params, seeds)
    padded = torch.cat([params, torch.full((6, 2), torch.nan, dtype=f64)], 1)
    ids = torch.tensor([0, 2, 2, 1, 2, 0], dtype=torch.int32)
    mine = ids == 2
    g = [t.clone() for t in seeds]
    ones, gC = torch.ones(6, 5, dtype=f64), torch.ones_like(F)
    run = pull(material.law, "f64")
    assert run is pull(material.law, "f64")
    C = torch.zeros_like(F)
    run(F, C, plastic, padded, ids, 2, DT, g[0], gC, g[1], g[2], ones)
    assert torch.equal(g[0], torch.where(mine[:, None, None], gF, seeds[0]))
    assert torch.equal(g[2], torch.where(mine, gplastic, seeds[2]))
    assert torch.equal(ones[:, :3], 1 + gparams * mine[:, None])
    assert torch.equal(ones[:, 3:], torch.ones(6, 2, dtype=f64)) and (gC == 1).all()
    before = [t.clone() for t in g]
    run(F, C, plastic, padded, ids, 7, DT, g[0], gC, g[1], g[2], ones)  # no particle at all
    assert all(torch.equal(a, b) for a, b in zip(g, before, strict=True))


def test_user_law_is_linear_elastic_for_small_strains():
    material = Ogden(E=1e4, nu=0.3, alpha=5.0)
    F = stretch(1e-6, -3e-7, -3e-7)[None]
    Fe, tau, _ = respond(material, F)
    assert tau[0, 0, 0].item() == pytest.approx(1e4 * 1e-6, rel=1e-5)
    assert tau[0, 1:].abs().max() < 1e-5 * 1e4 * 1e-6
    assert torch.equal(Fe, F)
    expected = LAM + 2 * MU
    assert material.stiffness(1, f64, F.device).item() == pytest.approx(expected)


@pytest.fixture
def registry(monkeypatch):
    names = {k: law for k, law in materials.MATERIALS.items() if law is not Ogden}
    monkeypatch.setattr(base, "MATERIALS", names)
    return names


def test_register(registry):
    assert materials.register(Ogden) is Ogden
    assert registry["ogden"] is Ogden
    assert materials.register(name="tyre")(Ogden) is registry["tyre"]
    assert "tyre" not in materials.MATERIALS
    assert set(materials.MATERIALS) >= {
        "elastic", "fixed_corotated", "hencky", "elastoplastic", "viscoplastic",
        "herschel_bulkley", "sand", "fluid",
    }  # fmt: skip


def test_register_refuses(registry):
    before = dict(registry)
    with pytest.raises(ValueError, match="'elastic' is taken by Elastic"):
        materials.register(name="elastic")(Ogden)

    class Lawless(Solid):
        pass

    with pytest.raises(ValueError, match="Lawless has no law"):
        materials.register(Lawless)
    with pytest.raises(ValueError, match="expected a subclass of Material"):
        materials.register(dict)
    assert registry == before


def test_missing_columns_are_named():
    class Short(Solid):
        law = Ogden.law

    with pytest.raises(ValueError, match="Short: the law ogden needs alpha"):
        Short(E=1e4, nu=0.3).params(2, f64, torch.device("cpu"))
    with pytest.raises(ValueError, match="alpha: got -1"):
        Ogden(E=1e4, nu=0.3, alpha=-1.0)


@pytest.mark.parametrize("name", materials.PRESETS)
def test_presets(name):
    material, density = materials.preset(name)
    assert type(material) in materials.MATERIALS.values()
    assert 10 < density < 1e4
    speed = (material.stiffness(1, f64, torch.device("cpu")) / density).sqrt().item()
    assert 1 < speed < 300  # explicit steps of 20 microseconds on a grid of 1 cm
    params = material.params(2, f64, torch.device("cpu"))
    assert torch.isfinite(params).all()


def test_unknown_presets_get_a_hint():
    with pytest.raises(ValueError, match="^name: got 'sandd', .*did you mean 'sand'"):
        materials.preset("sandd")
    with pytest.raises(ValueError, match="^name: got 7, expected one of jelly, rubber"):
        materials.preset(7)
