"""What a wind run makes of little: one clip, and a word, a point, a box, a network, a server."""

import dataclasses
import json
import subprocess

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image
from seer import Server

from inverse.commands.wind import main
from inverse.lifting import depth_from_motion
from inverse.tracking.travel import Corners
from inverse.tracking.unsteady import Unsteadiness
from inverse.wind import WindJob
from inverse.wind.inputs import camera, preview
from inverse.wind.inputs import object as wind_object
from inverse.wind.inputs.load import load_inputs
from inverse.wind.inputs.shape import Shape
from inverse.wind.targets import SHOWN
from renderers.video import write_video


FRAMES, SIZE = 6, (128, 96)
BOX = (30.0, 20.0, 80.0, 70.0)


def picture(frame):
    """A textured leaf before a smooth wall; it moves by 2 px per frame."""
    columns, rows = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    image = (90 + 0.2 * columns + 0.2 * rows)[..., None] * [0.5, 0.8, 1.2]
    texture = np.random.default_rng(0).random((40, 40, 3))
    texture = cv2.resize(texture, (160, 160), interpolation=cv2.INTER_CUBIC)[:96, :128]
    x, y = columns - 55 - 2 * frame, rows - 45
    leaf = (x / 18) ** 2 + (y / 14) ** 2 < 1
    bright = np.roll(130 + 110 * texture, 2 * frame, axis=1)
    image[leaf] = bright[leaf] * [1, 0.4, 0.1]
    return image.clip(0, 255).astype(np.uint8), leaf


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Where depth is sought in the motion, a search of a second."""
    for name, value in {"KEYPOINTS": 30, "COARSE": 8, "FINE": 10, "STARTS": 2}.items():
        monkeypatch.setattr(depth_from_motion, name, value)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, [picture(k)[0] for k in range(FRAMES)], 24)
    return str(path)


def load(clip, tmp_path, **settings):
    settings = {"box": BOX, "shape": "sheet"} | settings
    return load_inputs(WindJob(video=(clip,), out=str(tmp_path / "out"), **settings))


def said(inputs, *words):
    """Whether one assumption has all the words."""
    return any(all(word in one for word in words) for one in inputs.assumptions)


def test_a_clip_and_a_box_are_enough_and_the_guesses_are_said(clip, tmp_path):
    inputs = load(clip, tmp_path)
    leaf = picture(0)[1]
    assert (inputs.mask & leaf).sum() > 0.9 * (inputs.mask | leaf).sum()
    assert np.allclose(inputs.depth[inputs.mask], 2.0) and inputs.job.distance == 2.0
    camera = inputs.cameras[0][0]
    assert camera.fx == camera.fy == pytest.approx(64 / np.tan(np.radians(30)))
    assert said(inputs, "2 m is a guess", "twice as large", "--distance")
    assert said(inputs, "field of view", "a guess: 60 along the longer side", "--fov")
    assert inputs.flat


def test_without_a_place_the_object_is_asked_for(clip, tmp_path):
    with pytest.raises(ValueError, match="mask: none given, expected --mask, --box, --point or"):
        load(clip, tmp_path, box=None)
    with pytest.raises(ValueError, match="vlm: expected both --vlm and --vlm-model"):
        load(clip, tmp_path, vlm="http://127.0.0.1:1/v1")


def test_the_focal_length_comes_from_quicktimes_metadata(clip, tmp_path):
    tagged = tmp_path / "phone.mov"
    tag = "com.apple.quicktime.camera.focal_length.35mm_equivalent=26"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", clip, "-c", "copy"]
    command += ["-movflags", "use_metadata_tags", "-metadata", tag, str(tagged)]
    subprocess.run(command, check=True)
    inputs = load(str(tagged), tmp_path)
    diagonal = np.hypot(*SIZE)
    assert inputs.cameras[0][0].fx == pytest.approx(26 * diagonal / np.hypot(36, 24))
    assert said(inputs, "field of view", "from the file (26 mm as of a 35 mm camera)")
    known = load(str(tagged), tmp_path, fov=40.0)
    assert known.cameras[0][0].fy == pytest.approx(48 / np.tan(np.radians(20)))


@pytest.mark.parametrize("length, used", [(50, True), (0, False)])
def test_the_focal_length_comes_from_a_photographs_exif(length, used, tmp_path):
    """0 stands for unknown there."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for k in range(FRAMES):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[41989] = length if k == 0 else 99
        Image.fromarray(picture(k)[0]).save(folder / f"f{k}.jpg", exif=exif, quality=95)
    inputs = load(str(folder), tmp_path)
    expected = 50 * np.hypot(*SIZE) / np.hypot(36, 24)
    assert (inputs.cameras[0][0].fx == pytest.approx(expected)) == used
    assert said(inputs, "50 mm as of a 35 mm") == used == (not said(inputs, "a guess: 60"))


