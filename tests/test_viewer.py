"""The viewer without a window: pictures of snapshots, mouse, keys, time, recordings."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from stages import FPS, block, center, on_screen, pixel

import taichi_phys as tp
from renderers.lines import box_lines
from renderers.orbit import look_at
from renderers.overlay import draw_lines
from renderers.splats.gaussians import Gaussians
from renderers.video import read_video
from renderers.viewer.outlines import Outlines, collider_lines, posed
from renderers.viewer.picture import draw, draw_points, sky
from renderers.viewer.screen import help_lines
from renderers.viewer.session import Session
from renderers.viewer.snapshot import Arrows, Lines, Points, Snapshot
from renderers.viewer.stage import Recorded


WHITE = (255, 255, 255)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


# Pictures


@pytest.mark.parametrize("distance", [0.5, 3.0, 300.0])
def test_nearer_particles_and_lines_hide_others(distance):
    camera = look_at((0, -distance, 0), (0, 0, 0), fov=30, width=64, height=48)
    x = distance * np.array([[0, 0.1, 0], [0, 0, 0], [0.1, 0, 0]])
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    picture, depth = sky(48, 64).copy(), np.full((48, 64), np.inf, np.float32)
    draw_points(picture, depth, camera, Points(x=x, colors=colors, radius=0.02 * distance))
    assert picture[24, 32, 1] > 150 and picture[24, 32, 0] == 0  # the green one is in front
    assert depth[24, 32] == pytest.approx(0.98 * distance, rel=5e-3) and np.isinf(depth[0, 0])
    u, v = camera.project(x[2])[0].astype(int)
    assert picture[v, u, 2] > 150
    line = distance * np.array([[[-0.2, 0.05, 0], [0.2, 0.05, 0]]])  # between green and red
    before = picture.copy()
    draw_lines(picture, camera, line, WHITE, depth=depth)
    assert (picture[24, 32] == before[24, 32]).all()
    along = picture[23:26, 20].astype(int) - before[23:26, 20]
    assert along.sum(axis=0).min() > 200  # a pixel's worth of white, on one pixel or on two


def test_lines_are_a_pixel_wide_in_every_direction():
    camera = look_at((0, -1, 0), (0, 0, 0), fov=30, width=64, height=48)
    for angle in np.linspace(0, np.pi, 7):
        end = 0.1 * np.array([np.cos(angle), 0, np.sin(angle)])
        picture = np.zeros((48, 64, 3), np.uint8)
        draw_lines(picture, camera, np.array([[-end, end]]), WHITE)
        (u, v), (a, b) = camera.project(np.array([-end, end]))[0]
        longer = max(abs(a - u), abs(b - v))  # px: one sample for each along that side
        assert picture[..., 0].sum() / 255 == pytest.approx(longer, abs=1.5)


def test_lines_behind_the_camera_are_cut():
    camera = look_at((0, -1, 0), (0, 0, 0), fov=30, width=64, height=48)
    picture = np.zeros((48, 64, 3), np.uint8)
    draw_lines(picture, camera, np.array([[[0, 5, 0], [0.01, -50, 0.0]]]), (9, 9, 9))
    draw_lines(picture, camera, box_lines((-3, -3, -3), (3, 3, 3)), (9, 9, 9))
    draw_lines(picture, camera, np.zeros((0, 2, 3)), (9, 9, 9))
    assert 0 < (picture > 0).any(-1).sum() < 600


def test_lines_and_arrows_have_their_own_colors():
    camera = look_at((0, -1, 0), (0, 0, 0), fov=30, width=64, height=48)
    red, blue = (np.array([[[-0.2, 0, z], [0.2, 0, z]]]) for z in (0.1, -0.1))
    lines = Lines.of((red, (255, 0, 0)), (blue, (0, 0, 255)))
    picture = draw(Snapshot(box=np.zeros((2, 3)), lines=lines), camera).astype(int)
    assert np.argmax(picture[:24].max(axis=(0, 1)) - picture[0, 0]) == 0
    assert np.argmax(picture[24:].max(axis=(0, 1)) - picture[0, 0]) == 2
    arrows = Arrows.of(np.zeros((2, 3)), np.array([[0, 0, 2.0], [1.0, 0, 0]]), 0.5, 2.0)
    np.testing.assert_allclose(arrows.ends[:, 1], [[0, 0, 0.5], [0.25, 0, 0]])
    assert arrows.colors[0].sum() > arrows.colors[1].sum()


def test_splats_hide_lines_that_lie_behind_them():
    camera = look_at((0, -1, 0), (0, 0, 0), fov=30, width=64, height=48)
    one = torch.ones(1)
    splats = Gaussians.from_colors(
        means=torch.zeros(1, 3), quats=torch.tensor([[1.0, 0, 0, 0]]), opacities=0.99 * one,
        scales=torch.full((1, 3), 0.03), colors=torch.tensor([[0.0, 1.0, 0.0]]),
    ).tensors()  # fmt: skip
    lines = [Lines.of((np.array([[[-0.2, y, 0], [0.2, y, 0]]]), WHITE)) for y in (0.1, -0.1)]
    behind, before = (draw(Snapshot(box=None, splats=splats, lines=k), camera) for k in lines)
    assert behind[24, 32, 1] > 150 > 90 > behind[24, 32, 0] and before[24, 32].min() > 90


def test_colliders_have_outlines():
    low, high = np.zeros(3), np.ones(3)
    for collider in (
        tp.Sphere(center=(0.5, 0.5, 0.5), radius=0.2),
        tp.Capsule(start=(0.2, 0.5, 0.5), end=(0.8, 0.5, 0.5), radius=0.1),
        tp.Box(center=(0.5, 0.5, 0.5), half_size=(0.2, 0.1, 0.3),
               pose=tp.moving(velocity=(0.1, 0, 0), angular_velocity=(0, 0, 1))),
        tp.Plane(point=(0, 0, 0.3), normal=(0, 0.2, 1)),
    ):  # fmt: skip
        lines = posed(collider_lines(collider, low, high), collider, 0.5)
        assert lines.shape[1:] == (2, 3) and len(lines) >= 12 and np.isfinite(lines).all()
    ball = tp.Sphere(center=(0, 0, 0), radius=0.2, pose=tp.moving(velocity=(1, 0, 0)))
    moved = posed(collider_lines(ball, low, high), ball, 2.0)
    np.testing.assert_allclose(moved.reshape(-1, 3).mean(0), (2, 0, 0), atol=1e-9)
    half_turn = tp.Sphere(center=(1, 0, 0), radius=0.2, pose=lambda t: ((0, 0, 0, 1), (0, 0, 0)))
    turned = posed(collider_lines(half_turn, low, high), half_turn, 0.0)
    np.testing.assert_allclose(turned.reshape(-1, 3).mean(0), (-1, 0, 0), atol=1e-9)


def test_outlines_that_stand_still_are_the_same_record():
    sim = block().playground.sim
    first, last = (sim.initial_state().replace(time=t) for t in (0.0, 1.0))
    still = Outlines(sim)
    assert still.at(first) is still.at(last)
    ball = tp.Sphere(center=(0.5, 0.5, 0.5), radius=0.1, during=(0.0, 0.5))
    vanishing = Outlines(sim.replace(colliders=[ball]))
    assert len(vanishing.at(first).ends) > len(vanishing.at(last).ends)


def test_outlines_of_rigid_bodies_move_with_them():
    shape = tp.Sphere(center=(0.5, 0.5, 0.5), radius=0.1)
    sim = block().playground.sim.replace(colliders=[tp.RigidBody(shape=shape, density=500)])
    state = sim.initial_state()
    moved = dataclasses.replace(state.rigid, x=state.rigid.x + [0.1, 0, 0])
    lines = Outlines(sim)
    change = lines.at(state.replace(rigid=moved)).ends - lines.at(state).ends
    np.testing.assert_allclose(change.reshape(-1, 3).max(axis=0), (0.1, 0, 0), atol=1e-6)


def test_meshes_of_files_have_outlines(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    trimesh.creation.box((0.2, 0.2, 0.2)).export(tmp_path / "box.stl")
    collider = tp.Mesh(mesh=tmp_path / "box.stl", cells=16)
    lines = collider_lines(collider, np.zeros(3), np.ones(3))
    assert len(lines) == 18 and np.abs(lines).max() == pytest.approx(0.1)


# Mouse and keys


@pytest.mark.parametrize("direction", [(90, 0), (0, -90), (-60, 60)])
def test_drag_pushes_in_its_direction(direction, tmp_path):
    screen = on_screen(block(), tmp_path)
    stage, start = screen.stage, center(screen.stage)
    playground = stage.playground
    at = pixel(screen, start)
    screen.pointer(*at, set())
    screen.pointer(*at, {"LMB"})
    assert playground.pull is not None and float(playground.forces().abs().max()) < 1e-6
    screen.pointer(*(at + direction), {"LMB"})
    force = playground.forces().sum(0).double().cpu().numpy()
    across = screen.camera().rotation @ force
    assert abs(across[2]) < 1e-6 * np.linalg.norm(force)  # in the plane of the picture
    cosine = across[:2] @ direction / np.linalg.norm(across[:2]) / np.linalg.norm(direction)
    assert cosine > 0.999
    arrow = screen.draw()
    stage.seek(4)
    moved = pixel(screen, center(stage)) - at
    assert moved @ direction / np.linalg.norm(direction) > 3
    screen.pointer(*(at + direction), set())
    assert playground.pull is None and not playground.forces().any()
    assert (arrow != screen.draw()).any(-1).mean() > 0.005


def test_a_drag_beside_the_body_turns(tmp_path):
    screen = on_screen(block(), tmp_path)
    eye, playground = screen.eye, screen.stage.playground
    for x, y, held in ((20, 20, set()), (20, 20, {"LMB"}), (60, 40, {"LMB"}), (60, 40, set())):
        screen.pointer(x, y, held)
    assert eye.azimuth == pytest.approx(25 - 14) and eye.elevation == pytest.approx(18 + 7)
    at, distance = pixel(screen, center(screen.stage)), eye.distance
    for held in (set(), {"RMB"}):
        screen.pointer(*at, held)
    screen.pointer(at[0] + 10, at[1], {"RMB"})
    assert playground.pull is None and eye.azimuth == pytest.approx(25 - 14 - 3.5)
    screen.pointer(at[0], at[1], set())
    for y in (0, 0, 50):
        screen.pointer(100, 100 + y, {"RMB", "Control"})
    assert eye.distance > 1.2 * distance
    screen.pointer(0, 0, set())
    screen.press("f")
    screen.pointer(100, 100, {"MMB"})
    before = pixel(screen, (0.5, 0.5, 0.5))
    screen.pointer(130, 90, {"MMB"})
    np.testing.assert_allclose(pixel(screen, (0.5, 0.5, 0.5)) - before, (30, -10), atol=0.1)


def test_the_panel_keeps_the_mouse(tmp_path):
    screen = on_screen(block(), tmp_path)
    screen.pointer(600, 100, set())
    screen.pointer(600, 100, {"LMB"})
    screen.pointer(300, 200, {"LMB"})
    assert screen.eye.azimuth == 25 and screen.stage.playground.pull is None


def test_keys(tmp_path):
    screen = on_screen(block(gravity=(0, 0, -9.81)), tmp_path)
    stage = screen.stage
    screen.press(" ")
    assert stage.playing
    while stage.playground.state.time < 2.5 / FPS:
        screen.tick()
    screen.press(" ")
    screen.tick()
    now = stage.playground.state.time
    screen.tick()
    assert not stage.playing and stage.playground.state.time == now > 0
    screen.press("n")
    assert stage.playground.state.time == pytest.approx(now + 1 / FPS)
    screen.press("Left")
    assert "forwards only" in stage.message
    screen.press("r")
    assert stage.playground.state.time == 0 and stage.message == ""
    screen.press("s")
    assert Image.open(tmp_path / "picture_000.png").size == (640, 360)
    screen.press("v")
    for _ in range(3):
        screen.press("n")
    screen.press("v")
    assert len(read_video(tmp_path / "video_000.mp4")) == 3 and "3 frames" in stage.message
    color = stage.color
    screen.press("o")
    assert stage.color != color
    for key, attribute in (("h", "help"), ("g", "panel"), ("q", "running")):
        before = getattr(screen, attribute)
        screen.press(key)
        assert getattr(screen, attribute) is not before
    screen.press("Escape")  # not a key of ours
    lines = help_lines(screen)
    assert any("one frame" in line for line in lines)
    assert all(any(line.startswith(f"{key}: ") for line in lines) for key in "nrbfcsvhgqom")


class Counter(Recorded):
    """A recording of ten frames, which counts how often it is drawn."""

    last, drawn = 9, 0

    def snapshot(self, fast=False):
        self.drawn += 1
        x = np.array([[0.05 * self.frame, 0, 0]])
        points = Points(x=x, colors=np.full((1, 3), 200, np.uint8), radius=0.1)
        return Snapshot(box=np.array([[-1.0] * 3, [1.0] * 3]), points=points)


class Clock:
    """A clock that stands until somebody moves it."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_plays_faster_than_in_real_time():
    clock, stage = Clock(), Counter()
    session = Session(stage, clock=clock)
    session.press(" ")
    for _ in range(20):
        session.tick()
    assert session.frames <= 2
    before = session.frames
    for _ in range(48):
        clock.now += 0.25 / FPS
        session.tick()
    assert session.frames - before == pytest.approx(12, abs=1)


def test_what_is_late_is_not_caught_up_with():
    clock, stage = Clock(), Counter()
    session = Session(stage, clock=clock)
    session.press(" ")
    session.tick()
    clock.now += 10.0
    for _ in range(20):
        session.tick()
    assert session.frames <= 3


def test_pictures_are_small_while_something_moves_and_drawn_once_at_rest(tmp_path):
    clock, stage = Clock(), Counter()
    screen = on_screen(stage, tmp_path, clock=clock)
    assert screen.busy and screen.picture().shape == (180, 320, 3)
    clock.now += 1.0
    assert screen.picture().shape == (360, 640, 3) and not screen.busy
    drawn = stage.drawn
    screen.picture()
    assert stage.drawn == drawn
    screen.press("n")
    assert screen.busy and screen.picture().shape == (180, 320, 3)


def test_a_recording_without_frames_and_an_unwritable_one(tmp_path):
    screen = on_screen(Counter(), tmp_path)
    screen.press("v")
    screen.press("v")
    assert screen.stage.message == "no frames, no video"
    (tmp_path / "file").write_text("in the way")
    screen = on_screen(Counter(), tmp_path / "file" / "out")
    screen.press("v")
    screen.press("n")
    screen.close()
    assert "cannot be written" in screen.stage.message
