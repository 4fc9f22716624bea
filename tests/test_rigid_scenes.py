"""Rigid bodies in scene files: what they make, how films and exports show them, and mistakes."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

import taichi_phys as tp
from inverse.commands import main
from inverse.export.takes import open_take
from inverse.simulation.looks import moved_by
from inverse.simulation.run import SceneRun
from taichi_phys.io.records import read_rigid_paths


ROOT = Path(__file__).resolve().parent.parent
SCENE = """
[time]
frames = 3
[grid]
lower = [0, 0, 0]
upper = [0.8, 0.6, 0.8]
dx = 0.05
[[body]]
shape = "box"
lower = [0.15, 0.15, 0.15]
upper = [0.3, 0.3, 0.3]
spacing = 0.025
material = "jelly"
[[collider]]
shape = "plane"
point = [0, 0, 0.15]
normal = [0, 0, 1]
[[rigid]]
shape = "capsule"
start = [0.4, 0.3, 0.5]
end = [0.5, 0.3, 0.5]
radius = 0.1
density = 500.0
velocity = [0.0, 0.0, -1.0]
angular_velocity = [3.0, 0.0, 0.0]
friction = 0.2
color = "#ff0000"
[[rigid]]
shape = "mesh"
mesh = "cube.stl"
scale = 0.1
translation = [0.6, 0.3, 0.3]
mass = 2.0
[output]
video = false
report = false
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rigid")
    trimesh.creation.box((2.0, 2.0, 2.0)).export(folder / "cube.stl")
    (folder / "a.toml").write_text(SCENE)
    assert main(["simulate", str(folder / "a.toml"), "--out", str(folder / "out")]) == 0
    return folder


def test_a_scene_makes_rigid_bodies(run):
    sim, _ = tp.load_scene(run / "a.toml").build()
    rod, cube = sim.rigid_bodies
    assert sim.colliders[1:] == (rod, cube) and isinstance(sim.colliders[0], tp.Plane)
    assert rod.density == 500 and rod.velocity == (0, 0, -1) and rod.friction == 0.2
    assert cube.mass == 2 and cube.density == pytest.approx(2 / 0.2**3, rel=0.01)
    np.testing.assert_allclose(cube.center, (0.6, 0.3, 0.3), atol=1e-6)


def test_films_and_exports_show_them_where_they_are(run):
    loaded = SceneRun.load(run / "out")
    sim, _ = loaded.scene.build()
    end = loaded.state.rigid
    assert end.x[0, 2] < 0.47
    for solid, body, x, R in zip(
        moved_by(loaded.frames, sim.colliders)[1:], sim.rigid_bodies, end.x, end.rotations,
        strict=True,
    ):  # fmt: skip
        turn, shift = solid.pose(loaded.state.time)
        np.testing.assert_allclose(turn, R, atol=1e-9)
        np.testing.assert_allclose(turn @ body.center + shift, x, atol=1e-9)
        np.testing.assert_allclose(solid.pose(0.0)[1], 0, atol=1e-9)
    first, last = open_take(run / "out").props
    assert first.color == (1, 0, 0)
    np.testing.assert_allclose(first.pose(9.0)[0], end.rotations[0], atol=1e-9)
    assert len(last.vertices) == 8
    halfway = first.pose(loaded.state.time / 6)
    assert 0 < np.arccos((np.trace(halfway[0]) - 1) / 2) < 3.0 / 24


def test_folders_without_their_places_are_refused(run, tmp_path):
    sim, _ = tp.load_scene(run / "a.toml").build()
    with pytest.raises(ValueError, match=r"rigid.csv: cannot be read"):
        read_rigid_paths(tmp_path, sim.rigid_bodies)
    with pytest.raises(ValueError, match=r"rigid.csv: there is no body 2, expected 3 rigid"):
        read_rigid_paths(run / "out" / "frames", [*sim.rigid_bodies, sim.rigid_bodies[0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("density = 500.0", ""), "rigid 1: density: missing, and so is mass, expected exactly"),
        (("mass = 2.0", "mass = 2.0\ndensity = 1.0"), "line 33: rigid 2: mass: got both"),
        (("density = 500.0", "density = -1"), "line 23: rigid 1: density: got -1"),
        (('"capsule"', '"plane"'), "rigid 1: shape: got 'plane', expected one of box, sphere"),
        (("friction = 0.2", "motion = 3"), "rigid 1: motion: unknown key"),
    ],
)
def test_mistakes_are_named(run, tmp_path, change, message):
    assert change[0] in SCENE
    (tmp_path / "cube.stl").write_bytes((run / "cube.stl").read_bytes())
    (tmp_path / "b.toml").write_text(SCENE.replace(*change))
    with pytest.raises(ValueError) as caught:
        tp.load_scene(tmp_path / "b.toml")
    assert message in str(caught.value)


def test_the_scene_of_the_docs_floats_and_sinks(tmp_path):
    """Coarse and short: the light ball is above the heavy one, the film is written."""
    scene = ROOT / "assets" / "scenes" / "float_and_sink.toml"
    flags = ["--coarsen", "1.5", "--frames", "20", "--out", str(tmp_path / "out")]
    assert main(["simulate", str(scene), *flags]) == 0
    state = SceneRun.load(tmp_path / "out").state
    light, log, stone = state.rigid.x[:, 2]
    assert stone < 0.12 < light and stone < log < light
    assert (tmp_path / "out" / "video.mp4").stat().st_size > 1000
