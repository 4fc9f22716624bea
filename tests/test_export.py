"""The command `export`: runs of all kinds as files of other programs, read back."""

import shutil
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
import trimesh
from pxr import Gf, Usd, UsdGeom, UsdShade
from small_runs import trace_run, wind_run  # noqa: F401

import taichi_phys as tp
from inverse.commands import main
from inverse.export.takes import open_take
from inverse.trace import TraceRun
from inverse.wind import WindRun
from renderers.orbit import look_at


FRAMES, FPS = 3, 24
SCENE = """
title = "a ball of jelly and a puddle"
[grid]
lower = [0, 0, 0]
upper = [0.8, 0.6, 0.6]
dx = 0.05
[[body]]
name = "ball"
shape = "mesh"
mesh = "ball.stl"
translation = [0.25, 0.3, 0.35]
spacing = 0.025
velocity = [0.5, 0, 0]
material = "jelly"
color = "#ff0000"
[[body]]
name = "water!"
shape = "box"
lower = [0.45, 0.2, 0.2]
upper = [0.6, 0.4, 0.3]
spacing = 0.025
material = "water"
[[collider]]
shape = "box"
center = [0.2, 0.3, 0.2]
half_size = [0.05, 0.1, 0.05]
during = [0.0, 0.1]
motion = {velocity = [1.0, 0, 0]}
[time]
frames = 3
[output]
video = false
report = false
"""


