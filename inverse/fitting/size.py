"""The size of the photographs of a fit, from their own size and the time that there is."""

import dataclasses
import time
import warnings

import numpy as np
from threadpoolctl import threadpool_limits

from inverse.fitting.config import FitConfig, FitJob
from inverse.fitting.fitter import Fitter
from inverse.fitting.model import GaussianModel, gaussians_at
from inverse.runs.folder import CONFIG, RunFolder
from renderers.datasets import View, load_views
from taichi_phys import runtime


LONGEST = 1600  # px; larger photographs are shrunk, as 3D Gaussian Splatting does
# Shorter side in px below which a photograph is not shrunk for want of time. Gaussians finer than a
# pixel are not determined: at 200 px a photograph has about twice as many pixels as there are
# Gaussians by default.
LEAST_SIDE = 200
TRIAL_SIDES = (100, 400)  # px, longer sides of the photographs with which steps are timed
TRIAL_STEPS = 4
SHARE = 0.5  # of config.iterations for which the time must be enough


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Seconds of a step: a part for the Gaussians, and one for each pixel."""

    fixed: float
    per_pixel: float

    @classmethod
    def through(cls, trials: dict[int, float]) -> "StepTime":
        """The line through the seconds of steps with the fewest and the most pixels.

        trials: seconds by number of pixels. A single one counts as time for the Gaussians alone,
        and so does what grows as pixels become fewer.
        """
        few, many = min(trials), max(trials)
        slope = max(trials[many] - trials[few], 0.0) / max(many - few, 1)
        slope = min(slope, trials[many] / many)  # no step costs less than nothing without pixels
        return cls(trials[many] - slope * many, slope)

    def at(self, pixels: int) -> float:
        """The seconds of a step with that many pixels."""
        return self.fixed + self.per_pixel * pixels


def choose_downscale(job: FitJob, config: FitConfig) -> tuple[FitJob, float]:
    """The job with its downscale filled in, and the seconds that a step will take, 0 if unknown.

    If job.downscale is None, photographs are shrunk to a longer side of at most 1600 px, and so far
    that config.minutes are enough for half of config.iterations, but for that not to a shorter side
    below 200 px. A job that is resumed keeps the size with which it began.
    """
    folder = RunFolder(job.out)
    if job.downscale is None and job.resume and (folder / CONFIG).exists():
        job = dataclasses.replace(job, downscale=folder.settings(FitJob, "run").downscale)
    if job.downscale is not None and config.minutes is None:
        return job, 0.0
    size = _first_view(job, 1).camera.size
    downscale = job.downscale or max(-(-max(size) // LONGEST), 1)
    if config.minutes is None:
        return dataclasses.replace(job, downscale=downscale), 0.0
    trials = {}
    for divisor in {max(-(-max(size) // side), 1) for side in TRIAL_SIDES}:
        view = _first_view(job, divisor)
        trials[_pixels(view.camera.size)] = _step_seconds(view, config)
    step = StepTime.through(trials)
    if job.downscale is None:
        downscale = enough(size, downscale, step, 60 * config.minutes, config.iterations)
    seconds = step.at(_pixels(size, downscale))
    return dataclasses.replace(job, downscale=downscale), seconds


def enough(
    size: tuple[int, int], least: int, step: StepTime, seconds: float, iterations: int
) -> int:
    """The smallest divisor of a photograph's size with which the time is enough for half the steps.

    size: width and height, px; least: the smallest divisor that is allowed; seconds: the time for
    the fit. The divisor leaves a shorter side of at least 200 px, unless least does not.
    """
    downscale = least
    while (
        SHARE * iterations * step.at(_pixels(size, downscale)) > seconds
        and min(size) // (downscale + 1) >= LEAST_SIDE
    ):
        downscale += 1
    return downscale


def _pixels(size: tuple[int, int], downscale: int = 1) -> int:
    return (size[0] // downscale) * (size[1] // downscale)


def _first_view(job: FitJob, downscale: int) -> View:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said when the photographs are read
        return load_views(job.data, downscale=downscale)[0]


def _step_seconds(view: View, config: FitConfig) -> float:
    """How long a step takes with one photograph on a machine that has nothing else to do.

    The time for compiling is left out. Other programs lengthen the time on the clock, not that of
    the processor, which in turn adds up what several cores do at once: the least of both counts.
    """
    camera = view.camera
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 1, (config.gaussians, 2)) * camera.size
    points = camera.unproject(pixels, rng.uniform(1, 2, config.gaussians))
    model = GaussianModel(gaussians_at(points, np.full(points.shape, 0.5), config.sh_degree))
    fitter = Fitter(model, [camera], [view.load()], config, half=1.0)
    least = np.inf
    with runtime.one_torch_thread(), threadpool_limits(1):  # as in a fit
        fitter.step()
        for _ in range(TRIAL_STEPS):
            wall, processor = time.perf_counter(), time.process_time()
            fitter.step()
            least = min(least, time.perf_counter() - wall)
            if fitter.device.type == "cpu":
                least = min(least, time.process_time() - processor)
    return float(least)
