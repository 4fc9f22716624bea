"""The splat renderer against a dense twin, and Gaussians carried by particles."""

import math

import numpy as np
import pytest
import torch

from renderers import rasterize
from renderers.camera import Camera
from renderers.gaussians import Gaussians, rotation_matrices
from renderers.projection import GUARD, LOW_PASS, MIN_ALPHA, project
from renderers.splat import TILE, render
from renderers.tiles import tile_lists
from taichi_phys import runtime
from taichi_phys.geometry.binding import bind


def make_camera(width=52, height=41):
    """Odd sizes, unequal focal lengths, off-centre, tilted: nothing cancels by symmetry."""
    pose = np.eye(4)
    quat = torch.tensor([[1.0, 0.1, -0.2, 0.3]], dtype=torch.float64)
    pose[:3, :3] = rotation_matrices(quat)[0].numpy()
    pose[:3, 3] = [0.1, -0.05, 3.0]
    return Camera(
        fx=60.0, fy=66.0, cx=24.0, cy=22.5, width=width, height=height, world_to_camera=pose
    )


def random_gaussians(n, seed=0, spread=1.0, scale=0.06):
    g = torch.Generator().manual_seed(seed)
    return Gaussians.from_colors(
        means=spread * torch.randn(n, 3, generator=g),
        quats=torch.randn(n, 4, generator=g),
        scales=scale * torch.rand(n, 3, generator=g) + 1e-4,
        opacities=torch.rand(n, generator=g),
        colors=torch.rand(n, 3, generator=g),
    )


def parts(gaussians):
    """The first four arguments of `render`."""
    return (
        gaussians.means, gaussians.covariances(), gaussians.opacities, gaussians.colors(),
    )  # fmt: skip


def dense_twin(means, covariances, opacities, colors, camera, background, near=0.01):
    """Every Gaussian at every pixel, in float64, from the published formulas."""
    means, covariances, opacities, colors = (
        value.double() for value in (means, covariances, opacities, colors)
    )
    W = torch.tensor(camera.rotation)
    p = means @ W.T + torch.tensor(camera.world_to_camera[:3, 3])
    order = p[:, 2].argsort()
    order = order[p[order, 2] > near]
    p, z = p[order], p[order, 2]
    size = torch.tensor([camera.width, camera.height], dtype=torch.float64)
    focal = torch.tensor([camera.fx, camera.fy], dtype=torch.float64)
    center = torch.tensor([camera.cx, camera.cy], dtype=torch.float64)
    uv = focal * p[:, :2] / z[:, None] + center
    at = torch.maximum(torch.minimum(uv, (1 + GUARD) * size), -GUARD * size)
    J = torch.zeros(len(p), 2, 3, dtype=torch.float64)
    J[:, [0, 1], [0, 1]] = focal / z[:, None]
    J[:, :, 2] = -(at - center) / z[:, None]
    cov = J @ (W @ covariances[order] @ W.T) @ J.mT + LOW_PASS * torch.eye(2)
    v, u = torch.meshgrid(
        torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij"
    )
    d = torch.stack([u, v], -1)[:, :, None] - uv
    power = torch.einsum("hwni,nij,hwnj->hwn", d, torch.linalg.inv(cov), d)
    alpha = opacities[order] * torch.exp(-0.5 * power)
    alpha = torch.where(alpha < MIN_ALPHA, 0, alpha.clamp(max=rasterize.MAX_ALPHA))
    left = torch.cumprod(1 - alpha, -1)
    before = torch.cat([torch.ones_like(left[..., :1]), left[..., :-1]], -1)
    weight = before * alpha
    total = 1 - (left[..., -1] if len(p) else torch.ones(v.shape))
    rgb = weight @ colors[order] + (1 - total)[..., None] * torch.as_tensor(background)
    return rgb.float(), total.float(), (weight @ z / total.clamp_min(1e-30)).float()


SCENES = {
    "many": random_gaussians(400),
    "opaque layers": Gaussians.from_colors(
        means=0.1 * torch.randn(30, 3, generator=torch.Generator().manual_seed(1)),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(30, 1),
        scales=torch.full((30, 3), 0.3),
        opacities=torch.ones(30),
        colors=torch.rand(30, 3, generator=torch.Generator().manual_seed(2)),
    ),
    "larger than the screen": random_gaussians(20, seed=3, scale=2.0),
    "around the camera": random_gaussians(200, seed=4, spread=4.0, scale=0.3),
    "one": random_gaussians(1, seed=5, spread=0.1, scale=0.2),
    "points": random_gaussians(300, seed=6, scale=0.0),
}


