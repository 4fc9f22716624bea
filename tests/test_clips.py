"""Clips as they come: what is found in them, what is left out, and true times."""

import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from inverse.clips import plan_clip
from inverse.clips.timing import find_timing
from inverse.lifting.pipeline import targets_from_video
from inverse.tracking import Tracks
from inverse.tracking.timing import at_even_times, at_times_taken
from inverse.tracking.unsteady import find_unsteadiness
from inverse.wind.config import WindJob
from inverse.wind.inputs.clip import how_long, plan_clips, sensible_scale
from inverse.wind.inputs.overridden import overridden
from renderers.camera import camera_from_fov
from renderers.video import write_video


HEIGHT, WIDTH = 48, 96
RNG = np.random.default_rng(0)
WALL = RNG.integers(60, 120, (HEIGHT, WIDTH, 1)).repeat(3, axis=2).astype(np.uint8)
THING = RNG.integers(120, 250, (16, 16, 3)).astype(np.uint8)


def pictures(count=24, step=2):
    """A textured thing that moves over a wall at a constant speed."""
    frames = np.tile(WALL, (count, 1, 1, 1))
    for k in range(count):
        x = 4 + round(k * step)
        frames[k, 14:30, x : x + 16] = THING
    return frames


def save(path, frames, fps=24):
    write_video(path, frames, fps, quality=10)
    return path


def ffmpeg(*arguments):
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True)


def used(plan):
    return plan.timing.picture.tolist()


def test_a_good_clip_is_used_as_it_is(tmp_path):
    plan = plan_clip(save(tmp_path / "a.mp4", pictures()))
    assert used(plan) == list(range(24)) and plan.notes == () and plan.timing.fps == 24
    assert plan.timing.even and plan.size == (WIDTH, HEIGHT)
    assert plan.read().shape == (24, HEIGHT, WIDTH, 3)
    assert plan.read((32, 24), frames=2).shape == (2, 24, 32, 3)


def test_start_every_frames_and_fps(tmp_path):
    path = save(tmp_path / "a.mp4", pictures())
    plan = plan_clip(path, start=3, each=2, frames=5, fps=240)
    assert used(plan) == [3, 5, 7, 9, 11] and plan.timing.fps == 120
    assert np.allclose(plan.timing.taken, np.arange(5) / 120)
    assert "240 frames per second, as --fps says" in " ".join(plan.notes)
    fast = plan_clip(save(tmp_path / "fast.mp4", pictures(), 240))
    assert fast.timing.fps == 60 and used(fast) == list(range(0, 24, 4))
    assert "one in 4 was used" in fast.notes[0]
    assert len(plan_clip(tmp_path / "fast.mp4", each=1)) == 24
    with pytest.raises(ValueError, match="has 24 frames, so that none is left from --start 24"):
        plan_clip(path, start=24)


@pytest.mark.parametrize(("black", "kept"), [([0], 23), ([10, 11, 12], 24), ([23], 23)])
def test_black_frames_are_left_out(tmp_path, black, kept):
    frames = pictures()
    frames[black] = 0
    plan = plan_clip(save(tmp_path / "a.mp4", frames))
    assert len(plan) == kept and not set(black) & set(used(plan))
    assert "nothing" in plan.notes[0] and str(black[0]) in plan.notes[0]
    # A frame without a picture shows the one before.
    shown = plan.read()
    if black[0] == 10:
        assert np.array_equal(shown[12], shown[9]) and np.isnan(plan.timing.taken[10:13]).all()


def test_a_flash_is_left_out_and_a_change_of_light_is_not(tmp_path):
    frames = pictures()
    frames[8] = 255 - frames[8]
    dim = pictures()
    dim[12:] = dim[12:] // 2
    flash, light = (plan_clip(save(tmp_path / f"{k}.mp4", f)) for k, f in enumerate((frames, dim)))
    assert used(flash)[8] == -1 and sum(k < 0 for k in used(flash)) == 1
    assert used(light) == list(range(24))


