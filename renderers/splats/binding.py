"""Gaussians that follow simulation particles: F deforms their covariances."""

import dataclasses

import torch
from scipy.spatial import cKDTree

from taichi_phys.checks import check_tensor, whole_number
from taichi_phys.rotations import nearest_rotation


RIDGE = 1e-4  # fraction of the neighbors' spread; below it, they do not extend in a direction


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Binding:
    """m Gaussians, each bound to its k nearest particles in the undeformed body.

    neighbors: (m, k) indices of the particles; weights: (m, k), whose rows sum to one; offsets:
    (m, k, 3) from the particles to the mean, m; covariances: (m, 3, 3) in the undeformed body, m^2.
    """

    neighbors: torch.Tensor
    weights: torch.Tensor
    offsets: torch.Tensor
    covariances: torch.Tensor

    def deform(self, x: torch.Tensor, F: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The means (m, 3) m and covariances (m, 3, 3) m^2 of the Gaussians in the deformed body.

        x: (n, 3) positions of the particles, m; F: (n, 3, 3) deformation gradients. Each particle
        maps the mean by an affine map, and the new mean is the weighted mean of these images; the
        new covariance is F S F^T with the weighted mean of F. Differentiable in x and F.
        """
        local = F[self.neighbors]
        carried = x[self.neighbors] + (local @ self.offsets[..., None])[..., 0]
        means = (self.weights[..., None] * carried).sum(1)
        blended = (self.weights[..., None, None] * local).sum(1)
        return means, blended @ self.covariances @ blended.mT

    @torch.no_grad()
    def rotations(self, F: torch.Tensor) -> torch.Tensor:
        """The rotations (m, 3, 3) of the Gaussians, for the argument sh_axes of `render`.

        F: (n, 3, 3) deformation gradients of the particles. As in PhysGaussian (Xie et al. 2024),
        the result is the rotation nearest to the weighted mean of F, which is the polar factor
        where det F > 0. Inverted and singular F give a rotation too, never a reflection; where the
        rank of F is below 2 it is one of several, and where the two smallest stretches of an
        inverted F meet it jumps. Without gradients.
        """
        blended = (self.weights[..., None, None] * F[self.neighbors]).sum(1)
        return nearest_rotation(blended)


def bind(
    means: torch.Tensor, covariances: torch.Tensor, x: torch.Tensor, neighbors: int = 8
) -> Binding:
    """Bind Gaussians to the particles of an undeformed body (F = I).

    means: (m, 3) m; covariances: (m, 3, 3) m^2; x: (n, 3) positions of the particles, m; neighbors:
    number of particles that each Gaussian follows. Raises ValueError for wrong shapes, for no
    particles and for neighbors < 1.
    """
    m = means.shape[0] if means.ndim else 0
    check_tensor("means", means, (m, 3))
    check_tensor("covariances", covariances, (m, 3, 3))
    check_tensor("x", x, (x.shape[0] if x.ndim else 0, 3))
    if not len(x):
        raise ValueError("x: got no particles, expected at least one")
    k = min(whole_number("neighbors", neighbors, "an integer >= 1", low=1), len(x))
    tree = cKDTree(x.detach().cpu().numpy())
    distance, index = tree.query(means.detach().cpu().numpy(), k=list(range(1, k + 1)))
    index = torch.as_tensor(index, device=x.device)
    distance = torch.as_tensor(distance, dtype=x.dtype, device=x.device)
    # The weight is a smooth bump that is almost zero at the last neighbor, so that adjacent
    # Gaussians, which follow different particles, move almost alike. It stays positive if all
    # neighbors are equally far.
    radius = 1.1 * distance[:, -1:].clamp_min(torch.finfo(x.dtype).eps)
    weights = (1 - (distance / radius) ** 2) ** 2
    return Binding(
        neighbors=index,
        weights=weights / weights.sum(1, keepdim=True),
        offsets=means[:, None] - x[index],
        covariances=covariances,
    )


@torch.no_grad()
def total_deformation(
    x0: torch.Tensor, x: torch.Tensor, F: torch.Tensor, *, neighbors: int = 16
) -> torch.Tensor:
    """The total deformation gradients (n, 3, 3) around particles that moved from x0 to x.

    x0, x: (n, 3) m; F: (n, 3, 3) deformation gradients of the simulation; neighbors: number of
    nearest particles in the fit. The F of a plastic body holds only the elastic part of the
    deformation, but Gaussians follow the total deformation ("Seeing the wind", eq. 8). The result
    is the affine map that fits the motion of the nearest particles in least squares (Falk and
    Langer 1998); in directions in which these particles do not extend, it is F. Raises ValueError
    for wrong shapes.
    """
    n = x0.shape[0] if x0.ndim else 0
    for name, value, shape in (("x0", x0, (n, 3)), ("x", x, (n, 3)), ("F", F, (n, 3, 3))):
        check_tensor(name, value, shape)
    k = min(whole_number("neighbors", neighbors, "an integer >= 1", low=1) + 1, n)
    places = x0.detach().cpu().numpy()
    index = torch.as_tensor(cKDTree(places).query(places, k=list(range(1, k + 1)))[1]).to(x0.device)
    before, after = (p.double()[index] - p.double()[:, None] for p in (x0, x))
    spread = before.mT @ before
    ridge = RIDGE * spread.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None]
    ridge = ridge.clamp_min(torch.finfo(torch.float64).tiny)
    one = torch.eye(3, dtype=torch.float64, device=x0.device)
    # A = (after^T before + ridge F) (spread + ridge)^-1; the matrix to be inverted is symmetric.
    moved = after.mT @ before + ridge * F.double()
    return torch.linalg.solve(spread + ridge * one, moved.mT).mT.to(x.dtype)
