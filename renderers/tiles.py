"""Which Gaussians touch which tile of the image, nearest first."""

import taichi as ti
import torch

from renderers.projection import vec2


@ti.func
def _tile_box(uv, extent, tile: ti.i32, columns: ti.i32, rows: ti.i32):
    low = ti.floor((uv - extent) / tile, ti.i32)
    high = ti.floor((uv + extent) / tile, ti.i32) + 1
    limit = ti.Vector([columns, rows])
    return ti.math.clamp(low, 0, limit), ti.math.clamp(high, 0, limit)


@ti.kernel
def _count(
    uv: ti.types.ndarray(dtype=vec2, ndim=1),
    extent: ti.types.ndarray(dtype=vec2, ndim=1),
    order: ti.types.ndarray(dtype=ti.i64, ndim=1),
    tile: ti.i32,
    columns: ti.i32,
    rows: ti.i32,
    counts: ti.types.ndarray(dtype=ti.i64, ndim=1),
):
    for k in range(order.shape[0]):
        i = ti.cast(order[k], ti.i32)
        low, high = _tile_box(uv[i], extent[i], tile, columns, rows)
        counts[k] = (high.x - low.x) * (high.y - low.y)


@ti.kernel
def _emit(
    uv: ti.types.ndarray(dtype=vec2, ndim=1),
    extent: ti.types.ndarray(dtype=vec2, ndim=1),
    order: ti.types.ndarray(dtype=ti.i64, ndim=1),
    ends: ti.types.ndarray(dtype=ti.i64, ndim=1),
    tile: ti.i32,
    columns: ti.i32,
    rows: ti.i32,
    tile_of: ti.types.ndarray(dtype=ti.i32, ndim=1),
    gaussian_of: ti.types.ndarray(dtype=ti.i32, ndim=1),
):
    for k in range(order.shape[0]):
        i = ti.cast(order[k], ti.i32)
        low, high = _tile_box(uv[i], extent[i], tile, columns, rows)
        slot = ends[k] - (high.x - low.x) * (high.y - low.y)
        for row in range(low.y, high.y):
            for column in range(low.x, high.x):
                tile_of[slot] = row * columns + column
                gaussian_of[slot] = i
                slot += 1


def tile_lists(
    uv: torch.Tensor, depth: torch.Tensor, extent: torch.Tensor, width: int, height: int, tile: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth-ordered lists of Gaussians for square tiles of `tile` px, row by row of tiles.

    uv (n, 2) px, depth (n,) m, extent (n, 2) px (zero: not seen), as `projection.project` gives.
    Returns members (m,), all lists one after another, and starts (tiles + 1,); int32.
    """
    columns, rows = -(-width // tile), -(-height // tile)
    seen = (extent[:, 0] > 0).nonzero()[:, 0]
    order = seen[torch.sort(depth[seen], stable=True).indices]
    starts = torch.zeros(columns * rows + 1, dtype=torch.int32, device=uv.device)
    if not len(order):
        return torch.zeros(0, dtype=torch.int32, device=uv.device), starts
    counts = torch.empty_like(order)
    _count(uv, extent, order, tile, columns, rows, counts)
    ends = counts.cumsum(0)
    tile_of = torch.empty(int(ends[-1]), dtype=torch.int32, device=uv.device)
    gaussian_of = torch.empty_like(tile_of)
    _emit(uv, extent, order, ends, tile, columns, rows, tile_of, gaussian_of)
    # Stable, so that each tile keeps the order of depth in which the pairs were written.
    by_tile = torch.sort(tile_of, stable=True).indices
    starts[1:] = torch.bincount(tile_of, minlength=columns * rows).cumsum(0)
    return gaussian_of[by_tile], starts
