"""Gaussians carried by simulation particles."""

import pytest
import torch

from taichi_phys.geometry.binding import bind


def test_binding_reproduces_an_affine_motion():
    """Every blend of one affine map is that map: means and covariances must follow exactly."""
    g = torch.Generator().manual_seed(0)
    x = torch.rand(200, 3, generator=g, dtype=torch.float64)
    means = torch.rand(50, 3, generator=g, dtype=torch.float64)
    half = torch.rand(50, 3, 3, generator=g, dtype=torch.float64)
    covariances = half @ half.mT
    binding = bind(means, covariances, x)
    A = torch.eye(3, dtype=torch.float64) + 0.4 * torch.randn(3, 3, generator=g).double()
    shift = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)

    still = binding.deform(x, torch.eye(3).double().expand(200, 3, 3))
    torch.testing.assert_close(still, (means, covariances))
    moved = binding.deform(x @ A.T + shift, A.expand(200, 3, 3))
    torch.testing.assert_close(moved, (means @ A.T + shift, A @ covariances @ A.T))


def test_binding_is_local_and_differentiable():
    g = torch.Generator().manual_seed(0)
    x = torch.rand(100, 3, generator=g)
    x[50:] += 5  # two bodies: neither may drag the other's Gaussians
    means = x.clone()
    binding = bind(means, 0.01 * torch.eye(3).repeat(100, 1, 1), x, neighbors=6)
    y = x.clone()
    y[50:] += 1
    y.requires_grad_()
    moved, _ = binding.deform(y, torch.eye(3).expand(100, 3, 3))
    torch.testing.assert_close(moved - means, y - x)
    moved[:50].sum().backward()
    assert y.grad[:50].sum() == pytest.approx(150, rel=1e-4) and not y.grad[50:].any()


def test_binding_with_few_or_coincident_particles():
    means, covariances = torch.zeros(2, 3), torch.eye(3).repeat(2, 1, 1)
    for x in (torch.zeros(1, 3), torch.zeros(12, 3), torch.ones(3, 3)):
        moved, spread = bind(means, covariances, x).deform(x + 1, torch.eye(3).expand(len(x), 3, 3))
        torch.testing.assert_close(moved, means + 1)
        torch.testing.assert_close(spread, covariances)
    with pytest.raises(ValueError, match="x: got no particles"):
        bind(means, covariances, torch.zeros(0, 3))
    with pytest.raises(ValueError, match="neighbors: got 0"):
        bind(means, covariances, torch.ones(3, 3), neighbors=0)
