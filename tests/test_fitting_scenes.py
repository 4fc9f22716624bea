"""Fits of what people photograph: masked, from above, from inside, far from the origin, too few."""

import dataclasses
import json
import os
import signal
import struct

import numpy as np
import pytest
import torch
from ray_scene import BOX, ROOM, flight, outward, photograph, ring
from scipy.spatial import cKDTree

from inverse.commands import fit as command
from inverse.fitting import FitConfig, FitRun, Fitter, GaussianModel
from inverse.fitting.model import gaussians_at
from inverse.fitting.photometric import compare, photometric_loss
from inverse.fitting.plane_sweep import plane_sweep
from inverse.fitting.points import agrees, carve, starting_cloud
from inverse.fitting.region import find_region, looked_at
from inverse.fitting.size import StepTime, enough
from inverse.fitting.turntable import film_cameras
from inverse.runs.checkpoint import peek_checkpoint
from renderers.camera import camera_record
from renderers.datasets import Photograph
from renderers.images import write_png


def hooded(photo, color):
    """The photograph with a gray hood over its lower half, which its mask hides."""
    rgb, alpha, seen = photo.rgb.copy(), photo.alpha.copy(), np.ones(photo.alpha.shape, bool)
    half = len(rgb) // 2
    rgb[half:], alpha[half:], seen[half:] = color, 1, False
    return Photograph(rgb=rgb, alpha=alpha, seen=seen)


# What is not seen


def test_pixels_that_are_not_seen_enter_neither_the_loss_nor_its_gradient():
    generator = torch.Generator().manual_seed(0)
    image, target = torch.rand(2, 20, 24, 3, generator=generator)
    seen = torch.ones(20, 24, dtype=torch.bool)
    seen[12:] = False
    image.requires_grad_()
    loss = photometric_loss(image, target, 0.2, seen)
    loss.backward()
    assert image.grad is not None and not image.grad[12:].any() and image.grad[:12].any()
    changed = torch.where(seen[..., None], target, torch.rand(20, 24, 3, generator=generator))
    assert torch.equal(photometric_loss(image, changed, 0.2, seen), loss)
    everything = torch.ones_like(seen)
    torch.testing.assert_close(
        photometric_loss(image, target, 0.2, everything), photometric_loss(image, target, 0.2)
    )


def test_pixels_that_are_not_seen_do_not_count_in_the_score():
    rng = np.random.default_rng(0)
    photo = Photograph(
        rgb=rng.uniform(size=(20, 24, 3)).astype(np.float32), alpha=np.ones((20, 24), np.float32)
    )
    image = torch.as_tensor(photo.rgb) + 0.1
    image[12:] = 0.0
    masked = dataclasses.replace(photo, seen=np.arange(20)[:, None] + np.zeros((20, 24)) < 12)
    assert compare(image, masked, (1, 1, 1))["psnr"] == pytest.approx(20, abs=1e-4)
    assert compare(image, photo, (1, 1, 1))["psnr"] < 10


def test_what_lies_under_a_mask_changes_nothing_in_a_fit(scene_of_balls):
    cameras, photos = scene_of_balls
    region = find_region(cameras)
    config = FitConfig(gaussians=200, iterations=12, sh_degree=0, relocate_every=5)
    start = gaussians_at(*carve(photos, cameras, 200, region=region), 0)
    fitted = []
    for color, masked in ((0.0, True), (1.0, True), (1.0, False)):
        shown = [hooded(photo, color) for photo in photos]
        if not masked:
            shown = [dataclasses.replace(photo, seen=None) for photo in shown]
        model = GaussianModel(start)
        Fitter(model, cameras, shown, config, half=region.half).run()
        fitted.append(model.gaussians().tensors())
    for name in fitted[0]:
        assert torch.equal(fitted[0][name], fitted[1][name]), name
    assert not torch.equal(fitted[1]["sh"], fitted[2]["sh"])


