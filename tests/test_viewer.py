"""The viewer: its logic without a window, pictures without a screen, and a real window."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_scene import cameras, figure, write_frames

import taichi_phys as tp
from inverse.runs.settings import write_json
from inverse.trace.config import TraceConfig, TraceJob
from inverse.trace.photographs import check_training, load_photographs
from inverse.trace.run import first_model
from inverse.trace.trainer import TraceTrainer
from inverse.wind.config import WindConfig, WindJob
from inverse.wind.solver import WindSolver
from renderers.lines import box_lines
from renderers.orbit import look_at
from renderers.splats.files import save_gaussians
from renderers.splats.gaussians import Gaussians
from renderers.video import read_video, write_video
from renderers.viewer import window as ggui
from renderers.viewer.picture import draw_lines, draw_particles
from renderers.viewer.session import Session


ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))
import view  # noqa: E402
from view_live import Live  # noqa: E402
from view_parts import collider_lines  # noqa: E402
from view_results import Trace, Wind  # noqa: E402


SIZE = {"width": 640, "height": 360}
FPS = 24.0
SCENE = """
title = "A box above a ball"
[grid]
lower = [0, 0, 0]
upper = [1, 1, 1]
dx = 0.05
[[body]]
shape = "box"
lower = [0.4, 0.4, 0.5]
upper = [0.6, 0.6, 0.7]
spacing = 0.03
material = "jelly"
[[collider]]
shape = "sphere"
center = [0.5, 0.5, 0.1]
radius = 0.1
"""


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def block(material=None, count=400, gravity=(0, 0, 0), **options) -> Live:
    """A cube of jelly in the middle of a room."""
    material = material or tp.Elastoplastic(E=2e4, nu=0.3, yield_stress=1e6)

    def make():
        x, volume = tp.sample_box((0.35, 0.35, 0.35), (0.65, 0.65, 0.65), count=count)
        return tp.MPM(
            particles=tp.Particles(x, volume=volume, material=material),
            grid=tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=1 / 16),
            gravity=gravity, colliders=[tp.Plane(point=(0, 0, 0.2), normal=(0, 0, 1))],
        ), None  # fmt: skip

    stage = Live(make, title="block", **options)
    stage.ready()
    return stage


def control(stage, name):
    found = [c for c in stage.controls() if c.name.startswith(name)]
    assert found, [c.name for c in stage.controls()]
    return found[0]


def centre(stage) -> np.ndarray:
    return stage.state.x.mean(0).double().numpy()


def pixel(session, point) -> np.ndarray:
    return session.camera().project(np.asarray(point, float))[0]


# Pictures


@pytest.mark.parametrize("distance", [0.5, 3.0, 300.0])
def test_nearer_particles_and_lines_hide_others(distance):
    camera = look_at((0, -distance, 0), (0, 0, 0), fov=30, width=64, height=48)
    x = distance * np.array([[0, 0.1, 0], [0, 0, 0], [0.1, 0, 0]])
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    picture, depth = draw_particles(camera, x, colors, 0.02 * distance)
    assert picture[24, 32, 1] > 150 and picture[24, 32, 0] == 0  # the green one is in front
    assert depth[24, 32] == pytest.approx(0.98 * distance, rel=5e-3) and np.isinf(depth[0, 0])
    u, v = camera.project(x[2])[0].astype(int)
    assert picture[v, u, 2] > 150
    line = distance * np.array([[[-0.2, 0.05, 0], [0.2, 0.05, 0]]])  # between green and red
    before = picture.copy()
    draw_lines(picture, depth, camera, line, (255, 255, 255), 1.0)
    assert (picture[24, 32] == before[24, 32]).all()
    assert (picture[23:26, 20] == 255).all(axis=-1).any()


def test_lines_behind_the_camera_are_cut():
    camera = look_at((0, -1, 0), (0, 0, 0), fov=30, width=64, height=48)
    picture = np.zeros((48, 64, 3), np.uint8)
    draw_lines(picture, None, camera, np.array([[[0, 5, 0], [0.01, -50, 0.0]]]), (9, 9, 9), 1.0)
    draw_lines(picture, None, camera, box_lines((-3, -3, -3), (3, 3, 3)), (9, 9, 9), 1.0)
    draw_lines(picture, None, camera, np.zeros((0, 2, 3)), (9, 9, 9))
    assert 0 < (picture > 0).any(-1).sum() < 600


def test_colliders_have_outlines():
    low, high = np.zeros(3), np.ones(3)
    for collider in (
        tp.Sphere(center=(0.5, 0.5, 0.5), radius=0.2),
        tp.Capsule(start=(0.2, 0.5, 0.5), end=(0.8, 0.5, 0.5), radius=0.1),
        tp.Box(center=(0.5, 0.5, 0.5), half_size=(0.2, 0.1, 0.3),
               pose=tp.moving(velocity=(0.1, 0, 0), angular_velocity=(0, 0, 1))),
        tp.Plane(point=(0, 0, 0.3), normal=(0, 0.2, 1)),
    ):  # fmt: skip
        lines = collider_lines(collider, 0.5, low, high)
        assert lines.shape[1:] == (2, 3) and len(lines) >= 12 and np.isfinite(lines).all()
    moved = collider_lines(
        tp.Sphere(center=(0, 0, 0), radius=0.2, pose=tp.moving(velocity=(1, 0, 0))), 2.0, low, high
    )
    np.testing.assert_allclose(moved.reshape(-1, 3).mean(0), (2, 0, 0), atol=1e-9)


def test_meshes_of_files_have_outlines(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    trimesh.creation.box((0.2, 0.2, 0.2)).export(tmp_path / "box.stl")
    collider = tp.Mesh(mesh=tmp_path / "box.stl", cells=16)
    lines = collider_lines(collider, 0.0, np.zeros(3), np.ones(3))
    assert len(lines) == 18 and np.abs(lines).max() == pytest.approx(0.1)
    (tmp_path / "box.stl").unlink()
    with pytest.raises(ValueError, match="box.stl.*no file"):
        collider_lines(collider, 0.0, np.zeros(3), np.ones(3))


def test_particles_that_left_the_grid_are_not_shown(tmp_path):
    stage = block()
    camera = Session(stage, **SIZE, out=tmp_path).camera()
    before = stage.picture(camera, False)
    state = stage.state
    gone = torch.arange(len(state.x)) % 2 == 0
    stage.state = state.replace(
        F=torch.where(gone[:, None, None], 0, state.F),
        v=torch.where(gone[:, None], 50.0, 0.1 * torch.ones_like(state.v)),
        x=torch.where(gone[:, None], state.x + torch.tensor([0, 0, 0.3]), state.x),
    )
    picture = stage.picture(camera, False)
    assert stage.legend()[0][1] == pytest.approx(0.1 * 3**0.5)
    assert f"{(~gone).sum():,} particles" in stage.status()[0]
    row = int(camera.project(np.array([0.5, 0.5, 0.85]))[0][1])
    assert row > 20 and (before[:row] == picture[:row]).all()
    hidden = stage.state.x[gone].double().numpy()
    hidden = hidden[np.argmax(hidden[:, 2])]
    assert not stage.grab(camera, camera.project(hidden)[0])
    shown = stage.state.x[~gone].double().numpy()
    assert stage.grab(camera, camera.project(shown[np.argmax(shown[:, 2])])[0])
    assert not (stage.grabbed[gone] > 0).any() and (stage.grabbed > 0).any()


# Mouse and keys


@pytest.mark.parametrize("direction", [(90, 0), (0, -90), (-60, 60)])
def test_drag_pushes_in_its_direction(direction, tmp_path):
    session = Session(block(), **SIZE, out=tmp_path)
    stage, start = session.stage, centre(session.stage)
    at = pixel(session, start)
    session.pointer(*at, set())
    session.pointer(*at, {"LMB"})
    assert stage.grabbed is not None and float(stage.forces().abs().max()) < 1e-6
    session.pointer(*(at + direction), {"LMB"})
    force = stage.forces().sum(0).double().numpy()
    camera = session.camera()
    across = camera.rotation @ force
    assert abs(across[2]) < 1e-6 * np.linalg.norm(force)  # in the plane of the picture
    cosine = across[:2] @ direction / np.linalg.norm(across[:2]) / np.linalg.norm(direction)
    assert cosine > 0.999
    arrow = session.draw()
    stage.seek(4)
    moved = pixel(session, centre(stage)) - at
    assert moved @ direction / np.linalg.norm(direction) > 3
    session.pointer(*(at + direction), set())
    assert stage.grabbed is None and not stage.forces().any()
    assert (arrow != session.draw()).any(-1).mean() > 0.005


def test_a_drag_beside_the_body_turns(tmp_path):
    session = Session(block(), **SIZE, out=tmp_path)
    for x, y, held in ((20, 20, set()), (20, 20, {"LMB"}), (60, 40, {"LMB"}), (60, 40, set())):
        session.pointer(x, y, held)
    assert session.azimuth == pytest.approx(25 - 14) and session.elevation == pytest.approx(18 + 7)
    at, radius = pixel(session, centre(session.stage)), session.radius
    for held in (set(), {"RMB"}):
        session.pointer(*at, held)
    session.pointer(at[0] + 10, at[1], {"RMB"})
    assert session.stage.grabbed is None and session.azimuth == pytest.approx(25 - 14 - 3.5)
    session.pointer(at[0], at[1], set())
    for y in (0, 0, 50):
        session.pointer(100, 100 + y, {"RMB", "Control"})
    assert session.radius > 1.2 * radius
    session.pointer(0, 0, set())
    session.press("f")
    session.pointer(100, 100, {"MMB"})
    before = pixel(session, (0.5, 0.5, 0.5))
    session.pointer(130, 90, {"MMB"})
    np.testing.assert_allclose(pixel(session, (0.5, 0.5, 0.5)) - before, (30, -10), atol=0.1)


def test_the_panel_keeps_the_mouse(tmp_path):
    session = Session(block(), **SIZE, out=tmp_path)
    session.pointer(600, 100, set())
    session.pointer(600, 100, {"LMB"})
    session.pointer(300, 200, {"LMB"})
    assert session.azimuth == 25 and session.stage.grabbed is None


def test_keys(tmp_path):
    session = Session(block(gravity=(0, 0, -9.81)), **SIZE, out=tmp_path)
    stage = session.stage
    session.press(" ")
    assert stage.playing
    deadline = time.monotonic() + 60
    while stage.state.time < 2.5 / FPS and time.monotonic() < deadline:
        session.tick()
    session.press(" ")
    session.tick()
    now = stage.state.time
    session.tick()
    assert not stage.playing and stage.state.time == now > 0
    session.press("n")
    assert stage.state.time == pytest.approx(now + 1 / FPS)
    session.press("Left")
    assert "forwards only" in stage.message
    session.press("r")
    assert stage.state.time == 0 and stage.message == ""
    session.press("s")
    assert Image.open(tmp_path / "picture_000.png").size == (640, 360)
    session.press("v")
    for _ in range(3):
        session.press("n")
    session.press("v")
    assert len(read_video(tmp_path / "video_000.mp4")) == 3 and "3 frames" in stage.message
    color = stage.color
    session.press("o")
    assert stage.color != color
    for key, attribute in (("h", "help"), ("g", "panel"), ("q", "running")):
        before = getattr(session, attribute)
        session.press(key)
        assert getattr(session, attribute) is not before
    session.press("Escape")  # not a key of ours
    assert any("one frame" in line for line in session.help_lines())


def test_live_physics_is_not_faster_than_real_time(tmp_path):
    session = Session(block(count=60), **SIZE, out=tmp_path)
    session.stage.seek(2)  # compiled
    session.press(" ")
    start, before = time.monotonic(), session.stage.state.time
    while time.monotonic() - start < 0.5:
        session.tick()
    assert session.stage.state.time - before < 0.5 + 2.1 / FPS


def test_a_recording_without_frames_and_an_unwritable_one(tmp_path):
    session = Session(block(), **SIZE, out=tmp_path)
    session.press("v")
    session.press("v")
    assert session.stage.message == "no frames, no video"
    (tmp_path / "file").write_text("in the way")
    session = Session(block(), **SIZE, out=tmp_path / "file" / "out")
    session.press("v")
    session.press("n")
    session.close()
    assert "cannot be written" in session.stage.message


# Sliders change the physics


def fall(stage, frames=3):
    before = centre(stage)[2]
    stage.seek(frames)
    return before - centre(stage)[2]


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
    start = centre(stage)
    stage.seek(3)
    moved = centre(stage) - start
    wind = stage.wind()
    assert np.linalg.norm(wind) == pytest.approx(5)
    assert moved @ wind / np.linalg.norm(moved) / 5 > 0.999
    control(stage, "wind upwards").set(90.0)
    np.testing.assert_allclose(stage.wind(), (0, 0, 5), atol=1e-9)


def test_stiffness_and_yield_stress_act_at_once():
    stage = block(gravity=(0, 0, -9.81))
    slow = stage.sim.substeps(1 / FPS)
    control(stage, "stiffness").set(2e6)
    assert stage.sim.substeps(1 / FPS) == pytest.approx(10 * slow, abs=10)
    assert stage.sim.bodies[0].material.nu == 0.3
    control(stage, "stiffness").set(1e4)
    stage.seek(8)
    assert not stage.values_of("plastic strain").any()
    control(stage, "yield").set(10.0)
    stage.seek(2)
    assert float(stage.values_of("plastic strain").max()) > 0.01
    control(stage, "stiffness").set(-1.0)
    assert "E: got -1" in stage.message


def test_per_particle_parameters_keep_their_proportions():
    E = torch.linspace(1e4, 3e4, 400)
    stage = block(tp.Elastic(E=E, nu=0.3), count=400)
    E = stage.sim.bodies[0].material.E
    control(stage, "stiffness").set(4e4)
    assert stage.parameter("E") == pytest.approx(4e4)
    torch.testing.assert_close(stage.sim.bodies[0].material.E, 2 * E)


def test_material_by_name():
    stage = block()
    stage.seek(1)
    x, t = stage.state.x, stage.state.time
    control(stage, "material").set("water")
    assert stage.state.x is x and stage.state.time == t and stage.material == "water"
    assert type(stage.sim.bodies[0].material).__name__ == "Fluid"
    assert float(stage.sim.mass.sum() / stage.sim.volume.sum()) == pytest.approx(998)
    stage.seek(1)
    assert control(stage, "bulk modulus").get() == pytest.approx(2e5)
    stage.reset()
    assert stage.state.time == 0


def test_too_strong_a_push_is_said_and_the_state_kept(tmp_path):
    session = Session(block(), **SIZE, out=tmp_path)
    stage = session.stage
    stage.force, stage.gain = (lambda x, t: torch.full_like(x, 1e9)), 1.0
    stage.playing = True
    before = stage.state
    stage.seek(1)
    assert not stage.playing and "particle" in stage.message and stage.state is before
    stage.gain = 0.0
    stage.seek(1)
    assert stage.state.time > 0


@pytest.mark.parametrize("color", ["speed", "strain", "plastic strain", "body"])
def test_colours(color, tmp_path):
    stage = block(gravity=(0, 0, -9.81), color=color)
    stage.seek(6)
    session = Session(stage, **SIZE, out=tmp_path)
    assert (stage.legend() is None) == (color == "body")
    assert session.draw().shape == (360, 640, 3)
    assert len(np.unique(stage.colors(), axis=0)) > (1 if color in ("speed", "strain") else 0)


# Inputs


@pytest.fixture(scope="module")
def wind_run(tmp_path_factory):
    """A finished wind run of a small block that accelerates to the side."""
    folder = tmp_path_factory.mktemp("wind") / "run"
    x, volume = tp.sample_box((0, 0, 0), (0.2, 0.1, 0.2), count=60)
    t = np.arange(5) / FPS
    targets = x + (0.5 * 6 * t**2)[:, None, None] * np.array([1.0, 0, 0])
    config = WindConfig(iterations=4, resolution=4, channels=4, hidden=8)
    camera = look_at((0.1, -1.5, 0.1), (0.1, 0, 0.1), fov=30, width=64, height=48)
    frames = np.stack([draw_particles(camera, p, np.full((60, 3), 200), 0.02)[0] for p in targets])
    write_video(folder / "clip.mp4", frames, FPS)
    keys = ("fx", "fy", "cx", "cy", "width", "height")
    record = {k: getattr(camera, k) for k in keys}
    record["world_to_camera"] = camera.world_to_camera.tolist()
    write_json(folder / "camera.json", record)
    run = WindJob(
        video=(str(folder / "clip.mp4"),), camera=(str(folder / "camera.json"),),
        box=(0, 0, 9, 9), distance=1.5, out=str(folder),
    )  # fmt: skip
    sim = tp.MPM(
        particles=tp.Particles(x, volume=volume, density=200.0, material=tp.Elastic(E=1e3, nu=0.3)),
        grid=tp.Grid.around(targets, dx=0.05, margin=0.1), gravity=(0, 0, 0),
    )  # fmt: skip
    with torch.enable_grad():
        torch.manual_seed(0)
        solver = WindSolver(
            sim, targets, fps=FPS, config=config, checkpoint=folder / "checkpoints" / "force.pt"
        )
        result = solver.solve(progress=False)
    write_json(folder / "config.json", {"run": run, "solver": config})
    np.savez(folder / "checkpoints" / "targets.npz", targets=targets)
    np.savez(
        folder / "forces.npz", t=t, x=result.x.numpy(), f=result.frame_forces().numpy(),
        mass=sim.mass.numpy(), gravity=(0, 0, -9.81),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def trace_run(tmp_path_factory):
    """A TRACE run whose networks were not trained, but move everything."""
    data, folder = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("trace") / "run"
    frames = [
        (f"v{k}_t{i}", camera, figure(), t)
        for k, camera in enumerate(cameras(3))
        for i, t in enumerate((0.0, 0.2, 0.4))
    ]
    write_frames(data, "train", frames)
    run = TraceJob(data=str(data), out=str(folder), parts=2)
    config = TraceConfig(gaussians=80, iterations=1, sh_degree=1)
    train = load_photographs(run.data, "train")
    times, frame_dt = check_training(run.data, train)
    model = first_model(run, config, train, times[-1], frame_dt)
    torch.manual_seed(0)
    for network in (model.deformation.head, model.dynamics.network[-1]):
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter.data, std=0.3)
    trainer = TraceTrainer(model, train, config, checkpoint=folder / "checkpoints" / "trace.pt")
    trainer.save()
    write_json(folder / "config.json", {"run": run, "trace": config})
    write_json(folder / "motion.json", {"time": times[-1], "parts": []})
    return folder, model


@pytest.fixture(scope="module")
def files(tmp_path_factory, wind_run, trace_run):
    """One path of each kind."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "scene.toml").write_text(SCENE)
    import trimesh

    trimesh.creation.box((0.4, 0.3, 0.5)).export(folder / "box.obj")
    trimesh.creation.box((0.4, 0.3, 0.5)).export(folder / "box.ply")
    save_gaussians(folder / "splats.ply", figure())
    paths = {p.name: p for p in folder.iterdir()}
    return paths | {"wind": wind_run, "trace": trace_run[0]}


