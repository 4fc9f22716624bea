"""Datasets of posed images: the same tiny scene in every format, and what can be wrong with it."""

import copy
import json
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from renderers.camera import camera_from_fov
from renderers.datasets import View, hold_out, load_points, load_views
from renderers.datasets.views import labeled


# Nothing is symmetric, so that no swap goes unseen: neither the image, nor its center, nor a pose.
SIZE = WIDTH, HEIGHT = 60, 40
FX, FY, CX, CY = 70.0, 75.0, 27.0, 22.5
INTRINSICS = dict(fl_x=FX, fl_y=FY, cx=CX, cy=CY, w=WIDTH, h=HEIGHT)
POINT = np.array([1.0, 0.4, 0.5])


def pose(right, up, position):
    """Camera-to-world, OpenGL axes: the columns are right, up, back, position."""
    return np.column_stack([right, up, np.cross(right, up), position])


# Along +y with z up; along -x with z up; and askew.
TILT = Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix()
POSES = [
    pose([1, 0, 0], [0, 0, 1], [0, -4, 0]),
    pose([0, 1, 0], [0, 0, 1], [5, 0, 1]),
    pose(TILT @ [1, 0, 0], TILT @ [0, 0, 1], [-0.5, -5, 1]),
]
NAMES = ["images/a.png", "images/b.png", "images/sub/c.png"]
TIMES = [0.0, 0.25, 1.0]


def unpacked(photograph):
    return photograph.rgb, photograph.alpha


def pixel_by_hand(matrix):
    right, up, back, position = matrix.T
    offset = POINT - position
    depth = -offset @ back
    return [CX + FX * (offset @ right) / depth, CY - FY * (offset @ up) / depth]


def picture(seed=0, size=SIZE, channels=4):
    shape = (size[1], size[0], channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save_images(folder, names=NAMES, images=None):
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i) if images is None else images[i]).save(folder / name)


def save_json(folder, record, name="transforms.json"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(record))


def frames(names=NAMES):
    rows = zip(names, POSES, TIMES, strict=True)
    return [
        dict(file_path=n, time=t, transform_matrix=[*p.tolist(), [0, 0, 0, 1]]) for n, p, t in rows
    ]


def save_nerfstudio(folder):
    save_images(folder)
    save_json(folder, {**INTRINSICS, "camera_model": "OPENCV", "k1": 0.0, "frames": frames()})


def save_blender(folder):
    save_images(folder)
    listed = frames([f"./{name.removesuffix('.png')}" for name in NAMES])
    save_json(
        folder, {**INTRINSICS, "camera_angle_x": 1, "frames": listed}, "transforms_train.json"
    )


def save_nvfi(folder):
    """One pose, many frames: here each camera has one."""
    save_images(folder)
    cameras = [
        dict(transform_matrix=f.pop("transform_matrix"), frames=[f])
        for f in frames([name.removesuffix(".png") for name in NAMES])
    ]
    data = {f"cam_{i}": camera for i, camera in enumerate(cameras)}
    save_json(folder, {**INTRINSICS, "data": data}, "transforms_train.json")
    save_json(folder, {**INTRINSICS, "data": cameras}, "transforms_val.json")


def colmap_poses():
    for matrix in POSES:
        rotation = np.diag([1, -1, -1]) @ matrix[:, :3].T
        x, y, z, w = Rotation.from_matrix(rotation).as_quat()
        yield (w, x, y, z), -rotation @ matrix[:, 3]


COLORED = np.array([[1, 2, 3, 255, 0, 51], [-4, 5.5, 6, 0, 102, 255]])
PINHOLE = ("PINHOLE", 1, (FX, FY, CX, CY))


def save_colmap_text(folder, place="sparse/0", camera=PINHOLE):
    save_images(folder)
    model = folder / place
    model.mkdir(parents=True, exist_ok=True)
    params = " ".join(str(value) for value in camera[2])
    (model / "cameras.txt").write_text(f"# comment\n7 {camera[0]} {WIDTH} {HEIGHT} {params}\n")
    lines = ["# two lines per image"]
    for i, (quat, position) in reversed(list(enumerate(colmap_poses()))):
        row = " ".join(repr(float(value)) for value in (*quat, *position))
        points = "" if i == 1 else "1.5 2.5 -1 3.0 4.0 17"  # an image may see nothing
        lines += [f"{i + 1} {row} 7 {NAMES[i].removeprefix('images/')}", points]
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    points = [f"{i} {x} {y} {z} {r:g} {g:g} {b:g} 0.5 1 2 3 4" for i, (x, y, z, r, g, b)
              in enumerate(COLORED)]  # fmt: skip
    (model / "points3D.txt").write_text("# comment\n" + "\n".join(points) + "\n")


