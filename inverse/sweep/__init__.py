"""Sweeps: many runs of a command over values of its parameters."""

from inverse.sweep.config import SweepJob as SweepJob
from inverse.sweep.plan import Plan as Plan
from inverse.sweep.plan import PlannedRun as PlannedRun
from inverse.sweep.plan import load_plan as load_plan
from inverse.sweep.run import run_sweep as run_sweep


__all__ = ["Plan", "PlannedRun", "SweepJob", "load_plan", "run_sweep"]
