"""A fit from a folder of photographs to a folder of results."""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import taichi_phys as tp
from inverse.fitting.config import FitConfig, FitJob
from inverse.fitting.fitter import Fitter
from inverse.fitting.model import GaussianModel, gaussians_at
from inverse.fitting.photometric import compare
from inverse.fitting.points import Cloud, carve, starting_cloud
from inverse.fitting.region import Region, find_region
from inverse.fitting.run import FIT, FREE, GAUSSIANS, RESULTS, FitRun
from inverse.fitting.size import choose_downscale
from inverse.fitting.turntable import write_turntable
from inverse.metrics import mean_metrics
from inverse.runs.folder import METRICS, REPORT, VIDEO, RunFolder
from inverse.runs.plots import plot_losses
from inverse.runs.report import Report
from inverse.runs.training import BACKGROUNDS
from renderers.camera import Camera
from renderers.datasets import Photograph, View, hold_out, load_points, load_views, splits
from renderers.images import to_bytes, write_png
from renderers.splats.files import ANTIALIASED, save_gaussians
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import render


HOLD_OUT = 8  # every 8th photograph is a test view if the data set names none
FEW_PASSES = 5  # a fit that uses each photograph less often than this is said to be cut short


def fit_splats(job: FitJob, config: FitConfig, *, command: list[str] | None = None) -> FitRun:
    """Fit Gaussians to a data set, and write the folder of the run.

    command: the command line that the report shows, by default that of this process. Raises
    ValueError for unusable input, before anything is written. An interrupted run keeps its
    checkpoint, and job.resume continues from it.
    """
    tp.init(arch=job.device, seed=job.seed)
    job, step_seconds = choose_downscale(job, config)
    train, test = split_views(job)
    _check_sizes(train)
    photographs = [view.load() for view in train]
    cameras = [view.camera for view in train]
    cloud = starting_cloud(load_points(job.data), photographs, cameras, seed=job.seed)
    region = find_region(cameras, None if cloud is None else cloud[0])
    origin = region.origin()
    if origin is not None:  # far from the origin, float32 would blur the means
        region, cloud = region.relative_to(origin), _moved(cloud, origin)
        cameras = [camera.relative_to(origin) for camera in cameras]
        test = [dataclasses.replace(v, camera=v.camera.relative_to(origin)) for v in test]
    points = first_points(cloud, photographs, cameras, config.gaussians, region, job.seed)
    model = GaussianModel(gaussians_at(*points, config.sh_degree))
    folder = RunFolder(job.out)
    fitter = Fitter(
        model,
        cameras,
        photographs,
        config,
        half=region.half,
        seed=job.seed,
        checkpoint=folder.checkpoint(FIT),
    )
    fitter.reserve = step_seconds * (job.turntable + len(test)) / 3  # a step renders and goes back
    folder.begin(
        {"run": job, "fit": config},
        results=RESULTS,
        checkpoints=(FIT,),
        resume=job.resume,
        free=FREE,
        work=fitter,
    )
    more = {} if origin is None else {"origin": origin.tolist()}
    folder.write_cameras(cameras, **more)
    fitter.run()

    gaussians = model.gaussians()
    comments = ["made by taichi-phys fit"]
    if config.antialiased:
        comments.append(ANTIALIASED)
    if origin is not None:
        comments.append("origin " + " ".join(f"{value:.12g}" for value in origin))
    save_gaussians(folder / GAUSSIANS, gaussians, comments=comments)
    metrics = {
        **render_tests(gaussians, test, config, folder / "renders" / "test"),
        "test_views": len(test),
        "train_views": len(train),
        "gaussians": len(gaussians),
        "iterations": fitter.iteration,
        "planned_iterations": config.iterations,
        "size": cameras[0].size,
        "seconds": fitter.seconds,
        **more,
    }
    _say_what_was_done(metrics)
    if job.turntable:
        write_turntable(folder / VIDEO, gaussians, cameras, region, job.turntable, config)
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
    """The photographs for training, and those for testing, if there are enough to hold some out.

    Raises ValueError if there is only one photograph.
    """
    downscale = job.downscale or 1
    train = load_views(job.data, downscale=downscale)
    if "test" in splits(job.data):
        return train, load_views(job.data, "test", downscale=downscale)
    if len(train) < 2:
        raise ValueError(f"{job.data}: got only one photograph, expected several")
    if len(train) < HOLD_OUT:
        return train, []
    return hold_out(train, HOLD_OUT)


