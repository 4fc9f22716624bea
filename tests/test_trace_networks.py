"""The networks of TRACE: sizes, starts, gradients, and no dependence on units or origin."""

import math

import pytest
import torch

from taichi_phys.bridge.deformation_mlp import DeformationMLP
from taichi_phys.bridge.deformation_planes import DeformationPlanes
from taichi_phys.bridge.dynamics_mlp import DynamicsMLP
from taichi_phys.bridge.encodings import SpaceTimeEncoding
from taichi_phys.rigid import advance, advance_rigid


f64 = torch.float64
CENTER, SCALE, DURATION = (1.0, -2.0, 0.5), 3.0, 0.75  # exact in f32
WORLD = {"center": CENTER, "scale": SCALE, "duration": DURATION}
SMALL = {"depth": 4, "width": 16, "frequencies": 2, "time_frequencies": 2}


def points(n=7):
    return torch.tensor(CENTER, dtype=f64) + SCALE * (2 * torch.rand(n, 3, dtype=f64) - 1)


def count(module):
    return sum(p.numel() for p in module.parameters())


def stir(module):
    """Weights as after some training."""
    with torch.no_grad():
        for p in module.parameters():
            p += 0.1 * torch.randn_like(p)
    return module


def dynamics(**options):
    torch.manual_seed(1)
    return stir(DynamicsMLP(size="light", **options).double())


def deformation(**options):
    torch.manual_seed(1)
    return stir(DeformationMLP(**SMALL, **options).double())


def planes(**options):
    torch.manual_seed(1)
    interval = 0.25 * options.get("duration", 1.0)
    sizes = {"interval": interval, "resolution": 4, "channels": 3, "width": 8}
    return stir(DeformationPlanes(**sizes | options).double())


# Their common encoding


def test_encoding():
    encode = SpaceTimeEncoding(**WORLD, frequencies=2, time_frequencies=1).double()
    x = torch.tensor(CENTER, dtype=f64) + SCALE * torch.tensor([[0.5, 0.0, -1.0]], dtype=f64)
    features, time = encode(x, 0.375)
    angles = [0.5, 1.0, 0.0, 0.0, -1.0, -2.0]  # 2^k rad per unit, as in the paper's code
    expected = [0.5, 0.0, -1.0, *map(math.sin, angles), *map(math.cos, angles)]
    torch.testing.assert_close(features[0], torch.tensor(expected, dtype=f64))
    expected = torch.tensor([0.5, math.sin(0.5), math.cos(0.5)], dtype=f64)
    torch.testing.assert_close(time[0], expected)
    assert (features.shape[1], time.shape[1]) == encode.widths


@pytest.mark.parametrize("make", [dynamics, deformation, planes])
def test_one_time_or_one_per_point(make):
    net, x = make(**WORLD), points()
    t = torch.linspace(0, DURATION, len(x), dtype=f64)
    each = net(x, t)
    for i in range(len(x)):
        for value in (t[i], t[i].item()):
            for got, expected in zip(net(x, value), each, strict=True):
                torch.testing.assert_close(got[i], expected[i])
    assert not torch.allclose(each[0], net(x, 0.0)[0])
    assert [len(out) for out in net(x[:0], 0.1)] == [0] * len(each)


@pytest.mark.parametrize("make", [dynamics, deformation, planes])
def test_the_state_says_where_the_scene_is(make):
    net, x = make(**WORLD), points()
    other = make()
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other(x, 0.3), net(x, 0.3))


# Dynamics


@pytest.mark.parametrize("make", [dynamics, deformation, planes])
def test_older_states_say_centre(make):
    """The name of the buffer before it was spelled center."""
    state = make(**WORLD).state_dict()
    state["encode.centre"] = state.pop("encode.center")
    network = make()
    network.load_state_dict(state)
    torch.testing.assert_close(network.encode.center, torch.tensor(CENTER, dtype=f64))
    assert "encode.centre" in state  # the caller's own dictionary is left as it was


def test_parameter_counts():
    """As counted in the code of TRACE; three more outputs with a center of rotation."""
    assert count(DynamicsMLP(size="light")) == 104_332
    assert count(DynamicsMLP()) == 542_988
    assert count(DynamicsMLP(size="light", rigid=True)) == 104_332 + 3 * 129


