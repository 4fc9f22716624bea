"""Elastic solids: neo-Hookean (without a matrix decomposition), fixed corotated and Hencky."""

import dataclasses

from taichi_phys.language import ti
from taichi_phys.linalg import cofactor, from_eigenframe, sym, sym_eig, to_eigenframe
from taichi_phys.materials.base import Law, Solid, register
from taichi_phys.materials.von_mises import NEVER_YIELDS, VON_MISES


@ti.func
def neo_hookean(F, C, plastic, params, dt):
    """tau = mu (F F^T - I) + lam ln J I (Bonet & Wood, eq. 6.28)."""
    mu, lam = params[0], params[1]
    tau = mu * (F @ F.transpose())
    pressure = lam * ti.log(F.determinant()) - mu
    for d in ti.static(range(3)):
        tau[d, d] += pressure
    return F, tau, plastic


@ti.func
def neo_hookean_adjoint(F, C, plastic, params, dt, gF_elastic, gtau, gplastic):
    """d tau = mu (dF F^T + F dF^T) + lam (F^-T : dF) I."""
    mu, lam = params[0], params[1]
    J = F.determinant()
    G = gtau + gtau.transpose()
    gF = gF_elastic + mu * (G @ F) + lam * gtau.trace() / J * cofactor(F)
    gparams = ti.zero(params)
    gparams[0] = (0.5 * (G @ F) * F).sum() - gtau.trace()
    gparams[1] = gtau.trace() * ti.log(J)
    return gF, ti.zero(F), gplastic, gparams


@ti.func
def fixed_corotated(F, C, plastic, params, dt):
    """tau = 2 mu (F - R) F^T + lam J (J - 1) I (Stomakhin et al. 2012).

    With F = V R and b = V^2, the first term is 2 mu (b - V), or 2 mu s (s - 1) on the principal
    stretches s.
    """
    mu, lam = params[0], params[1]
    eig, U = sym_eig(F @ F.transpose())
    J = F.determinant()
    T = ti.zero(F)
    for d in ti.static(range(3)):
        s = ti.sqrt(eig[d])
        T[d, d] = 2.0 * mu * s * (s - 1.0) + lam * J * (J - 1.0)
    return F, from_eigenframe(U, T), plastic


@ti.func
def fixed_corotated_adjoint(F, C, plastic, params, dt, gF_elastic, gtau, gplastic):
    """The divided difference of l - sqrt(l) is 1 - 1 / (s_i + s_j), also where s_i = s_j."""
    mu, lam = params[0], params[1]
    eig, U = sym_eig(F @ F.transpose())
    s = ti.sqrt(eig)
    J = F.determinant()
    T = to_eigenframe(U, sym(gtau))
    gb, gparams = ti.zero(F), ti.zero(params)
    for i, j in ti.static(ti.ndrange(3, 3)):
        gb[i, j] = 2.0 * mu * T[i, j] * (1.0 - 1.0 / (s[i] + s[j]))
    for i in ti.static(range(3)):
        gparams[0] += 2.0 * T[i, i] * s[i] * (s[i] - 1.0)
    gparams[1] = T.trace() * J * (J - 1.0)
    gF = gF_elastic + 2.0 * from_eigenframe(U, gb) @ F
    gF += T.trace() * lam * (2.0 * J - 1.0) * cofactor(F)
    return gF, ti.zero(F), gplastic, gparams


@register
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Elastic(Solid):
    """Hyperelastic solid with the law that is cheapest to compute (compressible neo-Hookean).

    E: Young's modulus, Pa, > 0; nu: Poisson's ratio, in (-1, 0.5). Raises ValueError.
    """

    law = Law("neo_hookean", ("mu", "lam"), neo_hookean, neo_hookean_adjoint)


@register
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FixedCorotated(Solid):
    """Hyperelastic solid whose stress stays finite when it is crushed (fixed corotated).

    E: Young's modulus, Pa, > 0; nu: Poisson's ratio, in (-1, 0.5). Raises ValueError.
    """

    law = Law("fixed_corotated", ("mu", "lam"), fixed_corotated, fixed_corotated_adjoint)


@register
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Hencky(Solid):
    """Hyperelastic solid with stress linear in the log strain: a von Mises solid without yield.

    E: Young's modulus, Pa, > 0; nu: Poisson's ratio, in (-1, 0.5). Raises ValueError.
    """

    law = VON_MISES
    fixed = NEVER_YIELDS
