"""Balls that are followed by their silhouettes: fast, plain, small."""

import dataclasses
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from inverse.lifting import Lifted, LiftQuality, Smoothness, Targets
from inverse.lifting.followed import frames_followed
from inverse.lifting.smoothness import differences
from inverse.perception.relief import is_disc
from inverse.tracking.discs import Disc, follow_disc
from inverse.tracking.turned import Turned
from inverse.tracking.unsteady import steadied
from inverse.wind.ball_path import find_path
from inverse.wind.balls import _modes, follow_ball
from renderers.camera import camera_from_fov


WIDTH, HEIGHT, FRAMES, FPS = 160, 120, 12, 30.0
SHUTTER = 12  # moments of an exposure
NARROW = camera_from_fov(WIDTH, HEIGHT, 4.0)  # of which all discs are circles, nearly
WIDE = camera_from_fov(WIDTH, HEIGHT, 60.0)


def textured(seed, scale, amplitude):
    noise = np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH, 3))
    noise = cv2.GaussianBlur(noise, (0, 0), scale)
    return amplitude * noise / noise.std()


def thrown(t):
    """The center of a disc, px, which falls by 0.9 px a frame and frame."""
    return np.array([25 + 10 * t, 85 - 11 * t + 0.9 * t**2])


def clip(path, radius, exposure=0.5, turns=True):
    """A disc (T, H, W, 3), smeared along its way; radius: (T,) px; turns: so fast that it shows
    another side in each frame."""
    rows, columns = np.indices((4 * HEIGHT, 4 * WIDTH))
    at = np.stack([columns, rows], axis=-1) / 4 + 0.125
    behind = 110 + textured(0, 1.5, 25)
    rng, video, covers = np.random.default_rng(1), [], []
    for t in range(FRAMES):
        cover = np.zeros((HEIGHT, WIDTH))
        for part in exposure * ((np.arange(SHUTTER) + 0.5) / SHUTTER - 0.5):
            low = np.maximum(np.floor(path(t + part) - radius[t]).astype(int), 0)
            high = np.ceil(path(t + part) + radius[t]).astype(int)
            near = at[4 * low[1] : 4 * high[1], 4 * low[0] : 4 * high[0]]
            on = np.linalg.norm(near - path(t + part), axis=-1) < radius[t]
            blocks = on.reshape(len(on) // 4, 4, -1, 4).mean(axis=(1, 3))
            cover[low[1] : high[1], low[0] : high[0]] += blocks / SHUTTER
        ball = np.array([200.0, 90, 50]) + textured(t + 5 if turns else 5, 3.0, 8)
        image = cover[..., None] * ball + (1 - cover[..., None]) * behind
        image += rng.normal(0, 1, image.shape)
        video.append(np.clip(image, 0, 255).round().astype(np.uint8))
        covers.append(cover > 0.5)
    return np.stack(video), covers


@pytest.mark.parametrize("exposure", [0.0, 0.5])
def test_a_fast_disc_is_found_to_parts_of_a_pixel(exposure):
    radius = 9.0 + 0.1 * np.arange(FRAMES)
    video, covers = clip(thrown, radius, exposure)
    disc = follow_disc(video, covers[0], NARROW)
    assert disc.found.all()
    true = np.stack([thrown(t) for t in range(FRAMES)])
    assert np.linalg.norm(disc.center - true, axis=1).max() < 0.5
    assert np.diff(disc.center - true, 2, axis=0).std() < 0.25  # of 1.8 px by gravity
    assert np.abs(disc.radius - radius).max() < 0.35


def test_a_camera_that_is_turned_sees_a_ball_as_a_circle():
    """Off the axis it is an ellipse, and its middle not where its center is seen."""
    rng = np.random.default_rng(0)
    center, radius = WIDE.unproject(np.array([140.0, 100.0]), 3.0), 0.3
    away = center - WIDE.position
    distance = np.linalg.norm(away)
    across = np.cross(rng.normal(size=(100, 3)), away)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    angle = np.arcsin(radius / distance)
    rim = WIDE.project(WIDE.position + np.cos(angle) * away + np.sin(angle) * distance * across)[0]
    turned = Turned(WIDE, WIDE.project(center)[0])
    np.testing.assert_allclose(
        np.linalg.norm(turned.see(rim), axis=1), turned.focal * np.tan(angle), rtol=1e-9
    )
    np.testing.assert_allclose(turned.back(turned.see(rim)), rim, rtol=1e-9)
    assert np.linalg.norm(rim - rim.mean(axis=0), axis=1).std() > 0.3
    assert turned.area(WIDE.project(center)[0]) > 1.2


def test_a_ball_off_the_axis_is_measured_as_one():
    """It flies towards the corner of a wide picture, where its ellipse is a tenth larger."""
    far, ball = 2.0, 0.15
    places = np.stack([[-0.6 + 0.12 * k, far, 0.3 + 0.02 * k] for k in range(FRAMES)])
    rows, columns = np.indices((3 * HEIGHT, 3 * WIDTH))
    at = np.stack([columns, rows], axis=-1) / 3 + 1 / 6
    rays = WIDE.unproject(at, 1.0) - WIDE.position
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    behind, video, covers = 110 + textured(0, 1.5, 25), [], []
    for place in places:
        along = rays @ place
        on = place @ place - along**2 < ball**2
        cover = on.reshape(HEIGHT, 3, WIDTH, 3).mean(axis=(1, 3))
        image = cover[..., None] * [200.0, 90, 50] + (1 - cover[..., None]) * behind
        video.append(image.round().clip(0, 255).astype(np.uint8))
        covers.append(cover > 0.5)
    disc = follow_disc(np.stack(video), covers[0], WIDE)
    distance = np.linalg.norm(places, axis=1)
    true = WIDE.fx * np.tan(np.arcsin(ball / distance))
    assert np.abs(disc.radius - true).max() < 0.15
    assert np.linalg.norm(disc.center - WIDE.project(places)[0], axis=1).max() < 0.15


@pytest.mark.parametrize(("order", "rough_m"), [(2, 2e-2), (3, 2e-3)])
def test_the_distance_of_a_ball_is_as_uncertain_as_it_is_said(order, rough_m):
    """Over many flights whose radii have white and lasting errors."""
    rng, frames, focal = np.random.default_rng(order), 20, NARROW.fx
    t, apart = np.linspace(0, 1, frames), np.arange(frames)[:, None] - np.arange(frames)
    lasting = 0.1 * np.linalg.cholesky(np.exp(-0.5 * (apart / 5) ** 2) + 1e-6 * np.eye(frames))
    D, off = differences(frames, order), []
    for _ in range(40):
        rough = np.linalg.pinv(D) @ rng.normal(0, rough_m, (frames - order, 3))
        way = np.stack([0.5 * t, 30 + 3 * t - 2 * t**2, 0.4 * t * (1 - t)], axis=1) + rough
        radius = focal * np.tan(np.arcsin(0.25 / np.linalg.norm(way, axis=1)))
        radius += lasting @ rng.normal(size=frames) + rng.normal(0, 0.05, frames)
        center = NARROW.project(way)[0] + rng.normal(0, 0.05, (frames, 2))
        disc = Disc(center=center, radius=radius, found=np.ones(frames, dtype=bool))
        path = find_path(disc, NARROW)
        second = np.diff(np.eye(frames), 2, axis=0)[::6]
        wrong = path.depth - way[:, 1] / way[0, 1]
        off.append(np.abs(wrong[1:]) / np.sqrt(np.diagonal(path.depths)[1:]))
        off.append(np.abs(second @ wrong) / np.sqrt(np.diagonal(second @ path.depths @ second.T)))
    assert 0.6 < (np.concatenate(off) < 1).mean() < 0.97
    assert (np.concatenate(off) < 2).mean() > 0.9


def test_errors_of_a_frame_that_is_hardly_known_do_not_hide_those_of_others():
    known = 1e-4 * np.exp(-0.5 * (np.arange(8)[:, None] - np.arange(8)) ** 2)
    known[-1, -1] = 1e4  # a frame in which nothing was seen
    spread = (_modes(known) ** 2).sum(axis=0)
    np.testing.assert_allclose(spread, np.diagonal(known), rtol=0.01)


def test_a_camera_that_turns_is_steadied():
    turn = Rotation.from_rotvec([0.02, -0.03, 0.05]).as_matrix()
    pose = np.eye(4)
    pose[:3, :3] = turn @ WIDE.rotation
    cameras = [
        WIDE, dataclasses.replace(WIDE, world_to_camera=pose),
        dataclasses.replace(WIDE, cx=WIDE.cx + 3.3, cy=WIDE.cy - 1.6),
    ]  # fmt: skip
    at = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1) + 0.5
    video = []
    for camera in cameras:
        rays = camera.unproject(at, 1.0) - camera.position
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        video.append((128 + 100 * np.sin(20 * rays)).round().astype(np.uint8))
    still = steadied(np.stack(video), cameras)
    for picture in still:
        off = picture.astype(float) - video[0]
        assert np.abs(off[15:-15, 15:-15]).max() < 3


