"""The folder of a search for a material: what it holds, and how it is read again."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from inverse.identification.config import MaterialConfig, MaterialJob
from inverse.runs.folder import METRICS, REPORT, RunFolder


MOTION = "motion.npz"
RESULTS = (MOTION, METRICS, REPORT)
SEARCH = "search.pt"  # the checkpoint
# Settings that may differ when a run is resumed: what files hold is compared, not their names.
FREE = tuple(
    f"run.{name}"
    for name in ("motion", "video", "camera", "masks", "model", "mesh", "scene", "force", "out",
                 "resume", "device")
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MaterialRun:
    """A finished search.

    folder: where it is; job, config: its settings; t: (T,) s; x: (T, n, 3) m, the simulated
    particles with the values that were found; metrics: the record of metrics.json, whose `values`
    has a record for each: value, low and high of the 95 % interval, told (whether the motion tells
    it), unit.
    """

    KEYS: ClassVar[tuple[str, ...]] = ("run", "search")  # of config.json

    folder: Path
    job: MaterialJob
    config: MaterialConfig
    t: np.ndarray
    x: np.ndarray
    metrics: dict[str, Any]

    @classmethod
    def load(cls, folder: str | Path) -> "MaterialRun":
        """Read the run in a folder. Raises ValueError, in one sentence, if a file is unreadable."""
        files = RunFolder(folder)
        t, x = files.read_npz(MOTION, "t", "x")
        return cls(
            folder=files.path,
            job=files.settings(MaterialJob, "run"),
            config=files.settings(MaterialConfig, "search"),
            t=t,
            x=x,
            metrics=files.read_json(METRICS),
        )
