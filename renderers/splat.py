"""Rendering Gaussians: projection, tile lists and compositing put together. No gradients yet."""

import dataclasses

import torch

from renderers import rasterize
from renderers.camera import Camera
from renderers.gaussians import check_tensor
from renderers.projection import project
from renderers.tiles import tile_lists
from taichi_phys import runtime


TILE = 16  # px


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Render:
    """One picture: rgb (H, W, 3); alpha (H, W) 0 to 1; depth (H, W) m, the mean over what the
    pixel shows, 0 where it shows nothing. All float32, on the device of the means."""

    rgb: torch.Tensor
    alpha: torch.Tensor
    depth: torch.Tensor


def render(
    means: torch.Tensor,
    covariances: torch.Tensor,
    opacities: torch.Tensor,
    colors: torch.Tensor,
    camera: Camera,
    *,
    background: torch.Tensor | tuple[float, float, float] = (0.0, 0.0, 0.0),
    near: float = 0.01,
) -> Render:
    """Splat n Gaussians into the camera's image.

    means: (n, 3) m; covariances: (n, 3, 3) m^2; opacities: (n,) 0 to 1; colors: (n, 3) RGB;
    background: (3,) or an image (H, W, 3); near: m, Gaussians whose mean is closer are left out.
    The result carries no gradient. Raises ValueError for a wrong shape, NaN or infinity.
    """
    with runtime.one_torch_thread():
        return _render(means, covariances, opacities, colors, camera, background, near)


def _render(means, covariances, opacities, colors, camera, background, near) -> Render:
    n = means.shape[0] if isinstance(means, torch.Tensor) and means.ndim else 0
    check_tensor("means", means, (n, 3))
    check_tensor("covariances", covariances, (n, 3, 3))
    check_tensor("opacities", opacities, (n,))
    check_tensor("colors", colors, (n, 3))
    if not near > 0:
        raise ValueError(f"near: got {near}, expected > 0 m")
    height, width = camera.height, camera.width
    background = torch.as_tensor(background, dtype=torch.float32)
    if tuple(background.shape) not in ((3,), (height, width, 3)):
        got = tuple(background.shape)
        raise ValueError(f"background: got shape {got}, expected (3,) or {(height, width, 3)}")
    device = runtime.ensure_initialized().device
    means_, covariances_, opacities_, colors_ = (
        value.detach().to(device, torch.float32).contiguous()
        for value in (means, covariances, opacities, colors)
    )
    uv, depth, ellipse, extent = project(means_, covariances_, opacities_, camera, near)
    members, starts = tile_lists(uv, depth, extent, width, height, TILE)
    light = torch.zeros(height, width, 4, device=device)
    transmittance = torch.ones(height, width, device=device)
    if len(members):
        composite = rasterize.by_rows if device.type == "cpu" else rasterize.by_pixels
        composite(
            members, starts, uv, depth, ellipse, opacities_, colors_, TILE, light, transmittance
        )
    alpha = 1 - transmittance
    rgb = light[..., :3] + transmittance[..., None] * background.to(device)
    mean_depth = light[..., 3] / alpha.clamp_min(torch.finfo(torch.float32).tiny)
    return Render(
        rgb=rgb.to(means.device), alpha=alpha.to(means.device), depth=mean_depth.to(means.device)
    )