def run(*arguments):
    small = ("--width", 480, "--height", 270, "--particles", 300)
    return view.main([str(a) for a in (*arguments, *small)])


HEADLESS = {
    "scene.toml": ["--color", "strain"], "box.obj": ["--material", "sand"], "box.ply": [],
    "splats.ply": [], "wind": [], "trace": ["--color", "parts"],
}  # fmt: skip


@pytest.mark.parametrize("name", HEADLESS)
def test_headless(name, files, tmp_path, monkeypatch, capsys):
    """The same views as pictures, which change, with neither screen nor Vulkan."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(ggui, "_open", lambda session: pytest.fail("a window was opened"))
    arguments = ["--headless", "--frames", 3, "--out", tmp_path, *HEADLESS[name]]
    assert run(files[name], *arguments) == 0, capsys.readouterr().err
    paths = sorted(tmp_path.iterdir())
    assert [p.name for p in paths] == [f"frame_{k:04d}.png" for k in range(3)]
    pictures = [np.asarray(Image.open(p)).astype(float) for p in paths]
    assert pictures[0].shape == (270, 480, 3) and pictures[0].std() > 3
    for before, after in zip(pictures, pictures[1:], strict=False):
        assert (np.abs(after - before).max(-1) > 8).sum() > 20


def ball_of_splats(path) -> Path:
    points = torch.randn(1500, 3, generator=torch.Generator().manual_seed(0))
    points *= 0.3 * torch.rand(1500, 1) ** (1 / 3) / points.norm(dim=1, keepdim=True)
    save_gaussians(path, Gaussians.from_colors(
        means=points, quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(1500, 1),
        scales=torch.full((1500, 3), 0.02), opacities=torch.full((1500,), 0.9),
        colors=torch.rand(1500, 3),
    ))  # fmt: skip
    return path


def test_splats_that_cannot_be_a_body_are_still_shown(files, tmp_path):
    stage = view.open_stage(view.parse([str(files["splats.ply"])]))
    session = Session(stage, **SIZE, out=tmp_path)
    stage._make = lambda: tp.sample_cloud(stage.gaussians.means, count=10)
    session.press(" ")
    session.tick()
    assert not stage.playing and "enclose nothing" in stage.message
    assert session.draw().std() > 1


def test_headless_splats_as_a_body(files, tmp_path):
    splats = ball_of_splats(tmp_path / "ball.ply")
    assert run(splats, "--headless", "--frames", 3, "--out", tmp_path / "a",
               "--live", "--up", "z") == 0  # fmt: skip
    assert run(splats, "--headless", "--frames", 3, "--out", tmp_path / "b",
               "--show", "particles", "--up", "z") == 0  # fmt: skip
    first, last = (
        np.asarray(Image.open(tmp_path / "a" / f"frame_{k:04d}.png")).astype(float) for k in (0, 2)
    )
    assert np.abs(first - last).max() > 8  # it falls
    assert len(list((tmp_path / "b").iterdir())) == 3


@pytest.mark.parametrize("body", ["ball", "cube", "box.obj"])
def test_headless_recovered_wind_on_another_body(body, files, tmp_path):
    body = files.get(body, body)
    flags = ("--headless", "--frames", 2, "--out", tmp_path, "--blow", body)
    assert run(files["wind"], *flags) == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_wind_run(wind_run, tmp_path):
    stage = Wind(wind_run)
    session = Session(stage, **SIZE, out=tmp_path)
    assert stage.video.shape == (5, 48, 64, 3) and len(stage.cameras()) == 1
    still = session.draw()
    control(stage, "frame").set(4)
    assert stage.time == pytest.approx(4 / FPS)
    changed = (session.draw() != still).any(-1)
    assert changed[:, :200].any() and changed[:, 240:340].any()  # the clip, and the view
    session.press("c")
    of_clip = session.camera()
    np.testing.assert_allclose(of_clip.world_to_camera, stage.cameras()[0].world_to_camera)
    stage.arrows = False
    without = session.draw()
    session.press("a")
    assert (session.draw() != without).any(-1).sum() > 100


def test_recovered_wind_blows_another_body_the_same_way(wind_run, tmp_path):
    stage = Wind(wind_run, "foam")
    session = Session(stage, **SIZE, out=tmp_path)
    session.press("w")
    session.tick()
    other = session.stage
    assert isinstance(other, Live) and "ball" in other.title
    other.ready()
    assert other.gravity() == 0 and other.material == "foam"
    start = centre(other)
    net = other.forces().sum(0).double().numpy() / float(other.sim.mass.sum())
    recovered = stage.specific[0].mean(axis=0)
    assert np.linalg.norm(net - recovered) < 0.25 * np.linalg.norm(recovered)
    other.seek(3)
    moved = centre(other) - start
    assert moved[0] > 0.8 * np.linalg.norm(moved) > 0
    control(other, "recovered wind").set(0.0)
    assert not other.forces().any()
    session.press("b")
    assert session.stage is stage


def test_wind_run_whose_clip_is_gone(wind_run, tmp_path):
    folder = shutil.copytree(wind_run, tmp_path / "moved")
    config = json.loads((folder / "config.json").read_text())
    config["run"]["video"] = ["gone.mp4"]
    write_json(folder / "config.json", config)
    assert Wind(folder).side() is None and "neither" in Wind(folder).message
    write_video(folder / "video.mp4", np.zeros((5, 48, 192, 3), np.uint8), FPS)
    assert Wind(folder).side().shape[:2] == (48, 64)


def test_trace_run_goes_past_the_last_frame(trace_run, tmp_path):
    folder, model = trace_run
    stage = Trace(folder)
    session = Session(stage, **SIZE, out=tmp_path)
    control(stage, "time").set(0.6)
    assert stage.time == pytest.approx(0.6, abs=0.01) and "predicted" in stage.status()[0]
    expected = model.tensors_at(stage.time)
    for name, value in stage.tensors().items():
        torch.testing.assert_close(value, expected[name].detach())
    pictures = {stage.color: session.draw()}
    for _ in range(2):
        session.press("o")
        pictures[stage.color] = session.draw()
    assert set(pictures) == {"picture", "parts", "speed"}
    assert (pictures["parts"] != pictures["speed"]).any()
    assert set(np.unique(stage.labels())) <= {0, 1, 2}
    session.press("a")
    assert stage.arrows and (session.draw() != pictures["speed"]).any()
    session.press("x")
    assert stage.show == "particles" and session.draw().std() > 1
    assert len(stage.cameras()) == 9
    session.press("c")
    assert session.shown_camera == 1 and session.draw().shape == (360, 640, 3)
    for _ in range(stage.last + 5):
        stage.seek(1)
    assert stage.time == pytest.approx(2 * stage.duration)


def test_trace_run_whose_photographs_are_gone(trace_run, tmp_path):
    folder = shutil.copytree(trace_run[0], tmp_path / "moved")
    config = json.loads((folder / "config.json").read_text())
    config["run"]["data"] = "gone"
    write_json(folder / "config.json", config)
    stage = Trace(folder)
    assert stage.duration == pytest.approx(0.4) and stage.cameras() == []
    assert "without its cameras" in stage.message
    assert len(stage.labels()) == 80


def test_trace_run_shows_the_parts_that_it_saved(trace_run, tmp_path):
    folder = shutil.copytree(trace_run[0], tmp_path / "run")
    found, saved = Trace(folder).labels(), np.arange(80) % 3
    assert not np.array_equal(found, saved)
    np.savez(folder / "parts.npz", labels=saved)
    assert np.array_equal(Trace(folder).labels(), saved)
    for labels in (saved[:7], saved / 2, saved - 1):  # of other Gaussians, or of something else
        np.savez(folder / "parts.npz", labels=labels)
        assert np.array_equal(Trace(folder).labels(), found)
    (folder / "parts.npz").write_bytes(b"PK")
    assert np.array_equal(Trace(folder).labels(), found)


# What cannot be shown


BAD = {
    "missing": ("nowhere.obj", "no such file"), "empty": (".", "neither a wind run"),
    "text": ("a.txt", ""), "scene": ("bad.toml", "bad.toml"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name, tmp_path, capfd):
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "bad.toml").write_text("[grid]\nlowr = 3\n")
    path, message = BAD[name]
    assert run(tmp_path / path, "--headless", "--out", tmp_path / "out") == 2
    error = capfd.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("error: ") and message in error[0]


@pytest.mark.parametrize(
    "flags", [("--color", "pink"), ("--frames", "0"), ("--blow", "nowhere.obj")], ids=str
)
def test_bad_flags_are_one_sentence(flags, files, tmp_path, capfd):
    assert run(files["wind"], "--headless", "--out", tmp_path / "out", *flags) == 2
    assert capfd.readouterr().err.startswith("error: ")


def example(*arguments, **environment):
    env = {k: v for k, v in os.environ.items() if k != "DISPLAY"} | environment
    command = [sys.executable, str(ROOT / "examples" / "view.py"), *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("display", [None, ":987"])
def test_without_a_screen_one_sentence(display, files):
    done = example(files["splats.ply"], **({"DISPLAY": display} if display else {}))
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: no screen"), done.stderr
    assert "mesa-vulkan-drivers" in lines[0] and "--headless" in lines[0]


# A real window


def have_screen() -> str:
    """Why a real window cannot be tried, or nothing."""
    missing = [name for name in ("Xvfb", "xdotool") if shutil.which(name) is None]
    return f"needs {', '.join(missing)}" if missing else ""


@pytest.fixture(scope="module")
def screen():
    """The name of a virtual screen."""
    if have_screen():
        pytest.skip(have_screen())
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x800x24", "-nolisten", "tcp"],
        pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as stream:
        number = stream.readline().strip()
    if not number:
        pytest.skip("Xvfb does not start")
    yield f":{number}"
    server.terminate()
    server.wait(timeout=20)


def test_without_vulkan_one_sentence(screen, files):
    nothing = {"VK_DRIVER_FILES": "/nonexistent", "VK_ICD_FILENAMES": "/nonexistent"}
    done = example(files["splats.ply"], DISPLAY=screen, **nothing)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: no Vulkan"), done.stderr
    assert "mesa-vulkan-drivers libvulkan1" in lines[0] and "--headless" in lines[0]


DRIVER = """
import json, sys
sys.path[:0] = [{tests!r}, {examples!r}]
import torch
import taichi_phys as tp
from renderers.viewer import window as ggui
from renderers.splats.gaussians import Gaussians
from renderers.viewer.session import Session
tp.init()
log = open({log!r}, "w", buffering=1)
torch.set_grad_enabled(False)
torch.set_num_threads(1)
from test_viewer import block