def test_dynamics_network():
    """Layer by layer, from the saved weights: SiLU after each layer but the last."""
    net, x = dynamics(), points()
    layers = linear_layers(net, "network")
    assert len(layers) == 8
    features, time = net.encode(x, 0.2)
    h = torch.cat([features, time.expand(7, -1)], dim=-1)
    for weight, bias in layers[:-1]:
        h = h @ weight.T + bias
        h = h * h.sigmoid()
    weight, bias = layers[-1]
    torch.testing.assert_close(net(x, 0.2)[2], (h @ weight.T + bias)[:, 3:6])  # w, from origin 0


def linear_layers(net, name):
    """(weight, bias) pairs of a part of a network, in order."""
    values = [value for key, value in net.state_dict().items() if key.startswith(f"{name}.")]
    return list(zip(values[::2], values[1::2], strict=True))


def outputs(net, values):
    """Make a network say these values everywhere."""
    with torch.no_grad():
        net.network[-1].weight.zero_()
        net.network[-1].bias.copy_(torch.tensor(values, dtype=f64))
    return net


def test_what_the_numbers_mean():
    """Order, signed squares, lengths in scale, times in duration, a field about the center."""
    net = outputs(dynamics(**WORLD), [1, 2, 3, 4, 5, 6, 1, -2, 3, -4, 5, 6])
    x = points()
    v_bar, a_bar, w, eps = net(x, 0.2)
    length, second = SCALE, DURATION
    assert w[0].tolist() == pytest.approx([4 / second, 5 / second, 6 / second])
    assert eps[0].tolist() == pytest.approx([v / second**2 for v in (-1.6, 2.5, 3.6)])
    center = torch.tensor(CENTER, dtype=f64).expand_as(w)
    v = (v_bar + torch.linalg.cross(w, center))[0].tolist()
    a = (a_bar + torch.linalg.cross(eps, center))[0].tolist()
    assert v == pytest.approx([length / second * value for value in (1, 2, 3)])
    assert a == pytest.approx([length / second**2 * value for value in (0.1, -0.4, 0.9)])


def test_what_the_numbers_mean_with_a_center():
    values = [0.5, 0, -1, 1, 2, 3, 4, 5, 6, 1, -2, 3, -4, 5, 6]
    net = outputs(dynamics(**WORLD, rigid=True), values)
    c, v_c, a_c, w, eps = (t[0].tolist() for t in net(points(), 0.2))
    assert c == pytest.approx([CENTER[0] + 0.5 * SCALE, CENTER[1], CENTER[2] - SCALE])
    assert v_c == pytest.approx([SCALE / DURATION * value for value in (1, 2, 3)])
    assert a_c == pytest.approx([SCALE / DURATION**2 * value for value in (0.1, -0.4, 0.9)])
    assert w == pytest.approx([value / DURATION for value in (4, 5, 6)])
    assert eps == pytest.approx([value / DURATION**2 for value in (-1.6, 2.5, 3.6)])


@pytest.mark.parametrize("rigid", [False, True])
def test_the_same_motion_in_other_units_and_from_another_origin(rigid):
    """The same weights move a scene as they move its copy, scaled, slowed and put elsewhere."""
    motion = advance_rigid if rigid else advance
    unit, world = dynamics(rigid=rigid), dynamics(rigid=rigid, **WORLD)
    x = 2 * torch.rand(7, 3, dtype=f64) - 1
    q = torch.tensor([[1.0, 0, 0, 0]], dtype=f64).repeat(7, 1)
    x_unit, q_unit, *_ = motion(x, q, *unit(x, 0.3), 0.5, 0.1)
    center = torch.tensor(CENTER, dtype=f64)
    X = center + SCALE * x
    x_world, q_world, *_ = motion(X, q, *world(X, 0.3 * DURATION), 0.5 * DURATION, 0.1 * DURATION)
    assert 0.1 < (x_unit - x).abs().max() < 10
    torch.testing.assert_close((x_world - center) / SCALE, x_unit, rtol=0, atol=1e-10)
    torch.testing.assert_close(q_world, q_unit, rtol=0, atol=1e-10)


@pytest.mark.parametrize("rigid", [False, True])
def test_gradients_through_the_motion(rigid):
    net, x = dynamics(**WORLD, rigid=rigid), points().requires_grad_()
    q = torch.tensor([[1.0, 0, 0, 0]], dtype=f64).repeat(len(x), 1)
    x_end, q_end, *_ = (advance_rigid if rigid else advance)(x, q, *net(x, 0.2), 0.1, 0.05)
    (x_end.square().sum() + q_end[:, 1].sum()).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in net.parameters())
    assert x.grad.isfinite().all()
    assert torch.autograd.gradcheck(lambda x: net(x, 0.2), points(2).requires_grad_())


