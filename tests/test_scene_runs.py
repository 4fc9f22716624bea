"""Scene files that take up other runs: recovered forces and winds, and fitted Gaussians."""

import dataclasses

import numpy as np
import pytest
import torch

import taichi_phys as tp
from renderers.splats.files import save_gaussians
from renderers.splats.gaussians import Gaussians


SCENE = """
gravity = [0, 0, -9.81]
[grid]
lower = [0, 0, 0]
upper = [1, 1, 1]
dx = 0.05
[time]
fps = 50
frames = 4
[[body]]
shape = "box"
lower = [0.4, 0.4, 0.4]
upper = [0.6, 0.6, 0.6]
spacing = 0.05
material = "jelly"
"""
PULL, GRAVITY = np.array([3.0, -1.0, 12.0]), np.array([0.0, 0.0, -9.81])
T = np.arange(5) / 50


def write_run(folder, change=0.0, **more):
    """The forces of a run: PULL beside gravity, which grows by change of it in a frame."""
    folder.mkdir(exist_ok=True)
    x = 0.4 + 0.2 * np.random.default_rng(0).random((1, 40, 3)) + 0 * T[:, None, None]
    mass = np.linspace(0.1, 0.2, 40)
    pull = GRAVITY + PULL * (1 + change * np.arange(5))[:, None]
    f = mass[:, None] * pull[:, None]
    np.savez(folder / "forces.npz", t=T, x=x, f=f, mass=mass, gravity=GRAVITY, **more)
    return x[0]


def simulated(folder, text, frames=4):
    (folder / "scene.toml").write_text(SCENE + text)
    sim, force = tp.load_scene(folder / "scene.toml").build()
    *_, last = sim.run(frames=frames, fps=50.0, force=force, progress=False)
    return last


def test_a_recovered_force_drives_a_scene_beside_its_gravity(tmp_path):
    write_run(tmp_path / "run")
    last = simulated(tmp_path, '[[force]]\ntype = "run"\nrun = "run"\n')
    np.testing.assert_allclose(last.v.mean(dim=0), (GRAVITY + PULL) * 4 / 50, atol=2e-4)
    half = simulated(tmp_path, '[[force]]\ntype = "run"\nrun = "run"\nduring = [0, 0.04]\n')
    np.testing.assert_allclose(half.v.mean(dim=0), GRAVITY * 4 / 50 + PULL * 2 / 50, atol=0.02)


def test_a_recovered_force_is_that_of_the_nearest_particles_and_of_its_time(tmp_path):
    x0 = write_run(tmp_path, change=0.5)
    force = tp.recorded_force(tmp_path)
    varied = np.random.default_rng(1).standard_normal(force.x.shape)
    varied = dataclasses.replace(force, acceleration=varied)
    x, mass = torch.as_tensor(x0), torch.full((40,), 2.0, dtype=torch.float64)
    v = torch.zeros_like(x)
    np.testing.assert_allclose(varied(x, 0.02, v, mass), 2 * varied.acceleration[1], atol=1e-3)
    between = force(x + 0.01, 0.03, v, mass)
    np.testing.assert_allclose(between, np.tile(2 * PULL * 1.75, (40, 1)), rtol=1e-9)
    late = force(x + 5.0, 1.0, v, mass)
    np.testing.assert_allclose(late, np.tile(2 * PULL * 3.0, (40, 1)), rtol=1e-9)
    place = (x[:3] + 0.013).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: varied(y, 0.02, v[:3], mass[:3]), place)


def test_a_recovered_wind_drags_whatever_is_in_the_scene(tmp_path):
    write_run(tmp_path / "run", air=np.zeros((5, 40, 3)), drag=4.0)
    air = np.array([2.0, 0.0, 1.0])
    values = np.tile(air, (5, 3, 3, 3, 1)).astype(np.float32)
    np.savez(tmp_path / "run" / "air.npz", lower=np.zeros(3), spacing=0.5, values=values, t=T)
    blown = simulated(tmp_path, '[[force]]\ntype = "run"\nrun = "run"\n')
    drag = f'[[force]]\ntype = "drag"\nair = {air.tolist()}\nrate = 4.0\n'
    torch.testing.assert_close(blown.v, simulated(tmp_path, drag).v, rtol=1e-4, atol=1e-5)
    forced = simulated(tmp_path, '[[force]]\ntype = "run"\nrun = "run"\nact = "force"\n')
    np.testing.assert_allclose(forced.v.mean(dim=0), (GRAVITY + PULL) * 4 / 50, atol=2e-4)


@pytest.mark.parametrize(
    ("force", "sentence"),
    [
        ('run = "none"', "line 16: force 1: .*no such file"),
        ("", "run: missing, expected the folder of a run"),
        ('run = "run"\nact = "air"', "it knows no air"),
        ('run = "run"\nact = "wind"', "expected one of force, air"),
        ('run = "bad"', "it lacks an array"),
    ],
)
def test_runs_that_cannot_be_used_are_refused_at_their_line(tmp_path, force, sentence):
    write_run(tmp_path / "run")
    (tmp_path / "bad").mkdir()
    np.savez(tmp_path / "bad" / "forces.npz", t=T)
    with pytest.raises(ValueError, match=sentence):
        simulated(tmp_path, f'[[force]]\ntype = "run"\n{force}\n')


def test_records_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected .T,., .T, m, 3."):
        tp.RecordedForce(t=T, x=np.zeros((4, 2, 3)), acceleration=np.zeros((5, 2, 3)))
    with pytest.raises(ValueError, match="do not rise"):
        tp.RecordedForce(t=0 * T, x=np.zeros((5, 2, 3)), acceleration=np.zeros((5, 2, 3)))


def test_gaussians_become_a_body_in_their_place(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.random((3000, 3)) * [2.0, 1.0, 1.0]
    haze = rng.random((400, 3)) * 6 - 2
    model = Gaussians.from_colors(
        means=torch.as_tensor(np.concatenate([points, haze]), dtype=torch.float32),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(3400, 1),
        scales=torch.full((3400, 3), 0.02),
        opacities=torch.cat([torch.full((3000,), 0.9), torch.full((400,), 0.3)]),
        colors=torch.full((3400, 3), 0.5),
    )
    save_gaussians(tmp_path / "model.ply", model)
    text = (
        SCENE.split("[[body]]")[0]
        + """
[[body]]
shape = "gaussians"
gaussians = "model.ply"
opacity = 0.5
scale = 0.2
rotation = [0, 0, 90]
translation = [0.6, 0.3, 0.4]
spacing = 0.025
material = {type = "snow", E = 1e5, nu = 0.2}
"""
    )
    (tmp_path / "scene.toml").write_text(text)
    sim, _ = tp.load_scene(tmp_path / "scene.toml").build()
    x = sim.initial_state().x.numpy()
    np.testing.assert_allclose(x.min(axis=0), [0.4, 0.3, 0.4], atol=0.03)
    np.testing.assert_allclose(x.max(axis=0), [0.6, 0.7, 0.6], atol=0.03)
    assert sim.volume.sum().item() == pytest.approx(0.2 * 0.4 * 0.2, rel=0.25)
    plain = tmp_path / "points.ply"
    plain.write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\n"
        "property float z\nend_header\n0 0 0\n"
    )
    (tmp_path / "scene.toml").write_text(text.replace("model.ply", "points.ply"))
    with pytest.raises(ValueError, match="has no opacity, expected a .ply file of Gaussians"):
        tp.load_scene(tmp_path / "scene.toml").build()
