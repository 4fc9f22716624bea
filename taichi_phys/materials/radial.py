"""Plastic laws whose return map scales the deviator of the Hencky (logarithmic) strain.

With b = F F^T and the log strain ln(b) / 2 = m I + e (mean m, deviator e, size = sqrt(2/3) |e|), a
law is defined by


    flow            share, shift, plastic = flow(size, m, tr(b) / 3, plastic, params, dt)
    elastic strain  (1 - share) e,  m + shift
    elastic part    F_elastic = exp(-share e + shift I) F       (exactly F if nothing flows)
    stress          tau = 2 mu (1 - share) e + (2 mu + 3 lam) (m + shift) I  (= d psi / d strain)

(Simo & Hughes, Computational Inelasticity, ch. 9). So a law consists of flow and the derivative of
flow. The forward pass needs no decomposition (linalg.log_strain). The backward pass works on
b = U diag(l) U^T: tau and G = exp(-share e + shift I) are isotropic tensor functions of b, whose
derivatives are divided differences (y_i - y_j) / (l_i - l_j), exact where eigenvalues meet.
"""

from collections.abc import Callable

from taichi_phys.language import ti
from taichi_phys.linalg import (
    diagonal,
    exp_deviator,
    from_eigenframe,
    log_divided_difference,
    log_strain,
    sinhc,
    sym,
    sym_eig,
    to_eigenframe,
)
from taichi_phys.materials.base import Law


def radial_law(name: str, columns: tuple[str, ...], flow: Callable, flow_adjoint: Callable) -> Law:
    """The law with a given flow.

    columns: names of the parameters, of which the first two are mu and lam; flow: see the module;
    flow_adjoint: its derivative,
    flow_adjoint(size, m, mean_b, plastic, params, dt, share, gshare, gshift, gplastic)
    -> gsize, gm, gmean_b, gplastic, gparams, with mean_b = tr(b) / 3.
    """

    @ti.func
    def respond(F, C, plastic, params, dt):
        mu, lam = params[0], params[1]
        b = F @ F.transpose()
        m, e = log_strain(b)
        size = ti.sqrt((e * e).sum() * 2.0 / 3.0)
        share, shift, plastic_now = flow(size, m, b.trace() / 3.0, plastic, params, dt)
        tau = 2.0 * mu * (1.0 - share) * e
        mean = (2.0 * mu + 3.0 * lam) * (m + shift)
        for d in ti.static(range(3)):
            tau[d, d] += mean
        F_elastic = F
        if share != 0 or shift != 0:
            X = exp_deviator(-share * e)  # G - I
            if shift != 0:
                growth = ti.exp(shift) - 1.0
                X += growth * X
                for d in ti.static(range(3)):
                    X[d, d] += growth
            F_elastic += X @ F
        return F_elastic, tau, plastic_now

    @ti.func
    def respond_adjoint(F, C, plastic, params, dt, gF_elastic, gtau, gplastic):
        mu, lam = params[0], params[1]
        eig, U = sym_eig(F @ F.transpose())
        eps = 0.5 * ti.log(eig)
        m = eps.sum() / 3.0
        e = eps - m
        size = ti.sqrt((e * e).sum() * 2.0 / 3.0)
        mean_b = eig.sum() / 3.0
        share, shift, _ = flow(size, m, mean_b, plastic, params, dt)

        T = to_eigenframe(U, sym(gtau))  # the gradient in tau, in the eigenframe
        t = ti.Vector([T[0, 0], T[1, 1], T[2, 2]])
        gF, gf = gF_elastic, ti.zero(e)
        slope = 2.0 * mu * (1.0 - share) * T  # off the diagonal: divided differences by strain
        if share != 0 or shift != 0:
            f = shift - share * e
            g = ti.exp(f)
            H = to_eigenframe(U, sym(gF_elastic @ F.transpose()))
            gf = g * ti.Vector([H[0, 0], H[1, 1], H[2, 2]])
            gF += from_eigenframe(U, diagonal(g - 1.0)) @ gF_elastic
            for i, j in ti.static(((0, 1), (0, 2), (1, 2))):
                mean, half = 0.5 * (f[i] + f[j]), 0.5 * (f[i] - f[j])
                slope[i, j] -= H[i, j] * share * ti.exp(mean) * sinhc(half)
        gshare = -(e * (2.0 * mu * t + gf)).sum()
        gshift = (2.0 * mu + 3.0 * lam) * t.sum() + gf.sum()
        gsize, gm, gmean_b, gplastic_before, gparams = flow_adjoint(
            size, m, mean_b, plastic, params, dt, share, gshare, gshift, gplastic
        )
        ge = 2.0 * mu * (1.0 - share) * t - share * gf
        if size > 0:
            ge += gsize / size * e * 2.0 / 3.0
        gm += (2.0 * mu + 3.0 * lam) * t.sum()
        geps = ge + (gm - ge.sum()) / 3.0
        gb = diagonal(geps / (2.0 * eig) + gmean_b / 3.0)
        for i, j in ti.static(((0, 1), (0, 2), (1, 2))):
            gb[i, j] = slope[i, j] * 0.5 * log_divided_difference(eig[i], eig[j])
            gb[j, i] = gb[i, j]
        gF += 2.0 * from_eigenframe(U, gb) @ F
        gparams[0] += 2.0 * (1.0 - share) * (t * e).sum() + 2.0 * (m + shift) * t.sum()
        gparams[1] += 3.0 * (m + shift) * t.sum()
        return gF, ti.zero(F), gplastic_before, gparams

    return Law(name, columns, respond, respond_adjoint)
