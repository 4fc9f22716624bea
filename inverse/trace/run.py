"""The folder of a TRACE run: what it holds, and how it is written and read again."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from inverse.runs.folder import CAMERAS, METRICS, REPORT, VIDEO, RunFolder
from inverse.trace.config import TraceConfig, TraceJob
from inverse.trace.model import TraceModel
from renderers.camera import Camera


MOTION, PARTS = "motion.json", "parts.npz"
RESULTS = (MOTION, PARTS, METRICS, VIDEO, REPORT)
TRACE = "trace.pt"  # the checkpoint
# Settings that may differ when a run is resumed: the photographs are compared, not their folder.
FREE = ("run.data", "run.out", "run.future", "run.resume", "run.update", "run.device")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TraceRun:
    """A TRACE run, which need not be finished.

    folder: its folder; job, config: its settings; model: the learned model; times: the observed
    times, s, ascending; cameras: those of the training photographs; start: the time of the data, in
    its unit, at which the times of the run are 0; origin: (3,) m, the place in the world of the
    data that is the origin of the run's, None if they are the same; labels: (n,) int, the part of
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
    start: float = 0.0
    origin: np.ndarray | None = None
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
            start=float(more.get("start", 0.0)),
            origin=None if more.get("origin") is None else np.array(more["origin"], dtype=float),
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