# Deformation


@pytest.mark.parametrize(
    "net", [DeformationMLP(**SMALL, **WORLD), DeformationPlanes(resolution=4, **WORLD)]
)
def test_deformation_starts_at_the_identity_and_learns(net):
    net, x = net.double(), points()
    dx, quats, log_scales = net(x, 0.3)
    assert dx.shape == log_scales.shape == (7, 3)
    assert not dx.any() and not log_scales.any()
    assert torch.equal(quats, torch.tensor([[1.0, 0, 0, 0]], dtype=f64).repeat(7, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(2):  # the heads first, then what is behind them
        optimizer.zero_grad()
        dx, quats, log_scales = net(x, 0.3)
        ((dx - 1).square().sum() + (quats - 0.5).square().sum() + log_scales.sum()).backward()
        optimizer.step()
    assert all(p.grad.any() for p in net.parameters())


def test_deformation_parameter_count():
    """TRACE's 8 layers of 256: 51 + 30 inputs, seen again by the sixth layer."""
    time = (13 * 256 + 256) + (256 * 30 + 30)
    layers = (81 * 256 + 256) + 6 * (256 * 256 + 256) + ((81 + 256) * 256 + 256)
    net = DeformationMLP()
    assert count(net) == time + layers + (256 * 10 + 10)
    assert [layer.in_features for layer in net.layers].index(81 + 256) == 5


@pytest.mark.parametrize("make", [deformation, planes])
def test_deformation_outputs(make):
    """Unit quaternions; a shift in units of scale, the rest without a unit."""
    unit, world, x = make(), make(**WORLD), points()
    dx, quats, log_scales = world(x, 0.3)
    torch.testing.assert_close(quats.norm(dim=-1), torch.ones(7, dtype=f64))
    assert (quats[:, 1:].abs().sum(dim=-1) > 1e-2).all()
    expected = unit((x - torch.tensor(CENTER, dtype=f64)) / SCALE, 0.3 / DURATION)
    got = (dx / SCALE, quats, log_scales)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    assert torch.autograd.gradcheck(lambda x: world(x, 0.2), points(2).requires_grad_())


def test_deformation_network():
    """Layer by layer, from the saved weights: ReLU, and the inputs again before the fourth."""
    net, x = deformation(), points()
    features, time = net.encode(x, 0.2)
    (w1, b1), (w2, b2) = linear_layers(net, "time_network")
    time = (time @ w1.T + b1).clamp(min=0) @ w2.T + b2
    h = inputs = torch.cat([features, time.expand(7, -1)], dim=-1)
    for i, (weight, bias) in enumerate(linear_layers(net, "layers")):
        if i == 3:
            h = torch.cat([inputs, h], dim=-1)
        h = (h @ weight.T + bias).clamp(min=0)
    ((weight, bias),) = linear_layers(net, "head")
    expected = h @ weight.T + bias
    dx, _, log_scales = net(x, 0.2)
    torch.testing.assert_close(torch.cat([dx, log_scales], -1), expected[:, [0, 1, 2, 7, 8, 9]])


def bilinear(plane, u, v):
    """The value of a plane (rows, columns) at u along columns and v along rows, from -1 to 1."""
    height, width = plane.shape
    column, row = ((p + 1) / 2 * (n - 1) for p, n in ((u, width), (v, height)))
    j, i = min(int(column), width - 2), min(int(row), height - 2)
    a, b = column - j, row - i
    return (1 - b) * ((1 - a) * plane[i, j] + a * plane[i, j + 1]) + b * (
        (1 - a) * plane[i + 1, j] + a * plane[i + 1, j + 1]
    )


def test_planes_by_hand():
    """From the saved planes: products of six, of two resolutions, then two layers with ReLU."""
    net, x, t = planes(**WORLD), points(2), 0.3
    assert [p.shape[2:] for p in net.space_planes] == [(4, 4), (8, 8)]
    assert [p.shape[2:] for p in net.time_planes] == [(5, 4), (5, 8)]
    for k, point in enumerate(x):
        at = [*((point - torch.tensor(CENTER, dtype=f64)) / SCALE).tolist(), 2 * t / DURATION - 1]
        h = []
        for level in (0, 1):
            for channel in range(3):
                pairs = zip(
                    net.space_planes[level][:, channel], ((0, 1), (0, 2), (1, 2)), strict=True
                )
                value = math.prod(bilinear(p, at[a], at[b]) for p, (a, b) in pairs)
                for axis, plane in enumerate(net.time_planes[level][:, channel]):
                    value = value * bilinear(plane, at[axis], at[3])
                h.append(value)
        h = torch.stack(h)
        for weight, bias in linear_layers(net, "network"):
            h = (weight @ h + bias).clamp(min=0)
        ((weight, bias),) = linear_layers(net, "head")
        torch.testing.assert_close(net(x, t)[0][k], SCALE * (weight @ h + bias)[:3])


def test_planes_reach_to_later_times():
    """What they say of earlier times stays, and later ones are then learned by themselves."""
    net, x = planes(**WORLD), points()
    before = [net(x, t) for t in (0.2, DURATION)]
    state = net.state_dict()
    net.extend(DURATION)
    assert all(torch.equal(state[k], v) for k, v in net.state_dict().items())
    net.extend(1.5 * DURATION)
    assert [p.shape[2] for p in net.time_planes] == [7, 7]
    torch.testing.assert_close([net(x, t) for t in (0.2, DURATION)], before)
    torch.testing.assert_close(net(x, 1.4 * DURATION), before[1])
    net(x, 1.4 * DURATION)[0].sum().backward()
    grads = [p.grad.abs().sum(dim=(0, 1, 3)) for p in net.time_planes]
    assert all((g[:5] == 0).all() and (g[5:] > 0).all() for g in grads)
    planes(**WORLD | {"duration": 1.5 * DURATION}, interval=DURATION / 4).load_state_dict(
        net.state_dict()
    )


def test_variation_of_planes():
    """None where features do not change along space, nor unevenly in time."""
    net = planes()
    with torch.no_grad():
        for space, time in zip(net.space_planes, net.time_planes, strict=True):
            space.fill_(0.3)
            time.copy_(torch.arange(5.0)[:, None].expand_as(time))
        assert net.variation() == 0
        net.space_planes[0][..., 1:] += 2  # one of three differences along each row
        net.time_planes[1][:, :, 2:] += 3  # a step: two of three second differences, of 3 and -3
    torch.testing.assert_close(net.variation().item(), 4 / 3 + 2 / 3 * 9)


# Errors


@pytest.mark.parametrize("network", [DynamicsMLP, DeformationMLP, DeformationPlanes])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("center", (0.0, 0.0)), ("center", (0.0, math.nan, 0.0)), ("scale", 0.0),
        ("scale", math.nan), ("scale", math.inf), ("duration", -1.0),
    ],
)  # fmt: skip
def test_bad_world(network, name, value):
    with pytest.raises(ValueError, match=f"^{name}: got .*, expected"):
        network(**{name: value})


