"""What the command `view` opens: runs, scenes, bodies, splats, frames; as pictures."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import kinds_of
from PIL import Image
from small_runs import trace_run, wind_run  # noqa: F401
from stages import FPS, SCENE, center, control, on_screen
from tiny_scene import figure

import inverse
import renderers
import taichi_phys as tp
from inverse.commands.stages import open_stage
from inverse.commands.view import main, make_parser
from inverse.trace import TraceRun
from inverse.trace.stage import TraceStage
from inverse.wind import WindRun
from inverse.wind.stage import WindStage
from renderers.splats.files import save_gaussians
from renderers.splats.gaussians import Gaussians
from renderers.video import write_video
from renderers.viewer import window
from renderers.viewer.live import Live
from renderers.viewer.playback import Playback
from renderers.viewer.stage import Recorded, Stage


ROOT = Path(__file__).resolve().parent.parent
SMALL = ("--width", "480", "--height", "270", "--particles", "300")


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """The folder of a simulation: frames of a falling ball, of which some particles vanish."""
    x, _ = tp.sample_sphere((0, 0, 1), 0.1, count=300)
    x = torch.tensor(x, dtype=torch.float64)
    zero, eye = torch.zeros_like(x), torch.eye(3, dtype=torch.float64).repeat(len(x), 1, 1)
    gone = torch.arange(len(x)) < 10
    down = torch.tensor([0, 0, 1.0], dtype=torch.float64)

    def states():
        for i in range(6):
            t, out = i / 24, (gone & (i > 0))[:, None]
            yield tp.State(
                x=x - 4.9 * t**2 * down + 100 * out, v=zero - 9.81 * t * down + 100 * out,
                C=0 * eye, F=eye * ~out[..., None], plastic=zero[:, 0], time=t,
            )  # fmt: skip

    folder = tmp_path_factory.mktemp("ball")
    scalars = lambda state: {"removed": state.removed}  # noqa: E731
    tp.write_frames(states(), folder / "frames", fps=24, scalars=scalars)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory, wind_run, trace_run, frames):  # noqa: F811
    """One path of each kind."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "scene.toml").write_text(SCENE)
    import trimesh

    trimesh.creation.box((0.4, 0.3, 0.5)).export(folder / "box.obj")
    trimesh.creation.box((0.4, 0.3, 0.5)).export(folder / "box.ply")
    save_gaussians(folder / "splats.ply", figure())
    paths = {p.name: p for p in folder.iterdir()}
    return paths | {"wind": wind_run, "trace": trace_run, "frames": frames / "frames"}


def run(*arguments) -> int:
    return main([str(a) for a in (*arguments, *SMALL)])


def opened(*words):
    return open_stage(make_parser().parse_args([str(word) for word in words]))


HEADLESS = {
    "scene.toml": ["--color", "strain"], "box.obj": ["--material", "sand"], "box.ply": [],
    "splats.ply": [], "wind": [], "trace": ["--color", "parts"], "frames": [],
}  # fmt: skip