@pytest.mark.parametrize("name", SCENES)
def test_render_equals_dense_twin(name):
    background = (0.2, 0.4, 0.9)
    scene, camera = parts(SCENES[name]), make_camera()
    image = render(*scene, camera, background=background)
    rgb, alpha, depth = dense_twin(*scene, camera, background)
    assert rgb.std() > 0.01, "the scene shows nothing: the comparison would be empty"
    torch.testing.assert_close(image.rgb, rgb, atol=1e-4, rtol=0)
    torch.testing.assert_close(image.alpha, alpha, atol=1e-4, rtol=0)
    shown = alpha > 0.01
    torch.testing.assert_close(image.depth[shown], depth[shown], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", SCENES)
def test_gpu_kernel_equals_cpu_kernel(name):
    """`by_pixels` runs on a GPU only in `render`; here both run wherever Taichi does."""
    device = runtime.ensure_initialized().device
    camera = make_camera()
    means, covariances, opacities, colors = (
        value.to(device).contiguous() for value in parts(SCENES[name])
    )
    uv, depth, ellipse, extent = project(means, covariances, opacities, camera, 0.01)
    members, starts = tile_lists(uv, depth, extent, camera.width, camera.height, TILE)
    images = []
    for kernel in (rasterize.by_rows, rasterize.by_pixels):
        light = torch.zeros(camera.height, camera.width, 4, device=device)
        through = torch.ones(camera.height, camera.width, device=device)
        kernel(
            members, starts, uv, depth, ellipse, opacities, colors, TILE, light, through
        )  # fmt: skip
        images.append(torch.cat([light, through[..., None]], -1))
    torch.testing.assert_close(*images, atol=1e-4, rtol=1e-4)


def test_unseen_gaussians_leave_the_background():
    camera = make_camera()
    background = torch.rand(camera.height, camera.width, 3)
    axis = camera.rotation[2]
    aside = camera.rotation[0]
    places = [
        camera.position - 2 * axis,  # behind
        camera.position + 0.005 * axis,  # closer than the near plane
        camera.position + 2 * axis + 9 * aside,  # beside the image
    ]
    means = torch.tensor(np.array(places), dtype=torch.float32)
    covariances = (0.01 * torch.eye(3)).repeat(3, 1, 1)
    image = render(
        means, covariances, torch.ones(3), torch.ones(3, 3), camera, background=background
    )
    assert torch.equal(image.rgb, background)
    assert not image.alpha.any() and not image.depth.any()

    transparent = torch.tensor(np.array([camera.position + 2 * axis]), dtype=torch.float32)
    image = render(transparent, covariances[:1], torch.zeros(1), torch.ones(1, 3), camera)
    assert not image.rgb.any()


def test_no_gaussians():
    camera = make_camera()
    threads = torch.get_num_threads()
    image = render(
        torch.zeros(0, 3), torch.zeros(0, 3, 3), torch.zeros(0), torch.zeros(0, 3), camera,
        background=(1.0, 0.5, 0.0),
    )  # fmt: skip
    assert image.rgb.shape == (camera.height, camera.width, 3)
    assert torch.equal(image.rgb[3, 4], torch.tensor([1.0, 0.5, 0.0]))
    assert not image.alpha.any()
    assert torch.get_num_threads() == threads


def test_nearer_gaussian_hides_the_other_and_depth_is_metric():
    camera = make_camera()
    axis = camera.rotation[2]
    means = np.array([camera.position + 4 * axis, camera.position + 2 * axis])
    covariances = (0.09 * torch.eye(3)).repeat(2, 1, 1)
    colors = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    image = render(torch.tensor(means), covariances, torch.ones(2), colors, camera)
    row, column = int(camera.cy), int(camera.cx)
    assert image.rgb[row, column, 1] > 0.98 and image.rgb[row, column, 0] < 0.02
    assert image.depth[row, column] == pytest.approx(2.0, abs=0.02)


@pytest.mark.parametrize("name", ["means", "covariances", "opacities", "colors"])
def test_render_names_the_bad_tensor(name):
    values = dict(
        zip(["means", "covariances", "opacities", "colors"], parts(SCENES["many"]), strict=True)
    )
    camera = make_camera()
    broken = values[name].clone()
    broken.view(-1)[7] = math.nan
    with pytest.raises(ValueError, match=f"{name}: got 1 values that are NaN"):
        render(**values | {name: broken}, camera=camera)
    if name != "means":
        with pytest.raises(ValueError, match=f"{name}: got shape"):
            render(**values | {name: values[name][1:]}, camera=camera)


def test_gaussians_validate():
    good = dict(
        means=torch.zeros(2, 3),
        quats=torch.tensor([[1.0, 0, 0, 0], [0, 2.0, 0, 0]]),
        scales=torch.ones(2, 3),
        opacities=torch.ones(2),
        colors=torch.full((2, 3), 0.25),
    )
    gaussians = Gaussians.from_colors(**good)
    torch.testing.assert_close(gaussians.colors(), good["colors"])
    for name, value, message in [
        ("scales", -torch.ones(2, 3), "scales: got 2 others"),
        ("opacities", torch.tensor([0.5, 1.5]), "opacities: got 1 others .*first at 1"),
        ("quats", torch.zeros(2, 4), "quats: got 2 others"),
        ("quats", torch.ones(2, 3), r"quats: got shape \(2, 3\)"),
        ("means", torch.full((2, 3), math.inf), "means: got 6 values"),
        ("means", torch.zeros(2, 3, dtype=torch.int32), "means: got torch.int32"),
    ]:
        with pytest.raises(ValueError, match=message):
            Gaussians.from_colors(**good | {name: value})


def test_covariance_follows_quaternion_wxyz():
    """A quarter turn about z carries the long axis from x to y."""
    half = math.sqrt(0.5)
    gaussians = Gaussians.from_colors(
        means=torch.zeros(1, 3),
        quats=torch.tensor([[half, 0, 0, half]]),
        scales=torch.tensor([[3.0, 1.0, 1.0]]),
        opacities=torch.ones(1),
        colors=torch.ones(1, 3),
    )
    expected = torch.diag(torch.tensor([1.0, 9.0, 1.0]))
    torch.testing.assert_close(gaussians.covariances()[0], expected)


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
