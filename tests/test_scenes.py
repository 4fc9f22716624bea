"""Scene files: what they make, that every one in assets/scenes runs, and what mistakes say."""

import dataclasses
import datetime
import json
import math
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import PATIENCE
from hypothesis import given, settings
from hypothesis import strategies as st

import taichi_phys as tp
from inverse.simulation import film as simulation_film
from renderers.video import read_video
from taichi_phys.geometry import patterns, sampling
from taichi_phys.io import states
from taichi_phys.io.states import load_extras, read_frames
from taichi_phys.scenes.lines import find_lines, read_toml, tomllib
from taichi_phys.scenes.scene import load_scene, shrink
from taichi_phys.scenes.settings import scene_from_settings


ROOT = Path(__file__).resolve().parent.parent
SCENES = sorted((ROOT / "assets" / "scenes").glob("*.toml"))
NAMES = [path.stem for path in SCENES]
COARSEN = 2.5  # under 2,048 particles in all of them: one kind of kernels for each set of laws

sys.path.insert(0, str(ROOT / "examples"))
import simulate  # noqa: E402


SCENE = """\
title = "A test"
gravity = [0.0, 0.0, -9.81]

[simulation]
seed = 3

[time]
frames = 4
fps = 24

[grid]
lower = [0, 0, 0]
upper = [1.0, 1.0, 1.0]
dx = 0.0625

[[body]]
shape = "sphere"
center = [0.5, 0.5, 0.5]
radius = 0.15
spacing = 0.05
material = "jelly"

[[body]]
name = "cube"
shape = "box"
lower = [0.3, 0.3, 0.25]
upper = [0.4, 0.4, 0.35]
count = 27
velocity = [0.1, 0.0, 0.0]
density = 500.0
[body.material]
type = "elastic"
E = 1e4
nu = 0.3

[[collider]]
shape = "box"
center = [0.5, 0.5, 0.2]
half_size = [0.1, 0.1, 0.05]
rotation = [0, 90, 0]
motion = {velocity = [0.0, 0.0, 0.1], during = [0.0, 1.0]}

[[force]]
type = "drag"
rate = 1.0
air = [
    [1.0, 0.0, 0.0],
    {type = "vortex", center = [0.5, 0.5, 0.0], strength = 1.0, radius = 0.2},
    {type = "noise", scale = 0.2, speed = 1.0},
]
"""
SPHERE = 'shape = "sphere"\ncenter = [0.5, 0.5, 0.5]\nradius = 0.15'


def write(folder, text=SCENE):
    path = folder / "scene.toml"
    path.write_text(text, encoding="utf-8")
    return path


def run(*arguments):
    return simulate.main([str(a) for a in arguments])


def final_bytes(record):
    """The bytes of the arrays of a state, or of a record in it."""
    parts = []
    for name, value in ((f.name, getattr(record, f.name)) for f in dataclasses.fields(record)):
        if dataclasses.is_dataclass(value):
            parts.append(final_bytes(value))
        elif name != "time" and value is not None:
            parts.append(np.asarray(value.cpu() if torch.is_tensor(value) else value).tobytes())
    return b"".join(parts)


# Where things stand

# Every value is the number of its line.
DOCUMENT = """\
a = 1  # = 99
[t]  # [[body]]
'quoted # key' = 3
"esc\\"aped" = 4
x.y.z = 5
  x.y.w=6
[[body]]
k = 8
m = {p = 9, q = [9, 9], r.s = 9}
[body.sub]
v = 11
[[body.part]]
v = 13
[[body.part]]
v = 15

[[body]]
list = [ # [[x]]
    19,  # ] nineteen
    20, [20,
    21], {u = 21}
]
[[body.part]]
v = 24
[ t . "deep er" ]
v = 26
"""


def leaves(value, path=()):
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    else:
        yield path, value


def test_lines_of_all_values_are_found():
    lines = find_lines(DOCUMENT)
    found = list(leaves(tomllib.loads(DOCUMENT)))
    assert len(found) == 20
    assert {path: lines[path] for path, _ in found} == dict(found)
    assert lines["body", 1] == 17 and lines["body", 0, "part", 1] == 14 and lines["t", "x"] == 5
    assert lines["body", 1, "list"] == 18 and lines[("t",)] == 2 and lines["body",] == 7


def test_strings_and_dates_do_not_confuse_lines():
    text = (
        'a = """one\n[x]\nb = 2 \\""" still"""\nc = 4\nd = \'\'\'\n"""\n\'\'\'\ne = 8\n'
        'f = ["]", \'}\', "\\\\"] # "\ng = 1979-05-27 07:32:00\r\n'
        'h = {i = "#", j = 11}\nk = """"x""""\''
    )[:-1] + '\nl = 13\nm = 2000-01-01T00:00:00Z # x = 1\nn = """\\\n  """\no = 17'
    lines = find_lines(text)
    assert set(tomllib.loads(text)) == set("acdefghklmno")
    expected = dict(zip("acdefghklmno", (1, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 17), strict=True))
    assert {k: lines[k,] for k in expected} == expected
    assert lines["h", "j"] == 11