def test_what_is_not_seen_carves_nothing(scene_of_balls):
    cameras, photos = scene_of_balls
    region = find_region(cameras)
    whole, _ = carve(photos, cameras, 2000, region=region)
    hidden = [Photograph(rgb=p.rgb, alpha=p.alpha.copy(), seen=np.ones(p.alpha.shape, bool))
              for p in photos]  # fmt: skip
    for photo in hidden:
        photo.alpha[:, :18] = 0
        photo.seen[:, :18] = False
    points, colors = carve(hidden, cameras, 2000, region=region)
    np.testing.assert_allclose(points.mean(axis=0), whole.mean(axis=0), atol=0.1)
    assert np.ptp(points, axis=0).min() > 0.8 * np.ptp(whole, axis=0).min()
    assert np.isfinite(colors).all()
    empty = [dataclasses.replace(photo, seen=None) for photo in hidden]
    cut, _ = carve(empty, cameras, 200, region=region)
    assert np.ptp(cut, axis=0).min() < 0.7 * np.ptp(whole, axis=0).min(), "as emptiness, it does"


@pytest.fixture
def scene_of_balls():
    from tiny_scene import cameras, figure
    from tiny_scene import photograph as picture

    views = cameras(8)
    return views, [picture(camera, figure()) for camera in views]


# Where the scene is


def seen_points(cameras, box, outside=True):
    return np.concatenate(
        [photograph(c, box, outside)[1][::8, ::8].reshape(-1, 3) for c in cameras]
    )


@pytest.mark.parametrize("jitter", [0.0, 0.005, 0.05])
def test_cameras_that_look_straight_down_do_not_look_at_one_place(jitter):
    cameras = flight(jitter=jitter)
    assert looked_at(cameras) is None
    region = find_region(cameras, seen_points(cameras, BOX))
    assert region.cameras == "ahead" and np.abs(region.center).max() < 0.6
    for camera in film_cameras(cameras, region, 8):
        pixel, depth = camera.project(region.center)
        assert np.allclose(pixel, [32, 24]) and 3 < depth < 5
        assert camera.rotation[2] @ [0, 0, -1] > 0.95


def test_cameras_inside_a_room_are_filmed_from_inside():
    cameras = outward()
    assert looked_at(cameras) is None
    region = find_region(cameras, seen_points(cameras, ROOM, outside=False))
    assert region.cameras == "inside" and 1.5 < region.half < 4
    film = film_cameras(cameras, region, 12)
    axes = np.array([camera.rotation[2] for camera in film])
    assert np.linalg.norm(axes[:, :2].mean(axis=0)) < 1e-9, "a whole turn"
    assert all(np.linalg.norm(camera.position - [0, 0, 1.4]) < 0.6 for camera in film)


def test_cameras_around_a_thing_are_filmed_around_it():
    cameras = ring()
    region = find_region(cameras, np.full((5, 3), 100.0))  # points are not needed, nor used
    assert region.cameras == "around" and np.allclose(region.center, [0, 0, 0.3], atol=0.01)
    for camera in film_cameras(cameras, region, 6):
        assert np.allclose(camera.project(region.center)[0], [32, 24])


@pytest.mark.parametrize(
    ("cameras", "box", "outside"),
    [(flight(jitter=0.02), BOX, True), (outward(), ROOM, False), (ring(), BOX, True)],
    ids=["above", "inside", "around"],
)
def test_photographs_alone_tell_where_things_are(cameras, box, outside):
    shown = [photograph(camera, box, outside) for camera in cameras]
    points, colors = plane_sweep([photo for photo, _ in shown], cameras)
    truth = np.concatenate([places.reshape(-1, 3) for _, places in shown])
    truth = truth[np.linalg.norm(truth, axis=1) < 20]
    distance, _ = cKDTree(truth).query(points)
    scale = np.linalg.norm(truth - truth.mean(axis=0), axis=1).mean()
    assert len(points) > 500 and colors.shape == points.shape
    assert np.median(distance) < 0.1 * scale, np.median(distance) / scale


def test_photographs_alone_give_points_also_where_their_depth_is_not_clear():
    cameras = outward()
    shown = [photograph(camera, ROOM, outside=False) for camera in cameras]
    points, _ = plane_sweep([photo for photo, _ in shown], cameras)
    truth = np.concatenate([places.reshape(-1, 3) for _, places in shown])
    distance, _ = cKDTree(points).query(truth)
    assert (distance < 0.3).mean() > 0.8, "of what is seen of a room of 5 x 6 m"  # else 0.4