def first_points(
    cloud: Cloud | None,
    photographs: Sequence[Photograph],
    cameras: Sequence[Camera],
    count: int,
    region: Region,
    seed: int,
) -> Cloud:
    """The points (count, 3) m and colors (count, 3) from which a fit starts.

    These are the points of the cloud, thinned out or filled up to count, or, without a cloud,
    random points where no view is empty.
    """
    if cloud is None:
        return carve(photographs, cameras, count, region=region, seed=seed)
    points, colors = cloud
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(points))[:count]
    more = rng.integers(len(points), size=count - len(chosen))
    jitter = 0.01 * region.half * rng.standard_normal((len(more), 3))
    chosen_points = np.concatenate([points[chosen], points[more] + jitter])
    return chosen_points, colors[np.concatenate([chosen, more])]


def _moved(cloud: Cloud | None, origin: np.ndarray) -> Cloud | None:
    return None if cloud is None else (cloud[0] - origin, cloud[1])


def render_tests(
    gaussians: Gaussians, views: Sequence[View], config: FitConfig, folder: Path
) -> dict[str, Any]:
    """Render each view into folder, and return the mean metrics against the photographs.

    Without views, all metrics are None.
    """
    behind = BACKGROUNDS.get(config.background, BACKGROUNDS["white"])
    tensors: dict[str, Any] = gaussians.tensors()
    records: list[dict[str, float | None]] = []
    for view in tqdm(views, desc="test views", disable=None):
        image = render(
            view.camera, **tensors, background=behind, antialiased=config.antialiased
        ).rgb.clamp(0, 1)
        write_png(folder / f"{view.label}.png", to_bytes(image))
        records.append(compare(image, view.load(), behind))
    if not records:
        return {"psnr": None, "ssim": None, "lpips": None}
    return mean_metrics(records)


def _say_what_was_done(metrics: dict[str, Any]) -> None:
    done, planned, views = (
        metrics[name] for name in ("iterations", "planned_iterations", "train_views")
    )
    if done < min(FEW_PASSES * views, planned):
        warnings.warn(
            f"the fit did {done} of {planned} steps, so that each of the {views} photographs was "
            f"used {done / views:.1f} times, which is too little; give it more --minutes, or a "
            "larger --downscale",
            stacklevel=3,
        )


def _check_sizes(views: Sequence[View]) -> None:
    sizes = {(view.camera.width, view.camera.height) for view in views}
    if min(min(size) for size in sizes) < 11:
        raise ValueError(f"images: got {min(sizes)} px, expected at least 11 x 11 px")


def _report(run: FitRun, losses: Sequence[tuple[int, float]], command: list[str] | None) -> None:
    metrics = run.metrics
    report = Report("What does it look like from anywhere?")
    outcome = "and no photograph was held out to test them with."
    if metrics["psnr"] is not None:
        outcome = f"predict {metrics['test_views']} others with a PSNR of {metrics['psnr']:.1f} dB."
    report.summary(
        f"{metrics['gaussians']} Gaussians, fitted to {metrics['train_views']} photographs of "
        f"{metrics['size'][0]} x {metrics['size'][1]} px in {metrics['seconds']:.0f} s "
        f"({metrics['iterations']} of {metrics['planned_iterations']} steps), " + outcome
    )
    figures: dict[str, Any] = {
        "Gaussians": metrics["gaussians"],
        "time": (f"{metrics['seconds']:.0f}", "s"),
    }
    if metrics["psnr"] is not None:
        figures = {
            "PSNR": (f"{metrics['psnr']:.2f}", "dB"),
            "SSIM": f"{metrics['ssim']:.3f}",
            **figures,
        }
    if "origin" in metrics:
        report.text(
            "The Gaussians and cameras.json are relative to the point "
            f"{tuple(metrics['origin'])} of the data's world, because float32 cannot hold "
            "positions so far from the origin."
        )
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
