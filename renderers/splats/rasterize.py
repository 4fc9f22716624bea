"""Compositing of the Gaussians of each tile from front to back, and its adjoint.

At a pixel p, Gaussian i has alpha_i = min(opacity_i exp(-q_i(p) / 2), MAX_ALPHA), where q_i is the
quadratic form of its conic and i counts from the nearest Gaussian. The pixel shows
sum_i T_i alpha_i c_i with T_i = prod_{j<i} (1 - alpha_j), and transmits T_end, the product over all
Gaussians. With the gradient g in the shown color and the gradient h in T_end, the adjoint is

    dL/dc_i = T_i alpha_i g,    dL/dalpha_i = T_i c_i.g - R_i / (1 - alpha_i),

where R_i = sum_{j>i} T_j alpha_j c_j.g + T_end h is the part behind Gaussian i. R starts as the sum
over all Gaussians, and each Gaussian subtracts its own term. So the adjoint runs from front to back
too, and repeats the arithmetic of the forward pass.

Two pairs of kernels compute the same numbers: by_rows.py for CPUs, by_pixels.py for GPUs. Each
gives the gradients of the pairs of a Gaussian and a tile; here they are added up for each Gaussian.
"""

import functools
from collections.abc import Callable

import torch

from renderers.splats import by_pixels, by_rows
from renderers.splats.compositing import array_types
from renderers.splats.tiles import TileLists
from taichi_phys.bridge.autograd import TAICHI_TYPE, differentiable
from taichi_phys.language import ti
from taichi_phys.launching import launch


@functools.cache
def _sum_pairs(dtype: torch.dtype) -> Callable[..., None]:
    """The kernel that adds up the gradients of the pairs; order and ends belong to TileLists."""
    vec4, moments, _, longs, numbers, vec2s, vec3s, vec4s, sums, _, _ = array_types(dtype)
    vec2, vec3 = (ti.types.vector(k, TAICHI_TYPE[dtype]) for k in (2, 3))

    @ti.kernel
    def sum_pairs(
        order: longs, ends: longs, conics: vec3s, opacities: numbers, pair_moments: sums,
        pair_channels: vec4s, uv_grad: vec2s, conic_grad: vec3s, opacity_grad: numbers,
        channel_grad: vec4s,
    ):  # fmt: skip
        """Add up the gradients of each Gaussian over its pairs, in a fixed order."""
        for k in range(order.shape[0]):
            i = order[k]
            start = 0
            if k > 0:
                start = ti.cast(ends[k - 1], ti.i32)
            s, channel = moments(0.0), vec4(0.0)
            for slot in range(start, ti.cast(ends[k], ti.i32)):
                s += pair_moments[slot]
                channel += pair_channels[slot]
            e = conics[i]
            uv_grad[i] = vec2(e.x * s[1] + e.y * s[2], e.y * s[1] + e.z * s[2])
            conic_grad[i] = vec3(-0.5 * s[3], -s[4], -0.5 * s[5])
            opacity_grad[i] = s[0] / opacities[i]
            channel_grad[i] = channel

    return sum_pairs


def rasterize(
    lists: TileLists,
    height: int,
    width: int,
    uv: torch.Tensor,
    conics: torch.Tensor,
    reach: torch.Tensor,
    opacities: torch.Tensor,
    channels: torch.Tensor,
    *,
    on_gpu: bool | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The composite of four channels, (H, W, 4), and the transmittance (H, W), of n Gaussians.

    lists: from `tile_lists`; height, width: px; uv: (n, 2) px, conics: (n, 3) 1/px^2, reach: (n, 3)
    and opacities: (n,), from `projection.project`; channels: (n, 4); on_gpu: whether the
    kernels for GPUs are used, None to choose by device. Differentiable in all tensors except reach.
    """
    way = by_pixels if (uv.is_cuda if on_gpu is None else on_gpu) else by_rows

    def forward(*tensors):
        like = tensors[0]
        light, transmittance = like.new_zeros(height, width, 4), like.new_ones(height, width)
        if len(lists.members):
            composite = way.kernels(like.dtype)[0]
            arrays = (lists.members, lists.starts, *tensors)
            launch(composite, *arrays, lists.size, light, transmittance)
        return light, transmittance

    def backward(tensors, outputs, grads):
        (light, transmittance), (light_grad, through_grad) = outputs, grads
        uv, conics, _, opacities, channels = tensors
        results = tuple(torch.zeros_like(t) for t in (uv, conics, opacities, channels))
        if len(lists.members):
            behind = (light * light_grad).sum(-1) + transmittance * through_grad
            # Zeros, since the kernels skip the pairs behind a finished tile.
            pair_moments = uv.new_zeros(len(lists.members), 6)
            pair_channels = uv.new_zeros(len(lists.members), 4)
            way.pull(lists, tensors, light_grad, behind, pair_moments, pair_channels)
            launch(
                _sum_pairs(uv.dtype), lists.order, lists.ends, conics, opacities, pair_moments,
                pair_channels, *results,
            )  # fmt: skip
        uv_grad, conic_grad, opacity_grad, channel_grad = results
        return uv_grad, conic_grad, None, opacity_grad, channel_grad

    light, through = differentiable(forward, backward)(uv, conics, reach, opacities, channels)
    return light, through
