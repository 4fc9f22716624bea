"""TRACE: how every Gaussian of a scene moves, from multi-view video, and what happens next."""

from inverse.trace.config import PRESETS, TraceConfig
from inverse.trace.model import TraceModel
from inverse.trace.trainer import TraceTrainer


__all__ = ["PRESETS", "TraceConfig", "TraceModel", "TraceTrainer"]
