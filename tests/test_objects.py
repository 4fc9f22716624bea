"""Several objects in one clip: each is a body of its own material, with a force of its own."""

import json

import cv2
import numpy as np
import pytest
import torch
from sheets import Sheet, film_sheets

from inverse import open_run
from inverse.wind.config import WindConfig, WindJob
from inverse.wind.forces.own import OwnFields
from inverse.wind.inputs.load import load_inputs
from inverse.wind.inputs.material import settle_material
from inverse.wind.recover import recover_wind
from inverse.wind.run import FORCES
from inverse.wind.several import even_weights
from renderers.camera import camera_from_fov, camera_record
from renderers.video import write_video
from taichi_phys.bridge.causal_triplane import CausalTriplane


FPS, FRAMES = 24, 8
CAMERA = camera_from_fov(160, 120, 22)
LEFT = Sheet((-0.22, 1.9, 0.0), (0.5, 0, 0.5), (0.6, 0, -4.0), 1.0)
RIGHT = Sheet((0.22, 2.1, 0.0), (-0.2, 0, 0.2), (-2.5, 0, 1.0), -0.8)
SETTINGS = WindConfig(iterations=8, resolution=6, channels=6, hidden=12)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The folder of a clip of two sheets."""
    folder = tmp_path_factory.mktemp("sheets")
    video, labels, depth = film_sheets([LEFT, RIGHT], CAMERA, FRAMES, FPS)
    write_video(folder / "video.mp4", video, FPS, quality=8)
    record = camera_record(CAMERA) | {"fps": FPS, "depth_scale": 4000}
    (folder / "camera.json").write_text(json.dumps(record))
    cv2.imwrite(str(folder / "mask.png"), labels[0].astype(np.uint8))
    cv2.imwrite(str(folder / "depth.png"), (4000 * depth).round().astype(np.uint16))
    return folder


def make_job(clip, **changes):
    """A coarse job of the clip."""
    settings = {
        "video": (str(clip / "video.mp4"),), "camera": (str(clip / "camera.json"),),
        "mask": str(clip / "mask.png"), "depth": str(clip / "depth.png"), "cells": 6,
        "keypoints": 40, "splat_iterations": 0, "out": str(clip / "out"),
        "made_of": ("E=500, density=100", "paper, E=3000, density=400, thickness=0.03"),
    }  # fmt: skip
    return WindJob(**settings | changes)


def test_each_label_is_an_object_of_its_own_material(clip):
    inputs = load_inputs(make_job(clip))
    left, right = inputs.each
    assert (left.job.E, left.job.density, left.substance) == (500, 100, None)
    assert (right.job.E, right.job.density, right.substance.name) == (3000, 400, "paper")
    assert right.job.thickness == 0.03 and left.job.thickness is None
    assert not (left.mask & right.mask).any()
    np.testing.assert_array_equal(inputs.mask, left.mask | right.mask)
    columns = [np.flatnonzero(one.mask.any(axis=0)) for one in inputs.each]
    assert columns[0].max() < columns[1].min()  # numbered in the order of the labels
    said = inputs.assumptions
    assert sum(note.startswith("Object 1: ") for note in said) == 1
    assert said.count("The camera stands still.") == 1


def test_one_material_holds_for_all_objects(clip):
    one = load_inputs(make_job(clip, made_of="E=700"))
    assert [each.job.E for each in one.each] == [700, 700]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"made_of": ("paper",) * 3}, "made_of: got 3 for 2 objects"),
        ({"made_of": ("paper", "E=stiff")}, "made_of: E is 'stiff'"),
        ({"made_of": ("paper", "colour=1")}, "made_of: got 'colour=1'"),
        ({"mesh": "x.ply"}, "it has labels of 2 objects"),
    ],
)
def test_what_does_not_fit_several_objects_is_refused(clip, changes, message):
    with pytest.raises(ValueError, match=message):
        load_inputs(make_job(clip, **changes))


def test_two_materials_of_one_object_are_refused():
    job = WindJob(video=("a.mp4",), box=(0, 0, 1, 1), made_of=("paper", "wood"))
    with pytest.raises(ValueError, match="made_of: got 2 for one object"):
        settle_material(job, np.zeros((2, 2, 3), np.uint8), None, [])


def test_fields_of_their_own_are_those_of_each_object():
    torch.manual_seed(0)
    sizes = {"steps": 3, "resolution": 4, "channels": 4, "hidden": 8}
    single = [CausalTriplane(lower=[0] * 3, upper=[1] * 3, scale=k + 1, **sizes) for k in range(2)]
    for field in single:
        torch.nn.init.normal_(field.decoder[-1].weight)
    body = torch.tensor([0, 1, 1, 0, 1])
    own, x = OwnFields(single, body), torch.rand(5, 3, requires_grad=True)
    own.begin_step(0)
    own.shift(torch.tensor([[1.0, 0, 0], [0, 2.0, 0]]))
    for k in range(2):
        torch.testing.assert_close(own(x, 1)[body == k], single[k](x, 1)[body == k])
    own(x, 1)[0].sum().backward()
    assert single[0].planes.grad.abs().sum() > 0
    assert single[1].planes.grad is None or not single[1].planes.grad.any()
    own.begin_step(1)
    assert own.time_variation() == 0 and own.scale == [1, 2]


def test_a_light_object_counts_as_much_as_a_heavy_one():
    body, mass = np.array([0, 0, 1]), np.array([1.0, 1.0, 6.0])
    weights = even_weights(np.ones((2, 3)), mass, body) * mass
    np.testing.assert_allclose(weights[0, :2].sum(), weights[0, 2])
    assert even_weights(np.ones((2, 3)), mass, np.zeros(3, int)).all()


def test_two_sheets_are_moved_by_two_forces(clip):
    run = recover_wind(make_job(clip), SETTINGS)
    saved = np.load(run.folder / FORCES)
    assert set(saved["body"]) == {0, 1} and len(saved["body"]) == len(saved["mass"])
    for number, (sheet, record) in enumerate(
        zip([LEFT, RIGHT], run.metrics["objects"], strict=True)
    ):
        own = saved["body"] == number
        net = saved["f"][:, own].sum(axis=1) / saved["mass"][own].sum()
        np.testing.assert_allclose(record["net_m_s2"], net, rtol=1e-4)
        off = np.linalg.norm(net - sheet.acceleration, axis=1)[1:-3]
        assert off.mean() < 0.15 * np.linalg.norm(sheet.acceleration)
        assert record["particles"] == own.sum()
    masses = [record["mass_kg"] for record in run.metrics["objects"]]
    assert masses[1] > 2 * masses[0]
    assert "object 2: force per mass" in (run.folder / "report.html").read_text()
    again = open_run(run.folder)
    np.testing.assert_array_equal(again.body, saved["body"])
    with pytest.raises(ValueError, match="it has 2 objects"):
        again.field()
    with pytest.raises(ValueError, match="smooth: got 2 for several objects"):
        recover_wind(make_job(clip), WindConfig(smooth=2))
