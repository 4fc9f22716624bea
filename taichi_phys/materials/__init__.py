"""Materials: parameters, stress and return map; one registry, by name."""

from taichi_phys.materials.base import MATERIALS as MATERIALS
from taichi_phys.materials.base import Law as Law
from taichi_phys.materials.base import Material as Material
from taichi_phys.materials.base import Solid as Solid
from taichi_phys.materials.base import lame as lame
from taichi_phys.materials.base import register as register
from taichi_phys.materials.elastic import Elastic as Elastic
from taichi_phys.materials.elastic import FixedCorotated as FixedCorotated
from taichi_phys.materials.elastic import Hencky as Hencky
from taichi_phys.materials.elastoplastic import Elastoplastic as Elastoplastic
from taichi_phys.materials.fluid import Fluid as Fluid
from taichi_phys.materials.presets import PRESETS as PRESETS
from taichi_phys.materials.presets import preset as preset
from taichi_phys.materials.sand import Sand as Sand
from taichi_phys.materials.snow import Snow as Snow
from taichi_phys.materials.spectral import pull as pull
from taichi_phys.materials.spectral import spectral_law as spectral_law
from taichi_phys.materials.viscoplastic import HerschelBulkley as HerschelBulkley
from taichi_phys.materials.viscoplastic import Viscoplastic as Viscoplastic
