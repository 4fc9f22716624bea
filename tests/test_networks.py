"""Networks for depth, boxes and masks, through the same loading as a user's: tiny random ones."""

import socket
import sys
import types

import cv2
import numpy as np
import pytest
import torch

from inverse.perception.networks import (
    detection,
    find_box,
    follows_video,
    network_depth,
    segment,
    segment_video,
)
from inverse.perception.networks.depth import eroded


hf = pytest.importorskip("transformers")
import tiny_networks as tiny  # noqa: E402


SIZE = (48, 64)
IMAGE = np.random.default_rng(0).integers(0, 255, (*SIZE, 3)).astype(np.uint8)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Whatever asks for a network fails at once; and what is random is so in the same way."""

    def refuse(*_, **__):
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    torch.manual_seed(0)


def test_metric_depth_comes_in_meters(tmp_path):
    found = network_depth(IMAGE, tiny.depth_anything(tmp_path / "net", meters=2.0))
    assert found.depth.shape == SIZE and found.focal is None
    np.testing.assert_allclose(found.depth, 2.0, rtol=1e-4)


def test_relative_depth_is_refused(tmp_path):
    name = tiny.depth_anything(tmp_path / "net", meters=2.0, kind="relative")
    with pytest.raises(ValueError, match="relative depth .*no meters.*Metric-Indoor"):
        network_depth(IMAGE, name)


def test_depth_pro_gives_depth_and_focal_length(tmp_path):
    """Its inverse depth is that of a camera whose focal length is its width."""
    found = network_depth(IMAGE, tiny.depth_pro(tmp_path / "net", inverse=0.5, fov=40.0))
    focal = 32 / np.tan(np.radians(20))
    assert found.focal == pytest.approx(focal) and found.depth.shape == SIZE
    np.testing.assert_allclose(found.depth, focal / 64 / 0.5, rtol=1e-4)
    np.testing.assert_allclose(found.of_camera(2 * focal), focal / 32 / 0.5, rtol=1e-4)


def test_moge_gives_depth_and_focal_length(monkeypatch):
    """Its package is its authors'; this stands in for it."""

    class MoGeModel:
        @classmethod
        def from_pretrained(cls, name):
            assert name == "Ruicheng/moge-2-vits-normal"
            return cls()

        def eval(self):
            return self

        def infer(self, image):
            assert image.shape == (3, *SIZE) and 0 <= image.min() <= image.max() <= 1
            depth = torch.full(SIZE, 3.0)
            depth[:4] = torch.inf  # sky
            lens = torch.tensor([[1.5, 0, 0.5], [0, 2.0, 0.5], [0, 0, 1]])
            return {"depth": depth, "intrinsics": lens}

    module = types.ModuleType("moge.model.v2")
    module.MoGeModel = MoGeModel
    for name, one in (("moge", types.ModuleType("moge")), ("moge.model.v2", module)):
        monkeypatch.setitem(sys.modules, name, one)
    monkeypatch.setitem(sys.modules, "moge.model", types.ModuleType("moge.model"))
    found = network_depth(IMAGE, "Ruicheng/moge-2-vits-normal")
    assert found.focal == pytest.approx(1.5 * 64)
    assert np.isnan(found.depth[:4]).all() and (found.depth[4:] == 3).all()
    np.testing.assert_array_equal(found.of_camera(200.0), found.depth)


def test_moge_says_where_it_comes_from():
    with pytest.raises(ValueError, match="needs the package moge.*microsoft/MoGe"):
        network_depth(IMAGE, "Ruicheng/moge-2-vits-normal")


@pytest.mark.parametrize("kind", ["sam", "sam_2"])
def test_masks_come_from_boxes_and_points(kind, tmp_path):
    """A random network; that its place in the picture counts shows that the prompt reaches it."""
    name = getattr(tiny, kind)(tmp_path / "net")
    masks = [segment(IMAGE, name, box=(10, 10, 40, 40)), segment(IMAGE, name, point=(20, 20))]
    masks.append(segment(IMAGE, name, box=(30, 5, 60, 20)))
    assert all(mask.shape == SIZE and mask.dtype == bool and mask.any() for mask in masks)
    assert (masks[0] != masks[2]).any() and (masks[0] != masks[1]).any()
    with pytest.raises(ValueError, match=r"box: got \(10, 10, 90, 40\), .*64x48"):
        segment(IMAGE, name, box=(10, 10, 90, 40))
    with pytest.raises(ValueError, match=r"point: got \(20, 50\)"):
        segment(IMAGE, name, point=(20, 50))


