"""Moving scenes as people have them: layouts of other programs, and what times can look like."""

import json

import imageio.v3 as iio
import numpy as np
import pytest
from test_datasets import POINT, POSES, picture, pixel_by_hand, save_images
from tiny_scene import cameras, figure, write_frames

from inverse.commands import trace as command
from inverse.trace import TraceConfig, TraceJob, TraceRun, TraceTrainer
from inverse.trace import photographs as photographs_module
from inverse.trace.learn import first_model
from inverse.trace.photographs import check_training, load_photographs
from renderers.datasets import load_views, splits
from renderers.datasets.films import film_times


SIZE = (60, 40)
FOCAL, CX, CY = 70.0, 27.0, 22.5


def world_to_camera(matrix):
    rotation = np.diag([1, -1, -1]) @ matrix[:, :3].T
    return rotation, -rotation @ matrix[:, 3]


def seen(view):
    return view.camera.project(POINT)[0]


def expected(matrix, fy=FOCAL, center=(CX, CY)):
    """The pixel of the point, by the arithmetic of another test, at other intrinsics."""
    u, v = np.array(pixel_by_hand(matrix)) - [27, 22.5]  # at 70 and 75 px
    return np.array([u * FOCAL / 70, v * fy / 75]) + center


# Layouts


def save_nerfies(folder):
    """The second photograph is held out; the world is shifted and scaled by scene.json."""
    center, scale = np.array([0.5, -1.0, 2.0]), 0.25
    (folder / "camera").mkdir(parents=True)
    names = ["000001", "000002", "000003"]
    for name, matrix in zip(names, POSES, strict=True):
        rotation, _ = world_to_camera(matrix)
        record = {
            "orientation": rotation.tolist(),
            "position": (matrix[:, 3] / scale + center).tolist(),
            "focal_length": FOCAL, "principal_point": [CX, CY], "image_size": SIZE,
            "pixel_aspect_ratio": 1.0, "skew": 0.0,
            "radial_distortion": [0, 0, 0], "tangential_distortion": [0, 0],
        }  # fmt: skip
        (folder / "camera" / f"{name}.json").write_text(json.dumps(record))
    save_images(folder, [f"rgb/1x/{name}.png" for name in names])
    small = [picture(9, size=(30, 20))] * 3
    save_images(folder, [f"rgb/2x/{name}.png" for name in names], small)
    scene = {"center": center.tolist(), "scale": scale, "near": 0.1, "far": 9}
    moments = {name: {"warp_id": 5 * k, "camera_id": 0} for k, name in enumerate(names)}
    ids = {"ids": names, "train_ids": [names[0], names[2]], "val_ids": [names[1]]}
    for name, record in (("scene", scene), ("metadata", moments), ("dataset", ids)):
        (folder / f"{name}.json").write_text(json.dumps(record))


def test_nerfies_and_hypernerf(tmp_path):
    save_nerfies(tmp_path)
    assert splits(tmp_path) == ["train", "val"]
    train, val = load_views(tmp_path), load_views(tmp_path, "val")
    assert [view.time for view in train + val] == [0, 10, 5]
    for view, matrix in zip(train + val, (POSES[0], POSES[2], POSES[1]), strict=True):
        assert np.allclose(seen(view), expected(matrix)) and view.load().rgb.shape == (40, 60, 3)
    half = load_views(tmp_path, downscale=2)[0]
    assert np.allclose(seen(half), expected(POSES[0]) / 2)
    assert np.array_equal(np.round(half.load().alpha * 255), picture(9, size=(30, 20))[..., 3])
    (tmp_path / "camera" / "000001.json").write_text('{"orientation": 3}')
    with pytest.raises(ValueError, match=r"000001\.json: not a camera"):
        load_views(tmp_path)


