"""Von Mises plasticity with hardening and with the viscous flow of Perzyna or Herschel-Bulkley.

With the trial stress q = 3 mu size (von Mises equivalent), the equivalent plastic strain p, its
increment dp in a step (backward Euler) and the shear rate sqrt(3) dp / (dt tr(b) / 3):

    overstress   r = q - Y,  Y = yield_stress + hardening p
    balance      r = o + P dp,  P = 3 mu + hardening            (hardening and elastic unloading)
    viscosity    o = sqrt(3)/2 viscosity (shear rate)^exponent  (0: rate free)
    flow         share = dp / size,  p <- p + dp

In simple shear, the stress beyond yield is viscosity / 2 (shear rate)^exponent. With exponent 1,
the overstress decays with the time constant viscosity / (2 mu), as in Yue et al. 2015.
"""

import math

from taichi_phys.language import ti
from taichi_phys.materials.radial import radial_law


NEWTON_STEPS = 9  # reach rounding in f64: 6 steps for an exponent >= 0.3, 9 steps for 0.01


@ti.func
def _plastic_step(r, P, mean_b, viscosity, exponent, dt):
    """The plastic strain increment dp for an overstress r > 0.

    With o = r exp(v), the balance is exp(v) + exp(log_beta + v / exponent) = 1. Its left side is
    convex and increases with v, so that Newton's method from a v above the root descends to the
    root without overflow.
    """
    dp = r / (P + 1.5 * viscosity / (dt * mean_b))
    if exponent != 1 and viscosity > 0:
        root3 = ti.sqrt(ti.zero(r) + 3.0)
        log_rate = ti.log(P * dt * mean_b / root3)
        log_beta = log_rate - ti.log(r) + (ti.log(r) - ti.log(0.5 * root3 * viscosity)) / exponent
        v = ti.min(0.0, -exponent * log_beta)
        for _ in range(NEWTON_STEPS):
            kept, flown = ti.exp(v), ti.exp(log_beta + v / exponent)
            v -= (kept + flown - 1.0) / (kept + flown / exponent)
        dp = r / P * ti.exp(log_beta + v / exponent)
    return dp


@ti.func
def _flow(size, m, mean_b, plastic, params, dt):
    mu, yield_stress, viscosity, hardening = params[0], params[2], params[3], params[4]
    share, plastic_now = ti.zero(size), plastic
    r = 3.0 * mu * size - (yield_stress + hardening * plastic)
    if r > 0:
        dp = _plastic_step(r, 3.0 * mu + hardening, mean_b, viscosity, params[5], dt)
        share = dp / size
        plastic_now += dp
    return share, ti.zero(size), plastic_now


@ti.func
def _flow_adjoint(size, m, mean_b, plastic, params, dt, share, gshare, gshift, gplastic):
    """The implicit function theorem on r = o + P dp, with rate = shear rate and D = P dp.

    d ln D = d ln(P mean_b) + d ln(o / viscosity) / exponent - ln(rate) d ln(exponent)
    """
    mu, yield_stress, hardening, exponent = params[0], params[2], params[4], params[5]
    gsize, gmean_b, gplastic_before = ti.zero(size), ti.zero(size), gplastic
    gparams = ti.zero(params)
    r = 3.0 * mu * size - (yield_stress + hardening * plastic)
    if r > 0:
        P = 3.0 * mu + hardening
        dp = share * size
        D, o = P * dp, r
        log_rate, power = ti.zero(r), ti.zero(r)
        if D > 0:
            root3 = ti.sqrt(ti.zero(r) + 3.0)
            log_rate = ti.log(root3 * dp / (dt * mean_b))
            power = 0.5 * root3 * ti.exp(exponent * log_rate)
            o = params[3] * power  # r - D, without cancellation
        gdp = gplastic + gshare / size
        z = gdp / P / (exponent * o + D)
        gr = z * D
        gP = -gdp * dp / P + z * exponent * o * dp
        gmean_b = z * exponent * o * D / mean_b
        gparams[3] = -gr * power
        gparams[5] = -gr * o * log_rate
        gparams[0] = 3.0 * (size * gr + gP)
        gparams[2] = -gr
        gparams[4] = gP - plastic * gr
        gsize = 3.0 * mu * gr - gshare * dp / (size * size)
        gplastic_before -= hardening * gr
    return gsize, ti.zero(size), gmean_b, gplastic_before, gparams


VON_MISES = radial_law(
    "von_mises",
    ("mu", "lam", "yield_stress", "viscosity", "hardening", "exponent"),
    _flow,
    _flow_adjoint,
)
# Constant columns of materials that lack these parameters.
RATE_FREE = {"viscosity": 0.0, "exponent": 1.0}
NEVER_YIELDS = {"yield_stress": math.inf, "hardening": 0.0, **RATE_FREE}
