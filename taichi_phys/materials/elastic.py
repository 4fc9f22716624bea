"""Neo-Hookean elasticity in invariants: no decomposition, well conditioned at F = I."""

import dataclasses

import taichi as ti

from taichi_phys.linalg import cofactor
from taichi_phys.materials.base import Law, Material


@ti.func
def neo_hookean(F, params, dt):
    """tau = mu (F F^T - I) + lam ln J I (Bonet & Wood, eq. 6.28); no plastic flow."""
    mu, lam = params[0], params[1]
    tau = mu * (F @ F.transpose())
    pressure = lam * ti.log(F.determinant()) - mu
    for d in ti.static(range(3)):
        tau[d, d] += pressure
    return F, tau


@ti.func
def neo_hookean_adjoint(F, params, dt, gF_elastic, gtau):
    """d tau = mu (dF F^T + F dF^T) + lam (F^-T : dF) I."""
    mu, lam = params[0], params[1]
    J = F.determinant()
    G = gtau + gtau.transpose()
    gF = gF_elastic + mu * (G @ F) + lam * gtau.trace() / J * cofactor(F)
    gparams = ti.zero(params)
    gparams[0] = (0.5 * (G @ F) * F).sum() - gtau.trace()
    gparams[1] = gtau.trace() * ti.log(J)
    return gF, gparams


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Elastic(Material):
    """Hyperelastic solid (compressible neo-Hookean).

    E: Young's modulus, Pa, > 0; nu: Poisson's ratio, in (-1, 0.5). Raises ValueError.
    """

    law = Law("neo_hookean", neo_hookean, neo_hookean_adjoint)