def save_colmap(folder, place="sparse/0", camera=PINHOLE):
    save_images(folder)
    model = folder / place
    model.mkdir(parents=True, exist_ok=True)
    params = camera[2]
    data = struct.pack(f"<QiiQQ{len(params)}d", 1, 7, camera[1], WIDTH, HEIGHT, *params)
    (model / "cameras.bin").write_bytes(data)
    data = struct.pack("<Q", 3)
    for i, (quat, position) in reversed(list(enumerate(colmap_poses()))):
        data += struct.pack("<i7di", i + 1, *quat, *position, 7)
        data += NAMES[i].removeprefix("images/").encode() + b"\0"
        data += struct.pack("<Q", i) + i * struct.pack("<ddq", 1.5, 2.5, -1)
    (model / "images.bin").write_bytes(data)
    data = struct.pack("<Q", 2)
    for i, row in enumerate(COLORED):
        data += struct.pack("<Q3d3Bd", i, *row[:3], *row[3:].astype(int), 0.5)
        data += struct.pack("<Q", i) + i * struct.pack("<ii", 3, 4)
    (model / "points3D.bin").write_bytes(data)


FORMATS = [save_nerfstudio, save_blender, save_nvfi, save_colmap, save_colmap_text]


@pytest.mark.parametrize("save", FORMATS)
def test_every_format_gives_the_same_cameras(tmp_path, save):
    save(tmp_path)
    views = load_views(tmp_path)
    assert [view.name.removesuffix(".png") for view in views] == [n[:-4] for n in NAMES]
    assert [view.path for view in views] == [tmp_path / name for name in NAMES]
    timed = save not in (save_colmap, save_colmap_text)
    assert [view.time for view in views] == (TIMES if timed else [None] * 3)
    for i, (view, matrix) in enumerate(zip(views, POSES, strict=True)):
        pixel, depth = view.camera.project(POINT)
        assert np.allclose(pixel, pixel_by_hand(matrix), atol=1e-9) and depth > 0
        assert np.allclose(view.camera.position, matrix[:, 3])
        assert (view.camera.width, view.camera.height) == SIZE
        shown = view.load()
        assert view.lens is None and view.mask_path is None and shown.seen is None
        rgb, alpha = shown.rgb, shown.alpha
        assert rgb.dtype == alpha.dtype == np.float32
        assert np.array_equal(np.round(np.dstack([rgb, alpha]) * 255), picture(i))


def test_pixels_of_the_first_camera_are_these():
    """The formula that the other tests compare with, itself checked by arithmetic."""
    assert pixel_by_hand(POSES[0]) == pytest.approx([27 + 70 / 4.4, 22.5 - 75 * 0.5 / 4.4])
    assert pixel_by_hand(POSES[1]) == pytest.approx([27 + 70 * 0.4 / 4, 22.5 + 75 * 0.5 / 4])


def test_nvfi_cameras_may_be_a_list_and_share_a_pose(tmp_path):
    save_nvfi(tmp_path)
    assert [view.time for view in load_views(tmp_path, "val")] == TIMES
    record = json.loads((tmp_path / "transforms_val.json").read_text())
    record["data"][0]["frames"] *= 2
    record["data"][0]["frames"][1] = {"file_path": NAMES[1], "time": 0.5}
    save_json(tmp_path, record, "transforms_val.json")
    views = load_views(tmp_path, "val")
    assert [view.time for view in views] == [0.0, 0.5, 0.25, 1.0]
    assert np.array_equal(views[0].camera.world_to_camera, views[1].camera.world_to_camera)


@pytest.mark.parametrize("place", ["sparse/0", "sparse", "colmap/sparse/0", "."])
@pytest.mark.parametrize("save", [save_colmap, save_colmap_text])
def test_colmap_models_are_found_where_tools_put_them(tmp_path, save, place):
    save(tmp_path, place)
    assert len(load_views(tmp_path)) == 3
    points, colors = load_points(tmp_path)
    assert points.dtype == np.float64 and np.array_equal(points, COLORED[:, :3])
    assert np.allclose(colors, COLORED[:, 3:] / 255)


def test_focal_length_from_angles_and_size_from_the_first_image(tmp_path):
    save_images(tmp_path)
    record = {"camera_angle_x": 0.8, "frames": frames()}
    save_json(tmp_path, record)
    camera = load_views(tmp_path)[0].camera
    assert camera.fx == camera.fy == pytest.approx(30 / np.tan(0.4))
    assert (camera.cx, camera.cy, camera.width, camera.height) == (30, 20, 60, 40)
    record["frames"][1] |= {"camera_angle_y": 0.9, "cx": 11.5, "camera_angle_x": 0.7}
    save_json(tmp_path, record)
    views = load_views(tmp_path)
    camera = views[1].camera
    assert (camera.fx, camera.fy) == pytest.approx((30 / np.tan(0.35), 20 / np.tan(0.45)))
    assert (camera.cx, camera.cy) == (11.5, 20) and views[0].camera.cx == 30
    Image.fromarray(picture(size=(61, 40))).save(tmp_path / NAMES[2])
    with pytest.raises(ValueError, match=r"c\.png: is 61x40, expected 60x40"):
        load_views(tmp_path)[2].load()


def test_scale_in_a_pose_and_a_missing_last_row_do_not_matter(tmp_path):
    save_nerfstudio(tmp_path)
    expected = load_views(tmp_path)[2].camera
    record = json.loads((tmp_path / "transforms.json").read_text())
    matrix = np.array(record["frames"][2]["transform_matrix"])[:3]
    matrix[:, :3] *= 0.37
    record["frames"][2]["transform_matrix"] = matrix.tolist()
    save_json(tmp_path, record)
    camera = load_views(tmp_path)[2].camera
    assert np.allclose(camera.world_to_camera, expected.world_to_camera, atol=1e-12)


