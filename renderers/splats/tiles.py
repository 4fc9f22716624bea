"""Which Gaussians touch which tile of the image, nearest first."""

import dataclasses
import functools

import taichi as ti
import torch

from taichi_phys.bridge.autograd import TAICHI_TYPE


MAX_PAIRS = (2**31 - 1) // 6  # backward keeps six numbers a pair, and Taichi counts in int32


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TileLists:
    """Pairs of a Gaussian and a tile that it touches.

    members (m,): Gaussians, tile after tile and in each by depth; slots (m,): the number of the
    pair when pairs are counted Gaussian after Gaussian instead, nearest first; starts
    (tiles + 1,): where each tile's members begin; order (s,): the Gaussians that are seen, nearest
    first; ends (s,): where their slots end. Tiles are squares of `size` px, counted along rows.
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
        """The tiles of a row that the ellipse touches, exactly.

        Its right edge at height y is x(y) = (-b y + sqrt(level a - D y^2)) / a, concave with its
        top at y = -b / c * reach.x: the farthest point inside the row is there, or at the nearer
        border of the row. The left edge is the same, turned by 180 degrees.
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
    """Depth-ordered lists of Gaussians for square tiles of `tile` px.

    uv (n, 2) px, depth (n,) m, conic (n, 3) 1/px^2, reach (n, 3), as `projection.project` gives
    them. Raises ValueError for more than MAX_PAIRS pairs.
    """
    columns, rows = -(-width // tile), -(-height // tile)
    seen = (reach[:, 2] > 0).nonzero()[:, 0]
    order = seen[torch.sort(depth[seen], stable=True).indices]
    starts = torch.zeros(columns * rows + 1, dtype=torch.int32, device=uv.device)
    counts = torch.zeros_like(order)
    count, emit = _kernels(uv.dtype)
    if len(order):
        count(uv, conic, reach, order, tile, columns, rows, counts)
    ends = counts.cumsum(0)
    pairs = int(ends[-1]) if len(ends) else 0
    if pairs > MAX_PAIRS:
        raise ValueError(
            f"scales: {len(order)} Gaussians cover {pairs} tiles of the image, expected at most "
            f"{MAX_PAIRS}: they are too many or too large for this camera"
        )
    tile_of = torch.empty(pairs, dtype=torch.int32, device=uv.device)
    gaussian_of, slots = torch.empty_like(tile_of), torch.empty(0, dtype=torch.int64)
    if pairs:
        emit(uv, conic, reach, order, ends, tile, columns, rows, tile_of, gaussian_of)
        starts[1:] = torch.bincount(tile_of, minlength=columns * rows).cumsum(0)
        # Both sorts are stable: each tile keeps the order of depth in which pairs were written.
        if uv.is_cuda:
            slots = torch.sort(tile_of, stable=True).indices
        else:
            slots = torch.empty(pairs, dtype=torch.int64)
            _counting_sort(tile_of, starts[:-1].clone(), slots)
    return TileLists(
        members=gaussian_of[slots], slots=slots, starts=starts, order=order, ends=ends, size=tile
    )
