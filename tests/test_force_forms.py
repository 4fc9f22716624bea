"""Forms of force: one vector, a push at a point, K-Planes, and what a run needs for them."""

import dataclasses

import numpy as np
import pytest
import torch
from test_smoother import FPS, block_solver, falling, net

from inverse.wind.config import WindConfig, WindJob
from inverse.wind.forces import Form
from inverse.wind.forces.kplanes import KPlanes
from inverse.wind.forces.make import check_force
from inverse.wind.forces.marks import find_marked, read_marks
from inverse.wind.smoothing.smoother import solve_clip
from renderers.orbit import look_at


FORCE = (1.0, -2.0, 0.5)


def solved(force, runs, targets=None, **form):
    config = WindConfig(force=force, iterations=6)
    solver = block_solver(falling(6) if targets is None else targets, config, form=Form(**form))
    return solver, solve_clip(solver, runs)


@pytest.mark.parametrize("runs", [0, 2], ids=["intervals", "all frames"])
def test_a_uniform_force_is_one_vector_in_each_interval(runs):
    solver, result = solved("uniform", runs)
    specific = result.force / solver.sim.mass[:, None]
    assert (specific - specific[:, :1]).abs().max() < 1e-4
    np.testing.assert_allclose(net(result, solver), np.tile(FORCE, (6, 1)), atol=0.08)
    assert len(result.fields) == 5
    solver.field.load_state_dict(result.fields[2])
    torch.testing.assert_close(
        solver.field(result.x[2], 2).detach(), specific[2], atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("runs", [0, 2], ids=["intervals", "all frames"])
def test_a_point_force_acts_on_marked_particles_alone(runs):
    """A block that is pushed at one end, by our own simulator."""
    marked = falling(2)[0][:, 0] < 0.1
    sim = block_solver(falling(8, (2.0, 2.0, 2.0))).sim
    push = torch.as_tensor(marked).float()[:, None] * torch.tensor([0.0, 3.0, 1.5])
    force = sim.mass[:, None] * push.to(sim.mass)
    states = [sim.initial_state(), *sim.run(frames=7, fps=FPS, force=force, progress=False)]
    targets = torch.stack([s.x for s in states]).double().cpu().numpy()
    solver, result = solved("point", runs, targets, marked=marked)
    specific = (result.force / solver.sim.mass[:, None]).cpu().numpy()
    assert not specific[:, ~marked].any() and np.ptp(specific[:, marked], axis=1).max() < 1e-4
    off = specific[1:-1, marked].mean(axis=1) - [0.0, 3.0, 1.5]
    assert np.linalg.norm(off, axis=1).mean() < 0.15 * np.linalg.norm([0.0, 3.0, 1.5])


def test_k_planes_are_a_product_of_six_planes():
    torch.manual_seed(0)
    field = KPlanes(
        lower=(0, 0, 0), upper=(1, 2, 3), steps=9, scale=2.0, resolution=4, channels=5, hidden=8
    )
    x = torch.rand(7, 3)
    assert not field(x, 3).any()  # its last layer is zero at first
    assert field.time_planes.shape == (3, 5, 4, 4)
    with torch.no_grad():
        field.time_planes.mul_(torch.linspace(0.5, 2.0, 4)[:, None])
        ratio = field.features(x, 8) / field.features(x, 0)
    torch.testing.assert_close(ratio, torch.full_like(ratio, 4.0**3))
    assert field.time_variation() < 1e-12  # they change evenly
    field.shift(torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(field(x, 3).detach(), torch.tensor([[1.0, 2.0, 3.0]]).expand(7, 3))
    with torch.no_grad():
        field.space_planes[:, 0] = 0
    assert not field.features(x, 3)[:, 0].any() and field.features(x, 3)[:, 1].all()


def test_k_planes_recover_a_constant_force():
    solver, result = solved("kplanes", 0)
    assert isinstance(solver.field, KPlanes)
    np.testing.assert_allclose(net(result, solver), np.tile(FORCE, (6, 1)), atol=0.08)


def test_a_form_of_force_is_part_of_what_a_checkpoint_belongs_to():
    marked = np.zeros(96, dtype=bool)
    prints = []
    for some in (slice(0, 40), slice(0, 41)):
        marked[some] = True
        config = WindConfig(force="point")
        solver = block_solver(falling(4), config, form=Form(marked=marked.copy()))
        prints.append(solver.fingerprint())
    assert prints[0] != prints[1]


JOB = {"video": ("v.mp4",), "fov": 40, "distance": 1, "box": (0, 0, 9, 9)}


@pytest.mark.parametrize(
    "job, config, message",
    [
        ({}, {"force": "point"}, "at: none given"),
        ({"at": (3, 4)}, {"force": "free"}, "at: given with force free"),
        ({"drag": 2.0}, {"force": "uniform"}, "drag: given with force uniform"),
        ({}, {"force": "kplanes", "smooth": 2}, "smooth: got 2"),
        ({}, {"force": "wind", "pulse": 0.5}, "pulse: got 0.5"),
    ],
)
def test_what_does_not_fit_the_form_is_an_error(job, config, message):
    with pytest.raises(ValueError, match=message):
        check_force(WindJob(**JOB, **job), WindConfig(**config))
    with pytest.raises(ValueError, match="force"):
        WindConfig(force="magic")


def test_a_pixel_marks_the_side_that_the_camera_sees():
    x = falling(2)[0] - falling(2)[0].mean(axis=0)
    camera = look_at((0, -2, 0), (0, 0, 0), width=100, height=100, fov=20)
    mask = np.zeros((100, 100), dtype=bool)
    mask[36:64, 29:71] = True
    job = WindJob(**JOB, at=(50.0, 50.0))
    pixels = read_marks(job, mask)
    assert pixels[50, 50] and 0 < pixels.sum() < 0.1 * mask.sum()
    marked = find_marked(np.ones_like(mask), camera, x)
    assert set(np.unique(x[marked, 1])) == {x[:, 1].min()}
    with pytest.raises(ValueError, match="at: no part"):
        find_marked(np.zeros_like(mask), camera, x)
    with pytest.raises(ValueError, match="at: got 5 5"):
        read_marks(dataclasses.replace(job, at=(5.0, 5.0)), mask)