def test_what_turns_back_is_not_repeated(tmp_path):
    """A pendulum hardly moves from picture to picture where it turns back."""
    for away in (0.0, 0.3, 0.5):
        places = 48 + 30 * np.cos(2 * np.pi * (np.arange(40) - 12.5 - away) / 25)
        frames = np.tile(WALL, (40, 1, 1, 1))
        for frame, place in zip(frames, places, strict=True):
            soft = np.clip(9 - np.abs(np.arange(WIDTH) - place), 0, 1)[:, None]
            frame[14:30] = np.rint(soft * 240 + (1 - soft) * frame[14:30])
        plan = plan_clip(save(tmp_path / f"{away}.mp4", frames, 30))
        assert len(plan) == 40 and plan.timing.even and not plan.notes


def test_repeated_frames_in_place_of_lost_ones_leave_gaps(tmp_path):
    frames = pictures()
    frames[5::6] = frames[4::6]
    plan = plan_clip(save(tmp_path / "a.mp4", frames))
    assert plan.timing.fps == 24
    assert np.flatnonzero(plan.timing.picture < 0).tolist() == [5, 11, 17]
    assert np.allclose(plan.timing.taken[[4, 6, 16]], np.array([4, 6, 16]) / 24)


@pytest.mark.parametrize(
    ("rate", "times"), [(28, [1, 1, 1, 1, 1, 2]), (48, [2]), (30, [1, 1, 1, 2])]
)
def test_frames_put_in_between_are_taken_out_and_the_rate_is_that_of_the_others(
    tmp_path, rate, times
):
    counts = np.resize(times, 24)
    doubled = pictures().repeat(counts, axis=0)
    plan = plan_clip(save(tmp_path / "a.mp4", doubled, rate))
    first = np.concatenate([[0], counts.cumsum()[:-1]])
    assert used(plan) == first.tolist()
    assert plan.timing.fps == pytest.approx(24, rel=0.02) and plan.timing.even


def test_an_object_at_rest_is_not_a_frozen_picture(tmp_path):
    still = np.concatenate([pictures(12), pictures(12)[-1:].repeat(12, axis=0)])
    plan = plan_clip(save(tmp_path / "a.mp4", still))
    assert (plan.timing.picture >= 0).sum() >= 23
    assert used(plan_clip(save(tmp_path / "b.mp4", pictures(10, 0)))) == list(range(10))
    # A camera's noise, of which a file keeps some in some pictures and none in others.
    noisy = np.concatenate([pictures(1).repeat(30, axis=0), pictures(12)]).astype(float)
    noisy[:30:3] += RNG.normal(0, 1.5, noisy[:30:3].shape).round()
    noisy[1:30:3] = noisy[:30:3]
    plan = plan_clip(save(tmp_path / "c.mp4", np.clip(noisy, 0, 255).astype(np.uint8)))
    assert len(plan) == 42 and not plan.notes


def test_a_cut_ends_the_clip_or_is_named(tmp_path):
    other = np.tile(RNG.integers(0, 255, (1, HEIGHT, WIDTH, 3)).astype(np.uint8), (30, 1, 1, 1))
    other[:, 10:20, 10:40] = pictures(30, 1)[:, 14:24, 10:40]
    late = plan_clip(save(tmp_path / "late.mp4", np.concatenate([pictures(), other])))
    assert used(late) == list(range(24))
    assert "cut at frame 24 (1.00 s)" in late.notes[0] and "--start 24" in late.notes[0]
    early = save(tmp_path / "early.mp4", np.concatenate([pictures(4), other]))
    with pytest.raises(ValueError, match=r"cut at frame 4 .* frames 4 to 33: give --start 4, and"):
        plan_clip(early)
    assert used(plan_clip(early, start=4))[0] == 4
    jump = np.delete(pictures(30, 1), range(10, 22), axis=0)
    assert used(plan_clip(save(tmp_path / "jump.mp4", jump))) == list(range(10))


