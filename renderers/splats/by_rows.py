"""The kernels of compositing for CPUs: in each row, the pixels inside the ellipse of a Gaussian.

Its exponential is stepped along the row by two multiplications, since an exponential per pixel
would dominate the run time. A tile belongs to one thread, which visits its Gaussians in turn.
"""

import functools
from collections.abc import Callable

import torch

from renderers.splats.compositing import MAX_ALPHA, OPAQUE, array_types, tile_at
from renderers.splats.tiles import TileLists
from taichi_phys.language import ti
from taichi_phys.launching import launch


@functools.cache
def kernels(dtype: torch.dtype) -> tuple[Callable[..., None], Callable[..., None]]:
    """forward and backward; their arguments are described in `compositing`."""
    vec4, moments, ints, longs, numbers, vec2s, vec3s, vec4s, sums, image, light_image = (
        array_types(dtype)
    )

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
    def forward(
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
    def backward(
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

    return forward, backward


def pull(
    lists: TileLists,
    tensors: tuple[torch.Tensor, ...],
    light_grad: torch.Tensor,
    behind: torch.Tensor,
    pair_moments: torch.Tensor,
    pair_channels: torch.Tensor,
) -> None:
    """Fill the gradients of each pair, as described in `compositing`."""
    _, backward = kernels(tensors[0].dtype)
    launch(
        backward, lists.members, lists.slots, lists.starts, *tensors, lists.size, light_grad,
        behind, torch.ones_like(behind), pair_moments, pair_channels,
    )  # fmt: skip
