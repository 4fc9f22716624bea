"""Lists of the Gaussians that touch each tile of the image, nearest first."""

import dataclasses
import functools

import torch

from taichi_phys.bridge.autograd import TAICHI_TYPE
from taichi_phys.language import ti
from taichi_phys.launching import launch


MAX_PAIRS = (2**31 - 1) // 6  # backward has six numbers per pair, and Taichi's indices are int32


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TileLists:
    """The pairs of a Gaussian and a tile that it touches.

    members: (m,) Gaussians of the pairs, sorted by tile and within a tile by depth; slots: (m,)
    index of each pair if the pairs are sorted by Gaussian instead, nearest first; starts:
    (tiles + 1,) index of the first member of each tile; order: (s,) visible Gaussians, nearest
    first; ends: (s,) end of the slots of each Gaussian in order; size: edge of the square tiles,
    px. Tiles are counted row by row.
    """

    members: torch.Tensor
    slots: torch.Tensor
    starts: torch.Tensor
    order: torch.Tensor
    ends: torch.Tensor
    size: int


@functools.cache
def _kernels(dtype: torch.dtype):
    real = TAICHI_TYPE[dtype]
    vec2, vec3 = ti.types.vector(2, real), ti.types.vector(3, real)

    @ti.func
    def tile_rows(v, reach, tile: ti.i32, rows: ti.i32):
        low = ti.floor((v - reach.y) / tile, ti.i32)
        high = ti.floor((v + reach.y) / tile, ti.i32) + 1
        return ti.math.clamp(low, 0, rows), ti.math.clamp(high, 0, rows)

    @ti.func
    def tile_columns(uv, conic, reach, row, tile: ti.i32, columns: ti.i32):
        """The first tile of a row that the ellipse touches, and the one after the last; exact.

        The right edge at height y is x(y) = (-b y + sqrt(level a - D y^2)) / a, a concave function
        with its maximum at y = -b / c * reach.x. So the rightmost point within the row is there, or
        at the nearer border of the row. The left edge is the right edge turned by 180 degrees.
        """
        a, b, c, level = conic.x, conic.y, conic.z, reach.z
        determinant = a * c - b * b
        low = ti.max(row * tile - uv.y, -reach.y)
        high = ti.min((row + 1) * tile - uv.y, reach.y)
        y_right = ti.math.clamp(-b / c * reach.x, low, high)
        y_left = ti.math.clamp(b / c * reach.x, low, high)
        right = ti.sqrt(ti.max(level * a - determinant * y_right * y_right, 0.0)) - b * y_right
        left = ti.sqrt(ti.max(level * a - determinant * y_left * y_left, 0.0)) + b * y_left
        first = ti.floor((uv.x - left / a) / tile, ti.i32)
        last = ti.floor((uv.x + right / a) / tile, ti.i32) + 1
        return ti.math.clamp(first, 0, columns), ti.math.clamp(last, 0, columns)

    @ti.kernel
    def count(
        uv: ti.types.ndarray(dtype=vec2, ndim=1),
        conic: ti.types.ndarray(dtype=vec3, ndim=1),
        reach: ti.types.ndarray(dtype=vec3, ndim=1),
        order: ti.types.ndarray(dtype=ti.i64, ndim=1),
        tile: ti.i32,
        columns: ti.i32,
        rows: ti.i32,
        counts: ti.types.ndarray(dtype=ti.i64, ndim=1),
    ):
        for k in range(order.shape[0]):
            i = ti.cast(order[k], ti.i32)
            low, high = tile_rows(uv[i].y, reach[i], tile, rows)
            pairs = 0
            for row in range(low, high):
                first, last = tile_columns(uv[i], conic[i], reach[i], row, tile, columns)
                pairs += ti.max(last - first, 0)
            counts[k] = pairs

    @ti.kernel
    def emit(
        uv: ti.types.ndarray(dtype=vec2, ndim=1),
        conic: ti.types.ndarray(dtype=vec3, ndim=1),
        reach: ti.types.ndarray(dtype=vec3, ndim=1),
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
            low, high = tile_rows(uv[i].y, reach[i], tile, rows)
            slot = ti.cast(0, ti.i64)
            if k > 0:
                slot = ends[k - 1]
            for row in range(low, high):
                first, last = tile_columns(uv[i], conic[i], reach[i], row, tile, columns)
                for column in range(first, last):
                    tile_of[slot] = row * columns + column
                    gaussian_of[slot] = i
                    slot += 1

    return count, emit


@ti.kernel
def _counting_sort(
    tile_of: ti.types.ndarray(dtype=ti.i32, ndim=1),
    cursors: ti.types.ndarray(dtype=ti.i32, ndim=1),
    slots: ti.types.ndarray(dtype=ti.i64, ndim=1),
):
    ti.loop_config(serialize=True)
    for slot in range(tile_of.shape[0]):
        tile = tile_of[slot]
        slots[cursors[tile]] = slot
        cursors[tile] = cursors[tile] + 1


def tile_lists(
    uv: torch.Tensor,
    depth: torch.Tensor,
    conic: torch.Tensor,
    reach: torch.Tensor,
    width: int,
    height: int,
    tile: int,
) -> TileLists:
    """The lists of Gaussians, sorted by depth, for square tiles.

    uv: (n, 2) px, depth: (n,) m, conic: (n, 3) 1/px^2 and reach: (n, 3), from `projection.project`;
    width, height: of the image, px; tile: edge of a tile, px. Raises ValueError for more than
    MAX_PAIRS pairs.
    """
    columns, rows = -(-width // tile), -(-height // tile)
    seen = (reach[:, 2] > 0).nonzero()[:, 0]
    order = seen[torch.sort(depth[seen], stable=True).indices]
    starts = torch.zeros(columns * rows + 1, dtype=torch.int32, device=uv.device)
    counts = torch.zeros_like(order)
    count, emit = _kernels(uv.dtype)
    if len(order):
        launch(count, uv, conic, reach, order, tile, columns, rows, counts)
    ends = counts.cumsum(0)
    pairs = int(ends[-1]) if len(ends) else 0
    if pairs > MAX_PAIRS:
        raise ValueError(
            f"scales: {len(order)} Gaussians cover {pairs} tiles of the image, expected at most "
            f"{MAX_PAIRS}: use fewer or smaller Gaussians, or a smaller image"
        )
    tile_of = torch.empty(pairs, dtype=torch.int32, device=uv.device)
    gaussian_of = torch.empty_like(tile_of)
    slots = torch.empty(0, dtype=torch.int64, device=uv.device)
    if pairs:
        launch(emit, uv, conic, reach, order, ends, tile, columns, rows, tile_of, gaussian_of)
        # Both sorts are stable, so that the pairs of a tile stay sorted by depth.
        if uv.is_cuda:
            sorted_tiles, slots = torch.sort(tile_of, stable=True)
            tiles = torch.arange(columns * rows + 1, dtype=torch.int32, device=uv.device)
            starts = torch.searchsorted(sorted_tiles, tiles, out_int32=True)
        else:
            starts[1:] = torch.bincount(tile_of, minlength=columns * rows).cumsum(0)
            slots = torch.empty(pairs, dtype=torch.int64)
            launch(_counting_sort, tile_of, starts[:-1].clone(), slots)
    return TileLists(
        members=gaussian_of[slots], slots=slots, starts=starts, order=order, ends=ends, size=tile
    )