@pytest.mark.parametrize("name", HEADLESS)
def test_headless(name, files, tmp_path, monkeypatch, capsys):
    """The same views as pictures, which change, with neither screen nor Vulkan."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(window, "_open", lambda screen: pytest.fail("a window was opened"))
    arguments = ["--headless", "--frames", 3, "--out", tmp_path, *HEADLESS[name]]
    assert run(files[name], *arguments) == 0, capsys.readouterr().err
    paths = sorted(tmp_path.iterdir())
    assert [p.name for p in paths] == [f"frame_{k:04d}.png" for k in range(3)]
    pictures = [np.asarray(Image.open(p)).astype(float) for p in paths]
    assert pictures[0].shape == (270, 480, 3) and pictures[0].std() > 3
    for before, after in zip(pictures, pictures[1:], strict=False):
        assert (np.abs(after - before).max(-1) > 8).sum() > 20


def test_every_kind_of_stage_is_listed(files):
    """A new stage is tested by being opened in HEADLESS."""
    shown = {type(opened(files[name])) for name in HEADLESS}
    assert shown == set(kinds_of(Stage, renderers, inverse)) - {Recorded}


# Splats


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
    stage = opened(files["splats.ply"])
    screen = on_screen(stage, tmp_path)
    stage.make = lambda: tp.sample_cloud(stage.gaussians.means, count=10)
    screen.press(" ")
    screen.tick()
    assert not stage.playing and "enclose no volume" in stage.message
    assert screen.draw().std() > 1


def test_headless_splats_as_a_body(tmp_path):
    splats = ball_of_splats(tmp_path / "ball.ply")
    film = ["--headless", "--frames", 3, "--up", "z", "--out"]
    assert run(splats, *film, tmp_path / "a", "--live") == 0
    assert run(splats, *film, tmp_path / "b", "--show", "particles") == 0
    first, last = (
        np.asarray(Image.open(tmp_path / "a" / f"frame_{k:04d}.png")).astype(float) for k in (0, 2)
    )
    assert np.abs(first - last).max() > 8  # it falls
    assert len(list((tmp_path / "b").iterdir())) == 3


def test_splats_are_carried_by_particles(tmp_path):
    stage = opened(ball_of_splats(tmp_path / "ball.ply"), "--live", "--particles", 200)
    first = stage.snapshot().splats
    torch.testing.assert_close(first["means"], stage.gaussians.means)
    stage.seek(2)
    for fast, shown in ((True, {"colors"}), (False, {"sh", "sh_axes"})):
        last = stage.snapshot(fast).splats
        assert (last["means"] - first["means"])[:, 1].min() > 0.004  # y points down
        assert set(last) == {"means", "covariances", "opacities"} | shown


# Scenes and frames


def test_a_scene_knows_where_to_look_from(tmp_path):
    look = "[camera]\neye = [0.5, -2, 0.6]\ntarget = [0.5, 0.5, 0.5]\n"
    (tmp_path / "scene.toml").write_text(SCENE + look)
    stage = opened(tmp_path / "scene.toml")
    before = stage.snapshot()
    stage.seek(4)
    after = stage.snapshot()
    drop = 0.5 * 9.81 * (4 / 24) ** 2
    assert (before.points.x - after.points.x)[:, 2].mean() == pytest.approx(drop, rel=0.05)
    assert before.lines is after.lines and "t = 0.167 s" in after.caption
    np.testing.assert_allclose(stage.start.position, (0.5, -2, 0.6))
    assert stage.start.project(np.full(3, 0.5))[0] == pytest.approx([320, 240])
    assert stage.views[0] is stage.start


def test_a_scene_out_of_which_particles_go(tmp_path):
    carried = """
