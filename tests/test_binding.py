"""Gaussians carried by simulation particles."""

import dataclasses

import numpy as np
import pytest
import torch

import taichi_phys as tp
from inverse.wind.results import pictures
from inverse.wind.results.pictures import carried_deformation
from inverse.wind.solver import WindResult
from renderers.camera import Camera
from renderers.splats.binding import bind, total_deformation
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import render
from taichi_phys.rotations import rotation_matrix


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


@pytest.mark.parametrize("flat", [False, True])
def test_what_flowed_carries_gaussians_too(flat):
    """A plastic block, pressed flat, keeps little elastic strain, but its Gaussians are flat."""
    g = torch.Generator().manual_seed(0)
    x = torch.rand(400, 3, generator=g)
    total = torch.tensor([[1.1, 0.2, 0], [0, 1.1, 0], [0, 0, 0.83]])
    elastic = torch.diag(torch.tensor([1.002, 1.002, 0.994])).expand(400, 3, 3)
    if flat:
        x[:, 2] = 0  # nothing says how thick it is now: that is left to F
        total[2, 2] = 0.994
    found = total_deformation(x, x @ total.T + 1, elastic)
    torch.testing.assert_close(found, total.expand(400, 3, 3), rtol=0, atol=2e-3)
    with pytest.raises(ValueError, match="F: "):
        total_deformation(x, x, elastic[:3])


def test_what_flowed_agrees_with_the_velocity_gradients_of_a_simulation():
    """A block that is pressed flat and yields: F follows dF/dt = C F through all substeps."""
    x, volume = tp.sample_box((0, 0, 0), (0.2, 0.2, 0.2), spacing=0.025)
    material = tp.Elastoplastic(E=2e4, nu=0.3, yield_stress=50.0)
    sim = tp.MPM(
        particles=tp.Particles(x, density=1000.0, volume=volume, material=material),
        grid=tp.Grid(lower=(-0.3, -0.3, -0.3), upper=(0.5, 0.5, 0.5), dx=0.05), gravity=(0, 0, 0),
    )  # fmt: skip
    state, dt = sim.initial_state(), 1e-3
    press = (state.x - 0.1) * state.x.new_tensor([1.0, 1.0, -1.7])
    state = state.replace(v=press)
    x0, total = state.x, torch.eye(3).to(state.x).repeat(len(state.x), 1, 1)
    with torch.no_grad():
        for _ in range(80):
            state = sim.advance(state, frame_dt=dt, substeps=1)
            total += dt * state.C @ total
    found = total_deformation(x0, state.x, state.F)
    miss = (found - total).abs().amax(dim=(1, 2))
    assert miss.median() < 0.005 and miss.quantile(0.9) < 0.01
    assert (state.F - total).abs().amax(dim=(1, 2)).median() > 0.05  # F has forgotten it


def test_a_plastic_run_is_drawn_by_its_total_deformation():
    g = torch.Generator().manual_seed(0)
    x0, stretch = torch.rand(300, 3, generator=g), torch.tensor([1.1, 1.1, 0.83])
    x, F = torch.stack([x0, x0 * stretch]), torch.eye(3).expand(2, 300, 3, 3)
    result = WindResult(x=x, v=0 * x, F=F, force=x[1:], loss=[], fields=[])
    assert carried_deformation(result, plastic=False) is F
    carried = carried_deformation(result, plastic=True)
    torch.testing.assert_close(carried[1], torch.diag(stretch).expand(300, 3, 3), rtol=0, atol=2e-3)


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


# Colours and the simulator


def turned_body(degree=2, count=60):
    """Gaussians with colours that depend on direction, and a camera that looks at them."""
    g = torch.Generator().manual_seed(1)
    gaussians = Gaussians(
        means=0.2 * torch.rand(count, 3, generator=g) - 0.1,
        quats=torch.randn(count, 4, generator=g),
        scales=0.005 + 0.02 * torch.rand(count, 3, generator=g),
        opacities=0.3 + 0.6 * torch.rand(count, generator=g),
        sh=0.4 * torch.randn(count, (degree + 1) ** 2, 3, generator=g),
    )
    pose = np.eye(4)
    pose[2, 3] = 0.5
    camera = Camera(fx=90.0, fy=90.0, cx=32.0, cy=32.0, width=64, height=64, world_to_camera=pose)
    return gaussians, camera


def picture(gaussians, binding, x, F, camera):
    means, covariances = binding.deform(x, F)
    axes = binding.rotations(F)
    return render(
        camera, means=means, covariances=covariances, opacities=gaussians.opacities,
        sh=gaussians.sh, sh_axes=axes, background=(1, 1, 1),
    ).rgb  # fmt: skip


