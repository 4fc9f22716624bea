"""One object of several materials: parts in an image of labels, each made of its own."""

import json

import cv2
import numpy as np
import pytest
from seer import Server
from sheets import Sheet, film_sheets

from inverse.wind.body import make_bodies
from inverse.wind.config import WindConfig, WindJob
from inverse.wind.inputs.load import load_inputs
from inverse.wind.inputs.parts import particles_of
from inverse.wind.recover import recover_wind
from renderers.camera import camera_from_fov, camera_record
from renderers.video import write_video


FPS, FRAMES = 24, 6
CAMERA = camera_from_fov(128, 96, 20)
SHEET = Sheet((0.0, 1.6, 0.0), (0.2, 0, 0.3), (0.8, 0, -4.0), 0.6)
HEAVY, LIGHT = "E=800, density=400", "paper, E=500, density=100, thickness=0.02"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The folder of a clip of one sheet, with labels of its left third and the rest."""
    folder = tmp_path_factory.mktemp("sheet")
    video, labels, depth = film_sheets([SHEET], CAMERA, FRAMES, FPS)
    write_video(folder / "video.mp4", video, FPS, quality=8)
    record = camera_record(CAMERA) | {"fps": FPS, "depth_scale": 4000}
    (folder / "camera.json").write_text(json.dumps(record))
    mask = labels[0] > 0
    columns = np.flatnonzero(mask.any(axis=0))
    left = np.arange(CAMERA.width) < columns[0] + len(columns) // 3
    parts = np.where(mask, np.where(left, 1, 2), 0)
    parts[:, columns[-4] :] = 0  # nobody said what the last columns are
    cv2.imwrite(str(folder / "mask.png"), 255 * mask.astype(np.uint8))
    cv2.imwrite(str(folder / "parts.png"), parts.astype(np.uint8))
    cv2.imwrite(str(folder / "depth.png"), (4000 * depth).round().astype(np.uint16))
    return folder


def make_job(clip, **changes):
    settings = {
        "video": (str(clip / "video.mp4"),), "camera": (str(clip / "camera.json"),),
        "mask": str(clip / "mask.png"), "depth": str(clip / "depth.png"), "cells": 6,
        "parts": str(clip / "parts.png"), "made_of": (HEAVY, LIGHT), "shape": "sheet",
        "keypoints": 40, "splat_iterations": 0, "out": str(clip / "out"), "thickness": 0.01,
    }  # fmt: skip
    return WindJob(**settings | changes)


def test_each_part_is_of_its_own_material(clip):
    inputs = load_inputs(make_job(clip))
    left, right = inputs.parts.jobs
    assert (left.E, left.density, left.thickness) == (800, 400, 0.01)
    assert (right.E, right.density, right.thickness) == (500, 100, 0.02)
    assert inputs.job == right  # the larger part
    columns = [np.flatnonzero((inputs.mask & (inputs.parts.labels == k)).any(0)) for k in (0, 1)]
    assert columns[0][-1] + 1 == columns[1][0] and len(columns[1]) > 1.5 * len(columns[0])
    assert any(note.startswith("Part 2: ") and "paper" in note for note in inputs.assumptions)
    one = load_inputs(make_job(clip, made_of="E=700")).parts
    assert [job.E for job in one.jobs] == [700, 700]


def test_a_server_is_asked_about_each_part_once(clip, tmp_path):
    answer = {"material": "felt", "density": [100, 200, 300], "E": [1e4, 1e5, 1e6],
              "nu": [0.1, 0.2, 0.3], "thickness": [1e-3, 2e-3, 3e-3]}  # fmt: skip
    server = Server()
    server.answers = [json.dumps(answer), json.dumps(answer | {"material": "bark", "E": [1e6] * 3})]
    job = make_job(clip, vlm=server.url, vlm_model="seer", made_of=(), out=str(tmp_path))
    asked = load_inputs(job).parts.substances
    server.close()
    assert [one.name for one in asked] == ["felt", "bark"] and len(server.asked) == 2
    assert load_inputs(job).parts.substances == asked  # the server is gone


def test_particles_lie_part_by_part_and_weigh_what_their_part_does(clip):
    inputs = load_inputs(make_job(clip))
    (model,), dx = make_bodies(inputs.each)
    whole = load_inputs(make_job(clip, parts=None, made_of="E=500, thickness=0.02"))
    plain = make_bodies(whole.each)[0][0]
    first, second = model.counts
    assert first + second == len(model.x) == len(plain.x) and not plain.counts
    assert model.x[:first, 0].max() < model.x[first:, 0].min() + 0.5 * dx
    np.testing.assert_array_equal(np.sort(model.x, axis=0), np.sort(plain.x, axis=0))
    # The first is half as thick as the second, in the same place.
    ratio = model.volume[:first].sum() / plain.volume.sum()
    assert ratio == pytest.approx(0.5 * first / len(model.x), rel=0.1)
    heavy, light = particles_of(model, inputs.materials)
    assert (np.asarray(heavy.density) == 400).all() and (np.asarray(light.density) == 100).all()
    assert (heavy.material.E, light.material.E) == (800, 500)


def test_parts_shrink_with_their_pictures(clip):
    parts = load_inputs(make_job(clip)).parts
    small = parts.reduced(0.5).labels
    assert small.shape == (48, 64)
    assert (small == parts.labels[::2, ::2]).mean() > 0.97


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"made_of": ("paper",) * 3}, "made_of: got 3 for 2 parts, expected one each"),
        ({"parts": "mask.png"}, "it has one part, expected two parts or more"),
        ({"parts": "far.png"}, "it has no pixel of part 2 on the object"),
        ({"mask": "parts.png"}, "labels of 2 objects, and --parts are those of one"),
    ],
)
def test_parts_that_are_none_are_refused(clip, changes, message):
    far = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
    far[40:60, 50:80], far[:6, :6] = 1, 2
    cv2.imwrite(str(clip / "far.png"), far)
    files = {key: str(clip / value) for key, value in changes.items() if key != "made_of"}
    with pytest.raises(ValueError, match=message):
        load_inputs(make_job(clip, **changes | files))


def test_the_heavy_part_of_a_falling_sheet_takes_more_force(clip):
    run = recover_wind(
        make_job(clip), WindConfig(iterations=6, resolution=6, channels=6, hidden=12, compare=False)
    )
    specific = run.force.sum(axis=1) / run.mass.sum()
    off = np.linalg.norm(specific - SHEET.acceleration, axis=1)[1:-2]
    assert off.mean() < 0.2 * np.linalg.norm(SHEET.acceleration)
    record = json.loads((run.folder / "config.json").read_text())
    assert [part["density"] for part in record["parts"]] == [400, 100]
    count = np.unique(run.mass.round(9), return_counts=True)
    assert run.mass[0] > 1.5 * run.mass[-1] and len(count[0]) >= 2
