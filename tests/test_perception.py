"""Frame 0: masks and depth from files, and the object as particles and Gaussians."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from inverse.perception import (
    constant_depth,
    grabcut_mask,
    load_depth,
    load_mask,
    object_model,
    visible_surface,
    without_outliers,
)
from renderers.camera import camera_from_fov, load_camera
from taichi_phys.rotations import rotation_matrix


LEAF = Path(__file__).parent.parent / "assets" / "leaf"


def tilted_square(slope=0.8):
    """Camera, mask and depth (m) of the plane z = 2 + slope * x seen through a square."""
    camera = camera_from_fov(120, 100, 40.0)
    columns, rows = np.meshgrid(np.arange(120) + 0.5, np.arange(100) + 0.5)
    x_over_z = (columns - camera.cx) / camera.fx
    depth = 2 / (1 - slope * x_over_z)
    mask = (np.abs(columns - 60) < 30) & (np.abs(rows - 50) < 30)
    return camera, mask, depth


def test_object_model_of_a_tilted_plane_has_its_area_volume_and_normals():
    slope = 0.8
    camera, mask, depth = tilted_square(slope)
    image = np.zeros((100, 120, 3), np.uint8)
    image[mask] = (200, 100, 50)
    model = object_model(image, mask, depth, camera, thickness=0.02, spacing=0.05)
    # Area of the plane's part between the rays x/z = +-a: width in x times its slant, by z.
    a, b = 30 / camera.fx, 30 / camera.fy
    z = 2 / (1 - slope * np.linspace(-a, a, 20001))
    exact = np.sqrt(1 + slope**2) * np.mean(z**3 / 2) * 2 * a * 2 * b
    assert model.volume.sum() == pytest.approx(exact * 0.02, rel=2e-3)
    assert model.volume.std() < 0.35 * model.volume.mean()
    # Away from the camera is +y of this world; the plane leans towards +x.
    normal = np.array([slope, -1, 0]) / np.hypot(slope, 1)
    layers = model.x.reshape(-1, 2, 3)
    assert np.abs((layers[:, 0] - layers[:, 1]) / 0.01 - normal).max() < 1e-3
    assert (model.seen == 1).all() and model.surface is None
    assert len(layers) == pytest.approx(exact / 0.05**2, rel=0.05)
    behind = (layers - camera.position) @ normal - (np.array([0, 2.0, 0]) @ normal)
    assert np.allclose(behind, [[-0.005, -0.015]], atol=1e-4)
    gaps = np.linalg.norm(layers[:, None, 0] - layers[None, :, 0], axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert 0.6 * 0.05 < gaps.min(axis=1).min() and gaps.min(axis=1).max() < 1.5 * 0.05
    more = object_model(image, mask, depth, camera, thickness=0.2, spacing=0.05)
    assert len(more.x) == 4 * len(layers)


def test_gaussians_lie_flat_in_the_surface_and_carry_clean_colors():
    camera, mask, depth = tilted_square()
    image = np.full((100, 120, 3), 255, np.uint8)
    image[cv2.erode(mask.astype(np.uint8), np.ones((5, 5))) > 0] = (10, 20, 30)
    size = {"thickness": 0.02, "spacing": 0.05}
    gaussians = object_model(image, mask, depth, camera, **size).gaussians
    assert len(gaussians) == mask.sum()
    assert np.allclose(np.linalg.norm(gaussians.quats.numpy(), axis=1), 1)
    third = rotation_matrix(gaussians.quats.numpy())[..., 2]
    assert np.abs(third - np.array([0.8, -1, 0]) / np.hypot(0.8, 1)).max() < 1e-3
    assert (gaussians.scales[:, 2] < 0.2 * gaussians.scales[:, 0]).all()
    assert np.allclose(gaussians.colors().numpy(), np.array([10, 20, 30]) / 255)
    few = object_model(image, mask, depth, camera, **size, stride=2).gaussians
    assert len(few) == mask.sum() / 4


def test_rim_pixels_that_mix_object_and_background_depth_are_mended():
    camera, mask, depth = tilted_square()
    rim = mask & (cv2.erode(mask.astype(np.uint8), np.ones((3, 3))) == 0)
    dirty = np.where(rim, 5.0, depth)
    surface = visible_surface(mask, dirty, camera)
    clean = visible_surface(mask, depth, camera)
    assert np.linalg.norm(surface.points - clean.points, axis=1).max() < 0.1
    assert surface.area.sum() == pytest.approx(clean.area.sum(), rel=0.03)


@pytest.mark.parametrize("factor", [0.3, 3.0])
@pytest.mark.parametrize("count", [1, 200])
def test_depth_that_bleeds_at_the_rim_has_no_effect(factor, count):
    """The background, or a leak of the foreground, two pixels deep."""
    camera, mask, depth = tilted_square()
    band = mask & (cv2.erode(mask.astype(np.uint8), np.ones((5, 5))) == 0)
    rows, columns = np.nonzero(band)
    dirty = depth.copy()
    dirty[rows[:count], columns[:count]] *= factor
    clean, wrong = without_outliers(mask, dirty, camera)
    assert wrong == min(count, len(rows))
    np.testing.assert_allclose(clean[mask], depth[mask], rtol=0.06)
    untouched, none = without_outliers(mask, depth, camera)
    assert none == 0 and np.array_equal(untouched, depth, equal_nan=True)


def test_object_model_refuses_what_cannot_be():
    camera, mask, depth = tilted_square()
    image = np.zeros((100, 120, 3), np.uint8)
    with pytest.raises(ValueError, match="thickness: got -1"):
        object_model(image, mask, depth, camera, thickness=-1, spacing=0.05)
    with pytest.raises(ValueError, match="at least 8"):
        object_model(image, mask, depth, camera, thickness=0.01, spacing=1.0)
    with pytest.raises(ValueError, match=r"depth: got shape \(10, 10\)"):
        object_model(image, mask, np.ones((10, 10)), camera, thickness=0.01, spacing=0.05)
    with pytest.raises(ValueError, match="depth: got zero, negative or not finite values"):
        object_model(image, mask, 0 * depth, camera, thickness=0.01, spacing=0.05)


def test_masks_and_depths_from_files_and_their_errors(tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 20:40] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    assert np.array_equal(load_mask(tmp_path / "mask.png", (60, 40)), mask > 0)
    with pytest.raises(ValueError, match=r"mask\.png.*60x40.*expected 64x48"):
        load_mask(tmp_path / "mask.png", (64, 48))
    cv2.imwrite(str(tmp_path / "empty.png"), 0 * mask)
    with pytest.raises(ValueError, match=r"empty\.png.*empty"):
        load_mask(tmp_path / "empty.png", (60, 40))
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png.*not a readable image"):
        load_mask(tmp_path / "text.png", (60, 40))
    with pytest.raises(ValueError, match="no such file"):
        load_mask(tmp_path / "absent.png", (60, 40))

    depth = np.full((40, 60), 8000, np.uint16)
    cv2.imwrite(str(tmp_path / "depth.png"), depth)
    meters = load_depth(tmp_path / "depth.png", 4000, mask > 0)
    assert np.allclose(meters[mask > 0], 2.0) and np.isnan(meters[mask == 0]).all()
    np.save(tmp_path / "depth.npy", np.full((40, 60), 1.5, np.float32))
    assert np.allclose(load_depth(tmp_path / "depth.npy", 4000, mask > 0)[mask > 0], 1.5)
    np.save(tmp_path / "small.npy", np.ones((4, 4)))
    with pytest.raises(ValueError, match=r"small\.npy.*4x4.*60x40"):
        load_depth(tmp_path / "small.npy", 1, mask > 0)
    assert np.allclose(constant_depth(mask > 0, 3.0)[mask > 0], 3.0)
    with pytest.raises(ValueError, match="distance"):
        constant_depth(mask > 0, 0.0)


def test_grabcut_finds_a_disc_and_refuses_a_box_outside():
    rng = np.random.default_rng(0)
    image = rng.integers(90, 110, (80, 100, 3)).astype(np.uint8)
    rows, columns = np.mgrid[:80, :100]
    disc = (columns - 50) ** 2 + (rows - 40) ** 2 < 20**2
    image[disc] = (220, 60, 40)
    mask = grabcut_mask(image, (25, 15, 75, 65))
    assert (mask & disc).sum() / (mask | disc).sum() > 0.95
    with pytest.raises(ValueError, match="100x80"):
        grabcut_mask(image, (25, 15, 175, 65))


def test_the_shipped_leaf_becomes_a_sheet_of_about_a_square_meter():
    camera, extra = load_camera(LEAF / "camera.json")
    mask = load_mask(LEAF / "mask_000.png", (camera.width, camera.height))
    depth = load_depth(LEAF / "depth_000.png", extra["depth_scale"], mask)
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    model = object_model(image, mask, depth, camera, thickness=0.02, spacing=0.04)
    truth = np.load(LEAF / "ground_truth.npz")
    a, b, c = np.moveaxis(truth["vertices"][0][truth["faces"]].astype(float), 1, 0)
    exact = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
    assert model.volume.sum() / 0.02 == pytest.approx(exact, rel=0.06)
