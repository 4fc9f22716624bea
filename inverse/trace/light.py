"""Light that is fixed in the world while parts turn in it.

The colors of a rigid part turn with it, so that shading, which does not, would be missing from
frames in which the part is turned otherwise. The irradiance of a matte convex body under distant
light is nearly a quadratic polynomial of its normal (Ramamoorthi and Hanrahan 2001, sec. 2), with
the same few numbers for the whole scene: a Gaussian that turns into another direction is as bright
there as one that looked that way before.
"""

from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import nn

from renderers.splats.gaussians import SH_DEGREE_0


NEIGHBORS = 16  # of a Gaussian, through which the surface goes
COARSE = 400  # Gaussians, at most about, that tell the inside of a part from the outside
TERMS = 8  # numbers for each color channel


class Light(nn.Module):
    """How much brighter than its own color a Gaussian is, by the direction that it faces.

    terms: (8, 3) of the polynomial for red, green and blue; normals: (n, 3) of the Gaussians as
    they are at time 0, of any length. The factor is 1 + b n + n A n with the unit normal n and
    A symmetric and traceless: its mean over all directions, 1, belongs to the colors.
    """

    def __init__(self, normals: Any):
        super().__init__()
        self.normals = nn.Parameter(torch.as_tensor(normals).float())
        self.terms = nn.Parameter(torch.zeros(TERMS, 3))

    def forward(self, turns: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The factors (m, 3) of Gaussians index (m,), turned by turns (m, 3, 3) since time 0."""
        normals = nn.functional.normalize(self.normals[index], dim=-1, eps=1e-6)
        x, y, z = (turns @ normals[..., None])[..., 0].unbind(-1)
        basis = torch.stack([x, y, z, x * y, y * z, z * x, x * x - y * y, 3 * z * z - 1], dim=-1)
        return (1 + basis @ self.terms).clamp_min(0)


def lit(sh: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Coefficients (m, K, 3) of colors that are factors (m, 3) times those of sh (m, K, 3)."""
    first = (factors * (0.5 + SH_DEGREE_0 * sh[:, 0]) - 0.5) / SH_DEGREE_0
    return torch.cat([first[:, None], factors[:, None] * sh[:, 1:]], dim=1)


def outward(x: np.ndarray, part: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The directions (n, 3), unit vectors, that the Gaussians of parts face.

    x: (n, 3) m; part: (n,) int, 0 for none, which get zeros; weights: (n,), such as opacities. Of
    the two directions across the surface through a Gaussian's neighbors, it is the one that leads
    away from the part around it, coarsely.
    """
    normals = np.zeros_like(x)
    for k in range(1, int(part.max(initial=0)) + 1):
        own = np.flatnonzero(part == k)
        _, spread = _around(x[own], x[own], weights[own], NEIGHBORS)
        across = np.linalg.eigh(spread)[1][:, :, 0]  # where the neighbors spread least
        some = own[:: -(-len(own) // COARSE)]
        middle, _ = _around(x[own], x[some], weights[some], max(len(some) // 4, 1))
        inward = (across * (x[own] - middle)).sum(axis=1) < 0
        normals[own] = np.where(inward[:, None], -across, across)
    return normals


def _around(
    x: np.ndarray, others: np.ndarray, weights: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Means (n, 3) and covariances (n, 3, 3) of the others, with weights, that are nearest to x."""
    _, near = cKDTree(others).query(x, range(1, 1 + min(count, len(others))))
    q = weights[near] / weights[near].sum(axis=1, keepdims=True)
    middle = np.einsum("nk,nkd->nd", q, others[near])
    arms = others[near] - middle[:, None]
    return middle, np.einsum("nk,nki,nkj->nij", q, arms, arms)