def test_an_ending_is_added_only_to_names_that_are_no_file(tmp_path):
    save_nerfstudio(tmp_path)
    (tmp_path / f"{NAMES[0]}.png").write_bytes(b"another")
    assert load_views(tmp_path)[0].path == tmp_path / NAMES[0]


# Pixels


def test_nothing_is_opened_before_it_is_asked_for(tmp_path):
    for i, save in enumerate(FORMATS):
        folder = tmp_path / str(i)
        save(folder)
        for name in NAMES:
            (folder / name).write_bytes(b"no image")
        for view in load_views(folder, downscale=2):
            with pytest.raises(ValueError, match=r"image .*\.png: cannot be read \(.*identify"):
                view.load()


def test_image_lies_over_the_background(tmp_path):
    save_nerfstudio(tmp_path)
    view = load_views(tmp_path)[0]
    rgba = picture(0) / 255.0
    for background in [(0, 0, 0), (1.0, 1.0, 1.0), (0.2, 0.5, 0.9)]:
        expected = rgba[..., :3] * rgba[..., 3:] + np.array(background) * (1 - rgba[..., 3:])
        image = view.load().over(background)
        assert image.dtype == np.float32 and np.allclose(image, expected, atol=1e-6)
    assert np.array_equal(view.load().over(), view.load().over((0, 0, 0)))
    with pytest.raises(ValueError, match="background: got .*, expected 3 finite numbers"):
        view.load().over((1, 1))


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "P", "1"])
def test_images_of_all_kinds(tmp_path, mode):
    image = Image.fromarray(picture(channels=4)).convert(mode)
    image.save(tmp_path / "a.png")
    expected = np.asarray(image.convert("RGBA")) / 255
    view = View(name="a", camera=camera_from_fov(*SIZE, 50), time=None, path=tmp_path / "a.png")
    rgb, alpha = unpacked(view.load())
    assert np.allclose(rgb, expected[..., :3]) and np.allclose(alpha, expected[..., 3])
    assert mode in {"LA", "P"} or (alpha == 1).all()


def test_downscale_averages_light_not_straight_color(tmp_path):
    """A transparent green pixel beside an opaque red one: the mean is half-transparent red."""
    save_nerfstudio(tmp_path)
    image = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    image[:, 0::2] = [255, 0, 0, 255]
    image[:, 1::2] = [0, 255, 0, 0]
    image[:2, :2] = [9, 9, 9, 0]
    Image.fromarray(image).save(tmp_path / NAMES[0])
    full, half = load_views(tmp_path)[0], load_views(tmp_path, downscale=2)[0]
    rgb, alpha = unpacked(half.load())
    assert rgb.shape == (20, 30, 3) and rgb.dtype == np.float32
    assert np.allclose(alpha[0, 1:], 0.5) and np.allclose(rgb[0, 1:], [1, 0, 0])
    assert alpha[0, 0] == 0 and (rgb[0, 0] == 0).all()
    blocks = full.load().over((0.3, 0.6, 1)).reshape(20, 2, 30, 2, 3).mean((1, 3))
    assert np.allclose(half.load().over((0.3, 0.6, 1)), blocks, atol=1e-6)


@pytest.mark.parametrize("downscale", [2, 3, 7])
def test_downscale_keeps_the_picture_and_its_camera_together(tmp_path, downscale):
    """Also where it does not divide the size: a blob stays where the camera sees the point."""
    save_nerfstudio(tmp_path)
    full = load_views(tmp_path)[1].camera
    u, v = full.project(POINT)[0]
    x, y = pixel_centers(SIZE)
    draw(tmp_path / NAMES[1], x - u, y - v, sigma=3)
    view = load_views(tmp_path, downscale=downscale)[1]
    camera = view.camera
    size = (WIDTH // downscale, HEIGHT // downscale)
    assert (camera.width, camera.height) == size
    scale = np.array(size) / SIZE
    assert np.allclose([camera.fx, camera.fy], [FX, FY] * scale)
    assert np.allclose([camera.cx, camera.cy], [CX, CY] * scale)
    rgb = view.load().rgb
    assert np.allclose(centroid(rgb[..., 0]), camera.project(POINT)[0], atol=0.05)


def pixel_centers(size):
    return np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)


def draw(path, dx, dy, sigma):
    """A white dot on black; dx, dy: (H, W) distance of each pixel from its middle, px."""
    value = np.exp(-(dx**2 + dy**2) / (2 * sigma**2))
    value = np.round(255 * value).astype(np.uint8)
    Image.fromarray(np.repeat(value[..., None], 3, axis=2)).save(path)


def centroid(value):
    x, y = pixel_centers(value.shape[::-1])
    return np.array([(value * x).sum(), (value * y).sum()]) / value.sum()


