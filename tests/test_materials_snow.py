"""Snow: the law as published, its hardening, and the time step of packed snow."""

import pytest
import torch
from laws import EYE, deformations, f64, respond, rotations, stretch

import taichi_phys as tp


E, NU = 1.4e5, 0.2
MU, LAM = E / 2.4, E * 0.2 / (1.2 * 0.6)
SNOW = tp.Snow(E=E, nu=NU)


def stomakhin(F, plastic):
    """Stomakhin et al. 2013, section 5 and 7: singular values, and P F^T with J_P as it is now."""
    U, sigma, Vt = torch.linalg.svd(F)
    kept = sigma.clamp(1 - 0.025, 1 + 0.0075)
    F_elastic = U * kept[:, None] @ Vt
    J_P = plastic.exp() * (sigma / kept).prod(1)
    h = torch.exp(10 * (1 - J_P))[:, None, None]
    J = kept.prod(1)[:, None, None]
    tau = 2 * MU * h * (F_elastic - U @ Vt) @ F_elastic.mT + LAM * h * (J - 1) * J * EYE
    return F_elastic, tau, J_P.log()


def test_agrees_with_the_paper():
    F = torch.cat([deformations(), deformations(size=3e-3), rotations(4), EYE[None]])
    plastic = 0.02 * torch.randn(len(F), dtype=f64)
    got, expected = respond(SNOW, F, None, plastic), stomakhin(F, plastic)
    for a, b, scale in zip(got, expected, (1, E, 1), strict=True):
        torch.testing.assert_close(a / scale, b / scale, rtol=1e-11, atol=1e-12)
    changed = (got[0] - F).abs().amax((1, 2)) > 0
    assert changed.sum() > 40 and (~changed).sum() > 3
    again, tau, same = respond(SNOW, got[0], None, got[2])
    torch.testing.assert_close(again, got[0], rtol=0, atol=1e-14)
    torch.testing.assert_close(tau / E, got[1] / E, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(same, got[2], rtol=0, atol=1e-13)


def test_packed_snow_is_stiffer_and_crumbled_snow_softer():
    """With a tenth of its volume lost, snow is e = 2.7 times as stiff; stretched, it goes soft."""
    packed, pulled = stretch(*3 * [-0.04])[None], stretch(*3 * [0.04])[None]
    _, _, plastic = respond(SNOW, torch.cat([packed, pulled]))
    lost, gained = plastic.exp() - 1
    assert lost.item() == pytest.approx((torch.exp(torch.tensor(-0.04)) / 0.975).item() ** 3 - 1)
    assert gained > 0
    tenth = torch.tensor([0.9, 1.0, 1.1], dtype=f64).log()
    _, tau, _ = respond(SNOW, stretch(-0.01, 0, 0).expand(3, 3, 3), None, tenth)
    ratio = tau[:, 0, 0] / tau[1, 0, 0]
    torch.testing.assert_close(ratio, torch.exp(torch.tensor([1.0, 0.0, -1.0], dtype=f64)))
    torch.testing.assert_close(SNOW.stiffening(tenth), ratio)


def test_packed_snow_has_a_shorter_time_step():
    x, volume = tp.sample_box((0.3, 0.3, 0.3), (0.5, 0.5, 0.5), spacing=0.05)
    grid = tp.Grid(lower=(0, 0, 0), upper=(0.8, 0.8, 0.8), dx=0.1)
    halves = [
        tp.Particles(x[part], volume=volume[part], density=400.0, material=material)
        for part, material in ((slice(32), SNOW), (slice(32, None), tp.Elastic(E=1e3, nu=0.2)))
    ]
    sim = tp.MPM(particles=halves, grid=grid)
    first = sim.substeps(1.0)
    packed = torch.zeros(len(x))
    packed[32:] = -5.0  # of a solid that has no such variable
    assert sim.substeps(1.0, plastic=packed) == first
    packed[:32] = torch.tensor(0.8).log()
    assert sim.substeps(1.0, plastic=packed) == pytest.approx(first * 2.718281828, rel=0.02)
    state = sim.initial_state().replace(plastic=packed)
    assert torch.isfinite(sim.advance(state, frame_dt=1e-3).x).all()


def test_a_dropped_block_of_snow_stays_packed():
    x, volume = tp.sample_box((0.3, 0.3, 0.16), (0.5, 0.5, 0.36), spacing=0.025)
    v = torch.zeros(len(x), 3)
    v[:, 2] = -4.0
    material, density = tp.preset("snow")
    body = tp.Particles(x, v=v, volume=volume, density=density, material=material)
    sim = tp.MPM(particles=body, grid=tp.Grid(lower=(0, 0, 0), upper=(0.8, 0.8, 0.8), dx=0.05))
    *_, last = sim.run(frames=6, fps=60.0, progress=False)
    assert last.plastic.min() < -0.05  # packed at the floor
    assert torch.linalg.det(last.F).min() > 0.9  # what is left is elastic
