"""Laws that users write on principal log strains, with gradients computed for them.

With b = F F^T = U diag(exp(2 eps)) U^T, a law is one Taichi function

    principal(eps, plastic, params, dt) -> eps_elastic, tau, plastic

that treats the three axes alike. It gives F_elastic = U diag(exp(eps_elastic - eps)) U^T F and the
Kirchhoff stress U diag(tau) U^T. It must be straight-line code: ti.select instead of if, and
sqrt(x + 1e-30) where x can be 0, since a value that is not selected must have a finite slope too.
"""

import functools
from collections.abc import Callable

import torch

from taichi_phys.language import ti
from taichi_phys.linalg import diagonal, from_eigenframe, sym_eig
from taichi_phys.materials.base import Law


# Principal strains closer than this are moved apart before the slope between them is computed.
SEPARATION = {"f32": 5e-3, "f64": 1e-5}
PAIRS = ((0, 1), (0, 2), (1, 2))


def spectral_law(name: str, columns: tuple[str, ...], principal: Callable) -> Law:
    """The law of a function of principal log strains, which `pull` differentiates.

    columns: names of the entries of params; principal: see the module; eps, eps_elastic and tau
    (Pa) are 3-vectors.
    """

    @ti.func
    def respond(F, C, plastic, params, dt):
        eig, U = sym_eig(F @ F.transpose())
        eps = 0.5 * ti.log(eig)
        eps_elastic, tau, plastic_now = principal(eps, plastic, params, dt)
        f = eps_elastic - eps
        F_elastic = F
        if ti.abs(f).max() > 0:
            F_elastic += from_eigenframe(U, diagonal(ti.exp(f) - 1.0)) @ F
        return F_elastic, from_eigenframe(U, diagonal(tau)), plastic_now

    return Law(name, tuple(columns), respond, None, principal)


@functools.cache
def _kernels(law: Law, precision: str):
    """Kernels: the eigendecomposition of F F^T, and law.principal, which Taichi differentiates."""
    real = getattr(ti, precision)
    vec3, mat3 = ti.types.vector(3, real), ti.types.matrix(3, 3, real)
    vecP = ti.types.vector(len(law.columns), real)
    nd = ti.types.ndarray

    @ti.kernel
    def decompose(F: nd(mat3, 1), eig: nd(vec3, 1), U: nd(mat3, 1)):
        for p in range(F.shape[0]):
            eig[p], U[p] = sym_eig(F[p] @ F[p].transpose())

    at_point = law.principal
    assert at_point is not None

    @ti.kernel
    def principal(
        eps: nd(vec3, 1), plastic: nd(real, 1), params: nd(vecP, 1),
        eps_elastic: nd(vec3, 1), tau: nd(vec3, 1), plastic_now: nd(real, 1), dt: real,
    ):  # fmt: skip
        for p in range(eps.shape[0]):
            now, stress, variable = at_point(eps[p], plastic[p], params[p], dt)
            eps_elastic[p] = now
            tau[p] = stress
            plastic_now[p] = variable

    return decompose, principal


