"""Viscoplastic solids: the von Mises law with a viscosity that slows the flow."""

import dataclasses

import torch

from taichi_phys.materials.base import Solid, register
from taichi_phys.materials.von_mises import VON_MISES


@register
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Viscoplastic(Solid):
    """Solid that creeps beyond a von Mises yield stress, with Perzyna's law (foam, cream).

    E: Young's modulus, Pa, > 0; nu: Poisson's ratio, in (-1, 0.5); yield_stress: yield stress in
    uniaxial tension, Pa, > 0; viscosity: Pa s, >= 0; hardening: growth of the yield stress per
    equivalent plastic strain, Pa, >= 0. Raises ValueError.

    The stress beyond yield decays with the time constant viscosity / (2 mu). A rheometer in simple
    shear measures a plastic viscosity of viscosity / 2.
    """

    law = VON_MISES
    positive = ("E", "yield_stress")
    non_negative = ("viscosity", "hardening")
    fixed = {"exponent": 1.0}

    yield_stress: float | torch.Tensor
    viscosity: float | torch.Tensor
    hardening: float | torch.Tensor = 0.0


@register
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class HerschelBulkley(Solid):
    """Solid that creeps beyond a yield stress, more easily the faster it flows (toothpaste, mud).

    E: Young's modulus, Pa, > 0; nu: Poisson's ratio, in (-1, 0.5); yield_stress: yield stress in
    uniaxial tension, Pa, > 0, which is sqrt(3) times the yield stress in simple shear; viscosity:
    Pa s^exponent, >= 0, twice the consistency in simple shear; exponent: flow index, in (0, 1],
    where 1 gives `Viscoplastic`; hardening: growth of the yield stress per equivalent plastic
    strain, Pa, >= 0. Raises ValueError.
    """

    law = VON_MISES
    positive = ("E", "yield_stress")
    non_negative = ("viscosity", "hardening")
    within = {**Solid.within, "exponent": "(0, 1]"}

    yield_stress: float | torch.Tensor
    viscosity: float | torch.Tensor
    exponent: float | torch.Tensor
    hardening: float | torch.Tensor = 0.0
