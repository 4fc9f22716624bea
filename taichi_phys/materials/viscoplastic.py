"""Viscoplastic solids: the von Mises law with a viscosity that slows the flow."""

import dataclasses

import torch

from taichi_phys.materials.base import Material
from taichi_phys.materials.elastoplastic import VON_MISES


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Viscoplastic(Material):
    """Solid that creeps beyond a von Mises yield stress (foam, cream, toothpaste).

    E: Young's modulus, Pa, > 0; nu: Poisson's ratio, in (-1, 0.5); yield_stress: uniaxial, Pa,
    > 0; viscosity: Pa s, >= 0; the overstress decays with time constant viscosity / (2 mu).
    Raises ValueError.
    """

    law = VON_MISES
    positive = ("E", "yield_stress")
    non_negative = ("viscosity",)

    yield_stress: float | torch.Tensor
    viscosity: float | torch.Tensor
