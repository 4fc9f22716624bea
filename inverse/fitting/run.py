"""The folder of a fit: what it holds, and how it is read again."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from inverse.fitting.config import FitConfig, FitJob
from inverse.runs.folder import METRICS, REPORT, VIDEO, RunFolder
from renderers.camera import Camera
from renderers.splats.files import load_gaussians
from renderers.splats.gaussians import Gaussians


GAUSSIANS = "gaussians.ply"
RESULTS = (GAUSSIANS, METRICS, VIDEO, REPORT)
FIT = "fit.pt"  # the checkpoint
# Settings that may differ when a fit is resumed: the photographs are compared, not their folder.
FREE = ("run.data", "run.out", "run.turntable", "run.resume", "run.device")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FitRun:
    """A finished fit.

    folder: its folder; job, config: its settings; gaussians: the fitted Gaussians; metrics: the
    record of metrics.json; cameras: those of the training photographs.
    """

    KEYS: ClassVar[tuple[str, ...]] = ("run", "fit")  # of config.json

    folder: Path
    job: FitJob
    config: FitConfig
    gaussians: Gaussians
    metrics: dict[str, Any]
    cameras: list[Camera]

    @classmethod
    def load(cls, folder: str | Path) -> "FitRun":
        """Read the run in a folder. Raises ValueError, in one sentence, if a file is unreadable."""
        files = RunFolder(folder)
        return cls(
            folder=files.path,
            job=files.settings(FitJob, "run"),
            config=files.settings(FitConfig, "fit"),
            gaussians=load_gaussians(files.need(GAUSSIANS)),
            metrics=files.read_json(METRICS) if (files / METRICS).exists() else {},
            cameras=files.read_cameras()[0],
        )