def test_a_disc_that_rests_is_left_to_tracks():
    video, covers = clip(lambda t: np.array([80.3, 60.6]), np.full(FRAMES, 10.0), turns=False)
    assert follow_disc(video, covers[0], NARROW) is None


def test_a_disc_that_leaves_is_not_found_any_more():
    video, covers = clip(lambda t: np.array([100 + 12.0 * t, 60]), np.full(FRAMES, 9.0))
    disc = follow_disc(video, covers[0], NARROW)
    assert disc.found[:5].all() and not disc.found[7:].any()


def test_tracks_of_a_disc_move_and_grow_with_it():
    t = np.arange(FRAMES)
    disc = Disc(
        center=np.stack([thrown(k) for k in t]), radius=9 + 0.3 * t, found=np.arange(FRAMES) != 4
    )
    tracks = disc.tracks()
    assert not tracks.visible[4].any() and tracks.visible[5].all()
    arms = tracks.xy - disc.center[:, None]
    np.testing.assert_allclose(arms[8], arms[0] * (9 + 0.3 * 8) / 9, rtol=1e-9)


def inputs_of(video, mask, camera):
    ball = np.random.default_rng(0).normal(size=(200, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    return SimpleNamespace(
        surface=SimpleNamespace(vertices=ball), videos=[video], mask=mask, tracks=None,
        masks=None, fps=FPS, cameras=[[camera] * len(video)],
        taken=[np.arange(len(video)) / FPS], adrift=0.0,
    )  # fmt: skip


@pytest.mark.parametrize("share", [None, 0.2, 1.0])
def test_a_ball_is_put_where_its_silhouette_is(share):
    """Whether tracks find nothing (None), too little, or all of it, but not where it is."""
    camera = NARROW
    radius = np.full(FRAMES, 9.0)
    video, covers = clip(thrown, radius)
    assert is_disc(covers[0])
    start = camera.unproject(thrown(0)[None], np.array([2.0]))
    cloud = start + 0.01 * np.random.default_rng(2).uniform(-1, 1, (64, 3))
    cloud += start - cloud.mean(axis=0)
    asked = []

    @dataclasses.dataclass(frozen=True)
    class Found:
        targets: np.ndarray
        quality: LiftQuality
        confidence: np.ndarray
        sampled: np.ndarray
        shifts: np.ndarray

    def follow(tracks, masks, nodes):
        asked.append(tracks)
        if tracks is None and share is None:
            raise ValueError("tracks: got 0")
        way = np.stack([
            camera.unproject(thrown(t)[None] + 2.0, np.array([2.0]))[0] for t in range(FRAMES)
        ])  # fmt: skip
        targets = cloud + (way - way[0])[:, None] * 1.02
        seen = np.full(FRAMES, 1.0 if tracks is not None else share)
        quality = LiftQuality(
            converged=True, reprojection_px=np.zeros((FRAMES, 2)), seen_share=seen,
            keypoints_seen_share=seen, sigma_px=0.1, object_px=18.0,
        )  # fmt: skip
        return Found(
            targets, quality, np.ones((FRAMES, 64)), np.arange(4), np.ones((2, FRAMES, 4, 3))
        )

    found, by = follow_ball(inputs_of(video, covers[0], camera), follow)
    assert by == ("both" if share == 1.0 else "outline")
    # What all tracks have in common is that of the silhouette now.
    spread = np.sqrt((found.shifts.mean(axis=2) ** 2).sum(axis=0))
    assert 10 * spread[-1, 0] < spread[-1, 1] < 0.2
    assert (spread[0] == 0).all()
    assert len(asked) == (1 if share == 1.0 else 2) and asked[0] is None
    middles = found.targets.mean(axis=1)
    seen = np.concatenate([camera.project(middle[None])[0] for middle in middles])
    true = np.stack([thrown(t) for t in range(FRAMES)])
    assert np.diff(seen - true, 2, axis=0).std() < 0.25


@pytest.mark.parametrize(
    ("tracked", "frames", "by"),
    [(0, FRAMES - 2, "outline"), (FRAMES - 1, FRAMES - 2, "both"), (3, FRAMES - 2, "outline")],
)
def test_a_ball_that_leaves_is_followed_up_to_there(tracked, frames, by, monkeypatch):
    """Whether its points are followed in no, in one frame more, or in few frames."""
    camera, t = NARROW, np.arange(FRAMES)
    center = np.stack([60 + 3.0 * t, np.full(FRAMES, 60.0)], axis=1)
    disc = Disc(center=center, radius=np.full(FRAMES, 9.0), found=t < frames)
    monkeypatch.setattr("inverse.wind.balls.follow_disc", lambda *_: disc)

    def follow(tracks, masks, nodes):
        count = tracked if tracks is None else frames_followed(tracks)
        if count == 0:
            raise ValueError("tracks: got 0")
        way = camera.unproject(center[:count], np.full(count, 2.0))
        quality = LiftQuality(
            converged=True, reprojection_px=np.zeros((count, 2)), seen_share=np.ones(count),
            keypoints_seen_share=np.ones(count), sigma_px=0.1, object_px=18.0,
        )  # fmt: skip
        one = Smoothness(order=2, amplitude=0.1, noise=0.1)
        cloud = 0.01 * np.random.default_rng(2).normal(size=(9, 3))
        points = way[:, None] + cloud - cloud.mean(axis=0)
        seen = np.ones(points.shape[:2])
        lifted = Lifted(
            points=points, nodes=points, confidence=seen, fps=FPS, sigma_px=0.1, centroid=one,
            local=one, strain=0.0, converged=True, reprojection_px=np.zeros((count, 2)),
        )  # fmt: skip
        return Targets(
            targets=points, confidence=seen, lifted=lifted, keypoints=None,
            tracks=[disc.until(count).tracks()], quality=quality, sampled=np.arange(4),
            shifts=np.ones((2, count, 4, 3)),
        )  # fmt: skip

    video, mask = clip(lambda _: center[0], np.full(FRAMES, 9.0))
    found, how = follow_ball(inputs_of(video, mask[0], camera), follow)
    assert how == by and len(found.targets) == len(found.quality.seen_share) == frames
    assert found.shifts.shape[1] == found.tracks[0].frames == len(found.lifted.points) == frames
    assert np.abs(camera.project(found.targets.mean(axis=1))[0] - center[:frames]).max() < 1.5


def test_what_is_no_disc_is_followed_by_its_tracks_alone():
    square = np.zeros((HEIGHT, WIDTH), dtype=bool)
    square[40:60, 40:60] = True
    video = np.zeros((FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    inputs = inputs_of(video, square, NARROW)
    assert not is_disc(square)
    assert follow_ball(inputs, lambda tracks, masks: "found") == ("found", "tracks")


def test_a_path_is_smooth_between_blows_and_not_through_them():
    rng, t, focal = np.random.default_rng(0), np.arange(24) / 30, NARROW.fx
    fall = np.sqrt(2 * 0.5 / 9.81)
    up = np.where(t < fall, 0.5 - 4.9 * t**2, 2.5 * (t - fall) - 4.9 * (t - fall) ** 2)
    way = np.stack([0.3 * t, np.full(24, 30.0), up], axis=1)
    radius = focal * np.tan(np.arcsin(0.25 / np.linalg.norm(way, axis=1)))
    true = NARROW.project(way)[0]
    disc = Disc(
        center=true + rng.normal(0, 0.1, (24, 2)), radius=radius, found=np.ones(24, dtype=bool)
    )
    off = find_path(disc, NARROW).center - true
    assert np.diff(off, 2, axis=0)[:6].std() < 0.1  # 0.25 px without
    assert np.diff(off, 2, axis=0)[14:].std() < 0.1
    assert np.linalg.norm(off, axis=1).max() < 0.5
