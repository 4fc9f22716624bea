"""Motions too fast for small steps are lifted all the same; what a lift says of itself."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from inverse.lifting import LiftConfig, LiftQuality, lift
from inverse.lifting.rigid import STAY, Sight, find_pose
from inverse.lifting.smoothness import estimate_smoothness
from inverse.tracking import Tracks
from renderers.camera import Camera


FPS, FRAMES, NOISE = 24, 24, 0.1
T = np.arange(FRAMES) / FPS
FAST = LiftConfig(nodes=24)


def camera_at(angle):
    """A camera three meters from the origin, turned about z by an angle, rad: 252 px per meter."""
    c, s = np.cos(angle), np.sin(angle)
    pose = np.eye(4)
    axes = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]])
    pose[:3, :3] = axes @ [[c, s, 0], [-s, c, 0], [0, 0, 1]]
    pose[:3, 3] = [0, 0, 3]
    return Camera(fx=756, fy=756, cx=300, cy=300, width=600, height=600, world_to_camera=pose)


def sheet(curvature=0.3):
    """Points (81, 3) m of a sheet of 0.6 m x 0.8 m that faces the camera, rolled up a little."""
    rng = np.random.default_rng(0)
    u, v = np.meshgrid(np.linspace(-0.3, 0.3, 9), np.linspace(-0.4, 0.4, 9))
    u, v = (x.ravel() + rng.uniform(-0.015, 0.015, 81) for x in (u, v))
    return np.stack(
        [np.sin(curvature * u) / curvature, (1 - np.cos(curvature * u)) / curvature, v], axis=1
    )


def moved(turn, drift, shapes=None):
    """Points (T, N, 3) m; turn: a rotation of a time, s; drift: of a time, m; shapes: per frame."""
    shapes = [sheet()] * FRAMES if shapes is None else shapes
    return np.stack([x @ turn(t).as_matrix().T + drift(t) for x, t in zip(shapes, T, strict=True)])


def about(axis, angle):
    """A rotation of a time about a fixed axis; angle: rad, of a time."""
    return lambda t: Rotation.from_rotvec(np.multiply(axis, angle(t)))


def still(_):
    return np.zeros(3)


def tumble(t):
    """A rotation about an axis that changes all the time."""
    return (
        Rotation.from_rotvec([0, 9 * t, 0])
        * Rotation.from_rotvec([0.8 * np.sin(9 * t), 0, 0])
        * Rotation.from_rotvec([0, 0, 0.6 * np.sin(11 * t)])
    )


def thrown(t):
    return np.array([-0.8 + 1.6 * t, 0.5 * t, 1 - 4 * (t - 0.5) ** 2])


VIEW, ACROSS, UP = np.eye(3)[[1, 0, 2]]
BENDING = [sheet(1.5 + 0.7 * np.sin(3 * t + 0.5)) for t in T]
MOTIONS = {
    "glides at 3 m/s": moved(about(UP, lambda t: 0), lambda t: np.array([-1.5 + 3 * t, 0, 0])),
    "spins at 10 rad/s": moved(about(VIEW, lambda t: 10 * t), still),
    "spins at 15 rad/s": moved(about(VIEW, lambda t: 15 * t), still),
    "swings at 2 Hz": moved(about(ACROSS, lambda t: 0.8 * np.sin(4 * np.pi * t)), still),
    "swings at 3 Hz": moved(about(ACROSS, lambda t: 0.8 * np.sin(6 * np.pi * t)), still),
    "tumbles": moved(tumble, thrown),
    "bends and spins": moved(about(VIEW, lambda t: 10 * t), still, BENDING),
}


def tracks_of(truth, camera, seed=0):
    xy = np.stack([camera.project(x)[0] for x in truth])
    noise = np.random.default_rng(seed).normal(0, NOISE, xy.shape)
    return Tracks(xy=xy + noise, visible=np.ones(xy.shape[:2], dtype=bool))


def errors(lifted, truth):
    """Distances (T, N) m from the truth."""
    return np.linalg.norm(lifted.points - truth, axis=2)


@pytest.mark.parametrize("name", MOTIONS)
def test_a_sheet_is_followed_that(name):
    truth, camera = MOTIONS[name], camera_at(0)
    lifted = lift([(tracks_of(truth, camera), camera)], truth[0], FPS, config=FAST)
    assert errors(lifted, truth).mean() < 3e-3
    assert errors(lifted, truth).max() < 0.03
    assert lifted.converged
    assert lifted.reprojection_px.shape == (FRAMES, 2)
    assert lifted.reprojection_px[:, 0].max() < 3 * NOISE


def test_two_views_of_a_tumbling_sheet_agree():
    truth = MOTIONS["tumbles"]
    views = [(tracks_of(truth, camera_at(a), seed), camera_at(a)) for seed, a in ((0, 0), (1, 0.8))]
    lifted = lift(views, truth[0], FPS, config=FAST)
    assert errors(lifted, truth).mean() < 2e-3


def test_a_fifth_of_the_observations_may_be_wrong():
    truth, camera = MOTIONS["tumbles"], camera_at(0)
    tracks, rng = tracks_of(truth, camera), np.random.default_rng(3)
    wrong = rng.random(tracks.visible.shape) < 0.2
    wrong[0] = False
    xy = tracks.xy + wrong[..., None] * rng.normal(0, 25, tracks.xy.shape)
    view = (dataclasses.replace(tracks, xy=xy), camera)
    lifted = lift([view], truth[0], FPS, config=FAST)
    assert errors(lifted, truth).mean() < 4e-3
    assert lifted.sigma_px == pytest.approx(NOISE, rel=0.4)
    far = wrong & (np.linalg.norm(xy - tracks.xy, axis=2) > 5)
    assert lifted.confidence[far].max() < 0.2


def test_half_of_the_points_may_be_out_of_sight_for_ten_frames():
    truth, camera = moved(about(VIEW, lambda t: 10 * t), lambda t: t * ACROSS), camera_at(0)
    tracks = tracks_of(truth, camera)
    tracks.visible[6:16, np.random.default_rng(0).random(81) < 0.5] = False
    lifted = lift([(tracks, camera)], truth[0], FPS, config=FAST)
    assert errors(lifted, truth).mean() < 4e-3


def test_a_ball_that_turns_part_of_its_points_away_is_followed():
    i = np.arange(160) + 0.5
    height, around = 1 - 2 * i / 160, np.pi * (1 + 5**0.5) * i
    flat = np.sqrt(1 - height**2)
    ball = 0.3 * np.stack([flat * np.cos(around), flat * np.sin(around), height], axis=1)
    camera = camera_at(0)
    turn, fly = about(UP, lambda t: 1.5 * t), lambda t: np.array([-1.2 + 2.4 * t, 0, 0.3 * t])
    normals = moved(turn, still, [ball] * FRAMES)
    truth = moved(turn, fly, [ball] * FRAMES)
    front = ((camera.position - truth) * normals).sum(axis=2) > 0.02
    points = front[0]
    tracks = tracks_of(truth[:, points], camera)
    tracks.visible[:] = front[:, points]
    assert tracks.visible[-1].mean() < 0.7
    lifted = lift([(tracks, camera)], truth[0, points], FPS, config=FAST)
    assert errors(lifted, truth[:, points])[tracks.visible].max() < 0.01
    assert errors(lifted, truth[:, points]).max() < 0.03


def test_a_pose_is_found_from_afar_and_its_mirror_image_is_told_apart():
    camera, shape = camera_at(0), sheet()
    turn = Rotation.from_rotvec([0.9, 0.2, -0.5]).as_matrix()
    there = shape @ turn.T + [0.3, 0.4, -0.2]
    xy = camera.project(there)[0]
    xy[::4] += 40
    sight = Sight(camera=camera, index=np.arange(81), xy=xy)
    pose, _ = find_pose(shape, [sight], [STAY], 0.1)
    assert np.abs(pose.move(shape) - there).max() < 1e-3
    few = Sight(camera=camera, index=np.arange(5), xy=xy[:5])
    assert find_pose(shape, [few], [STAY], 0.1) is None


def test_a_motion_that_is_smooth_at_no_order_is_no_noise_where_the_noise_is_known():
    swings = [a * np.sin(0.785 * np.arange(40) + p) for a, p in ((1, 0), (0.7, 1), (1.2, 2))]
    noisy = [y + np.random.default_rng(0).normal(0, 1e-3, 40) for y in swings]
    found = estimate_smoothness(noisy, noise=1e-3)
    assert found.noise == 1e-3
    roughness = np.std(np.diff(swings, found.order))
    assert found.amplitude == pytest.approx(roughness, rel=0.3)


def quality(**changes):
    record = {
        "converged": True,
        "reprojection_px": np.array([[0.1, 0.2], [0.2, 0.4], [np.nan, np.nan]]),
        "seen_share": np.array([1.0, 0.7, 0.0]),
        "keypoints_seen_share": np.array([1.0, 0.6, 0.0]),
        "sigma_px": 0.1,
        "object_px": 200.0,
    }
    return LiftQuality(**{**record, **changes})


def test_a_lift_says_where_it_does_not_fit_the_tracks():
    good = quality()
    assert good.fits.all() and good.failure() is None  # nothing seen is nothing missed
    loose = np.array([[0.1, 0.2], [7.0, 9.0], [0.1, 0.3]])
    assert quality(reprojection_px=loose).fits.tolist() == [True, False, True]
    assert quality(reprojection_px=loose, sigma_px=2.0).fits.all()
    assert quality(reprojection_px=loose).failure() is None
    assert "30 px from where they were tracked" in quality(reprojection_px=loose * 0 + 30).failure()


def test_a_lifts_quality_survives_a_file_and_json():
    good = quality()
    again = LiftQuality.from_arrays(good.to_arrays())
    for field in dataclasses.fields(LiftQuality):
        assert np.array_equal(getattr(good, field.name), getattr(again, field.name), equal_nan=True)
    record = good.to_record()
    assert record["reprojection_px"] == {"median": [0.1, 0.2, None], "90_percent": [0.2, 0.4, None]}
    assert record["keypoints_seen_share"] == [1.0, 0.6, 0.0] and record["fits"] == [True] * 3
