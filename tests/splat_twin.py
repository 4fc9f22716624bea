"""The splat renderer in torch: every Gaussian at every pixel, from the published formulas."""

import numpy as np
import torch
from scipy.special import factorial, lpmv


# As gsplat and 3DGS have them, not taken from the code under test.
LOW_PASS, GUARD, MIN_ALPHA, MAX_ALPHA, OPAQUE = 0.3, 0.15, 1 / 255, 0.999, 1e-4


def rotation_of(quats):
    """Rotation matrices (n, 3, 3): v + 2 w (u x v) + 2 u x (u x v), of unit quaternions (w, u)."""
    q = quats / quats.norm(dim=-1, keepdim=True)
    w, u = q[:, :1, None], q[:, 1:]
    cross = torch.stack([torch.linalg.cross(u, e.expand_as(u)) for e in torch.eye(3).to(u)], -1)
    return torch.eye(3).to(u) + 2 * w * cross + 2 * cross @ cross


def harmonics(directions, degree):
    """Real spherical harmonics (n, K), from associated Legendre functions with their phase."""
    x, y, z = np.asarray(directions, dtype=np.float64).T
    azimuth = np.arctan2(y, x)
    columns = []
    for level in range(degree + 1):
        for m in range(-level, level + 1):
            k = abs(m)
            norm = (2 * level + 1) / (4 * np.pi) * factorial(level - k) / factorial(level + k)
            wave = np.ones_like(x) if m == 0 else np.sqrt(2) * np.cos(k * azimuth)
            wave = np.sqrt(2) * np.sin(k * azimuth) if m < 0 else wave
            columns.append(np.sqrt(norm) * wave * lpmv(k, level, z))
    return torch.as_tensor(np.stack(columns, axis=1))


def project_twin(means, covariances, camera, pose, antialiased=False):
    """Centres (n, 2) px, 2D covariances (n, 2, 2) px^2, depth (n,) m, factors of opacity (n,)."""
    R = pose[:3, :3]
    p = means @ R.T + pose[:3, 3]
    size, focal, center = (
        torch.tensor(pair, dtype=means.dtype)
        for pair in (
            [camera.width, camera.height], [camera.fx, camera.fy], [camera.cx, camera.cy],
        )
    )  # fmt: skip
    z = p[:, 2:]
    uv = focal * p[:, :2] / z + center
    at = torch.maximum(torch.minimum(uv, (1 + GUARD) * size), -GUARD * size)
    J = torch.cat([torch.diag(focal) / z[..., None], (-(at - center) / z)[..., None]], dim=-1)
    sharp = J @ (R @ covariances @ R.T) @ J.mT
    blurred = sharp + LOW_PASS * torch.eye(2).to(means)
    factor = torch.ones_like(z[:, 0])
    if antialiased:
        factor = (torch.linalg.det(sharp) / torch.linalg.det(blurred)).clamp_min(1e-12).sqrt()
    return uv, blurred, z[:, 0], factor


def render_twin(
    camera, *, means, covariances, opacities, channels, background, near=0.01, antialiased=False,
    pose=None,
):  # fmt: skip
    """Channels (H, W, C), alpha (H, W) and depth (H, W) of what the renderer should show."""
    pose = torch.tensor(camera.world_to_camera).to(means) if pose is None else pose
    depth = means @ pose[2, :3] + pose[2, 3]
    order = depth.detach().argsort(stable=True)
    order = order[depth[order] > near]
    uv, cov, z, factor = project_twin(means[order], covariances[order], camera, pose, antialiased)
    v, u = torch.meshgrid(
        torch.arange(camera.height).to(means) + 0.5,
        torch.arange(camera.width).to(means) + 0.5,
        indexing="ij",
    )
    d = torch.stack([u, v], -1)[:, :, None] - uv
    power = torch.einsum("hwni,nij,hwnj->hwn", d, torch.linalg.inv(cov), d)
    alpha = opacities[order] * factor * torch.exp(-0.5 * power)
    alpha = torch.where(alpha < MIN_ALPHA, 0, alpha.clamp(max=MAX_ALPHA))
    # A pixel that lets less than OPAQUE through is finished.
    open_to = torch.nn.functional.pad(torch.cumprod(1 - alpha, -1), (1, 0), value=1.0)[..., :-1]
    alpha = torch.where(open_to < OPAQUE, 0, alpha)
    left = torch.nn.functional.pad(torch.cumprod(1 - alpha, -1), (1, 0), value=1.0)
    weight = left[..., :-1] * alpha
    shown = 1 - left[..., -1]
    picture = weight @ channels[order] + left[..., -1:] * torch.as_tensor(background).to(means)
    return picture, shown, (weight @ z) / torch.where(shown > 0, shown, 1)
