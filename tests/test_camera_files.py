"""Cameras of a clip as COLMAP, nerfstudio, MegaSaM, VGGT and MoGe write them."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from inverse.perception.camera_files import read_camera_file
from inverse.wind import WindJob
from inverse.wind.inputs.load import load_inputs
from renderers.camera import Camera, camera_from_fov
from renderers.video import write_video


SIZE = (160, 120)
FRAMES = 6
UNITS = 3.7  # of COLMAP in a meter
LEVEL = camera_from_fov(*SIZE, 50.0)


def walk() -> list[Camera]:
    """A camera that walks and turns, in meters; level in frame 0, where it is at the origin."""
    cameras = []
    for t in range(FRAMES):
        local = np.eye(4)
        local[:3, :3] = Rotation.from_rotvec([0.01 * t, 0.04 * t, 0.002 * t]).as_matrix()
        local[:3, 3] = [-0.05 * t, 0.01 * t, 0.02 * t]
        pose = local @ LEVEL.world_to_camera
        cameras.append(dataclasses.replace(LEVEL, world_to_camera=pose))
    return cameras


def elsewhere(cameras: list[Camera]) -> list[np.ndarray]:
    """Their poses in a world with another origin, other axes and another unit."""
    moved = np.eye(4)
    moved[:3, :3] = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()
    moved[:3, 3] = [3, -2, 5]
    poses = []
    for camera in cameras:
        pose = camera.world_to_camera @ moved
        pose[:3, 3] *= UNITS
        poses.append(pose)
    return poses


def points_seen(cameras: list[Camera], count: int = 200) -> np.ndarray:
    """Points (n, 3) m before the first camera, in its world."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform([5, 5], [SIZE[0] - 5, SIZE[1] - 5], (count, 2))
    return cameras[0].unproject(pixels, rng.uniform(2, 5, count))


def world_of(points: np.ndarray, camera: Camera, pose: np.ndarray) -> np.ndarray:
    """Points before a camera, in the world in which that has another pose."""
    local = UNITS * camera.to_camera(points)
    return (local - pose[:3, 3]) @ pose[:3, :3]


def save_colmap(folder, names=None, leave=(), lens="SIMPLE_RADIAL", bend=0.0):
    cameras = walk()
    poses, points = elsewhere(cameras), points_seen(cameras)
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    row = f"1 {lens} {SIZE[0]} {SIZE[1]} {LEVEL.fx} {LEVEL.cx} {LEVEL.cy} {bend}"
    (model / "cameras.txt").write_text(row + "\n")
    names = names or [f"frame_{k + 1:04d}.png" for k in range(FRAMES)]
    lines = []
    for k, (name, pose) in enumerate(zip(names, poses, strict=True)):
        if k not in leave:
            x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
            numbers = " ".join(repr(float(v)) for v in (w, x, y, z, *pose[:3, 3]))
            lines += [f"{k + 1} {numbers} 1 {name}", ""]
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    world = world_of(points, cameras[0], poses[0])
    rows = [f"{k} {x} {y} {z} 9 9 9 0.5 1 2" for k, (x, y, z) in enumerate(world)]
    (model / "points3D.txt").write_text("\n".join(rows) + "\n")
    return folder


def save_transforms(path, frames=None):
    """In meters, with z up, as phones' apps write it: the cameras of `walk` are of such a world."""
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    record = {
        "fl_x": LEVEL.fx, "fl_y": LEVEL.fy, "cx": LEVEL.cx, "cy": LEVEL.cy,
        "w": SIZE[0], "h": SIZE[1], "camera_model": "OPENCV",
        "frames": [
            {"file_path": f"images/frame_{k:05d}.jpg",
             "transform_matrix": (np.linalg.inv(one.world_to_camera) @ flip).tolist()}
            for k, one in enumerate(walk()[:frames])
        ],
    }  # fmt: skip
    path.write_text(json.dumps(record))
    return path