stage = block(gravity=(0, 0, -1.0))
stage.seek(1)
stage.reset()


def after(session):
    s = stage.state
    log.write(json.dumps(dict(
        x=s.x.mean(0).tolist(), t=s.time, gravity=stage.gravity(), playing=stage.playing,
        held=stage.grabbed is not None, azimuth=session.azimuth, message=stage.message,
        frames=session.recorder.frames if session.recorder else None,
    )) + chr(10))


try:
    ggui.show(Session(stage, width=960, height=540, out={out!r}), after=after)
except ggui.NoWindow as error:
    sys.exit("no window: " + str(error))
print("closed")
"""


class Window:
    """The viewer in a process of its own, with a hand on mouse and keys."""

    def __init__(self, screen: str, folder: Path):
        self.log, self.out = folder / "log", folder / "out"
        self.env = os.environ | {"DISPLAY": screen}
        code = DRIVER.format(
            tests=str(ROOT / "tests"), examples=str(ROOT / "examples"), log=str(self.log),
            out=str(self.out),
        )  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], env=self.env, cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.wait(lambda now: True, 180)
        self.id = self.hand("search", "--class", "block").split()[-1]

    def hand(self, *arguments) -> str:
        done = subprocess.run(
            ["xdotool", *map(str, arguments)], env=self.env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rounds(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def now(self) -> dict:
        """The state at the end of a round of the loop that began after this call."""
        seen = len(self.rounds())
        self.wait(lambda now: len(self.rounds()) > seen + 1)
        return json.loads(self.rounds()[-2])

    def wait(self, true, seconds: float = 60) -> dict:
        """The first state for which that is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                error = self.process.stderr.read()
                if "no window: " in error:
                    pytest.skip(error.strip().splitlines()[-1])
                pytest.fail(f"the viewer ended: {error}")
            lines = self.rounds()
            if len(lines) > 1 and true(json.loads(lines[-2])):
                return json.loads(lines[-2])
            time.sleep(0.05)
        pytest.fail(f"nothing came of it: {self.rounds()[-2:]}")

    def key(self, name: str) -> None:
        self.hand("key", "--window", self.id, name)

    def move(self, x: float, y: float) -> None:
        self.hand("mousemove", "--window", self.id, round(x), round(y))
        time.sleep(0.2)

    def drag(self, start, end) -> None:
        self.move(*start)
        self.now()
        self.hand("mousedown", 1)
        time.sleep(0.2)
        self.now()
        self.move(*end)
        self.now()

    def let_go(self) -> None:
        self.hand("mouseup", 1)


