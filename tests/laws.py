"""Constitutive laws over arrays, for tests: respond and respond_adjoint of every particle."""

import functools

import torch

from taichi_phys.language import ti


f64 = torch.float64
DT = 1e-4
EYE = torch.eye(3, dtype=f64)


@functools.cache
def kernels(law, precision="f64", width=None):
    """(respond, respond_adjoint or None) of a law over arrays; width: that of params."""
    real = getattr(ti, precision)
    mat3, vec = ti.types.matrix(3, 3, real), ti.types.vector(width or len(law.columns), real)
    nd = ti.types.ndarray

    @ti.kernel
    def respond(
        F: nd(mat3, 1), C: nd(mat3, 1), plastic: nd(real, 1), params: nd(vec, 1),
        Fe: nd(mat3, 1), tau: nd(mat3, 1), now: nd(real, 1), dt: real,
    ):  # fmt: skip
        for p in range(F.shape[0]):
            elastic, stress, variable = law.respond(F[p], C[p], plastic[p], params[p], dt)
            Fe[p] = elastic
            tau[p] = stress
            now[p] = variable

    @ti.kernel
    def adjoint(
        F: nd(mat3, 1), C: nd(mat3, 1), plastic: nd(real, 1), params: nd(vec, 1),
        gFe: nd(mat3, 1), gtau: nd(mat3, 1), gnow: nd(real, 1),
        gF: nd(mat3, 1), gC: nd(mat3, 1), gplastic: nd(real, 1), gparams: nd(vec, 1), dt: real,
    ):  # fmt: skip
        for p in range(F.shape[0]):
            dF, dC, dplastic, dparams = law.respond_adjoint(
                F[p], C[p], plastic[p], params[p], dt, gFe[p], gtau[p], gnow[p]
            )
            gF[p] = dF
            gC[p] = dC
            gplastic[p] = dplastic
            gparams[p] = dparams

    return respond, adjoint if law.respond_adjoint else None


def respond(material, F, C=None, plastic=None, params=None, dt=DT, dtype=f64):
    """F_elastic, tau, plastic of F (n, 3, 3); C and plastic are 0 by default."""
    C = torch.zeros_like(F) if C is None else C
    plastic = F.new_zeros(len(F)) if plastic is None else plastic
    params = material.params(len(F), F.dtype, F.device) if params is None else params
    inputs = [t.to(dtype).contiguous() for t in (F, C, plastic, params)]
    outputs = [torch.empty_like(t) for t in (inputs[0], inputs[0], inputs[2])]
    precision = "f64" if dtype == f64 else "f32"
    kernels(material.law, precision)[0](*inputs, *outputs, dt)
    return outputs


def adjoint(material, inputs, seeds, dt=DT, width=None):
    """Gradients of F, C, plastic and params from those of F_elastic, tau and plastic."""
    inputs, seeds = ([t.contiguous() for t in ts] for ts in (inputs, seeds))
    outputs = [torch.full_like(t, torch.nan) for t in inputs]
    precision = "f64" if inputs[0].dtype == f64 else "f32"
    kernels(material.law, precision, width)[1](*inputs, *seeds, *outputs, dt)
    return outputs


def rotations(n):
    Q, _ = torch.linalg.qr(torch.randn(n, 3, 3, dtype=f64))
    return Q * torch.linalg.det(Q)[:, None, None]


def deformations(n=50, size=0.1):
    return torch.linalg.matrix_exp(size * torch.randn(n, 3, 3, dtype=f64))


def bodies():
    """F at rest, with one, two and three different stretches, and large."""
    two = torch.diag(torch.tensor([1.2, 1.2, 0.9], dtype=f64))
    near = torch.diag(torch.tensor([1.2, 1.2 + 1e-9, 0.9], dtype=f64))
    R = rotations(3)
    special = [EYE, 1.1 * EYE, R[0], R[1] @ two @ R[2], R[1] @ near @ R[2], two]
    return torch.cat([torch.stack(special), deformations(10), deformations(4, size=0.3)])


def stretch(*strains):
    """F with these principal logarithmic strains along x, y, z."""
    return torch.diag(torch.exp(torch.tensor(strains, dtype=f64)))


def pressure(tau):
    return -tau.diagonal(dim1=-2, dim2=-1).mean(-1)


def equivalent(tau):
    """Von Mises stress."""
    dev = tau + pressure(tau)[..., None, None] * EYE
    return 1.5**0.5 * dev.flatten(-2).norm(dim=-1)