def test_true_times_of_a_variable_rate(tmp_path):
    path = save(tmp_path / "a.mp4", pictures())
    kept = [k for k in range(24) if k % 7 != 4 and k not in (12, 13)]
    ffmpeg("-i", path, "-vf", "select='mod(n,7)-4',select='not(between(t,0.49,0.55))'",
           "-fps_mode", "vfr", tmp_path / "b.mp4")  # fmt: skip
    plan = plan_clip(tmp_path / "b.mp4")
    assert plan.timing.fps == pytest.approx(24)
    assert np.flatnonzero(plan.timing.picture >= 0).tolist() == kept
    assert used(plan_clip(tmp_path / "b.mp4", each=2))[:4] == [0, 2, -1, 5]


def test_delays_of_a_gif_are_its_times(tmp_path):
    images = [Image.fromarray(frame) for frame in pictures(12)]
    delays = [40, 40, 80, *[40] * 9]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=delays)
    plan = plan_clip(tmp_path / "a.gif")
    assert plan.timing.fps == pytest.approx(25) and used(plan)[:5] == [0, 1, 2, -1, 3]


def test_rotation_film_formats_and_hdr(tmp_path):
    path = save(tmp_path / "a.mp4", pictures())
    ffmpeg("-display_rotation", "90", "-i", path, "-c", "copy", tmp_path / "turned.mp4")
    turned = plan_clip(tmp_path / "turned.mp4")
    assert turned.size == (HEIGHT, WIDTH) and turned.read(frames=1).shape[1:3] == (WIDTH, HEIGHT)
    hlg = "setparams=color_trc=arib-std-b67:color_primaries=bt2020:colorspace=bt2020nc"
    ffmpeg("-i", path, "-vf", hlg, "-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt",
           "yuv420p10le", tmp_path / "hdr.mp4")  # fmt: skip
    hdr = plan_clip(tmp_path / "hdr.mp4")
    assert "HDR (HLG)" in hdr.notes[0] and len(hdr) == 24
    image = hdr.read(frames=1)[0].astype(float)
    assert np.corrcoef(image.ravel(), pictures(1)[0].ravel())[0, 1] > 0.9
    ffmpeg("-i", path, "-vf", "setsar=2/1", "-c:v", "libx264", tmp_path / "wide.mp4")
    wide = plan_clip(tmp_path / "wide.mp4")
    assert wide.size == (2 * WIDTH, HEIGHT) and "not square" in wide.notes[0]
    assert wide.read(frames=1).shape == (1, HEIGHT, 2 * WIDTH, 3)
    ffmpeg("-i", path, "-flags", "+ilme+ildct", "-vf", "setfield=tff", "-c:v", "libx264",
           tmp_path / "fields.mp4")  # fmt: skip
    fields = plan_clip(tmp_path / "fields.mp4")
    assert "interlaced" in fields.notes[0] and fields.read().shape[0] == 24


def test_a_folder_holds_frames_and_other_images(tmp_path):
    for k, frame in enumerate(pictures(12)):
        if k != 7:
            Image.fromarray(frame).save(tmp_path / f"f_{k + 3}.png")
    Image.fromarray(pictures(1)[0]).save(tmp_path / "mask.png")
    plan = plan_clip(tmp_path, fps=30)
    assert plan.timing.fps == 30 and used(plan) == [*range(7), -1, *range(7, 11)]
    assert "mask.png" in plan.notes[0] and "Nothing says" not in " ".join(plan.notes)
    assert "24 per second were assumed" in " ".join(plan_clip(tmp_path).notes)
    for k in range(11):
        Image.fromarray(WALL).save(tmp_path / f"mask_{k}.png")
    assert len(plan_clip(tmp_path)) == 12
    for k in range(11):
        Image.fromarray(WALL).save(tmp_path / f"left_{k}.png")
    with pytest.raises(ValueError, match="put the frames into a folder of their own"):
        plan_clip(tmp_path)


