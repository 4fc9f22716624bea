"""The table of what other tools give in docs/your_video.md: a file of each row, read."""

import base64
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import test_camera_files as cameras
import test_depth_files as depths
import test_mask_files as masks
import test_track_files as tracks
from PIL import Image

from inverse.perception import is_sequence, load_depth, load_labels, load_masks
from inverse.perception.camera_files import read_camera_file
from inverse.tracking import load_tracks
from renderers.video import write_video


PAGE = Path(__file__).resolve().parent.parent / "docs" / "your_video.md"
UNITS = cameras.UNITS


def rows() -> list[tuple[str, str]]:
    """What is given, and the tool, of each row of the table."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.partition("### What other tools give")[2].partition("\n### ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == [
        "give", "tool", "how it writes it", "file",
    ]  # fmt: skip
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
    return [(give.replace("`", ""), tool) for give, tool, *_ in cells]


def mask_files(*writers):
    """Each writer makes a file of the mask of a disc."""

    def check(folder):
        mask = masks.disc()
        for name, write in writers:
            write(folder / name, mask)
            found = load_labels(folder / name, masks.SIZE)
            assert found.max() == 1 and not is_sequence(folder / name)
            assert ((found > 0) ^ mask).sum() <= (8 if name.endswith("jpg") else 0)

    return check


def labelme(folder):
    """As labelme 5 saves it; two words are two objects."""
    polygon = [[10.0, 5.0], [30.0, 5.0], [30.0, 20.0], [10.0, 20.0]]
    part = cv2.imencode(".png", np.full((6, 5), 255, np.uint8))[1].tobytes()
    shapes = [
        {"label": "leaf", "points": polygon, "shape_type": "polygon"},
        {"label": "leaf", "points": [[40.0, 5.0], [35.0, 12.0]], "shape_type": "rectangle"},
        {"label": "ball", "points": [[50.0, 35.0], [56.0, 35.0]], "shape_type": "circle"},
        {"label": "ball", "points": [[5.0, 30.0], [10.0, 36.0]], "shape_type": "mask",
         "mask": base64.b64encode(part).decode()},
    ]  # fmt: skip
    record = {"version": "5.4.1", "shapes": shapes, "imagePath": "frame.png", "imageData": None,
              "imageHeight": masks.SIZE[1], "imageWidth": masks.SIZE[0]}  # fmt: skip
    (folder / "frame.json").write_text(json.dumps(record))
    expected = np.zeros(masks.SIZE[::-1], int)
    expected[5:20, 10:30] = expected[5:12, 35:40] = 1
    expected[masks.disc(49.5, 34.5, 6)] = 2
    expected[30:36, 5:10] = 2
    found = load_labels(folder / "frame.json", masks.SIZE)
    assert (found != expected).sum() <= 36  # OpenCV fills polygons up to and with their rims
    assert (found[6:19, 11:29] == 1).all() and (found[30:36, 5:10] == 2).all()


def labels_in_colors(folder):
    """A class has a color, background is black."""
    first, second = masks.disc(), masks.disc(50, 35, 8)
    picture = np.zeros((*masks.SIZE[::-1], 3), np.uint8)
    picture[first], picture[second] = (250, 50, 83), (51, 221, 255)
    Image.fromarray(picture).save(folder / "frame.png")
    found = load_labels(folder / "frame.png", masks.SIZE)
    assert {tuple(np.unique(found[one])) for one in (first & ~second, second)} == {(1,), (2,)}
    assert not found[~(first | second)].any()


def frames_of_masks(*writers):
    """Each writer makes the masks of five frames, numbered up to 10."""

    def check(folder):
        moving = [masks.disc(x=10 + 4 * k) for k in range(5)]
        for name, write in writers:
            write(folder / name, moving)
            assert is_sequence(folder / name)
            found = load_masks(folder / name, masks.SIZE, 5)
            assert (found ^ moving).sum() <= (30 if name.endswith(("mp4", "gif")) else 0)

    return check


def folder_of(write):
    def make(path, moving):
        path.mkdir()
        for k, mask in enumerate(moving):
            write(path / f"{k + 6:05d}.png", mask)

    return make


def film(path, moving):
    pictures = [255 * np.repeat(mask[..., None], 3, 2).astype(np.uint8) for mask in moving]
    if path.suffix == ".gif":
        first, *others = [Image.fromarray(picture) for picture in pictures]
        first.save(path, save_all=True, append_images=others, duration=40)
    else:
        write_video(path, pictures, 24, quality=1)


def depth_files(*writers, **how):
    """Each writer makes a map of a slanted object before a wall, in meters times the scale."""

    def check(folder):
        mask, depth = depths.scene()
        for name, write in writers:
            write(folder / name, how.get("scale", 1.0) * depth)
            found = load_depth(folder / name, None, mask, **how)
            np.testing.assert_allclose(found[mask], depth[mask], atol=3e-3)

    return check


def sixteen_bits(path, depth):
    cv2.imwrite(str(path), depth.round().astype(np.uint16))


def points_of(depth):
    """(H, W, 3) in the axes of the camera, with holes where a network is not sure."""
    rows, columns = np.mgrid[: depth.shape[0], : depth.shape[1]]
    points = np.stack([(columns - 30) * depth / 50, (rows - 20) * depth / 50, depth], axis=-1)
    points[:3] = np.inf
    return points.astype(np.float32)


def inverse(write):
    return lambda path, depth: write(path, 1 / depth)


def of_all_frames(path, depth):
    kind = {"da3": "depth", "vggt": "depth", "megasam": "depths"}[path.stem]
    all_frames = np.stack([depth, depth + 1, depth + 2]).astype(np.float32)
    np.savez(path, **{kind: all_frames[..., None] if path.stem == "vggt" else all_frames},
             conf=np.ones_like(all_frames), intrinsic=np.eye(3))  # fmt: skip


def poses(write, units=UNITS):
    """A tool's file of the poses of a camera that walks."""
    return lambda folder: cameras.check(
        read_camera_file(write(folder), cameras.SIZE), cameras.walk(), units, atol=1e-5
    )