@pytest.fixture(scope="module")
def window(screen, tmp_path_factory):
    window = Window(screen, tmp_path_factory.mktemp("window"))
    yield window
    if window.process.poll() is None:
        window.process.kill()
    window.process.wait(timeout=20)


def test_window_keys_play_pause_and_step(window):
    assert not window.now()["playing"]
    window.move(100, 300)
    window.key("space")
    window.wait(lambda now: now["playing"] and now["t"] > 0.05)
    window.key("space")
    paused = window.wait(lambda now: not now["playing"])
    assert window.now()["t"] == paused["t"]
    window.key("n")
    after = window.wait(lambda now: now["t"] > paused["t"])
    assert after["t"] == pytest.approx(paused["t"] + 1 / FPS, abs=1e-4)
    window.key("r")
    window.wait(lambda now: now["t"] == 0)


def middle(window) -> np.ndarray:
    """Where the body is in the window, px."""
    session = Session(block(), width=960, height=540)
    return session.camera().project(np.array(window.now()["x"]))[0]


def test_window_drag_moves_the_body_in_its_direction(window):
    window.key("r")
    before = window.wait(lambda now: now["t"] == 0)
    at = middle(window)
    window.drag(at, at + (120, 0))
    assert window.wait(lambda now: now["held"])
    window.key("space")
    window.wait(lambda now: now["t"] > 0.2)
    window.key("space")
    window.let_go()
    after = window.wait(lambda now: not now["held"] and not now["playing"])
    right = Session(block(), width=960, height=540).camera().rotation[0]
    moved = np.subtract(after["x"], before["x"])
    moved[2] = 0  # what falls has not been pushed
    assert moved @ right > 0.02
    assert moved @ right > 0.95 * np.linalg.norm(moved)
    assert after["azimuth"] == before["azimuth"]


