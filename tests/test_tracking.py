"""Tracks: registration without drift, loss without return, files, keypoints, camera rotation."""

import dataclasses

import cv2
import numpy as np
import pytest

from inverse.tracking import (
    Tracks,
    camera_rotation,
    load_tracks,
    select_keypoints,
    track_cotracker,
    track_lucas_kanade,
)
from renderers.camera import camera_from_fov


SIZE = 160


def blobs(shape, seed=0, smooth=2.0):
    """A random smooth texture (H, W, 3) uint8."""
    noise = np.random.default_rng(seed).normal(size=(*shape, 3))
    smoothed = cv2.GaussianBlur(noise, (0, 0), smooth)
    return np.clip(128 + 45 * smoothed / smoothed.std(), 0, 255).astype(np.uint8)


def moving_sheet(frames=8):
    """A textured square that turns, shrinks in one direction, drifts and dims over a rough ground.

    Returns the video, the mask of frame 0 and a function (points, t) -> true positions, px.
    """
    texture, ground = blobs((SIZE, SIZE)), blobs((SIZE, SIZE), seed=9, smooth=1.5)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[45:115, 45:115] = 1
    center = np.array([80.0, 80.0])

    def matrix(t):
        angle, squeeze = 0.06 * t, np.diag([1 - 0.05 * t, 1.0])
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return turn @ squeeze

    def place(points, t):
        return (points - center) @ matrix(t).T + center + np.array([1.7, -1.1]) * t

    video = []
    for t in range(frames):
        A = matrix(t)
        offset = place(np.array([[0.5, 0.5]]), t)[0] - 0.5  # OpenCV warps pixel centers
        warp = np.concatenate([A, offset[:, None]], axis=1)
        image = cv2.warpAffine(texture, warp, (SIZE, SIZE), flags=cv2.INTER_CUBIC)
        cover = cv2.warpAffine(mask, warp, (SIZE, SIZE), flags=cv2.INTER_NEAREST)[..., None]
        dim = 1 - 0.04 * t
        video.append(np.where(cover > 0, dim * image, ground).astype(np.uint8))
    return np.stack(video), mask > 0, place


def test_lucas_kanade_follows_turning_foreshortened_dimming_patches_without_drift():
    video, mask, place = moving_sheet()
    queries = select_keypoints(video[0], mask, max_count=40)
    tracks = track_lucas_kanade(video, queries, mask=mask, radius=8)
    assert tracks.visible[-1].mean() > 0.7
    for t in (1, 7):
        off = (tracks.xy[t] - place(queries, t))[tracks.visible[t]]
        assert np.abs(off.mean(axis=0)).max() < 0.05  # a half-pixel slip would show here
        assert np.median(np.linalg.norm(off, axis=1)) < 0.15
    rim = (np.abs(queries - 80) > 27).any(axis=1)
    assert rim.sum() > 5 and tracks.visible[3, rim].mean() > 0.8  # the ground is left out


@pytest.mark.parametrize("step", [14, 30])
def test_what_moves_far_over_a_rough_ground_is_followed(step):
    """Coarse levels of the pyramid see the ground, fine ones not far enough."""
    size, move = 240, np.array([step, 0.4 * step])
    texture, ground = blobs((size, size)), blobs((size, size), seed=9, smooth=1.5)
    mask = np.zeros((size, size), np.uint8)
    mask[40:100, 20:80] = 1
    video = []
    for t in range(5):
        warp = np.concatenate([np.eye(2), move[:, None] * t], axis=1)
        image = cv2.warpAffine(texture, warp, (size, size))
        cover = cv2.warpAffine(mask, warp, (size, size), flags=cv2.INTER_NEAREST)
        video.append(np.where(cover[..., None] > 0, image, ground))
    video = np.stack(video)
    queries = select_keypoints(video[0], mask > 0, max_count=30)
    tracks = track_lucas_kanade(video, queries, mask=mask > 0)
    seen = tracks.visible[-1]
    right = np.linalg.norm(tracks.xy[-1] - queries - 4 * move, axis=1) < 0.2
    assert (seen & right).mean() > 0.5 and (seen & ~right).mean() < 0.15


def test_a_lost_point_stays_lost():
    video, mask, _ = moving_sheet()
    video[3:5, :, :62] = 90  # the left part disappears for two frames
    queries = select_keypoints(video[0], mask, max_count=40)
    tracks = track_lucas_kanade(video, queries, mask=mask, radius=8)
    hidden = queries[:, 0] < 52
    assert not tracks.visible[3:, hidden].any()
    assert (np.diff(tracks.visible.astype(int), axis=0) <= 0).all()
    assert tracks.visible[-1, queries[:, 0] > 100].any()


def test_keypoints_prefer_texture_but_cover_the_plain_part_too():
    image = np.full((120, 200, 3), 100, np.uint8)
    image[:, :100] = blobs((120, 100))
    mask = np.zeros((120, 200), bool)
    mask[10:110, 10:190] = True
    points = select_keypoints(image, mask, max_count=60)
    assert 30 <= len(points) <= 60
    inside = mask[points[:, 1].astype(int), points[:, 0].astype(int)]
    assert inside.all() and points[:, 0].min() > 12 and points[:, 0].max() < 188
    assert (points[:20, 0] < 104).all()
    assert (points[:, 0] > 120).sum() > 8
    taken = select_keypoints(image, mask, max_count=60, avoid=points[points[:, 0] < 100])
    assert (taken[:, 0] > 95).mean() > 0.8