def test_sam_masks_stand_where_the_network_puts_them(tmp_path):
    """Logits are scaled back from the padded square: with those of a half plane, half is left."""
    name = tiny.sam(tmp_path / "net")
    model = hf.SamModel.from_pretrained(name)

    def half(self, *_, **__):
        logits = torch.full((1, 1, 1, 16, 16), -1.0)
        logits[..., :6, :] = 1.0  # of the 12 rows that the picture fills
        return types.SimpleNamespace(pred_masks=logits, iou_scores=torch.ones(1, 1, 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model), "forward", half)
        mask = segment(IMAGE, name, box=(10, 10, 40, 40))
    assert mask[:23].all() and not mask[25:].any()


def test_of_three_masks_at_a_point_the_one_with_the_best_score_counts(tmp_path):
    name = tiny.sam(tmp_path / "net")

    def three(self, *_, multimask_output, **__):
        assert multimask_output
        logits = torch.full((1, 1, 3, 16, 16), -1.0)
        logits[:, :, 0], logits[:, :, 1, :, :8] = 1.0, 1.0
        return types.SimpleNamespace(
            pred_masks=logits, iou_scores=torch.tensor([[[0.1, 0.9, 0.2]]])
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hf.SamModel, "forward", three)
        mask = segment(IMAGE, name, point=(20, 20))
    assert mask[:, :30].all() and not mask[:, 34:].any()


def test_words_become_a_box_in_the_picture(tmp_path, monkeypatch):
    name = tiny.grounding_dino(tmp_path / "net")
    (x0, y0, x1, y1), score = find_box(IMAGE, "The leaf", name)
    assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 48 and 0 < score <= 1
    monkeypatch.setattr(detection, "THRESHOLD", 1.0)
    with pytest.raises(ValueError, match="finds no 'the leaf' in frame 0; .*--box"):
        find_box(IMAGE, "The leaf.", name)
    with pytest.raises(ValueError, match="object: got ' ', expected words"):
        find_box(IMAGE, " ", name)


@pytest.mark.parametrize(
    "call, what",
    [
        (lambda name: network_depth(IMAGE, name), "depth_model"),
        (lambda name: find_box(IMAGE, "leaf", name), "detector"),
        (lambda name: segment(IMAGE, name, point=(3, 3)), "segmenter"),
    ],
)
@pytest.mark.parametrize("switched", [False, True])
def test_weights_that_are_not_there_are_told_how_to_get(call, what, switched, monkeypatch):
    if switched:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=f"{what} nobody/nothing: .*run 'hf download nobody/not"):
        call("nobody/nothing")


def test_folders_that_are_no_models_are_named(tmp_path):
    with pytest.raises(ValueError, match="depth_model .*expected a folder of a model"):
        network_depth(IMAGE, str(tmp_path))
    with pytest.raises(ValueError, match="depth_model .*expected a folder of a model"):
        network_depth(IMAGE, "./nowhere")
    name = tiny.depth_anything(tmp_path / "net", meters=2.0)
    (tmp_path / "net" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match="depth_model .*cannot be loaded"):
        network_depth(IMAGE, name)


def test_transformers_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"needs transformers .*taichi-phys\[perception\]"):
        network_depth(IMAGE, "any/name")


def test_the_rim_of_a_mask_is_left_out_of_networks_depth():
    mask = np.zeros((100, 100), bool)
    mask[10:90, 10:90] = True
    inner = eroded(mask)
    assert np.array_equal(inner, cv2.erode(mask.astype(np.uint8), np.ones((5, 5))) > 0)
    thin = np.zeros((100, 100), bool)
    thin[50:53] = True
    assert eroded(thin) is thin


def test_a_mask_is_carried_through_a_video(tmp_path):
    """A random network: the first mask stays, later ones come from what the network says."""
    name = tiny.sam_2_video(tmp_path / "net")
    assert follows_video(name) and not follows_video(tiny.sam(tmp_path / "still"))
    mask = np.zeros(SIZE, bool)
    mask[10:30, 20:40] = True
    video = np.stack([np.roll(IMAGE, 2 * k, axis=1) for k in range(20)])
    said = []
    masks = segment_video(video, mask, name, progress=lambda *at: said.append(at))
    assert masks.shape == (20, *SIZE) and masks.dtype == bool
    assert np.array_equal(masks[0], mask) and said[-1] == (20, 20)
    model, right = hf.Sam2VideoModel, hf.Sam2VideoModel.forward

    def half(self, **inputs):
        output = right(self, **inputs)
        output.pred_masks = torch.full_like(output.pred_masks, -1.0)
        output.pred_masks[..., : output.pred_masks.shape[-1] // 2] = 1.0
        return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "forward", half)
        masks = segment_video(video[:3], mask, name)
    middle = SIZE[1] // 2
    assert masks[1:, :, : middle - 1].all() and not masks[1:, :, middle + 1 :].any()
