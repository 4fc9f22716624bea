"""From a clip and a word to a force: the whole command, with networks in folders and a server."""

import json

import cv2
import numpy as np
import pytest
import torch
from seer import Server

from inverse import open_run
from inverse.commands.wind import main, make_parser, settings
from inverse.wind.body import MOST_PARTICLES, make_bodies
from inverse.wind.inputs.load import load_inputs
from renderers.video import write_video


FRAMES, SIZE, FPS = 8, (128, 96), 24
PULL = 0.6  # px/frame^2, by which all of the picture accelerates to the left
DISTANCE, FOV = 3.0, 40.0
FELT = {"material": "felt", "density": [100, 200, 300], "E": [1e3, 5e3, 1e4],
        "nu": [0.1, 0.2, 0.3], "thickness": [1e-2, 2e-2, 3e-2]}  # fmt: skip
SMALL = ["--cells", "6", "--keypoints", "60", "--splat-iterations", "0", "--iterations", "8"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A cloth that fills the picture and accelerates to the left, 3 m away."""
    rng = np.random.default_rng(0)
    wide = cv2.resize(rng.random((24, 60, 3)), (480, 192), interpolation=cv2.INTER_CUBIC)
    pictures = []
    for k in range(FRAMES):
        shift = np.float32([[1, 0, -100 - PULL * k**2 / 2], [0, 1, -40]])
        image = cv2.warpAffine(wide, shift, SIZE, flags=cv2.INTER_CUBIC)
        pictures.append((255 * image).clip(0, 255).astype(np.uint8))
    path = tmp_path_factory.mktemp("cloth") / "clip.mp4"
    write_video(path, pictures, FPS, quality=9)
    return str(path)


@pytest.fixture
def tiny():
    pytest.importorskip("transformers")
    import tiny_networks

    torch.manual_seed(0)
    return tiny_networks


def force_of(folder):
    """Net force per mass (T, 3) m/s^2 of a run, and what was assumed."""
    run = open_run(folder)
    return run.force.sum(axis=1) / run.mass.sum(), (folder / "report.html").read_text("utf-8")


def check(folder, focal, *said):
    """The cloth accelerates to the left, as fast as the distance says."""
    specific, report = force_of(folder)
    expected = -PULL * FPS**2 * DISTANCE / focal
    inner = specific[1:-2]
    assert np.abs(inner[:, 1:]).max() < 0.25 * abs(expected)
    assert inner[:, 0].mean() == pytest.approx(expected, rel=0.15)
    missing = [text for text in said if text not in report]
    assert not missing


def test_a_clip_and_a_word_are_enough(clip, tmp_path, tiny, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    detector = tiny.grounding_dino(tmp_path / "dino")
    segmenter = tiny.sam(tmp_path / "sam", whole=True)
    depth = tiny.depth_anything(tmp_path / "depth", meters=DISTANCE)
    out = tmp_path / "out"
    words = ["--object", "the leaf", "--detector", detector, "--segmenter", segmenter]
    code = main(
        ["--video", clip, *words, "--depth-model", depth, "--made-of", "soft foam", "--fov",
         str(FOV), "--shape", "sheet", "--out", str(out), *SMALL]
    )  # fmt: skip
    assert code == 0
    check(out, SIZE[1] / 2 / np.tan(np.radians(FOV) / 2), "the leaf", "3 m away", "soft foam",
          "The camera has a vertical field of view of 40 degrees")  # fmt: skip


def test_a_point_a_focal_length_of_a_network_and_a_servers_material(clip, tmp_path, tiny):
    focal = SIZE[0] / 2 / np.tan(np.radians(25))
    depth = tiny.depth_pro(tmp_path / "pro", inverse=focal / SIZE[0] / DISTANCE, fov=50.0)
    segmenter = tiny.sam_2(tmp_path / "sam", whole=True)
    server, out = Server(), tmp_path / "out"
    server.answers = [json.dumps(FELT)]
    code = main(
        ["--video", clip, "--point", "60", "40", "--segmenter", segmenter, "--depth-model", depth,
         "--vlm", server.url, "--vlm-model", "seer", "--shape", "sheet", "--out", str(out), *SMALL]
    )  # fmt: skip
    server.close()
    assert code == 0
    check(out, focal, "felt", "3 m away", "finds at 60 40")
    assert json.loads((out / "config.json").read_text())["substance"]["name"] == "felt"
    assert (out / "vlm.json").is_file()


@pytest.mark.parametrize(
    ("flags", "fetch"),
    [
        (["--object", "the leaf", "--detector", "some/dino"], "hf download some/dino"),
        (["--point", "60", "40", "--segmenter", "some/sam"], "hf download some/sam"),
        (["--box", "10", "10", "90", "80", "--depth-model", "some/depth"],
         "hf download some/depth"),
    ],
)  # fmt: skip
def test_without_weights_the_command_says_what_to_fetch(
    clip, flags, fetch, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["--video", clip, *flags, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and fetch in said[0]
    assert not (tmp_path / "out").exists()


def test_a_quick_run_of_a_solid_is_no_finer_than_a_whole_one(clip, tmp_path):
    mask = cv2.circle(np.zeros(SIZE[::-1], np.uint8), (64, 48), 32, 255, -1)
    cv2.imwrite(str(tmp_path / "mask.png"), mask)

    def particles(*flags):
        given = ["--video", clip, "--mask", str(tmp_path / "mask.png"), "--shape", "solid"]
        job, _ = settings(make_parser().parse_args([*given, "--out", str(tmp_path), *flags]))
        (model,), _ = make_bodies(load_inputs(job).each)
        return len(model.x)

    assert particles("--quick") <= 1.1 * MOST_PARTICLES
    assert particles("--quick", "--cells", "16") > 2 * MOST_PARTICLES  # as it is asked for