def test_bad_sizes():
    with pytest.raises(ValueError, match="^size: got 'huge', expected one of small, light, full"):
        DynamicsMLP(size="huge")
    with pytest.raises(ValueError, match="^depth: got 1, expected at least"):
        DeformationMLP(depth=1)
    with pytest.raises(ValueError, match="^width: got 0, expected at least"):
        DeformationMLP(width=0)
    for name, value in (("width", 0), ("channels", 0), ("resolution", 1), ("interval", 0.0)):
        with pytest.raises(ValueError, match=f"^{name}: got {value}, expected"):
            DeformationPlanes(**{name: value})


@pytest.mark.parametrize("make", [dynamics, deformation, planes])
def test_bad_points(make):
    net = make()
    for x in (points()[:, :2], points()[0]):
        with pytest.raises(ValueError, match="^x: got .*, expected"):
            net(x, 0.1)
    with pytest.raises(ValueError, match="^t: got .*, expected one time or"):
        net(points(), torch.zeros(7, 1))


def test_accelerations_without_the_square():
    """Linear in what the network says: gradients do not vanish where it starts, near zero."""
    net = DynamicsMLP(size="small", squared=False)
    x = torch.randn(5, 3)
    torch.nn.init.zeros_(net.network[-1].weight)
    with torch.no_grad():
        net.network[-1].bias[:] = 0.01
    _, a_bar, _, eps = net(x, 0.3)
    torch.testing.assert_close(a_bar, torch.full((5, 3), 0.01))
    torch.testing.assert_close(eps, torch.full((5, 3), 0.01))
    net.squared = True
    torch.testing.assert_close(net(x, 0.3)[1], torch.full((5, 3), 1e-5))
