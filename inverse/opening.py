"""Opening a run of any kind."""

from pathlib import Path

from inverse.fitting.run import FitRun
from inverse.identification.run import MaterialRun
from inverse.runs.folder import CONFIG, RunFolder
from inverse.simulation.run import SceneRun
from inverse.trace.run import TraceRun
from inverse.wind.run import WindRun


AnyRun = WindRun | TraceRun | FitRun | SceneRun | MaterialRun
RUNS = (WindRun, TraceRun, FitRun, SceneRun, MaterialRun)


def open_run(folder: str | Path) -> AnyRun:
    """Open the run in a folder: a WindRun, TraceRun, FitRun, SceneRun or MaterialRun.

    Raises ValueError, in one sentence, if the folder holds no run, or one whose results are not
    complete enough to be opened.
    """
    run_folder = RunFolder(folder)
    if not (run_folder / CONFIG).is_file():
        raise ValueError(f"{folder}: not the folder of a run, since it has no {CONFIG}")
    config = run_folder.config()
    for run in RUNS:
        if all(key in config for key in run.KEYS):
            return run.load(folder)
    raise ValueError(
        f"{run_folder / CONFIG}: expected the settings of a run of taichi-phys wind, trace, fit, "
        f"simulate or fit-material, got the keys {', '.join(map(repr, config)) or 'none'}"
    )
