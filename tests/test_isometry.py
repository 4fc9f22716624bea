"""Depth from motion: a surface that does not stretch shows its shape by how its points move."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import inverse.lifting.depth_from_motion as search
from inverse.lifting.depth_from_motion import depth_from_motion
from inverse.lifting.isometry import ReliefEnergy
from inverse.lifting.motion import measure_motion
from inverse.tracking import Tracks
from inverse.wind import WindJob
from inverse.wind.inputs.load import load_inputs
from renderers.camera import camera_from_fov
from renderers.video import write_video


SIZE, FRAMES, COUNT = 256, 8, 50


@pytest.fixture
def coarse(monkeypatch):
    """A search of seconds."""
    for name, value in {"KEYPOINTS": 40, "COARSE": 12, "FINE": 20, "FRAMES": FRAMES}.items():
        monkeypatch.setattr(search, name, value)


def sheet(fov=45.0, turn=50.0, tilt=(20.0, 25.0), bend=0.3, move=(0.1, 0.0, 0.05), noise=0.02):
    """Tracks of a rolled sheet that turns by so many degrees; its mask, depth and camera."""
    camera = camera_from_fov(SIZE, SIZE, fov)
    away = 0.7 / np.tan(np.radians(fov / 2))  # the object fills about as much of any picture
    rng = np.random.default_rng(0)
    inner = Rotation.from_euler("xy", tilt, degrees=True).as_matrix()

    def pose(p, f):
        curl = bend + 1e-9
        X = np.stack([np.sin(curl * p[:, 0]) / curl, p[:, 1], (1 - np.cos(curl * p[:, 0])) / curl])
        X = 0.5 * X.T
        spin = Rotation.from_rotvec(np.radians(turn) * f * np.array([0.8, 0.6, 0.0])).as_matrix()
        X = X @ (spin @ inner).T + np.array(move) * f
        return np.stack([X[:, 0], away + X[:, 2], -X[:, 1]], axis=1)

    p = rng.uniform(-0.8, 0.8, (COUNT, 2))
    times = np.linspace(0, 1, FRAMES)
    xy = np.stack([camera.project(pose(p, f))[0] for f in times])
    grid = np.stack(np.meshgrid(*[np.linspace(-0.9, 0.9, 200)] * 2), axis=-1).reshape(-1, 2)
    X = pose(grid, 0.0)
    at, z = camera.project(X)
    depth = np.full((SIZE, SIZE), np.nan)
    cell = np.floor(at).astype(int)
    depth[cell[:, 1], cell[:, 0]] = z
    xy = xy + noise * rng.normal(size=xy.shape)
    tracks = Tracks(xy=xy, visible=np.ones(xy.shape[:2], dtype=bool))
    return tracks, camera, np.isfinite(depth), depth


def miss(found, true):
    """How far depth is off, over how far a flat object is, apart from the distance."""
    off = (found - true)[np.isfinite(true)]
    return off.std() / np.nanstd(true)


def test_a_sheet_that_turns_shows_its_tilt_and_its_bend(coarse):
    tracks, camera, mask, depth = sheet()
    distance = 1 / np.nanmean(1 / depth)
    found = depth_from_motion(tracks, [camera] * FRAMES, mask, distance)
    assert found.certain and found.against_flat > 2
    assert miss(found.depth, depth) < 0.4
    assert np.isnan(found.depth[~mask]).all()
    assert 1 / np.nanmean(1 / found.depth) == pytest.approx(distance, rel=1e-6)
    # All lengths scale with the distance.
    twice = depth_from_motion(tracks, [camera] * FRAMES, mask, 2 * distance)
    np.testing.assert_allclose(twice.depth[mask], 2 * found.depth[mask], rtol=1e-3)


def test_seen_from_afar_a_shape_and_its_mirror_image_are_not_told_apart(coarse):
    tracks, camera, mask, depth = sheet(fov=3.0, turn=25.0)
    found = depth_from_motion(tracks, [camera] * FRAMES, mask, 1 / np.nanmean(1 / depth))
    assert not found.certain


def test_a_sheet_that_faces_the_camera_stays_flat(coarse):
    tracks, camera, mask, depth = sheet(tilt=(0, 0), bend=0.0, turn=0.0)
    found = depth_from_motion(tracks, [camera] * FRAMES, mask, np.nanmean(depth))
    assert not found.known and found.against_flat < search.CLEARLY
    assert found.tilt < 10


def test_too_few_points_or_frames_say_nothing(coarse):
    tracks, camera, mask, _ = sheet()
    few = tracks.of(np.arange(6))
    assert depth_from_motion(few, [camera] * FRAMES, mask, 2.0) is None
    assert depth_from_motion(tracks.until(7), [camera] * 7, mask, 2.0) is None


def test_the_gradient_is_that_of_the_energy():
    tracks, camera, mask, _ = sheet()
    tracks = tracks.of(np.arange(14)).until(6)
    surface = search._Surface(mask, camera, 1.7)
    flat = camera.unproject(tracks.xy[0], 1.7)
    energy = ReliefEnergy(
        tracks, [camera] * 6, surface.at(tracks.xy[0]), surface.prior, distance=1.7,
        motion=measure_motion([(tracks, [camera] * 6)], flat), sigma_px=0.3, nodes=7,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    relief = 0.2 * surface.prior * rng.normal(size=6)
    C = energy.start(relief) + 0.005 * rng.normal(size=(6, 7, 3))
    _, _, by_nodes, _, by_relief = energy._system(relief, C)
    for index in range(6):
        step = np.zeros(6)
        step[index] = 1e-6
        slope = (energy.cost(relief + step, C) - energy.cost(relief - step, C)) / 2e-6
        assert 2 * by_relief[index] == pytest.approx(slope, rel=1e-5, abs=1e-4)
    for index in rng.choice(by_nodes.size, 10, replace=False):
        step = np.zeros(by_nodes.size)
        step[index] = 1e-7
        step = np.concatenate([np.zeros((1, 7, 3)), step.reshape(5, 7, 3)])
        slope = (energy.cost(relief, C + step) - energy.cost(relief, C - step)) / 2e-7
        assert 2 * by_nodes[index] == pytest.approx(slope, rel=1e-4, abs=1e-2)


@pytest.mark.parametrize("turn, fov, certain", [(50.0, 45.0, True), (25.0, 3.0, False)])
def test_without_depth_a_run_takes_the_shape_from_motion_or_says_flat(
    coarse, tmp_path, turn, fov, certain
):
    tracks, camera, mask, depth = sheet(turn=turn, fov=fov)
    rng = np.random.default_rng(0)
    wall = (255 * rng.random((SIZE, SIZE, 1))).astype(np.uint8).repeat(3, axis=2)
    write_video(tmp_path / "clip.mp4", [wall] * FRAMES, 24)
    np.save(tmp_path / "mask.npy", mask)
    tracks.save(tmp_path / "tracks.npz")
    job = WindJob(
        video=(str(tmp_path / "clip.mp4"),), mask=str(tmp_path / "mask.npy"), fov=fov,
        tracks=(str(tmp_path / "tracks.npz"),), distance=float(1 / np.nanmean(1 / depth)),
        out=str(tmp_path / "out"),
    )  # fmt: skip
    inputs = load_inputs(job)
    said = json.dumps(inputs.assumptions)
    assert inputs.flat == (not certain)
    assert ("found from how the object moves" in said) == certain
    assert ("is flat, faces the camera" in said) == (not certain)
    assert ("nothing shows how thick it is" in said) == (not certain)
    if certain:
        assert miss(inputs.depth, depth) < 0.4
