"""The Gaussians of one moment of a moving scene, as a file can hold them."""

from collections.abc import Mapping

import numpy as np
import torch

from renderers.splats.gaussians import Gaussians
from renderers.splats.sh import turned_sh
from taichi_phys.rotations import rotation_quaternion


THIN = 1e-6  # least scale, as a share of a Gaussian's largest
BALL = 0.5  # standard deviation of a Gaussian that stands for a ball, as a share of its radius


@torch.no_grad()
def frame_gaussians(splats: Mapping[str, torch.Tensor]) -> Gaussians:
    """The Gaussians that look like the arguments of `render`, without covariances and sh_axes.

    splats: means, opacities, and quats and scales or covariances, sh or colors, perhaps sh_axes.
    Covariances become quats and scales, and colors that turn with the Gaussians are turned.
    """
    means, opacities = splats["means"], splats["opacities"]
    covariances, colors = splats.get("covariances"), splats.get("colors")
    if covariances is None:
        shape = {"quats": splats["quats"], "scales": splats["scales"]}
    else:
        squares, axes = torch.linalg.eigh(covariances.double())
        axes = axes * axes.det().sign()[:, None, None]  # a rotation, not a reflection
        quats = torch.from_numpy(rotation_quaternion(axes.cpu().numpy()))
        largest = squares[:, -1:].clamp_min(torch.finfo(torch.float32).tiny)
        scales = torch.maximum(squares, THIN**2 * largest).sqrt()
        shape = {"quats": quats.to(means), "scales": scales.to(means)}
    common = {"means": means, "opacities": opacities.clamp(0, 1), **shape}
    if colors is not None:
        return Gaussians.from_colors(colors=colors.to(means), **common)
    sh, turn = splats["sh"], splats.get("sh_axes")
    return Gaussians(sh=sh if turn is None else turned_sh(sh, turn), **common)


def ball_gaussians(x: np.ndarray, colors: np.ndarray, radius: float) -> Gaussians:
    """Round Gaussians in place of n balls: x (n, 3) m, colors (n, 3) uint8, radius m."""
    means = torch.as_tensor(x, dtype=torch.float32)
    count = len(means)
    return Gaussians.from_colors(
        means=means,
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        scales=torch.full((count, 3), BALL * radius),
        opacities=torch.full((count,), 0.95),
        colors=torch.as_tensor(colors / 255, dtype=torch.float32),
    )
