"""A camera that walks past a room of two depths: its poses, and the sentence where they are not
known."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from inverse.clips.footage import Footage
from inverse.tracking.travel import (
    Corners,
    _pose,
    camera_travel,
    follow_corners,
    moved_as_one,
    parallax,
)
from inverse.wind.config import WindJob
from inverse.wind.inputs.load import load_inputs
from renderers.camera import Camera, camera_from_fov, camera_record
from renderers.video import write_video


WIDTH, HEIGHT, FRAMES = 240, 180, 8
CAMERA = camera_from_fov(WIDTH, HEIGHT, 50.0)
WALL, BOARD = 4.0, 2.0  # m
RNG = np.random.default_rng(2)


def texture(scale=3.0):
    noise = cv2.GaussianBlur(RNG.normal(size=(600, 800)), (0, 0), scale)
    return np.clip(128 + 45 * noise / noise.std(), 0, 255).astype(np.uint8)


PAINTED = texture(), texture()


def depth_of(camera: Camera) -> np.ndarray:
    """(H, W) m, in a camera that looks straight ahead: a board in front of the lower half."""
    depth = np.full((HEIGHT, WIDTH), WALL)
    depth[HEIGHT // 2 :] = BOARD
    return depth


def film(cameras: list[Camera]) -> Footage:
    """Both planes as they are seen by each camera, the board in front of what lies below y = 0."""
    first, frames = cameras[0], []
    for camera in cameras:
        image = np.zeros((HEIGHT, WIDTH), np.uint8)
        for depth, painted in zip((WALL, BOARD), PAINTED, strict=True):
            relative = camera.world_to_camera @ np.linalg.inv(first.world_to_camera)
            plane = np.array([0, 0, 1 / depth])
            H = first.K @ (relative[:3, :3] + np.outer(relative[:3, 3], plane))
            H = H @ np.linalg.inv(first.K)
            shift = np.array([[1, 0, -280 + 0.5], [0, 1, -210 + 0.5], [0, 0, 1]])
            back = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
            warp = back @ H @ shift
            seen = cv2.warpPerspective(painted, warp, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
            if depth == BOARD:
                below = np.zeros(painted.shape, np.uint8)
                below[210 + HEIGHT // 2 :] = 1
                there = cv2.warpPerspective(below, warp, (WIDTH, HEIGHT), flags=cv2.INTER_NEAREST)
                image = np.where(there > 0, seen, image)
            else:
                image = seen
        frames.append(np.repeat(image[..., None], 3, axis=-1))
    return np.stack(frames)


def walk(step: tuple[float, float, float], turn: float) -> list[Camera]:
    """Cameras that move on by step, m, and turn by so many degrees, in every frame."""
    cameras = []
    for t in range(FRAMES):
        local = np.eye(4)
        local[:3, :3] = cv2.Rodrigues(np.radians(turn * t) * np.array([0.1, 1.0, 0.05]))[0]
        local[:3, 3] = -np.array(step) * t
        pose = local @ CAMERA.world_to_camera
        cameras.append(dataclasses.replace(CAMERA, world_to_camera=pose))
    return cameras


def test_a_walk_is_found_in_meters_however_rough_depth_is():
    cameras = walk((0.03, 0.01, 0.02), 0.3)
    corners = follow_corners(film(cameras))
    assert parallax(corners, CAMERA)[-1] > 2
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(1, 0.05, (HEIGHT, WIDTH))
        found = camera_travel(corners, CAMERA, depth_of(CAMERA) * noise)
        for t, (one, true) in enumerate(zip(found, cameras, strict=True)):
            away = np.linalg.norm(one.position - true.position)
            moved = np.linalg.norm(true.position - CAMERA.position)
            assert away < 0.002 + 0.08 * moved, (seed, t)
            wrong = cv2.Rodrigues(one.rotation @ true.rotation.T)[0]
            assert np.degrees(np.linalg.norm(wrong)) < 0.4


def test_corners_on_what_moves_do_not_turn_a_pose():
    rng = np.random.default_rng(1)
    xy0 = rng.uniform([0, 0], [WIDTH, HEIGHT], (200, 2))
    plane = np.concatenate([(xy0 - [CAMERA.cx, CAMERA.cy]) / CAMERA.fx, np.ones((200, 1))], axis=1)
    points = plane * rng.uniform(1, 4, (200, 1))
    true = np.array([0.02, -0.1, 0.01, 0.15, -0.05, 0.1])
    local = points @ cv2.Rodrigues(true[:3])[0].T + true[3:]
    xy = local[:, :2] / local[:, 2:] * CAMERA.fx + [CAMERA.cx, CAMERA.cy]
    moving = np.arange(200) % 5 < 2
    xy[moving] += [25.0, -10.0] + rng.normal(0, 5, (80, 2))
    pose, fits = _pose(points, xy, CAMERA, [np.zeros(6)])
    np.testing.assert_allclose(pose, true, atol=1e-3)
    assert np.array_equal(fits, ~moving)


def test_a_turn_on_the_spot_is_none():
    corners = follow_corners(film(walk((0, 0, 0), 0.5)))
    assert np.nanmax(parallax(corners, CAMERA)) < 0.3


def test_a_background_that_shifts_as_one_is_told_from_one_whose_parts_move():
    rng = np.random.default_rng(2)
    xy0 = rng.uniform([0, 0], [WIDTH, HEIGHT], (100, 2))
    seen = np.ones((4, 100), dtype=bool)
    at = np.arange(4)[:, None, None]
    turned = xy0 + at * ([6.0, 2.0] + 0.02 * (xy0 - xy0.mean(axis=0))[:, ::-1])
    swaying = xy0 + at * rng.normal(0, 8, (100, 2))
    slight = xy0 + at * [1.0, 0.0]
    for xy, least, most in ((turned, 17, 21), (swaying, 0, 0), (slight, 0, 0)):
        assert least <= moved_as_one(Corners(xy=xy, seen=seen, first=100)) <= most
    few = Corners(xy=turned, seen=seen & (np.arange(100) < 10), first=100)
    assert moved_as_one(few) == 0


def test_a_background_without_depth_says_so():
    corners = follow_corners(film(walk((0.03, 0, 0), 0.0)))
    unknown = np.full((HEIGHT, WIDTH), np.nan)
    with pytest.raises(ValueError, match="fewer than 20 corners of the background whose depth"):
        camera_travel(corners, CAMERA, unknown)


def camera_file(path, cameras):
    record = {**camera_record(cameras[0]), "fps": 24}
    record["world_to_camera"] = [one.world_to_camera.tolist() for one in cameras]
    path.write_text(json.dumps(record))
    return path


def job_of(tmp_path, cameras, **more):
    write_video(tmp_path / "video.mp4", film(cameras), 24, quality=10)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[60:90, 90:130] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    return WindJob(video=(str(tmp_path / "video.mp4"),), mask=str(tmp_path / "mask.png"), **more)


def test_poses_of_all_frames_are_those_of_the_camera_file(tmp_path):
    cameras = walk((0.03, 0.01, 0.02), 0.3)
    file = camera_file(tmp_path / "camera.json", cameras)
    job = job_of(tmp_path, cameras, camera=(str(file),), distance=2.0, start=2)
    inputs = load_inputs(job)
    assert len(inputs.cameras[0]) == FRAMES - 2
    for one, true in zip(inputs.cameras[0], cameras[2:], strict=True):
        np.testing.assert_allclose(one.world_to_camera, true.world_to_camera, atol=1e-12)
    assert "The camera moves as its file says." in inputs.assumptions
    camera_file(file, cameras[:5])
    with pytest.raises(ValueError, match="has the poses of 5 frames, expected at least 8"):
        load_inputs(job)


def test_a_clip_of_a_walk_needs_the_depth_of_its_background(tmp_path):
    cameras = walk((0.03, 0.01, 0.02), 0.3)
    file = tmp_path / "camera.json"
    file.write_text(json.dumps({**camera_record(CAMERA), "fps": 24}))
    job = job_of(tmp_path, cameras, camera=(str(file),), distance=2.0, moving_camera=True)
    with pytest.raises(ValueError, match="the camera travels.*give a --depth of the whole picture"):
        load_inputs(job)
    np.save(tmp_path / "depth.npy", depth_of(CAMERA))
    job = dataclasses.replace(job, distance=None, depth=str(tmp_path / "depth.npy"))
    inputs = load_inputs(job)
    assert any("The camera travels" in note for note in inputs.assumptions)
    found, true = inputs.cameras[0][-1].position, cameras[-1].position
    assert np.linalg.norm(found - true) < 0.15 * np.linalg.norm(true - CAMERA.position)
