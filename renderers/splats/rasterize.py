"""Compositing of the Gaussians of each tile from front to back, and its adjoint.

At a pixel p, Gaussian i has alpha_i = min(opacity_i exp(-q_i(p) / 2), MAX_ALPHA), where q_i is the
quadratic form of its conic and i counts from the nearest Gaussian. The pixel shows
sum_i T_i alpha_i c_i with T_i = prod_{j<i} (1 - alpha_j), and transmits T_end, the product over all
Gaussians. With the gradient g in the shown color and the gradient h in T_end, the adjoint is

    dL/dc_i = T_i alpha_i g,    dL/dalpha_i = T_i c_i.g - R_i / (1 - alpha_i),

where R_i = sum_{j>i} T_j alpha_j c_j.g + T_end h is the part behind Gaussian i. R starts as the sum
over all Gaussians, and each Gaussian subtracts its own term. So the adjoint runs from front to back
too, and repeats the arithmetic of the forward pass.

Two pairs of kernels compute the same numbers. The kernels by rows, for CPUs, visit in each row only
the pixels inside the ellipse of a Gaussian, and step its exponential along the row by two
multiplications, since an exponential per pixel would dominate the run time. The kernels by pixels,
for GPUs, have one thread per pixel and one block per tile.
"""

import functools
from collections.abc import Callable

import taichi as ti
import torch

from renderers.splats.tiles import TileLists
from taichi_phys.bridge.autograd import TAICHI_TYPE, differentiable


MAX_ALPHA = 0.999  # lets some light through every Gaussian, so that gradients stay finite
OPAQUE = 1e-4  # a pixel is finished when it transmits less light than this