def distort(x, y, k1=0, k2=0, p1=0, p2=0, k3=0, k4=0, k5=0, k6=0, fisheye=False):
    """The forward models of OpenCV's manual, in normalized coordinates."""
    r2 = x * x + y * y
    if fisheye:
        r, t = np.sqrt(r2), np.arctan(np.sqrt(r2))
        scale = t * (1 + k1 * t**2 + k2 * t**4 + k3 * t**6 + k4 * t**8) / r
        return x * scale, y * scale
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def undistort(a, b, **lens):
    x, y = a.copy(), b.copy()
    for _ in range(200):
        c, d = distort(x, y, **lens)
        x, y = x + 0.5 * (a - c), y + 0.5 * (b - d)
    return x, y


LENSES = [  # model, COLMAP's number, how many focal lengths it has, coefficients by name
    ("SIMPLE_RADIAL", 2, 1, dict(k1=-0.4)),
    ("RADIAL", 3, 1, dict(k1=-0.5, k2=0.3)),
    ("OPENCV", 4, 2, dict(k1=-0.4, k2=0.2, p1=0.03, p2=-0.04)),
    ("OPENCV_FISHEYE", 5, 2, dict(k1=-0.5, k2=0.2, k3=0.1, k4=-0.3)),
    ("OPENCV_FISHEYE", 5, 2, dict(k1=0.0, k2=0.0, k3=0.0, k4=0.0)),  # still no pinhole
    ("SIMPLE_RADIAL_FISHEYE", 8, 1, dict(k1=-0.5)),
    ("RADIAL_FISHEYE", 9, 1, dict(k1=-0.5, k2=0.2)),
    ("SIMPLE_FISHEYE", 14, 1, {}),
    ("FISHEYE", 15, 2, {}),
    ("FULL_OPENCV", 6, 2, dict(k1=-0.2, k2=0.1, p1=0.03, p2=-0.04, k3=0.2, k4=0.3, k5=0.1, k6=0.1)),
]


def check_undistorted(folder, model, fy, coefficients):
    """Round dots seen through a distorting lens come back where a pinhole would see them."""
    view = load_views(folder)[0]
    assert view.lens.fisheye == ("FISHEYE" in (model or "")) and view.camera.fy == fy
    lens = dict(coefficients, fisheye=view.lens.fisheye)
    u, v = pixel_centers(SIZE)
    x, y = undistort((u - CX) / FX, (v - CY) / fy, **lens)
    moved = []
    for dot in [(-0.25, -0.2), (0.3, -0.2), (0.02, -0.05), (-0.27, 0.15), (0.35, 0.14)]:
        draw(view.path, FX * (x - dot[0]), fy * (y - dot[1]), sigma=1.5)
        rgb, alpha = unpacked(view.load())
        expected = np.array([FX * dot[0] + CX, fy * dot[1] + CY])
        assert np.allclose(centroid(rgb[..., 0] * alpha), expected, atol=0.03)
        moved.append(np.abs(np.subtract(distort(*dot, **lens), dot)).max() * FX)
    assert max(moved) > 0.5, "the test would pass without undistortion"


@pytest.mark.parametrize(("model", "number", "focals", "coefficients"), LENSES)
@pytest.mark.parametrize("save", [save_colmap, save_colmap_text])
def test_colmap_lenses_are_undistorted(tmp_path, save, model, number, focals, coefficients):
    params = ((FX,) if focals == 1 else (FX, FY)) + (CX, CY, *coefficients.values())
    save(tmp_path, camera=(model, number, params))
    check_undistorted(tmp_path, model, FX if focals == 1 else FY, coefficients)


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("OPENCV", dict(p2=-0.04, k3=0.4, k1=-0.4, p1=0.03, k2=0.2)),
        ("OPENCV_FISHEYE", LENSES[3][3]),
        ("OPENCV_FISHEYE", {}),
        (None, dict(k1=-0.4)),
    ],
)
def test_nerfstudio_lenses_are_undistorted(tmp_path, model, coefficients):
    save_images(tmp_path)
    record = {**INTRINSICS, **coefficients, "frames": frames()}
    save_json(tmp_path, record if model is None else {**record, "camera_model": model})
    check_undistorted(tmp_path, model, FY, coefficients)


def test_what_undistortion_looks_for_outside_the_image_is_transparent(tmp_path):
    save_images(tmp_path, images=[np.full((HEIGHT, WIDTH, 3), 200, np.uint8)] * 3)
    save_json(tmp_path, {**INTRINSICS, "k1": 0.9, "frames": frames()})
    view = load_views(tmp_path)[0]
    rgb, alpha = unpacked(view.load())
    mask = view.load().seen
    assert alpha[0, -1] == 0 and not mask[0, -1] and mask[20, 30] and 0.3 < mask.mean() < 0.95
    assert np.allclose(alpha[mask], 1, atol=1e-3)
    assert np.allclose(rgb[alpha > 0.05], 200 / 255, atol=1e-4)  # no dark rim
    assert np.allclose(view.load().over((1, 0, 0))[0, -1], [1, 0, 0])
    quarter = load_views(tmp_path, downscale=4)[0]
    assert quarter.load().rgb.shape == (10, 15, 3) and quarter.load().seen.shape == (10, 15)
    assert np.allclose(quarter.load().alpha, alpha.reshape(10, 4, 15, 4).mean((1, 3)), atol=1e-4)


