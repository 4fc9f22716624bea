"""Colors that depend on the direction of view, as real spherical harmonics of degree 0 to 4.

Signs, order and constants are those of 3D Gaussian Splatting and gsplat, so that files made with
these look the same here.
"""

import functools
import math

import torch

from renderers.splats.gaussians import SH_COUNTS, SH_DEGREE_0
from taichi_phys.bridge.autograd import TAICHI_TYPE, by_autodiff
from taichi_phys.language import ti


DEGREE_1 = 0.4886025119029199
DEGREE_2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
DEGREE_3 = (0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154)
DEGREE_4 = (
    2.5033429417967046,
    1.7701307697799304,
    0.9461746957575601,
    0.6690465435572892,
    0.10578554691520431,
    0.6258357354491761,
)


@functools.cache
def _kernel(dtype: torch.dtype, degree: int):
    real = TAICHI_TYPE[dtype]
    vec3 = ti.types.vector(3, real)
    mat3 = ti.types.matrix(3, 3, real)

    @ti.func
    def degree_1(sh: ti.template(), i, d):
        return DEGREE_1 * (d.z * sh[i, 2] - d.y * sh[i, 1] - d.x * sh[i, 3])

    @ti.func
    def degree_2(sh: ti.template(), i, d):
        xx, yy, zz = d.x * d.x, d.y * d.y, d.z * d.z
        return (
            DEGREE_2[0] * (d.x * d.y * sh[i, 4] - d.y * d.z * sh[i, 5] - d.x * d.z * sh[i, 7])
            + DEGREE_2[1] * (2.0 * zz - xx - yy) * sh[i, 6]
            + DEGREE_2[2] * (xx - yy) * sh[i, 8]
        )

    @ti.func
    def degree_3(sh: ti.template(), i, d):
        xx, yy, zz = d.x * d.x, d.y * d.y, d.z * d.z
        return (
            -DEGREE_3[0] * d.y * (3.0 * xx - yy) * sh[i, 9]
            + DEGREE_3[1] * d.x * d.y * d.z * sh[i, 10]
            - DEGREE_3[2] * d.y * (4.0 * zz - xx - yy) * sh[i, 11]
            + DEGREE_3[3] * d.z * (2.0 * zz - 3.0 * xx - 3.0 * yy) * sh[i, 12]
            - DEGREE_3[2] * d.x * (4.0 * zz - xx - yy) * sh[i, 13]
            + 0.5 * DEGREE_3[1] * d.z * (xx - yy) * sh[i, 14]
            - DEGREE_3[0] * d.x * (xx - 3.0 * yy) * sh[i, 15]
        )

    @ti.func
    def degree_4(sh: ti.template(), i, d):
        xx, yy, zz = d.x * d.x, d.y * d.y, d.z * d.z
        return (
            DEGREE_4[0] * d.x * d.y * (xx - yy) * sh[i, 16]
            - DEGREE_4[1] * d.y * d.z * (3.0 * xx - yy) * sh[i, 17]
            + DEGREE_4[2] * d.x * d.y * (7.0 * zz - 1.0) * sh[i, 18]
            - DEGREE_4[3] * d.y * d.z * (7.0 * zz - 3.0) * sh[i, 19]
            + DEGREE_4[4] * (zz * (35.0 * zz - 30.0) + 3.0) * sh[i, 20]
            - DEGREE_4[3] * d.x * d.z * (7.0 * zz - 3.0) * sh[i, 21]
            + 0.5 * DEGREE_4[2] * (xx - yy) * (7.0 * zz - 1.0) * sh[i, 22]
            - DEGREE_4[1] * d.x * d.z * (xx - 3.0 * yy) * sh[i, 23]
            + DEGREE_4[5] * (xx * (xx - 3.0 * yy) - yy * (3.0 * xx - yy)) * sh[i, 24]
        )

    @ti.kernel
    def shade(
        sh: ti.types.ndarray(dtype=vec3, ndim=2),
        means: ti.types.ndarray(dtype=vec3, ndim=1),
        eye: ti.types.ndarray(dtype=vec3, ndim=1),
        axes: ti.types.ndarray(dtype=mat3, ndim=1),
        colors: ti.types.ndarray(dtype=vec3, ndim=1),
    ):
        for i in range(means.shape[0]):
            color = 0.5 + SH_DEGREE_0 * sh[i, 0]
            if ti.static(degree > 0):
                # eye and axes have one row for all Gaussians, or one row for each.
                ray = means[i] - eye[ti.min(i, eye.shape[0] - 1)]
                A = axes[ti.min(i, axes.shape[0] - 1)]
                turned = ray.x * A[0, :] + ray.y * A[1, :] + ray.z * A[2, :]
                d = turned / ti.sqrt(turned.dot(turned) + 1e-20)
                color = color + degree_1(sh, i, d)
                if ti.static(degree > 1):
                    color = color + degree_2(sh, i, d)
                if ti.static(degree > 2):
                    color = color + degree_3(sh, i, d)
                if ti.static(degree > 3):
                    color = color + degree_4(sh, i, d)
            colors[i] = ti.max(color, 0.0)

    return shade


