"""Between Taichi and torch: kernel pairs as torch functions, and the causal triplane."""

import math

import pytest
import torch

from taichi_phys.bridge.autograd import differentiable
from taichi_phys.bridge.causal_triplane import CausalTriplane
from taichi_phys.bridge.encodings import fourier_features
from taichi_phys.language import ti


f64 = torch.float64
nd = ti.types.ndarray


# differentiable()


@ti.kernel
def toy_forward(a: nd(ti.f64, 1), b: nd(ti.f64, 1), p: nd(ti.f64, 1), s: nd(ti.f64, 1)):
    for i in range(a.shape[0]):
        p[i] = a[i] * a[i] * b[i]
        s[i] = ti.sin(a[i])


@ti.kernel
def toy_backward(
    a: nd(ti.f64, 1), b: nd(ti.f64, 1), s: nd(ti.f64, 1), gp: nd(ti.f64, 1), gs: nd(ti.f64, 1),
    ga: nd(ti.f64, 1), gb: nd(ti.f64, 1),
):  # fmt: skip
    for i in range(a.shape[0]):
        ga[i] = 2.0 * a[i] * b[i] * gp[i] + ti.cos(a[i]) * gs[i]
        gb[i] = a[i] * a[i] * gp[i]


def forward(a, b, unused):
    assert not a.requires_grad and a.is_contiguous() and b.is_contiguous()
    p, s = torch.empty_like(a), torch.empty_like(a)
    toy_forward(a, b, p, s)
    return p, s


def backward(inputs, outputs, grads):
    (a, b, _), (_, s), (gp, gs) = inputs, outputs, grads
    assert not any(t.requires_grad for t in (a, b, s, gp, gs)) and gp.is_contiguous()
    ga, gb = torch.empty_like(a), torch.empty_like(b)
    toy_backward(a, b, s, gp, gs, ga, gb)
    return ga, gb, None


toy = differentiable(forward, backward)


def leaf(n=6):
    return torch.randn(n, dtype=f64, requires_grad=True)


def test_kernel_pair_passes_gradcheck():
    a, b, unused = leaf(), leaf(), leaf()
    p, s = toy(a, b, unused)
    torch.testing.assert_close(p, a**2 * b)
    torch.testing.assert_close(s, a.sin())
    assert torch.autograd.gradcheck(lambda a, b: toy(a, b, unused.detach()), (a, b))
    for output in (0, 1):  # the gradient of the other one is missing, that is: zero
        assert torch.autograd.gradcheck(lambda a, b, i=output: toy(a, b, unused)[i], (a, b))
    (p.sum() + s.sum()).backward()
    assert unused.grad is None


def test_kernel_pair_in_a_graph():
    """Strided inputs, expanded gradients, and operations before and after."""
    a, b = torch.randn(6, 2, dtype=f64, requires_grad=True), leaf(12)
    p, s = toy(a[:, 0] * 2, b[::2], b[:6])
    (p.sum() * s.mean()).backward()
    x, y = a.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    twin = 2 * x[:, 0]
    ((twin**2 * y[::2]).sum() * twin.sin().mean()).backward()
    torch.testing.assert_close(a.grad, x.grad)
    torch.testing.assert_close(b.grad, y.grad)


def test_kernel_pair_without_gradients():
    a, b = leaf(), leaf()
    with torch.no_grad():
        assert not toy(a, b, b)[0].requires_grad
    assert not toy(a.detach(), b.detach(), b.detach())[0].requires_grad


