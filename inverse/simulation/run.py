"""The folder of a scene's run: what it holds, and how it is read again."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import taichi_phys as tp
from inverse.runs.folder import METRICS, REPORT, VIDEO, RunFolder
from inverse.simulation.job import SceneJob
from inverse.simulation.simulation import FRAMES, STATE
from taichi_phys.io.states import Frames
from taichi_phys.scenes.scene import Scene
from taichi_phys.scenes.settings import scene_from_settings


RESULTS = (METRICS, VIDEO, REPORT)
# Settings that may differ when a run is resumed: how much is simulated, and how it looks.
FREE = ("run", "environment", "scene.camera", "scene.title", "scene.time.frames")
FREE += tuple(
    f"scene.output.{key}" for key in ("video", "report", "color", "limits", "colormap", "radius")
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SceneRun:
    """The run of a scene.

    folder: its folder; job: its settings; scene: the simulated scene; frames: the frames that were
    written, None if the scene keeps none; state: the state after the last frame; metrics: the
    record of metrics.json.
    """

    KEYS: ClassVar[tuple[str, ...]] = ("run", "scene")  # of config.json

    folder: Path
    job: SceneJob
    scene: Scene
    frames: Frames | None
    state: tp.State
    metrics: dict[str, Any]

    @classmethod
    def load(cls, folder: str | Path) -> "SceneRun":
        """Read the run in a folder, which need not be finished.

        Raises ValueError, in one sentence, if a file cannot be read.
        """
        files = RunFolder(folder)
        job = files.settings(SceneJob, "run")
        settings = files.config("scene")["scene"]
        try:
            scene = scene_from_settings(settings, job.scene)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{files.path / 'config.json'}: {error}") from None
        kept = scene.output.frames != "none" or (files / FRAMES).exists()
        return cls(
            folder=files.path,
            job=job,
            scene=scene,
            frames=tp.read_frames(files / FRAMES) if kept else None,
            state=tp.load_state(files.need(f"checkpoints/{STATE}")),
            metrics=files.read_json(METRICS) if (files / METRICS).exists() else {},
        )