@pytest.fixture
def tiny():
    pytest.importorskip("transformers")
    import tiny_networks

    torch.manual_seed(0)
    return tiny_networks


def test_depth_of_a_network_makes_the_scale(clip, tmp_path, tiny):
    name = tiny.depth_anything(tmp_path / "net", meters=3.0)
    inputs = load(clip, tmp_path, depth_model=name)
    np.testing.assert_allclose(inputs.depth[inputs.mask], 3.0, rtol=1e-4)
    assert np.isnan(inputs.depth[~inputs.mask]).all()
    assert said(inputs, "depth of frame 0 is by", "3 m away") and not said(inputs, "2 m is a guess")
    assert not inputs.flat


def test_a_network_that_knows_the_focal_length_makes_the_camera(clip, tmp_path, tiny):
    name = tiny.depth_pro(tmp_path / "net", inverse=0.5, fov=40.0)
    focal = 64 / np.tan(np.radians(20))
    inputs = load(clip, tmp_path, depth_model=name)
    assert inputs.cameras[0][0].fx == pytest.approx(focal)
    np.testing.assert_allclose(inputs.depth[inputs.mask], focal / 128 / 0.5, rtol=1e-4)
    # With another focal length its depth is another: in units of the width both are the same.
    fov = 2 * np.degrees(np.arctan(48 / 200))
    inputs = load(clip, tmp_path, depth_model=name, fov=float(fov))
    np.testing.assert_allclose(inputs.depth[inputs.mask], 200 / 128 / 0.5, rtol=1e-4)


def test_a_word_a_point_or_a_box_gives_a_mask_by_networks(clip, tmp_path, tiny):
    detector, segmenter = tiny.grounding_dino(tmp_path / "dino"), tiny.sam(tmp_path / "sam")
    inputs = load(
        clip, tmp_path, box=None, object="the leaf", detector=detector, segmenter=segmenter
    )
    assert inputs.mask.any()
    assert said(inputs, f"what {segmenter} finds in box", f"which {detector} finds for 'the leaf'")
    assert inputs.job.E == 5e7 and said(inputs, "made of dry leaf")  # the word names a material
    inputs = load(clip, tmp_path, box=None, point=(55.0, 45.0), segmenter=segmenter)
    assert inputs.mask.any() and said(inputs, f"what {segmenter} finds at 55 45")
    inputs = load(clip, tmp_path, segmenter=segmenter)
    assert said(inputs, f"what {segmenter} finds in box 30 20 80 70")


def test_a_segmenter_for_videos_gives_masks_of_all_frames(clip, tmp_path, tiny, monkeypatch):
    name, leaf = tiny.sam_2_video(tmp_path / "net"), picture(0)[1]
    cv2.imwrite(str(tmp_path / "mask.png"), 255 * leaf.astype(np.uint8))
    inputs = load(clip, tmp_path, box=None, mask=str(tmp_path / "mask.png"), segmenter=name)
    assert inputs.masks.shape == (FRAMES, *SIZE[::-1]) and inputs.masks.dtype == bool
    assert np.array_equal(inputs.masks[0], leaf) and np.array_equal(inputs.mask, leaf)
    assert said(inputs, "in later frames", name) and not said(inputs, "was not used")
    # Of large pictures the masks are smaller, and stay as they are when pictures are reduced.
    monkeypatch.setattr(wind_object, "FOLLOWED", 64)
    small = load(clip, tmp_path, box=None, mask=str(tmp_path / "mask.png"), segmenter=name)
    assert small.masks.shape == (FRAMES, 48, 64) and small.mask.shape == leaf.shape
    shape = Shape(mask=small.mask, masks=small.masks, depth=small.depth).reduced(0.75)
    assert shape.mask.shape == (72, 96) and shape.masks.shape == (FRAMES, 48, 64)