def test_window_drag_beside_the_body_turns_the_camera(window):
    before = window.now()
    window.drag((40, 500), (90, 500))
    window.let_go()
    after = window.wait(lambda now: now["azimuth"] != before["azimuth"])
    assert after["azimuth"] == pytest.approx(before["azimuth"] - 0.35 * 50, abs=0.8)
    assert not after["held"]
    window.drag((90, 500), (40, 500))
    window.let_go()
    window.wait(lambda now: abs(now["azimuth"] - before["azimuth"]) < 0.8)


def fallen(window) -> float:
    """m by which two frames from the start lower the body: it is still in the air."""
    window.key("r")
    start = window.wait(lambda now: now["t"] == 0)
    for k in range(2):
        window.key("n")
        now = window.wait(lambda now, k=k: now["t"] > (k + 0.9) / FPS)
    return start["x"][2] - now["x"][2]


def test_window_slider_changes_the_physics(window):
    slow = fallen(window)
    # below stiffness and yield stress: title 19 px, then a line and a slider of 40 px each
    window.drag((960 - 270, 134), (960 - 130, 134))
    window.let_go()
    after = window.wait(lambda now: now["gravity"] > 5)
    assert after["azimuth"] == pytest.approx(25, abs=1)
    fast = fallen(window)
    assert fast / slow == pytest.approx(after["gravity"], rel=0.03)  # it was 1