def save_arrays(path, kind):
    """MegaSaM: camera to world, one K; VGGT: world to camera (3, 4), a K each, smaller pictures;
    Depth Anything 3: as VGGT by other names."""
    cameras = walk()
    poses = np.stack(elsewhere(cameras))
    small = LEVEL if kind == "megasam" else LEVEL.resized(SIZE[0] // 2, SIZE[1] // 2)
    depth = np.full((FRAMES, small.height, small.width), 3 * UNITS, np.float32)
    if kind == "megasam":
        np.savez(path, images=np.zeros((*depth.shape, 3), np.uint8), depths=depth,
                 intrinsic=small.K, cam_c2w=np.linalg.inv(poses))  # fmt: skip
    elif kind == "vggt":
        np.savez(path, images=np.zeros((FRAMES, 3, small.height, small.width)),
                 depth=depth[..., None], intrinsic=np.stack([small.K] * FRAMES),
                 extrinsic=poses[:, :3].astype(np.float32))  # fmt: skip
    else:
        np.savez(path, depth=depth, conf=depth, intrinsics=np.stack([small.K] * FRAMES),
                 extrinsics=poses[:, :3])  # fmt: skip
    return path


def check(file, cameras, units, atol=1e-9):
    assert len(file.cameras) == len(cameras) and file.moves and not file.metric
    for one, true in zip(file.in_meters(units).cameras, cameras, strict=True):
        assert one.size == SIZE
        np.testing.assert_allclose(one.K, true.K, rtol=1e-6)
        np.testing.assert_allclose(one.world_to_camera, true.world_to_camera, atol=atol)


def test_poses_of_colmap_are_in_the_world_of_frame_0(tmp_path):
    file = read_camera_file(save_colmap(tmp_path), SIZE)
    check(file, walk(), UNITS)
    xy, depth = LEVEL.project(points_seen(walk()))
    np.testing.assert_allclose(file.pixels, xy, atol=1e-6)
    np.testing.assert_allclose(file.depth, UNITS * depth, rtol=1e-9)
    assert file.notes == (
        "The camera moves as its file says; in frame 0 it is taken to be level, looks along +y and "
        "has z up.",
    )


def test_a_clip_of_other_size_and_a_later_start_are_understood(tmp_path):
    file = read_camera_file(save_colmap(tmp_path), (320, 240), first=2)
    assert file.cameras[0].size == (320, 240) and file.cameras[0].fx == 2 * LEVEL.fx
    np.testing.assert_allclose(
        file.cameras[2].world_to_camera, camera_from_fov(320, 240, 50).world_to_camera, atol=1e-9
    )
    gap = [one.in_meters(UNITS).cameras for one in (file, read_camera_file(tmp_path, SIZE))]
    across = [np.linalg.norm(cameras[4].position - cameras[2].position) for cameras in gap]
    assert across[0] == pytest.approx(across[1])
    with pytest.raises(ValueError, match="160x120, expected 160x160, those of the video, or"):
        read_camera_file(tmp_path, (160, 160))


def test_frames_are_found_by_the_names_of_a_folders_pictures(tmp_path):
    names = [f"shot{k}.jpg" for k in (7, 5, 9, 1, 3, 2)]
    file = read_camera_file(save_colmap(tmp_path, names), SIZE, names=sorted(names))
    order = np.argsort(names)
    first = walk()[order[0]].world_to_camera
    for one, k in zip(file.in_meters(UNITS).cameras, order, strict=True):
        found = one.world_to_camera @ np.linalg.inv(LEVEL.world_to_camera)
        true = walk()[k].world_to_camera @ np.linalg.inv(first)
        np.testing.assert_allclose(found, true, atol=1e-9)


def test_frames_without_a_pose_lie_between_their_neighbors(tmp_path):
    file = read_camera_file(save_colmap(tmp_path / "a", leave=(2, 3)), SIZE)
    for one, true in zip(file.in_meters(UNITS).cameras, walk(), strict=True):
        assert np.abs(one.world_to_camera - true.world_to_camera).max() < 6e-3
    assert "2 of frames 0 to 5 have no pose" in file.notes[0]
    with pytest.raises(ValueError, match="no pose of frame 1 among its 4, such as frame_0003"):
        read_camera_file(save_colmap(tmp_path / "b", names=[f"frame_{k:04d}.png" for k in range(
            1, 7)], leave=(0, 1)), SIZE, first=1)  # fmt: skip
    with pytest.raises(ValueError, match="4 of frames 0 to 5 have no pose, expected one for most"):
        read_camera_file(save_colmap(tmp_path / "c", leave=(1, 2, 3, 4)), SIZE)


def test_a_lens_that_bends_little_is_said_and_one_that_bends_much_refused(tmp_path):
    assert not read_camera_file(save_colmap(tmp_path / "a", bend=0.0), SIZE).notes[1:]
    notes = read_camera_file(save_colmap(tmp_path / "b", bend=-0.03), SIZE).notes
    assert notes[0].startswith("The lens bends pictures by up to 2 px, which")
    with pytest.raises(ValueError, match="its lens bends pictures.*colmap image_undistorter"):
        read_camera_file(save_colmap(tmp_path / "c", bend=-0.2), SIZE)


def test_poses_of_transforms_keep_their_up(tmp_path):
    file = read_camera_file(save_transforms(tmp_path / "transforms.json"), SIZE)
    check(file, walk(), 1.0)


@pytest.mark.parametrize("kind", ["megasam", "vggt", "da3"])
def test_poses_of_networks_are_read(kind, tmp_path):
    file = read_camera_file(save_arrays(tmp_path / "out.npz", kind), SIZE)
    check(file, walk(), UNITS, atol=1e-5)
    assert len(file.depth) > 100 and np.allclose(file.depth, 3 * UNITS)
    assert (file.pixels > 0).all() and (file.pixels < SIZE).all()
    assert file.pixels.max(axis=0) == pytest.approx(SIZE, rel=0.05)


def test_a_still_camera_of_a_network_needs_no_unit(tmp_path):
    np.savez(tmp_path / "unidepth.npz", depth=np.ones((120, 160)), intrinsics=LEVEL.K[None])
    file = read_camera_file(tmp_path / "unidepth.npz", SIZE)
    assert file.metric and not file.moves and file.cameras[0].fx == LEVEL.fx
    np.testing.assert_allclose(file.cameras[0].world_to_camera, LEVEL.world_to_camera)
    (tmp_path / "fov.json").write_text(json.dumps({"fov_x": 61.0, "fov_y": 50.0}))
    file = read_camera_file(tmp_path / "fov.json", SIZE)
    assert file.cameras[0].fx == pytest.approx(80 / np.tan(np.radians(30.5)))


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"depth": np.ones((4, 4))}, "holds no matrix named intrinsic, expected a camera.json, a"),
        ({"intrinsic": np.eye(3), "extrinsic": np.eye(3)}, r"poses have shape \(3, 3\), expected"),
        ({"intrinsic": np.stack([np.eye(3)] * 2), "cam_c2w": np.stack([np.eye(4)] * 3)},
         "2 focal lengths for 3 poses"),
        ({"intrinsic": -np.eye(3)}, "camera fx: got -1"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_cameras_are_named(arrays, message, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=rf"camera .*x\.npz: .*{message}"):
        read_camera_file(tmp_path / "x.npz", SIZE)


def test_files_that_are_no_cameras_are_named(tmp_path):
    with pytest.raises(ValueError, match="holds no model of COLMAP"):
        read_camera_file(tmp_path, SIZE)
    (tmp_path / "x.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"x\.npz: not a readable npz"):
        read_camera_file(tmp_path / "x.npz", SIZE)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match=r"x\.json: not valid JSON"):
        read_camera_file(tmp_path / "x.json", SIZE)
    (tmp_path / "fov.json").write_text('{"fov_x": 190}')
    with pytest.raises(ValueError, match="fov_x is 190, expected degrees below 180"):
        read_camera_file(tmp_path / "fov.json", SIZE)


def job_of(folder, **more):
    rng = np.random.default_rng(3)
    picture = cv2.resize(rng.integers(0, 255, (30, 40, 3), np.uint8), SIZE)
    write_video(folder / "clip.mp4", [picture] * FRAMES, 24)
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[40:80, 50:110] = 255
    cv2.imwrite(str(folder / "mask.png"), mask)
    return WindJob(
        video=(str(folder / "clip.mp4"),), mask=str(folder / "mask.png"), shape="sheet", **more
    )


def test_the_unit_of_colmap_is_found_by_depth_distance_or_the_user(tmp_path):
    colmap = save_colmap(tmp_path / "colmap")
    job = job_of(tmp_path, camera=(str(colmap),))
    xy, z = LEVEL.project(points_seen(walk()))
    depth = np.full(SIZE[::-1], np.nan)
    for (u, v), value in zip(xy.astype(int), z, strict=True):
        depth[v - 3 : v + 4, u - 3 : u + 4] = value
    depth[40:80, 50:110] = 3.0
    np.save(tmp_path / "depth.npy", depth)
    by_depth = dataclasses.replace(job, depth=str(tmp_path / "depth.npy"))
    for one in (by_depth, dataclasses.replace(by_depth, camera_scale=UNITS)):
        inputs = load_inputs(one)
        for found, true in zip(inputs.cameras[0], walk(), strict=True):
            np.testing.assert_allclose(found.position, true.position, atol=0.02)
        said = any("units of" in note and "by the depth" in note for note in inputs.assumptions)
        assert said == (one.camera_scale is None)
    on_it = (np.abs(xy - [80, 60]) < [30, 20]).all(axis=1)
    middle = float(np.median(z[on_it]))
    inputs = load_inputs(dataclasses.replace(job, distance=middle))
    found = inputs.cameras[0][-1].position / walk()[-1].position
    np.testing.assert_allclose(found, 1, atol=0.05)
    assert any("by the distance of the object" in note for note in inputs.assumptions)
    path = save_transforms(tmp_path / "transforms.json")
    plain = dataclasses.replace(job, camera=(str(path),), distance=middle)
    with pytest.raises(ValueError, match="how long a unit of its poses is.*--camera-scale"):
        load_inputs(plain)
    inputs = load_inputs(dataclasses.replace(plain, camera_scale=2.0))
    np.testing.assert_allclose(inputs.cameras[0][-1].position, walk()[-1].position / 2)


def test_poses_of_a_tool_are_of_one_view_and_no_mesh(tmp_path):
    colmap = str(save_colmap(tmp_path / "colmap"))
    job = job_of(tmp_path, camera=(colmap,), distance=2.0)
    with pytest.raises(ValueError, match="its world is not known.*for several views"):
        load_inputs(dataclasses.replace(job, video=job.video * 2, camera=(colmap, colmap)))
    with pytest.raises(ValueError, match="has the poses of 3 frames, expected at least 6"):
        short = save_transforms(tmp_path / "transforms.json", frames=3)
        load_inputs(dataclasses.replace(job, camera=(str(short),)))
