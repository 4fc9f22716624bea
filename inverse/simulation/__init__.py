"""The run of a scene file: simulation, film and report."""

from inverse.simulation.job import SceneJob as SceneJob
from inverse.simulation.run import SceneRun as SceneRun
from inverse.simulation.simulate import check_scene as check_scene
from inverse.simulation.simulate import run_scene as run_scene


__all__ = ["SceneJob", "SceneRun", "check_scene", "run_scene"]
