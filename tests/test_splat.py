"""The splat renderer against a dense twin: values, gradients, and what it must refuse."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from splat_twin import harmonics, project_twin, render_twin, rotation_of

from renderers.camera import Camera
from renderers.splats import by_pixels, tiles
from renderers.splats.gaussians import SH_COUNTS, Gaussians
from renderers.splats.projection import covariances_of, project
from renderers.splats.rasterize import rasterize
from renderers.splats.render import TILE, render
from renderers.splats.sh import shade
from renderers.splats.tiles import tile_lists
from taichi_phys import runtime
from taichi_phys.rotations import rotation_matrix


BACKGROUND = (0.2, 0.4, 0.9)


def make_camera(width=52, height=41, scale=1.0):
    """Odd sizes, unequal focal lengths, off-centre, tilted: nothing cancels by symmetry."""
    pose = np.eye(4)
    quat = torch.tensor([[1.0, 0.1, -0.2, 0.3]], dtype=torch.float64)
    pose[:3, :3] = rotation_matrix(quat)[0].numpy()
    pose[:3, 3] = [0.1, -0.05, 3.0]
    return Camera(
        fx=60.0 * scale, fy=66.0 * scale, cx=24.0 * scale, cy=22.5 * scale,
        width=width, height=height, world_to_camera=pose,
    )  # fmt: skip


SMALL = make_camera(width=19, height=17, scale=0.36)  # for gradients in all numbers


def random_gaussians(n, seed=0, spread=1.0, scale=0.06, opacity=1.0):
    g = torch.Generator().manual_seed(seed)
    return Gaussians.from_colors(
        means=spread * torch.randn(n, 3, generator=g),
        quats=torch.randn(n, 4, generator=g),
        scales=scale * torch.rand(n, 3, generator=g) + 1e-4,
        opacities=opacity * torch.rand(n, generator=g),
        colors=torch.rand(n, 3, generator=g),
    )


def layers(opacity):
    return Gaussians.from_colors(
        means=0.1 * torch.randn(30, 3, generator=torch.Generator().manual_seed(1)),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(30, 1),
        scales=torch.full((30, 3), 0.3),
        opacities=torch.full((30,), opacity),
        colors=torch.rand(30, 3, generator=torch.Generator().manual_seed(2)),
    )


SCENES = {
    "many": random_gaussians(400),
    "alpha at the clamp": layers(1.0),
    "opaque layers": layers(0.9),
    "larger than the screen": random_gaussians(20, seed=3, scale=2.0),
    "around the camera and the near plane": random_gaussians(200, seed=4, spread=4.0, scale=0.3),
    "one": random_gaussians(1, seed=5, spread=0.1, scale=0.2),
    "points": random_gaussians(300, seed=6, scale=0.0),
    "none": random_gaussians(0),
}


def channels_of(scene):
    return torch.cat([scene.colors(), scene.sh[:, 0]], dim=1)


def show(camera, scene, **options):
    features = scene.sh[:, 0]  # any numbers will do
    return render(
        camera, **scene.tensors(), features=features, background=BACKGROUND, **options
    )  # fmt: skip


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("name", SCENES)
def test_render_equals_dense_twin(name, antialiased):
    scene, camera = SCENES[name], make_camera()
    image = show(camera, scene, antialiased=antialiased)
    half = rotation_of(scene.quats.double()) * scene.scales.double()[:, None]
    picture, alpha, depth = render_twin(
        camera, means=scene.means.double(), covariances=half @ half.mT,
        opacities=scene.opacities.double(), channels=channels_of(scene).double(),
        background=[*BACKGROUND, 0, 0, 0], antialiased=antialiased,
    )  # fmt: skip
    if len(scene) and not (name == "points" and antialiased):
        assert picture.std() > 0.01, "the scene shows nothing: the comparison would be empty"
    close = {"atol": 1e-4, "rtol": 0, "check_dtype": False, "check_device": False}
    torch.testing.assert_close(image.rgb, picture[..., :3], **close)
    torch.testing.assert_close(image.features, picture[..., 3:], **close)
    torch.testing.assert_close(image.alpha, alpha, **close)
    clear = alpha > 0.01
    torch.testing.assert_close(
        image.depth.cpu()[clear], depth[clear], atol=1e-3, rtol=1e-4, check_dtype=False
    )


def gradient_inputs(scene, dtype=torch.float64):
    """Leaves for everything that render is differentiable in."""
    g = torch.Generator().manual_seed(9)
    n = len(scene)
    values = {
        **scene.tensors(),
        "sh": 0.3 * torch.randn(n, 9, 3, generator=g),
        "sh_axes": rotation_matrix(torch.randn(n, 4, generator=g)),
        "features": torch.randn(n, 2, generator=g),
        "background": torch.rand(3, generator=g),
        "pose": torch.tensor(SMALL.world_to_camera),
    }
    return {k: v.to(dtype).clone().requires_grad_() for k, v in values.items()}


def weigh(image):
    """One number that depends on every output."""
    g = torch.Generator().manual_seed(11)
    parts = [image.rgb, image.alpha[..., None], image.depth[..., None], image.features]
    picture = torch.cat(parts, dim=-1)
    return (picture.cpu() * torch.randn(picture.shape, generator=g, dtype=torch.float64)).sum()


@dataclasses.dataclass
class Twin:
    rgb: torch.Tensor
    alpha: torch.Tensor
    depth: torch.Tensor
    features: torch.Tensor


def dense(inputs, antialiased):
    half = rotation_of(inputs["quats"]) * inputs["scales"][:, None]
    pose = inputs["pose"]
    ray = inputs["means"] + pose[:3, :3].T @ pose[:3, 3]
    ray = (inputs["sh_axes"].mT @ ray[..., None])[..., 0]
    x, y, z = (ray / ray.norm(dim=-1, keepdim=True)).unbind(-1)
    basis = [
        0.28209479177387814 + 0 * x,
        -0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x,
        1.0925484305920792 * x * y, -1.0925484305920792 * y * z,
        0.31539156525252005 * (3 * z * z - 1), -1.0925484305920792 * x * z,
        0.5462742152960396 * (x * x - y * y),
    ]  # fmt: skip
    color = (0.5 + torch.einsum("kn,nkc->nc", torch.stack(basis), inputs["sh"])).clamp_min(0)
    picture, alpha, depth = render_twin(
        SMALL, means=inputs["means"], covariances=half @ half.mT, opacities=inputs["opacities"],
        channels=torch.cat([color, inputs["features"]], dim=1), pose=pose, antialiased=antialiased,
        background=torch.cat([inputs["background"], torch.zeros(2).double()]),
    )  # fmt: skip
    return Twin(picture[..., :3], alpha, depth, picture[..., 3:])


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("name", [name for name in SCENES if name != "none"])
def test_gradients_equal_those_of_the_twin(name, antialiased):
    inputs = gradient_inputs(SCENES[name])
    ours = torch.autograd.grad(
        weigh(render(SMALL, **inputs, antialiased=antialiased)), list(inputs.values())
    )
    theirs = torch.autograd.grad(weigh(dense(inputs, antialiased)), list(inputs.values()))
    for key, a, b in zip(inputs, ours, theirs, strict=True):
        size = b.abs().max().clamp_min(1e-3)
        assert (a - b).abs().max() < 1e-5 * size, key
    if name == "many":
        assert all(grad.any() for grad in ours), "a gradient that is nowhere would prove nothing"


@pytest.mark.parametrize("antialiased", [False, True])
def test_gradients_by_central_differences(antialiased):
    """gradcheck in f64, each input by itself so that a failure names it."""
    inputs = gradient_inputs(random_gaussians(12, seed=2, spread=0.7, scale=0.4))

    def shown(**values):
        return weigh(render(SMALL, **{**inputs, **values}, antialiased=antialiased))

    for key, value in inputs.items():
        assert torch.autograd.gradcheck(
            lambda v, key=key: shown(**{key: v}), value, eps=1e-6, atol=1e-5, rtol=1e-4
        ), key


def test_gradients_in_f32_are_those_of_f64():
    scene = SCENES["many"]
    grads = []
    for dtype in (torch.float32, torch.float64):
        inputs = gradient_inputs(scene, dtype)
        grads.append(torch.autograd.grad(weigh(render(SMALL, **inputs)), list(inputs.values())))
    for a, b in zip(*grads, strict=True):
        assert (a - b).abs().max() < 1e-3 * b.abs().max()


def test_clamped_alpha_stops_the_gradient():
    """In the middle of an opaque Gaussian nothing reaches its opacity; the rim does."""
    camera = make_camera()
    axis, center = camera.rotation[2], [camera.cx, camera.cy]
    mean = torch.tensor(camera.unproject(np.array(center), 3.0) + 0 * axis, dtype=torch.float64)
    opacity = torch.ones(1, dtype=torch.float64, requires_grad=True)
    image = render(
        camera, means=mean[None], opacities=opacity, colors=torch.ones(1, 3).double(),
        covariances=torch.eye(3)[None].double() * 4,
    )  # fmt: skip
    row, column = int(camera.cy), int(camera.cx)
    (middle,) = torch.autograd.grad(image.rgb[row, column].sum(), opacity, retain_graph=True)
    (rim,) = torch.autograd.grad(image.rgb[row, column + 8].sum(), opacity)
    assert image.alpha[row, column].item() == pytest.approx(0.999)
    assert middle == 0 and rim > 0.1


@pytest.mark.parametrize("name", [name for name in SCENES if name != "none"])
def test_gpu_kernels_equal_cpu_kernels(name):
    """Each device has its own pair of kernels; here both run wherever Taichi does."""
    device = runtime.ensure_initialized().device
    camera, scene = make_camera(), SCENES[name]
    means, quats, scales, opacities, _ = (
        value.to(device).contiguous() for value in scene.tensors().values()
    )
    pose = torch.tensor(camera.world_to_camera, dtype=torch.float32, device=device)
    uv, depth, conic, alpha, reach = project(
        means, covariances_of(quats, scales), opacities, camera, pose, near=0.01, antialiased=False
    )
    lists = tile_lists(uv, depth, conic, reach, camera.width, camera.height, TILE)
    channels = torch.cat([scene.colors().to(device), depth[:, None]], dim=1)
    leaves = [t.clone().requires_grad_() for t in (uv, conic, alpha, channels)]
    weights = torch.randn(camera.height, camera.width, 5, device=device)
    results = []
    for on_gpu in (False, True):
        light, through = rasterize(
            lists, camera.height, camera.width, *leaves[:2], reach, *leaves[2:], on_gpu=on_gpu
        )
        picture = torch.cat([light, through[..., None]], -1)
        results.append((picture, *torch.autograd.grad((picture * weights).sum(), leaves)))
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().max() < 1e-4 * b.abs().max().clamp_min(1)


def test_gpu_gradients_do_not_depend_on_how_many_tiles_are_taken_at_once(monkeypatch):
    device = runtime.ensure_initialized().device
    camera, scene = make_camera(), SCENES["many"]
    means, quats, scales, opacities, _ = (
        value.to(device).contiguous() for value in scene.tensors().values()
    )
    pose = torch.tensor(camera.world_to_camera, dtype=torch.float32, device=device)
    uv, depth, conic, alpha, reach = project(
        means, covariances_of(quats, scales), opacities, camera, pose, near=0.01, antialiased=False
    )
    lists = tile_lists(uv, depth, conic, reach, camera.width, camera.height, TILE)
    leaves = [t.clone().requires_grad_() for t in (uv, conic, alpha, scene.colors().to(device))]
    leaves[3] = torch.cat([leaves[3].detach(), depth[:, None]], dim=1).requires_grad_()
    results = []
    for at_once in (by_pixels.MAX_KEPT, 3 * 2 * TILE**2, 1):
        monkeypatch.setattr(by_pixels, "MAX_KEPT", at_once)
        light, through = rasterize(
            lists, camera.height, camera.width, *leaves[:2], reach, *leaves[2:], on_gpu=True
        )
        results.append(torch.autograd.grad(light.sum() + through.sum(), leaves))
    assert all(g.abs().max() > 0 for g in results[0])
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others, strict=True))


def test_tiles_are_taken_in_turns_of_bounded_size():
    """Tile 1 has no groups, tile 2 more than are taken at once."""
    assert by_pixels.turns([0, 2, 2, 9, 10, 12, 12], 4) == [(0, 2), (2, 3), (3, 6)]
    assert by_pixels.turns([0, 0], 4) == []


def test_projection_equals_torch_reference():
    scene, camera = SCENES["many"], make_camera()
    pose = torch.tensor(camera.world_to_camera)
    means, covariances = scene.means.double(), scene.covariances().double()
    uv, depth, conic, alpha, reach = project(
        means, covariances, scene.opacities.double(), camera, pose, near=0.01, antialiased=True
    )
    twin_uv, twin_cov, twin_depth, factor = project_twin(means, covariances, camera, pose, True)
    seen = reach[:, 2] > 0
    assert 20 < seen.sum() < 400
    inverse = torch.linalg.inv(twin_cov)[seen]
    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(uv[seen], twin_uv[seen], **close)
    torch.testing.assert_close(depth[seen], twin_depth[seen], **close)
    torch.testing.assert_close(conic[seen], inverse[:, [0, 0, 1], [0, 1, 1]], **close)
    torch.testing.assert_close(alpha[seen], (scene.opacities * factor)[seen], **close)


@pytest.mark.parametrize("degree", range(5))
def test_spherical_harmonics(degree):
    """Against associated Legendre functions, one coefficient at a time."""
    count = SH_COUNTS[degree]
    means = torch.randn(60, 3, dtype=torch.float64)
    eye = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    rays = torch.nn.functional.normalize(means - eye, dim=-1)
    expected = harmonics(rays, degree)
    for k in range(count):
        sh = torch.zeros(60, count, 3, dtype=torch.float64)
        sh[:, k, 1] = 0.4
        color = shade(sh, means, eye)
        assert (color[:, [0, 2]] == 0.5).all()
        torch.testing.assert_close(
            color[:, 1], (0.5 + 0.4 * expected[:, k]).clamp_min(0), atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("degree", [3, 4])
def test_gradients_of_spherical_harmonics(degree):
    inputs = [
        torch.randn(4, SH_COUNTS[degree], 3, dtype=torch.float64),
        torch.randn(4, 3, dtype=torch.float64),
        torch.randn(3, dtype=torch.float64),
        rotation_matrix(torch.randn(4, 4)).double(),
    ]
    assert torch.autograd.gradcheck(shade, [t.requires_grad_() for t in inputs])


def test_turning_a_gaussian_and_the_camera_together_changes_nothing():
    """Colours follow sh_axes: a body that turns in front of a camera that turns with it."""
    g = torch.Generator().manual_seed(3)
    scene = dataclasses.replace(random_gaussians(50), sh=0.4 * torch.randn(50, 16, 3, generator=g))
    camera = make_camera()
    R = rotation_matrix(torch.tensor([[0.3, -0.5, 0.7, 0.2]]))[0]
    turned = np.eye(4)
    turned[:3, :3] = R.numpy()
    other = dataclasses.replace(camera, world_to_camera=camera.world_to_camera @ turned.T)
    before = render(camera, **scene.tensors())
    after = render(
        other, means=scene.means @ R.T, covariances=R @ scene.covariances() @ R.T,
        opacities=scene.opacities, sh=scene.sh, sh_axes=R.expand(50, 3, 3),
    )  # fmt: skip
    assert before.rgb.std() > 0.01
    torch.testing.assert_close(before.rgb, after.rgb, atol=2e-4, rtol=0)


def test_batch_of_cameras_is_each_camera_alone():
    scene, first = SCENES["many"], make_camera()
    second = dataclasses.replace(first, fx=40.0)
    both = show([first, second], scene)
    for index, camera in enumerate((first, second)):
        alone = show(camera, scene)
        for field in dataclasses.fields(alone):
            assert torch.equal(getattr(both, field.name)[index], getattr(alone, field.name))
    with pytest.raises(ValueError, match="camera: got sizes"):
        show([first, make_camera(30, 30)], scene)
    with pytest.raises(ValueError, match="camera: got none"):
        show([], scene)
    with pytest.raises(ValueError, match=r"pose: got \(4, 4\)"):
        show([first, second], scene, pose=torch.eye(4))


def test_a_hundred_thousand_on_one_pixel():
    camera = make_camera()
    n = 100_000
    depth = 2 + torch.rand(n)
    means = torch.tensor(
        camera.unproject(np.tile([20.5, 20.5], (n, 1)), depth.numpy()), dtype=torch.float32
    ).requires_grad_()
    image = render(
        camera, means=means, opacities=torch.full((n,), 0.5), colors=torch.rand(n, 3),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1), scales=torch.zeros(n, 3),
    )  # fmt: skip
    image.rgb.sum().backward()
    assert image.alpha[20, 20] > 0.999 and torch.isfinite(means.grad).all()
    nearest = float(depth.min())
    assert image.depth[20, 20].item() == pytest.approx(nearest, abs=1e-3)


def test_unseen_gaussians_leave_the_background():
    camera = make_camera()
    background = torch.rand(camera.height, camera.width, 3)
    axis, aside = camera.rotation[2], camera.rotation[0]
    places = [
        camera.position - 2 * axis,  # behind
        camera.position + 0.005 * axis,  # closer than the near plane
        camera.position + 2 * axis + 9 * aside,  # beside the image
        camera.position,  # in the eye itself
    ]
    means = torch.tensor(np.array(places), dtype=torch.float32, requires_grad=True)
    image = render(
        camera, means=means, covariances=(0.01 * torch.eye(3)).repeat(4, 1, 1),
        opacities=torch.ones(4), sh=torch.ones(4, 4, 3), background=background,
    )  # fmt: skip
    assert torch.equal(image.rgb.cpu(), background)
    assert not image.alpha.any() and not image.depth.any() and not image.radii.any()
    (image.rgb.sum() + image.depth.sum()).backward()
    assert torch.equal(means.grad, torch.zeros(4, 3))

    seen = torch.tensor(np.array([camera.position + 2 * axis]), dtype=torch.float32)
    image = render(
        camera, means=seen, covariances=0.01 * torch.eye(3)[None], opacities=torch.zeros(1),
        colors=torch.ones(1, 3),
    )  # fmt: skip
    assert not image.alpha.any(), "a Gaussian without opacity is not there"


def test_nearer_gaussian_hides_the_farther():
    camera = make_camera()
    axis = camera.rotation[2]
    means = np.array([camera.position + 4 * axis, camera.position + 2 * axis])
    # The principal point is seen along the axis.
    image = render(
        camera, means=torch.tensor(means, dtype=torch.float32), opacities=torch.ones(2),
        covariances=(0.04 * torch.eye(3)).repeat(2, 1, 1), colors=torch.eye(3)[:2],
    )  # fmt: skip
    row, column = int(camera.cy), int(camera.cx)
    assert image.rgb[row, column, 1] > 0.98 and image.rgb[row, column, 0] < 0.02
    assert image.depth[row, column] == pytest.approx(2.0, abs=0.02)


def test_same_bits_every_time():
    scene = SCENES["many"]
    runs = []
    for _ in range(2):
        inputs = gradient_inputs(scene, torch.float32)
        image = render(SMALL, **inputs)
        grads = torch.autograd.grad(weigh(image), list(inputs.values()))
        runs.append((image.rgb.detach(), *grads))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


TENSORS = ["means", "quats", "scales", "opacities", "sh", "sh_axes", "features"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", [*TENSORS, "background", "pose"])
def test_render_names_the_bad_tensor(name, bad):
    inputs = {k: v.detach() for k, v in gradient_inputs(SCENES["many"]).items()}
    broken = inputs[name].clone()
    broken.view(-1)[[0, 2]] = bad
    with pytest.raises(ValueError, match=f"{name}: got 2 values that are NaN"):
        render(SMALL, **inputs | {name: broken})
    if name in TENSORS and name != "means":
        with pytest.raises(ValueError, match=f"{name}: got"):
            render(SMALL, **inputs | {name: inputs[name][1:]})


def test_render_refuses_contradictions():
    scene = SCENES["one"].tensors()
    with pytest.raises(ValueError, match="expected either colors or sh"):
        render(SMALL, **scene, colors=torch.ones(1, 3))
    with pytest.raises(ValueError, match="got scales, expected either covariances or quats"):
        render(SMALL, **{k: v for k, v in scene.items() if k != "quats"})
    with pytest.raises(ValueError, match="near: got 0"):
        render(SMALL, **scene, near=0)
    with pytest.raises(ValueError, match="background: got shape"):
        render(SMALL, **scene, background=torch.zeros(3, 4))
    with pytest.raises(ValueError, match="quats: expected quaternions other than zero, but 1 of"):
        render(SMALL, **scene | {"quats": torch.zeros(1, 4)})
    with pytest.raises(ValueError, match=r"sh: got \(1, 5, 3\)"):
        render(SMALL, **scene | {"sh": torch.zeros(1, 5, 3)})


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
        ("scales", -torch.ones(2, 3), "scales: expected .*but 2 of 2"),
        (
            "opacities",
            torch.tensor([0.5, 1.5]),
            "opacities: .*1 of 2 rows are not; the first is row 1",
        ),
        ("quats", torch.zeros(2, 4), "quats: expected .*but 2 of 2"),
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
    torch.testing.assert_close(covariances_of(gaussians.quats, gaussians.scales)[0], expected)


def test_too_many_pairs_are_refused_before_they_are_listed(monkeypatch):
    """Above (2^31 - 1) / 6 their gradients would have indices beyond int32."""
    assert 6 * tiles.MAX_PAIRS < 2**31
    scene = layers(0.5).tensors()
    render(make_camera(), **scene)
    monkeypatch.setattr(tiles, "MAX_PAIRS", 20)
    with pytest.raises(ValueError, match=r"^scales: 30 Gaussians cover \d+ tiles .* at most 20: "):
        render(make_camera(), **scene)


@pytest.mark.parametrize("name", ["many", "larger than the screen"])
def test_tiles_are_culled_exactly(name):
    """A Gaussian is listed in a tile if and only if its ellipse of visible alpha meets it."""
    camera, scene = make_camera(), SCENES[name]
    pose = torch.tensor(camera.world_to_camera)
    uv, depth, conic, _, reach = project(
        scene.means.double(), scene.covariances().double(), scene.opacities.double(), camera,
        pose, near=0.01, antialiased=False,
    )  # fmt: skip
    tile = 8
    lists = tile_lists(uv, depth, conic, reach, camera.width, camera.height, tile)
    columns, rows = -(-camera.width // tile), -(-camera.height // tile)
    listed = torch.zeros(columns * rows, len(scene), dtype=torch.bool)
    for t in range(columns * rows):
        listed[t, lists.members[lists.starts[t] : lists.starts[t + 1]].long()] = True
    # The least value of the quadratic form on a square: on its sides, or zero around the centre.
    steps = torch.linspace(0, tile, 161, dtype=torch.float64)
    for t in range(columns * rows):
        corner = torch.tensor([(t % columns) * tile, (t // columns) * tile], dtype=torch.float64)
        zero = torch.zeros_like(steps)
        sides = [(steps, zero), (steps, zero + tile), (zero, steps), (zero + tile, steps)]
        border = torch.cat([torch.stack(side, 1) for side in sides]) + corner
        dx, dy = (border[:, None] - uv).unbind(-1)
        form = conic[:, 0] * dx**2 + 2 * conic[:, 1] * dx * dy + conic[:, 2] * dy**2
        least = form.min(dim=0).values
        least[((uv >= corner) & (uv <= corner + tile)).all(dim=1)] = 0
        seen = reach[:, 2] > 0
        assert listed[t, seen & (least < reach[:, 2])].all()
        assert not listed[t, seen & (least > 1.02 * reach[:, 2] + 0.02)].any()
    assert listed.any() and not listed[:, reach[:, 2] == 0].any()
