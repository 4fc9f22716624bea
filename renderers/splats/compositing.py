"""What the kernels of compositing share, and their arguments.

members, slots and starts belong to `TileLists`; uv (n,) px, conics (n,) 1/px^2, reach (n,) and
opacities (n,) to `projection.project`; channels (n,) are shown; tile: px. A picture is light (H, W)
and transmittance (H, W). Backward takes light_grad, the gradient in light, and behind (H, W), the R
of `rasterize` at the first Gaussian, and writes the gradients of each pair to its slot in
pair_moments, the sums of dL/dpower over pixels times (1, x, y, x^2, x y, y^2) with power = -q / 2,
and in pair_channels. Both are zeros before, since pairs behind a finished tile are skipped.
"""

import torch

from taichi_phys.bridge.autograd import TAICHI_TYPE
from taichi_phys.language import ti


MAX_ALPHA = 0.999  # lets some light through every Gaussian, so that gradients stay finite
OPAQUE = 1e-4  # a pixel is finished when it transmits less light than this


def array_types(dtype: torch.dtype) -> tuple:
    """The types of vectors and arrays of a precision, in the order in which kernels use them."""
    real = TAICHI_TYPE[dtype]
    vec2, vec3, vec4, moments = (ti.types.vector(k, real) for k in (2, 3, 4, 6))
    nd = ti.types.ndarray
    lines = (nd(kind, 1) for kind in (ti.i32, ti.i64, real, vec2, vec3, vec4, moments))
    return vec4, moments, *lines, nd(real, 2), nd(vec4, 2)


@ti.func
def tile_at(t, tile, width, height):
    """The edges left, right, top and bottom of tile t, px."""
    columns = (width + tile - 1) // tile
    left, top = (t % columns) * tile, (t // columns) * tile
    return left, ti.min(left + tile, width), top, ti.min(top + tile, height)
