"""The pixels of a ball in a box, found by what later pictures show behind it."""

import cv2
import numpy as np
import pytest

from inverse.clips import plan_clip
from inverse.perception import grabcut_mask, moving_disc, moving_object
from inverse.wind.config import WindJob
from inverse.wind.inputs.object import read_mask
from renderers.camera import camera_from_fov


WIDTH, HEIGHT, FRAMES, RADIUS = 260, 200, 8, 16.0
START = np.array([50.0, 120.0])
BOX = (30.0, 100.0, 70.0, 140.0)


def film(speed, exposure, length=(0.0, 0.0)):
    """A ball (T, H, W, 3) uint8 that moves by speed (2,) px a frame, before a background that has
    its colors, too; length: (2,) px, by which the thing is longer than a ball."""
    rng = np.random.default_rng(0)
    behind = cv2.GaussianBlur(rng.normal(size=(HEIGHT, WIDTH, 3)), (0, 0), 2.0)
    behind = 120 + 60 * behind / behind.std()
    rows, columns = np.indices((HEIGHT, WIDTH))
    at = np.stack([columns, rows], axis=-1) + 0.5
    long = float(np.linalg.norm(length))
    way = np.asarray(length) / max(long, 1e-9)
    pictures = []
    for t in range(FRAMES):
        cover = np.zeros((HEIGHT, WIDTH))
        for part in np.linspace(-0.5, 0.5, 9):
            away = at - START - (t + exposure * part) * np.asarray(speed)
            along = np.clip(away @ way, -0.5 * long, 0.5 * long)
            cover += np.linalg.norm(away - along[..., None] * way, axis=-1) < RADIUS
        share = cover[..., None] / 9
        image = share * np.array([220.0, 130, 40]) + (1 - share) * behind
        pictures.append(np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8))
    return np.stack(pictures)


def likeness(a, b):
    return (a & b).sum() / (a | b).sum()


def true_disc():
    rows, columns = np.indices((HEIGHT, WIDTH))
    return np.hypot(columns + 0.5 - START[0], rows + 0.5 - START[1]) < RADIUS


@pytest.mark.parametrize(("speed", "exposure"), [((20.0, -9.0), 0.1), ((22.0, -11.0), 0.8)])
def test_a_ball_that_flies_away_is_found_where_it_is_in_the_middle_of_its_smear(speed, exposure):
    found, true = moving_disc(film(speed, exposure), BOX), true_disc()
    assert found is not None
    assert (found & true).sum() > 0.75 * (found | true).sum()


def test_what_is_long_by_itself_is_no_smeared_ball():
    across = film((22.0, 0.0), 0.0, length=(0.0, 18.0))  # which no smear would be
    assert moving_disc(across, BOX) is None
    assert moving_disc(film((22.0, 0.0), 0.8), BOX) is not None


def test_nothing_is_found_of_what_stays():
    assert moving_disc(film((0.0, 0.0), 0.5), BOX) is None


def test_what_flaps_on_in_its_box_is_no_ball_that_flew_away():
    """The end of a flag may be round in frame 0, where it is away in usual pictures."""
    box, flown = (20.0, 90.0, 80.0, 150.0), film((26.0, 0.0), 0.1)
    assert moving_disc(flown, box) is not None
    for t in range(1, FRAMES):
        rows = slice(46 + 16 * t, 62 + 16 * t)  # a part of it, each time another one
        flown[t, rows, 68:108] = 255 - flown[t, rows, 68:108]
    assert moving_disc(flown, box) is None


def test_a_box_around_something_large_was_not_drawn_around_a_ball():
    flown = film((26.0, 0.0), 0.1)
    assert moving_disc(flown, (10.0, 80.0, 90.0, 160.0)) is not None
    assert moving_disc(flown, (2.0, 60.0, 122.0, 180.0)) is None


def test_what_is_no_ball_is_found_by_what_is_behind_it_only_where_it_flies_away():
    flown = film((26.0, 8.0), 0.1, (30.0, 0.0))
    box = (5.0, 90.0, 95.0, 150.0)
    rows, columns = np.indices((HEIGHT, WIDTH))
    beside = np.maximum(np.abs(columns + 0.5 - START[0]) - 15, 0)
    true = np.hypot(beside, rows + 0.5 - START[1]) < RADIUS
    assert moving_disc(flown, box) is None
    assert likeness(moving_object(flown, box), true) > 0.85
    assert moving_object(film((0.0, 0.0), 0.5), BOX) is None
    assert moving_object(flown, (5.0, 5.0, 60.0, 60.0)) is None  # nothing is there
    flaps = flown.copy()
    flaps[5:, 90:150, 5:95] = flown[0, 90:150, 5:95]  # it is back
    assert moving_object(flaps, box) is None


def test_what_a_shaking_camera_sees_fly_out_of_a_box_is_found(tmp_path):
    flown, margin = film((26.0, 8.0), 0.1, (30.0, 0.0)), 16
    flown[0, :, :, :] = np.where(  # of the colors of what is behind it, in another place
        np.abs(flown[0].astype(int) - [220, 130, 40]).max(axis=2, keepdims=True) < 60,
        np.roll(flown[4], 37, axis=1), flown[0],
    )  # fmt: skip
    for t, picture in enumerate(flown):
        shift = [8 * np.sin(2.1 * t), 6 * np.sin(1.3 * t)]
        shaken = cv2.warpAffine(picture, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), None)
        inner = shaken[margin:-margin, margin:-margin]
        cv2.imwrite(str(tmp_path / f"{t:03d}.png"), inner[..., ::-1])
    box = (0.0, 74.0, 80.0, 134.0)
    plan = plan_clip(tmp_path, fps=30.0)
    job = WindJob(video=(str(tmp_path),), box=box, out=str(tmp_path / "out"))
    with pytest.raises(ValueError, match="--mask"):
        grabcut_mask(plan.first, box)
    notes: list[str] = []
    labels, _ = read_mask(job, plan, camera_from_fov(*plan.size, 40.0), notes)
    assert "flies out of box" in notes[0]
    rows, columns = np.indices(labels.shape)
    beside = np.maximum(np.abs(columns + 0.5 - START[0] + margin) - 15, 0)
    true = np.hypot(beside, rows + 0.5 - START[1] + margin) < RADIUS
    assert likeness(labels > 0, true) > 0.75