def test_masks(tmp_path):
    save_nerfstudio(tmp_path)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:20, 20:41] = 1  # not only 255 counts
    Image.fromarray(mask).save(tmp_path / "m.png")
    record = json.loads((tmp_path / "transforms.json").read_text())
    record["frames"][1]["mask_path"] = "m.png"
    save_json(tmp_path, record)
    view = load_views(tmp_path)[1]
    assert view.load().seen.dtype == bool and np.array_equal(view.load().seen, mask > 0)
    half = load_views(tmp_path, downscale=2)[1].load().seen
    assert half[5:10, 10:20].all() and half.sum() == 50  # the cut pixel does not count
    Image.fromarray(mask[:, 1:]).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"m\.png: is 59x40, expected 60x40"):
        view.load()


# Splits and points


def test_splits(tmp_path):
    save_nerfstudio(tmp_path)
    with pytest.raises(ValueError, match="no split 'test'; load 'train' and use hold_"):
        load_views(tmp_path, "test")
    record = json.loads((tmp_path / "transforms.json").read_text())
    record["train_filenames"] = [NAMES[2], f"./{NAMES[0]}"]
    record["test_filenames"] = [NAMES[1]]
    save_json(tmp_path, record)
    assert [view.name for view in load_views(tmp_path)] == [NAMES[0], NAMES[2]]
    assert [view.name for view in load_views(tmp_path, "test")] == [NAMES[1]]
    with pytest.raises(ValueError, match="has no val_filenames"):
        load_views(tmp_path, "val")
    save_json(tmp_path, {**record, "train_filenames": ["x.png"]})
    with pytest.raises(ValueError, match=r"train_filenames names x\.png"):
        load_views(tmp_path)
    del record["train_filenames"]
    save_json(tmp_path, record)
    with pytest.raises(ValueError, match="has no train_filenames, .*; only test_filenames"):
        load_views(tmp_path)
    save_json(tmp_path, {**record, "test_filenames": []})
    with pytest.raises(ValueError, match="test_filenames is .*expected a list"):
        load_views(tmp_path, "test")


def test_a_file_per_split_comes_before_others(tmp_path):
    save_nerfstudio(tmp_path)
    save_colmap(tmp_path)
    save_json(tmp_path, {**INTRINSICS, "frames": frames()[:1]}, "transforms_train.json")
    assert len(load_views(tmp_path)) == 1
    (tmp_path / "transforms_train.json").unlink()
    assert [view.time for view in load_views(tmp_path)] == TIMES
    (tmp_path / "transforms.json").unlink()
    assert len(load_views(tmp_path)) == 3
    with pytest.raises(ValueError, match="COLMAP model has no split 'val'"):
        load_views(tmp_path, "val")


def test_hold_out():
    train, test = hold_out(list(range(20)))
    assert test == [0, 8, 16] and sorted(train + test) == list(range(20))
    assert hold_out(list(range(4)), every=2) == ([1, 3], [0, 2])
    with pytest.raises(ValueError, match="every: got 1"):
        hold_out([], every=1)


def save_ply(path, rows, color="uchar", text=True):
    names = [f"property double {axis}" for axis in "xyz"]
    names += [f"property {color} {name}" for name in ("red", "green", "blue")] if color else []
    header = ["ply", "format ascii 1.0", f"element vertex {len(rows)}", *names, "end_header"]
    body = [" ".join(f"{value:g}" for value in row[: len(names)]) for row in rows]
    path.write_text("\n".join(header + body) + "\n")


def test_points_of_a_ply(tmp_path):
    save_blender(tmp_path)
    assert load_points(tmp_path) is None
    save_ply(tmp_path / "points3d.ply", COLORED)
    points, colors = load_points(tmp_path)
    assert points.dtype == np.float64 and np.array_equal(points, COLORED[:, :3])
    assert np.allclose(colors, COLORED[:, 3:] / 255)
    save_ply(tmp_path / "points3d.ply", COLORED / 255, color="float")
    assert np.allclose(load_points(tmp_path)[1], COLORED[:, 3:] / 255)
    (tmp_path / "points3d.ply").unlink()
    save_ply(tmp_path / "points3D.ply", COLORED, color=None)
    points, colors = load_points(tmp_path)
    assert np.array_equal(points, COLORED[:, :3]) and (colors == 0.5).all()