def test_points_are_believed_only_where_the_photographs_show_their_colors():
    cameras = ring()
    shown = [photograph(camera, BOX) for camera in cameras]
    photos = [photo for photo, _ in shown]
    places = np.concatenate([places[::4, ::4].reshape(-1, 3) for _, places in shown])
    colors = np.concatenate([photo.rgb[::4, ::4].reshape(-1, 3) for photo in photos])
    near = np.linalg.norm(places, axis=1) < 3
    cloud = places[near], colors[near]
    assert agrees(cloud, photos, cameras)
    swapped = cloud[0][:, [2, 0, 1]], cloud[1]
    assert not agrees(swapped, photos, cameras)
    assert not agrees((cloud[0] + 500, cloud[1]), photos, cameras)
    gray = [dataclasses.replace(p, rgb=np.full_like(p.rgb, 0.5)) for p in photos]
    assert agrees((cloud[0], np.full_like(cloud[1], 0.5)), gray, cameras), "nothing to tell them by"
    with pytest.warns(UserWarning, match="so their world is not that of the poses"):
        found = starting_cloud(swapped, photos, cameras)
    assert found is not None and agrees(found, photos, cameras)
    assert starting_cloud(cloud, photos, cameras) is cloud


# The command


def write_dataset(folder, cameras, box, offset=(0.0, 0.0, 0.0), outside=True, points=0):
    """A transforms.json with its pictures, and points3d.ply if points is not 0."""
    records, places, colors = [], [], []
    for k, camera in enumerate(cameras):
        photo, seen = photograph(camera, box, outside)
        write_png(folder / "images" / f"{k:03d}.png", (photo.rgb * 255).round().astype(np.uint8))
        pose = np.linalg.inv(camera.world_to_camera)
        pose[:3, 3] += offset
        pose[:3, 1:3] *= -1  # OpenGL axes
        records.append({"file_path": f"images/{k:03d}.png", "transform_matrix": pose.tolist()})
        places.append(seen[::4, ::4].reshape(-1, 3) + offset)
        colors.append(photo.rgb[::4, ::4].reshape(-1, 3))
    head = camera_record(cameras[0])
    keys = {"fl_x": "fx", "fl_y": "fy", "cx": "cx", "cy": "cy", "w": "width", "h": "height"}
    record = {key: head[name] for key, name in keys.items()} | {"frames": records}
    (folder / "transforms.json").write_text(json.dumps(record))
    if points:
        xyz, rgb = np.concatenate(places), np.concatenate(colors)
        near = np.linalg.norm(xyz - offset, axis=1) < 6
        chosen = np.random.default_rng(0).permutation(np.flatnonzero(near))[:points]
        header = ["ply", "format binary_little_endian 1.0", f"element vertex {points}"]
        header += [f"property double {a}" for a in "xyz"]
        header += [f"property uchar {c}" for c in ("red", "green", "blue")] + ["end_header", ""]
        rows = [struct.pack("<3d3B", *xyz[k], *(rgb[k] * 255).round().astype(int)) for k in chosen]
        (folder / "points3d.ply").write_bytes("\n".join(header).encode() + b"".join(rows))


SMALL = ["--gaussians", "300", "--iterations", "60", "--sh-degree", "0", "--turntable", "2"]


def run(folder, out, *more):
    assert command.main(["--data", str(folder), "--out", str(out), *SMALL, *more]) == 0
    return FitRun.load(out)


def test_coordinates_of_a_map_do_not_blur_the_fit(tmp_path):
    offset = np.array([4.5e5, 5.4e6, 120.0])
    for name, shift in (("here", 0 * offset), ("there", offset)):
        write_dataset(tmp_path / name, ring(), BOX, shift, points=300)
    here = run(tmp_path / "here", tmp_path / "out_here")
    there = run(tmp_path / "there", tmp_path / "out_there")
    assert abs(here.metrics["psnr"] - there.metrics["psnr"]) < 0.3
    origin = np.array(there.metrics["origin"])
    assert "origin" not in here.metrics and np.abs(origin - offset).max() < 2
    text = (tmp_path / "out_there" / "gaussians.ply").read_bytes()[:400].decode("ascii", "ignore")
    assert f"comment origin {origin[0]:.12g} {origin[1]:.12g} {origin[2]:.12g}" in text
    eye = there.cameras[0].position + origin
    assert np.allclose(eye, here.cameras[0].position + offset, atol=1e-6)