@pytest.mark.parametrize("path", SCENES, ids=NAMES)
def test_lines_of_scenes_hold_their_keys(path):
    data, lines = read_toml(path)
    text = path.read_text(encoding="utf-8").splitlines()
    found = [p for p, _ in leaves(data)]
    assert len(found) > 15
    for leaf in found:
        key = [k for k in leaf if isinstance(k, str)][-1]
        assert re.search(rf"\b{key}\b *=", text[lines[leaf[: leaf.index(key) + 1]] - 1]), leaf


# What scenes make


def test_scene_is_what_the_api_makes(tmp_path):
    scene = load_scene(write(tmp_path))
    sim, force = scene.build()
    x, volume = tp.sample_sphere((0.5, 0.5, 0.5), 0.15, spacing=0.05, seed=3)
    ball, density = tp.preset("jelly")
    y, more = tp.sample_box((0.3, 0.3, 0.25), (0.4, 0.4, 0.35), count=27, seed=4)
    v = np.tile([0.1, 0, 0], (len(y), 1))
    cube = tp.Particles(y, v=v, density=500.0, volume=more, material=tp.Elastic(E=1e4, nu=0.3))
    turn = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    turned = tp.Box(
        center=(0.5, 0.5, 0.2), half_size=(0.1, 0.1, 0.05),
        pose=lambda t: (turn, [0.3, 0, 0.7 + 0.1 * min(t, 1.0)]),
    )  # fmt: skip
    same = tp.MPM(
        particles=[tp.Particles(x, density=density, volume=volume, material=ball), cube],
        grid=tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=1 / 16),
        colliders=[turned],
    )
    assert torch.equal(sim.mass, same.mass) and torch.equal(sim.parameters(), same.parameters())
    assert final_bytes(sim.initial_state()) == final_bytes(same.initial_state())
    assert sim.cfl == same.cfl and sim.grid == same.grid and torch.equal(sim.gravity, same.gravity)
    made = scene.colliders[0].make(tmp_path)
    for t in (0.0, 0.3, 1.0, 2.0):
        for one, two in zip(made.pose(t), turned.pose(t), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-12)
    air = tp.Vortex(center=(0.5, 0.5, 0), strength=1.0, radius=0.2) + (1.0, 0, 0)
    air = air + tp.Noise(scale=0.2, speed=1.0, seed=5)  # 3, the first force, the third air
    state = sim.initial_state()
    wanted = tp.Drag(air=air, rate=1.0)(state.x, 0.7, state.v, sim.mass)
    assert torch.allclose(force(state.x, 0.7, state.v, sim.mass), wanted, rtol=1e-5)