[simulation]
outside = "remove"
[[collider]]
shape = "box"
center = [0.5, 0.5, 0.6]
half_size = [0.2, 0.2, 0.2]
contact = "sticky"
motion = {velocity = [6.0, 0.0, 0.0]}
"""
    leaky = SCENE.replace("dx = 0.05", 'dx = 0.05\ncontact = "open"')
    (tmp_path / "scene.toml").write_text(leaky + carried)
    stage = opened(tmp_path / "scene.toml")
    before = len(stage.snapshot().points.x)
    stage.set_material("rubber")  # what is removed stays so in another material
    stage.seek(4)
    now = stage.snapshot()
    assert len(now.points.x) == len(now.points.colors) < before and not stage.message


def test_frames_of_a_simulation(frames):
    stage = opened(frames / "frames")
    assert isinstance(stage, Playback) and stage.title == frames.name
    assert stage.fps == 24 and stage.last == 5
    first = stage.snapshot()
    assert 0.005 < first.points.radius < 0.03
    control(stage, "frame").set(5)
    last = stage.snapshot()
    assert len(last.points.x) == len(last.points.colors) == len(first.points.x) - 10
    assert last.lines is first.lines and (last.points.colors[-1] != first.points.colors[-1]).any()
    lower, upper = last.box
    assert 1 < upper[2] < 1.2 and lower[2] == pytest.approx(0.9 - 4.9 * (5 / 24) ** 2, abs=0.02)
    assert last.legend[0][1] == pytest.approx(9.81 * 5 / 24, rel=0.01)


# Runs


@pytest.mark.parametrize("body", ["ball", "cube", "box.obj"])
def test_headless_recovered_wind_on_another_body(body, files, tmp_path):
    body = files.get(body, body)
    flags = ("--headless", "--frames", 2, "--out", tmp_path, "--blow", body)
    assert run(files["wind"], *flags) == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_wind_run(wind_run, tmp_path):  # noqa: F811
    stage = WindStage(WindRun.load(wind_run))
    screen = on_screen(stage, tmp_path)
    now = stage.snapshot()
    assert now.side.shape == (48, 64, 3) and len(stage.views) == 1
    along = np.diff(now.arrows.ends, axis=1)[:, 0]
    assert len(along) == 60 and (along[:, 0] > 0).mean() > 0.9  # it was pushed that way
    assert now.legend[1].startswith("force")
    still = screen.draw()
    control(stage, "frame").set(4)
    assert stage.time == pytest.approx(4 / FPS)
    changed = (screen.draw() != still).any(-1)
    assert changed[:, :200].any() and changed[:, 240:340].any()  # the clip, and the view
    screen.press("c")
    of_clip = screen.camera()
    np.testing.assert_allclose(of_clip.world_to_camera, stage.views[0].world_to_camera)
    screen.press("c")
    assert screen.eye.given is None
    stage.arrows = False
    without = screen.draw()
    screen.press("a")
    assert (screen.draw() != without).any(-1).sum() > 100


def test_arrows_that_do_not_stand_out_are_not_drawn(wind_run, tmp_path):  # noqa: F811
    run = WindRun.load(wind_run)
    strength = np.linalg.norm(run.force / run.mass[:, None], axis=2)
    least = np.array([0, *np.median(strength, axis=1)[1:] / 2])  # half as much is one std
    std = run.mass[:, None] * np.broadcast_to(least[:, None, None] / np.sqrt(3), run.force.shape)
    run = dataclasses.replace(run, std=std, metrics={"verdict": {"until": 2}})
    stage = WindStage(run)
    counts = []
    for frame in range(4):
        stage.go(frame)
        arrows = stage.snapshot().arrows
        counts.append(None if arrows is None else len(arrows.strengths))
    assert counts[0] == 60 and 0 < counts[1] < 60 and counts[3] is None
    assert "lost" in stage.snapshot().caption


def test_recovered_wind_blows_another_body_the_same_way(wind_run, tmp_path):  # noqa: F811
    stage = WindStage(WindRun.load(wind_run), "foam")
    screen = on_screen(stage, tmp_path)
    screen.press("w")
    screen.tick()
    other = screen.stage
    assert isinstance(other, Live) and "ball" in other.title
    e = other.ready()
    assert e.gravity() == 0 and e.material == "foam"
    start = center(other)
    net = e.forces().sum(0).double().cpu().numpy() / float(e.sim.mass.sum())
    recovered = stage.specific[0].mean(axis=0)
    assert np.linalg.norm(net - recovered) < 0.25 * np.linalg.norm(recovered)
    other.seek(3)
    moved = center(other) - start
    assert moved[0] > 0.8 * np.linalg.norm(moved) > 0
    control(other, "recovered wind").set(0.0)
    assert not e.forces().any()
    screen.press("b")
    assert screen.stage is stage


def test_wind_run_whose_clip_is_gone(wind_run, tmp_path):  # noqa: F811
    folder = shutil.copytree(wind_run, tmp_path / "moved")
    config = folder / "config.json"
    config.write_text(config.read_text().replace("clip.mp4", "gone.mp4"))
    stage = WindStage(WindRun.load(folder))
    assert stage.snapshot().side is None and "neither" in stage.message
    write_video(folder / "video.mp4", np.zeros((5, 48, 192, 3), np.uint8), FPS)
    assert WindStage(WindRun.load(folder)).snapshot().side.shape[:2] == (48, 64)


def test_trace_run_goes_past_the_last_frame(trace_run, tmp_path):  # noqa: F811
    stage = TraceStage(TraceRun.load(trace_run))
    screen = on_screen(stage, tmp_path)
    assert "observed" in stage.snapshot().caption
    control(stage, "time").set(0.6)
    assert stage.time == pytest.approx(0.6, abs=0.01) and "predicted" in stage.snapshot().caption
    expected = TraceRun.load(trace_run).model.tensors_at(stage.time)
    for name, value in stage.snapshot().splats.items():
        torch.testing.assert_close(value, expected[name].detach())
    pictures = {stage.color: screen.draw()}
    for _ in range(2):
        screen.press("o")
        pictures[stage.color] = screen.draw()
    assert set(pictures) == {"picture", "parts", "speed"}
    assert (pictures["parts"] != pictures["speed"]).any()
    assert set(np.unique(stage.labels())) <= {0, 1, 2}
    screen.press("a")
    assert stage.arrows and (screen.draw() != pictures["speed"]).any()
    assert stage.snapshot().arrows.ends.shape[1:] == (2, 3)
    screen.press("x")
    assert stage.show == "particles" and screen.draw().std() > 1
    assert len(stage.views) == 9
    screen.press("c")
    assert screen.eye.given is stage.views[0] and screen.draw().shape == (360, 640, 3)
    for _ in range(stage.last + 5):
        stage.seek(1)
    assert stage.time == pytest.approx(2 * stage.model.duration)


def test_trace_run_shows_the_parts_that_it_saved(trace_run, tmp_path):  # noqa: F811
    folder = shutil.copytree(trace_run, tmp_path / "run")
    found, saved = TraceStage(TraceRun.load(folder)).labels(), np.arange(80) % 3
    assert not np.array_equal(found, saved)
    np.savez(folder / "parts.npz", labels=saved)
    assert np.array_equal(TraceStage(TraceRun.load(folder)).labels(), saved)


# What cannot be shown


BAD = {
    "missing": ("nowhere.obj", "no such file"), "empty": (".", "not the folder of a run"),
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


@pytest.mark.parametrize("display", [None, ":987"])
def test_without_a_screen_one_sentence(display, files):
    env = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
    env |= {"DISPLAY": display} if display else {}
    command = [sys.executable, str(ROOT / "examples" / "view.py"), str(files["splats.ply"])]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: no screen"), done.stderr
    assert "mesa-vulkan-drivers" in lines[0] and "--headless" in lines[0]


def test_the_air_of_a_wind_blows_a_body_that_has_a_weight_and_a_drag(wind_run, tmp_path):  # noqa: F811
    folder = shutil.copytree(wind_run, tmp_path / "air")
    run = dataclasses.replace(WindRun.load(folder), folder=folder, drag=2.0)
    with pytest.raises(ValueError, match="knows no air"):
        WindStage(WindRun.load(folder)).blow("ball", drag=0.5)
    values = np.broadcast_to(np.float32([3.0, 0, 1.0]), (2, 3, 3, 3, 3))
    lower = run.x.min(axis=(0, 1)) - 1
    np.savez(folder / "air.npz", lower=lower, spacing=2.0, values=values, t=[0.0, 1.0])
    dataclasses.replace(run, air=np.broadcast_to([3.0, 0, 1.0], run.x.shape)).save()
    run = WindRun.load(folder)
    assert run.drag == 2.0 and run.air.shape == run.x.shape
    x, zero = torch.as_tensor(run.x[0]), torch.zeros(run.x[0].shape, dtype=torch.float64)
    own = run.field()(x, 0.0, zero, torch.as_tensor(run.mass)) / torch.as_tensor(run.mass)[:, None]
    np.testing.assert_allclose(own, np.tile([6.0, 0, 2.0 - 9.81], (len(x), 1)), rtol=1e-5)
    body = x.numpy(), np.full(len(x), 0.2 * 0.1 * 0.2 / len(x))  # the object itself, as foam
    given, shaped = (WindStage(run, "foam").blow(body, drag=drag).ready() for drag in (0.5, None))
    for e, rate in ((given, 0.5), (shaped, 2.0 * run.mass.sum() / float(shaped.sim.mass.sum()))):
        assert e.gravity() == pytest.approx(9.81) and e.down == pytest.approx([0, 0, -1])
        net = e.forces().sum(0).double().cpu().numpy() / float(e.sim.mass.sum())
        np.testing.assert_allclose(net, rate * np.array([3.0, 0, 1.0]), rtol=0.02, atol=1e-6)