def carried(camera, rotation, translation):
    """The camera moved along with a body that moved by x -> rotation x + translation."""
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation, translation
    pose = camera.world_to_camera @ np.linalg.inv(motion)
    return dataclasses.replace(camera, world_to_camera=pose)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rotations_are_the_polar_part(dtype):
    g = torch.Generator().manual_seed(2)
    R = rotation_matrix(torch.randn(200, 4, generator=g).to(dtype))
    half = torch.randn(200, 3, 3, generator=g).to(dtype)
    S = half @ half.mT + 0.1 * torch.eye(3, dtype=dtype)
    x = torch.rand(200, 3, generator=g).to(dtype)
    alone = bind(x, torch.eye(3, dtype=dtype).repeat(200, 1, 1), x, neighbors=1)
    atol = 1e-4 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(alone.rotations(R @ S), R, rtol=0, atol=atol)
    # Inverted, flat, or nothing at all: still rotations, and that nearest to F if there is one.
    mirror = torch.diag(torch.tensor([1.0, 1.0, -0.2], dtype=dtype))
    torch.testing.assert_close(alone.rotations(R @ mirror), R, rtol=0, atol=atol)
    for broken in (R @ torch.diag(torch.tensor([1.0, 1.0, 0.0]).to(dtype)), 0 * R, -R):
        found = alone.rotations(broken)
        eye = torch.eye(3, dtype=dtype).expand(200, 3, 3)
        torch.testing.assert_close(found @ found.mT, eye, rtol=0, atol=1e-5)
        torch.testing.assert_close(torch.linalg.det(found), torch.ones(200, dtype=dtype))


def test_a_turned_body_looks_as_from_a_camera_turned_along():
    gaussians, camera = turned_body()
    g = torch.Generator().manual_seed(3)
    x = 0.2 * torch.rand(300, 3, generator=g) - 0.1
    binding = bind(gaussians.means, gaussians.covariances(), x)
    still = render(camera, **gaussians.tensors(), background=(1, 1, 1)).rgb
    Q = rotation_matrix(torch.tensor([[0.8, 0.3, -0.5, 0.4]]))[0]
    shift = torch.tensor([0.3, -0.1, 0.2])
    view = carried(camera, Q.double().cpu().numpy(), shift.cpu().numpy())
    moved = picture(gaussians, binding, x @ Q.T + shift, Q.expand(300, 3, 3), view)
    torch.testing.assert_close(moved, still, rtol=0, atol=2e-4)
    assert still.std() > 0.1


def test_a_body_that_drifts_over_grid_cells_does_not_flicker():
    """Free flight: seen from a camera that moves along, all frames are the first one, whether
    particles start exactly on grid nodes or not."""
    dx = 1 / 16
    axis = torch.arange(-2, 3) * dx / 2
    block = torch.cartesian_prod(axis, axis, axis)
    gaussians, camera = turned_body()
    velocity = torch.tensor([0.9, 0.5, -0.7])
    first = render(camera, **gaussians.tensors(), background=(1, 1, 1)).rgb
    for off in (0.0, 0.31 * dx):
        start = torch.tensor([0.375, 0.375, 0.625]) + off  # nodes, for off = 0
        body = tp.Particles(
            block + start, v=velocity.expand(125, 3), density=1000.0, volume=(dx / 2) ** 3,
            material=tp.Elastic(E=1e3, nu=0.3),
        )  # fmt: skip
        grid = tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=dx)
        sim = tp.MPM(particles=body, grid=grid, gravity=(0, 0, 0))
        binding = bind(gaussians.means + start, gaussians.covariances(), sim.initial_state().x)
        cells = set()
        for frame in sim.run(frames=10, fps=40):
            x, F = frame.x, frame.F
            drift = start + frame.time * velocity
            image = picture(gaussians, binding, x, F, carried(camera, np.eye(3), drift.numpy()))
            # Well below the 1/255 that a video can show; the rest is rounding in 32 bit.
            assert (image - first).abs().max() < 1e-3, frame.time
            cells.add(int(x[0, 0] / dx))
        assert len(cells) >= 3


def test_an_object_that_is_held_is_drawn_again_only_where_the_camera_or_the_scene_changed(
    monkeypatch,
):
    drawn = []
    monkeypatch.setattr(
        pictures,
        "render",
        lambda *arguments, **named: drawn.append(1) or render(*arguments, **named),
    )
    gaussians, camera = turned_body(degree=0)
    other = dataclasses.replace(camera, cx=camera.cx + 3)
    x = gaussians.means.expand(4, -1, -1) + 0.01 * torch.arange(4)[:, None, None]
    F = torch.eye(3).expand(*x.shape[:2], 3, 3)
    behind = [np.full((64, 64, 3), 40, np.uint8)] * 4
    cameras = [camera, camera, other, other]
    shown = list(pictures.render_motion(gaussians, x, F, cameras, behind, held=True))
    assert len(drawn) == 2
    each = [
        next(pictures.render_motion(gaussians, x, F, [one], behind, held=True)) for one in cameras
    ]
    np.testing.assert_array_equal(shown, each)
    assert len(list(pictures.render_motion(gaussians, x, F, cameras, behind))) == 4
    assert len(drawn) == 2 + 4 + 4