@pytest.mark.parametrize(
    ("cameras", "box", "outside", "points"),
    [
        (flight(), BOX, True, 300),
        (flight(jitter=0.02), BOX, True, 0),
        (outward(), ROOM, False, 300),
        (outward(), ROOM, False, 0),
        (ring(2), BOX, True, 0),
    ],
    ids=["above", "above without points", "inside", "inside without points", "two"],
)
def test_a_fit_of_any_set_of_cameras_ends_with_a_film(tmp_path, cameras, box, outside, points):
    write_dataset(tmp_path / "data", cameras, box, outside=outside, points=points)
    done = run(tmp_path / "data", tmp_path / "out")
    assert (tmp_path / "out" / "video.mp4").stat().st_size > 500
    if len(cameras) == 2:
        assert done.metrics["test_views"] == 0 and done.metrics["psnr"] is None
        assert "no photograph was held out" in (tmp_path / "out" / "report.html").read_text()
    else:
        assert done.metrics["psnr"] > 10


def test_an_empty_model_of_points_is_no_model(tmp_path):
    write_dataset(tmp_path, ring(), BOX)
    (tmp_path / "sparse" / "0").mkdir(parents=True)
    for name in ("cameras", "images", "points3D"):
        (tmp_path / "sparse" / "0" / f"{name}.bin").write_bytes(struct.pack("<Q", 0))
    assert run(tmp_path, tmp_path / "out").metrics["psnr"] > 10


def test_a_fit_that_is_too_short_says_so(tmp_path, capsys):
    write_dataset(tmp_path, ring(), BOX, points=300)
    with pytest.warns(UserWarning, match="of 7000 steps, .* is too little; give it more --minutes"):
        run(tmp_path, tmp_path / "out", "--iterations", "7000", "--minutes", "0.001")
    assert "of 7000 steps" in capsys.readouterr().out


def test_sigterm_keeps_what_was_done(tmp_path, monkeypatch, capsys):
    write_dataset(tmp_path, ring(9), BOX, points=300)
    step = Fitter.step

    def interrupted(fitter):
        if fitter.iteration == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(fitter)

    monkeypatch.setattr(Fitter, "step", interrupted)
    out = tmp_path / "out"
    arguments = ["--data", str(tmp_path), "--out", str(out), *SMALL]
    assert command.main(arguments) == 130
    assert "the same command with --resume goes on from here" in capsys.readouterr().err
    assert peek_checkpoint(out / "checkpoints" / "fit.pt")["iteration"] == 7
    monkeypatch.setattr(Fitter, "step", step)
    assert run(tmp_path, out, "--resume").metrics["iterations"] == 60


def test_photographs_are_not_shrunk_below_200_px_for_want_of_time(tmp_path):
    write_dataset(tmp_path, [camera.resized(800, 600) for camera in ring(2)], BOX)
    short = ["--iterations", "10000", "--minutes", "0.01"]  # 0.12 ms a step: never enough
    done = run(tmp_path, tmp_path / "out", *short)
    assert done.job.downscale == 3 and tuple(done.metrics["size"]) == (266, 200)
    again = run(tmp_path, tmp_path / "out", *short, "--resume")
    assert again.metrics["size"] == done.metrics["size"]


def test_the_time_of_a_step_has_a_part_that_smaller_photographs_do_not_save():
    step = StepTime.through({10_000: 0.06, 90_000: 0.3})
    assert np.isclose(step.fixed, 0.03) and np.isclose(step.at(1_000_000), 3.03)
    assert StepTime.through({3000: 0.05}).at(3000) == 0.05
    noisy = StepTime.through({10_000: 0.06, 90_000: 0.05})
    assert noisy.per_pixel == 0 and noisy.at(90_000) == 0.05
    cheap = StepTime.through({10_000: 0.01, 90_000: 0.3})
    assert np.isclose(cheap.fixed, 0) and np.isclose(cheap.at(90_000), 0.3)


@pytest.mark.parametrize(
    ("minutes", "size", "divisor"),
    [
        (150, (1200, 800), 1),  # 2.43 s a step, and 2.57 s of time for each of 3500
        (60, (1200, 800), 2),  # 0.63 s a step, and 1.03 s of time
        (60, (1080, 1920), 3),  # 0.61 s a step
        (8, (1080, 1920), 5),  # 154 px would be needed, 216 px are left
        (0.1, (1080, 1920), 5),
        (0.1, (300, 150), 1),  # small to begin with
    ],
)
def test_a_photograph_is_as_large_as_the_time_allows(minutes, size, divisor):
    step = StepTime(fixed=0.03, per_pixel=2.5e-6)
    assert enough(size, 1, step, 60 * minutes, 7000) == divisor