def test_second_derivatives_are_refused():
    a, b = leaf(), leaf()
    (ga,) = torch.autograd.grad(toy(a, b, b)[0].square().sum(), a, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        ga.sum().backward()


# Encodings


def test_fourier_features():
    x = torch.tensor([[0.25, -0.5]], dtype=f64)
    got = fourier_features(x, 2)
    angles = [math.pi * 0.25, 2 * math.pi * 0.25, -math.pi * 0.5, -2 * math.pi * 0.5]
    expected = [0.25, -0.5, *map(math.sin, angles), *map(math.cos, angles)]
    torch.testing.assert_close(got[0], torch.tensor(expected, dtype=f64))


# The causal triplane


LOWER, UPPER = (-1.0, 0.0, 2.0), (1.0, 3.0, 2.5)


def triplane(**options):
    field = CausalTriplane(
        lower=LOWER, upper=UPPER, steps=10, resolution=5, channels=4, hidden=8, **options
    )
    return field.double()


def points(n=7):
    lower, upper = torch.tensor(LOWER, dtype=f64), torch.tensor(UPPER, dtype=f64)
    return lower + (upper - lower) * torch.rand(n, 3, dtype=f64)


def stir(field):
    """Weights as after some training."""
    with torch.no_grad():
        for p in field.parameters():
            p += 0.3 * torch.randn_like(p)


def test_starts_at_zero_and_learns():
    field, x = triplane(), points()
    assert (field(x, 3) == 0).all() and field(x, 3).shape == (7, 3)
    field(x, 3).sum().backward()
    assert field.decoder[-1].weight.grad.abs().max() > 0
    stir(field)
    assert field(x, 3).abs().max() > 0


def test_features_at_the_nodes_of_the_planes():
    """At a node the feature is the plane's value there, of each plane, summed; halfway the mean."""
    field = triplane()
    lower, upper = torch.tensor(LOWER, dtype=f64), torch.tensor(UPPER, dtype=f64)
    index = torch.cartesian_prod(*[torch.arange(5)] * 3)
    x = lower + (upper - lower) * index / 4
    i, j, k = index.T
    # planes (XY, XZ, YZ); the first coordinate of a pair runs along the last axis
    xy, xz, yz = field.planes[0, :, j, i], field.planes[1, :, k, i], field.planes[2, :, k, j]
    torch.testing.assert_close(field.space_features(x), (xy + xz + yz).T)
    middle = field.space_features((x[:1] + x[1:2]) / 2)
    torch.testing.assert_close(middle, field.space_features(x[:2]).mean(0, keepdim=True))


def test_the_field_is_constant_beyond_its_faces():
    field, x = triplane(), points()
    stir(field)
    far = x.clone()
    far[:, 0], x[:, 0] = 50.0, UPPER[0]
    torch.testing.assert_close(field(far, 2), field(x, 2))


def test_gradients():
    field, x = triplane(scale=3.0), points(3).requires_grad_()
    stir(field)
    assert torch.autograd.gradcheck(lambda x: field(x, 4), x)
    names = [name for name, _ in field.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in field.parameters()]
    assert len(names) == 1 + 4 + 6

    def call(*values):
        inputs = x.detach(), 4
        return torch.func.functional_call(field, dict(zip(names, values, strict=True)), inputs)

    assert torch.autograd.gradcheck(call, values)


def test_begin_step_starts_from_the_last_weights():
    field, x = triplane(), points()
    stir(field)
    field.begin_step(0)
    assert field.time_variation() == 0
    first = field(x, 0)
    before = [p.detach().clone() for p in field.time_encoder.parameters()]
    field.begin_step(1)
    now = list(field.time_encoder.parameters())
    assert all(torch.equal(a, b) for a, b in zip(now, before, strict=True))
    assert field.time_variation() == 0  # exactly, and then as much as the weights move
    assert not torch.allclose(field(x, 1), first)  # a new time, though
    with torch.no_grad():
        now[0] += 0.5
    moved = 0.5 * now[0].numel() / sum(p.numel() for p in now)
    assert field.time_variation().item() == pytest.approx(moved)
    field.time_variation().backward()
    assert now[0].grad.abs().max() > 0
    field.begin_step(2)
    assert field.time_variation() == 0


def test_space_variation():
    field = triplane()
    assert field.space_variation() > 0
    with torch.no_grad():
        field.planes.zero_()
        assert field.space_variation() == 0
        field.planes += 2.0 * torch.arange(5)
    assert field.space_variation().item() == pytest.approx(4.0)


def test_shift_adds_a_constant():
    field, x = triplane(scale=0.5), points()
    stir(field)
    before, offset = field(x, 5), torch.tensor([1.0, -2.0, 0.25], dtype=f64)
    field.shift(offset)
    torch.testing.assert_close(field(x, 5), before + offset)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lower", (0, 0)), ("upper", (-2.0, 0, 0)), ("steps", 0), ("scale", 0.0),
        ("scale", math.nan), ("resolution", 0), ("channels", 0),
    ],
)  # fmt: skip
def test_bad_input(name, value):
    with pytest.raises(ValueError, match=rf"^[a-z, ]*{name}"):
        CausalTriplane(**{"lower": LOWER, "upper": UPPER, "steps": 3, name: value})
