"""Trajectories in space from tracks: what one view and two views recover, and what must not."""

import dataclasses
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from inverse.lifting import (
    LiftConfig,
    bind_to_triangles,
    dense_targets,
    keypoints,
    lift,
    refine_tracks,
    targets_from_video,
)
from inverse.lifting.smoothness import estimate_smoothness, without_spikes
from inverse.tracking import Tracks
from renderers.camera import Camera, load_camera


LEAF = Path(__file__).parent.parent / "assets" / "leaf"
FPS, FRAMES = 24, 24
FAST = LiftConfig(nodes=24)


def camera_at(angle):
    """A camera three meters from the origin, turned about z by an angle, rad."""
    c, s = np.cos(angle), np.sin(angle)
    pose = np.eye(4)
    pose[:3, :3] = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]]) @ [
        [c, s, 0],
        [-s, c, 0],
        [0, 0, 1],
    ]
    pose[:3, 3] = [0, 0, 3]
    return Camera(fx=520, fy=520, cx=200, cy=200, width=400, height=400, world_to_camera=pose)


def bending_sheet(side=9):
    """Points (T, N, 3) m of a sheet rolled up more and less, turning, and blown about."""
    t = np.arange(FRAMES) / FPS
    rng = np.random.default_rng(0)
    u, v = np.meshgrid(np.linspace(-0.3, 0.3, side), np.linspace(-0.4, 0.4, side))
    u = u.ravel() + rng.uniform(-0.015, 0.015, side**2)
    v = v.ravel() + rng.uniform(-0.015, 0.015, side**2)
    along, across = 0.92 * u + 0.39 * v, 0.92 * v - 0.39 * u
    drift = np.stack([-0.1 * np.cos(4 * t), 0.07 * np.sin(5 * t), -0.3 * t**2 + 0.2], axis=1)
    frames = []
    for i, time in enumerate(t):
        k = 1.5 + 0.7 * np.sin(3 * time + 0.5)
        sheet = np.stack([np.sin(k * along) / k, (1 - np.cos(k * along)) / k, across], axis=1)
        turn = Rotation.from_rotvec([0.4 * np.sin(2 * time), 0.3 * time, 0.6 * time]).as_matrix()
        frames.append((sheet - sheet.mean(0)) @ turn.T + drift[i])
    return np.stack(frames)