def test_keypoints_refuse_an_empty_or_misfit_mask():
    image = np.zeros((20, 30, 3), np.uint8)
    with pytest.raises(ValueError, match="empty"):
        select_keypoints(image, np.zeros((20, 30), bool))
    with pytest.raises(ValueError, match=r"\(30, 20\).*\(20, 30\)"):
        select_keypoints(image, np.ones((30, 20), bool))


def test_tracks_survive_a_round_trip_and_bad_files_are_named(tmp_path):
    rng = np.random.default_rng(0)
    tracks = Tracks(xy=rng.normal(size=(3, 9, 2)), visible=rng.random((3, 9)) < 0.5)
    path = tmp_path / "tracks.npz"
    tracks.save(path)
    again = load_tracks(path)
    for field in dataclasses.fields(Tracks):
        assert np.array_equal(getattr(tracks, field.name), getattr(again, field.name))
    assert [p.name for p in tmp_path.iterdir()] == ["tracks.npz"]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"tracks\.npz.*npz"):
        load_tracks(path)
    with pytest.raises(ValueError, match=r"absent\.npz.*cannot be read"):
        load_tracks(tmp_path / "absent.npz")
    np.savez(tmp_path / "half.npz", xy=np.zeros((3, 9, 2)))
    with pytest.raises(ValueError, match=r"half\.npz.*missing visible"):
        load_tracks(tmp_path / "half.npz")
    with pytest.raises(ValueError, match="cannot be written"):
        tracks.save(tmp_path / "half.npz" / "tracks.npz")  # a file is in the way


@pytest.mark.parametrize(
    ("xy", "visible", "message"),
    [
        (np.zeros((3, 2)), np.ones(3, bool), r"xy: got shape \(3, 2\)"),
        (np.zeros((3, 4, 2)), np.ones((4, 3), bool), r"visible: got shape \(4, 3\)"),
        (np.full((3, 4, 2), np.nan), np.ones((3, 4), bool), "not finite"),
    ],
)
def test_tracks_check_their_shapes(xy, visible, message):
    with pytest.raises(ValueError, match=message):
        Tracks(xy=xy, visible=visible)


def test_cotracker_conventions_with_a_stand_in_model(tmp_path):
    (tmp_path / "hubconf.py").write_text(
        "import torch\n"
        "class Model(torch.nn.Module):\n"
        "    def forward(self, video, queries, backward_tracking):\n"
        "        assert video.dtype == torch.float32 and video.max() > 1\n"
        "        B, T, C, H, W = video.shape\n"
        "        assert (C, H, W) == (3, 20, 30) and (queries[..., 0] == 0).all()\n"
        "        xy = queries[:, None, :, 1:].repeat(1, T, 1, 1)\n"
        "        return xy, torch.ones(xy.shape[:3], dtype=torch.bool)\n"
        "def cotracker3_offline(pretrained=True):\n"
        "    return Model()\n"
    )
    queries = np.array([[3.5, 4.5], [10.0, 2.0]])
    video = np.full((4, 20, 30, 3), 200, np.uint8)
    tracks = track_cotracker(video, queries, repo_or_checkpoint=tmp_path)
    assert np.allclose(tracks.xy, queries, atol=1e-5) and tracks.visible.all()


def test_cotracker_absent_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="CoTracker cannot be loaded.*default tracker") as info:
        track_cotracker(
            np.zeros((2, 8, 8, 3), np.uint8), [[1, 1]], repo_or_checkpoint=tmp_path / "none.pth"
        )
    assert "\n" not in str(info.value)


def test_camera_rotation_is_recovered_from_the_background():
    camera = camera_from_fov(160, 120, 40.0)
    texture = blobs((120, 160), seed=3, smooth=1.5)
    angles = np.radians([0, 0.4, 1.0, 1.3])
    video = []
    for angle in angles:
        turn = cv2.Rodrigues(angle * np.array([0.3, 0.9, 0.2]))[0]
        H = camera.K @ turn @ np.linalg.inv(camera.K)
        shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
        H = np.linalg.inv(shift) @ H @ shift
        video.append(cv2.warpPerspective(texture, H, (160, 120), borderMode=cv2.BORDER_REFLECT))
    cameras = camera_rotation(np.stack(video), camera)
    for angle, found in zip(angles, cameras, strict=True):
        turn = cv2.Rodrigues(angle * np.array([0.3, 0.9, 0.2]))[0]
        wrong = cv2.Rodrigues(found.rotation @ (turn @ camera.rotation).T)[0]
        assert np.degrees(np.linalg.norm(wrong)) < 0.03
        assert np.allclose(found.position, camera.position)
    with pytest.raises(ValueError, match="frame 1 shares fewer than 20"):
        camera_rotation(np.zeros((2, 120, 160, 3), np.uint8), camera)
