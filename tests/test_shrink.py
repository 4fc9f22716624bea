"""Large objects are tracked on smaller pictures; results are in pixels of the clip."""

from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np

from inverse.lifting import LiftConfig, targets_from_video
from inverse.lifting.shrink import LARGE, SHRUNK, shrink_camera, shrink_factor, shrink_image
from renderers.camera import load_camera


LEAF = Path(__file__).parent.parent / "assets" / "leaf"
FRAMES, TIMES = 6, 2


def test_only_large_objects_are_made_smaller():
    mask = np.zeros((600, 800), bool)
    mask[100:120, 100 : 100 + LARGE] = True
    assert shrink_factor(mask) == 1
    mask[100:500, 100] = True
    assert shrink_factor(mask) == SHRUNK / 400


def test_nothing_moves_when_a_picture_is_made_smaller():
    camera = load_camera(LEAF / "camera.json")[0]
    small = shrink_camera(camera, 0.4)
    u, v = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    ramp = np.stack([u, v, 0 * u], axis=-1) / 2
    picture = shrink_image(ramp.astype(np.uint8), 0.4)
    sampled = shrink_image(ramp[..., 0], 0.4)
    assert picture.shape == (small.height, small.width, 3)
    point = camera.unproject(np.array([[201.0, 99.0]]), np.array([3.0]))
    x, y = small.project(point)[0][0]
    assert np.abs(picture[int(y), int(x), :2] * 2 - [201, 99]).max() < 4
    assert abs(sampled[int(y), int(x)] * 2 - 201) < 4


def test_a_large_leaf_is_followed_as_a_small_one():
    camera = load_camera(LEAF / "camera.json")[0]
    size = camera.width * TIMES, camera.height * TIMES
    frames = iio.imiter(LEAF / "video.mp4")
    video = np.stack(
        [cv2.resize(frame, size) for frame, _ in zip(frames, range(FRAMES), strict=False)]
    )
    mask = cv2.imread(str(LEAF / "mask_000.png"), cv2.IMREAD_UNCHANGED) > 0
    depth = cv2.imread(str(LEAF / "depth_000.png"), cv2.IMREAD_UNCHANGED) / 4000
    mask, depth = (np.repeat(np.repeat(a, TIMES, 0), TIMES, 1) for a in (mask, depth))
    truth = np.load(LEAF / "ground_truth.npz")["vertices"][:FRAMES].astype(float)
    large = shrink_camera(camera, TIMES)
    sizes = []

    def tracker(video, queries, **options):
        from inverse.tracking import track_lucas_kanade

        sizes.append(video.shape[1:3])
        return track_lucas_kanade(video, queries, **options)

    result = targets_from_video(
        [video], [large], mask, depth, 24, truth[0], tracker=tracker, max_count=60,
        config=LiftConfig(nodes=24),
    )  # fmt: skip
    assert max(sizes[0]) < 384
    error = np.linalg.norm(result.targets - truth, axis=2)
    assert np.median(error[0]) < 0.01 and np.median(error[-1]) < 0.03  # one view: depth is worse
    places = [large.project(x[-1])[0] for x in (result.targets, truth)]
    assert np.median(np.linalg.norm(places[0] - places[1], axis=1)) < 1
    # In pixels of the clip.
    assert 300 < result.quality.object_px < 400
    seen = result.tracks[0].visible
    for t, tracks in enumerate(result.tracks[0].xy):
        off = large.project(result.lifted.points[t])[0] - tracks
        assert np.median(np.linalg.norm(off, axis=1)[seen[t]]) < 1
    assert result.keypoints.masks[0].shape == mask.shape
    assert (result.keypoints.masks[0] == mask).mean() > 0.99