def tracks_of(points, camera, sigma, seed=0):
    """Noisy tracks in which a fifth of the points is lost half-way."""
    rng = np.random.default_rng(seed)
    xy = np.stack([camera.project(frame)[0] for frame in points])
    visible = np.ones(xy.shape[:2], dtype=bool)
    visible[len(points) // 2 :, rng.random(xy.shape[1]) < 0.2] = False
    return Tracks(xy=xy + rng.normal(0, sigma, xy.shape), visible=visible)


def acceleration_error(found, truth):
    """Mean angle, degrees, and relative size of the error of the centroid's acceleration."""
    a, b = (np.diff(x.mean(axis=1), 2, axis=0) for x in (found, truth))
    length = np.linalg.norm
    cosine = (a * b).sum(1) / (length(a, axis=1) * length(b, axis=1))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean(), (
        length(a - b, axis=1).mean() / length(b, axis=1).mean()
    )


@pytest.fixture(scope="module")
def sheet():
    return bending_sheet()


@pytest.fixture(scope="module")
def from_one_view(sheet):
    view = (tracks_of(sheet, camera_at(0), 0.1), camera_at(0))
    return view[0], lift([view], sheet[0], FPS, config=FAST)


def test_one_view_recovers_forces_along_its_axis_too(sheet, from_one_view):
    _, lifted = from_one_view
    angle, relative = acceleration_error(lifted.points, sheet)
    assert angle < 5 and relative < 0.1
    depth = (lifted.points - sheet).mean(axis=1) @ camera_at(0).rotation[2]
    assert np.abs(depth - depth[0]).max() < 0.01
    assert lifted.sigma_px == pytest.approx(0.1, rel=0.3)


def test_two_views_are_much_better_than_one(sheet):
    views = [
        (tracks_of(sheet, camera_at(a), 0.3, seed), camera_at(a)) for seed, a in [(0, 0), (1, 0.8)]
    ]
    lifted = lift(views, sheet[0], FPS, config=FAST)
    angle, relative = acceleration_error(lifted.points, sheet)
    assert angle < 2 and relative < 0.04
    assert np.linalg.norm(lifted.points - sheet, axis=2).max() < 0.02


def test_lost_points_stop_pulling_but_are_carried_along(sheet, from_one_view):
    tracks, lifted = from_one_view
    lost = ~tracks.visible[-1]
    assert lost.any() and (lifted.confidence[-1, lost] == 0).all()
    assert np.median(lifted.confidence[-1, ~lost]) > 0.7
    assert np.linalg.norm((lifted.points - sheet)[-1, lost], axis=1).max() < 0.06


def test_gross_outliers_do_not_matter(sheet, from_one_view):
    tracks, clean = from_one_view
    rng = np.random.default_rng(5)
    xy = tracks.xy.copy()
    wrong = rng.random(xy.shape[:2]) < 0.03
    wrong[0] = False
    xy[wrong] += rng.normal(0, 20, (wrong.sum(), 2))
    dirty = dataclasses.replace(tracks, xy=xy)
    config = dataclasses.replace(FAST, iterations=25)
    lifted = lift([(dirty, camera_at(0))], sheet[0], FPS, config=config)
    angle, relative = acceleration_error(lifted.points, sheet)
    assert angle < 15 and relative < 0.3
    far = wrong & (np.linalg.norm(xy - tracks.xy, axis=2) > 8)
    assert lifted.confidence[far].max() < 0.5


def test_tracks_that_jump_elsewhere_do_not_pass_for_a_rough_motion(sheet, from_one_view):
    tracks, clean = from_one_view
    xy = tracks.xy.copy()
    xy[10:, ::9] += [15, -8]
    view = (dataclasses.replace(tracks, xy=xy), camera_at(0))
    lifted = lift([view], sheet[0], FPS, config=FAST)
    assert lifted.sigma_px == pytest.approx(clean.sigma_px, rel=0.3)
    assert acceleration_error(lifted.points, sheet)[0] < 8


def test_spikes_are_taken_out_and_smooth_motion_is_left_alone():
    t = np.linspace(0, 1, 40)
    series = np.stack([np.sin(7 * t), t**3]) + np.random.default_rng(0).normal(0, 1e-3, (2, 40))
    spoilt = series.copy()
    spoilt[0, [12, 14]] += [1.0, -0.5]
    mended = without_spikes(spoilt)
    assert np.abs(mended - series).max() < 0.02
    assert (mended != spoilt).sum() <= 4


def test_a_moving_camera_changes_nothing(sheet):
    path = [camera_at(0.01 * t) for t in range(FRAMES)]
    xy = np.stack([c.project(frame)[0] for c, frame in zip(path, sheet, strict=True)])
    xy += np.random.default_rng(0).normal(0, 0.1, xy.shape)
    tracks = Tracks(xy=xy, visible=np.ones(xy.shape[:2], bool))
    lifted = lift([(tracks, path)], sheet[0], FPS, config=FAST)
    assert acceleration_error(lifted.points, sheet)[0] < 6


def test_out_of_sight_the_object_drifts_on_instead_of_running_away(sheet):
    tracks = tracks_of(sheet, camera_at(0), 0.1)
    visible = tracks.visible.copy()
    visible[12:] = False
    blind = dataclasses.replace(tracks, visible=visible)
    lifted = lift([(blind, camera_at(0))], sheet[0], FPS, config=FAST)
    assert (lifted.confidence[12:] == 0).all()
    assert np.linalg.norm(lifted.points.mean(axis=1) - sheet.mean(axis=1), axis=1).max() < 0.5
    assert np.abs(np.diff(lifted.points.mean(axis=1), 2, axis=0))[12:].max() * FPS**2 < 3
    assert lifted.strain < 0.05


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 8])
def test_short_clips_lift_too(sheet, frames):
    tracks = tracks_of(sheet[:frames], camera_at(0), 0.1)
    lifted = lift([(tracks, camera_at(0))], sheet[0], FPS, config=FAST)
    assert np.linalg.norm((lifted.points - sheet[:frames]).mean(axis=1), axis=1).max() < 0.03


def test_a_point_given_twice_does_no_harm(sheet):
    twice = np.concatenate([sheet[:, ::2], sheet[:, :3], sheet[:, :3]], axis=1)
    tracks = tracks_of(twice, camera_at(0), 0.1)
    lifted = lift([(tracks, camera_at(0))], twice[0], FPS, config=FAST)
    assert np.linalg.norm((lifted.points - twice).mean(axis=1), axis=1).max() < 0.03


