"""From Gaussians in the world to ellipses in the image (EWA splatting, Zwicker et al. 2001)."""

import numpy as np
import taichi as ti
import torch

from renderers.camera import Camera


vec2 = ti.types.vector(2, ti.f32)
vec3 = ti.types.vector(3, ti.f32)
vec4 = ti.types.vector(4, ti.f32)
mat3 = ti.types.matrix(3, 3, ti.f32)

LOW_PASS = 0.3  # px^2 added to every variance: no Gaussian is thinner than about half a pixel
MIN_ALPHA = 1 / 255  # a Gaussian contributes nothing where its alpha is below this
GUARD = 0.15  # fraction of the image by which the point of linearisation may lie outside it


@ti.kernel
def _project(
    means: ti.types.ndarray(dtype=vec3, ndim=1),
    covariances: ti.types.ndarray(dtype=mat3, ndim=1),
    opacities: ti.types.ndarray(dtype=ti.f32, ndim=1),
    rotation: mat3,
    translation: vec3,
    focal: vec2,
    center: vec2,
    size: vec2,
    near: ti.f32,
    uv: ti.types.ndarray(dtype=vec2, ndim=1),
    depth: ti.types.ndarray(dtype=ti.f32, ndim=1),
    ellipse: ti.types.ndarray(dtype=vec4, ndim=1),
    extent: ti.types.ndarray(dtype=vec2, ndim=1),
):
    for i in range(means.shape[0]):
        extent[i] = vec2(0.0, 0.0)
        p = rotation @ means[i] + translation
        level = 2.0 * ti.log(ti.max(opacities[i] / MIN_ALPHA, 1e-6))
        if p.z > near and level > 0.0:
            mean = focal * p.xy / p.z + center
            # The perspective is linearised at the mean, but not far outside the image, where
            # that would smear a Gaussian over it (the reference code of 3DGS does the same).
            at = ti.math.clamp(mean, -GUARD * size, (1.0 + GUARD) * size)
            slope = (at - center) / focal
            W = covariances[i]
            C = rotation @ W @ rotation.transpose()
            ju = vec3(focal.x, 0.0, -focal.x * slope.x) / p.z
            jv = vec3(0.0, focal.y, -focal.y * slope.y) / p.z
            a = ju.dot(C @ ju) + LOW_PASS
            b = ju.dot(C @ jv)
            c = jv.dot(C @ jv) + LOW_PASS
            determinant = a * c - b * b
            reach = ti.sqrt(level * vec2(a, c))
            last, first = mean + reach, mean - reach
            seen = last.x > 0.0 and last.y > 0.0 and first.x < size.x and first.y < size.y
            if determinant > 0.0 and seen:
                uv[i] = mean
                depth[i] = p.z
                ellipse[i] = vec4(c / determinant, -b / determinant, a / determinant, level)
                extent[i] = reach


def project(
    means: torch.Tensor,
    covariances: torch.Tensor,
    opacities: torch.Tensor,
    camera: Camera,
    near: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Project n Gaussians: means (n, 3) m, covariances (n, 3, 3) m^2, opacities (n,), all f32.

    Returns uv (n, 2) px; depth (n,) m; ellipse (n, 4): the inverse 2D covariance (xx, xy, yy),
    1/px^2, and the level of its quadratic form where alpha falls to MIN_ALPHA; extent (n, 2) px:
    half the size of the box around that level, zero for a Gaussian that is not seen.
    """
    n = means.shape[0]
    uv, depth, ellipse, extent = (
        means.new_zeros(shape) for shape in ((n, 2), (n,), (n, 4), (n, 2))
    )
    if n:
        pose = camera.world_to_camera.astype(np.float32)
        _project(
            means, covariances, opacities,
            ti.Matrix(pose[:3, :3].tolist(), ti.f32), ti.Vector(pose[:3, 3].tolist(), ti.f32),
            ti.Vector([camera.fx, camera.fy], ti.f32), ti.Vector([camera.cx, camera.cy], ti.f32),
            ti.Vector([camera.width, camera.height], ti.f32), near,
            uv, depth, ellipse, extent,
        )  # fmt: skip
    return uv, depth, ellipse, extent
