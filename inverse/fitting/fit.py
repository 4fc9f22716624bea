"""A fit from a folder of photographs to a folder of results."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import taichi_phys as tp
from inverse.fitting.config import FitConfig, FitJob
from inverse.fitting.fitter import Fitter
from inverse.fitting.model import GaussianModel, carve, gaussians_at, scene_box
from inverse.fitting.run import FIT, FREE, GAUSSIANS, RESULTS, FitRun
from inverse.metrics import image_metrics, mean_metrics
from inverse.runs.folder import METRICS, REPORT, VIDEO, RunFolder
from inverse.runs.plots import plot_losses
from inverse.runs.report import Report
from inverse.runs.training import BACKGROUNDS
from renderers.camera import Camera
from renderers.datasets import View, hold_out, load_points, load_views
from renderers.images import to_bytes, write_png
from renderers.orbit import orbit
from renderers.splats.files import save_gaussians
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import render
from renderers.video import write_video


TURNTABLE_FPS = 30.0
HOLD_OUT = 8  # every 8th photograph is a test view if the data set names none


def fit_splats(job: FitJob, config: FitConfig, *, command: list[str] | None = None) -> FitRun:
    """Fit Gaussians to a data set, and write the folder of the run.

    command: the command line that the report shows, by default that of this process. Raises
    ValueError for unusable input, before anything is written. An interrupted run keeps its
    checkpoint, and job.resume continues from it.
    """
    train, test = split_views(job)
    images = [view.load() for view in train]
    cameras = [view.camera for view in train]
    _check_sizes(train)
    tp.init(arch=job.device, seed=job.seed)
    center, half = scene_box(cameras)
    points = first_points(job, images, cameras, count=config.gaussians, center=center, half=half)
    model = GaussianModel(gaussians_at(*points, config.sh_degree))
    folder = RunFolder(job.out)
    folder.begin(
        {"run": job, "fit": config},
        results=RESULTS,
        checkpoints=(FIT,),
        resume=job.resume,
        free=FREE,
    )
    folder.write_cameras(cameras)
    checkpoint = folder.checkpoint(FIT)
    fitter = Fitter(model, cameras, images, config, half=half, seed=job.seed, checkpoint=checkpoint)
    if job.resume:
        fitter.resume()
    fitter.run()

    gaussians = model.gaussians()
    save_gaussians(folder / GAUSSIANS, gaussians)
    metrics = {
        **render_tests(gaussians, test, config, folder / "renders" / "test"),
        "test_views": len(test),
        "train_views": len(train),
        "gaussians": len(gaussians),
        "iterations": fitter.iteration,
        "seconds": fitter.seconds,
    }
    if job.turntable:
        write_turntable(folder / VIDEO, gaussians, cameras, center, job.turntable, config)
    metrics = folder.write_json(METRICS, metrics)
    run = FitRun(
        folder=folder.path,
        job=job,
        config=config,
        gaussians=gaussians,
        metrics=metrics,
        cameras=cameras,
    )
    _report(run, fitter.losses, command)
    return run


def split_views(job: FitJob) -> tuple[list[View], list[View]]:
    """The photographs for training, and those for testing.

    Raises ValueError if only one photograph is left for both.
    """
    train = load_views(job.data, downscale=job.downscale)
    if (Path(job.data) / "transforms_test.json").exists():
        return train, load_views(job.data, "test", downscale=job.downscale)
    train, test = hold_out(train, HOLD_OUT)
    if not train:
        raise ValueError(f"{job.data}: got only one photograph, expected several")
    return train, test


def first_points(
    job: FitJob,
    images: Sequence[tuple[np.ndarray, np.ndarray]],
    cameras: Sequence[Camera],
    *,
    count: int,
    center: np.ndarray,
    half: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The points (count, 3) m and colors (count, 3) from which a fit starts.

    These are the data set's own points, thinned out or filled up to count, or random points where
    no view is empty if the data set has none. images: rgb (H, W, 3) and alpha (H, W) of each
    camera; center: (3,) m, and half: m, as `scene_box` returns them.
    """
    own = load_points(job.data)
    if own is None:
        return carve(images, cameras, count, center=center, half=half, seed=job.seed)
    points, colors = own
    rng = np.random.default_rng(job.seed)
    chosen = rng.permutation(len(points))[:count]
    more = rng.integers(len(points), size=count - len(chosen))
    jitter = 0.01 * half * rng.standard_normal((len(more), 3))
    chosen_points = np.concatenate([points[chosen], points[more] + jitter])
    return chosen_points, colors[np.concatenate([chosen, more])]


def render_tests(
    gaussians: Gaussians, views: Sequence[View], config: FitConfig, folder: Path
) -> dict[str, Any]:
    """Render each view into folder, and return the mean metrics against the photographs."""
    behind = BACKGROUNDS.get(config.background, BACKGROUNDS["white"])
    tensors: dict[str, Any] = gaussians.tensors()
    records = []
    for view in tqdm(views, desc="test views", disable=None):
        image = render(
            view.camera, **tensors, background=behind, antialiased=config.antialiased
        ).rgb.clamp(0, 1)
        write_png(folder / f"{view.label}.png", to_bytes(image))
        records.append(image_metrics(image.cpu(), torch.as_tensor(view.image(behind))))
    return mean_metrics(records)


def write_turntable(
    path: Path,
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    center: np.ndarray,
    frames: int,
    config: FitConfig,
) -> None:
    """Write a video around the scene, at the mean height and distance of the cameras."""
    eyes = np.array([camera.position for camera in cameras]) - center
    up = -np.mean([camera.rotation[1] for camera in cameras], axis=0)
    up /= np.linalg.norm(up)
    radius = float(np.linalg.norm(eyes, axis=1).mean())
    elevation = float(np.degrees(np.arcsin(np.clip((eyes @ up).mean() / radius, -0.9, 0.9))))
    first = cameras[0]
    fov = float(np.degrees(2 * np.arctan(first.height / (2 * first.fy))))
    behind = BACKGROUNDS.get(config.background, BACKGROUNDS["white"])
    path_of_cameras = orbit(
        center.tolist(),
        radius,
        up=up.tolist(),
        elevation=elevation,
        frames=frames,
        fov=fov,
        width=first.width,
        height=first.height,
    )
    tensors: dict[str, Any] = gaussians.tensors()

    def pictures() -> Iterator[np.ndarray]:
        for camera in tqdm(path_of_cameras, desc="video", disable=None):
            image = render(camera, **tensors, background=behind, antialiased=config.antialiased)
            yield to_bytes(image.rgb)

    write_video(path, pictures(), TURNTABLE_FPS)


def _check_sizes(views: Sequence[View]) -> None:
    sizes = {(view.camera.width, view.camera.height) for view in views}
    if min(min(size) for size in sizes) < 11:
        raise ValueError(f"images: got {min(sizes)} px, expected at least 11 x 11 px")


def _report(run: FitRun, losses: Sequence[tuple[int, float]], command: list[str] | None) -> None:
    metrics = run.metrics
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
    if run.job.turntable:
        report.video(run.folder / VIDEO, "A turn around the fitted scene.")
    if losses:
        report.heading("How well it fits").plot(plot_losses(losses), "Loss on single photographs.")
    report.settings({"run": run.job, "fit": run.config})
    report.environment(seed=run.job.seed, command=command)
    report.write(run.folder / REPORT)