def test_panoptic(tmp_path):
    moments = []
    for t in range(3):
        names = [f"{camera}/{t:06d}.png" for camera in (3, 7)]
        save_images(tmp_path, [f"ims/{name}" for name in names])
        k = np.array([[FOCAL, 0, CX], [0, FOCAL, CY], [0, 0, 1]])
        poses = []
        for matrix in POSES[:2]:
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = world_to_camera(matrix)
            poses.append(pose.tolist())
        moments.append(([k.tolist()] * 2, poses, names))
    ks, poses, names = (list(column) for column in zip(*moments, strict=True))
    meta = {"w": 60, "h": 40, "k": ks, "w2c": poses, "fn": names, "cam_id": [[3, 7]] * 3}
    (tmp_path / "train_meta.json").write_text(json.dumps(meta))
    views = load_views(tmp_path)
    assert [view.time for view in views] == pytest.approx([0, 0, 1 / 30, 1 / 30, 2 / 30, 2 / 30])
    assert [view.label for view in views][:3] == ["3_000000", "7_000000", "3_000001"]
    for view, matrix in zip(views, 3 * POSES[:2], strict=True):
        assert np.allclose(seen(view), expected(matrix))
    assert splits(tmp_path) == ["train"]
    (tmp_path / "train_meta.json").write_text('{"w": 60, "h": 40}')
    with pytest.raises(ValueError, match=r"train_meta\.json: not the cameras of a Panoptic"):
        load_views(tmp_path)


def poses_bounds(count):
    rows = []
    for matrix in POSES[:count]:
        right, up, back, position = matrix.T
        five = np.column_stack([-up, right, back, position, [40, 60, FOCAL]])
        rows.append([*five.ravel(), 0.5, 9])
    return np.array(rows)


def test_n3dv_has_one_film_for_each_camera(tmp_path):
    np.save(tmp_path / "poses_bounds.npy", poses_bounds(3))
    for k in range(3):
        gray = (
            np.full((5, 40, 60, 3), 40 + 60 * k, np.uint8) + np.arange(5)[:, None, None, None] * 10
        )
        iio.imwrite(tmp_path / f"cam{k:02d}.mp4", gray.astype(np.uint8), fps=10)
    assert splits(tmp_path) == ["train", "val"]
    train, val = load_views(tmp_path), load_views(tmp_path, "val")
    assert len(train) == 10 and len(val) == 5 and val[0].path.name == "cam00.mp4"
    assert [view.time for view in train] == pytest.approx(2 * [0, 0.1, 0.2, 0.3, 0.4], abs=1e-3)
    for view, matrix in ((val[0], POSES[0]), (train[0], POSES[1]), (train[5], POSES[2])):
        assert np.allclose(seen(view), expected(matrix, center=(30, 20)))
    level = [view.load().rgb.mean() * 255 for view in train]
    assert np.allclose(level, [100, 110, 120, 130, 140, 160, 170, 180, 190, 200], atol=6)
    half = load_views(tmp_path, downscale=2)[3].load()
    assert half.rgb.shape == (20, 30, 3) and (half.alpha == 1).all()
    (tmp_path / "cam02.mp4").unlink()
    with pytest.raises(ValueError, match=r"poses_bounds\.npy: got an array \(3, 17\) for 2 films"):
        load_views(tmp_path)
    film_times.cache_clear()
    (tmp_path / "cam02.mp4").write_bytes(b"no film")
    with pytest.raises(ValueError, match=r"cam02\.mp4"):
        load_views(tmp_path)


def test_llff_has_photographs(tmp_path):
    np.save(tmp_path / "poses_bounds.npy", poses_bounds(3))
    small = [picture(k, size=(15, 10)) for k in range(3)]
    save_images(tmp_path, [f"images_4/{k}.png" for k in range(3)], small)
    views = load_views(tmp_path)
    assert [view.camera.size for view in views] == [(15, 10)] * 3 and splits(tmp_path) == ["train"]
    assert np.allclose(seen(views[2]), expected(POSES[2], center=(30, 20)) / 4)


# Times


def save_scene(folder, stamps, count=4, name="transforms_train.json", size=24):
    """Frames of cameras around the figure; stamps(camera, moment): time, None for no frame."""
    frames = []
    for k, camera in enumerate(cameras(count, size=size)):
        for i in range(4):
            if stamps(k, i) is not None:
                frames.append((f"v{k}_t{i}", camera, figure(), stamps(k, i)))
    write_frames(folder, "train", frames)
    (folder / "transforms_train.json").rename(folder / name)


CONFIG = TraceConfig(gaussians=60, iterations=4, sh_degree=0)


def trained(folder, **job):
    """Train a few steps; returns the photographs and the model."""
    train = load_photographs(str(folder), "train", **job)
    times, frame_dt = check_training(str(folder), train)
    model = first_model(TraceJob(data=str(folder)), CONFIG, train, times[-1], frame_dt)
    TraceTrainer(model, train, CONFIG).run()
    return train, model


