"""Which points lie inside a closed triangle mesh: winding numbers by rays along z."""

import numpy as np


PAIRS = 1_000_000  # pairs of a triangle and a ray that are tested at once


def winding(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n,) int: how often a closed mesh winds around each point.

    vertices: (m, 3) m; faces: (k, 3) indices of vertices; points: (n, 3) m. The number is 1 inside
    a shell whose faces point outwards and -1 inside a shell whose faces point inwards. A point on
    the surface may count as inside or outside. For an open mesh the number has no meaning. Raises
    ValueError.

    A ray goes up from each point. Whether the ray meets a triangle is a winding number too, in the
    xy plane: a sum over the crossings of the triangle's edges by a line along x. The lower end of
    an edge belongs to the edge and the upper end does not, and both triangles at an edge compute
    the same crossing. So rounding can neither let a ray slip between two triangles nor count a
    triangle twice; rays through vertices, along edges and within faces need no special case.
    Points that lie above each other, as in a lattice, share a ray.
    """
    points, vertices = _rows("points", points), _rows("vertices", vertices)
    faces = np.asarray(faces)
    if faces.ndim != 2 or faces.shape[1] != 3 or not np.issubdtype(faces.dtype, np.integer):
        raise ValueError(f"faces: got {faces.dtype} {faces.shape}, expected integers (k, 3)")
    if faces.size and not 0 <= faces.min() <= faces.max() < len(vertices):
        raise ValueError(f"faces: got indices beyond the {len(vertices)} vertices")
    if not len(faces) or not len(points):
        return np.zeros(len(points), np.int64)
    # numpy sorts complex numbers by x, then y, much faster than rows
    xy = np.ascontiguousarray(points[:, :2]).view(complex)[:, 0]
    rays, ray = np.unique(xy, return_inverse=True)
    met, heights, turns = _crossings(vertices[faces], rays.view(float).reshape(-1, 2))
    # Down each ray from above, the sum of the crossings up to a point is its winding number; the
    # crossings of a whole ray add up to 0, so that the sums of different rays do not mix.
    down = -np.concatenate([points[:, 2], heights])
    order = np.lexsort((down, np.concatenate([ray, met])))
    found = np.empty(len(order), np.int64)
    found[order] = np.concatenate([np.zeros(len(points), np.int64), turns])[order].cumsum()
    return found[: len(points)]


def _crossings(corners: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where lines along z through rays (n, 2) m meet triangles (k, 3, 3) m.

    Returns for each crossing the index of the ray, z in m, and 1 where the triangle faces up or -1
    where it faces down.
    """
    # Rays are sorted by rows of cells, so that a triangle meets one run of rays in each row.
    low, high = corners.min(axis=1)[:, :2], corners.max(axis=1)[:, :2]
    origin = low.min(axis=0)
    extent = high.max(axis=0) - origin
    size = int(np.clip(np.sqrt(max(len(corners), len(rays))), 1, 1024))
    scale = np.divide(size, extent, out=np.zeros(2), where=extent > 0)

    def cells(x):  # monotone, so that a ray inside a box lies in one of the cells of the box
        return np.clip((x - origin) * scale, 0, size - 1).astype(np.int64)

    number = cells(rays) @ [1, size]
    seen = np.flatnonzero(((rays >= origin) & (rays <= high.max(axis=0))).all(axis=1))
    order = seen[np.argsort(number[seen], kind="stable")]
    start = np.searchsorted(number[order], np.arange(size * size + 1))
    first, last = cells(low), cells(high)
    rows = last[:, 1] - first[:, 1] + 1
    found = [(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))]
    for triangles in _chunks(rows):
        triangle, row = _expand(triangles, rows[triangles])
        row = (first[triangle, 1] + row) * size
        begin = start[row + first[triangle, 0]]
        length = start[row + last[triangle, 0] + 1] - begin
        for part in _chunks(length):
            pair, step = _expand(part, length[part])
            ray, triangle_of = order[begin[pair] + step], triangle[pair]
            turns = _turns(corners[triangle_of], rays[ray])
            ray, triangle_of, turns = (a[turns != 0] for a in (ray, triangle_of, turns))
            found.append((ray, _heights(corners[triangle_of], rays[ray]), turns))
    rays_met, heights, turns = (np.concatenate(column) for column in zip(*found, strict=True))
    return rays_met, heights, turns


def _rows(name: str, value) -> np.ndarray:
    rows = np.asarray(value, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise ValueError(f"{name}: got shape {rows.shape}, expected (n, 3)")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name}: got NaN or infinity, expected finite values")
    return rows


def _chunks(counts: np.ndarray):
    """Index ranges whose counts add up to about PAIRS."""
    group = np.cumsum(counts) // PAIRS
    yield from np.split(np.arange(len(counts)), np.flatnonzero(np.diff(group)) + 1)


def _expand(items: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each item repeated counts times, and beside it the number 0, 1, 2 ... of the repetition."""
    ends = np.cumsum(counts)
    return np.repeat(items, counts), np.arange(ends[-1]) - np.repeat(ends - counts, counts)


def _turns(corners: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """(n,) +1, 0 or -1: how triangles (n, 3, 3) wind around points (n, 2), seen from above."""
    x, y = rays.T
    turns = np.zeros(len(rays), np.int64)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        (ax, ay), (bx, by) = corners[:, a, :2].T, corners[:, b, :2].T
        up = (by > y).astype(np.int64) - (ay > y)  # 1: the edge crosses the line upwards
        # from the lower end, so that the triangle beyond the edge computes the same crossing
        low_x, low_y = np.where(up > 0, ax, bx), np.where(up > 0, ay, by)
        high_x, high_y = np.where(up > 0, bx, ax), np.where(up > 0, by, ay)
        part = (y - low_y) / np.where(up == 0, 1.0, high_y - low_y)
        crossing = low_x + part * (high_x - low_x)
        crossing = np.clip(crossing, np.minimum(ax, bx), np.maximum(ax, bx))
        turns += up * (crossing > x)
    return turns


def _heights(corners: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """(n,) z of triangles (n, 3, 3) at points (n, 2) in the xy plane.

    z is clamped to the range of the corners, since it is ill-defined in upright triangles.
    """
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    slope = (normal[:, :2] * (rays - corners[:, 0, :2])).sum(axis=1)
    height = corners[:, 0, 2] - slope / np.where(normal[:, 2] == 0, 1.0, normal[:, 2])
    return np.clip(height, corners[..., 2].min(axis=1), corners[..., 2].max(axis=1))
