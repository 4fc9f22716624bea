"""One substep of the simulator in plain torch: dense over particles and their 27 nodes.

Written from the papers, not from the kernels; gradients by autograd. No walls. The eigenvalues of
F F^T must differ (torch.linalg.eigh has no gradient where they meet). With several fields, bodies
have velocities of their own on the grid, and touch.
"""

import itertools
import math

import torch


OFFSETS = torch.tensor(list(itertools.product(range(3), repeat=3)))
TOUCHES = []  # of every pair of bodies at every node: whether it touched


def neo_hookean(F, plastic, params, dt):
    """F_elastic = F and tau = dpsi/dF F^T with psi = mu/2 (I1 - 3) - mu ln J + lam/2 ln^2 J."""
    mu, lam = params[:, 0, None, None], params[:, 1, None, None]
    eye = torch.eye(3).to(F)
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


def distance(share):
    """How many cells away the flat face of a body is that fills a share of a node's cell (< 0: the
    node is inside): the share is the integral of the quadratic B-spline beyond the face."""
    d = torch.linspace(-1.5, 1.5, 30_001, dtype=torch.float64)
    spline = torch.where(d.abs() < 0.5, 0.75 - d**2, (1.5 - d.abs()) ** 2 / 2)
    beyond = 1 - torch.cumulative_trapezoid(spline, d)
    return 1.5 - 1e-4 * torch.searchsorted(beyond.flip(0), share).item()


def mean_normals(slope, share, node, shape):
    """Of each field at a node: the mean direction of its slopes around, times its concentration.

    slope: (fields, nodes, 3); share: (fields, nodes); a slope counts by what others fill there.
    """
    i, j, k = node // (shape[1] * shape[2]), node // shape[2] % shape[1], node % shape[2]
    total, length = 0, 0
    for di, dj, dk in itertools.product((-1, 0, 1), repeat=3):
        near = ((i + di) * shape[1] + j + dj) * shape[2] + k + dk
        others = share[:, near].sum() - share[:, near]
        w = others * 0.5 ** (abs(di) + abs(dj) + abs(dk))
        total = total + w[:, None] * slope[:, near]
        length = length + w * (slope[:, near].square().sum(1) + 1e-300).sqrt()
    u = total / length[:, None]
    r = u.square().sum(1, keepdim=True)
    return u * (3 - r) / (1 - r + 1e-3)


def meet(v, mass, normal, share, a, b, friction):
    """Velocities v (fields, 3) at a node after fields a and b met; also whether they touched."""
    q = normal[a] - normal[b]
    w = v[b] - v[a]
    if mass[a] == 0 or mass[b] == 0 or w @ q >= 0:
        return v, False
    if max(distance(share[a]), -1.0) + max(distance(share[b]), -1.0) >= 0:
        return v, False
    n = q / q.norm()
    normal = -(w @ n)
    slide = w + normal * n
    kept = torch.relu(1 - friction * normal / slide.norm())
    change = kept * slide - w
    inverse = 1 / mass[a] + 1 / mass[b]
    v = v.clone()
    v[a] = v[a] - change / inverse / mass[a]
    v[b] = v[b] + change / inverse / mass[b]
    return v, True


def substep(
    state, force, mass, volume, params, law, *, dt, dx, lower, shape, gravity, fields=None,
    frictions=None,
):  # fmt: skip
    """(x, v, C, F, plastic) after one substep; fields (n,): of each particle, one without."""
    x, v, C, F, plastic = state
    Fe, plastic, tau = law(F, plastic, params, dt)
    X = (x - x.new_tensor(lower)) / dx
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
    size, count = math.prod(shape), 1
    if fields is not None:
        count = len(frictions)
        flat = flat + size * fields[:, None]
    total = size * count
    grid_mass = W.new_zeros(total).index_add(0, flat.flatten(), (W * mass[:, None]).flatten())
    grid_momentum = W.new_zeros(total, 3).index_add(
        0, flat.flatten(), (W[..., None] * momentum).flatten(0, 1)
    )
    used = (grid_mass > 0).nonzero()[:, 0]
    grid_v = torch.zeros_like(grid_momentum)
    grid_v[used] = grid_momentum[used] / grid_mass[used, None]
    grid_v[used] += dt * x.new_tensor(gravity)
    if count > 1:
        D = torch.stack([f - 1.5, 2 - 2 * f, f - 0.5], dim=1)  # of w by X
        slopes = [D[:, i, 0] * w[:, j, 1] * w[:, k, 2], w[:, i, 0] * D[:, j, 1] * w[:, k, 2]]
        slopes.append(w[:, i, 0] * w[:, j, 1] * D[:, k, 2])
        part = (volume / dx**3)[:, None]
        share = W.new_zeros(total).index_add(0, flat.flatten(), (W * part).flatten())
        slope = W.new_zeros(total, 3).index_add(
            0, flat.flatten(), (torch.stack(slopes, dim=2) * part[..., None]).flatten(0, 1)
        )
        slopes, shares = slope.view(count, size, 3), share.view(count, size)
        reached = grid_mass.view(count, size) > 0
        for node in (reached.sum(0) > 1).nonzero()[:, 0].tolist():
            at = slice(node, None, size)
            v_node, normal = grid_v[at], mean_normals(slopes, shares, node, shape)
            for a, b in itertools.combinations(range(count), 2):
                v_node, touched = meet(
                    v_node, grid_mass[at], normal, share[at].detach(), a, b, frictions[a][b]
                )
                TOUCHES.append(touched)
            grid_v = grid_v.clone()
            grid_v[at] = v_node
    node_v = grid_v[flat]

    v = (W[..., None] * node_v).sum(1)
    C = 4 / dx**2 * torch.einsum("pn,pni,pnj->pij", W, node_v, d)
    return x + dt * v, v, C, Fe + dt * C @ Fe, plastic


def rollout(state, force, mass, volume, params, law, *, steps, **settings):
    """(x, v, C, F, plastic) after several substeps under a constant force."""
    for _ in range(steps):
        state = substep(state, force, mass, volume, params, law, **settings)
    return state