@functools.cache
def pull(law: Law, precision: str) -> Callable:
    """The backward pass of a law of `spectral_law`, on torch tensors.

    precision: "f32" or "f64". Returns a function
    pull(F, C, plastic, params, law_ids, index, dt, gF, gC, gtau, gplastic, gparams) for the
    particles with law_ids == index. It replaces gF (n, 3, 3) and gplastic (n,), the gradients in
    the law's results, by the gradients in its arguments, and adds to gparams (n, P). gC stays as
    given, since these laws do not depend on C.
    """
    decompose, principal = _kernels(law, precision)
    count, floor = len(law.columns), SEPARATION[precision]

    def evaluate(eps, plastic, params, dt):
        results = torch.empty_like(eps), torch.empty_like(eps), torch.empty_like(plastic)
        principal(eps, plastic, params, *results, dt)
        return results

    def slopes(eps, plastic, params, dt):
        """(m, 3) divided differences of tau and of G by eps, one for each of PAIRS.

        At a fixed mean of a pair, both slopes are even functions of the separation of the pair. So
        strains that are moved apart symmetrically to a separation h give the slopes to O(h^2), and
        nothing cancels.
        """
        pushed, gaps = [], []
        for i, j in PAIRS:
            gap = eps[:, i] - eps[:, j]
            far = torch.where(gap < 0, gap.clamp(max=-floor), gap.clamp(min=floor))
            apart = eps.clone()
            apart[:, i] += (far - gap) / 2
            apart[:, j] -= (far - gap) / 2
            pushed.append(apart)
            gaps.append(apart[:, i] - apart[:, j])
        points = torch.cat(pushed)
        now, tau, _ = evaluate(points, plastic.repeat(3), params.repeat(3, 1), dt)
        G = torch.expm1(now - points)  # G - I: no cancellation where little flows
        return [
            torch.stack([(y[k, :, i] - y[k, :, j]) / gaps[k] for k, (i, j) in enumerate(PAIRS)], -1)
            for y in (tau.view(3, -1, 3), G.view(3, -1, 3))
        ]

    def differentiate(eps, plastic, params, dt, gnow, gtau, gplastic):
        """Gradients in eps, plastic and params of principal, and exp(eps_elastic - eps)."""
        inputs = [t.detach().clone().requires_grad_() for t in (eps, plastic, params)]
        point, before, numbers = (t.detach() for t in inputs)
        now, tau, variable = evaluate(point, before, numbers, dt)
        g = torch.exp(now - eps)
        results = [t.requires_grad_() for t in (now, tau, variable)]
        for t, seed in zip(results, (g * gnow, gtau, gplastic), strict=True):
            t.grad = seed.contiguous().clone()
        for t in inputs:
            t.grad = torch.zeros_like(t)
        principal.grad(*inputs, *results, dt)
        return *(t.grad for t in inputs), g

    @torch.no_grad()
    def run(F, C, plastic, params, law_ids, index, dt, gF, gC, gtau, gplastic, gparams):
        chosen = (law_ids == index).nonzero()[:, 0]
        if not len(chosen):
            return
        F, plastic, gF_elastic = F[chosen], plastic[chosen], gF[chosen]
        params = params[chosen, :count].contiguous()
        eig, U = F.new_empty(len(F), 3), torch.empty_like(F)
        decompose(F, eig, U)
        eps = eig.log() / 2

        T = U.mT @ (gtau[chosen] + gtau[chosen].mT) / 2 @ U
        H = gF_elastic @ F.mT
        H = U.mT @ (H + H.mT) / 2 @ U
        t, h = T.diagonal(dim1=1, dim2=2), H.diagonal(dim1=1, dim2=2)
        geps, gvariable, gcolumns, g = differentiate(
            eps, plastic, params, dt, h, t, gplastic[chosen]
        )
        gb = torch.diag_embed((geps - g * h) / (2 * eig))
        tau_slopes, g_slopes = slopes(eps, plastic, params, dt)
        for k, (i, j) in enumerate(PAIRS):
            x = eps[:, i] - eps[:, j]
            # (eps_i - eps_j) / (l_i - l_j), exact where the eigenvalues meet
            x_over_sinh = torch.where(x.abs() < 0.02, 1 / (1 + x**2 / 6 + x**4 / 120), x / x.sinh())
            inner = x_over_sinh / (2 * (eps[:, i] + eps[:, j]).exp())
            gb[:, i, j] = (T[:, i, j] * tau_slopes[:, k] + H[:, i, j] * g_slopes[:, k]) * inner
            gb[:, j, i] = gb[:, i, j]
        G = U @ torch.diag_embed(g) @ U.mT
        gF[chosen] = G @ gF_elastic + 2 * U @ gb @ U.mT @ F
        gplastic[chosen] = gvariable
        gparams[chosen, :count] += gcolumns

    return run