def binary_colmap(folder):
    """COLMAP writes binary files; text is another of its formats."""
    import struct

    cameras.save_colmap(folder)
    model = folder / "sparse" / "0"
    level, poses = cameras.LEVEL, cameras.elsewhere(cameras.walk())
    data = struct.pack("<QiiQQ3d", 1, 1, 0, *cameras.SIZE, level.fx, level.cx, level.cy)
    (model / "cameras.bin").write_bytes(data)
    lines = (model / "images.txt").read_text().splitlines()[::2]
    data = struct.pack("<Q", len(poses))
    for line in lines:
        number, *pose, camera, name = line.split()
        data += struct.pack("<i7di", int(number), *map(float, pose), int(camera))
        data += name.encode() + b"\0" + struct.pack("<Q", 0)
    (model / "images.bin").write_bytes(data)
    for name in ("cameras.txt", "images.txt", "points3D.txt"):
        (model / name).unlink()
    return folder


def still(name, write):
    """A file that says only how long the focal length is."""

    def check(folder):
        write(folder / name)
        file = read_camera_file(folder / name, cameras.SIZE)
        assert file.metric and not file.moves
        assert file.cameras[0].fx == pytest.approx(cameras.LEVEL.fx, rel=1e-4)

    return check


def unidepth(path):
    np.savez(path, depth=np.ones((1, 1, 120, 160)), intrinsics=cameras.LEVEL.K[None])


def moge_fov(path):
    across = 2 * np.degrees(np.arctan(0.5 * cameras.SIZE[0] / cameras.LEVEL.fx))
    path.write_text(json.dumps({"fov_x": round(across, 2), "fov_y": 50.0}))


def track_files(*writers):
    def check(folder):
        for name, write in writers:
            write(folder / name)
            found = load_tracks(folder / name, tracks.SIZE)
            np.testing.assert_array_equal(found.visible, tracks.SEEN)
            np.testing.assert_allclose(found.xy[tracks.SEEN], tracks.XY[tracks.SEEN], atol=1e-4)

    return check


W, D = masks.WRITERS, depths.WRITERS
DAVIS = [(0, 0, 0), (128, 0, 0)]
INDEXED = folder_of(lambda path, mask: masks.indexed(mask, DAVIS).save(path))
GRAY = folder_of(lambda path, mask: cv2.imwrite(str(path), mask.astype(np.uint8)))
NPY = ("depth.npy", lambda path, depth: np.save(path, depth.astype(np.float32)))