def test_points_of_nerfstudio(tmp_path):
    """A .ply is in the world of the poses; COLMAP's own points still have to be brought there."""
    save_nerfstudio(tmp_path)
    save_colmap(tmp_path, "colmap/sparse/0")
    record = json.loads((tmp_path / "transforms.json").read_text())
    record["applied_transform"] = [[0, 1, 0, 10], [0, 0, 1, 20], [1, 0, 0, 30.0]]
    for frame in record["frames"]:  # no pose to compare with COLMAP's: the transform is believed
        frame["file_path"] = frame["file_path"].replace("images/", "other/")
    save_images(tmp_path, [frame["file_path"] for frame in record["frames"]])
    save_json(tmp_path, record)
    assert np.array_equal(load_points(tmp_path)[0], [[12, 23, 31], [15.5, 26, 26]])
    save_ply(tmp_path / "cloud.ply", COLORED)
    save_json(tmp_path, {**record, "ply_file_path": "cloud.ply"})
    assert np.array_equal(load_points(tmp_path)[0], COLORED[:, :3])
    save_json(tmp_path, {**record, "ply_file_path": "gone.ply"})
    with pytest.raises(ValueError, match=r"points .*gone\.ply: cannot be read \(.*No such file"):
        load_points(tmp_path)
    save_json(tmp_path, {**record, "applied_transform": [[1, 0], [0, 1]]})
    with pytest.raises(ValueError, match=r"applied_transform has shape \(2, 2\)"):
        load_points(tmp_path)


def test_broken_points(tmp_path):
    path = tmp_path / "points3d.ply"
    save_ply(path, [[np.nan, 0, 0, 1, 1, 1], *COLORED])
    with pytest.warns(UserWarning, match="left out 1 of 3 that are NaN or infinite"):
        assert np.array_equal(load_points(tmp_path)[0], COLORED[:, :3])
    save_ply(path, COLORED)
    text = path.read_text()
    for broken in ["", "not a ply", text[:-30], text.replace(" y", " q"), "ply\n" + text]:
        path.write_text(broken)
        with pytest.raises(ValueError, match=r"points .*points3d\.ply: cannot be read") as caught:
            load_points(tmp_path)
        assert "\n" not in str(caught.value)


# What can be wrong


def test_absent_images_are_left_out_with_one_warning(tmp_path):
    for i, save in enumerate(FORMATS):
        folder = tmp_path / str(i)
        save(folder)
        for name in NAMES[:2]:
            (folder / name).unlink()
        with pytest.warns(
            UserWarning, match=r"left out 2 of 3 images .*first .*a(\.png)?$"
        ) as seen:
            views = load_views(folder)
        assert len(seen) == 1 and seen[0].filename == __file__
        assert [view.path for view in views] == [folder / NAMES[2]]
        (folder / NAMES[2]).unlink()
        with pytest.raises(ValueError, match="none of its 3 images exists, first .*a"):
            load_views(folder)


def test_complete_datasets_do_not_warn(tmp_path):
    save_nerfstudio(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_views(tmp_path)


def test_size_comes_from_an_image_that_exists(tmp_path):
    save_images(tmp_path)
    (tmp_path / NAMES[0]).unlink()
    save_json(tmp_path, {"camera_angle_x": 0.8, "frames": frames()})
    with pytest.warns(UserWarning):
        assert load_views(tmp_path)[0].camera.width == WIDTH


def test_folders_that_hold_no_dataset(tmp_path):
    for load in (load_views, load_points):
        with pytest.raises(ValueError, match="dataset .*nowhere: no such folder"):
            load(tmp_path / "nowhere")
    expected = r"not recognized, expected transforms_test\.json, transforms\.json.* sparse/0"
    with pytest.raises(ValueError, match=expected):
        load_views(tmp_path, "test")
    save_json(tmp_path, {}, "transforms_train.json")
    with pytest.raises(ValueError, match=r"has no transforms_val\.json, only transforms_train"):
        load_views(tmp_path, "val")
    for downscale in (0, -1, 1.5, True, "2"):
        with pytest.raises(ValueError, match="downscale: got"):
            load_views(tmp_path, downscale=downscale)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"w": 1,\n "h" 2}', r"not valid JSON \(.*line 2 column 6"),
        ("[1]", "got a list, expected a JSON object"),
        ("{}", "missing key frames"),
        ('{"frames": []}', "frames is empty"),
        ('{"frames": {"a": 1}}', "frames is .*, expected a list of objects"),
        ('{"frames": [3]}', "frames is .*, expected a list of objects"),
        ('{"data": {}}', "frames is empty"),
        ('{"data": {"cam": {}}}', "missing key frames"),
        ('{"data": "cam"}', "data is not a list of cameras or an object of cameras"),
        ('{"frames": [{}]}', "a frame has file_path None"),
        ('{"frames": [{"file_path": 3}]}', "a frame has file_path 3"),
        (b"\xff\xfe{}", "not valid JSON"),
    ],
)
def test_broken_json(tmp_path, text, message):
    path = tmp_path / "transforms_train.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"transforms_train\.json: " + message) as caught:
        load_views(tmp_path)
    assert "\n" not in str(caught.value)


