"""Clips most of whose pictures were made from those around them."""

import numpy as np
import pytest

from inverse.clips import plan_clip
from inverse.clips.interpolated import Rhythm, find_rhythm
from inverse.clips.scan import scan_clip
from renderers.video import write_video


RNG = np.random.default_rng(0)
GROUND = RNG.integers(60, 120, (12, 16)).repeat(8, axis=0).repeat(8, axis=1)
THING = RNG.integers(130, 250, (6, 6)).repeat(4, axis=0).repeat(4, axis=1)


def picture(time):
    """A thing that swings over the ground (96, 128) at a time, s."""
    result = GROUND.astype(float)
    x, y = 20 + 40 * (1 - np.cos(4 * time)), 35 + 25 * np.sin(5 * time)
    column, row = int(x), int(y)
    right, down = x - column, y - row
    soft = np.pad(THING, 1, mode="edge").astype(float)
    soft = (1 - right) * soft[:, 1:] + right * soft[:, :-1]
    soft = (1 - down) * soft[1:] + down * soft[:-1]
    result[row : row + 25, column : column + 25] = soft
    return result


def film(path, frames, fps):
    noisy = frames + RNG.normal(0, 1, frames.shape)
    pictures = noisy.clip(0, 255).astype(np.uint8)[..., None].repeat(3, axis=3)
    write_video(path, pictures, fps, quality=9)
    return path


def faded(rate, times, seconds=2.0):
    """Frames of a rate, with as many more that fade from each to the next."""
    true = np.stack([picture(k / rate) for k in range(int(seconds * rate))])
    return np.concatenate([
        (1 - k / times) * true[j : j + 1] + k / times * true[j + 1 : j + 2]
        for j in range(len(true) - 1) for k in range(times)
    ])  # fmt: skip


@pytest.mark.parametrize("rate, times, start", [(24, 5, 0), (12, 5, 0), (24, 5, 7)])
def test_frames_that_fade_into_each_other_are_left_out(tmp_path, rate, times, start):
    plan = plan_clip(film(tmp_path / "a.mp4", faded(rate, times), rate * times), start=start)
    assert plan.timing.fps == pytest.approx(rate, rel=1e-3)
    first = -(-start // times) * times
    assert plan.timing.picture[:4].tolist() == [first + times * k for k in range(4)]
    assert f"Of {times} frames of the file {times - 1} were made from those" in plan.notes[0]
    few = plan_clip(film(tmp_path / "a.mp4", faded(rate, times), rate * times), frames=15)
    assert len(few) == 15


def test_frames_of_a_fast_camera_all_count(tmp_path):
    frames = np.stack([picture(k / 120) for k in range(240)])
    path = film(tmp_path / "a.mp4", frames, 120)
    plan = plan_clip(path, each=1, most=None)
    assert len(plan) == 240 and plan.notes == ()
    slow = film(tmp_path / "b.mp4", faded(24, 5), 120)
    assert len(plan_clip(slow, fps=120, each=1, most=None)) == 235  # who says so knows better


def test_a_rhythm_stands_out_of_chance():
    rng = np.random.default_rng(1)
    chance = np.exp(rng.normal(0, 0.1, 300))
    assert find_rhythm(chance) is None
    assert find_rhythm(np.full(5, np.nan)) is None
    beats = np.where(np.arange(300) % 7 == 3, 1.3, 1.0) * chance
    beats[[0, -1]] = np.nan
    assert find_rhythm(beats) == Rhythm(period=7, phase=3)
    assert Rhythm(period=7, phase=3).chosen(np.arange(20), 0).tolist() == [3, 10, 17]
    assert Rhythm(period=7, phase=3).chosen(np.arange(2, 20), 2).tolist() == [2, 9, 16]


def test_what_an_encoder_does_to_pictures_is_no_rhythm():
    """Its own pattern of pictures that stand by themselves, or are made from others."""
    rng = np.random.default_rng(2)
    chance = np.exp(rng.normal(0, 0.1, 300))
    for pattern in ("PBBB", "PBB", "IBBPBBPBBPBB", "IPPPPPPPPPPP"):
        coding = np.array(list(pattern * (300 // len(pattern))))
        first = coding == pattern[0]
        for on in (first, np.roll(first, 1), np.roll(first, -1)):
            uneven = np.where(on, 1.5, 1.0) * chance
            assert find_rhythm(uneven) is not None
            assert find_rhythm(uneven, coding) is None
    coding = np.array(list("PBBB" * 75))
    beats = np.where(np.arange(300) % 5 == 3, 1.5, 1.0) * chance
    assert find_rhythm(beats, coding) == Rhythm(period=5, phase=3)
    strong = np.where(coding == "P", 6.0, 1.0) * chance
    assert find_rhythm(strong, coding) == Rhythm(period=4, phase=0)


def test_where_pictures_seldom_come_of_later_ones_they_were_chosen_by_what_they_show():
    rng = np.random.default_rng(3)
    coding = np.array(list("PPPPPPPB" * 30))
    beats = np.where(coding == "B", 1.5, 1.0) * np.exp(rng.normal(0, 0.1, 240))
    assert find_rhythm(beats, coding) == Rhythm(period=8, phase=7)


def test_how_pictures_are_coded_is_read(tmp_path):
    still = np.repeat(picture(0.0)[None], 20, axis=0)
    coding = "".join(scan_clip(film(tmp_path / "a.mp4", still, 60)).coding)
    assert len(coding) == 20 and coding[0] == "I" and set(coding[1:]) <= {"P", "B"}