@pytest.mark.parametrize(
    ("stamps", "dt", "duration", "first"),
    [
        (lambda k, i: 0.2 * i, 0.2, 0.6, 4),
        (lambda k, i: 0.2 * i + 12.5, 0.2, 0.6, 4),
        (lambda k, i: 0.2 * i + 0.003 * k, 0.2, 0.609, 4),
        (lambda k, i: 0.2 * k / 3 if k == i else None, 0.2 / 3, 0.2, 4),
    ],
    ids=["together", "late", "some ms apart", "one at a time"],
)
def test_photographs_have_times_of_their_own(tmp_path, stamps, dt, duration, first):
    save_scene(tmp_path, stamps)
    train, model = trained(tmp_path)
    assert train.frame_dt == pytest.approx(dt) and min(train.times) == 0
    assert model.duration == pytest.approx(duration) and len(train.first()) == first


def test_one_file_with_all_times(tmp_path):
    save_scene(tmp_path, lambda k, i: 0.2 * i, name="transforms.json")
    train, _ = trained(tmp_path)
    assert len(train) == 16 and splits(tmp_path) == ["train"]


def test_times_may_be_numbers_of_frames(tmp_path):
    save_scene(tmp_path, lambda k, i: i)
    with pytest.warns(UserWarning, match="whole numbers up to 3, such as numbers of frames"):
        train, _ = trained(tmp_path)
    assert train.frame_dt == 1
    train, model = trained(tmp_path, fps=20.0)
    assert train.frame_dt == pytest.approx(0.05) and model.duration == pytest.approx(0.15)


def test_one_place_is_refused_and_so_are_two_times(tmp_path):
    save_scene(tmp_path / "a", lambda k, i: 0.1 * i, count=1)
    with pytest.raises(ValueError, match="shows the scene from one place only"):
        trained(tmp_path / "a")
    save_scene(tmp_path / "b", lambda k, i: 0.1 * i if i < 2 else None)
    with pytest.raises(ValueError, match="train has 2 times, expected at least 3"):
        trained(tmp_path / "b")


def test_what_does_not_fit_into_memory_is_thinned_out(tmp_path, monkeypatch):
    save_scene(tmp_path, lambda k, i: 0.2 * i)
    monkeypatch.setattr(photographs_module, "MEMORY", 10 * 16 * 24 * 24)
    with pytest.warns(
        UserWarning, match="16 photographs of 24 x 24 px do not fit .* one of 2 moments"
    ):
        train = load_photographs(str(tmp_path), "train")
    assert sorted(set(train.times)) == [0, 0.4] and len(train) == 8


def test_pictures_are_labeled_by_their_times_not_by_the_name_of_their_file(tmp_path):
    """D-NeRF's test photographs lie between the observed times; a map's coordinates do no harm."""
    offset = np.array([4.5e5, 5.4e6, 100])
    save_scene(tmp_path, lambda k, i: 0.2 * i + 7)
    some = cameras(2, size=24, azimuth=22)
    tests = [("between", some[0], figure(), 7.3), ("later", some[1], figure(), 7.7)]
    write_frames(tmp_path, "test", tests)
    for split in ("train", "test"):
        file = tmp_path / f"transforms_{split}.json"
        record = json.loads(file.read_text())
        for frame in record["frames"]:
            for axis in range(3):
                frame["transform_matrix"][axis][3] += offset[axis]
        file.write_text(json.dumps(record))
    out = tmp_path / "out"
    flags = ["--preset", "laptop", "--gaussians", "60", "--iterations", "60", "--sh-degree", "0"]
    arguments = ["--data", str(tmp_path), "--out", str(out), *flags, "--parts", "1"]
    assert command.main(arguments) == 0
    run = TraceRun.load(out)
    assert run.metrics["interpolation"]["psnr"] > 10 and run.metrics["extrapolation"]["psnr"] > 10
    assert run.start == 7 and run.times == pytest.approx([0, 0.2, 0.4, 0.6])
    assert np.abs(run.origin - offset).max() < 2
    assert sorted(p.name for p in (out / "renders" / "test").iterdir()) == [
        "between.png", "later.png"
    ]  # fmt: skip
