"""The size of the photographs of a fit, from their own size and the time that there is."""

import dataclasses
import time
import warnings

import numpy as np

from inverse.fitting.config import FitConfig, FitJob
from inverse.fitting.fitter import Fitter
from inverse.fitting.model import GaussianModel, gaussians_at
from inverse.runs.folder import CONFIG, RunFolder
from renderers.datasets import View, load_views


LONGEST = 1600  # px; larger photographs are shrunk, as 3D Gaussian Splatting does
TRIAL_SIDE = 400  # px, of the photograph with which a step is timed
TRIAL_STEPS = 3
LEAST_SIDE = 100  # px, below which a photograph is not shrunk for want of time
SHARE = 0.5  # of config.iterations for which the time must be enough


def choose_downscale(job: FitJob, config: FitConfig) -> tuple[FitJob, float]:
    """The job with its downscale filled in, and the seconds that a step will take, 0 if unknown.

    If job.downscale is None, photographs are shrunk to a longer side of at most 1600 px, and so far
    that config.minutes are enough for half of config.iterations. A job that is resumed keeps the
    size with which it began.
    """
    folder = RunFolder(job.out)
    if job.downscale is None and job.resume and (folder / CONFIG).exists():
        job = dataclasses.replace(job, downscale=folder.settings(FitJob, "run").downscale)
    if job.downscale is not None and config.minutes is None:
        return job, 0.0
    view = _first_view(job, 1)
    longest = max(view.camera.size)
    downscale = job.downscale or max(-(-longest // LONGEST), 1)
    if config.minutes is None:
        return dataclasses.replace(job, downscale=downscale), 0.0
    trial = max(-(-longest // TRIAL_SIDE), 1)
    seconds = _step_seconds(_first_view(job, trial), config)

    def seconds_at(divisor: int) -> float:
        return seconds * (trial / divisor) ** 2  # a step takes at most as much per pixel

    if job.downscale is None:
        allowed = 60 * config.minutes / (SHARE * config.iterations)
        while seconds_at(downscale) > allowed and longest // (downscale + 1) >= LEAST_SIDE:
            downscale += 1
    return dataclasses.replace(job, downscale=downscale), seconds_at(downscale)


def _first_view(job: FitJob, downscale: int) -> View:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said when the photographs are read
        return load_views(job.data, downscale=downscale)[0]


def _step_seconds(view: View, config: FitConfig) -> float:
    """How long a step takes with one photograph, without the time for compiling."""
    camera = view.camera
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 1, (config.gaussians, 2)) * camera.size
    points = camera.unproject(pixels, rng.uniform(1, 2, config.gaussians))
    model = GaussianModel(gaussians_at(points, np.full(points.shape, 0.5), config.sh_degree))
    fitter = Fitter(model, [camera], [view.load()], config, half=1.0)
    fitter.step()
    start = time.perf_counter()
    for _ in range(TRIAL_STEPS):
        fitter.step()
    return (time.perf_counter() - start) / TRIAL_STEPS