def test_motions_follow_one_another(tmp_path):
    motion = """[
        {velocity = [1, 0, 0], during = [1, 2]},
        {angular_velocity = [0, 0, 1.5707963267948966], center = [0, 0, 0], during = [3, 4]}, ]"""
    text = re.sub(r"motion = .*", f"motion = {motion}", SCENE).replace("[0, 90, 0]", "[0, 0, 0]")
    pose = load_scene(write(tmp_path, text)).colliders[0].make(tmp_path).pose
    for t, place in {0: (0, 0), 1.5: (0.5, 0), 2.5: (1, 0), 4: (0, 1), 9: (0, 1)}.items():
        np.testing.assert_allclose(pose(t)[1][:2], place, atol=1e-12)
    np.testing.assert_allclose(pose(9)[0] @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_velocity_of_spinning_bodies(tmp_path):
    text = SCENE.replace("velocity = [0.1, 0.0, 0.0]", "angular_velocity = [0, 0, 2]")
    body = load_scene(write(tmp_path, text)).bodies[1]
    particles = body.particles(tmp_path, load_scene(write(tmp_path, text)).grid)
    arm = particles.x - particles.x.mean(dim=0)
    wanted = torch.stack([-2 * arm[:, 1], 2 * arm[:, 0], torch.zeros(len(arm))], dim=1)
    assert torch.allclose(particles.v, wanted, atol=1e-9)
    assert abs(particles.v.sum(dim=0)).max() < 1e-9


def test_boxes_turn_about_their_centre(tmp_path):
    long = "lower = [0.3, 0.47, 0.47]\nupper = [0.7, 0.53, 0.53]\nrotation = [0, 0, 30]"
    text = re.sub(r"lower = \[0.3.*\n.*\ncount = 27", long + "\ncount = 600", SCENE)
    scene = load_scene(write(tmp_path, text))
    x = scene.bodies[1].particles(tmp_path, scene.grid).x.cpu().numpy() - 0.5
    assert abs(x.mean(axis=0)).max() < 0.005
    axis = np.linalg.svd(x)[2][0]
    np.testing.assert_allclose(axis * np.sign(axis[0]), [math.sqrt(0.75), 0.5, 0], atol=0.01)


def test_files_are_relative_to_the_scene_and_placed(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "assets" / "scenes" / "meshes", tmp_path / "deep" / "meshes")
    place = 'mesh = "meshes/ring.stl"\nscale = 0.2\nrotation = [0, 90, 0]\n'
    place += "translation = [0.5, 0.5, 0.4]"
    text = SCENE.replace(SPHERE, 'shape = "mesh"\n' + place)
    box = text[text.index("[[collider]]") : text.index("motion")]
    solid = text.replace(box, f'[[collider]]\nshape = "mesh"\ncells = 8\n{place}\n')
    path = write(tmp_path / "deep", solid)
    monkeypatch.chdir(tmp_path)
    scene = load_scene(path.relative_to(tmp_path))
    ring = scene.bodies[0].particles(scene.path.parent, scene.grid)
    low, high = ring.x.min(dim=0).values, ring.x.max(dim=0).values
    assert torch.allclose((low + high) / 2, torch.tensor([0.5, 0.5, 0.4]).double(), atol=0.03)
    extent = high - low  # the ring's axis z now points along x
    assert extent[0] < 0.11 and 0.3 < extent[1] < 0.4 and 0.3 < extent[2] < 0.4
    made = scene.colliders[0].make(scene.path.parent)
    np.testing.assert_allclose(np.ptp(made.mesh.vertices, axis=0), (0.1, 0.4, 0.4), atol=1e-3)


def test_clouds_are_read_from_ply(tmp_path):
    x, _ = tp.sample_sphere((0.5, 0.5, 0.5), 0.15, spacing=0.02)
    zeros = torch.zeros(len(x), 3, 3)
    cloud = tp.State(x=torch.from_numpy(x), v=torch.zeros(len(x), 3), C=zeros, F=zeros)
    tp.save_ply(tmp_path / "ball.ply", cloud)
    shape = 'shape = "cloud"\npoints = "ball.ply"\nvoxel = 0.03'
    text = SCENE.replace(SPHERE, shape)
    scene = load_scene(write(tmp_path, text))
    ball = scene.bodies[0].particles(tmp_path, scene.grid)
    assert abs(ball.volume.sum() / (4 / 3 * math.pi * 0.15**3) - 1) < 0.25


def test_forces_act_in_their_time(tmp_path):
    text = SCENE.replace("rate = 1.0\n", "rate = 1.0\nduring = [0.5, 1.0]\n")
    sim, force = load_scene(write(tmp_path, text)).build()
    state = sim.initial_state()
    acts = [bool(force(state.x, t, state.v, sim.mass).any()) for t in (0.49, 0.5, 0.99, 1.0)]
    assert acts == [False, True, True, False]


def test_shrink_keeps_the_room(tmp_path):
    scene = load_scene(write(tmp_path))
    small = shrink(scene, frames=2, coarsen=1.5)
    assert small.time.frames == 2 and small.grid.dx == 1.5 * scene.grid.dx
    for name, sign in (("lower", 1), ("upper", -1)):
        rooms = [np.add(getattr(s.grid, name), sign * 3 * s.grid.dx) for s in (scene, small)]
        np.testing.assert_allclose(*rooms)
    assert small.bodies[0].options["spacing"] == pytest.approx(0.075)
    assert small.bodies[1].options["count"] == 8
    assert shrink(scene, frames=99).time.frames == 4
    for bad in ({"frames": 0}, {"coarsen": 0.0}, {"coarsen": math.nan}, {"frames": 1.5}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            shrink(scene, **bad)
    assert shrink(scene, coarsen=50).grid.shape == (8, 8, 8)


# Running them


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


@pytest.mark.parametrize("path", SCENES, ids=NAMES)
def test_every_scene_runs_and_repeats_bit_for_bit(path, runs):
    out = runs / path.stem
    assert run(path, "--frames", 2, "--coarsen", COARSEN, "--out", out) == 0
    state = tp.load_state(out / "checkpoints" / "state.npz")
    scene = shrink(load_scene(path), frames=2, coarsen=COARSEN)
    sim, force = scene.build()
    assert 40 < len(sim.mass) < 2048
    *_, again = sim.run(frames=2, fps=scene.time.fps, force=force)
    assert final_bytes(again) == final_bytes(state) and again.time == state.time
    assert (state.x != sim.initial_state().x).any()
    assert len(read_video(out / "video.mp4")) == len(read_frames(out / "frames")) == 3
    config = json.loads((out / "config.json").read_text())["scene"]
    assert config["grid"]["dx"] == scene.grid.dx and config["time"]["frames"] == 2
    assert len(config["bodies"]) == len(scene.bodies) and config["bodies"][0]["material"]["type"]
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["particles"] == len(sim.mass) and len(metrics["series"]["t"]) == 3
    center = (sim.mass @ state.x / sim.mass.sum()).tolist()
    np.testing.assert_allclose(metrics["series"]["center_of_mass"][-1], center, atol=1e-4)
    energy = 0.5 * float(sim.mass @ state.v.square().sum(dim=1))
    assert metrics["series"]["kinetic_energy"][-1] == pytest.approx(energy, rel=1e-3)
    assert scene.title in (out / "report.html").read_text(encoding="utf-8")


def test_same_bits_in_another_process(tmp_path, runs):
    path = ROOT / "assets" / "scenes" / "jelly_drop.toml"
    out = runs / "jelly_drop"
    arguments = ["--frames", "2", "--coarsen", str(COARSEN)]
    if not out.exists():
        assert run(path, *arguments, "--out", out) == 0
    command = [sys.executable, ROOT / "examples" / "simulate.py", path, *arguments, "--no-video"]
    subprocess.run([*command, "--out", tmp_path, "--threads", "1"], check=True, timeout=PATIENCE)
    one, two = (tp.load_state(p / "checkpoints" / "state.npz") for p in (out, tmp_path))
    assert final_bytes(one) == final_bytes(two)
    assert not (tmp_path / "video.mp4").exists()


def test_the_film_shows_bodies_and_colliders_in_their_colours(tmp_path):
    text = SCENE[: SCENE.index("[[force]]")].replace("rotation = [0, 90, 0]", 'color = "#00ff00"')
    text = text.replace("velocity = [0.0, 0.0, 0.1]", "velocity = [3.0, 0.0, 0.0]")
    text = text.replace("density = 500.0", 'color = "#0000ff"')
    text = text.replace('"jelly"', '"jelly"\ncolor = [1, 0, 0]').replace("fps = 24", "fps = 48")
    look = "azimuth = 0\nelevation = 0\nwidth = 96\nheight = 64\nbackground = [0, 0, 0]"
    path = write(tmp_path, f"{text}[camera]\n{look}\n")
    assert run(path, "--out", tmp_path / "out", "--frames", 2) == 0
    film = read_video(tmp_path / "out" / "video.mp4")
    assert len(film) == 3 and film.fps == 48
    columns = []
    for picture in film.frames.astype(float):
        picture[:20, :40] = 0  # the caption
        pure = (picture - picture.sum(axis=2, keepdims=True) / 2).clip(0)
        assert pure.sum(axis=(0, 1)).min() > 2000
        columns.append(
            [(pure[..., c].sum(axis=0) @ range(96)) / pure[..., c].sum() for c in range(3)]
        )
    (red, green, blue), (_, later, _) = columns[0], columns[-1]
    assert blue < red - 4 and abs(green - red) < 3 and later > green + 3


QUICK = SCENE + '\n[camera]\nwidth = 64\nheight = 48\n[output]\nframes = "npz"\nevery = 2\n'


def everything(out):
    """The final state and all frames, as bytes."""
    frames = sorted((out / "frames").glob("frame_*"))
    state = final_bytes(tp.load_state(out / "checkpoints" / "state.npz"))
    frames = [(f.name, {k: v.tobytes() for k, v in np.load(f).items()}) for f in frames]
    return state, frames, json.loads((out / "frames" / "frames.json").read_text())


def test_resumed_runs_are_the_same_bit_for_bit(tmp_path, monkeypatch, capsys):
    path = write(tmp_path, QUICK.replace("frames = 4", "frames = 7"))
    assert run(path, "--out", tmp_path / "whole") == 0
    times = [frame.time for frame in read_frames(tmp_path / "whole" / "frames")]
    np.testing.assert_allclose(times, np.arange(4) / 12)
    assert read_video(tmp_path / "whole" / "video.mp4").fps == 12

    advance, calls = tp.MPM.advance, []

    def interrupted(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return advance(self, *args, **kwargs)

    out = tmp_path / "stopped"
    monkeypatch.setattr(tp.MPM, "advance", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    assert run(path, "--out", out) == 130
    signal.signal(signal.SIGINT, before)
    assert "--resume" in capsys.readouterr().err
    assert load_extras(out / "checkpoints" / "state.npz")["frame"] == 3
    assert len(read_frames(out / "frames")) == 2 and not (out / "video.mp4").exists()
    assert run(path, "--out", out, "--resume", "--frames", 5) == 0
    assert len(calls) == 6 and load_extras(out / "checkpoints" / "state.npz")["frame"] == 5
    assert run(path, "--out", out, "--resume") == 0
    assert everything(out) == everything(tmp_path / "whole")
    assert len(read_video(out / "video.mp4")) == 4
    assert run(path, "--out", out, "--frames", 2) == 0  # anew
    assert len(read_frames(out / "frames")) == 2


def test_a_run_that_is_stopped_while_it_writes_a_frame(tmp_path, monkeypatch):
    path = write(tmp_path, QUICK)
    assert run(path, "--out", tmp_path / "whole") == 0
    out, lost = tmp_path / "stopped", "frame_0001.npz"
    kept = states.atomic_path

    def interrupted(path):
        if Path(path).name == lost:
            monkeypatch.setattr(states, "atomic_path", kept)
            raise KeyboardInterrupt
        return kept(path)

    monkeypatch.setattr(states, "atomic_path", interrupted)
    assert run(path, "--out", out) == 130
    assert load_extras(out / "checkpoints" / "state.npz")["frame"] == 2
    assert not (out / "frames" / lost).exists()
    assert run(path, "--out", out, "--resume") == 0
    assert everything(out) == everything(tmp_path / "whole")


BOX = """
[[body]]
shape = "box"
lower = [LEFT, 0.4, 0.4]
upper = [RIGHT, 0.6, 0.6]
spacing = 0.05
material = "jelly"
color = "COLOR"
"""
REST = """
[[collider]]  # carries the second box out
shape = "box"
center = [0.8, 0.5, 0.5]
half_size = [0.25, 0.5, 0.5]
contact = "sticky"
motion = {velocity = [6.0, 0.0, 0.0]}
opacity = 0.0
[camera]
azimuth = 0
elevation = 0
width = 96
height = 64
background = [0, 0, 0]
"""


def leaky() -> str:
    """The head of a scene whose grid has no walls."""
    head = SCENE[: SCENE.index("[[body]]")].replace("seed = 3", 'outside = "remove"')
    return head.replace("dx = 0.0625", 'dx = 0.0625\ncontact = "open"')


@pytest.mark.parametrize("format", ["ply", "npz"])
def test_what_left_the_grid_is_not_in_the_film(tmp_path, format):
    text = leaky()
    for left, right, color in (("0.2", "0.4", "#ff0000"), ("0.7", "0.9", "#0000ff")):
        text += BOX.replace("LEFT", left).replace("RIGHT", right).replace("COLOR", color)
    path = write(tmp_path, f'{text}{REST}[output]\nframes = "{format}"\n')
    assert run(path, "--out", tmp_path / "out") == 0
    state = tp.load_state(tmp_path / "out" / "checkpoints" / "state.npz")
    assert state.removed[len(state.x) // 2 :].all() and not state.removed.all()
    film = read_video(tmp_path / "out" / "video.mp4").frames.astype(float)
    film[:, :20, :40] = 0  # the caption
    red, _, blue = ((film - film.sum(axis=3, keepdims=True) / 2).clip(0)).sum(axis=(1, 2)).T
    assert red.min() > 2000 and blue[0] > 2000 and blue[-1] < 0.02 * blue[0]
    series = json.loads((tmp_path / "out" / "metrics.json").read_text())["series"]
    center = np.array(series["center_of_mass"])[:, 0]
    assert center[0] == pytest.approx(0.55, abs=0.01) and center[-1] == pytest.approx(0.3, abs=0.02)
    assert series["top_speed"][-1] == pytest.approx(9.81 * 4 / 24, rel=0.02)  # not that of the box
    energy = 0.5 * state.v[:64].square().sum(1).mean() * 0.2**3 * tp.preset("jelly")[1]
    assert series["kinetic_energy"][-1] == pytest.approx(energy.item(), rel=0.01)
    report = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "density (kg/m³)" in report and "m^3" not in report
    assert f"{int(state.removed.sum())} left the grid" in report


def test_what_left_the_grid_does_not_count_for_colours(tmp_path, monkeypatch):
    """First in a scene of which nothing is left."""
    text = leaky()
    text += BOX.replace("LEFT", "0.7").replace("RIGHT", "0.9").replace("COLOR", "#0000ff") + REST
    limits = []
    kept = simulation_film.color_map
    monkeypatch.setattr(
        simulation_film,
        "color_map",
        lambda v, ends, *name: limits.append(ends) or kept(v, ends, *name),
    )
    slow = BOX.replace("LEFT", "0.2").replace("RIGHT", "0.4").replace("COLOR", "#ff0000")
    for more in ("", slow):
        path = write(tmp_path, f'{text}[output]\ncolor = "speed"\n{more}')
        assert run(path, "--out", tmp_path / "out") == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert 0 < metrics["removed"] < metrics["particles"]
    assert read_frames(tmp_path / "out" / "frames")[4].removed.sum() == metrics["removed"]
    assert limits[0] == (0, 0) and limits[-1] == pytest.approx((0, 9.81 * 4 / 24), rel=0.02)


@pytest.mark.parametrize("path", SCENES, ids=NAMES)
def test_a_scene_is_made_again_from_its_settings(path):
    scene = shrink(load_scene(path), frames=3, coarsen=COARSEN)
    again = scene_from_settings(json.loads(json.dumps(scene.settings())), path)
    assert again.settings() == scene.settings()
    for one, two in zip(scene.bodies, again.bodies, strict=True):
        assert repr(one.material) == repr(two.material) and one.options == two.options
    (sim, force), (other, same_force) = scene.build(), again.build()
    assert torch.equal(sim.initial_state().x, other.initial_state().x)
    assert (force is None) == (same_force is None)
    if force is not None:
        x, v = sim.initial_state().x, sim.initial_state().v
        assert torch.equal(force(x, 0.1, v, sim.mass), same_force(x, 0.1, v, sim.mass))


def test_settings_that_are_no_scene_are_refused():
    scene = load_scene(SCENES[0])
    for change in ({"bodies": 3}, {"grid": {}}, {"time": {"wings": 2}}):
        with pytest.raises(ValueError, match="scene: got settings of another version"):
            scene_from_settings(scene.settings() | change, "x.toml")
    with pytest.raises(ValueError, match="scene: got settings of another version"):
        scene_from_settings({}, "x.toml")


def test_resume_refuses_another_scene(tmp_path, capsys):
    path = write(tmp_path, QUICK)
    out = tmp_path / "out"
    assert run(path, "--out", out, "--frames", 2) == 0
    path.write_text(QUICK.replace("width = 64", "width = 80"))  # another picture is fine
    assert run(path, "--out", out, "--frames", 2, "--resume") == 0
    assert read_video(out / "video.mp4").frames.shape[2] == 80
    assert run(path, "--out", out, "--frames", 1, "--resume") == 2
    assert "already simulated 2 frames" in capsys.readouterr().err
    path.write_text(QUICK.replace("E = 1e4", "E = 2e4"))
    assert run(path, "--out", out, "--resume") == 2
    assert "bodies changed" in capsys.readouterr().err
    path.write_text(QUICK.replace('"npz"', '"none"'))
    assert run(path, "--out", out, "--frames", 2) == 0
    assert not (out / "frames").exists() and (out / "video.mp4").exists()
    assert run(path, "--out", out, "--resume") == 2
    assert "frames of this run were removed" in capsys.readouterr().err


def test_failures_of_the_simulation_say_when(tmp_path, capsys):
    text = QUICK[: QUICK.index("[[force]]")] + QUICK[QUICK.index("[camera]") :]
    push = '[[force]]\ntype = "uniform"\nacceleration = [1e7, 0, 0]\nduring = [0.04, 1.0]\n'
    path = write(tmp_path, text + push)
    assert run(path, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "scene.toml: at frame 2, t = 0.042 s: particle" in error
    assert load_extras(tmp_path / "out" / "checkpoints" / "state.npz")["frame"] == 1


def test_check_and_mistakes_on_the_command_line(tmp_path, capsys):
    path = write(tmp_path)
    assert run(path, "--check", "--out", tmp_path / "out") == 0
    assert "cube: 27" in capsys.readouterr().out and not (tmp_path / "out").exists()
    assert run(write(tmp_path, SCENE.replace("dx =", "dy =")), "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "line 14" in error
    assert run(tmp_path / "nothing.toml") == 2
    assert "nothing.toml: cannot be read" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(path, "--frame", 3)
    looks = {"[output]\ncolormap = 'virids'": "colormap: got 'virids'.*did you mean 'viridis'"}
    looks["[camera]\neye = [0, 0, 1]\ntarget = [0, 0, 0]"] = (
        "line 52: camera: eye: .*straight above"
    )
    for text, message in looks.items():
        assert run(write(tmp_path, SCENE + text), "--out", tmp_path / "out") == 2
        assert re.search(message, capsys.readouterr().err)
        assert not (tmp_path / "out").exists()


# Mistakes: what is replaced by what, the line that is named, and what the message says

MISTAKES = {
    "unknown key": ("spacing =", "spacng =", 20, "body 1: spacng: unknown .*; did you mean 'spac"),
    "unknown table": ("[time]", "[tme]", 7, "tme: unknown key.*one of title, .*'time'"),
    "unknown in [time]": ("frames = 4", "frame = 4", 8, "time: frame: .*did you mean 'frames'"),
    "key of another shape": ("radius = 0.15", "half_size = [1, 1, 1]", 19, "for a body with shape"),
    "unknown in air": ("speed = 1.0", "sped = 1.0", 49, "air 3: sped: .*did you mean 'speed'"),
    "unknown in material": ("nu = 0.3", "mu = 0.3", 34, "material: mu: unknown.*type, E, nu"),
    "misspelt shape": ("shape = \"sphere\"", "shap = 1", 17, "shap: unknown key.*'shape'"),
    "wrong type": ("dx = 0.0625", 'dx = "small"', 14, "grid: dx: got 'small', expected a finite"),
    "bool": ("radius = 0.15", "radius = true", 19, "radius: got true, expected a finite"),
    "date": ("frames = 4", "frames = 2020-01-01", 8, "frames: got datetime.*whole number from 1"),
    "float for count": ("count = 27", "count = 27.5", 28, "count: got 27.5, expected a whole"),
    "two numbers": ("center = [0.5, 0.5, 0.5]", "center = [0.5, 0.5]", 18, "center: .*3 finite"),
    "nan": ("radius = 0.15", "radius = nan", 19, "radius: got nan, expected a finite number"),
    "nan in vector": ("[0.1, 0.0, 0.0]", "[nan, 0.0, 0.0]", 29, "velocity: got .*nan.* 3 finite"),
    "inf": ("E = 1e4", "E = inf", 33, "material: E: got inf, expected a finite number"),
    "negative": ("spacing = 0.05", "spacing = -0.05", 20, "spacing: got -0.05, expected .*> 0"),
    "negative E": ("E = 1e4", "E = -1e4", 33, "body 2: material: E: got -10000, expected > 0"),
    "nu": ("nu = 0.3", "nu = 0.5", 34, r"nu: got 0.5, expected a value in \(-1, 0.5\)"),
    "half size": ("half_size = [0.1", "half_size = [-0.1", 39, "half_size: .*3 positive lengths"),
    "missing key": ("radius = 0.15\n", "", 16, "body 1: radius: missing, expected a finite number"),
    "missing E": ("E = 1e4\n", "", 31, "body 2: material: E: missing"),
    "missing dx": ("dx = 0.0625\n", "", 11, "grid: dx: missing, expected a finite number"),
    "no spacing": ("spacing = 0.05\n", "", 16, "spacing: missing, and so is count"),
    "both": ("count = 27", "count = 27\nspacing = 0.1", 28, "count: got both, expected exactly"),
    "no center": ("velocity = [0.0, 0.0, 0.1]", "angular_velocity = [0, 0, 1]", 41, "center"),
    "enum": ('shape = "sphere"', 'shape = "spere"', 17, "got 'spere', expected one of box, sphere, "
             "mesh, cloud, gaussians; did you mean 'sphere'"),
    "preset": ('"jelly"', '"jely"', 21, "material: got 'jely', .*rubber.*did you mean 'jelly'"),
    "type": ('"elastic"', '"plastic"', 32, "type: got 'plastic', .*did you mean 'elastic'"),
    "air type": ('"noise"', '"nois"', 49, "air 3: type: .*constant, vortex, noise; .*'noise'"),
    "interval": ("during = [0.0, 1.0]", "during = [1.0, 0.0]", 41, r"during: .*t0 < t1"),
    "no rate": ("rate = 1.0\n", "", 43, "force 1: .*rate"),
    "zero rate": ("rate = 1.0", "rate = 0", 45, "force 1: rate: got 0, expected > 0"),
    "radius in air": ("radius = 0.2}", "radius = 0}", 48, "force 1: air 2: radius: got 0"),
    "table for tables": ("[[force]]", "[force]", 43, r"force: got a table, expected .*\[\[force"),
    "number for table": ('title = "A test"', "camera = 3", 1, "camera: got 3, expected a table"),
    "grid too fine": ("dx = 0.0625", "dx = 1e-5", 11, "dx: got .*at most 2"),
    "grid too coarse": ("dx = 0.0625", "dx = 0.5", 11, "lower, upper, dx: got .*at least 8"),
    "missing file": (SPHERE, 'shape = "mesh"\nmesh = "no.stl"', 18, "mesh: got 'no.stl', .*file"),
    "syntax": ("fps = 24", "fps = = 24", 9, "not valid TOML"),
    "end of file": ("1.0},\n]", "1.0},", 49, "not valid TOML"),
    "twice": ("fps = 24", "fps = 24\nfps = 25", 10, "not valid TOML .*overwrite"),
    # found when it is built
    "upside down": ("upper = [0.4,", "upper = [0.2,", 27, "body 2: upper: got a box with edges of"),
    "coarser than the body": ("spacing = 0.05", "spacing = 5", 20, "spacing: got 5 m, expected at"),
    "outside": ("radius = 0.15", "radius = 0.6", 16, "body 1: .*lie outside the grid.*expected"),
    "friction": ("rotation = [0, 90, 0]", "friction = -1", 40, "collider 1: friction: got -1"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_name_file_line_key_and_what_is_allowed(name, tmp_path):
    old, new, line, message = MISTAKES[name]
    assert old in SCENE
    path = write(tmp_path, SCENE.replace(old, new, 1))
    with pytest.raises(ValueError) as caught:
        load_scene(path).build()
    text = str(caught.value)
    assert text.startswith(f"{path}, line {line}: "), text
    assert "\n" not in text and (message is None or re.search(message, text)), text


@pytest.mark.parametrize(
    "data, message",
    [
        (b"\xff\xfe", "line 1: not text in UTF-8"),
        (b"a = 1\nb = '\xff'\n", "line 2: not text in UTF-8"),
        (b"a = " + b"[" * 100_000, "not valid TOML"),
        (b"title = " + b"1" * 5000, "not valid TOML|title"),
        (b"", "line 1: grid: missing"),
        (b"\xef\xbb\xbftitle = 3", "line 1: title: got 3, expected text"),
    ],
)
def test_files_that_are_no_scenes(data, message, tmp_path):
    path = tmp_path / "a.toml"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        load_scene(path)
    assert str(path) in str(caught.value)


def test_paths_that_are_no_files(tmp_path):
    for path in (tmp_path, tmp_path / "no.toml", f"{tmp_path}/a\0b.toml"):
        with pytest.raises(ValueError, match="cannot be read"):
            load_scene(path)


# Fuzzing

HOSTILE = [
    math.nan, math.inf, -math.inf, -1, 0, 1, -0.5, 3, 1e308, -1e300, 1e-300, 10**30, True, "", "no",
    "jelly", "box", [], {}, [0, 0, 0], [math.nan] * 3, [1, 2], [1e200, 0, 0], ["a"], [[1]], [{}],
    {"type": "noise"}, datetime.date(2020, 1, 1), datetime.time(1, 2), "x" * 300, "\0", "/",
]  # fmt: skip


def toml(value):
    """A value as TOML, tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else repr(value)


def places(value, path=()):
    """Paths of everything in a scene."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from places(item, (*path, key))


@st.composite
def mutants(draw):
    """A scene file with one thing changed, and the names one of which its error should hold."""
    name = draw(st.sampled_from([*SCENES, None]))
    data = tomllib.loads(SCENE if name is None else name.read_text(encoding="utf-8"))
    path = draw(st.sampled_from(sorted(places(data), key=str)))
    parent = data
    for key in path[:-1]:
        parent = parent[key]
    names = {key for key in path if isinstance(key, str)}
    what = draw(st.sampled_from(["replace", "replace", "replace", "delete", "rename"]))
    if what == "replace":
        parent[path[-1]] = draw(st.sampled_from(HOSTILE))
        names = {[key for key in path if isinstance(key, str)][-1]}
    elif what == "delete" or isinstance(path[-1], int):
        del parent[path[-1]]
    else:
        new = draw(st.sampled_from([path[-1][:-1], path[-1] + "s", "é", "a.b", ""]))
        parent[new] = parent.pop(path[-1])
        names.add(new)
    return "\n".join(f"{json.dumps(k)} = {toml(v)}" for k, v in data.items()), names


@settings(max_examples=400, deadline=None, derandomize=True)
@given(mutants())
def test_mutated_scenes_raise_only_errors_that_name_the_key(tmp_path_factory, mutant):
    text, names = mutant
    folder = tmp_path_factory.getbasetemp() / "mutants"
    if not folder.exists():
        shutil.copytree(ROOT / "assets" / "scenes" / "meshes", folder / "meshes")
    path = write(folder, text)
    try:
        scene = load_scene(path)
    except ValueError as error:
        message = str(error)
        assert message.startswith(f"{path}, line "), message
        assert "\n" not in message and len(message) < 900, message
        assert any(name in message.split(": ", 1)[1] for name in names), (names, message)
        return
    json.dumps(scene.settings())
    limits = sampling.MAX_COUNT, sampling.MAX_BLUE
    sampling.MAX_COUNT = sampling.MAX_BLUE = patterns.MAX_COUNT = 20_000
    try:
        small = shrink(scene, coarsen=3)
        if math.prod(small.grid.shape) < 100_000 and not any(
            c.shape == "mesh" for c in small.colliders
        ):
            small.build()
    except ValueError as error:
        assert str(error).startswith(f"{path}, line "), error
    finally:
        sampling.MAX_COUNT, sampling.MAX_BLUE = limits
        patterns.MAX_COUNT = limits[0]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_mutated_text_raises_only_errors_with_a_line(tmp_path_factory, data):
    at = data.draw(st.integers(0, len(SCENE)))
    end = data.draw(st.integers(at, min(len(SCENE), at + 12)))
    new = data.draw(st.text(st.sampled_from("[]{}=\"'\\\n#.,0eé -\t"), max_size=6))
    path = write(tmp_path_factory.getbasetemp(), SCENE[:at] + new + SCENE[end:])
    try:
        load_scene(path)
    except ValueError as error:
        assert re.match(rf"{re.escape(str(path))}, line \d+: ", str(error)), error


@pytest.mark.parametrize("resume", [(), ("--resume",)])
@pytest.mark.parametrize("name", ["file", "file/out"])
def test_a_file_where_the_results_belong_is_one_sentence(tmp_path, capsys, name, resume):
    (tmp_path / "file").write_text("")
    path = write(tmp_path, SCENE)
    assert run(path, "--out", tmp_path / name, *resume) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and "file is a file, not a folder" in error[0]


TOUCHING = (
    QUICK
    + """
[[body]]
name = "lid"
shape = "box"
lower = [0.4, 0.4, 0.7]
upper = [0.5, 0.5, 0.8]
spacing = 0.05
material = {type = "elastic", E = 1e4, nu = 0.3}

[contact]
"""
)


def test_contact_of_bodies(tmp_path):
    scene = load_scene(
        write(tmp_path, TOUCHING + 'friction = 0.3\npairs = [["body 1", "lid", 0.5]]')
    )
    contact = scene.build()[0].contact
    assert contact.friction == 0.3 and contact.pairs == {(0, 2): 0.5}
    again = scene_from_settings(json.loads(json.dumps(scene.settings())), scene.path)
    assert again.build()[0].contact == contact
    plain = load_scene(write(tmp_path, TOUCHING))
    assert plain.build()[0].contact.friction == 0
    stuck = load_scene(write(tmp_path, TOUCHING + 'together = [["lid", "body 1"]]'))
    assert stuck.build()[0].contact.groups == (0, 1, 0)
    assert load_scene(write(tmp_path, QUICK)).build()[0].contact is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('pairs = [["body 1", "lit", 0.5]]', "contact: pairs: got 'lit', expected .*'lid'"),
        ('pairs = [["body 1", "lid"]]', "contact: pairs: .*expected a list of"),
        ('together = ["lid"]', "contact: together: .*expected a list of lists"),
        ("friction = -1", "contact: friction: got -1"),
    ],
)
def test_contact_of_bodies_is_checked(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        load_scene(write(tmp_path, TOUCHING + line)).build()
