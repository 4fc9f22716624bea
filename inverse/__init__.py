"""What moved this, and what happens next: forces, motions and splats from video.

The names below are imported when they are first used, so that importing this package is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from inverse.export import ExportJob as ExportJob
    from inverse.export import export_run as export_run
    from inverse.fitting import FitConfig as FitConfig
    from inverse.fitting import FitJob as FitJob
    from inverse.fitting import FitRun as FitRun
    from inverse.fitting import fit_splats as fit_splats
    from inverse.identification import MaterialConfig as MaterialConfig
    from inverse.identification import MaterialJob as MaterialJob
    from inverse.identification import MaterialRun as MaterialRun
    from inverse.identification import fit_material as fit_material
    from inverse.lifting import LiftConfig as LiftConfig
    from inverse.lifting import Targets as Targets
    from inverse.lifting import targets_from_video as targets_from_video
    from inverse.materials import Substance as Substance
    from inverse.materials import find_substance as find_substance
    from inverse.metrics import image_metrics as image_metrics
    from inverse.metrics import lpips as lpips
    from inverse.metrics import motion_fidelity as motion_fidelity
    from inverse.metrics import psnr as psnr
    from inverse.metrics import ssim as ssim
    from inverse.metrics import vector_errors as vector_errors
    from inverse.opening import open_run as open_run
    from inverse.perception import ObjectModel as ObjectModel
    from inverse.perception import constant_depth as constant_depth
    from inverse.perception import grabcut_mask as grabcut_mask
    from inverse.perception import load_depth as load_depth
    from inverse.perception import load_mask as load_mask
    from inverse.perception import load_masks as load_masks
    from inverse.perception import object_model as object_model
    from inverse.perception import refine_on_image as refine_on_image
    from inverse.perception.networks import find_box as find_box
    from inverse.perception.networks import network_depth as network_depth
    from inverse.runs.plots import plot_components as plot_components
    from inverse.runs.plots import plot_lines as plot_lines
    from inverse.runs.report import Report as Report
    from inverse.simulation import SceneJob as SceneJob
    from inverse.simulation import SceneRun as SceneRun
    from inverse.simulation import run_scene as run_scene
    from inverse.sweep import SweepJob as SweepJob
    from inverse.sweep import run_sweep as run_sweep
    from inverse.trace import TraceConfig as TraceConfig
    from inverse.trace import TraceJob as TraceJob
    from inverse.trace import TraceRun as TraceRun
    from inverse.trace import learn_motion as learn_motion
    from inverse.tracking import Tracks as Tracks
    from inverse.tracking import camera_rotation as camera_rotation
    from inverse.tracking import load_tracks as load_tracks
    from inverse.tracking import track_cotracker as track_cotracker
    from inverse.tracking import track_lucas_kanade as track_lucas_kanade
    from inverse.wind import WindConfig as WindConfig
    from inverse.wind import WindJob as WindJob
    from inverse.wind import WindRun as WindRun
    from inverse.wind import recover_wind as recover_wind

_HOMES = {  # of the public names
    "ExportJob": "inverse.export",
    "FitConfig": "inverse.fitting",
    "FitJob": "inverse.fitting",
    "FitRun": "inverse.fitting",
    "LiftConfig": "inverse.lifting",
    "MaterialConfig": "inverse.identification",
    "MaterialJob": "inverse.identification",
    "MaterialRun": "inverse.identification",
    "ObjectModel": "inverse.perception",
    "Report": "inverse.runs.report",
    "SceneJob": "inverse.simulation",
    "SceneRun": "inverse.simulation",
    "Substance": "inverse.materials",
    "SweepJob": "inverse.sweep",
    "Targets": "inverse.lifting",
    "TraceConfig": "inverse.trace",
    "TraceJob": "inverse.trace",
    "TraceRun": "inverse.trace",
    "Tracks": "inverse.tracking",
    "WindConfig": "inverse.wind",
    "WindJob": "inverse.wind",
    "WindRun": "inverse.wind",
    "camera_rotation": "inverse.tracking",
    "constant_depth": "inverse.perception",
    "export_run": "inverse.export",
    "find_box": "inverse.perception.networks",
    "find_substance": "inverse.materials",
    "fit_material": "inverse.identification",
    "fit_splats": "inverse.fitting",
    "grabcut_mask": "inverse.perception",
    "image_metrics": "inverse.metrics",
    "learn_motion": "inverse.trace",
    "load_depth": "inverse.perception",
    "load_mask": "inverse.perception",
    "load_masks": "inverse.perception",
    "load_tracks": "inverse.tracking",
    "lpips": "inverse.metrics",
    "motion_fidelity": "inverse.metrics",
    "network_depth": "inverse.perception.networks",
    "object_model": "inverse.perception",
    "open_run": "inverse.opening",
    "plot_components": "inverse.runs.plots",
    "plot_lines": "inverse.runs.plots",
    "psnr": "inverse.metrics",
    "recover_wind": "inverse.wind",
    "refine_on_image": "inverse.perception",
    "run_scene": "inverse.simulation",
    "run_sweep": "inverse.sweep",
    "ssim": "inverse.metrics",
    "targets_from_video": "inverse.lifting",
    "track_cotracker": "inverse.tracking",
    "track_lucas_kanade": "inverse.tracking",
    "vector_errors": "inverse.metrics",
}

__all__ = [*_HOMES]

if not TYPE_CHECKING:  # a type checker would accept any name because of __getattr__

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