def shade(
    sh: torch.Tensor, means: torch.Tensor, eye: torch.Tensor, axes: torch.Tensor | None = None
) -> torch.Tensor:
    """The colors (n, 3) RGB of Gaussians seen from a point; never negative.

    sh: (n, K, 3) coefficients; means: (n, 3) m; eye: (3,) m; axes: (n, 3, 3) rotations of the
    Gaussians since their coefficients were learned, None for no rotation. The function turns the
    ray back, which is the same as turning the harmonics. Differentiable in all four.
    """
    n, degree = len(means), SH_COUNTS.index(sh.shape[1])
    if not n:
        return means.new_zeros(0, 3)
    eye = per_gaussian(eye[None], n)
    if axes is None:
        axes = torch.eye(3, dtype=means.dtype, device=means.device)[None]
    return by_autodiff(_kernel(means.dtype, degree), sh, means, eye, axes, outputs=[(n, 3)])[0]


@torch.no_grad()
def turned_sh(sh: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
    """The coefficients (n, K, 3) that look without sh_axes as sh looks with sh_axes.

    sh: (n, K, 3); axes: (n, 3, 3) rotations, as `render` takes them. A turned harmonic is a sum of
    harmonics of its degree: the result is the one with the same colors in enough directions.
    """
    n, count, _ = sh.shape
    if count == 1 or not n:
        return sh
    # Directions spread evenly over the sphere (Fibonacci's lattice), twice as many as needed.
    k = torch.arange(2 * count, dtype=torch.float64)
    z, turn = 1 - (2 * k + 1) / len(k), k * math.pi * (3 - math.sqrt(5))
    flat = (1 - z * z).sqrt()
    rays = torch.stack([flat * turn.cos(), flat * turn.sin(), z], dim=1).to(sh.device)
    # `shade` adds 0.5 and cuts at 0: small coefficients are never cut.
    size = 100 * sh.abs().amax().double().clamp_min(1e-12)
    small, origin = sh.double() / size, torch.zeros(3, dtype=torch.float64, device=sh.device)
    shown = torch.stack(
        [shade(small, ray.expand(n, 3).contiguous(), origin, axes.double()) - 0.5 for ray in rays],
        dim=1,
    )  # (n, 2K, 3)
    one = torch.zeros(count, count, 3, dtype=torch.float64, device=sh.device)
    one.diagonal()[:] = 0.01
    basis = torch.stack(
        [shade(one, ray.expand(count, 3).contiguous(), origin)[:, 0] - 0.5 for ray in rays]
    )  # (2K, K)
    return (size * 0.01 * torch.linalg.pinv(basis) @ shown).to(sh)


def per_gaussian(row: torch.Tensor, n: int) -> torch.Tensor:
    """row (1, ...) itself, or expanded to n rows if it requires a gradient.

    With one row, a kernel would sum its gradient with atomics, in an order and so with a rounding
    that change from run to run.
    """
    return row.expand(n, *row.shape[1:]) if row.requires_grad else row
