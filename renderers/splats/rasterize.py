"""Compositing the Gaussians of each tile, front to back, and its adjoint.

A pixel p that sees alpha_i = min(opacity_i exp(-q_i(p) / 2), MAX_ALPHA), q the quadratic form of
the conic, nearest first, shows sum_i T_i alpha_i c_i with T_i = prod_{j<i} (1 - alpha_j). With g
the gradient of what it shows and h that of what it lets through, the adjoint is

    dL/dc_i = T_i alpha_i g,    dL/dalpha_i = T_i c_i.g - R_i / (1 - alpha_i),

R_i = sum_{j>i} T_j alpha_j c_j.g + T_end h being what lies behind i. R starts as the pixel's whole
and each Gaussian takes its share away, so the adjoint also goes front to back and repeats the
arithmetic of the forward pass.

There are two pairs of kernels for the same numbers. By rows, for CPUs: only the pixels of each row
where a Gaussian counts are visited, and its exponential is stepped along them by two
multiplications, because one evaluation for each pixel is what the time would go into there. By
pixels, for GPUs: a thread for each pixel, the pixels of a tile in one block.
"""

import functools

import taichi as ti
import torch

from renderers.splats.kernels import TAICHI_TYPE
from renderers.splats.tiles import TileLists


MAX_ALPHA = 0.999  # keeps a little light for what lies behind, so that gradients stay finite
OPAQUE = 1e-4  # a pixel that lets less light than this through is finished


