"""Colored 3D Gaussians, named as in gsplat. Quaternions are (w, x, y, z) in the whole toolkit."""

import dataclasses

import torch

from taichi_phys.checks import check_tensor, refuse_rows
from taichi_phys.rotations import rotation_matrix


SH_DEGREE_0 = 0.28209479177387814  # the constant spherical harmonic, 1 / (2 sqrt(pi))

SH_COUNTS = (1, 4, 9, 16, 25)  # coefficients of the degrees 0 to 4


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Gaussians:
    """n colored Gaussians in the world.

    means: (n, 3) m; quats: (n, 4) wxyz, of any length except zero; scales: (n, 3) standard
    deviations along the axes, m, > 0; opacities: (n,) from 0 to 1; sh: (n, K, 3)
    spherical-harmonic coefficients of red, green and blue, with K = (degree + 1)^2 and a degree
    from 0 to 4. Raises ValueError, which names the field and counts the wrong rows or values.
    """

    means: torch.Tensor
    quats: torch.Tensor
    scales: torch.Tensor
    opacities: torch.Tensor
    sh: torch.Tensor

    def __post_init__(self):
        n = self.means.shape[0] if self.means.ndim else 0
        shapes = {
            "means": (n, 3),
            "quats": (n, 4),
            "scales": (n, 3),
            "opacities": (n,),
            "sh": (n, sh_count(self.sh), 3),
        }
        for name, shape in shapes.items():
            check_tensor(name, getattr(self, name), shape)
        refuse_rows("quats", (self.quats == 0).all(-1), "quaternions other than zero")
        refuse_rows("scales", (self.scales <= 0).any(-1), "positive lengths")
        refuse_rows("opacities", (self.opacities < 0) | (self.opacities > 1), "numbers from 0 to 1")

    @classmethod
    def from_colors(
        cls,
        *,
        means: torch.Tensor,
        quats: torch.Tensor,
        scales: torch.Tensor,
        opacities: torch.Tensor,
        colors: torch.Tensor,
    ) -> "Gaussians":
        """Gaussians that look the same from all sides, of degree 0.

        colors: (n, 3) RGB, usually from 0 to 1; the other arguments as in `Gaussians`. Raises
        ValueError.
        """
        check_tensor("colors", colors, (means.shape[0], 3))
        sh = ((colors - 0.5) / SH_DEGREE_0)[:, None]
        return cls(means=means, quats=quats, scales=scales, opacities=opacities, sh=sh)

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 4."""
        return SH_COUNTS.index(self.sh.shape[1])

    def tensors(self) -> dict[str, torch.Tensor]:
        """The fields by name, as keyword arguments for `render`."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def colors(self) -> torch.Tensor:
        """The RGB colors (n, 3) of degree 0, the average over all views; never negative."""
        return (0.5 + SH_DEGREE_0 * self.sh[:, 0]).clamp_min(0)

    def covariances(self) -> torch.Tensor:
        """The covariances R diag(scales)^2 R^T, (n, 3, 3) m^2."""
        half = rotation_matrix(self.quats) * self.scales[:, None, :]
        return half @ half.mT


def sh_count(sh: torch.Tensor) -> int:
    """K of coefficients sh (n, K, 3). Raises ValueError unless K fits a degree from 0 to 4."""
    if not isinstance(sh, torch.Tensor) or sh.ndim != 3 or sh.shape[1] not in SH_COUNTS:
        got = tuple(sh.shape) if isinstance(sh, torch.Tensor) else type(sh).__name__
        raise ValueError(f"sh: got {got}, expected (n, K, 3) with K one of {SH_COUNTS}")
    return sh.shape[1]
