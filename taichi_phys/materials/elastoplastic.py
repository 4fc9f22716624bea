"""Elastoplastic solids: von Mises plasticity that does not depend on the strain rate."""

import dataclasses

import torch

from taichi_phys.materials.base import Solid, register
from taichi_phys.materials.von_mises import RATE_FREE, VON_MISES


@register
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Elastoplastic(Solid):
    """Solid that flows instantly beyond a von Mises yield stress (plasticine, metal).

    E: Young's modulus, Pa, > 0; nu: Poisson's ratio, in (-1, 0.5); yield_stress: yield stress
    in uniaxial tension, Pa, > 0; hardening: growth of the yield stress per equivalent plastic
    strain, Pa, >= 0. Raises ValueError.
    """

    law = VON_MISES
    positive = ("E", "yield_stress")
    non_negative = ("hardening",)
    fixed = RATE_FREE

    yield_stress: float | torch.Tensor
    hardening: float | torch.Tensor = 0.0
