"""Weakly compressible, viscous (Newtonian) fluid.

pressure  p = bulk_modulus / gamma (J^-gamma - 1)      (Murnaghan-Tait, the equation of state
stress    tau = -J p I + 2 viscosity J dev(sym C)       of weakly compressible SPH and MPM)
memory    F_elastic = J^(1/3) I: only the volume change of the deformation is kept
"""

import dataclasses

import torch

from taichi_phys.language import ti
from taichi_phys.linalg import cofactor, sym
from taichi_phys.materials.base import Law, Material, register


@ti.func
def newtonian(F, C, plastic, params, dt):
    """The stress of one particle, and its deformation reduced to the volume change."""
    bulk_modulus, viscosity, gamma = params[0], params[1], params[2]
    J = F.determinant()
    log_J = ti.log(J)
    pressure = bulk_modulus / gamma * (ti.exp(-gamma * log_J) - 1.0)
    tau = 2.0 * viscosity * J * sym(C)
    mean = -J * (pressure + viscosity * C.trace() * 2.0 / 3.0)
    size = ti.exp(log_J / 3.0)
    F_elastic = ti.zero(F)
    for d in ti.static(range(3)):
        tau[d, d] += mean
        F_elastic[d, d] = size
    return F_elastic, tau, plastic


@ti.func
def newtonian_adjoint(F, C, plastic, params, dt, gF_elastic, gtau, gplastic):
    """d J = cof(F) : dF, d J^-gamma = -gamma J^-gamma dJ / J."""
    bulk_modulus, viscosity, gamma = params[0], params[1], params[2]
    J = F.determinant()
    log_J = ti.log(J)
    power = ti.exp(-gamma * log_J)
    pressure = bulk_modulus / gamma * (power - 1.0)
    G = sym(gtau)
    trace = G.trace()
    for d in ti.static(range(3)):
        G[d, d] -= trace / 3.0
    shear = 2.0 * (G * C).sum()  # gtau : 2 dev(sym C)
    gJ = trace * (bulk_modulus * power - pressure) + viscosity * shear
    gJ += gF_elastic.trace() * ti.exp(log_J / 3.0) / (3.0 * J)
    gparams = ti.zero(params)
    gparams[0] = -trace * J * (power - 1.0) / gamma
    gparams[1] = J * shear
    gparams[2] = trace * J * (pressure + bulk_modulus * power * log_J) / gamma
    return gJ * cofactor(F), 2.0 * viscosity * J * G, gplastic, gparams


@register
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Fluid(Material):
    """Viscous fluid that resists compression and, as much, tension (water, oil, honey).

    bulk_modulus: Pa, > 0; it sets the speed of sound sqrt(bulk_modulus / density), and a value
    below the real one allows longer time steps; viscosity: dynamic viscosity, Pa s, >= 0; gamma:
    exponent of the equation of state, > 0, 7 for water. Raises ValueError.
    """

    law = Law("newtonian", ("bulk_modulus", "viscosity", "gamma"), newtonian, newtonian_adjoint)
    positive = ("bulk_modulus", "gamma")
    non_negative = ("viscosity",)

    bulk_modulus: float | torch.Tensor
    viscosity: float | torch.Tensor = 0.0
    gamma: float | torch.Tensor = 7.0

    def stiffness(self, n: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """(n,) bulk modulus at rest, Pa."""
        return self.columns(n, dtype, device)["bulk_modulus"]

    def explicit_viscosity(self, n: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """(n,) viscosity, Pa s."""
        return self.columns(n, dtype, device)["viscosity"]