def test_lift_refuses_what_does_not_fit(sheet):
    tracks = tracks_of(sheet, camera_at(0), 0.1)
    with pytest.raises(ValueError, match=f"expected {FRAMES} frames of 80"):
        lift([(tracks, camera_at(0))], sheet[0][:80], FPS)
    with pytest.raises(ValueError, match="got 7 keypoints, at least 8"):
        lift([(tracks, camera_at(0))], sheet[0][:7], FPS)
    with pytest.raises(ValueError, match="views: got none"):
        lift([], sheet[0], FPS)
    with pytest.raises(ValueError, match="strain: got 0"):
        LiftConfig(strain=0)


def test_smoothness_is_told_from_noise():
    rng = np.random.default_rng(1)
    for order, amplitude, noise in [(2, 0.3, 0.02), (3, 0.01, 0.1), (4, 0.02, 0.01)]:
        series = []
        for _ in range(40):
            smooth = rng.normal(0, amplitude, 60)
            for _ in range(order):
                smooth = np.cumsum(smooth)
            series.append(smooth + rng.normal(0, noise, 60))
        found = estimate_smoothness(series)
        assert found.order == order
        assert found.amplitude == pytest.approx(amplitude, rel=0.15)
        assert found.noise == pytest.approx(noise, rel=0.3)
    with pytest.raises(ValueError, match="longest has 3 frames"):
        estimate_smoothness([np.zeros(3)])


def test_binding_carries_particles_rigidly_with_their_offset_from_the_sheet():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-1, 1, (40, 2)), np.zeros((40, 1))], axis=1)
    x = np.concatenate([rng.uniform(-0.8, 0.8, (100, 2)), rng.uniform(-0.1, 0.1, (100, 1))], axis=1)
    binding = bind_to_triangles(x, points)
    assert np.allclose(binding.carry(points), x)
    assert np.allclose(binding.blend.sum(axis=1), 1)
    turn, shift = Rotation.from_rotvec([0.5, -1.2, 2.0]).as_matrix(), np.array([1, 2, 3.0])
    assert np.allclose(binding.carry(points @ turn.T + shift), x @ turn.T + shift)
    # In the plane any affine map is exact, and the offset stays what it was.
    stretch = np.diag([1.1, 0.9, 1.0])
    assert np.allclose(binding.carry(points @ stretch), x @ stretch)


def test_binding_avoids_degenerate_triangles():
    line = np.stack([np.linspace(0, 1, 12), np.zeros(12), np.zeros(12)], axis=1)
    with pytest.raises(ValueError, match="line"):
        bind_to_triangles(np.array([[0.5, 0.1, 0]]), line)
    points = np.concatenate([line, [[0.5, 0.5, 0], [0.2, 0.6, 0]]])
    noisy = points + np.random.default_rng(0).normal(0, 1e-3, points.shape)
    x = np.array([[0.5, 0.02, 0.0], [0.3, 0.1, 0.01]])
    assert np.abs(bind_to_triangles(x, points).carry(noisy) - x).max() < 0.01


def test_targets_are_less_certain_where_keypoints_are_hidden(sheet, from_one_view):
    tracks, lifted = from_one_view
    targets, confidence = dense_targets(bind_to_triangles(sheet[0], sheet[0]), lifted)
    assert targets.shape == sheet.shape and confidence.shape == sheet.shape[:2]
    assert (confidence >= 0).all() and (confidence <= 1).all()
    lost = ~tracks.visible[-1]
    assert confidence[-1, lost].mean() < 0.5 * confidence[-1, ~lost].mean()


@pytest.fixture(scope="module")
def leaf():
    """Eight frames of both views, mask, depth and the true vertices."""
    cameras, videos = [], []
    for name in ("", "_1"):
        cameras.append(load_camera(LEAF / f"camera{name}.json")[0])
        frames = iio.imiter(LEAF / f"video{name}.mp4")
        videos.append(np.stack([frame for frame, _ in zip(frames, range(8), strict=False)]))
    mask = cv2.imread(str(LEAF / "mask_000.png"), cv2.IMREAD_UNCHANGED) > 0
    depth = cv2.imread(str(LEAF / "depth_000.png"), cv2.IMREAD_UNCHANGED) / 4000
    truth = np.load(LEAF / "ground_truth.npz")["vertices"][:8].astype(float)
    return videos, cameras, mask, depth, truth