def rows(**entries):
    """A transform_matrix with some entries replaced, as r1c2=value."""
    matrix = copy.deepcopy(frames()[0]["transform_matrix"])
    for key, value in entries.items():
        matrix[int(key[1])][int(key[3])] = value
    return matrix


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transform_matrix": ...}, "missing key transform_matrix"),
        ({"transform_matrix": [[1, 0], [0, 1]]}, r"has shape \(2, 2\), expected \(4, 4\)"),
        ({"transform_matrix": [[1, 0], [0]]}, "transform_matrix is not a matrix of numbers"),
        ({"transform_matrix": "no"}, "transform_matrix is not a matrix of numbers"),
        ({"transform_matrix": rows(r0c3=float("nan"))}, "transform_matrix has NaN"),
        ({"transform_matrix": rows(r1c1=float("inf"))}, "transform_matrix has NaN or inf"),
        ({"transform_matrix": rows(r0c0=0)}, "transform_matrix cannot be inverted"),
        ({"transform_matrix": np.zeros((3, 4)).tolist()}, "cannot be inverted"),
        ({"transform_matrix": rows(r0c0=-1)}, "transform_matrix mirrors"),
        ({"transform_matrix": rows(r0c0=1.01)}, r"stretches by \[1.01, 1.0, 1.0\]"),
        ({"transform_matrix": rows(r0c1=0.1)}, "stretches by"),  # a shear
        ({"transform_matrix": rows(r3c3=2)}, "the last row of transform_matrix is not 0 0 0 1"),
        ({"time": float("nan")}, "time is nan, expected a finite number"),
        ({"time": "0.5"}, "time is '0.5', expected a finite number"),
        ({"fl_x": 0}, "camera fx: got 0.0, expected a positive number"),
        ({"fl_x": ..., "camera_angle_x": ...}, "missing key fl_x or camera_angle_x"),
        ({"fl_x": ..., "camera_angle_x": 4}, "camera_angle_x is 4.0, expected radians"),
        ({"fl_y": float("inf")}, "fl_y is inf, expected a finite number"),
        ({"cx": None}, "missing key cx"),
        ({"w": 60.5}, "w, h are 60.5, 40.0, expected whole numbers"),
        ({"w": -60}, "camera width: got -60, expected a whole number"),
        (
            {"camera_model": "EQUIRECTANGULAR"},
            "camera_model is 'EQUIRECTANGULAR', expected.*colmap",
        ),
        ({"k1": "small"}, "k1 is 'small', expected a finite number"),
        ({"k4": 0.1}, "k4 is 0.1, which OpenCV undistorts for a fisheye only"),
        ({"is_fisheye": True, "p1": 0.1}, "p1, p2 are 0.1, 0.0, but a fisheye"),
    ],
)
def test_broken_frames_are_named(tmp_path, change, message):
    save_images(tmp_path)
    record = {**INTRINSICS, "camera_angle_x": 1.0, "frames": frames()}
    for key, value in change.items():
        record.pop(key, None)
        record["frames"][0].pop(key, None)
        if value is not ...:
            record["frames"][0][key] = value
    save_json(tmp_path, record)
    with pytest.raises(ValueError, match=r"json: frame images/a\.png: .*" + message) as caught:
        load_views(tmp_path)
    assert "\n" not in str(caught.value)


def test_too_small_for_the_downscale(tmp_path):
    save_nerfstudio(tmp_path)
    with pytest.raises(
        ValueError, match=r"frame images/a\.png: downscale: got 41, which leaves nothing of 60x40"
    ):
        load_views(tmp_path, downscale=41)


def test_images_that_cannot_be_used(tmp_path):
    save_nerfstudio(tmp_path)
    view = load_views(tmp_path)[0]
    data = view.path.read_bytes()
    for broken in (b"", data[: len(data) // 2], data[:20]):
        view.path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"image .*a\.png: cannot be read") as caught:
            view.load()
        assert "\n" not in str(caught.value)
    Image.fromarray(picture(size=(30, 20))).save(view.path)
    with pytest.raises(ValueError, match=r"a\.png: is 30x20, expected 60x40 as the dataset says"):
        view.load()
    Image.fromarray(np.full((HEIGHT, WIDTH), 999, np.uint16)).save(view.path)
    with pytest.raises(ValueError, match="pixels of mode I;16, expected 8-bit channels"):
        view.load()
    view.path.unlink()
    with pytest.raises(ValueError, match=r"a\.png: cannot be read \(.*No such file"):
        view.load()


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_colmap_files_cut_short_anywhere(tmp_path, name):
    save_colmap(tmp_path)
    path = tmp_path / "sparse" / "0" / f"{name}.bin"
    data = path.read_bytes()
    load = load_points if name == "points3D" else load_views
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=rf"{name}\.bin: is cut short"):
            load(tmp_path)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("cameras", "PINHOLE", "FOV", r"cameras\.txt: camera model FOV is not supported, expected"),
        ("cameras", "70.0", "", r"cameras\.txt: camera 7 has 3 parameters, expected 4 for PIN"),
        ("cameras", "70.0", "nan", r"cameras\.txt: camera 7 has NaN"),
        ("cameras", "70.0", "-70", r"images\.txt: image a\.png: camera fx: got -70"),
        ("cameras", "60 ", "wide ", r"cameras\.txt: cannot read the line '7 PINHOLE wide"),
        ("cameras", "7 P", "8 P", r"image a\.png: its camera 7 is not in cameras\.txt"),
        ("images", "7 a.png", "", r"images\.txt: cannot read the line '1 "),
        ("images", "1.5 2.5 -1", "1.5 2.5", r"images\.txt: cannot read the line '3 "),
        ("images", "\n1 ", "\n1 nan ", r"images\.txt: cannot read the line '1 nan"),
        ("images", None, "# nothing\n", r"images\.txt: got no images"),
        (
            "images",
            None,
            "1 0 0 0 0 0 0 0 7 a.png\n",
            r"image a\.png: got the pose .*, expected a quaternion",
        ),
        (
            "images",
            None,
            "1 1 0 0 0 nan 0 0 7 a.png\n",
            r"image a\.png: got the pose .*, expected a quaternion",
        ),
        ("images", None, None, r"images\.txt: cannot be read \(No such file"),
        ("images", None, b"1 \xff", r"images\.txt: got text that is not UTF-8"),
    ],
)
def test_broken_colmap_text(tmp_path, name, old, new, message):
    save_colmap_text(tmp_path)
    path = tmp_path / "sparse" / "0" / f"{name}.txt"
    if new is None:
        path.unlink()
    elif old is None:
        path.write_bytes(new if isinstance(new, bytes) else new.encode())
    else:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        load_views(tmp_path)


