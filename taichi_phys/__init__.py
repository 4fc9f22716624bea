"""Differentiable physics in Taichi with gradients in torch."""

import os


os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "0")  # read when taichi is imported, below


from taichi_phys.materials import MATERIALS as MATERIALS
from taichi_phys.materials import Elastic as Elastic
from taichi_phys.materials import Elastoplastic as Elastoplastic
from taichi_phys.materials import Material as Material
from taichi_phys.materials import Viscoplastic as Viscoplastic
from taichi_phys.mpm.grid import Grid as Grid
from taichi_phys.mpm.particles import Particles as Particles
from taichi_phys.mpm.particles import State as State
from taichi_phys.mpm.rollout import SimulationError as SimulationError
from taichi_phys.mpm.solver import MPM as MPM
from taichi_phys.runtime import init as init
