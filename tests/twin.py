"""One substep of the simulator in plain torch: dense over particles and their 27 nodes.

Written from the papers, not from the kernels; gradients by autograd. No walls. The eigenvalues of
F F^T must differ (torch.linalg.eigh has no gradient where they meet).
"""

import itertools
import math

import torch


OFFSETS = torch.tensor(list(itertools.product(range(3), repeat=3)))


def neo_hookean(F, plastic, params, dt):
    """F_elastic = F and tau = dpsi/dF F^T with psi = mu/2 (I1 - 3) - mu ln J + lam/2 ln^2 J."""
    mu, lam = params[:, 0, None, None], params[:, 1, None, None]
    eye = torch.eye(3, dtype=F.dtype)
    return F, plastic, mu * (F @ F.mT - eye) + lam * torch.logdet(F)[:, None, None] * eye


def von_mises(F, plastic, params, dt):
    """Radial return of the deviatoric Hencky strain, slowed by viscosity (Yue et al. 2015)."""
    mu, lam, yield_stress, viscosity, hardening = params.unbind(1)[:5]
    b = F @ F.mT
    stretch, U = torch.linalg.eigh(b)
    eps = stretch.log() / 2
    dev = eps - eps.mean(1, keepdim=True)
    s = 2 * mu * dev.norm(dim=1)
    limit = math.sqrt(2 / 3) * (yield_stress + hardening * plastic)
    mu_hat = mu * b.diagonal(dim1=1, dim2=2).mean(1)
    # s_new = 2 mu (|dev| - flow) lies above the hardened limit by viscosity mu / (mu_hat dt) flow
    flow = (s - limit) / (2 * mu + mu * viscosity / (mu_hat * dt) + 2 / 3 * hardening)
    flow = torch.where(s > limit, flow, 0)
    eps_new = eps - flow[:, None] * dev / dev.norm(dim=1, keepdim=True)
    stress = 2 * mu[:, None] * eps_new + lam[:, None] * eps_new.sum(1, keepdim=True)
    V = U * eps_new.exp()[:, None] @ U.mT  # left stretch; F = V R
    R = U * stretch.rsqrt()[:, None] @ U.mT @ F
    return V @ R, plastic + math.sqrt(2 / 3) * flow, U * stress[:, None] @ U.mT


def substep(state, force, mass, volume, params, law, *, dt, dx, lower, shape, gravity):
    """(x, v, C, F, plastic) after one substep."""
    x, v, C, F, plastic = state
    Fe, plastic, tau = law(F, plastic, params, dt)
    X = (x - torch.tensor(lower, dtype=x.dtype)) / dx
    base = (X - 0.5).floor().long()
    f = X - base
    w = torch.stack([(1.5 - f) ** 2 / 2, 0.75 - (f - 1) ** 2, (f - 0.5) ** 2 / 2], dim=1)
    i, j, k = OFFSETS.T
    W = w[:, i, 0] * w[:, j, 1] * w[:, k, 2]  # (n, 27)
    nodes = base[:, None] + OFFSETS  # (n, 27, 3)
    d = (nodes - X[:, None]) * dx
    flat = (nodes[..., 0] * shape[1] + nodes[..., 1]) * shape[2] + nodes[..., 2]

    A = mass[:, None, None] * C - (4 * dt / dx**2) * volume[:, None, None] * tau
    momentum = (mass[:, None] * v + dt * force)[:, None] + d @ A.mT
    size = math.prod(shape)
    grid_mass = W.new_zeros(size).index_add(0, flat.flatten(), (W * mass[:, None]).flatten())
    grid_momentum = W.new_zeros(size, 3).index_add(
        0, flat.flatten(), (W[..., None] * momentum).flatten(0, 1)
    )
    node_mass = grid_mass[flat]
    node_v = grid_momentum[flat] / node_mass[..., None] + dt * torch.tensor(gravity, dtype=x.dtype)

    v = (W[..., None] * node_v).sum(1)
    C = 4 / dx**2 * torch.einsum("pn,pni,pnj->pij", W, node_v, d)
    return x + dt * v, v, C, Fe + dt * C @ Fe, plastic


def rollout(state, force, mass, volume, params, law, *, steps, **settings):
    """(x, v, C, F, plastic) after several substeps under a constant force."""
    for _ in range(steps):
        state = substep(state, force, mass, volume, params, law, **settings)
    return state