def test_colmap_models_and_points_that_are_not_supported(tmp_path):
    for number, name in [(7, "FOV"), (16, "EUCM"), (77, "number 77"), (-1, "number -1")]:
        save_colmap(tmp_path, camera=("", number, (FX, CX, CY)))
        with pytest.raises(
            ValueError, match=rf"cameras\.bin: camera model {name} is not supp.*colm"
        ):
            load_views(tmp_path)
    points = tmp_path / "sparse" / "0" / "points3D.bin"
    points.write_bytes(struct.pack("<Q", 0))
    assert load_points(tmp_path) is None
    points.write_bytes(struct.pack("<QQ3d3BdQ", 1, 1, np.nan, 0, 0, 1, 1, 1, 0, 0))
    assert load_points(tmp_path) is None
    points.unlink()
    assert load_points(tmp_path) is None


def test_labels_of_views_differ_where_the_names_of_their_files_do_not(tmp_path):
    names = ["left/1.png", "right/1.png", "right/2.png"]
    save_images(tmp_path, names)
    save_json(tmp_path, {**INTRINSICS, "frames": frames(names)})
    assert [view.label for view in load_views(tmp_path)] == ["left_1", "right_1", "right_2"]


def test_a_label_is_the_file_name_where_that_is_enough(tmp_path):
    names = ["images/1305031102.175300.png", "images/a b.png", "images/sub/c.png"]
    save_images(tmp_path, names)
    listed = frames([names[0].removesuffix(".png"), *names[1:]])
    save_json(tmp_path, {**INTRINSICS, "frames": listed})
    labels = [view.label for view in load_views(tmp_path)]
    assert labels == ["1305031102.175300", "a_b", "c"]


def test_labels_differ_even_where_one_image_is_listed_twice():
    camera = camera_from_fov(8, 8, 40)
    views = [View(name=n, camera=camera, time=None, path=Path(n)) for n in ("a/b.png", "a/b.png")]
    assert [view.label for view in labeled(views)] == ["a_b", "a_b-2"]


def test_files_of_windows_and_names_without_a_suffix_are_found(tmp_path):
    save_images(tmp_path, ["images/a.png"])
    Image.fromarray(picture(1, channels=3)).save(tmp_path / "images" / "b.JPG")
    Image.fromarray(picture(2, channels=3)).save(tmp_path / "images" / "c.jpeg")
    listed = frames(["images\\a.png", "images/b", ".\\images\\c"])
    text = json.dumps({**INTRINSICS, "frames": listed})
    (tmp_path / "transforms.json").write_text(text, encoding="utf-8-sig")
    views = load_views(tmp_path)
    assert [view.path.name for view in views] == ["a.png", "b.JPG", "c.jpeg"]
    assert all(view.load().rgb.shape == (HEIGHT, WIDTH, 3) for view in views)


def turned(folder):
    """Three pictures, the second of which is stored on its side, with EXIF data that say so."""
    images = [picture(0), picture(1, size=(HEIGHT, WIDTH), channels=3), picture(2)]
    save_images(folder, NAMES, images)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(images[1]).save(folder / NAMES[1], exif=exif)
    return images


def test_exif_data_turn_a_picture_whose_poses_are_those_of_turned_pictures(
    tmp_path,
):
    images = turned(tmp_path)
    save_json(tmp_path, {**INTRINSICS, "frames": frames()})
    upright = load_views(tmp_path)[1].load()
    assert np.array_equal(np.round(upright.rgb * 255), np.rot90(images[1], -1))
    stored = {**INTRINSICS, "w": HEIGHT, "h": WIDTH, "frames": frames()[1:2]}
    save_json(tmp_path, stored)
    assert np.array_equal(np.round(load_views(tmp_path)[0].load().rgb * 255), images[1])


def test_a_size_that_the_dataset_does_not_say_is_compared_with_the_first_image(tmp_path):
    save_images(tmp_path, NAMES, [picture(0), picture(1, size=(50, 40)), picture(2)])
    save_json(tmp_path, {"camera_angle_x": 0.8, "frames": frames()}, "transforms_train.json")
    expected = r"b\.png: is 50x40, expected 60x40 as a\.png, since the dataset gives no sizes"
    with pytest.raises(ValueError, match=expected):
        load_views(tmp_path)[1].load()