def test_what_was_not_looked_at_is_not_cut_off(tmp_path):
    there = pictures()
    frames = np.concatenate([there, there[-2:0:-1]] * 3)
    plan = plan_clip(save(tmp_path / "a.mp4", frames), start=20, frames=4)
    assert used(plan) == [20, 21, 22, 23] and plan.notes == ()


def test_what_cannot_be_read_is_said(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", tmp_path / "sound.m4a")
    with pytest.raises(ValueError, match=r"sound.m4a: .*no moving picture, only sound"):
        plan_clip(tmp_path / "sound.m4a")
    frames = RNG.integers(0, 255, (24, HEIGHT, WIDTH, 3)).astype(np.uint8)
    data = save(tmp_path / "a.mp4", frames).read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 2])
    half = plan_clip(tmp_path / "half.mp4")
    assert 4 < len(half) < 18 and "cut off or damaged: of 1.00 s" in half.notes[0]
    ffmpeg("-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    (tmp_path / "b.mp4").write_bytes((tmp_path / "b.mp4").read_bytes()[:20000])
    with pytest.raises(ValueError, match="its index is missing") as caught:
        plan_clip(tmp_path / "b.mp4")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="has 3 frames that can be used, expected at least 4"):
        plan_clip(save(tmp_path / "c.mp4", pictures(3)))
    with pytest.raises(ValueError, match="none of its 5 frames shows anything"):
        plan_clip(save(tmp_path / "d.mp4", pictures(5) * 0))


def test_times_of_all_kinds():
    k = np.arange(40)
    rounded = np.round(k / 24, 2)
    assert find_timing(rounded, tick=0.01).even
    assert find_timing(rounded, tick=0.01).fps == pytest.approx(24, rel=1e-3)
    assert not find_timing(rounded).even
    jitter = k / 30 + np.random.default_rng(1).uniform(-0.004, 0.004, 40)
    timing = find_timing(jitter)
    assert not timing.even and timing.fps == pytest.approx(30, rel=0.01)
    assert np.allclose(timing.start + timing.taken, jitter) and timing.taken[0] == 0
    mixed = np.concatenate([k / 10, 4 + np.arange(20) / 20])
    timing = find_timing(mixed)
    assert timing.fps == pytest.approx(20) and (timing.picture[:80:2] == k).all()
    with pytest.raises(ValueError, match=r"no common rate, with up to 9 s .* give --fps"):
        find_timing(np.cumsum([0, 0.1, 9, 0.1, 5.03, 0.1]))


def test_views_of_different_rates_share_the_steps_of_the_first(tmp_path):
    frames = pictures(48, 1)
    a, b = save(tmp_path / "a.mp4", frames[::2], 24), save(tmp_path / "b.mp4", frames, 48)
    camera = Path(__file__).parent.parent / "assets" / "leaf" / "camera.json"
    cameras = []
    for name, fps in (("a", 24), ("b", 48)):
        cameras.append(tmp_path / f"{name}.json")
        text = camera.read_text().replace('"fps": 24', f'"fps": {fps}')
        cameras[-1].write_text(text)
    job = WindJob(
        video=(str(a), str(b)), camera=tuple(map(str, cameras)), mask="m.png", depth="d.png"
    )
    first, second = plan_clips(job)
    assert used(first) == list(range(24)) and used(second) == list(range(0, 48, 2))
    assert second.timing.even and second.timing.fps == 24


def test_a_run_of_many_frames_says_how_long_it_takes():
    assert how_long(90) is None
    assert "300 frames take about 18 to 35 minutes" in how_long(300)


