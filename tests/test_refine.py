"""Gaussians of frame 0, fitted to its picture."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from inverse.metrics import psnr
from inverse.perception import load_depth, load_mask, object_model, refine_on_image
from inverse.perception.refine import SLIDE, STRETCH
from renderers.camera import camera_from_fov, load_camera
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import render
from renderers.video import read_video
from taichi_phys.rotations import rotation_matrix


LEAF = Path(__file__).parent.parent / "assets" / "leaf"


def scene(shift=0.0):
    """Camera, image, mask, background and Gaussians of a striped slanted disc, its rim antialiased.

    shift: px by which the disc lies to the left; the image is as wide as that needs.
    """
    camera = camera_from_fov(72, 60, 40.0)
    fine = 8
    v, u = (np.indices((60 * fine, 72 * fine)) + 0.5) / fine
    disc = (u - 36 + shift) ** 2 + (v - 30) ** 2 < 20**2
    object_color = np.stack([0.6 + 0.3 * np.sin(0.9 * u), 0.3 + 0.2 * np.sin(0.7 * v), 0 * u], -1)
    behind = np.stack([0.5 + 0.1 * np.sin(0.1 * u), 0.5 + 0 * u, 0.7 + 0 * u], -1)

    def pixels(picture):
        return picture.reshape(60, fine, 72, fine, -1).mean(axis=(1, 3))

    def to_bytes(picture):
        return (pixels(picture) * 255).round().astype(np.uint8)

    image = to_bytes(np.where(disc[..., None], object_color, behind))
    mask = pixels(disc)[..., 0] > 0.5
    depth = 2 / (1 - 0.5 * (np.arange(72) + 0.5 - camera.cx) / camera.fx) * np.ones((60, 1))
    model = object_model(image, mask, depth, camera, thickness=0.02, spacing=0.05)
    return camera, image, mask, to_bytes(behind), model.gaussians


@pytest.fixture(scope="module")
def refined():
    camera, image, mask, behind, start = scene()
    return camera, image, mask, behind, start, refine_on_image(start, image, mask, camera)


def dilated(mask, size):
    return cv2.dilate(mask.astype(np.uint8), np.ones((size, size))) > 0


def unit(image):
    return torch.as_tensor(image).float() / 255


def test_the_image_is_reproduced_over_its_background(refined):
    camera, image, mask, behind, start, fitted = refined
    near = torch.as_tensor(dilated(mask, 9))
    before, after = (
        psnr(render(camera, **g.tensors(), background=unit(behind)).rgb, unit(image), near)
        for g in (start, fitted)
    )
    assert before < 30 and after > before + 8


def test_the_object_is_as_large_as_the_disc(refined):
    camera, _, _, _, start, fitted = refined
    before, after = (render(camera, **g.tensors()).alpha.sum() for g in (start, fitted))
    area = np.pi * 20**2
    assert before > 1.07 * area and after == pytest.approx(area, rel=0.015)


def test_the_object_is_opaque_and_nothing_else_is(refined):
    """Whatever is behind. It starts half transparent here, which any one background can hide."""
    camera, image, mask, _, start, fitted = refined
    faint = dataclasses.replace(start, opacities=torch.full_like(start.opacities, 0.5))
    inside = ~dilated(~mask, 3)
    for gaussians in (fitted, refine_on_image(faint, image, mask, camera)):
        alpha = render(camera, **gaussians.tensors()).alpha.cpu().numpy()
        assert alpha[inside].mean() > 0.99 and alpha[inside].min() > 0.9
        assert alpha[~dilated(mask, 5)].max() < 0.02


def test_rim_pixels_do_not_take_the_color_of_the_background(refined):
    camera, _, mask, _, start, fitted = refined
    column, row = np.floor(camera.project(start.means.cpu().numpy())[0]).astype(int).T
    rim = dilated(~mask, 3)[row, column]
    torch.testing.assert_close(fitted.sh[rim], start.sh[rim], rtol=0, atol=0)
    assert (fitted.sh[~rim] - start.sh[~rim]).abs().mean() > 0.02


def test_gaussians_stay_flat_on_the_surface(refined):
    """Novel views and deformations must not show needles, holes, or another depth."""
    camera, _, _, _, start, fitted = refined
    torch.testing.assert_close(fitted.quats, start.quats, rtol=0, atol=0)
    stretch = fitted.scales / start.scales
    assert stretch.min() > STRETCH[0] - 1e-5 and stretch.max() < STRETCH[1] + 1e-5
    slide = fitted.means - start.means
    normals = rotation_matrix(start.quats)[..., 2]
    assert (slide * normals).sum(1).abs().max() < 1e-5
    pixels = (
        camera.project(fitted.means.cpu().numpy())[0] - camera.project(start.means.cpu().numpy())[0]
    )
    distance = np.linalg.norm(pixels, axis=1)
    assert 0.05 < distance.max() < 1.05 * SLIDE
    aside = np.linalg.inv(camera.world_to_camera)
    aside[:3, 3] += (0.8, 0, 0)
    view = dataclasses.replace(camera, world_to_camera=np.linalg.inv(aside), cx=camera.cx + 32)
    before, after = (render(view, **g.tensors()).alpha.cpu().numpy() for g in (start, fitted))
    body = before > 0.5
    assert 500 < body.sum() < 2000
    assert after[~dilated(~body, 7)].min() > 0.95 and after[~dilated(body, 3)].max() < 0.03


def test_the_same_again_and_the_input_as_before(refined):
    camera, image, mask, _, start, fitted = refined
    before = {k: v.clone() for k, v in start.tensors().items()}
    again = refine_on_image(start, image, mask, camera)
    for name, value in again.tensors().items():
        assert torch.equal(value, fitted.tensors()[name]), name
        assert torch.equal(start.tensors()[name], before[name]), name
    none = refine_on_image(start, image, mask, camera, iterations=0)
    for name, value in none.tensors().items():
        torch.testing.assert_close(value, before[name])


def test_an_object_cut_off_by_the_image_border():
    camera, image, mask, behind, start = scene(shift=30)
    assert mask[:, 0].any()
    fitted = refine_on_image(start, image, mask, camera, iterations=60)
    inside = torch.as_tensor(~dilated(~mask, 3))
    before, after = (
        psnr(render(camera, **g.tensors()).rgb, unit(image), inside) for g in (start, fitted)
    )
    assert after > before + 4


def test_the_shipped_leaf_gains_many_decibels():
    camera, extra = load_camera(LEAF / "camera.json")
    mask = load_mask(LEAF / "mask_000.png", (camera.width, camera.height))
    depth = load_depth(LEAF / "depth_000.png", extra["depth_scale"], mask)
    image = read_video(LEAF / "video.mp4", max_frames=1).frames[0]
    model = object_model(image, mask, depth, camera, thickness=0.05, spacing=0.05)
    start = model.gaussians
    fitted = refine_on_image(start, image, mask, camera, iterations=30)
    inside = torch.as_tensor(~dilated(~mask, 3))
    before, after = (
        psnr(render(camera, **g.tensors()).rgb, unit(image), inside) for g in (start, fitted)
    )
    assert before < 35.5 and after > 41


def test_refinement_refuses_what_cannot_be():
    camera, image, mask, _, start = scene()
    with pytest.raises(ValueError, match=r"mask: got shape \(10, 10\), expected \(60, 72\)"):
        refine_on_image(start, image, mask[:10, :10], camera)
    with pytest.raises(ValueError, match=r"image: got float64 \(60, 72, 3\), expected uint8"):
        refine_on_image(start, image / 255, mask, camera)
    with pytest.raises(ValueError, match="mask: it is empty"):
        refine_on_image(start, image, 0 * mask, camera)
    with pytest.raises(ValueError, match="iterations: got -1"):
        refine_on_image(start, image, mask, camera, iterations=-1)
    nothing = Gaussians(**{k: v[:0] for k, v in start.tensors().items()})
    with pytest.raises(ValueError, match="gaussians: got none"):
        refine_on_image(nothing, image, mask, camera)
