"""Seeing the wind: the force that moves an object in a video."""

from inverse.wind.config import WindConfig as WindConfig
from inverse.wind.config import WindJob as WindJob
from inverse.wind.recover import recover_wind as recover_wind
from inverse.wind.run import WindRun as WindRun
from inverse.wind.solver import WindResult as WindResult
from inverse.wind.solver import WindSolver as WindSolver


__all__ = ["WindConfig", "WindJob", "WindResult", "WindRun", "WindSolver", "recover_wind"]
