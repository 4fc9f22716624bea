"""Snow: elasticity that hardens when it is compressed, and breaks when it is stretched.

The law of Stomakhin et al. 2013. On the principal stretches s of the trial deformation, with J_P
the volume of the plastic deformation, of which the internal variable is the logarithm:

    elastic part    s_e = min(max(s, 1 - critical_compression), 1 + critical_stretch)
    plastic part    J_P <- J_P prod(s / s_e)
    hardening       h = exp(hardening_coefficient (1 - J_P))
    stress          tau = h (2 mu s_e (s_e - 1) + lam J_e (J_e - 1)),  J_e = prod(s_e)

The stress is that of the fixed corotated solid.
"""

import dataclasses

import torch

from taichi_phys.language import ti
from taichi_phys.linalg import diagonal, from_eigenframe, sym, sym_eig, to_eigenframe
from taichi_phys.materials.base import Law, Solid, register


@ti.func
def _return_map(F, plastic, params):
    """The stretches, their elastic part, the eigenvectors of F F^T and the internal variable."""
    eig, U = sym_eig(F @ F.transpose())
    s = ti.sqrt(eig)
    elastic = ti.min(ti.max(s, 1.0 - params[2]), 1.0 + params[3])
    now = plastic
    for d in ti.static(range(3)):
        if s[d] != elastic[d]:
            now += ti.log(s[d] / elastic[d])
    return s, elastic, U, now


@ti.func
def snow(F, C, plastic, params, dt):
    """The stress of one particle, after its deformation is brought back to what snow can bear."""
    mu, lam = params[0], params[1]
    s, elastic, U, now = _return_map(F, plastic, params)
    h = ti.exp(params[4] * (1.0 - ti.exp(now)))
    J = elastic[0] * elastic[1] * elastic[2]
    tau = h * (2.0 * mu * elastic * (elastic - 1.0) + lam * J * (J - 1.0))
    F_elastic = F
    if ti.abs(s - elastic).max() > 0:
        F_elastic += from_eigenframe(U, diagonal(elastic / s - 1.0)) @ F
    return F_elastic, from_eigenframe(U, diagonal(tau)), now


@ti.func
def snow_adjoint(F, C, plastic, params, dt, gF_elastic, gtau, gplastic):
    """Off the diagonal of the eigenframe, divided differences of s_e (s_e - 1) and of s_e / s.

    Both follow from that of s_e, D = (s_e,i - s_e,j) / (s_i - s_j), in which nothing cancels but
    the stretches themselves, and which is 1 or 0 where they are equal.
    """
    mu, lam, hardening = params[0], params[1], params[4]
    s, elastic, U, now = _return_map(F, plastic, params)
    J_P = ti.exp(now)
    h = ti.exp(hardening * (1.0 - J_P))
    J = elastic[0] * elastic[1] * elastic[2]
    T = to_eigenframe(U, sym(gtau))
    H = to_eigenframe(U, sym(gF_elastic @ F.transpose()))
    shear = ti.zero(h)
    for i in ti.static(range(3)):
        shear += 2.0 * T[i, i] * elastic[i] * (elastic[i] - 1.0)
    bulk = T.trace() * J * (J - 1.0)
    gh = mu * shear + lam * bulk
    gnow = gplastic - gh * h * hardening * J_P
    gparams, gb = ti.zero(params), ti.zero(F)
    gparams[0], gparams[1], gparams[4] = h * shear, h * bulk, gh * h * (1.0 - J_P)
    for i in ti.static(range(3)):
        gelastic = h * 2.0 * mu * T[i, i] * (2.0 * elastic[i] - 1.0) - gnow / elastic[i]
        gelastic += h * lam * T.trace() * (2.0 * J - 1.0) * J / elastic[i] + H[i, i] / s[i]
        gs = gnow / s[i] - H[i, i] * elastic[i] / (s[i] * s[i])
        if s[i] == elastic[i]:
            gs += gelastic
        elif s[i] < elastic[i]:
            gparams[2] -= gelastic
        else:
            gparams[3] += gelastic
        gb[i, i] = gs / (2.0 * s[i])
    for i, j in ti.static(((0, 1), (0, 2), (1, 2))):
        D = ti.zero(h)
        if s[i] != s[j]:
            D = (elastic[i] - elastic[j]) / (s[i] - s[j])
        elif s[i] == elastic[i]:
            D += 1.0
        slope = h * 2.0 * mu * T[i, j] * D * (elastic[i] + elastic[j] - 1.0)
        slope += H[i, j] * (D * s[i] - elastic[i]) / (s[i] * s[j])
        gb[i, j] = slope / (s[i] + s[j])
        gb[j, i] = gb[i, j]
    gF = gF_elastic + from_eigenframe(U, diagonal(elastic / s - 1.0)) @ gF_elastic
    gF += 2.0 * from_eigenframe(U, gb) @ F
    return gF, ti.zero(F), gnow, gparams


@register
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Snow(Solid):
    """Snow that packs when it is compressed and crumbles when it is stretched (Stomakhin 2013).

    E: Young's modulus at first, Pa, > 0; nu: Poisson's ratio, in (-1, 0.5); critical_compression,
    critical_stretch: strains of an axis beyond which the deformation stays, in (0, 1) and > 0;
    hardening_coefficient: logarithm of the stiffening when all volume is lost, >= 0. The defaults
    are those of the paper; chunky snow breaks later, icy snow is stiffer. Raises ValueError.
    """

    law = Law(
        "snow",
        ("mu", "lam", "critical_compression", "critical_stretch", "hardening_coefficient"),
        snow,
        snow_adjoint,
    )
    positive = ("E", "critical_stretch")
    non_negative = ("hardening_coefficient",)
    within = {**Solid.within, "critical_compression": "(0, 1)"}

    critical_compression: float | torch.Tensor = 0.025
    critical_stretch: float | torch.Tensor = 0.0075
    hardening_coefficient: float | torch.Tensor = 10.0

    def stiffening(self, plastic: torch.Tensor) -> torch.Tensor:
        """(n,) factors h by which packed snow is stiffer, and crumbled snow softer."""
        coefficient = torch.as_tensor(self.hardening_coefficient).to(plastic)
        return torch.exp(coefficient * (1 - plastic.exp()))