def test_a_segmenter_for_pictures_gives_no_masks_of_later_frames(clip, tmp_path, tiny):
    name = tiny.sam(tmp_path / "sam")
    assert load(clip, tmp_path, segmenter=name).masks is None
    cv2.imwrite(str(tmp_path / "mask.png"), 255 * picture(0)[1].astype(np.uint8))
    inputs = load(clip, tmp_path, box=None, mask=str(tmp_path / "mask.png"), segmenter=name)
    assert inputs.masks is None and said(inputs, "--segmenter was not used: --mask says the same")


def test_a_server_names_the_material_and_its_answer_is_kept(clip, tmp_path):
    server = Server()
    answer = {"material": "felt", "density": [100, 200, 300], "E": [1e4, 1e5, 1e6],
              "nu": [0.1, 0.2, 0.3], "thickness": [1e-3, 2e-3, 3e-3]}  # fmt: skip
    server.answers = [json.dumps(answer)]
    settings = {"vlm": server.url, "vlm_model": "seer", "made_of": "leather", "density": 250.0}
    inputs = load(clip, tmp_path, **settings)
    server.close()
    assert (inputs.job.E, inputs.job.density, inputs.job.thickness) == (1e5, 250.0, 2e-3)
    assert inputs.substance.E.high == 1e6 and said(inputs, "made of felt", "by seer")
    assert "leather" in str(server.asked)
    again = load(clip, tmp_path, **settings)  # the server is gone
    assert again.substance == inputs.substance


def test_without_an_answer_the_table_or_the_defaults_hold(clip, tmp_path):
    server = Server()
    server.close()
    settings = {"vlm": server.url, "vlm_model": "seer"}
    with pytest.warns(UserWarning, match="vlm http.*cannot be reached.*going on without it"):
        inputs = load(clip, tmp_path, **settings, made_of="leather")
    assert inputs.substance.name == "leather" and said(inputs, "asked in vain")
    with pytest.warns(UserWarning, match="going on without it"):
        inputs = load(clip, tmp_path, **settings)
    assert inputs.substance is None and inputs.job.E == 1e3


def test_a_preview_shows_the_object_its_size_and_what_is_assumed(clip, tmp_path, capsys):
    box = [f"{v:g}" for v in BOX]
    out = tmp_path / "out"
    arguments = ["--video", clip, "--box", *box, "--distance", "3", "--fov", "40", "--preview"]
    assert main([*arguments, "--shape", "sheet", "--out", str(out)]) == 0
    assert [path.name for path in out.iterdir()] == ["preview.png"]
    shown = cv2.imread(str(out / "preview.png"))
    assert shown.shape[1] == 1200 and shown.shape[0] > 500
    outline, track = [0, 210, 255], [255, 160, 0]  # BGR
    assert all(
        (np.abs(shown.astype(int) - c).max(axis=2) < 12).sum() > 20 for c in (outline, track)
    )
    said = capsys.readouterr().out
    width = 36 * 3 / (48 / np.tan(np.radians(20)))
    number = float(said.partition("The object is ")[2].partition(" m wide")[0].split()[-1])
    assert number == pytest.approx(width, rel=0.1)
    assert "assumed: The camera stands still." in said and f"preview: {out}" in said


@pytest.mark.parametrize("tracker", ["cotracker", "lucas-kanade"])
def test_a_preview_says_where_a_run_uses_another_tracker(tracker, clip, tmp_path, monkeypatch):
    shown, draw = [], preview.preview_figure
    monkeypatch.setattr(preview, "preview_figure", lambda *a: shown.append(a[-1]) or draw(*a))
    job = WindJob(
        video=(clip,), box=BOX, distance=2.0, shape="sheet", tracker=tracker, out=str(tmp_path)
    )
    preview.write_preview(job)
    size, followed, *more = shown[0]
    assert "m wide" in size and followed.endswith(f"the first {FRAMES} frames.")
    other = "Here that was done by Lucas-Kanade; the run uses cotracker."
    assert (more[0] == other) == (other in more) == (tracker == "cotracker")


