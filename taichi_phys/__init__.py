"""Differentiable physics in Taichi with gradients in torch."""

import os


os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "0")  # read when taichi is imported, below


from taichi_phys.geometry.sampling import NothingEnclosedError as NothingEnclosedError
from taichi_phys.geometry.sampling import sample_box as sample_box
from taichi_phys.geometry.sampling import sample_cloud as sample_cloud
from taichi_phys.geometry.sampling import sample_mesh as sample_mesh
from taichi_phys.geometry.sampling import sample_sphere as sample_sphere
from taichi_phys.geometry.surfacing import SurfaceMesh as SurfaceMesh
from taichi_phys.geometry.surfacing import surface_mesh as surface_mesh
from taichi_phys.io.meshes import save_mesh as save_mesh
from taichi_phys.io.states import load_ply as load_ply
from taichi_phys.io.states import load_state as load_state
from taichi_phys.io.states import read_frames as read_frames
from taichi_phys.io.states import save_ply as save_ply
from taichi_phys.io.states import save_state as save_state
from taichi_phys.io.states import write_frames as write_frames
from taichi_phys.io.usd import UsdWriter as UsdWriter
from taichi_phys.io.vtk import write_vtk as write_vtk
from taichi_phys.materials import MATERIALS as MATERIALS
from taichi_phys.materials import PRESETS as PRESETS
from taichi_phys.materials import Elastic as Elastic
from taichi_phys.materials import Elastoplastic as Elastoplastic
from taichi_phys.materials import FixedCorotated as FixedCorotated
from taichi_phys.materials import Fluid as Fluid
from taichi_phys.materials import Hencky as Hencky
from taichi_phys.materials import HerschelBulkley as HerschelBulkley
from taichi_phys.materials import Material as Material
from taichi_phys.materials import Sand as Sand
from taichi_phys.materials import Snow as Snow
from taichi_phys.materials import Solid as Solid
from taichi_phys.materials import Viscoplastic as Viscoplastic
from taichi_phys.materials import preset as preset
from taichi_phys.materials import register as register
from taichi_phys.materials import spectral_law as spectral_law
from taichi_phys.mpm.body_contact import BodyContact as BodyContact
from taichi_phys.mpm.colliders import Box as Box
from taichi_phys.mpm.colliders import Capsule as Capsule
from taichi_phys.mpm.colliders import Mesh as Mesh
from taichi_phys.mpm.colliders import Plane as Plane
from taichi_phys.mpm.colliders import Sphere as Sphere
from taichi_phys.mpm.engine import SimulationError as SimulationError
from taichi_phys.mpm.forces import Acceleration as Acceleration
from taichi_phys.mpm.forces import AirVelocity as AirVelocity
from taichi_phys.mpm.forces import Drag as Drag
from taichi_phys.mpm.forces import ForceField as ForceField
from taichi_phys.mpm.forces import Noise as Noise
from taichi_phys.mpm.forces import Triplane as Triplane
from taichi_phys.mpm.forces import Uniform as Uniform
from taichi_phys.mpm.forces import Vortex as Vortex
from taichi_phys.mpm.grid import Grid as Grid
from taichi_phys.mpm.particles import Particles as Particles
from taichi_phys.mpm.particles import State as State
from taichi_phys.mpm.poses import moving as moving
from taichi_phys.mpm.reactions import Reactions as Reactions
from taichi_phys.mpm.recorded import RecordedForce as RecordedForce
from taichi_phys.mpm.recorded import SampledAir as SampledAir
from taichi_phys.mpm.recorded import recorded_force as recorded_force
from taichi_phys.mpm.rigid_bodies import RigidBody as RigidBody
from taichi_phys.mpm.rigid_bodies import RigidState as RigidState
from taichi_phys.mpm.solver import MPM as MPM
from taichi_phys.runtime import init as init
from taichi_phys.scenes.scene import load_scene as load_scene
from taichi_phys.version import __version__ as __version__