def test_keypoints_know_which_view_sees_them(leaf):
    videos, cameras, mask, depth, truth = leaf
    found = keypoints([v[0] for v in videos], mask, depth, cameras, max_count=60)
    gap = np.linalg.norm(found.points[:, None] - truth[0][None], axis=2).min(axis=1)
    assert gap.max() < 0.06  # the mesh's own spacing is 0.056 m
    assert 20 < found.usable[1].sum() <= len(found.points)
    for view in (0, 1):
        cell = found.queries[view][found.usable[view]].astype(int)
        color = videos[view][0][cell[:, 1], cell[:, 0]].astype(int)
        assert (color[:, 0] > color[:, 2] + 10).mean() > 0.97  # on the red leaf


def test_targets_of_the_leaf_follow_it_in_both_views(leaf):
    videos, cameras, mask, depth, truth = leaf
    stages = set()
    result = targets_from_video(
        videos, cameras, mask, depth, FPS, truth[0], max_count=60, config=FAST,
        progress=lambda stage, done, total: stages.add(stage),
    )  # fmt: skip
    error = np.linalg.norm(result.targets - truth, axis=2)
    inner = error[0] < 0.01  # vertices at the hidden rim have no keypoints around them
    assert inner.mean() > 0.8
    assert np.median(error[-1, inner]) < 0.01
    moved = np.linalg.norm(truth[-1].mean(0) - truth[0].mean(0))
    offset = (result.targets - truth)[-1, inner].mean(axis=0)
    assert np.linalg.norm(offset) < 0.1 * moved
    assert result.quality.converged and result.quality.fits.all()
    assert result.quality.seen_share.min() > 0.7
    assert np.nanmax(result.quality.reprojection_px[:, 0]) < 0.5
    assert 150 < result.quality.object_px < 200
    assert {"lift", "refine tracks", "track view 0", "track view 1"} <= stages


def test_tracks_that_no_motion_explains_are_an_error(leaf):
    videos, cameras, mask, depth, truth = leaf
    xy = np.stack([cameras[0].project(frame)[0] for frame in truth])[:, ::9]
    xy[1:] = np.random.default_rng(0).uniform(0, 384, xy[1:].shape)
    tracks = Tracks(xy=xy, visible=np.ones(xy.shape[:2], bool))
    with pytest.raises(ValueError, match="no motion of the object explains them"):
        targets_from_video(
            videos[:1], cameras[:1], mask, depth, FPS, truth[0], tracks=[tracks], config=FAST
        )


def test_refined_tracks_find_lost_points_again(leaf):
    videos, cameras, mask, depth, _ = leaf
    first = targets_from_video(
        videos[:1], cameras[:1], mask, depth, FPS, np.zeros((1, 3)), max_count=60, config=FAST
    )
    blinked = videos[0].copy()
    blinked[3] = 128
    again = refine_tracks([blinked], cameras[:1], first.keypoints, first.lifted)[0]
    assert not again.visible[3].any() and again.visible[4:].mean() > 0.9


def test_ready_tracks_are_used_and_too_few_are_refused(leaf):
    videos, cameras, mask, depth, truth = leaf
    xy = np.stack([cameras[0].project(frame)[0] for frame in truth])
    visible = np.ones(xy.shape[:2], bool)
    few = np.arange(0, 625, 9)
    tracks = Tracks(xy=xy[:, few], visible=visible[:, few])
    result = targets_from_video(
        videos[:1], cameras[:1], mask, depth, FPS, truth[0], tracks=[tracks], config=FAST
    )
    assert np.median(np.linalg.norm(result.targets - truth, axis=2)[-1]) < 0.02
    with pytest.raises(ValueError, match="at least 8"):
        targets_from_video(
            videos[:1], cameras[:1], mask, depth, FPS, truth[0],
            tracks=[Tracks(xy=xy[:, :5], visible=visible[:, :5])],
        )  # fmt: skip
    with pytest.raises(ValueError, match="got 1 for 2 views"):
        targets_from_video(videos, cameras, mask, depth, FPS, truth[0], tracks=[tracks])
