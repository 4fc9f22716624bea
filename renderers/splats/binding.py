"""Gaussians carried by simulation particles: means move with them, covariances stretch with F."""

import dataclasses

import torch
from scipy.spatial import cKDTree

from taichi_phys.checks import check_tensor, whole_number
from taichi_phys.rotations import nearest_rotation


RIDGE = 1e-4  # of the neighbors' spread, below which they do not extend in a direction


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Binding:
    """m Gaussians, each bound to its k nearest particles when the body was undeformed.

    neighbors: (m, k) particle indices; weights: (m, k), rows sum to one; offsets: (m, k, 3)
    from those particles to the mean, m; covariances: (m, 3, 3) at that time, m^2.
    """

    neighbors: torch.Tensor
    weights: torch.Tensor
    offsets: torch.Tensor
    covariances: torch.Tensor

    def deform(self, x: torch.Tensor, F: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Means (m, 3) m and covariances (m, 3, 3) m^2; particles at x (n, 3) m with F (n, 3, 3).

        Each mean is the blend of where the affine maps of its particles carry it; each
        covariance is F S F^T with the blended F. Differentiable in x and F.
        """
        local = F[self.neighbors]
        carried = x[self.neighbors] + (local @ self.offsets[..., None])[..., 0]
        means = (self.weights[..., None] * carried).sum(1)
        blended = (self.weights[..., None, None] * local).sum(1)
        return means, blended @ self.covariances @ blended.mT

    @torch.no_grad()
    def rotations(self, F: torch.Tensor) -> torch.Tensor:
        """(m, 3, 3) rotations of the Gaussians, as `render` takes for sh_axes.

        F: (n, 3, 3) of the particles. The rotation nearest to the blended F: its polar part where
        det F > 0; a rotation, not a reflection, of inverted and singular F too, though one of
        several where F leaves a direction open, and it jumps where the two smallest stretches of
        an inverted F meet. Without gradients. As in PhysGaussian (Xie et al. 2024).
        """
        blended = (self.weights[..., None, None] * F[self.neighbors]).sum(1)
        return nearest_rotation(blended)


def bind(
    means: torch.Tensor, covariances: torch.Tensor, x: torch.Tensor, neighbors: int = 8
) -> Binding:
    """Bind Gaussians to the particles of a body that is undeformed (F = I).

    means: (m, 3) m; covariances: (m, 3, 3) m^2; x: (n, 3) m; neighbors: particles each Gaussian
    listens to. Raises ValueError for wrong shapes, no particles, or neighbors < 1.
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
    # A smooth bump that has nearly died out at the last neighbor, so that the next one along the
    # surface, which listens to others, moves almost alike; positive even if all are equally far.
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
    """(n, 3, 3): how the surroundings of particles were deformed on the way from x0 to x (n, 3) m.

    F of a plastic body is its elastic part, which has forgotten what flowed; Gaussians are carried
    by all of it ("Seeing the wind", eq. 8). This is the affine map that fits the motion of the
    nearest particles in least squares (Falk and Langer 1998); along directions in which
    those do not extend it is F (n, 3, 3). neighbors: how many. Raises ValueError for wrong shapes.
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
    # A = (after^T before + ridge F) (spread + ridge)^-1, of symmetric matrices.
    moved = after.mT @ before + ridge * F.double()
    return torch.linalg.solve(spread + ridge * one, moved.mT).mT.to(x.dtype)
