"""Gaussians as unbounded parameters of an optimizer, made at points."""

from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from renderers.splats.gaussians import SH_COUNTS, SH_DEGREE_0, Gaussians


class GaussianModel(torch.nn.Module):
    """n Gaussians, described by numbers without bounds.

    means: (n, 3) m; quats: (n, 4) wxyz of any length; log_scales: (n, 3); opacity_logits: (n,);
    sh_first: (n, 1, 3) and sh_rest: (n, K - 1, 3).
    """

    def __init__(self, gaussians: Gaussians):
        super().__init__()
        values = gaussians.tensors()
        opacities = values["opacities"].clamp(1e-4, 1 - 1e-4)  # logits stay finite
        self.means = torch.nn.Parameter(values["means"].clone())
        self.quats = torch.nn.Parameter(values["quats"].clone())
        self.log_scales = torch.nn.Parameter(values["scales"].log())
        self.opacity_logits = torch.nn.Parameter(torch.logit(opacities))
        self.sh_first = torch.nn.Parameter(values["sh"][:, :1].clone())
        self.sh_rest = torch.nn.Parameter(values["sh"][:, 1:].clone())

    def __len__(self) -> int:
        return len(self.means)

    @property
    def opacities(self) -> torch.Tensor:
        """The opacities (n,), between 0 and 1."""
        return torch.sigmoid(self.opacity_logits)

    @property
    def scales(self) -> torch.Tensor:
        """The scales (n, 3) m."""
        return self.log_scales.exp()

    def tensors(self, degree: int | None = None) -> dict[str, Any]:
        """Means, quats, scales, opacities and sh with their gradients, as `render` takes them.

        degree: of the colors, None for the highest.
        """
        rest = self.sh_rest
        if degree is not None:
            rest = rest[:, : SH_COUNTS[degree] - 1]
        return {
            "means": self.means,
            "quats": self.quats,
            "scales": self.scales,
            "opacities": self.opacities,
            "sh": torch.cat([self.sh_first, rest], dim=1) if rest.shape[1] else self.sh_first,
        }

    @torch.no_grad()
    def recolor(self, which: torch.Tensor, sh: torch.Tensor) -> None:
        """Give some Gaussians, which (n,) bool, the colors that they have in sh (n, K, 3)."""
        self.sh_first[which], self.sh_rest[which] = sh[which, :1], sh[which, 1:]

    @torch.no_grad()
    def gaussians(self) -> Gaussians:
        """The fitted Gaussians, as copies without gradients."""
        return Gaussians(**{k: v.detach().clone() for k, v in self.tensors().items()})


def gaussians_at(points: np.ndarray, colors: np.ndarray, degree: int) -> Gaussians:
    """Make round, faint Gaussians at points (n, 3) m, as wide as the distance of the points.

    colors: (n, 3) RGB in 0..1; degree: of the spherical harmonics, whose coefficients above the
    constant are zero.
    """
    n = len(points)
    k = min(4, n)
    apart = np.zeros(n) if n < 2 else cKDTree(points).query(points, k=k)[0][:, 1:].mean(axis=1)
    size = np.maximum(apart, 1e-3 * max(np.ptp(points, axis=0).max(), 1e-3))
    sh = torch.zeros(n, SH_COUNTS[degree], 3)
    sh[:, 0] = torch.as_tensor((colors - 0.5) / SH_DEGREE_0, dtype=torch.float32)
    return Gaussians(
        means=torch.as_tensor(points, dtype=torch.float32),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        scales=torch.as_tensor(size, dtype=torch.float32)[:, None].repeat(1, 3),
        opacities=torch.full((n,), 0.3),
        sh=sh,
    )
