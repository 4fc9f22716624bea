"""Datasets as people have them: moved and shrunk images, other worlds, masks, parallel rays."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation
from test_datasets import (
    COLORED,
    HEIGHT,
    INTRINSICS,
    NAMES,
    POINT,
    WIDTH,
    frames,
    picture,
    save_colmap,
    save_images,
    save_json,
    save_nerfstudio,
    save_ply,
)

from renderers.datasets import load_points, load_views


def test_the_json_file_stands_for_its_folder(tmp_path):
    save_nerfstudio(tmp_path)
    other = tmp_path / "other.json"
    (tmp_path / "transforms.json").rename(other)
    assert [view.name for view in load_views(other)] == NAMES
    assert load_points(other) is None
    save_ply(tmp_path / "points3d.ply", COLORED)
    assert np.array_equal(load_points(other)[0], COLORED[:, :3])


@pytest.mark.parametrize("save", [save_colmap, save_nerfstudio])
def test_originals_are_found_in_input(tmp_path, save):
    save(tmp_path)
    (tmp_path / "images").rename(tmp_path / "input")
    assert [v.path.parent.name for v in load_views(tmp_path)] == ["input", "input", "sub"]
    assert load_views(tmp_path)[0].load().rgb.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("save", [save_colmap, save_nerfstudio])
def test_shrunk_copies_are_used_where_the_originals_are_gone(tmp_path, save):
    save(tmp_path)
    full = [view.camera.project(POINT)[0] for view in load_views(tmp_path)]
    (tmp_path / "images").rename(tmp_path / "images_4")
    small = [picture(k, size=(15, 10), channels=3) for k in range(3)]
    names = [name.replace("images", "images_4").replace("png", "jpg") for name in NAMES]
    for name in NAMES:
        (tmp_path / name.replace("images", "images_4")).unlink()
    save_images(tmp_path, names, small)
    views = load_views(tmp_path)
    assert [view.camera.size for view in views] == [(15, 10)] * 3
    assert all(view.load().rgb.shape == (10, 15, 3) and view.lens is None for view in views)
    for view, pixel in zip(views, full, strict=True):
        assert np.allclose(view.camera.project(POINT)[0], pixel / 4)
    assert load_views(tmp_path, downscale=8)[0].load().rgb.shape == (5, 7, 3)


def test_a_shrunk_copy_saves_the_shrinking(tmp_path):
    save_nerfstudio(tmp_path)
    small = [picture(k + 5, size=(30, 20)) for k in range(3)]
    save_images(tmp_path, [name.replace("images", "images_2") for name in NAMES], small)
    view = load_views(tmp_path, downscale=2)[0]
    assert np.array_equal(np.round(view.load().alpha * 255), small[0][..., 3])
    assert load_views(tmp_path)[0].path == tmp_path / NAMES[0]


@pytest.mark.parametrize("ending", [".png", ".png.png"])
def test_masks_beside_a_colmap_model_hide_pixels(tmp_path, ending):
    save_colmap(tmp_path)
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[30:] = 0
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks" / f"a{ending}")
    views = load_views(tmp_path)
    assert np.array_equal(views[0].load().seen, mask > 0) and views[1].load().seen is None


def test_a_mask_of_another_size_is_brought_to_that_of_the_image(tmp_path):
    save_nerfstudio(tmp_path)
    mask = np.zeros((2 * HEIGHT, 2 * WIDTH), np.uint8)
    mask[:40] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    record = json.loads((tmp_path / "transforms.json").read_text())
    record["frames"][0]["mask_path"] = "m.png"
    save_json(tmp_path, record)
    seen = load_views(tmp_path)[0].load().seen
    assert seen[:20].all() and not seen[20:].any()


def moved_poses(folder, turn, scale, shift):
    """Turn, scale and shift the world of a transforms.json, as programs do."""
    record = json.loads((folder / "transforms.json").read_text())
    for frame in record["frames"]:
        pose = np.array(frame["transform_matrix"], dtype=float)
        pose[:3, :3] = turn @ pose[:3, :3]
        pose[:3, 3] = scale * turn @ pose[:3, 3] + shift
        frame["transform_matrix"] = pose.tolist()
    save_json(folder, record)


def test_points_of_colmap_follow_poses_that_another_program_moved(tmp_path):
    """As colmap2nerf does, which says nowhere what it did; an applied_transform may be lacking."""
    save_colmap(tmp_path)
    save_json(tmp_path, {**INTRINSICS, "frames": frames()})
    assert np.allclose(load_points(tmp_path)[0], COLORED[:, :3])
    turn, shift = Rotation.from_rotvec([0.4, -2.0, 0.7]).as_matrix(), np.array([3.0, -1, 8])
    moved_poses(tmp_path, turn, 0.3, shift)
    assert np.allclose(load_points(tmp_path)[0], 0.3 * COLORED[:, :3] @ turn.T + shift)


def test_points_of_a_world_that_is_not_that_of_the_poses_are_left_out(tmp_path):
    save_colmap(tmp_path)
    listed = frames()
    for k, frame in enumerate(listed):
        frame["transform_matrix"][0][3] += 3.0 * (-1) ** k
        frame["transform_matrix"][2][3] += 2.0 * k**2
    save_json(tmp_path, {**INTRINSICS, "frames": listed})
    with pytest.warns(UserWarning, match="left out, because the poses of this model do not agree"):
        assert load_points(tmp_path) is None


def test_parallel_rays_see_all_depths_at_one_scale(tmp_path):
    """nerfstudio's ORTHOPHOTO: fl_x is the number of pixels for each unit of length."""
    save_images(tmp_path)
    record = {**INTRINSICS, "fl_x": 20.0, "fl_y": 20.0, "camera_model": "ORTHOPHOTO"}
    save_json(tmp_path, {**record, "frames": frames()})
    camera = load_views(tmp_path)[0].camera  # at (0, -4, 0), looks along +y with z up
    for depth in (-1.0, 1.0, 4.0):
        pixel, _ = camera.project(np.array([0.7, depth - 4, -0.3]))
        assert np.allclose(pixel, [27 + 20 * 0.7, 22.5 + 20 * 0.3], atol=0.02)
