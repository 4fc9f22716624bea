"""The pixels of a ball in a box, found by what later pictures show behind it."""

import cv2
import numpy as np
import pytest

from inverse.perception import moving_disc


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
