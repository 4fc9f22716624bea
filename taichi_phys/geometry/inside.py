"""Which points lie inside a closed triangle mesh: winding numbers by rays along z."""

import numpy as np


PAIRS = 1_000_000  # pairs of a triangle and a point that are looked at together


def inside(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n,) bool: whether a closed mesh winds around each point; surface points may go either way.

    vertices: (m, 3) m; faces: (k, 3) indices; points: (n, 3) m. Bodies that overlap are united, a
    shell turned inwards is a cavity. Raises ValueError. Of an open mesh the answer has no meaning.
    """
    return winding(vertices, faces, points) != 0


def winding(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n,) int: how often a closed mesh winds around each point, +1 inside an outward shell.

    vertices: (m, 3) m; faces: (k, 3) indices; points: (n, 3) m. Raises ValueError.

    A ray goes up from each point. Whether it meets a triangle is itself a winding number, in the
    xy plane, summed from crossings of edges by a line along x: ends of edges are half-open, and
    the place of a crossing is the same number for both triangles at an edge. So rounding cannot
    let a ray slip between triangles or count one twice, however degenerate it is: rays through
    vertices, along edges and within faces need no special case.
    """
    points, vertices = _rows("points", points), _rows("vertices", vertices)
    faces = np.asarray(faces)
    if faces.ndim != 2 or faces.shape[1] != 3 or not np.issubdtype(faces.dtype, np.integer):
        raise ValueError(f"faces: got {faces.dtype} {faces.shape}, expected integers (k, 3)")
    if faces.size and not 0 <= faces.min() <= faces.max() < len(vertices):
        raise ValueError(f"faces: got indices beyond the {len(vertices)} vertices")
    found = np.zeros(len(points), np.int64)
    if not len(faces) or not len(points):
        return found
    corners = vertices[faces]
    low, high = corners.min(axis=1), corners.max(axis=1)

    # Points in rows of cells: a triangle then meets one run of points in each row it reaches.
    origin = low.min(axis=0)
    extent = high.max(axis=0) - origin
    size = int(np.clip(np.sqrt(max(len(faces), len(points))), 1, 1024))
    scale = np.divide(size, extent[:2], out=np.zeros(2), where=extent[:2] > 0)

    def cells(x):  # monotone, so that a point within a box is in one of the cells of the box
        return np.clip((x[:, :2] - origin[:2]) * scale, 0, size - 1).astype(np.int64)

    number = cells(points) @ [1, size]
    # what is beside or above the mesh is outside
    seen = ((points[:, :2] >= origin[:2]) & (points <= high.max(axis=0))[:, :2]).all(axis=1)
    seen = np.flatnonzero(seen & (points[:, 2] <= high[:, 2].max()))
    order = seen[np.argsort(number[seen], kind="stable")]
    start = np.searchsorted(number[order], np.arange(size * size + 1))
    first, last = cells(low), cells(high)
    rows = last[:, 1] - first[:, 1] + 1
    for triangles in _chunks(rows):
        triangle, row = _expand(triangles, rows[triangles])
        row = (first[triangle, 1] + row) * size
        begin = start[row + first[triangle, 0]]
        length = start[row + last[triangle, 0] + 1] - begin
        for part in _chunks(length):
            pair, step = _expand(part, length[part])
            p = order[begin[pair] + step]
            met = _met_above(corners[triangle[pair]], points[p])
            found += np.bincount(p, weights=met, minlength=len(points)).astype(np.int64)
    return found


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
    """Every item as often as its count, with 0, 1, 2 ... beside it."""
    ends = np.cumsum(counts)
    return np.repeat(items, counts), np.arange(ends[-1]) - np.repeat(ends - counts, counts)


def _met_above(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n,) +1, 0 or -1: triangles (n, 3, 3) met by rays from points (n, 3) along z, and how."""
    x, y, z = points.T
    turns = np.zeros(len(points))
    for a, b in ((0, 1), (1, 2), (2, 0)):
        (ax, ay), (bx, by) = corners[:, a, :2].T, corners[:, b, :2].T
        up = (by > y).astype(float) - (ay > y)  # the edge crosses the line, upwards or downwards
        # from the lower end, so that the triangle beyond the edge computes the same number
        low_x, low_y = np.where(up > 0, ax, bx), np.where(up > 0, ay, by)
        high_x, high_y = np.where(up > 0, bx, ax), np.where(up > 0, by, ay)
        part = (y - low_y) / np.where(up == 0, 1.0, high_y - low_y)
        crossing = low_x + part * (high_x - low_x)
        crossing = np.clip(crossing, np.minimum(ax, bx), np.maximum(ax, bx))
        turns += up * (crossing > x)
    # The height of the plane over the point; clamped, since it is ill-defined in upright triangles.
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    slope = normal[:, 0] * (x - corners[:, 0, 0]) + normal[:, 1] * (y - corners[:, 0, 1])
    height = corners[:, 0, 2] - slope / np.where(normal[:, 2] == 0, 1.0, normal[:, 2])
    height = np.clip(height, corners[..., 2].min(axis=1), corners[..., 2].max(axis=1))
    return turns * (height > z)