def test_window_records_and_takes_screenshots(window):
    window.key("r")
    window.wait(lambda now: now["t"] == 0)
    window.key("s")
    window.wait(lambda now: "picture_000.png" in now["message"])
    assert Image.open(window.out / "picture_000.png").size == (960, 540)
    window.key("v")
    window.wait(lambda now: now["frames"] is not None)
    window.key("space")
    window.wait(lambda now: (now["frames"] or 0) >= 4)
    window.key("v")
    window.wait(lambda now: now["frames"] is None)
    video = read_video(window.out / "video_000.mp4")
    assert len(video) >= 4 and video.frames.shape[1:] == (540, 960, 3)
    assert (video.frames[0] != video.frames[-1]).any()


CLOSE = """
import ctypes, sys

x11 = ctypes.CDLL("libX11.so.6")
x11.XOpenDisplay.restype = ctypes.c_void_p
display = ctypes.c_void_p(x11.XOpenDisplay(None))
protocols, delete = (x11.XInternAtom(display, n, 0) for n in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))


class Message(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p), ("window", ctypes.c_ulong), ("message", ctypes.c_ulong),
        ("format", ctypes.c_int), ("data", ctypes.c_long * 5), ("room", ctypes.c_long * 24),
    ]


window = int(sys.argv[1])
event = Message(33, 0, 1, display, window, protocols, 32, (delete, 0, 0, 0, 0))
x11.XSendEvent(display, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(event))
x11.XCloseDisplay(display)
"""


def test_window_closes_and_leaves_nothing(window):
    """What the cross in its frame does: the request to close that a window manager sends."""
    subprocess.run([sys.executable, "-c", CLOSE, window.id], env=window.env, check=True)
    out, error = window.process.communicate(timeout=60)
    assert window.process.returncode == 0 and "closed" in out, error
    assert not (window.log.parent / "imgui.ini").exists()
    with pytest.raises(ProcessLookupError):  # it is gone, and nothing that it started is left
        os.killpg(window.process.pid, 0)


def test_window_interrupted_ends_in_a_word(screen, files, tmp_path):
    env = os.environ | {"DISPLAY": screen}
    command = [sys.executable, str(ROOT / "examples" / "view.py"), str(files["splats.ply"])]
    process = subprocess.Popen(
        [*command, "--width", "480", "--height", "270", "--out", str(tmp_path)], env=env,
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        for _ in range(300):
            search = ["xdotool", "search", "--class", "splats"]
            found = subprocess.run(search, env=env, capture_output=True, text=True)
            if found.stdout.strip() or process.poll() is not None:
                break
            time.sleep(0.2)
        if process.poll() == 2:
            pytest.skip(process.stderr.read())
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and error.strip() == "stopped"
