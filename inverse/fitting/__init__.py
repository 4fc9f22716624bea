"""Fitting Gaussians to photographs of a static scene, to show the scene from anywhere."""

from inverse.fitting.config import FitConfig as FitConfig
from inverse.fitting.config import FitJob as FitJob
from inverse.fitting.fit import fit_splats as fit_splats
from inverse.fitting.fitter import Fitter as Fitter
from inverse.fitting.model import GaussianModel as GaussianModel
from inverse.fitting.run import FitRun as FitRun


__all__ = ["FitConfig", "FitJob", "FitRun", "Fitter", "GaussianModel", "fit_splats"]
