"""Gaussians as unbounded parameters of an optimizer, and the Gaussians that a fit starts from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from renderers.camera import Camera
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


def scene_box(cameras: Sequence[Camera]) -> tuple[np.ndarray, float]:
    """Find the cube at which the cameras look: its center (3,) m and half its side, m.

    The center is the point nearest to all optical axes. Raises ValueError if the axes are parallel
    or there is only one camera.
    """
    axes = np.array([camera.rotation[2] for camera in cameras])
    eyes = np.array([camera.position for camera in cameras])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    if np.linalg.cond(across.sum(axis=0)) > 1e6:
        raise ValueError(
            "views: all cameras look in one direction, expected views from several sides"
        )
    center = np.linalg.solve(across.sum(axis=0), np.einsum("nij,nj->i", across, eyes))
    reach = [
        np.linalg.norm(camera.position - center)
        * min(camera.width / camera.fx, camera.height / camera.fy)
        / 2
        for camera in cameras
    ]
    return center, float(np.median(reach))


def carve(
    images: Sequence[tuple[np.ndarray, np.ndarray]],
    cameras: Sequence[Camera],
    count: int,
    *,
    center: np.ndarray,
    half: float,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw random points in the part of a cube that no view shows as empty.

    images: for each camera rgb (H, W, 3) and alpha (H, W) in 0..1; a view is empty where alpha is
    at most 0.5. center: (3,) m, and half: m, half the side, of the cube. At least half of the views
    see each point. Returns points (count, 3) m and their colors (count, 3), the means over the
    views that see them. Raises ValueError if almost no point is left.
    """
    rng = np.random.default_rng(seed)
    kept, found, tried = [], 0, 0
    while found < count:
        points = center + half * rng.uniform(-1, 1, (max(4 * count, 20_000), 3))
        tried += len(points)
        seen = np.zeros(len(points))
        for (_, alpha), camera in zip(images, cameras, strict=True):
            row, column, inside = _pixels(points, camera)
            seen[inside] += 1
            filled = np.ones(len(points), dtype=bool)
            filled[inside] = alpha[row, column] > 0.5
            points, seen = points[filled], seen[filled]
        points = points[seen >= len(cameras) / 2]
        kept.append(points)
        found += len(points)
        if found < count and found < tried / 1000:
            raise ValueError(
                f"views: no room for the object, only {found} of {tried} random points lie where "
                "no view is empty; check that poses and alpha channels belong to one scene"
            )
    points = np.concatenate(kept)[:count]
    total, seen = np.zeros((len(points), 3)), np.zeros(len(points))
    for (rgb, _), camera in zip(images, cameras, strict=True):
        row, column, inside = _pixels(points, camera)
        total[inside] += rgb[row, column]
        seen[inside] += 1
    return points, np.where(seen[:, None] > 0, total / np.maximum(seen, 1)[:, None], 0.5)


def _pixels(points: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column (k,) of the pixels that show points (n, 3) m, and the mask (n,) of the points
    that the image shows."""
    local = camera.to_camera(points)
    front = local[:, 2] > 1e-9
    uv, _ = camera.project(points[front])
    column, row = np.floor(uv).astype(int).T
    within = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    inside = front.copy()
    inside[front] = within
    return row[within], column[within], inside
