"""Live physics: what sliders, choices and the mouse change acts at once."""

import numpy as np
import pytest
import torch
from stages import FPS, SIZE, block, center, control, on_screen, pixel

import taichi_phys as tp
from renderers.orbit import look_at
from renderers.viewer.session import Session


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def fall(stage, frames=3):
    before = center(stage)[2]
    stage.seek(frames)
    return before - center(stage)[2]


def test_gravity_acts_at_once():
    stage = block(gravity=(0, 0, -9.81))
    usual = fall(stage, 2)
    stage.reset()
    control(stage, "gravity").set(2.0)
    assert control(stage, "gravity").get() == pytest.approx(2)
    assert fall(stage, 2) == pytest.approx(usual * 2 / 9.81, rel=0.02)  # fewer substeps


def test_wind_acts_at_once():
    stage = block()
    control(stage, "wind speed").set(5.0)
    control(stage, "wind from").set(90.0)
    start = center(stage)
    stage.seek(3)
    moved = center(stage) - start
    wind = stage.playground.wind()
    assert np.linalg.norm(wind) == pytest.approx(5)
    assert moved @ wind / np.linalg.norm(moved) / 5 > 0.999
    control(stage, "wind upwards").set(90.0)
    np.testing.assert_allclose(stage.playground.wind(), (0, 0, 5), atol=1e-9)


def test_stiffness_and_yield_stress_act_at_once():
    stage = block(gravity=(0, 0, -9.81))
    slow = stage.playground.sim.substeps(1 / FPS)
    control(stage, "stiffness").set(2e6)
    assert stage.playground.sim.substeps(1 / FPS) == pytest.approx(10 * slow, abs=10)
    assert stage.playground.sim.bodies[0].material.nu == 0.3
    control(stage, "stiffness").set(1e4)
    stage.seek(8)
    assert not stage.values_of("plastic strain").any()
    control(stage, "yield").set(10.0)
    stage.seek(2)
    assert float(stage.values_of("plastic strain").max()) > 0.01
    Session(stage).do(control(stage, "stiffness").set, -1.0)
    assert "E: got -1" in stage.message


def test_per_particle_parameters_keep_their_proportions():
    E = torch.linspace(1e4, 3e4, 400)
    stage = block(tp.Elastic(E=E, nu=0.3), count=400)
    E = stage.playground.sim.bodies[0].material.E
    control(stage, "stiffness").set(4e4)
    assert stage.playground.parameter("E") == pytest.approx(4e4)
    torch.testing.assert_close(stage.playground.sim.bodies[0].material.E, 2 * E)


def test_material_by_name():
    stage = block()
    stage.seek(1)
    e, x = stage.playground, stage.playground.state.x
    time = e.state.time
    control(stage, "material").set("water")
    assert e.state.x is x and e.state.time == time and e.material == "water"
    assert type(e.sim.bodies[0].material).__name__ == "Fluid"
    assert float(e.sim.mass.sum() / e.sim.volume.sum()) == pytest.approx(998)
    stage.seek(1)
    assert control(stage, "bulk modulus").get() == pytest.approx(2e5)
    stage.reset()
    assert e.state.time == 0


def test_too_strong_a_force_is_said_and_the_state_kept():
    stage = block()
    e = stage.playground
    e.given = lambda x, t: torch.full_like(x, 1e9)
    stage.playing, before = True, e.state
    Session(stage).do(stage.seek, 1)
    assert not stage.playing and "particle" in stage.message and e.state is before
    control(stage, "given force").set(0.0)
    stage.seek(1)
    assert e.state.time > 0


def test_push_breeze_and_given_force_are_force_fields_and_add_up():
    stage = block()
    e, camera = stage.playground, look_at((0.5, -2, 0.5), (0.5, 0.5, 0.5), fov=30, **SIZE)
    middle = camera.project(np.array([0.5, 0.5, 0.5]))[0]
    e.given, e.gain, e.wind_speed = tp.Uniform(acceleration=(0, 0, 3.0)), 2.0, 4.0
    both = e.forces()
    assert stage.grab(camera, middle)
    stage.drag(camera, middle + (50, 0))
    assert isinstance(e.pull, tp.ForceField)
    now = e.state.x, e.state.time, e.state.v, e.sim.mass
    torch.testing.assert_close(e.forces(), both + e.pull(*now))
    blown = both - 2 * e.given(*now)
    np.testing.assert_allclose(blown.sum(0) / e.sim.mass.sum(), 2.0 * e.wind(), atol=1e-4)
    size = float(
        np.ptp(e.state.x.cpu().numpy(), axis=0).max()
    )  # pulled by so much, it gets all of it
    share = np.linalg.norm(e.pull.reach(e.state.x)) / size
    total = torch.linalg.vector_norm(e.pull(*now).sum(0)) / e.sim.mass.sum()
    assert float(total) == pytest.approx(e.push * share, rel=1e-3)
    stage.release()
    torch.testing.assert_close(e.forces(), both)


def test_particles_that_left_the_grid_are_neither_shown_nor_pushed(tmp_path):
    stage = block()
    screen, e = on_screen(stage, tmp_path), stage.playground
    camera, before, state = screen.camera(), screen.draw(), stage.playground.state
    gone = torch.arange(len(state.x)) % 2 == 0
    e.state = state.replace(
        F=torch.where(gone[:, None, None], 0, state.F),
        v=torch.where(gone[:, None], 50.0, 0.1 * torch.ones_like(state.v)),
        x=torch.where(gone[:, None], state.x + torch.tensor([0, 0, 0.3]), state.x),
    )
    now, picture = stage.snapshot(), screen.draw()
    assert now.legend[0][1] == pytest.approx(0.1 * 3**0.5)
    assert f"{(~gone).sum():,} particles" in now.caption
    assert len(now.points.x) == len(now.points.colors) == len(now.bodies[0]) == int((~gone).sum())
    row = int(pixel(screen, (0.5, 0.5, 0.85))[1])
    assert row > 20 and (before[:row] == picture[:row]).all()
    hidden, shown = (e.state.x[k].double().cpu().numpy() for k in (gone, ~gone))
    assert not stage.grab(camera, camera.project(hidden[np.argmax(hidden[:, 2])])[0])
    assert stage.grab(camera, camera.project(shown[np.argmax(shown[:, 2])])[0])
    assert not (e.pull.weight[gone] > 0).any() and (e.pull.weight > 0).any()


@pytest.mark.parametrize("color", ["speed", "strain", "plastic strain", "body"])
def test_colors(color, tmp_path):
    stage = block(gravity=(0, 0, -9.81), color=color)
    stage.seek(6)
    screen = on_screen(stage, tmp_path)
    assert (stage.snapshot().legend is None) == (color == "body")
    assert screen.draw().shape == (360, 640, 3)
    colors = stage.snapshot().points.colors
    assert len(np.unique(colors, axis=0)) > (1 if color in ("speed", "strain") else 0)
