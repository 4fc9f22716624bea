"""A fit from a folder of photographs to a folder of results."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import taichi_phys as tp
from inverse.fitting.config import FitConfig
from inverse.fitting.fitter import Fitter
from inverse.fitting.model import GaussianModel, carve, gaussians_at, scene_box
from inverse.metrics import image_metrics, mean_metrics
from inverse.runs.plots import plot_lines
from inverse.runs.report import Report
from inverse.runs.settings import option, write_json
from inverse.runs.training import BACKGROUNDS
from renderers.datasets import View, hold_out, load_points, load_views
from renderers.images import to_bytes, write_png
from renderers.orbit import orbit
from renderers.splats.files import save_gaussians
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import render
from renderers.video import write_video


HOLD_OUT = 8  # every so manieth photograph is a test view where the data set names none


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Inputs and outputs of a fit."""

    data: str | None = option(None, "folder of the photographs: NeRF-synthetic, nerfstudio, COLMAP")
    out: str = option("out/splats", "folder of the results")
    downscale: int = option(1, "use the photographs at a fraction of their size")
    turntable: int = option(120, "frames of the video, 0 for none")
    resume: bool = option(False, "go on from the checkpoint in --out")
    seed: int = option(0, "of the first Gaussians and of all that is random")
    device: str = option("auto", "where to compute", choices=("auto", "cpu", "cuda"))

    def __post_init__(self):
        if self.data is None:
            raise ValueError("data: none given, expected a folder of photographs with their poses")
        for name, least in (("downscale", 1), ("turntable", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected at least {least}")


def fit_splats(run: RunConfig, config: FitConfig, *, command: list[str] | None = None) -> dict:
    """Fit Gaussians to a data set and write the run directory; returns the record of metrics.json.

    Raises ValueError for unusable input, before anything is written. Interrupted, it keeps its
    checkpoint; with run.resume it goes on from there.
    """
    train, test = split_views(run)
    images = [view.load() for view in train]
    cameras = [view.camera for view in train]
    _check_sizes(train)
    tp.init(arch=run.device, seed=run.seed)
    centre, half = scene_box(cameras)
    points = first_points(run, images, cameras, config.gaussians, centre, half)
    model = GaussianModel(gaussians_at(*points, config.sh_degree))
    out = Path(run.out)
    # Written first: an unwritable folder should fail now, not after the work.
    write_json(out / "config.json", {"run": run, "fit": config})
    checkpoint = out / "checkpoints" / "fit.pt"
    fitter = Fitter(
        model, cameras, images, config, half=half, seed=run.seed, checkpoint=checkpoint
    )  # fmt: skip
    if run.resume:
        fitter.resume()
    else:
        checkpoint.unlink(missing_ok=True)
    fitter.run()

    gaussians = model.gaussians()
    save_gaussians(out / "gaussians.ply", gaussians)
    metrics = {
        **render_tests(gaussians, test, config, out / "renders" / "test"),
        "test_views": len(test),
        "train_views": len(train),
        "gaussians": len(gaussians),
        "iterations": fitter.iteration,
        "seconds": fitter.seconds,
    }
    if run.turntable:
        write_turntable(out / "video.mp4", gaussians, cameras, centre, run.turntable, config)
    write_json(out / "metrics.json", metrics)
    _report(run, config, fitter, metrics, command)
    return metrics


def split_views(run: RunConfig) -> tuple[list[View], list[View]]:
    """Photographs to learn from and to be tested on."""
    train = load_views(run.data, downscale=run.downscale)
    if (Path(run.data) / "transforms_test.json").exists():
        return train, load_views(run.data, "test", downscale=run.downscale)
    train, test = hold_out(train, HOLD_OUT)
    if not train:
        raise ValueError(f"{run.data}: one photograph only, expected several")
    return train, test


def first_points(run, images, cameras, count, centre, half) -> tuple[np.ndarray, np.ndarray]:
    """Points and colours to start from: the data set's own, filled up or thinned out to count, or
    else random ones where all views show something."""
    own = load_points(run.data)
    if own is None:
        return carve(images, cameras, count, centre=centre, half=half, seed=run.seed)
    points, colors = own
    rng = np.random.default_rng(run.seed)
    chosen = rng.permutation(len(points))[:count]
    more = rng.integers(len(points), size=count - len(chosen))
    jitter = 0.01 * half * rng.standard_normal((len(more), 3))
    chosen_points = np.concatenate([points[chosen], points[more] + jitter])
    return chosen_points, colors[np.concatenate([chosen, more])]


def render_tests(gaussians: Gaussians, views: list[View], config: FitConfig, folder: Path) -> dict:
    """Render each view to folder and return the mean metrics against the photographs."""
    behind = BACKGROUNDS.get(config.background, BACKGROUNDS["white"])
    records = []
    for view in tqdm(views, desc="test views", disable=None):
        image = render(
            view.camera, **gaussians.tensors(), background=behind, antialiased=config.antialiased
        ).rgb.clamp(0, 1)
        write_png(folder / f"{Path(view.name).stem}.png", to_bytes(image))
        records.append(image_metrics(image.cpu(), torch.as_tensor(view.image(behind))))
    return mean_metrics(records)


def write_turntable(path, gaussians, cameras, centre, frames, config) -> None:
    """A video around the scene, at the mean height and distance of the cameras."""
    eyes = np.array([camera.position for camera in cameras]) - centre
    up = -np.mean([camera.rotation[1] for camera in cameras], axis=0)
    up /= np.linalg.norm(up)
    radius = float(np.linalg.norm(eyes, axis=1).mean())
    elevation = float(np.degrees(np.arcsin(np.clip((eyes @ up).mean() / radius, -0.9, 0.9))))
    first = cameras[0]
    fov = float(np.degrees(2 * np.arctan(first.height / (2 * first.fy))))
    behind = BACKGROUNDS.get(config.background, BACKGROUNDS["white"])
    path_of_cameras = orbit(
        centre, radius, up=up, elevation=elevation, frames=frames, fov=fov,
        width=first.width, height=first.height,
    )  # fmt: skip
    pictures = (
        to_bytes(
            render(
                camera, **gaussians.tensors(), background=behind, antialiased=config.antialiased
            ).rgb
        )
        for camera in tqdm(path_of_cameras, desc="video", disable=None)
    )
    write_video(path, pictures, 30.0)


def _check_sizes(views: list[View]) -> None:
    sizes = {(view.camera.width, view.camera.height) for view in views}
    if min(min(size) for size in sizes) < 11:
        raise ValueError(f"images: got {min(sizes)} px, expected at least 11 x 11")


def _report(run, config, fitter, metrics, command) -> None:
    out = Path(run.out)
    report = Report("What does it look like from anywhere?")
    report.summary(
        f"{metrics['gaussians']} Gaussians, fitted to {metrics['train_views']} photographs in "
        f"{metrics['seconds']:.0f} s, predict {metrics['test_views']} others with a PSNR of "
        f"{metrics['psnr']:.1f} dB."
    )
    figures = {
        "PSNR": (f"{metrics['psnr']:.2f}", "dB"),
        "SSIM": f"{metrics['ssim']:.3f}",
        "Gaussians": metrics["gaussians"],
        "time": (f"{metrics['seconds']:.0f}", "s"),
    }
    if metrics["lpips"] is not None:
        figures["LPIPS"] = f"{metrics['lpips']:.3f}"
    report.figures(figures)
    if run.turntable:
        report.video(out / "video.mp4", "A turn around the fitted scene.")
    if fitter.losses:
        iterations, losses = zip(*fitter.losses, strict=True)
        report.heading("How well it fits")
        report.plot(
            plot_lines(iterations, {"loss": losses}, "iteration", "L1 and SSIM", log=True),
            "Loss on single photographs.",
        )
    report.settings({"run": run, "fit": config})
    report.environment(seed=run.seed, command=command)
    report.write(out / "report.html")
