"""Sand: Drucker-Prager plasticity on Hencky strain, with cohesion and volume correction.

The law of Klar et al. 2016, written in the textbooks' p and q (of the Kirchhoff stress). With the
mean log strain m, the volume correction v (the internal variable, a log volume) and q = 3 mu size:

    pressure    p = -(2 mu + 3 lam) (m + v / 3)
    limit       q_max = M p + q_0     M = 6 sin(phi) / (3 - sin(phi)),  q_0 = M cohesion cot(phi):
                                      Mohr-Coulomb's strength in triaxial compression
    tip         if q_max < 0: e = 0, m = q_0 / (M (2 mu + 3 lam)), the largest possible tension
    cone        else if q > q_max: share = 1 - q_max / q        along the deviator: non-associative
    elastic     else: share = 0

The expansion at the tip is stored in v and given back when the sand is compressed again (Tampubolon
et al. 2017): m + v / 3 is conserved, and v = 0 away from the tip.
"""

import dataclasses
import math

import torch

from taichi_phys.language import ti
from taichi_phys.materials.base import Solid, register
from taichi_phys.materials.radial import radial_law


@ti.func
def _flow(size, m, mean_b, plastic, params, dt):
    mu, lam, M, q_0 = params[0], params[1], params[2], params[3]
    K3 = 2.0 * mu + 3.0 * lam
    volume = m + plastic / 3.0
    q, q_max = 3.0 * mu * size, q_0 - M * K3 * volume
    share, shift, plastic_now = ti.zero(size), plastic / 3.0, ti.zero(size)
    if q_max < 0 or (q_0 == 0 and volume > 0):  # the second case is sand without friction
        tip = ti.zero(size)
        if M > 0:
            tip = q_0 / (M * K3)
        share += 1.0
        shift = tip - m
        plastic_now = 3.0 * (volume - tip)
    elif q > q_max:
        share = 1.0 - q_max / q
    return share, shift, plastic_now


@ti.func
def _flow_adjoint(size, m, mean_b, plastic, params, dt, share, gshare, gshift, gplastic):
    mu, lam, M, q_0 = params[0], params[1], params[2], params[3]
    K3 = 2.0 * mu + 3.0 * lam
    volume = m + plastic / 3.0
    q, q_max = 3.0 * mu * size, q_0 - M * K3 * volume
    gsize, gm, gvolume, gK3 = ti.zero(size), ti.zero(size), ti.zero(size), ti.zero(size)
    gparams, gplastic_before = ti.zero(params), ti.zero(size)
    if q_max < 0 or (q_0 == 0 and volume > 0):
        gm = -gshift
        gvolume = 3.0 * gplastic
        if M > 0:
            gtip = gshift - 3.0 * gplastic
            gparams[2] = -gtip * q_0 / (M * M * K3)
            gparams[3] = gtip / (M * K3)
            gK3 = -gtip * q_0 / (M * K3 * K3)
    else:
        gplastic_before = gshift / 3.0
        if q > q_max:
            gq_max = -gshare / q
            gq = gshare * q_max / (q * q)
            gsize = 3.0 * mu * gq
            gvolume = -M * K3 * gq_max
            gK3 = -M * volume * gq_max
            gparams[0] = 3.0 * size * gq
            gparams[2] = -K3 * volume * gq_max
            gparams[3] = gq_max
    gm += gvolume
    gplastic_before += gvolume / 3.0
    gparams[0] += 2.0 * gK3
    gparams[1] = 3.0 * gK3
    return gsize, gm, ti.zero(size), gplastic_before, gparams


DRUCKER_PRAGER = radial_law(
    "drucker_prager", ("mu", "lam", "friction", "strength"), _flow, _flow_adjoint
)


@register
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Sand(Solid):
    """Grains whose shear strength is proportional to the pressure (sand, soil).

    E: Young's modulus, Pa, > 0; nu: Poisson's ratio, in (-1, 0.5); friction_angle: the angle of
    internal friction, degrees, in [0, 90); cohesion: shear strength at zero pressure, Pa, >= 0.
    Raises ValueError.

    The Drucker-Prager cone is fitted to friction_angle in triaxial compression. In simple shear, as
    on a slope, the same cone is stronger and has the tangent M / sqrt(3): sand with a friction
    angle of 26.3 degrees rests on a slope of 31 degrees.
    """

    law = DRUCKER_PRAGER
    non_negative = ("cohesion",)
    within = {**Solid.within, "friction_angle": "[0, 90)"}

    friction_angle: float | torch.Tensor
    cohesion: float | torch.Tensor = 0.0

    def columns(self, n: int, dtype: torch.dtype, device: torch.device) -> dict[str, torch.Tensor]:
        """The columns of `Solid.columns`, the slope M as friction and q_0, Pa, as strength."""
        columns = super().columns(n, dtype, device)
        phi = columns["friction_angle"] * (math.pi / 180)
        scale = 6 / (3 - phi.sin())
        strength = scale * columns["cohesion"] * phi.cos()
        return {**columns, "friction": scale * phi.sin(), "strength": strength}
