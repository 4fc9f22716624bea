"""Von Mises plasticity on Hencky (logarithmic) strain, with optional viscosity.

The law acts on the eigen-decomposition b = F F^T = U diag(l) U^T. With the log strain
eps_i = ln(l_i) / 2, its mean m and deviator e_i = eps_i - m, and the trial stress s = 2 mu |e|:

    overstress      s > Y = sqrt(2/3) yield_stress
    viscous factor  a = 1 / (1 + viscosity / (2 mu^ dt)),  mu^ = mu tr(b) / 3   (a = 1: rate free)
    flow            k = 1 - a (s - Y) / s         e <- k e    (backward Euler of Perzyna's law)
    elastic part    F_elastic = F + U diag(g - 1) U^T F,  g_i = exp((k - 1) e_i)
                    (so that F stays F, bit for bit, as long as nothing flows)
    stress          tau_i = 2 mu k e_i + (2 mu + 3 lam) m      (exact: tau = d psi / d eps)

(Simo & Hughes, Computational Inelasticity, ch. 9; the viscous map is that of Yue et al. 2015.)
tau and the factor G = U diag(g) U^T are isotropic tensor functions of b; their derivatives use
divided differences (y_i - y_j) / (l_i - l_j), which stay exact where eigenvalues meet.
"""

import dataclasses

import taichi as ti
import torch

from taichi_phys.linalg import (
    from_eigenframe,
    log_divided_difference,
    sinhc,
    sym,
    sym_eig,
    to_eigenframe,
)
from taichi_phys.materials.base import Law, Material


@ti.func
def _flow(s, trace_b, params, dt):
    """Factor k of the deviatoric strain, and its derivatives by s, Y, mu^ and viscosity."""
    Y = ti.sqrt(params[2] * params[2] * 2.0 / 3.0)
    mu_hat = params[0] * trace_b / 3.0
    k = ti.zero(s) + 1.0
    k_s, k_Y, k_mu_hat, k_viscosity = ti.zero(s), ti.zero(s), ti.zero(s), ti.zero(s)
    if s > Y:
        rate = 2.0 * mu_hat * dt
        a = rate / (rate + params[3])
        k = 1.0 - a * (1.0 - Y / s)
        k_s = -a * Y / (s * s)
        k_Y = a / s
        k_a = Y / s - 1.0
        k_mu_hat = k_a * 2.0 * dt * params[3] / (rate + params[3]) ** 2
        k_viscosity = -k_a * rate / (rate + params[3]) ** 2
    return k, k_s, k_Y, k_mu_hat, k_viscosity


@ti.func
def von_mises(F, params, dt):
    """Return map and exact Kirchhoff stress of one particle."""
    mu, lam = params[0], params[1]
    eig, U = sym_eig(F @ F.transpose())
    eps = 0.5 * ti.log(eig)
    m = eps.sum() / 3.0
    e = eps - m
    k = _flow(2.0 * mu * e.norm(), eig.sum(), params, dt)[0]
    g = ti.exp((k - 1.0) * e)
    tau = 2.0 * mu * k * e + (2.0 * mu + 3.0 * lam) * m
    G, T = ti.zero(F), ti.zero(F)
    for d in ti.static(range(3)):
        G[d, d] = g[d] - 1.0
        T[d, d] = tau[d]
    return F + from_eigenframe(U, G) @ F, from_eigenframe(U, T)


@ti.func
def von_mises_adjoint(F, params, dt, gF_elastic, gtau):
    """Reverse mode of von_mises: gradients of F and of (mu, lam, yield_stress, viscosity)."""
    mu, lam = params[0], params[1]
    eig, U = sym_eig(F @ F.transpose())
    eps = 0.5 * ti.log(eig)
    m = eps.sum() / 3.0
    e = eps - m
    size = e.norm()
    k, k_s, k_Y, k_mu_hat, k_viscosity = _flow(2.0 * mu * size, eig.sum(), params, dt)
    g = ti.exp((k - 1.0) * e)
    T = to_eigenframe(U, sym(gtau))  # gradient of tau and of G, in the eigenframe
    H = to_eigenframe(U, sym(gF_elastic @ F.transpose()))
    t = ti.Vector([T[0, 0], T[1, 1], T[2, 2]])
    h = ti.Vector([H[0, 0], H[1, 1], H[2, 2]])

    gk = (t * 2.0 * mu * e + h * g * e).sum()
    ge = t * 2.0 * mu * k + h * g * (k - 1.0)
    if size > 0:
        ge += gk * k_s * 2.0 * mu / size * e
    geps = ge + ((2.0 * mu + 3.0 * lam) * t.sum() - ge.sum()) / 3.0
    gl = geps / (2.0 * eig) + gk * k_mu_hat * mu / 3.0

    gb = ti.zero(F)
    for d in ti.static(range(3)):
        gb[d, d] = gl[d]
    for i, j in ti.static(((0, 1), (0, 2), (1, 2))):
        # (eps_i - eps_j) / (l_i - l_j), the inner factor of both divided differences
        inner = 0.5 * log_divided_difference(eig[i], eig[j])
        tau_ij = 2.0 * mu * k
        c = k - 1.0
        g_ij = c * ti.exp(0.5 * c * (e[i] + e[j])) * sinhc(0.5 * c * (e[i] - e[j]))
        gb[i, j] = (T[i, j] * tau_ij + H[i, j] * g_ij) * inner
        gb[j, i] = gb[i, j]

    G = ti.zero(F)
    for d in ti.static(range(3)):
        G[d, d] = g[d] - 1.0
    gF = gF_elastic + from_eigenframe(U, G) @ gF_elastic + 2.0 * from_eigenframe(U, gb) @ F
    gparams = ti.zero(params)
    gparams[0] = (
        2.0 * k * (t * e).sum()
        + 2.0 * m * t.sum()
        + gk * (k_s * 2.0 * size + k_mu_hat * eig.sum() / 3.0)
    )
    gparams[1] = 3.0 * m * t.sum()
    gparams[2] = gk * k_Y * ti.sqrt((ti.zero(mu) + 2.0) / 3.0)
    gparams[3] = gk * k_viscosity
    return gF, gparams


VON_MISES = Law("von_mises", von_mises, von_mises_adjoint)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Elastoplastic(Material):
    """Solid that flows at once beyond a von Mises yield stress (plasticine, metal).

    E: Young's modulus, Pa, > 0; nu: Poisson's ratio, in (-1, 0.5); yield_stress: uniaxial, Pa,
    > 0. Raises ValueError.
    """

    law = VON_MISES
    positive = ("E", "yield_stress")

    yield_stress: float | torch.Tensor