TRIED = {
    ("--mask", "a picture editor"): mask_files(
        *((name, W[name]) for name in ("white.png", "white.jpg", "red.png"))
    ),
    ("--mask", "rembg, a phone's cut-out"): mask_files(
        ("cut.png", W["cut_out.png"]), ("cut.webp", W["cut_out.webp"])
    ),
    ("--mask", "SAM, SAM 2"): mask_files(
        *((name, W[name]) for name in ("bool.npy", "probability.npy", "logits.npy", "batch.npy"))
    ),
    ("--mask", "labelme"): labelme,
    ("--mask", "CVAT, Segmentation mask 1.1"): labels_in_colors,
    ("--mask, all frames", "SAM 2 for videos"): frames_of_masks(("masks", INDEXED)),
    ("--mask, all frames", "Cutie, XMem, DAVIS"): frames_of_masks(("a", GRAY), ("b", INDEXED)),
    ("--mask, all frames", "your own script"): frames_of_masks(
        ("masks.npz", lambda p, m: np.savez(p, masks=np.stack(m))),
        ("masks.npy", lambda p, m: np.save(p, np.stack(m))),
        ("masks.mp4", film), ("masks.gif", film),
    ),
    ("--depth", "RealSense, Kinect, Azure, iPhone apps"): depth_files(
        ("depth.png", D["millimeters.png"])
    ),
    ("--depth --depth-scale 256", "ZoeDepth, KITTI"): depth_files(
        ("depth.png", sixteen_bits), scale=256.0
    ),
    ("--depth", "Depth-Anything-V2, metric"): depth_files(("f_raw_depth_meter.npy", NPY[1])),
    ("--depth", "Video Depth Anything, metric"): depth_files(
        ("clip_depths.npz", lambda p, d: np.savez_compressed(p, depths=np.stack([d, d + 1])))
    ),
    ("--depth", "Depth Pro"): depth_files(
        ("frame.npz", lambda p, d: np.savez_compressed(p, depth=d.astype(np.float32)))
    ),
    ("--depth", "UniDepth, Metric3D, ZoeDepth"): depth_files(
        ("depth.npy", lambda p, d: np.save(p, d[None, None].astype(np.float32))), NPY
    ),
    ("--depth", "MoGe"): depth_files(
        ("depth.exr", depths.write_exr),
        ("points.exr", lambda p, d: depths.write_color_exr(p, points_of(d))),
    ),
    ("--depth", "MoGe, VGGT, DUSt3R, MASt3R"): depth_files(
        ("points.npy", lambda p, d: np.save(p, points_of(d)))
    ),
    ("--depth", "Depth Anything 3, VGGT, MegaSaM"): depth_files(
        *((f"{name}.npz", of_all_frames) for name in ("da3", "vggt", "megasam"))
    ),
    ("--depth", "Blender, Record3D"): depth_files(
        *((name, D[name]) for name in ("zip.exr", "zips.exr", "rle.exr"))
    ),
    ("--depth", "stereo code"): lambda folder: (
        depth_files(("d.pfm", depths.write_pfm), ("d.tiff", D["float.tiff"]))(folder),
        depth_files(("i.pfm", inverse(depths.write_pfm)), inverse=True)(folder),
    ),
    ("--depth --depth-scale 3.7", "COLMAP, dense"): depth_files(
        ("frame.png.geometric.bin", depths.write_colmap), scale=3.7
    ),
    ("--depth --depth-scale 100", "Unreal and others in centimeters"): depth_files(
        ("d.exr", depths.write_exr), NPY, scale=100.0
    ),
    ("--camera", "COLMAP"): lambda folder: (
        poses(cameras.save_colmap)(folder / "text"), poses(binary_colmap)(folder / "binary"),
    ),
    ("--camera", "nerfstudio, instant-ngp"): poses(
        lambda folder: cameras.save_transforms(folder / "transforms.json"), units=1.0
    ),
    ("--camera", "MegaSaM"): poses(
        lambda folder: cameras.save_arrays(folder / "clip_sgd_cvd_hr.npz", "megasam")
    ),
    ("--camera", "VGGT"): poses(
        lambda folder: cameras.save_arrays(folder / "predictions.npz", "vggt")
    ),
    ("--camera", "Depth Anything 3"): poses(
        lambda folder: cameras.save_arrays(folder / "results.npz", "da3")
    ),
    ("--camera", "UniDepth"): still("out.npz", unidepth),
    ("--camera", "MoGe"): still("fov.json", moge_fov),
    ("--tracks", "CoTracker"): track_files(
        ("t.npz", tracks.cotracker), ("t.pt", tracks.cotracker),
        ("old.npz", tracks.cotracker_with_a_last_axis),
    ),
    ("--tracks", "TAPIR, BootsTAPIR, TAPNext"): track_files(("t.npz", tracks.tapir)),
    ("--tracks", "TAP-Vid's data"): track_files(("t.npz", tracks.tap_vid)),
}  # fmt: skip


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]} {row[1]}")
def test_a_file_of_each_tool_in_the_table_is_read(row, tmp_path):
    assert row in TRIED, "the table of docs/your_video.md has a row that nothing tries"
    TRIED[row](tmp_path)


def test_the_table_has_all_that_is_tried():
    assert set(TRIED) == set(rows()) and len(rows()) == len(set(rows()))


@pytest.mark.parametrize(
    "record, message",
    [
        ({"images": [], "annotations": []}, "expected a json of labelme with shapes"),
        ({"shapes": [{"label": "a", "points": [[1, 2]]}], "imageHeight": 48, "imageWidth": 64},
         "an outline cannot be filled .it is a polygon of 1 points"),
    ],
)  # fmt: skip
def test_other_json_is_no_mask(record, message, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=rf"mask .*a\.json: {message}"):
        load_labels(tmp_path / "a.json", masks.SIZE)