def test_tracks_at_even_times_are_those_of_the_motion():
    t = np.arange(20) / 24

    def place(time):
        return np.stack([40 * time**2, 30 * np.sin(3 * time)], axis=-1)[:, None] + [[5, 9], [70, 3]]

    taken = t + np.where(np.arange(20) % 2, 0.008, 0)
    taken[[6, 7, 13]] = np.nan
    xy = place(np.nan_to_num(taken))
    visible = np.ones((20, 2), dtype=bool)
    visible[:9, 1] = False
    even = at_even_times(Tracks(xy=xy, visible=visible), taken, 24)
    assert even.visible[:19, 0].all() and not even.visible[:9, 1].any()
    assert np.abs(even.xy - place(t))[even.visible].max() < 0.02
    assert np.abs(xy - place(t))[np.isfinite(taken)].max() > 0.5  # what it would be without
    assert np.allclose(even.information[0, 0], np.eye(2))
    assert np.trace(even.information[6, 0]) < 2
    points = np.concatenate([place(t), np.zeros((20, 2, 1))], axis=2)
    moved = at_times_taken(points, taken, 24)
    assert np.abs(moved[..., :2] - xy)[np.isfinite(taken)].max() < 0.02
    same = Tracks(xy=place(t), visible=visible)
    assert at_even_times(same, t, 24) is same and at_times_taken(points, t, 24) is points


def test_a_lift_bridges_what_was_not_taken():
    """Ready tracks in whose pictures every sixth frame is the one before."""
    camera, t = camera_from_fov(200, 160, 40.0), np.arange(24) / 24
    grid = np.stack(np.meshgrid(np.linspace(70, 130, 7), np.linspace(50, 100, 6)), -1)
    start = grid.reshape(-1, 2)
    way = np.stack([40 * t**2, 10 * t], axis=-1)
    xy = start[None] + way[:, None]
    lost = np.arange(24) % 6 == 5
    xy[lost] = xy[np.flatnonzero(lost) - 1]
    mask = np.zeros((160, 200), dtype=bool)
    mask[48:103, 68:133] = True
    video = np.zeros((24, 160, 200, 3), np.uint8)
    x0 = camera.unproject(start[::4], np.full(len(start[::4]), 2.0))
    found = targets_from_video(
        [video], [camera], mask, np.full((160, 200), 2.0), 24.0, x0,
        taken=[np.where(lost, np.nan, t)], tracks=[Tracks(xy=xy, visible=np.ones(xy.shape[:2]))],
        masks=np.ones(video.shape[:3], dtype=bool),  # in black pictures no silhouette is followed
    )  # fmt: skip
    seen = np.stack([camera.project(x)[0] for x in found.targets]).mean(axis=1)
    assert np.abs(seen - seen[0] - way).max() < 0.1
    assert found.confidence[:23].min() > 0.5


def test_large_pictures_are_reduced_as_long_as_the_object_stays_large():
    mask = np.zeros((2160, 3840), dtype=bool)
    mask[100:1100, 100:1100] = True
    assert sensible_scale((3840, 2160), mask) == pytest.approx(1 / 3)
    mask[:] = False
    mask[100:400, 100:300] = True
    assert sensible_scale((3840, 2160), mask) == pytest.approx(256 / 300)
    assert sensible_scale((1280, 720), mask[:720, :1280]) == 1


