"""TRACE: the motion of every Gaussian of a scene, learned from multi-view video, and its future."""

from inverse.trace.config import PRESETS as PRESETS
from inverse.trace.config import TraceConfig as TraceConfig
from inverse.trace.config import TraceJob as TraceJob
from inverse.trace.learn import learn_motion as learn_motion
from inverse.trace.model import TraceModel as TraceModel
from inverse.trace.run import TraceRun as TraceRun
from inverse.trace.trainer import TraceTrainer as TraceTrainer


__all__ = [
    "PRESETS",
    "TraceConfig",
    "TraceJob",
    "TraceModel",
    "TraceRun",
    "TraceTrainer",
    "learn_motion",
]