@pytest.fixture(scope="module")
def scene_run(tmp_path_factory):
    """The folder of a run of SCENE."""
    folder = tmp_path_factory.mktemp("scene")
    trimesh.creation.icosphere(subdivisions=2, radius=0.08).export(folder / "ball.stl")
    (folder / "scene.toml").write_text(SCENE)
    assert main(["simulate", str(folder / "scene.toml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


def export(*words):
    assert main(["export", *map(str, words)]) == 0


def opened(folder):
    (path,) = folder.glob("*.usdc")
    return Usd.Stage.Open(str(path))


def codes(schema):
    return schema.GetPointsAttr().GetTimeSamples()


def test_stage_of_a_scene_has_all_bodies_at_all_times(scene_run, tmp_path):
    export(scene_run, "--out", tmp_path)
    stage = opened(tmp_path)
    assert UsdGeom.GetStageUpAxis(stage) == "Z" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert stage.GetTimeCodesPerSecond() == stage.GetFramesPerSecond() == FPS
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, FRAMES)
    assert stage.GetDefaultPrim().GetPath() == "/World"
    frames = tp.read_frames(scene_run / "frames")
    balls = UsdGeom.Points(stage.GetPrimAtPath("/World/ball_particles"))
    water = UsdGeom.Points(stage.GetPrimAtPath("/World/water_particles"))
    assert codes(balls) == codes(water) == list(range(FRAMES + 1))
    for k, frame in enumerate(frames):
        x = np.concatenate([p.GetPointsAttr().Get(k) for p in (balls, water)])
        v = np.concatenate([p.GetVelocitiesAttr().Get(k) for p in (balls, water)])
        assert (x == frame.x).all() and (v == frame.v).all()
    ids = np.concatenate([p.GetIdsAttr().Get(0) for p in (balls, water)])
    assert (ids == np.arange(len(frames[0].x))).all()
    widths = np.array(water.GetWidthsAttr().Get(0))
    assert widths == pytest.approx(0.025, rel=1e-5)
    plastic = UsdGeom.PrimvarsAPI(balls).GetPrimvar("plastic")
    assert len(plastic.Get(FRAMES)) == len(balls.GetPointsAttr().Get(FRAMES))


def mesh_at(stage, name, code):
    prim = UsdGeom.Mesh(stage.GetPrimAtPath(f"/World/{name}"))
    assert set(prim.GetFaceVertexCountsAttr().Get(code)) == {3}
    faces = np.array(prim.GetFaceVertexIndicesAttr().Get(code)).reshape(-1, 3)
    vertices = np.array(prim.GetPointsAttr().Get(code), float)
    return prim, trimesh.Trimesh(vertices, faces, process=False)


def test_surfaces_of_a_stage_are_closed_and_follow_their_bodies(scene_run, tmp_path):
    export(scene_run, "--out", tmp_path)
    stage = opened(tmp_path)
    original = trimesh.creation.icosphere(subdivisions=2, radius=0.08)
    for name, volume in (("ball", original.volume), ("water", 0.15 * 0.2 * 0.1)):
        points = UsdGeom.Points(stage.GetPrimAtPath(f"/World/{name}_particles"))
        for k in range(FRAMES + 1):
            prim, made = mesh_at(stage, name, k)
            assert made.is_watertight and made.volume == pytest.approx(volume, rel=0.1)
            x = np.array(points.GetPointsAttr().Get(k))
            assert made.center_mass == pytest.approx(x.mean(axis=0), abs=0.01)
            v = np.array(prim.GetVelocitiesAttr().Get(k)).mean(axis=0)
            assert v == pytest.approx(np.mean(points.GetVelocitiesAttr().Get(k), axis=0), abs=0.3)
            assert len(prim.GetNormalsAttr().Get(k)) == len(made.vertices)
            ends = np.array(prim.GetExtentAttr().Get(k))
            assert ends == pytest.approx(np.array(made.bounds), abs=1e-6)
        assert prim.GetSubdivisionSchemeAttr().Get() == "none"
    # jelly keeps the mesh it was made of; water has another surface in each frame
    assert len(mesh_at(stage, "ball", FRAMES)[1].faces) == len(original.faces)
    counts = {len(mesh_at(stage, "water", k)[1].faces) for k in range(FRAMES + 1)}
    assert len(counts) > 1
    shader = UsdShade.Shader(stage.GetPrimAtPath("/World/Materials/ball/Surface"))
    assert shader.GetInput("diffuseColor").Get() == Gf.Vec3f(1, 0, 0)
    bound = UsdShade.MaterialBindingAPI(mesh_at(stage, "ball", 0)[0]).ComputeBoundMaterial()[0]
    assert bound.GetPath() == "/World/Materials/ball"


def test_colliders_of_a_stage_move_and_go(scene_run, tmp_path):
    export(scene_run, "--what", "surfaces", "--out", tmp_path)
    stage = opened(tmp_path)
    prim = UsdGeom.Xformable(stage.GetPrimAtPath("/World/collider_1"))
    for k in (0, 2):
        place = prim.ComputeLocalToWorldTransform(k).ExtractTranslation()
        assert np.array(place) == pytest.approx([k / FPS, 0, 0], abs=1e-9)
    seen = [prim.ComputeVisibility(k) for k in range(FRAMES + 1)]
    assert seen == ["inherited", "inherited", "inherited", "invisible"]
    assert not stage.GetPrimAtPath("/World/ball_particles")


def test_without_skin_elastic_bodies_have_a_surface_of_their_particles(scene_run, tmp_path):
    export(scene_run, "--no-skin", "--every", "3", "--voxel", "0.02", "--out", tmp_path)
    stage = opened(tmp_path)
    prim, made = mesh_at(stage, "ball", 1)
    assert stage.GetTimeCodesPerSecond() == FPS / 3 and codes(prim) == [0, 1]
    assert made.is_watertight and len(made.faces) != 320


@pytest.mark.parametrize("kind", ["obj", "ply"])
def test_sequences_of_meshes_have_a_file_for_each_body_and_frame(scene_run, tmp_path, kind):
    export(scene_run, "--to", kind, "--every", "2", "--out", tmp_path)
    names = {f"{body}_000{k}.{kind}" for body in ("ball", "water") for k in (0, 1)}
    assert {path.name for path in tmp_path.iterdir()} == names
    ball = trimesh.load(tmp_path / f"ball_0001.{kind}", process=False)
    assert ball.is_watertight and (ball.visual.vertex_colors[:, :3] == [255, 0, 0]).all()


def times_of(folder):
    sets = ET.parse(folder / "frames.pvd").getroot().iter("DataSet")
    return [float(one.get("timestep")) for one in sets]


def names_of(path):
    root = ET.parse(path).getroot()
    return {array.get("Name") for array in root.find("PolyData/Piece/PointData")}


def test_a_scene_goes_to_its_own_folder_with_all_arrays_and_times(scene_run):
    export(scene_run, "--to", "vtk")
    folder = scene_run / "export" / "vtk"
    assert times_of(folder) == pytest.approx([k / FPS for k in range(FRAMES + 1)], abs=1e-6)
    assert names_of(folder / "frame_0003.vtp") == {"v", "plastic"}


def test_a_wind_run_has_its_forces_and_its_camera(wind_run, tmp_path):  # noqa: F811
    run = WindRun.load(wind_run)
    export(wind_run, "--to", "vtk", "--out", tmp_path / "vtk")
    names = {"v", "force", "acceleration", "force_std", "mass", "held", "body"}
    assert names_of(tmp_path / "vtk" / "frame_0000.vtp") == names
    assert times_of(tmp_path / "vtk") == pytest.approx(run.t)
    export(wind_run, "--out", tmp_path / "usd")
    stage = opened(tmp_path / "usd")
    points = UsdGeom.Points(stage.GetPrimAtPath("/World/object_particles"))
    assert len(codes(points)) == len(run.t)
    force = UsdGeom.PrimvarsAPI(points).GetPrimvar("force").Get(2)
    assert np.array(force) == pytest.approx(run.force[2], rel=1e-5, abs=1e-7)
    volume = mesh_at(stage, "object", 2)[1].volume
    assert volume == pytest.approx(run.mass.sum() / run.job.density, rel=0.1)
    export(wind_run, "--to", "ply", "--what", "particles", "--out", tmp_path / "ply")
    frame = tp.read_frames(tmp_path / "ply")[3]
    assert frame.x == pytest.approx(run.x[3], rel=1e-6, abs=1e-7)
    assert frame.fields["force_x"] == pytest.approx(run.force[3][:, 0], rel=1e-5, abs=1e-7)


def test_cameras_show_a_point_where_ours_do(tmp_path):
    camera = look_at((0.4, -1.5, 0.7), (0.1, 0.2, 0.1), fov=30, width=64, height=48)
    shape = {**vars(camera), "cx": 28.0, "cy": 30.0, "fy": 1.2 * camera.fy}
    with tp.UsdWriter(tmp_path / "view.usda", fps=10, up=(0, -1, 0)) as writer:
        writer.camera("camera", 0.5, **shape)
    stage = Usd.Stage.Open(str(tmp_path / "view.usda"))
    seen = UsdGeom.Camera(stage.GetPrimAtPath("/World/camera")).GetCamera(5)
    point = np.array([0.2, 0.1, 0.25])
    inside = camera.world_to_camera[:3, :3] @ point + camera.world_to_camera[:3, 3]
    u = shape["fx"] * inside[0] / inside[2] + shape["cx"]
    v = shape["fy"] * inside[1] / inside[2] + shape["cy"]
    world = UsdGeom.Xformable(stage.GetPrimAtPath("/World")).ComputeLocalToWorldTransform(0)
    assert np.array(world.TransformDir((0, -1, 0))) == pytest.approx([0, 0, 1], abs=1e-12)
    frustum = seen.frustum
    clip = frustum.ComputeViewMatrix() * frustum.ComputeProjectionMatrix()
    ndc = clip.Transform(world.Transform(Gf.Vec3d(*point.tolist())))
    assert (ndc[0] + 1) / 2 * 64 == pytest.approx(u, abs=1e-3)
    assert (1 - ndc[1]) / 2 * 48 == pytest.approx(v, abs=1e-3)


def test_a_trace_run_goes_on_after_its_last_frame(trace_run, tmp_path):  # noqa: F811
    run = TraceRun.load(trace_run)
    export(trace_run, "--until", "0.6", "--out", tmp_path)
    stage = opened(tmp_path)
    points = UsdGeom.Points(stage.GetPrimAtPath("/World/scene_particles"))
    assert codes(points)[-1] / stage.GetTimeCodesPerSecond() == pytest.approx(0.6)
    x = points.GetPointsAttr().Get(codes(points)[-1])
    assert np.array(x) == pytest.approx(run.model.tensors_at(0.6)["means"].numpy(), abs=1e-6)
    assert not stage.GetPrimAtPath("/World/scene")
    assert main(["export", str(trace_run), "--to", "obj"]) == 2
    assert main(["export", str(trace_run), "--to", "vtk", "--out", str(tmp_path / "vtk")]) == 0


def test_a_folder_of_frames_and_particles_that_left(tmp_path, capsys):
    x, volume = tp.sample_box((0, 0, 0), (0.1, 0.1, 0.1), spacing=0.025)
    zero = np.zeros((len(x), 3, 3))

    def state(t, scale):
        F = torch.as_tensor(zero + scale * np.eye(3))
        place = torch.as_tensor(x)
        return tp.State(x=place, v=torch.zeros_like(place), C=torch.as_tensor(zero), F=F, time=t)

    states = [state(0.0, 1.0), state(0.1, 0.0)]
    gone = lambda s: {"removed": torch.full((len(x),), float(s.time > 0))}  # noqa: E731
    tp.write_frames(states, tmp_path / "frames", fps=10, scalars=gone)
    export(tmp_path / "frames", "--out", tmp_path / "usd")
    stage = opened(tmp_path / "usd")
    points = UsdGeom.Points(stage.GetPrimAtPath("/World/body_particles"))
    assert [len(points.GetPointsAttr().Get(k)) for k in (0, 1)] == [len(x), 0]
    export(tmp_path / "frames", "--to", "obj", "--out", tmp_path / "obj")
    assert (tmp_path / "obj" / "body_0001.obj").read_text() == "# no surface\n"


def test_a_turned_sheet_keeps_its_mesh(tmp_path):
    """The neighbors of a particle in a sheet do not tell how its normal turns."""
    from inverse.export.take import Skin
    from taichi_phys.geometry.repair import Triangles

    x = np.stack(np.meshgrid(np.arange(12.0), np.arange(9.0), [0.0], indexing="ij"), -1)
    x = 0.01 * x.reshape(-1, 3)
    box = trimesh.creation.box(extents=(0.1, 0.07, 0.01))
    vertices = box.vertices + x.mean(axis=0)
    turn = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    skin = Skin(Triangles(vertices, box.faces), x)
    for rotation in (np.eye(3), turn):
        moved = skin.at(x @ rotation.T + 0.3)
        assert moved.vertices == pytest.approx(vertices @ rotation.T + 0.3, abs=1e-6)


def test_bodies_of_the_same_name_have_files_of_their_own(scene_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(scene_run, folder)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"water!"', '"ball"'))
    assert [actor.name for actor in open_take(folder).actors] == ["ball", "ball 2"]


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--to", "obj", "--what", "particles"], "what: got particles with --to obj"),
        (["--until", "1"], "until: only a TRACE run"),
        (["--voxel", "0"], "voxel: got 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(scene_run, words, sentence, capsys):
    assert main(["export", str(scene_run), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert main(["export", str(tmp_path)]) == 2
    assert "not the folder of a run" in capsys.readouterr().err