@functools.cache
def _kernels(dtype: torch.dtype, by_rows: bool) -> tuple[Callable[..., None], ...]:
    """The kernels forward, backward and sum_pairs, which adds up the results of backward.

    members, slots, starts, order and ends belong to TileLists; tile: px. forward fills light and
    transmittance, which are zeros and ones before. backward writes the gradients of each pair to
    its slot in pair_moments and pair_channels, which are zeros before. behind is the R of the
    module's docstring, and is the sum over all Gaussians before.
    """
    real = TAICHI_TYPE[dtype]
    vec2, vec3, vec4 = (ti.types.vector(k, real) for k in (2, 3, 4))
    # Sums of dL/dpower over pixels, power = -q/2, times (1, x, y, x^2, x y, y^2).
    moments = ti.types.vector(6, real)
    nd = ti.types.ndarray
    ints, longs, numbers = nd(ti.i32, 1), nd(ti.i64, 1), nd(real, 1)
    vec2s, vec3s, vec4s, sums = nd(vec2, 1), nd(vec3, 1), nd(vec4, 1), nd(moments, 1)
    image, light_image = nd(real, 2), nd(vec4, 2)

    # By rows

    @ti.func
    def tile_at(t, tile, width, height):
        """The edges left, right, top and bottom of tile t, px."""
        columns = (width + tile - 1) // tile
        left, top = (t % columns) * tile, (t // columns) * tile
        return left, ti.min(left + tile, width), top, ti.min(top + tile, height)

    @ti.func
    def rows_of(center, conic, level, top, bottom):
        """The first and last row of the tile that the ellipse reaches."""
        determinant = conic.x * conic.z - conic.y * conic.y
        reach = ti.sqrt(level * conic.x / determinant)
        first = ti.max(top, ti.ceil(center.y - reach - 0.5, ti.i32))
        last = ti.min(bottom - 1, ti.floor(center.y + reach - 0.5, ti.i32))
        return first, last

    @ti.func
    def columns_of(center, conic, level, dy, left, right):
        """The first and last pixel inside the ellipse, of the row dy px below its center."""
        determinant = conic.x * conic.z - conic.y * conic.y
        middle = center.x - conic.y * dy / conic.x
        half = ti.sqrt(ti.max(level * conic.x - determinant * dy * dy, 0.0)) / conic.x
        first = ti.max(left, ti.ceil(middle - half - 0.5, ti.i32))
        last = ti.min(right - 1, ti.floor(middle + half - 0.5, ti.i32))
        return first, last

    @ti.func
    def walk(opacity, e, dx, dy):
        """alpha, not clamped, at dx, dy px from the center, and the factor to the next pixel."""
        value = opacity * ti.exp(-0.5 * (e.x * dx * dx + e.z * dy * dy) - e.y * dx * dy)
        return value, ti.exp(-e.x * (dx + 0.5) - e.y * dy)

    @ti.kernel
    def forward_rows(
        members: ints, starts: ints, uv: vec2s, conics: vec3s, reach: vec3s, opacities: numbers,
        channels: vec4s, tile: ti.i32, light: light_image, transmittance: image,
    ):  # fmt: skip
        height, width = transmittance.shape[0], transmittance.shape[1]
        ti.loop_config(block_dim=1)
        for t in range(starts.shape[0] - 1):
            left, right, top, bottom = tile_at(t, tile, width, height)
            unfinished = (right - left) * (bottom - top)
            for m in range(starts[t], starts[t + 1]):
                if unfinished == 0:
                    break
                i = members[m]
                e, center, level = conics[i], uv[i], reach[i].z
                opacity, channel = opacities[i], channels[i]
                ratio = ti.exp(-e.x)  # the factor between successive values of step
                first_row, last_row = rows_of(center, e, level, top, bottom)
                for row in range(first_row, last_row + 1):
                    dy = row + 0.5 - center.y
                    first, last = columns_of(center, e, level, dy, left, right)
                    if first <= last:
                        value, step = walk(opacity, e, first + 0.5 - center.x, dy)
                        for column in range(first, last + 1):
                            through = transmittance[row, column]
                            if through >= OPAQUE:
                                alpha = ti.min(value, MAX_ALPHA)
                                light[row, column] = light[row, column] + through * alpha * channel
                                through *= 1.0 - alpha
                                transmittance[row, column] = through
                                if through < OPAQUE:
                                    unfinished -= 1
                            value *= step
                            step *= ratio

    @ti.kernel
    def backward_rows(
        members: ints, slots: longs, starts: ints, uv: vec2s, conics: vec3s, reach: vec3s,
        opacities: numbers, channels: vec4s, tile: ti.i32, light_grad: light_image, behind: image,
        transmittance: image, pair_moments: sums, pair_channels: vec4s,
    ):  # fmt: skip
        """Overwrites behind and transmittance, which is ones before."""
        height, width = transmittance.shape[0], transmittance.shape[1]
        ti.loop_config(block_dim=1)
        for t in range(starts.shape[0] - 1):
            left, right, top, bottom = tile_at(t, tile, width, height)
            unfinished = (right - left) * (bottom - top)
            for m in range(starts[t], starts[t + 1]):
                if unfinished == 0:
                    break
                i = members[m]
                e, center, level = conics[i], uv[i], reach[i].z
                opacity, channel = opacities[i], channels[i]
                ratio = ti.exp(-e.x)
                first_row, last_row = rows_of(center, e, level, top, bottom)
                total, channel_grad = moments(0.0), vec4(0.0)
                for row in range(first_row, last_row + 1):
                    dy = row + 0.5 - center.y
                    first, last = columns_of(center, e, level, dy, left, right)
                    if first <= last:
                        dx = first + 0.5 - center.x
                        value, step = walk(opacity, e, dx, dy)
                        s0, s1, s2 = ti.zero(value), ti.zero(value), ti.zero(value)
                        for column in range(first, last + 1):
                            through = transmittance[row, column]
                            if through >= OPAQUE:
                                alpha = ti.min(value, MAX_ALPHA)
                                g = light_grad[row, column]
                                weight = through * alpha
                                channel_grad += weight * g
                                shown = channel.dot(g)
                                rest = behind[row, column] - weight * shown
                                behind[row, column] = rest
                                # Where alpha is clamped, no gradient passes.
                                if value < MAX_ALPHA:
                                    power_grad = (through * shown - rest / (1.0 - alpha)) * alpha
                                    s0 += power_grad
                                    s1 += power_grad * dx
                                    s2 += power_grad * dx * dx
                                through *= 1.0 - alpha
                                transmittance[row, column] = through
                                if through < OPAQUE:
                                    unfinished -= 1
                            value *= step
                            step *= ratio
                            dx += 1.0
                        total += moments(s0, s1, s0 * dy, s2, s1 * dy, s0 * dy * dy)
                pair_moments[slots[m]] = total
                pair_channels[slots[m]] = channel_grad

    # By pixels

    @ti.func
    def pixel_at(k, tile, width):
        """Tile, row and column of the k-th pixel, counted tile after tile."""
        columns = (width + tile - 1) // tile
        t, local = k // (tile * tile), k % (tile * tile)
        return t, (t // columns) * tile + local // tile, (t % columns) * tile + local % tile

    @ti.func
    def from_center(row, column, center, e):
        """The offset d of a pixel from the center, px, and the quadratic form there."""
        d = vec2(column + 0.5, row + 0.5) - center
        return d, e.x * d.x * d.x + e.z * d.y * d.y + 2.0 * e.y * d.x * d.y

    @ti.kernel
    def forward_pixels(
        members: ints, starts: ints, uv: vec2s, conics: vec3s, reach: vec3s, opacities: numbers,
        channels: vec4s, tile: ti.i32, light: light_image, transmittance: image,
    ):  # fmt: skip
        height, width = transmittance.shape[0], transmittance.shape[1]
        ti.loop_config(block_dim=256)
        for k in range((starts.shape[0] - 1) * tile * tile):
            t, row, column = pixel_at(k, tile, width)
            if row < height and column < width:
                total, through = vec4(0.0), ti.cast(1.0, real)
                for m in range(starts[t], starts[t + 1]):
                    if through < OPAQUE:
                        break
                    i = members[m]
                    _, q = from_center(row, column, uv[i], conics[i])
                    if q <= reach[i].z:
                        alpha = ti.min(opacities[i] * ti.exp(-0.5 * q), MAX_ALPHA)
                        total += through * alpha * channels[i]
                        through *= 1.0 - alpha
                light[row, column] = total
                transmittance[row, column] = through

    @ti.kernel
    def backward_pixels(
        members: ints, slots: longs, starts: ints, uv: vec2s, conics: vec3s, reach: vec3s,
        opacities: numbers, channels: vec4s, tile: ti.i32, light_grad: light_image, behind: image,
        transmittance: image, pair_moments: sums, pair_channels: vec4s,
    ):  # fmt: skip
        """As backward_rows; the pixels of a tile add to the slot of a pair with atomics."""
        height, width = transmittance.shape[0], transmittance.shape[1]
        ti.loop_config(block_dim=256)
        for k in range((starts.shape[0] - 1) * tile * tile):
            t, row, column = pixel_at(k, tile, width)
            if row < height and column < width:
                g, rest = light_grad[row, column], behind[row, column]
                through = ti.cast(1.0, real)
                for m in range(starts[t], starts[t + 1]):
                    if through < OPAQUE:
                        break
                    i = members[m]
                    d, q = from_center(row, column, uv[i], conics[i])
                    if q <= reach[i].z:
                        value = opacities[i] * ti.exp(-0.5 * q)
                        alpha = ti.min(value, MAX_ALPHA)
                        weight, shown = through * alpha, channels[i].dot(g)
                        rest -= weight * shown
                        ti.atomic_add(pair_channels[slots[m]], weight * g)
                        if value < MAX_ALPHA:
                            s = (through * shown - rest / (1.0 - alpha)) * alpha
                            ti.atomic_add(
                                pair_moments[slots[m]],
                                s * moments(1.0, d.x, d.y, d.x * d.x, d.x * d.y, d.y * d.y),
                            )
                        through *= 1.0 - alpha

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

    if by_rows:
        return forward_rows, backward_rows, sum_pairs
    return forward_pixels, backward_pixels, sum_pairs


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
    by_rows: bool | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The composite of four channels, (H, W, 4), and the transmittance (H, W), of n Gaussians.

    lists: from `tile_lists`; height, width: px; uv: (n, 2) px, conics: (n, 3) 1/px^2, reach: (n, 3)
    and opacities: (n,), from `projection.project`; channels: (n, 4); by_rows: choice of the
    kernels, None to choose by device. Differentiable in all tensors except reach.
    """
    members, slots, starts = lists.members, lists.slots, lists.starts
    composite, pull, sum_pairs = _kernels(uv.dtype, not uv.is_cuda if by_rows is None else by_rows)

    def forward(*tensors):
        like = tensors[0]
        light, transmittance = like.new_zeros(height, width, 4), like.new_ones(height, width)
        if len(members):
            composite(members, starts, *tensors, lists.size, light, transmittance)
        return light, transmittance

    def backward(tensors, outputs, grads):
        (light, transmittance), (light_grad, through_grad) = outputs, grads
        uv, conics, _, opacities, channels = tensors
        results = tuple(torch.zeros_like(t) for t in (uv, conics, opacities, channels))
        if len(members):
            behind = (light * light_grad).sum(-1) + transmittance * through_grad
            # Zeros, since the kernels skip the pairs behind a finished tile.
            pair_moments = uv.new_zeros(len(members), 6)
            pair_channels = uv.new_zeros(len(members), 4)
            pull(
                members, slots, starts, *tensors, lists.size, light_grad, behind,
                torch.ones_like(transmittance), pair_moments, pair_channels,
            )  # fmt: skip
            sum_pairs(
                lists.order, lists.ends, conics, opacities, pair_moments, pair_channels, *results
            )
        uv_grad, conic_grad, opacity_grad, channel_grad = results
        return uv_grad, conic_grad, None, opacity_grad, channel_grad

    light, through = differentiable(forward, backward)(uv, conics, reach, opacities, channels)
    return light, through
