"""Tracks against masks of all frames."""

import numpy as np
import pytest
from sheets import Sheet, film_sheets

from inverse.lifting import targets_from_video
from inverse.tracking import Tracks
from inverse.tracking.silhouettes import carried_masks, inside_masks
from renderers.camera import camera_from_fov


def test_points_outside_of_the_masks_are_not_seen():
    masks = np.zeros((4, 60, 80), bool)
    masks[:, 20:40, 20:50] = True
    masks[2] = False  # out of sight
    xy = np.tile([[30.0, 30.0], [51.0, 30.0], [60.0, 30.0], [-9.0, 30.0]], (4, 1, 1))
    visible = np.ones((4, 4), bool)
    visible[1, 0] = False
    found = inside_masks(Tracks(xy=xy, visible=visible), masks, (80, 60))
    assert found.visible.tolist() == [
        [True, True, False, False], [False, True, False, False], [False] * 4,
        [True, True, False, False],
    ]  # fmt: skip
    large = inside_masks(Tracks(xy=4 * xy, visible=visible), masks, (320, 240))
    assert np.array_equal(large.visible, found.visible)


def test_what_passes_in_front_does_not_pull_the_object_along():
    """Half of the tracks stick to a pole from frame 3 on, and only the masks know."""
    frames, camera = 7, camera_from_fov(120, 90, 40.0)
    rng = np.random.default_rng(0)
    mask = np.zeros((90, 120), bool)
    mask[30:60, 30:70] = True
    depth = np.where(mask, 2.0, np.nan)
    start = np.stack(np.meshgrid(np.linspace(33, 67, 5), np.linspace(33, 57, 4)), -1).reshape(-1, 2)
    step = np.arange(frames)[:, None, None]
    xy = start + step * [0.5, 0.0] + 0.02 * rng.standard_normal((frames, 20, 2))
    wrong = np.arange(20) % 2 == 0
    stuck = xy.copy()
    stuck[3:, wrong] = [75.0, 12.0] + step[3:] * [3.0, 0.0]
    masks = np.stack([np.roll(mask, round(0.5 * k), axis=1) for k in range(frames)])
    video = np.zeros((frames, 90, 120, 3), np.uint8)
    x0 = camera.unproject(np.argwhere(mask)[::40, ::-1] + 0.5, 2.0)
    tracks = [Tracks(xy=stuck, visible=np.ones((frames, 20), bool))]
    found = targets_from_video([video], [camera], mask, depth, 24, x0, tracks=tracks, masks=masks)
    assert found.tracks[0].visible[2].all()
    assert not found.tracks[0].visible[3:, wrong].any()
    moved = camera.project(found.targets[-1].mean(axis=0))[0]
    before = camera.project(found.targets[0].mean(axis=0))[0]
    assert np.abs(moved - before - [3.0, 0]).max() < 0.5


FRAMES, FPS = 12, 24
CAMERA = camera_from_fov(160, 120, 24)
SHEET = Sheet((-0.15, 2.0, 0.05), (0.5, 0, 0.2), (0.6, 0, -1.0), 0.8)


@pytest.fixture(scope="module")
def flight():
    """Video and labels of a sheet in flight, and tracks of 24 of its points."""
    video, labels, depth = film_sheets([SHEET], CAMERA, FRAMES, FPS)
    spots = np.stack(np.meshgrid(np.linspace(-0.1, 0.1, 6), 0, np.linspace(-0.1, 0.1, 4)), -1)
    xy = []
    for t in range(FRAMES):
        turn, center = SHEET.pose(t / FPS)
        xy.append(CAMERA.project(spots.reshape(-1, 3) @ turn.T + center)[0])
    return video, labels > 0, depth, np.stack(xy)


def test_a_mask_is_carried_by_the_tracks(flight):
    video, truth, _, xy = flight
    tracks = Tracks(xy=xy, visible=np.ones(xy.shape[:2], bool))
    masks = carried_masks(video, truth[0], tracks)
    for found, true in zip(masks, truth, strict=True):
        assert (found & true).sum() > 0.93 * (found | true).sum()
    # Where nothing is followed any more, or where something else would be, it is not known.
    few = np.ones(xy.shape[:2], bool)
    few[6:, 5:] = False
    lost = carried_masks(video, truth[0], Tracks(xy=xy, visible=few))
    assert np.array_equal(lost[:6], masks[:6]) and lost[6:].all()
    grown = xy.copy()
    grown[4:] = xy[4:].mean(axis=1, keepdims=True) + 2 * (xy[4:] - xy[4:].mean(1, keepdims=True))
    assert carried_masks(video, truth[0], Tracks(xy=grown, visible=tracks.visible))[4:].all()


@pytest.mark.parametrize("tone, ground", [(1.5, 120.0), (1.2, None), (0.0, 0.0)])
def test_points_that_move_with_a_thing_without_texture_are_on_it(tone, ground):
    """Flow and GrabCut eat into what is hardly told from the ground behind it."""
    y, x = np.mgrid[:120, :160] + 0.5
    behind = 60 + 0.6 * x if ground is None else np.full(x.shape, ground)
    spots = np.stack(np.meshgrid(np.linspace(-16, 16, 6), np.linspace(-10, 10, 4)), -1)
    video, masks, xy = [], [], []
    for t in range(16):
        turn = np.array(
            [[np.cos(0.03 * t), -np.sin(0.03 * t)], [np.sin(0.03 * t), np.cos(0.03 * t)]]
        )
        center = np.array([40 + 2.5 * t, 40 + 0.8 * t])
        at = np.stack([x - center[0], y - center[1]], -1) @ turn
        masks.append((abs(at[..., 0]) < 20) & (abs(at[..., 1]) < 14))
        picture = np.where(masks[-1], 125 * (tone > 0) + tone * at[..., 0], behind)
        video.append(picture.clip(0, 255).astype(np.uint8)[..., None].repeat(3, axis=2))
        xy.append(spots.reshape(-1, 2) @ turn.T + center)
    xy = np.stack(xy)
    stuck, wrong = xy.copy(), np.arange(24) % 3 == 0
    stuck[:, wrong] = xy[0, wrong]
    for places, good in ((xy, wrong | True), (stuck, ~wrong)):
        tracks = Tracks(xy=places, visible=np.ones(xy.shape[:2], bool))
        kept = inside_masks(tracks, carried_masks(np.stack(video), masks[0], tracks), (160, 120))
        assert kept.visible[:, good].all() and not kept.visible[-1, ~good].any()


def test_ready_tracks_that_slip_off_the_object_are_dropped_without_any_masks(flight):
    """Every third point stays behind on the ground, and its tracker says that it is seen."""
    video, truth, depth, xy = flight
    stuck, wrong = xy.copy(), np.arange(24) % 3 == 0
    stuck[4:, wrong] = xy[4, wrong]
    tracks = [Tracks(xy=stuck, visible=np.ones(xy.shape[:2], bool))]
    x0 = CAMERA.unproject(np.argwhere(truth[0])[::40, ::-1] + 0.5, 2.0)
    mask, deep = truth[0], np.where(truth[0], depth, np.nan)
    found = targets_from_video([video], [CAMERA], mask, deep, FPS, x0, tracks=tracks)
    seen = found.tracks[0].visible
    assert seen[:4].all() and seen[:, ~wrong].all()
    off = np.array([[not truth[t][int(v), int(u)] for u, v in stuck[t]] for t in range(FRAMES)])
    assert off[-1].sum() >= 4 and not seen[-1, off[-1]].any()
