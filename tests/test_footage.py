"""Pictures that are not all in memory: the same as those that are."""

import gc
import tempfile
import tracemalloc

import numpy as np
import pytest

from inverse.clips.footage import SpooledFootage, as_footage, keep_pictures
from inverse.lifting.shrink import shrink_footage
from inverse.tracking import track_lucas_kanade
from inverse.wind.results.pictures import static_background


RNG = np.random.default_rng(3)


def noise(count, height=24, width=32):
    return RNG.integers(0, 255, (count, height, width, 3)).astype(np.uint8)


def spooled(frames):
    return keep_pictures(iter(frames), len(frames), memory=0)


def test_spooled_pictures_are_the_same_in_any_order():
    frames = noise(30)
    film = spooled(frames)
    assert isinstance(film, SpooledFootage) and film.shape == frames.shape and len(film) == 30
    for k in (0, 29, 3, -1, 17, 0):
        np.testing.assert_array_equal(film[k], frames[k])
    np.testing.assert_array_equal(np.stack(list(film[7:])), frames[7:])
    np.testing.assert_array_equal(np.stack(list(film[7::-1])), frames[7::-1])
    part = film[4:20][::3]
    assert part.shape == frames[4:20:3].shape
    np.testing.assert_array_equal(part[2], frames[10])
    assert as_footage(film) is film
    with pytest.raises(IndexError):
        film[30]


def test_few_pictures_are_an_array():
    frames = noise(5)
    kept = keep_pictures(iter(frames), 5)
    assert isinstance(kept, np.ndarray)
    np.testing.assert_array_equal(kept, frames)
    with pytest.raises(ValueError, match="pictures: got 4, expected 5"):
        keep_pictures(iter(frames[:4]), 5)
    with pytest.raises(ValueError, match=r"video: got shape \(5, 24, 32\), expected"):
        as_footage(frames[..., 0])


def test_memory_does_not_grow_with_the_number_of_pictures():
    frame = noise(1, 90, 120)[0]

    def peak(count):
        gc.collect()
        tracemalloc.start()
        film = keep_pictures((frame for _ in range(count)), count, memory=0)
        total = sum(int(picture[0, 0, 0]) for picture in film)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == count * int(frame[0, 0, 0])
        return top

    peak(4)
    assert peak(60) - peak(20) < 2 * frame.nbytes < 40 * frame.nbytes


def test_a_full_disk_is_named(monkeypatch):
    class Full:
        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(ValueError, match=r"do not fit into .* \(No space left on device\).*TMPDIR"):
        spooled(noise(3))


def test_tracks_do_not_depend_on_where_pictures_lie():
    big = np.kron(noise(1, 60, 80)[0], np.ones((2, 2, 1), np.uint8))
    video = np.stack([np.roll(big, (k, 2 * k), axis=(0, 1)) for k in range(6)])
    queries = np.array([[50.0, 40.0], [90.0, 70.0]])
    a, b = track_lucas_kanade(video, queries), track_lucas_kanade(spooled(video), queries)
    assert a.visible.all()
    np.testing.assert_array_equal(a.xy, b.xy)
    np.testing.assert_array_equal(
        shrink_footage(video, 0.5)[3], shrink_footage(spooled(video), 0.5)[3]
    )


def test_a_background_is_made_row_by_row_as_at_once():
    scene = noise(1, 75, 20)[0]
    video, covered = np.repeat(scene[None], 5, axis=0), np.zeros((5, 75, 20), dtype=bool)
    for frame in range(5):
        covered[frame, 10:70, 4 * frame : 4 * frame + 4] = True
        video[frame][covered[frame]] = 255
    np.testing.assert_array_equal(static_background(video, covered), scene)
