"""Projection of Gaussians to ellipses in the image (EWA splatting, Zwicker et al. 2001)."""

import functools

import torch

from renderers.camera import Camera
from renderers.splats.sh import per_gaussian
from taichi_phys.bridge.autograd import TAICHI_TYPE, by_autodiff
from taichi_phys.language import ti


LOW_PASS = 0.3  # px^2, added to each variance: no Gaussian is thinner than about half a pixel
MIN_ALPHA = 1 / 255  # a Gaussian contributes nothing where its alpha is below this
GUARD = 0.15  # fraction of the image by which the point of linearization may lie outside it


@functools.cache
def _kernels(dtype: torch.dtype, antialiased: bool):
    real = TAICHI_TYPE[dtype]
    vec2, vec3, vec4 = (ti.types.vector(k, real) for k in (2, 3, 4))
    mat3 = ti.types.matrix(3, 3, real)

    @ti.kernel
    def covariance(
        quats: ti.types.ndarray(dtype=vec4, ndim=1),
        scales: ti.types.ndarray(dtype=vec3, ndim=1),
        covariances: ti.types.ndarray(dtype=mat3, ndim=1),
    ):
        for i in range(quats.shape[0]):
            q = quats[i] / ti.sqrt(quats[i].dot(quats[i]))
            w, x, y, z = q[0], q[1], q[2], q[3]
            s = scales[i]
            M = mat3(
                [(1 - 2 * (y * y + z * z)) * s.x, 2 * (x * y - w * z) * s.y,
                 2 * (x * z + w * y) * s.z],
                [2 * (x * y + w * z) * s.x, (1 - 2 * (x * x + z * z)) * s.y,
                 2 * (y * z - w * x) * s.z],
                [2 * (x * z - w * y) * s.x, 2 * (y * z + w * x) * s.y,
                 (1 - 2 * (x * x + y * y)) * s.z],
            )  # fmt: skip
            covariances[i] = M @ M.transpose()

    @ti.kernel
    def project(
        means: ti.types.ndarray(dtype=vec3, ndim=1),
        covariances: ti.types.ndarray(dtype=mat3, ndim=1),
        opacities: ti.types.ndarray(dtype=real, ndim=1),
        rotation: ti.types.ndarray(dtype=mat3, ndim=1),
        translation: ti.types.ndarray(dtype=vec3, ndim=1),
        fx: real,
        fy: real,
        cx: real,
        cy: real,
        width: real,
        height: real,
        near: real,
        uv: ti.types.ndarray(dtype=vec2, ndim=1),
        depth: ti.types.ndarray(dtype=real, ndim=1),
        conic: ti.types.ndarray(dtype=vec3, ndim=1),
        alpha: ti.types.ndarray(dtype=real, ndim=1),
        reach: ti.types.ndarray(dtype=vec3, ndim=1),
    ):
        for i in range(means.shape[0]):
            focal, center, size = vec2(fx, fy), vec2(cx, cy), vec2(width, height)
            # The pose has one row for all Gaussians, or one row for each (`per_gaussian`).
            R = rotation[ti.min(i, rotation.shape[0] - 1)]
            m = means[i]
            p = vec3(R[0, :].dot(m), R[1, :].dot(m), R[2, :].dot(m))
            p = p + translation[ti.min(i, translation.shape[0] - 1)]
            # Gaussians behind the near plane are computed too, at a distance where all stays
            # finite, because Taichi's autodiff does not follow matrix products in a branch.
            z = ti.select(p.z > near, p.z, 1.0)
            mean = focal * p.xy / z + center
            # The perspective is linearized at the mean, or at the nearest point at most GUARD
            # outside the image: a linearization farther outside would smear the Gaussian over the
            # image (as in the code of 3DGS and gsplat).
            slope = (ti.min(ti.max(mean, -GUARD * size), (1.0 + GUARD) * size) - center) / focal
            ju = (R[0, :] - slope.x * R[2, :]) * (focal.x / z)
            jv = (R[1, :] - slope.y * R[2, :]) * (focal.y / z)
            W = covariances[i]
            Wu = vec3(W[0, :].dot(ju), W[1, :].dot(ju), W[2, :].dot(ju))
            Wv = vec3(W[0, :].dot(jv), W[1, :].dot(jv), W[2, :].dot(jv))
            a0, b, c0 = ju.dot(Wu), ju.dot(Wv), jv.dot(Wv)
            a, c = a0 + LOW_PASS, c0 + LOW_PASS
            determinant = a * c - b * b
            opacity = opacities[i]
            if ti.static(antialiased):
                # The low-pass filter widens a Gaussian; a lower opacity keeps its total light.
                opacity = opacity * ti.sqrt(ti.max((a0 * c0 - b * b) / determinant, 1e-12))
            level = 2.0 * ti.log(ti.max(opacity / MIN_ALPHA, 1e-6))
            # The root of 0 has an infinite derivative, and infinity times 0 would be NaN.
            extent = ti.sqrt(ti.max(level, 1e-6) * vec2(a, c))
            last, first = mean + extent, mean - extent
            inside = last.x > 0 and last.y > 0 and first.x < size.x and first.y < size.y
            if p.z > near and determinant > 0.0 and level > 0.0 and inside:
                uv[i] = mean
                depth[i] = z
                conic[i] = vec3(c, -b, a) / determinant
                alpha[i] = opacity
                reach[i] = vec3(extent, level)

    return covariance, project


def covariances_of(quats: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """The covariances R diag(scales)^2 R^T, (n, 3, 3) m^2; quats: (n, 4) wxyz, scales: (n, 3) m."""
    if not len(quats):
        return scales.new_zeros(0, 3, 3)
    kernel, _ = _kernels(quats.dtype, False)
    return by_autodiff(kernel, quats, scales, outputs=[(len(quats), 3, 3)])[0]


def project(
    means: torch.Tensor,
    covariances: torch.Tensor,
    opacities: torch.Tensor,
    camera: Camera,
    pose: torch.Tensor,
    *,
    near: float,
    antialiased: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The ellipses of n Gaussians in the image of a camera.

    means: (n, 3) m; covariances: (n, 3, 3) m^2; opacities: (n,); pose: (4, 4) world to camera,
    instead of the camera's pose; near: Gaussians nearer than this are left out, m; antialiased: see
    `render`. Returns uv (n, 2) px; depth (n,) m; conic (n, 3), the inverse 2D covariance
    (xx, xy, yy), 1/px^2; alpha (n,) at the center of the ellipse; and reach (n, 3), half the width
    and height, px, of the box around the level set where alpha falls to MIN_ALPHA, and that level.
    All but reach are differentiable. All are zero for a Gaussian that is not visible.
    """
    n = len(means)
    shapes: list[tuple[int, ...]] = [(n, 2), (n,), (n, 3), (n,), (n, 3)]
    if not n:
        uv, depth, conic, alpha, reach = (means.new_zeros(shape) for shape in shapes)
        return uv, depth, conic, alpha, reach
    constants = (
        camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height, near,
    )  # fmt: skip
    rotation, translation = per_gaussian(pose[None, :3, :3], n), per_gaussian(pose[None, :3, 3], n)
    _, kernel = _kernels(means.dtype, antialiased)
    uv, depth, conic, alpha, reach = by_autodiff(
        kernel, means, covariances, opacities, rotation, translation,
        outputs=shapes, constants=constants,
    )  # fmt: skip
    return uv, depth, conic, alpha, reach.detach()
