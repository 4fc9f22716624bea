"""Tracks against masks of all frames."""

import numpy as np

from inverse.lifting import targets_from_video
from inverse.tracking import Tracks
from inverse.tracking.silhouettes import inside_masks
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