def test_a_hand_that_shakes_is_found_and_a_still_camera_is_not_taken_for_one():
    camera, rng = camera_from_fov(192, 144, 40.0), np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.normal(size=(200, 260)), (0, 0), 4)
    wall = np.clip(110 + 12 * wall / wall.std(), 0, 255).astype(np.uint8)
    way = rng.normal(size=(12, 2)) * 2
    mask = np.zeros((144, 192), dtype=bool)
    mask[50:90, 60:100] = True

    def film(shifts, thing=0):
        frames = []
        for k, (x, y) in enumerate(shifts):
            turn = np.array([[1, 0, x - 30], [0, 1, y - 25]])
            frame = cv2.warpAffine(wall, turn.astype(np.float64), (192, 144))
            frame[50:90, 60 + thing * k : 100 + thing * k] = 30
            frames.append(frame)
        return np.repeat(np.stack(frames)[..., None], 3, axis=-1)

    still = find_unsteadiness(film(np.zeros((12, 2)), 3), camera, mask)
    assert still.known and not still.moves
    drift = find_unsteadiness(film(np.linspace(0, 6, 12)[:, None] * [1, 0.3]), camera, mask)
    assert drift.sure and drift.moves
    shaken = find_unsteadiness(film(way, 3), camera, mask)
    assert shaken.sure and shaken.moves and not shaken.turns
    cameras = shaken.cameras
    point = camera.unproject(np.array([[96.0, 72.0]]), 5.0)
    found = np.stack([one.project(point)[0][0] for one in cameras]) - [96, 72]
    off = found - (way - way[0])
    assert np.abs(off).max() < 0.2 and np.ptp(off[1:], axis=0).max() < 0.15
    assert np.allclose(shaken.shift, np.linalg.norm(found, axis=1), atol=0.05)
    blank = find_unsteadiness(np.full((5, 144, 192, 3), 90, np.uint8), camera, mask)
    assert not blank.known and not blank.moves
    full = find_unsteadiness(film(way), camera, np.ones((144, 192), dtype=bool))
    assert not full.known and not full.moves
    small = find_unsteadiness(film(way)[:, ::4, ::4], camera_from_fov(48, 36, 40.0), mask[::4, ::4])
    assert not small.known and not small.moves
    chaos = rng.integers(0, 255, (6, 144, 192, 3)).astype(np.uint8)
    assert not find_unsteadiness(chaos, camera, mask).known


def test_flags_without_effect_are_named():
    job = WindJob(
        video=("a.mp4",), mask="m.png", box=(1, 2, 3, 4), depth="d.png", distance=2.0, fov=40.0,
        cotracker="here",
    )  # fmt: skip
    said = " ".join(overridden(job))
    assert "--box was not used: --mask says the same." in said
    assert "--distance was not used: --depth says the same." in said
    assert "--cotracker was not used: --tracker is lucas-kanade." in said and "--fov" not in said
    plain = WindJob(video=("a.mp4",), box=(1, 2, 3, 4), distance=2.0, fov=40.0)
    assert overridden(plain) == []


def test_an_object_too_small_to_follow_is_measured_in_the_message():
    video = np.full((6, 40, 50, 3), 90, np.uint8)
    video[:, 10:16, 20:32] = 100
    mask = np.zeros((40, 50), dtype=bool)
    mask[10:16, 20:32] = True
    camera = camera_from_fov(50, 40, 40.0)
    x0 = camera.unproject(np.array([[26.0, 13.0]]), 2.0)
    with pytest.raises(ValueError, match=r"at least 8 are needed; it is 12 px wide and 6 px high"):
        targets_from_video([video], [camera], mask, np.full((40, 50), 2.0), 24.0, x0)


def test_of_a_long_clip_the_first_part_is_used_and_said(tmp_path):
    still, moving = np.repeat(pictures(1), 40, axis=0), pictures(40, 1)
    path = save(tmp_path / "long.mp4", np.concatenate([still, moving]), 20)
    plan = plan_clip(path, most=30)
    assert used(plan) == list(range(30))
    [note] = [note for note in plan.notes if "long" in note]
    assert "of 80 frames (4 s) the first 30 (1.5 s) were used; --frames 80 uses all" in note
    assert "Most moves from 2." in note and "--start 4" in note
    assert len(plan_clip(path, frames=50)) == 50 and len(plan_clip(path)) == 80
    even = plan_clip(save(tmp_path / "even.mp4", pictures(60, 1), 20), most=30)
    assert len(even) == 30 and not any("Most moves" in note for note in even.notes)


def test_a_low_rate_in_a_clip_of_240_per_second_is_found(tmp_path):
    path = save(tmp_path / "fast.mp4", np.repeat(pictures(), 10, axis=0), 240)
    plan = plan_clip(path)
    assert len(plan) == 24 and plan.timing.fps == 24 and plan.timing.even
    assert "Without the repeated ones there are 24 frames per second." in plan.notes
    resting = np.concatenate([np.repeat(pictures(1), 40, axis=0), pictures(30)])
    assert len(plan_clip(save(tmp_path / "rest.mp4", resting))) == 70
