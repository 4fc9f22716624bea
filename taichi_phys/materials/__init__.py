"""Materials: parameters, stress and return map; one registry, by name."""

from taichi_phys.materials.base import Law as Law
from taichi_phys.materials.base import Material as Material
from taichi_phys.materials.base import lame as lame
from taichi_phys.materials.elastic import Elastic as Elastic
from taichi_phys.materials.elastoplastic import Elastoplastic as Elastoplastic
from taichi_phys.materials.viscoplastic import Viscoplastic as Viscoplastic


MATERIALS: dict[str, type[Material]] = {
    "elastic": Elastic,
    "elastoplastic": Elastoplastic,
    "viscoplastic": Viscoplastic,
}