@pytest.mark.parametrize("known, frames", [(False, 18), (True, SHOWN)])
def test_a_preview_sees_of_the_shape_what_a_run_does(known, frames, tmp_path):
    """Depth is sought in the motion of more frames than those through which points are shown."""
    film, out = tmp_path / "long.mp4", str(tmp_path / "out")
    write_video(film, [picture(k / 3)[0] for k in range(18)], 24)
    job = WindJob(video=(str(film),), box=BOX, shape="sheet", distance=2.0, fov=40.0, out=out)
    if known:
        np.save(tmp_path / "depth.npy", np.full(SIZE[::-1], 2.0))
        job = dataclasses.replace(job, depth=str(tmp_path / "depth.npy"), distance=None)
    _, first = preview.write_preview(job)
    assert len(first.videos[0]) == frames
    run = load_inputs(job)
    assert first.assumptions == run.assumptions
    np.testing.assert_array_equal(first.depth, run.depth)
    tracks = preview.follow(run)
    assert tracks.frames == SHOWN
    panels = preview.preview_picture(run, tracks)  # as a report begins
    assert panels.shape[1:] == (1200, 3) and panels.dtype == np.uint8
    for color in ([255, 210, 0], [0, 160, 255]):  # outline, tracks
        assert (np.abs(panels.astype(int) - color).max(axis=2) < 12).sum() > 20


def test_what_is_too_small_to_be_followed_is_refused(clip, tmp_path):
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[40:52, 50:63] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    with pytest.raises(
        ValueError, match="mask: the object is 12 px across .* expected at least 20"
    ):
        load(clip, tmp_path, box=None, mask=str(tmp_path / "mask.png"))


def test_a_background_that_moves_with_no_known_camera_is_remembered(clip, tmp_path, monkeypatch):
    assert load(clip, tmp_path).adrift == 0
    seen = Unsteadiness(
        cameras=[], center=np.arange(FRAMES)[:, None] * [4.0, 0.0], agree=np.full(FRAMES, 0.1)
    )
    monkeypatch.setattr(camera, "find_unsteadiness", lambda *arguments: seen)
    inputs = load(clip, tmp_path)
    assert inputs.adrift == 4.0 * (FRAMES - 1)
    assert said(inputs, "what is behind the object moves, too", "--moving-camera")
    assert not inputs.as_one  # it stands still, in truth


def test_a_background_that_is_not_found_again_is_asked_for_corners_that_shift_together(
    clip, tmp_path, monkeypatch
):
    """Before a camera that moves far at once, what frame 0 shows is soon out of sight."""
    lost = Unsteadiness(
        cameras=[], center=np.zeros((FRAMES, 2)), agree=np.append(1.0, np.zeros(FRAMES - 1))
    )
    monkeypatch.setattr(camera, "find_unsteadiness", lambda *arguments: lost)
    assert said(load(clip, tmp_path), "The camera stands still.")
    corners = Corners(xy=np.zeros((FRAMES, 0, 2)), seen=np.zeros((FRAMES, 0), bool), first=0)
    monkeypatch.setattr(camera, "follow_corners", lambda *arguments: corners)
    monkeypatch.setattr(camera, "moved_as_one", lambda corners: 45.0)
    monkeypatch.setattr(camera, "travels", lambda *arguments: True)
    inputs = load(clip, tmp_path)
    assert inputs.as_one and inputs.adrift == 45.0
    assert said(inputs, "The camera travels", "--moving-camera")
    monkeypatch.setattr(camera, "travels", lambda *arguments: False)
    turns = [dataclasses.replace(inputs.cameras[0][0]) for _ in range(FRAMES)]
    monkeypatch.setattr(camera, "camera_rotation", lambda *arguments: turns)
    inputs = load(clip, tmp_path)
    assert inputs.cameras[0] is turns and not inputs.as_one and inputs.adrift == 0
    assert said(inputs, "The camera turns on the spot", "by up to 45 px", "taken out")
