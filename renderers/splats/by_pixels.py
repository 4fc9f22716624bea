"""The kernels of compositing for GPUs: a thread for each pixel, and for each few pairs of a tile.

The adjoint needs no atomics, so that gradients are the same to the last bit from run to run. The
pairs of a tile are divided into groups of GROUP. One kernel walks along the Gaussians of each pixel
and keeps, at the first pair of each group, what the pixel transmits and the part R behind it. From
there a thread for each group adds up the gradients of its pairs over the pixels of the tile.
"""

import bisect
import functools
from collections.abc import Callable

import torch

from renderers.splats.compositing import MAX_ALPHA, OPAQUE, array_types, tile_at
from renderers.splats.tiles import TileLists
from taichi_phys.bridge.autograd import TAICHI_TYPE
from taichi_phys.language import ti
from taichi_phys.launching import launch


GROUP = 4  # pairs of a thread, which stay in its registers with their sums
MAX_KEPT = 2**27  # numbers kept at once: 0.5 GB in f32; tiles are taken in several turns beyond


@functools.cache
def kernels(dtype: torch.dtype) -> tuple[Callable[..., None], ...]:
    """forward, keep and add; their arguments are described in `compositing`.

    groups: (tiles + 1,) index of the first group of each tile; first_tile, last_tile: the range of
    tiles; kept: for each group of these tiles and each of its pixels, transmittance and R.
    """
    real = TAICHI_TYPE[dtype]
    vec4, moments, ints, longs, numbers, vec2s, vec3s, vec4s, sums, image, light_image = (
        array_types(dtype)
    )
    vec2, vec3 = ti.types.vector(2, real), ti.types.vector(3, real)

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
    def forward(
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
    def keep(
        members: ints, starts: ints, groups: ints, first_tile: ti.i32, last_tile: ti.i32,
        uv: vec2s, conics: vec3s, reach: vec3s, opacities: numbers, channels: vec4s, tile: ti.i32,
        light_grad: light_image, behind: image, kept: vec2s,
    ):  # fmt: skip
        """Keep the states of pixels; kept is zeros before, which mark what is finished."""
        height, width, area = behind.shape[0], behind.shape[1], tile * tile
        ti.loop_config(block_dim=256)
        for k in range((last_tile - first_tile) * area):
            t, row, column = pixel_at(first_tile * area + k, tile, width)
            if row < height and column < width:
                g, rest = light_grad[row, column], behind[row, column]
                through = ti.cast(1.0, real)
                for m in range(starts[t], starts[t + 1]):
                    if through < OPAQUE:
                        break
                    turn = m - starts[t]
                    if turn % GROUP == 0:
                        group = groups[t] - groups[first_tile] + turn // GROUP
                        kept[group * area + k % area] = vec2(through, rest)
                    i = members[m]
                    _, q = from_center(row, column, uv[i], conics[i])
                    if q <= reach[i].z:
                        alpha = ti.min(opacities[i] * ti.exp(-0.5 * q), MAX_ALPHA)
                        rest -= through * alpha * channels[i].dot(g)
                        through *= 1.0 - alpha

    @ti.kernel
    def add(
        members: ints, slots: longs, starts: ints, groups: ints, tiles: ints, first_tile: ti.i32,
        uv: vec2s, conics: vec3s, reach: vec3s, opacities: numbers, channels: vec4s, tile: ti.i32,
        light_grad: light_image, kept: vec2s, pair_moments: sums, pair_channels: vec4s,
    ):  # fmt: skip
        """Add up the gradients of the pairs of each group; tiles: the tile of each group."""
        height, width, area = light_grad.shape[0], light_grad.shape[1], tile * tile
        ti.loop_config(block_dim=128)
        for group in range(tiles.shape[0]):
            t = tiles[group]
            first = starts[t] + (group + groups[first_tile] - groups[t]) * GROUP
            count = ti.min(starts[t + 1] - first, GROUP)
            left, right, top, bottom = tile_at(t, tile, width, height)
            total, channel_grad = ti.Matrix.zero(real, GROUP, 6), ti.Matrix.zero(real, GROUP, 4)
            # What the pixels need of each pair stays in registers; a level below 0 is that of none.
            ellipse, shown_as = ti.Matrix.zero(real, GROUP, 7), ti.Matrix.zero(real, GROUP, 4)
            for e in ti.static(range(GROUP)):
                ellipse[e, 5] = -1.0
                if e < count:
                    i = members[first + e]
                    for j in ti.static(range(2)):
                        ellipse[e, j] = uv[i][j]
                    for j in ti.static(range(3)):
                        ellipse[e, 2 + j] = conics[i][j]
                    ellipse[e, 5], ellipse[e, 6] = reach[i].z, opacities[i]
                    for j in ti.static(range(4)):
                        shown_as[e, j] = channels[i][j]
            for row in range(top, bottom):
                for column in range(left, right):
                    state = kept[group * area + (row - top) * tile + column - left]
                    through, rest, g = state.x, state.y, light_grad[row, column]
                    for e in ti.static(range(GROUP)):
                        if through >= OPAQUE:
                            center = vec2(ellipse[e, 0], ellipse[e, 1])
                            conic = vec3(ellipse[e, 2], ellipse[e, 3], ellipse[e, 4])
                            d, q = from_center(row, column, center, conic)
                            if q <= ellipse[e, 5]:
                                value = ellipse[e, 6] * ti.exp(-0.5 * q)
                                shown = vec4([shown_as[e, j] for j in range(4)]).dot(g)
                                alpha = ti.min(value, MAX_ALPHA)
                                weight = through * alpha
                                rest -= weight * shown
                                for j in ti.static(range(4)):
                                    channel_grad[e, j] += weight * g[j]
                                # Where alpha is clamped, no gradient passes.
                                if value < MAX_ALPHA:
                                    s = (through * shown - rest / (1.0 - alpha)) * alpha
                                    terms = moments(1.0, d.x, d.y, d.x * d.x, d.x * d.y, d.y * d.y)
                                    for j in ti.static(range(6)):
                                        total[e, j] += s * terms[j]
                                through *= 1.0 - alpha
            for e in ti.static(range(GROUP)):
                if e < count:
                    slot = slots[first + e]
                    pair_moments[slot] = moments([total[e, j] for j in range(6)])
                    pair_channels[slot] = vec4([channel_grad[e, j] for j in range(4)])

    return forward, keep, add


def pull(
    lists: TileLists,
    tensors: tuple[torch.Tensor, ...],
    light_grad: torch.Tensor,
    behind: torch.Tensor,
    pair_moments: torch.Tensor,
    pair_channels: torch.Tensor,
) -> None:
    """Fill the gradients of each pair, as described in `compositing`."""
    _, keep, add = kernels(tensors[0].dtype)
    counts = -(-lists.starts.diff() // GROUP)
    ends = counts.cumsum(0, dtype=torch.int32)
    groups = torch.cat([torch.zeros_like(ends[:1]), ends])
    area, tiles = lists.size**2, torch.arange(len(counts), device=counts.device).int()
    at_once = max(1, MAX_KEPT // (2 * area))
    for first, last in turns(groups.tolist(), at_once):
        owners = torch.repeat_interleave(tiles[first:last], counts[first:last].long())
        kept = behind.new_zeros(len(owners) * area, 2)
        launch(
            keep, lists.members, lists.starts, groups, first, last, *tensors, lists.size,
            light_grad, behind, kept,
        )  # fmt: skip
        launch(
            add, lists.members, lists.slots, lists.starts, groups, owners, first, *tensors,
            lists.size, light_grad, kept, pair_moments, pair_channels,
        )  # fmt: skip


def turns(groups: list[int], at_once: int) -> list[tuple[int, int]]:
    """Ranges of tiles, in order, with at most so many groups each, and at least one group."""
    found, first, tiles = [], 0, len(groups) - 1
    while first < tiles:
        last = max(bisect.bisect_right(groups, groups[first] + at_once) - 1, first + 1)
        if groups[last] > groups[first]:
            found.append((first, last))
        first = last
    return found