@functools.cache
def _kernels(dtype: torch.dtype, by_rows: bool):
    """forward, backward and the sum of backward's pairs."""
    real = TAICHI_TYPE[dtype]
    vec2, vec3, vec4 = (ti.types.vector(k, real) for k in (2, 3, 4))
    # Sums of dL/dpower over pixels, power = -q/2, times (1, x, y, x^2, x y, y^2).
    moments = ti.types.vector(6, real)

    @ti.func
    def rows_of(center, conic, level, top, bottom):
        """The rows of the tile that the ellipse reaches."""
        determinant = conic.x * conic.z - conic.y * conic.y
        reach = ti.sqrt(level * conic.x / determinant)
        first = ti.max(top, ti.ceil(center.y - reach - 0.5, ti.i32))
        last = ti.min(bottom - 1, ti.floor(center.y + reach - 0.5, ti.i32))
        return first, last

    @ti.func
    def columns_of(center, conic, level, dy, left, right):
        """The pixels of a row, dy px below the centre, that lie inside the ellipse."""
        determinant = conic.x * conic.z - conic.y * conic.y
        middle = center.x - conic.y * dy / conic.x
        half = ti.sqrt(ti.max(level * conic.x - determinant * dy * dy, 0.0)) / conic.x
        first = ti.max(left, ti.ceil(middle - half - 0.5, ti.i32))
        last = ti.min(right - 1, ti.floor(middle + half - 0.5, ti.i32))
        return first, last

    @ti.kernel
    def forward_rows(
        members: ti.types.ndarray(dtype=ti.i32, ndim=1),
        starts: ti.types.ndarray(dtype=ti.i32, ndim=1),
        uv: ti.types.ndarray(dtype=vec2, ndim=1),
        conics: ti.types.ndarray(dtype=vec3, ndim=1),
        reach: ti.types.ndarray(dtype=vec3, ndim=1),
        opacities: ti.types.ndarray(dtype=real, ndim=1),
        channels: ti.types.ndarray(dtype=vec4, ndim=1),
        tile: ti.i32,
        light: ti.types.ndarray(dtype=vec4, ndim=2),
        transmittance: ti.types.ndarray(dtype=real, ndim=2),
    ):
        """Adds to light, which comes in as zeros; transmittance comes in as ones."""
        height, width = transmittance.shape[0], transmittance.shape[1]
        columns = (width + tile - 1) // tile
        ti.loop_config(block_dim=1)
        for t in range(starts.shape[0] - 1):
            left, top = (t % columns) * tile, (t // columns) * tile
            right, bottom = ti.min(left + tile, width), ti.min(top + tile, height)
            unfinished = (right - left) * (bottom - top)
            for m in range(starts[t], starts[t + 1]):
                if unfinished == 0:
                    break
                i = members[m]
                e, center, level = conics[i], uv[i], reach[i].z
                opacity, channel = opacities[i], channels[i]
                ratio = ti.exp(-e.x)  # of two neighbouring ratios of neighbouring pixels
                first_row, last_row = rows_of(center, e, level, top, bottom)
                for row in range(first_row, last_row + 1):
                    dy = row + 0.5 - center.y
                    first, last = columns_of(center, e, level, dy, left, right)
                    if first <= last:
                        dx = first + 0.5 - center.x
                        value = opacity * ti.exp(
                            -0.5 * (e.x * dx * dx + e.z * dy * dy) - e.y * dx * dy
                        )
                        step = ti.exp(-e.x * (dx + 0.5) - e.y * dy)
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
        members: ti.types.ndarray(dtype=ti.i32, ndim=1),
        slots: ti.types.ndarray(dtype=ti.i64, ndim=1),
        starts: ti.types.ndarray(dtype=ti.i32, ndim=1),
        uv: ti.types.ndarray(dtype=vec2, ndim=1),
        conics: ti.types.ndarray(dtype=vec3, ndim=1),
        reach: ti.types.ndarray(dtype=vec3, ndim=1),
        opacities: ti.types.ndarray(dtype=real, ndim=1),
        channels: ti.types.ndarray(dtype=vec4, ndim=1),
        tile: ti.i32,
        light_grad: ti.types.ndarray(dtype=vec4, ndim=2),
        behind: ti.types.ndarray(dtype=real, ndim=2),
        transmittance: ti.types.ndarray(dtype=real, ndim=2),
        pair_moments: ti.types.ndarray(dtype=moments, ndim=1),
        pair_channels: ti.types.ndarray(dtype=vec4, ndim=1),
    ):
        """Writes each pair's share of the gradients to its slot; uses up behind, the R of the
        module's docstring, which comes in as the pixel's whole, and transmittance, as ones."""
        height, width = transmittance.shape[0], transmittance.shape[1]
        columns = (width + tile - 1) // tile
        ti.loop_config(block_dim=1)
        for t in range(starts.shape[0] - 1):
            left, top = (t % columns) * tile, (t // columns) * tile
            right, bottom = ti.min(left + tile, width), ti.min(top + tile, height)
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
                        value = opacity * ti.exp(
                            -0.5 * (e.x * dx * dx + e.z * dy * dy) - e.y * dx * dy
                        )
                        step = ti.exp(-e.x * (dx + 0.5) - e.y * dy)
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
                                # Where the clamp of alpha holds, it stops the gradient.
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

    @ti.kernel
    def forward_pixels(
        members: ti.types.ndarray(dtype=ti.i32, ndim=1),
        starts: ti.types.ndarray(dtype=ti.i32, ndim=1),
        uv: ti.types.ndarray(dtype=vec2, ndim=1),
        conics: ti.types.ndarray(dtype=vec3, ndim=1),
        reach: ti.types.ndarray(dtype=vec3, ndim=1),
        opacities: ti.types.ndarray(dtype=real, ndim=1),
        channels: ti.types.ndarray(dtype=vec4, ndim=1),
        tile: ti.i32,
        light: ti.types.ndarray(dtype=vec4, ndim=2),
        transmittance: ti.types.ndarray(dtype=real, ndim=2),
    ):
        height, width = transmittance.shape[0], transmittance.shape[1]
        columns = (width + tile - 1) // tile
        ti.loop_config(block_dim=256)
        for k in range((starts.shape[0] - 1) * tile * tile):
            t, local = k // (tile * tile), k % (tile * tile)
            row = (t // columns) * tile + local // tile
            column = (t % columns) * tile + local % tile
            if row < height and column < width:
                total, through = vec4(0.0), ti.cast(1.0, real)
                for m in range(starts[t], starts[t + 1]):
                    if through < OPAQUE:
                        break
                    i = members[m]
                    e = conics[i]
                    d = vec2(column + 0.5, row + 0.5) - uv[i]
                    q = e.x * d.x * d.x + e.z * d.y * d.y + 2.0 * e.y * d.x * d.y
                    if q <= reach[i].z:
                        alpha = ti.min(opacities[i] * ti.exp(-0.5 * q), MAX_ALPHA)
                        total += through * alpha * channels[i]
                        through *= 1.0 - alpha
                light[row, column] = total
                transmittance[row, column] = through

    @ti.kernel
    def backward_pixels(
        members: ti.types.ndarray(dtype=ti.i32, ndim=1),
        slots: ti.types.ndarray(dtype=ti.i64, ndim=1),
        starts: ti.types.ndarray(dtype=ti.i32, ndim=1),
        uv: ti.types.ndarray(dtype=vec2, ndim=1),
        conics: ti.types.ndarray(dtype=vec3, ndim=1),
        reach: ti.types.ndarray(dtype=vec3, ndim=1),
        opacities: ti.types.ndarray(dtype=real, ndim=1),
        channels: ti.types.ndarray(dtype=vec4, ndim=1),
        tile: ti.i32,
        light_grad: ti.types.ndarray(dtype=vec4, ndim=2),
        behind: ti.types.ndarray(dtype=real, ndim=2),
        transmittance: ti.types.ndarray(dtype=real, ndim=2),
        pair_moments: ti.types.ndarray(dtype=moments, ndim=1),
        pair_channels: ti.types.ndarray(dtype=vec4, ndim=1),
    ):
        """As backward_rows; the pixels of a tile add to their pairs' slots by atomics."""
        height, width = transmittance.shape[0], transmittance.shape[1]
        columns = (width + tile - 1) // tile
        ti.loop_config(block_dim=256)
        for k in range((starts.shape[0] - 1) * tile * tile):
            t, local = k // (tile * tile), k % (tile * tile)
            row = (t // columns) * tile + local // tile
            column = (t % columns) * tile + local % tile
            if row < height and column < width:
                g, rest = light_grad[row, column], behind[row, column]
                through = ti.cast(1.0, real)
                for m in range(starts[t], starts[t + 1]):
                    if through < OPAQUE:
                        break
                    i = members[m]
                    e = conics[i]
                    d = vec2(column + 0.5, row + 0.5) - uv[i]
                    q = e.x * d.x * d.x + e.z * d.y * d.y + 2.0 * e.y * d.x * d.y
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
        order: ti.types.ndarray(dtype=ti.i64, ndim=1),
        ends: ti.types.ndarray(dtype=ti.i64, ndim=1),
        conics: ti.types.ndarray(dtype=vec3, ndim=1),
        opacities: ti.types.ndarray(dtype=real, ndim=1),
        pair_moments: ti.types.ndarray(dtype=moments, ndim=1),
        pair_channels: ti.types.ndarray(dtype=vec4, ndim=1),
        uv_grad: ti.types.ndarray(dtype=vec2, ndim=1),
        conic_grad: ti.types.ndarray(dtype=vec3, ndim=1),
        opacity_grad: ti.types.ndarray(dtype=real, ndim=1),
        channel_grad: ti.types.ndarray(dtype=vec4, ndim=1),
    ):
        """Gradients of each Gaussian from those of its pairs, in a fixed order."""
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


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, lists, size, by_rows, uv, conics, opacities, channels, reach):
        tensors = tuple(t.detach() for t in (uv, conics, reach, opacities, channels))
        light, transmittance = uv.new_zeros(*size, 4), uv.new_ones(size)
        if len(lists.members):
            forward, _, _ = _kernels(uv.dtype, by_rows)
            forward(lists.members, lists.starts, *tensors, lists.size, light, transmittance)
        ctx.lists, ctx.by_rows = lists, by_rows
        ctx.save_for_backward(*tensors, light, transmittance)
        return light, transmittance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, light_grad, through_grad):
        lists = ctx.lists
        *tensors, light, transmittance = (t.detach() for t in ctx.saved_tensors)
        uv, conics, _, opacities, channels = tensors
        grads = tuple(torch.zeros_like(t) for t in (uv, conics, opacities, channels))
        if len(lists.members):
            _, backward, sum_pairs = _kernels(uv.dtype, ctx.by_rows)
            behind = (light * light_grad).sum(-1) + transmittance * through_grad
            # Zeros: tiles end early, and then the pairs behind get no gradient.
            pair_moments = uv.new_zeros(len(lists.members), 6)
            pair_channels = uv.new_zeros(len(lists.members), 4)
            backward(
                lists.members, lists.slots, lists.starts, *tensors, lists.size,
                light_grad.contiguous(), behind, torch.ones_like(transmittance),
                pair_moments, pair_channels,
            )  # fmt: skip
            sum_pairs(
                lists.order, lists.ends, conics, opacities, pair_moments, pair_channels, *grads
            )
        return None, None, None, *grads, None


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
    """Composite four channels: returns their light (H, W, 4) and what is let through (H, W).

    uv (n, 2) px, conics (n, 3) 1/px^2, reach (n, 3), opacities (n,), as `projection.project` gives
    them; channels (n, 4); by_rows: which kernels, None to choose by device. Differentiable in all
    of them but reach.
    """
    by_rows = not uv.is_cuda if by_rows is None else by_rows
    tensors = (t.contiguous() for t in (uv, conics, opacities, channels, reach))
    return _Rasterize.apply(lists, (height, width), by_rows, *tensors)
