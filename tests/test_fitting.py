"""Fitting Gaussians to photographs, and examples/fit_splats.py as its users run it."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_scene import cameras, figure, photograph, write_frames

from inverse.fitting import FitConfig, Fitter, GaussianModel
from inverse.fitting.model import gaussians_at
from inverse.fitting.points import carve
from inverse.fitting.region import find_region
from inverse.fitting.relocation import DEAD, relocate, shared, wander
from inverse.metrics import psnr
from renderers.datasets import Photograph
from renderers.orbit import look_at
from renderers.splats.files import load_gaussians
from renderers.splats.render import render


sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
import fit_splats  # noqa: E402


CONFIG = FitConfig(gaussians=150, iterations=120, sh_degree=1, relocate_every=20)


@pytest.fixture(scope="module")
def scene():
    """Eight cameras, what they see, and the region they look at."""
    views = cameras(8)
    return views, [photograph(camera, figure()) for camera in views], find_region(views)


def make_fitter(scene, config=CONFIG, **options):
    views, images, region = scene
    points = carve(images, views, config.gaussians, region=region)
    model = GaussianModel(gaussians_at(*points, config.sh_degree))
    return Fitter(model, views, images, config, half=region.half, **options)


def error_in_new_view(model):
    camera = cameras(1, azimuth=22.0)[0]
    with torch.no_grad():
        image = render(camera, **model.tensors(), background=(1, 1, 1)).rgb.clamp(0, 1)
        truth = render(camera, **figure().tensors(), background=(1, 1, 1)).rgb.clamp(0, 1)
    return psnr(image, truth)


def test_fit_predicts_a_new_view(scene):
    fitter = make_fitter(scene)
    before = error_in_new_view(fitter.model)
    fitter.run()
    after = error_in_new_view(fitter.model)
    assert before < 24 and after > 32, (before, after)
    assert fitter.progress == 1 and fitter.losses[-1][1] < 0.5 * fitter.losses[0][1] + 0.05


def test_resumed_fit_ends_like_an_uninterrupted_one(scene, tmp_path):
    whole = make_fitter(scene)
    whole.run()
    part = make_fitter(scene, checkpoint=tmp_path / "fit.pt")
    steps = part.step

    def interrupted():
        if part.iteration == 70:
            raise KeyboardInterrupt
        return steps()

    part.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        part.run()
    rest = make_fitter(scene, checkpoint=tmp_path / "fit.pt")
    rest.resume()
    assert rest.iteration == 70
    rest.run()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, rest.model.state_dict()[name]), name
    assert [i for i, _ in rest.losses] == [i for i, _ in whole.losses]


def test_checkpoint_of_something_else_is_refused(scene, tmp_path):
    path = tmp_path / "fit.pt"
    fitter = make_fitter(scene, checkpoint=path)
    fitter.step()
    fitter.save()
    other = make_fitter(scene, dataclasses.replace(CONFIG, ssim_weight=0.3), checkpoint=path)
    with pytest.raises(ValueError, match="made with other settings or other input"):
        other.resume()
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="damaged or not a checkpoint"):
        fitter.resume()
    path.unlink()
    fitter.resume()  # nothing there: the fit starts from the beginning


def test_time_limit_ends_the_fit_on_its_schedule(scene):
    fitter = make_fitter(scene, dataclasses.replace(CONFIG, iterations=10**6, minutes=1.0))
    fitter.seconds = 59.9
    fitter.run()
    assert 0 < fitter.iteration < 1000 and fitter.progress == 1
    assert fitter.optimizer.param_groups[0]["lr"] < 0.011 * CONFIG.means_rate * fitter.half


@pytest.mark.parametrize("count", [1, 2, 5])
def test_gaussians_in_one_place_look_like_one(count):
    """Eq. 9 keeps the opacity at the center exactly, and the picture nearly."""
    opacity, scales = torch.tensor([0.7]), torch.tensor([[0.3, 0.3, 0.3]])
    single, size = shared(opacity, scales, torch.tensor([count]))
    assert 1 - (1 - single.item()) ** count == pytest.approx(0.7, abs=1e-6)
    if count == 1:
        torch.testing.assert_close(size, scales)
    camera = look_at((0, -3, 0), (0, 0, 0), width=40, height=40, fov=40)
    pictures = [
        render(
            camera, means=torch.zeros(n, 3), quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
            scales=s.repeat(n, 1), opacities=o.repeat(n), colors=torch.ones(n, 3),
        ).alpha
        for n, s, o in ((1, scales, opacity), (count, size, single))
    ]  # fmt: skip
    assert pictures[0].max() > 0.6
    # The paper matches the integral along a ray; shapes differ a little.
    assert (pictures[0] - pictures[1]).abs().max() < 0.06
    assert pictures[0].sum().item() == pytest.approx(pictures[1].sum().item(), rel=0.1)


def test_faded_gaussians_move_onto_others(scene):
    fitter = make_fitter(scene)
    for _ in range(3):
        fitter.step()
    model = fitter.model
    with torch.no_grad():
        model.opacity_logits[:40] = -9.0
    places = model.means[40:].detach().clone()
    dead, _ = relocate(model, fitter.optimizer, torch.Generator().manual_seed(0))
    assert torch.equal(dead, torch.arange(40)) and (model.opacities > DEAD).all()
    same = (model.means[:40, None] == places).all(dim=-1)
    assert same.any(dim=1).all() and torch.equal(model.means[40:], places)
    assert not fitter.optimizer.state[model.means]["exp_avg"][:40].any()
    assert fitter.optimizer.state[model.means]["exp_avg"][40:].any()
    assert not len(relocate(model, fitter.optimizer, torch.Generator())[0])


def test_only_faint_gaussians_wander(scene):
    model = make_fitter(scene).model
    with torch.no_grad():
        model.opacity_logits[:10] = -9.0
        model.opacity_logits[10:] = 1.0
    before = model.means.detach().clone()
    wander(model, 100.0, torch.Generator().manual_seed(0))
    distance = (model.means - before).norm(dim=1)
    assert distance[:10].min() > 1e-3 and distance[10:].max() < 1e-6


def test_region_is_where_the_cameras_look():
    shift = np.array([1.0, -2.0, 0.5])
    views = [
        look_at(shift + eye, shift, width=30, height=30, fov=40)
        for eye in ([3, 0, 0.5], [0, 3, 0], [-3, 0, -1])
    ]
    region = find_region(views)
    np.testing.assert_allclose(region.center, shift, atol=1e-9)
    assert region.half == pytest.approx(3.04 * np.tan(np.radians(20)), rel=0.05)
    assert region.cameras == "around" and region.origin() is None
    with pytest.raises(ValueError, match="the cameras do not look at one place, and there are no"):
        find_region(views[:1])


def test_carving_keeps_what_all_views_show(scene):
    views, images, region = scene
    center = region.center
    points, colors = carve(images, views, 500, region=region)
    assert points.shape == colors.shape == (500, 3)
    for image, camera in zip(images, views, strict=True):
        alpha = image.alpha
        u, v = np.floor(camera.project(points)[0]).astype(int).T
        inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
        assert inside.mean() > 0.9 and (alpha[v[inside], u[inside]] > 0.5).all()
    spread = np.abs(points - center).max(axis=0)
    assert (spread > 0.2).all() and (spread < 0.9).all(), "the object, not the cube"
    near_red = np.linalg.norm(points - [-0.1, -0.1, 0], axis=1) < 0.15
    assert colors[near_red, 0].mean() > colors[near_red, 2].mean()
    nothing = [Photograph(rgb=i.rgb, alpha=np.zeros_like(i.alpha)) for i in images]
    with pytest.raises(ValueError, match="no room for the object"):
        carve(nothing, views, 500, region=region)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("figure")
    train = [(f"r_{i}", camera, figure(), None) for i, camera in enumerate(cameras(8))]
    test = [(f"t_{i}", c, figure(), None) for i, c in enumerate(cameras(2, azimuth=22))]
    write_frames(path, "train", train)
    write_frames(path, "test", test)
    return path


SMALL = ["--gaussians", "150", "--iterations", "100", "--sh-degree", "1", "--turntable", "4"]


def test_example_leaves_a_complete_folder(folder, tmp_path):
    out = tmp_path / "out"
    arguments = ["--data", str(folder), "--out", str(out), *SMALL]
    assert fit_splats.main(arguments) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["psnr"] > 25 and 0.8 < metrics["ssim"] <= 1 and metrics["gaussians"] == 150
    assert {"lpips", "seconds", "iterations"} <= set(metrics)
    assert sorted(p.name for p in (out / "renders" / "test").iterdir()) == ["t_0.png", "t_1.png"]
    assert {"config.json", "video.mp4", "report.html", "gaussians.ply", "checkpoints"} <= {
        p.name for p in out.iterdir()
    }
    assert "data:video/mp4;base64," in (out / "report.html").read_text("utf-8")
    saved = load_gaussians(out / "gaussians.ply")
    assert len(saved) == 150 and saved.degree == 1
    # Finished already: resuming changes nothing.
    assert fit_splats.main([*arguments, "--resume"]) == 0
    again = json.loads((out / "metrics.json").read_text())
    assert again["psnr"] == metrics["psnr"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "data: none given"),
        (["--data", "nowhere"], "nowhere"),
        (["--data", "{folder}", "--gaussians", "0"], "gaussians: got 0"),
        (["--data", "{folder}", "--sh-degree", "5"], "sh_degree: got 5"),
        (["--data", "{folder}", "--downscale", "8"], "images: got"),
    ],
)
def test_example_says_what_is_wrong(arguments, message, folder, tmp_path, capsys):
    arguments = [a.format(folder=folder) for a in arguments]
    assert fit_splats.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed and printed.count("\n") == 1
    assert not (tmp_path / "out").exists()
