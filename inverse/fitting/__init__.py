"""Fitting Gaussians to photographs: what a static scene looks like from anywhere."""

from inverse.fitting.config import FitConfig
from inverse.fitting.fitter import Fitter
from inverse.fitting.model import GaussianModel


__all__ = ["FitConfig", "Fitter", "GaussianModel"]
