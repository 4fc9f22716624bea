"""From multi-view video to a run: learn how things move, and show what happens next."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

import taichi_phys as tp
from inverse.fitting.model import GaussianModel, carve, gaussians_at, scene_box
from inverse.runs.folder import CAMERAS, METRICS, REPORT, VIDEO, RunFolder
from inverse.runs.settings import as_plain
from inverse.trace.config import TraceConfig, TraceJob
from inverse.trace.model import TraceModel
from inverse.trace.photographs import Photographs, check_training, load_photographs
from inverse.trace.ranks import Ranks
from inverse.trace.report import write_report
from inverse.trace.results import find_parts, write_results
from inverse.trace.trainer import TraceTrainer
from renderers.camera import Camera


MOTION, PARTS = "motion.json", "parts.npz"
RESULTS = (MOTION, PARTS, METRICS, VIDEO, REPORT)
TRACE = "trace.pt"  # the checkpoint
# Settings that may differ when a run is resumed: the photographs are compared, not their folder.
FREE = ("run.data", "run.out", "run.parts", "run.future", "run.resume", "run.device")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TraceRun:
    """A TRACE run, which need not be finished.

    folder: its folder; job, config: its settings; model: the learned model; times: the observed
    times, s, ascending; cameras: those of the training photographs; labels: (n,) int, the part of
    each Gaussian, 0 if it stands still; motion: the record of motion.json; metrics: the record of
    metrics.json. labels and motion are None, and metrics is empty, until the run has found them;
    without dynamics, labels and motion stay None.
    """

    KEYS: ClassVar[tuple[str, ...]] = ("run", "trace")  # of config.json

    folder: Path
    job: TraceJob
    config: TraceConfig
    model: TraceModel
    times: list[float]
    cameras: list[Camera]
    labels: np.ndarray | None = None
    motion: dict[str, Any] | None = None
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def load(cls, folder: str | Path) -> "TraceRun":
        """Read the run in a folder, with its model on the CPU and without gradients.

        Raises ValueError, in one sentence, if a file cannot be read.
        """
        files = RunFolder(folder)
        job, config = files.settings(TraceJob, "run"), files.settings(TraceConfig, "trace")
        state = files.read_checkpoint(TRACE)
        try:
            model = TraceModel.from_state(state["model"], state["scene"], config)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{files.checkpoint(TRACE)}: {error}") from None
        cameras, more = files.read_cameras()
        times = sorted({float(t) for t in more.get("times", ())})
        if not times:
            raise ValueError(f"{files / CAMERAS}: damaged, expected the times of the photographs")
        return cls(
            folder=files.path,
            job=job,
            config=config,
            model=model.requires_grad_(False),
            times=times,
            cameras=cameras,
            labels=cls._labels(files, len(model.gaussians)),
            motion=files.read_json(MOTION) if (files / MOTION).exists() else None,
            metrics=files.read_json(METRICS) if (files / METRICS).exists() else {},
        )

    @staticmethod
    def _labels(files: RunFolder, count: int) -> np.ndarray | None:
        if not (files / PARTS).exists():
            return None
        (labels,) = files.read_npz(PARTS, "labels")
        if labels.shape != (count,) or labels.dtype.kind != "i" or labels.min(initial=0) < 0:
            raise ValueError(
                f"{files / PARTS}: got labels as {labels.dtype} {labels.shape}, expected {count} "
                "whole numbers from 0 on"
            )
        return labels

    def save(self) -> None:
        """Write parts.npz, motion.json and metrics.json, as far as the run has their contents."""
        files = RunFolder(self.folder)
        if self.labels is not None:
            files.write_npz(PARTS, labels=self.labels)
        if self.motion is not None:
            files.write_json(MOTION, self.motion)
        if self.metrics:
            files.write_json(METRICS, self.metrics)


def learn_motion(
    job: TraceJob, config: TraceConfig, *, command: list[str] | None = None
) -> TraceRun | None:
    """Learn how the things in a video move, and write the folder of the run.

    command: the command line that the report shows, by default that of this process. Returns None
    in all processes but the first. The splits val and test are read only after the training. Raises
    ValueError for unusable input, before anything is written. An interrupted run keeps its
    checkpoint, and job.resume continues from it.
    """
    train = load_photographs(job.data, "train", downscale=job.downscale)
    times, frame_dt = check_training(job.data, train)
    device = tp.init(arch=job.device, seed=job.seed).device
    ranks = Ranks.from_environment(device)
    model = first_model(job, config, train, times[-1], frame_dt)
    folder = RunFolder(job.out)
    trainer = TraceTrainer(
        model, train, config, seed=job.seed, checkpoint=folder.checkpoint(TRACE), ranks=ranks
    )
    if ranks.rank == 0:
        folder.begin(
            {"run": job, "trace": config},
            results=RESULTS,
            checkpoints=(TRACE,),
            resume=job.resume,
            free=FREE,
        )
        folder.write_cameras(train.cameras, times=train.times)
    ranks.agree(0.0)  # nobody reads a checkpoint that the first process is about to remove
    if job.resume:
        trainer.resume()
    trainer.run()
    if ranks.rank:
        return None
    labels, motion = find_parts(model, times, job.parts, job.seed)
    run = TraceRun(
        folder=folder.path,
        job=job,
        config=config,
        model=model,
        times=times,
        cameras=train.cameras,
        labels=labels,
        motion=as_plain(motion),
    )
    run.save()  # the motion, whatever becomes of the pictures
    metrics = write_results(
        run, trainer.background, iterations=trainer.iteration, seconds=trainer.seconds
    )
    run = dataclasses.replace(run, metrics=folder.write_json(METRICS, metrics))
    write_report(run, trainer.losses, command)
    return run


def first_model(
    job: TraceJob, config: TraceConfig, train: Photographs, duration: float, frame_dt: float
) -> TraceModel:
    """Make the untrained model from the photographs of t = 0.

    duration: the last observed time, s; frame_dt: the time between observed times, s.
    """
    first = [k for k, time in enumerate(train.times) if abs(time) < 1e-6]
    cameras = [train.cameras[k] for k in first]
    center, half = scene_box(cameras)
    images = [(train.rgb[k].numpy(), train.alpha[k].numpy()) for k in first]
    points = carve(images, cameras, config.gaussians, center=center, half=half, seed=job.seed)
    torch.manual_seed(job.seed)  # the networks' first weights
    return TraceModel(
        GaussianModel(gaussians_at(*points, config.sh_degree)),
        config,
        center=center.tolist(),
        half_side=half,
        duration=duration,
        frame_dt=frame_dt,
    )
