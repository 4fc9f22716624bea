"""Signed distance to a closed triangle mesh, sampled on a regular grid.

Distances are exact at every node: a tree over the triangles leaves a few candidate triangles for
each. Signs are winding numbers counted along the grid's z lines, exact in floating point too: what
an edge contributes to one of its two triangles it takes from the other, so nothing leaks.
"""

import dataclasses
import os

import numpy as np

from taichi_phys.checks import finite_number, finite_vector, whole_number
from taichi_phys.geometry.repair import load_mesh


MAX_NODES = 2**24  # their indices stay exact in single precision
CHUNK = 2048  # points worked on at once: what they need fits into the cache


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SignedDistance:
    """Distances to a surface at the nodes lower + spacing (i, j, k), negative inside it.

    lower: (3,) m; spacing: between nodes, m; values: (nx, ny, nz) m, at least 2 along each axis.
    Raises ValueError.
    """

    lower: tuple[float, float, float]
    spacing: float
    values: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "lower", finite_vector("lower", self.lower))
        expected = "a positive number of metres"
        spacing = finite_number("spacing", self.spacing, expected, low=0, open_end=True)
        object.__setattr__(self, "spacing", spacing)
        try:
            values = np.asarray(self.values, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            got = type(self.values).__name__
            raise ValueError(f"values: got {got}, expected an array (nx, ny, nz)") from None
        if values.ndim != 3 or min(values.shape) < 2 or values.size > MAX_NODES:
            raise ValueError(
                f"values: got shape {values.shape}, expected (nx, ny, nz), at least 2 along each "
                f"axis and at most {MAX_NODES} in all"
            )
        if not np.isfinite(values).all():
            raise ValueError("values: some are NaN or infinite, expected metres")
        object.__setattr__(self, "values", values)


def signed_distance(mesh, *, cells: int = 48, padding: int = 2) -> SignedDistance:
    """Signed distance to a closed mesh: a path that trimesh reads, or a trimesh.Trimesh, in m.

    cells: grid cells along the longest side of the mesh's box, from 2 to 400; padding: cells
    beyond the box, from 1 to 400. Inside is where the surface winds around a point, so shells may
    overlap. Raises ValueError for a mesh with openings, ImportError without trimesh.
    """
    cells = whole_number("cells", cells, "an integer from 2 to 400", low=2, high=400)
    padding = whole_number("padding", padding, "an integer from 1 to 400", low=1, high=400)
    vertices, faces = _surface(mesh)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    spacing = float((high - low).max()) / cells
    # the box in the middle of the grid, so that a symmetric mesh has symmetric distances
    shape = np.ceil((high - low) / spacing - 1e-9).astype(int) + 1 + 2 * padding
    lower = 0.5 * (low + high) - 0.5 * (shape - 1) * spacing
    if np.prod(shape.astype(float)) > MAX_NODES:
        raise ValueError(f"cells: got {cells}, which makes {shape} nodes: use fewer")
    axes = [lower[d] + spacing * np.arange(shape[d]) for d in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = _distances(points, vertices[faces], spacing).reshape(shape)
    inside = _winding(axes, vertices[faces]) != 0
    return SignedDistance(
        lower=tuple(lower.tolist()), spacing=spacing, values=np.where(inside, -distance, distance)
    )


def _surface(mesh) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n, 3) m and triangles (m, 3) of a closed, consistently oriented surface."""
    if isinstance(mesh, str | os.PathLike):
        mesh = load_mesh(mesh)
    try:
        vertices = np.asarray(mesh.vertices, dtype=np.float64)
        faces = np.asarray(mesh.faces, dtype=np.int64)
    except (AttributeError, TypeError, ValueError):
        raise ValueError(
            f"mesh: got {type(mesh).__name__}, expected a path or a trimesh.Trimesh"
        ) from None
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(
            f"mesh: got vertices {vertices.shape} and faces {faces.shape}, expected (n, 3) each"
        )
    if len(faces) == 0:
        raise ValueError("mesh: it has no triangles")
    if not 0 <= faces.min() <= faces.max() < len(vertices):
        raise ValueError("mesh: its triangles name vertices that it does not have")
    vertices = vertices[faces.ravel()]  # those in use
    if not np.isfinite(vertices).all():
        raise ValueError("mesh: some of its vertices are NaN or infinite")
    # files repeat vertices, for each triangle or where textures meet
    vertices, faces = np.unique(vertices, axis=0, return_inverse=True)
    faces = faces.reshape(-1, 3)
    if not 1e-30 < np.ptp(vertices, axis=0).max() < 1e30:
        raise ValueError("mesh: it has no size, or one beyond all measure")
    _check_closed(vertices, faces)
    return vertices, faces


def _check_closed(vertices: np.ndarray, faces: np.ndarray):
    """Raise ValueError unless every edge is passed as often in one direction as in the other."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ways = np.sign(edges[:, 1] - edges[:, 0])
    unique, index = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True)
    index = index.ravel()
    uses = np.bincount(index)
    lonely = (uses % 2 == 1) & (unique[:, 0] != unique[:, 1])
    if lonely.any():
        a, b = vertices[unique[np.flatnonzero(lonely)[0]]].round(6).tolist()
        raise ValueError(
            f"mesh: it is open: {lonely.sum()} of its {len(unique)} edges bound a hole, the first "
            f"from {tuple(a)} to {tuple(b)} m; close it with trimesh.repair.fill_holes(mesh) or in "
            "a mesh editor"
        )
    if np.bincount(index, weights=ways).any():
        raise ValueError(
            "mesh: neighbouring triangles face opposite ways; call mesh.fix_normals() first"
        )


def _winding(axes: list[np.ndarray], triangles: np.ndarray) -> np.ndarray:
    """How often the surface of triangles (m, 3, 3) winds around each node of a grid: integers.

    Each node looks up along z: a triangle above it counts 1 if it faces up, -1 if down. Whether a
    z line meets a triangle is again a winding number, now in the plane, of the three edges.
    """
    nx, ny, nz = (len(axis) for axis in axes)
    lower = np.array([axis[0] for axis in axes])
    h = axes[0][1] - axes[0][0]
    # a line too many is only work, one too few would be a leak
    first = np.ceil((triangles.min(axis=1) - lower) / h - 1e-3).astype(int)[:, :2]
    last = np.floor((triangles.max(axis=1) - lower) / h + 1e-3).astype(int)[:, :2]
    wide = last - first + 1
    count = wide.prod(axis=1)
    passed = np.zeros(nx * ny * (nz + 1))
    ends = np.cumsum(count)
    start = 0
    while start < len(triangles):  # about two million pairs of triangle and line at a time
        before = ends[start] - count[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + 2_000_000)))
        which = np.repeat(np.arange(start, stop), count[start:stop])
        rank = np.arange(len(which)) - (ends[which] - count[which] - before)
        i = first[which, 0] + rank // wide[which, 1]
        j = first[which, 1] + rank % wide[which, 1]
        corners = triangles[which]
        px, py = axes[0][i], axes[1][j]
        turns = np.zeros(len(which))
        for k in range(3):
            a, b = corners[:, k], corners[:, (k + 1) % 3]
            up = a[:, 1] <= py
            crosses = up != (b[:, 1] <= py)
            # from the lower end to the upper one, whichever way the triangle goes
            low, high = np.where(up[:, None], a, b), np.where(up[:, None], b, a)
            left = (high[:, 0] - low[:, 0]) * (py - low[:, 1]) > (high[:, 1] - low[:, 1]) * (
                px - low[:, 0]
            )
            turns += np.where(crosses & left, np.where(up, 1, -1), 0)
        hit = turns != 0
        i, j, turns, corners = i[hit], j[hit], turns[hit], corners[hit]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        with np.errstate(divide="ignore", invalid="ignore"):  # triangles seen edge-on
            rise = normal[:, 0] * (px[hit] - corners[:, 0, 0])
            rise += normal[:, 1] * (py[hit] - corners[:, 0, 1])
            z = corners[:, 0, 2] - rise / normal[:, 2]
        z = np.clip(np.nan_to_num(z), corners[:, :, 2].min(axis=1), corners[:, :, 2].max(axis=1))
        below = np.ceil((z - lower[2]) / h).astype(int).clip(0, nz)  # nodes under the triangle
        cell = (i * ny + j) * (nz + 1) + below
        passed += np.bincount(cell, weights=turns, minlength=len(passed))
        start = stop
    above = passed.reshape(nx, ny, nz + 1)[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
    return above[:, :, 1:].round().astype(int)


def _distances(points: np.ndarray, triangles: np.ndarray, size: float) -> np.ndarray:
    """Distance of points (n, 3) to the nearest of triangles (m, 3, 3), m; exact.

    size: m, how far apart the samples lie that give each point its first candidate.
    """
    from scipy.spatial import cKDTree

    samples, owner = _samples(triangles, size)
    _, nearest = cKDTree(samples).query(points)
    bound = _squared_distance(points, triangles[owner[nearest]])
    order, levels = _tree(triangles)
    result = np.empty(len(points))
    for start in range(0, len(points), CHUNK):
        p = points[start : start + CHUNK].T
        best = bound[start : start + CHUNK].copy()
        point, node = np.arange(p.shape[1]), np.zeros(p.shape[1], dtype=int)
        for depth, level in enumerate(levels):
            if depth > 0:
                point, node = np.repeat(point, 2), np.repeat(2 * node, 2)
                node[1::2] += 1
            cx, cy, cz, ax, ay, az, radius, half = level.take(node, axis=1)
            x, y, z = p.take(point, axis=1)
            x -= cx
            y -= cy
            z -= cz
            h = ax * x + ay * y + az * z
            off = np.sqrt(np.maximum(x * x + y * y + z * z - h * h, 0)) - radius
            gap = np.maximum(off, 0) ** 2 + np.maximum(np.abs(h) - half, 0) ** 2
            keep = gap < best[point]
            point, node = point[keep], node[keep]
        np.minimum.at(best, point, _squared_distance(p.T[point], triangles[order[node]]))
        result[start : start + CHUNK] = np.sqrt(best)
    return result


def _samples(triangles: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Points on triangles (m, 3, 3), one in each cube of size m, and the triangle of each."""
    edges = np.linalg.norm(triangles - np.roll(triangles, 1, axis=1), axis=2)
    parts = np.ceil(edges.max(axis=1) / size).astype(int).clip(1, 64)
    points, owner = [], []
    for n in np.unique(parts):
        a, b = np.mgrid[: n + 1, : n + 1].reshape(2, -1)
        weights = np.stack([a, b, n - a - b], axis=1)[a + b <= n] / n
        which = np.flatnonzero(parts == n)
        points.append((weights @ triangles[which]).reshape(-1, 3))
        owner.append(np.repeat(which, len(weights)))
    points, owner = np.concatenate(points), np.concatenate(owner)
    cube = np.floor((points - points.min(axis=0)) / size)
    # more would slow the search from points that are equally far from many
    _, one = np.unique(cube.astype(int), axis=0, return_index=True)
    return points[one], owner[one]


def _tree(triangles: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """A balanced binary tree over triangles (m, 3, 3): the triangle of each leaf, and its levels.

    A level is (8, nodes): the cylinder around each node's triangles, along their mean normal, as
    center (3,), axis (3,), radius and half height. On a surface it is much tighter than a box.
    The children of node i are 2 i and 2 i + 1 of the next level; some leaves are repeated.
    """
    depth = int(np.ceil(np.log2(len(triangles))))
    order = np.arange(2**depth) * len(triangles) // 2**depth
    centers = triangles.mean(axis=1)
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    levels = []
    for level in range(depth + 1):
        group = order.reshape(2**level, -1)
        corners = triangles[group].reshape(2**level, -1, 3)
        axis = normals[group].sum(axis=1)
        size = np.linalg.norm(axis, axis=1, keepdims=True)
        axis = np.where(size > 0, axis / np.where(size > 0, size, 1), [0.0, 0.0, 1.0])
        center = 0.5 * (corners.min(axis=1) + corners.max(axis=1))
        height = np.einsum("gni,gi->gn", corners - center[:, None], axis)
        low, high = height.min(axis=1), height.max(axis=1)
        center += 0.5 * (low + high)[:, None] * axis
        r = corners - center[:, None]
        r -= np.einsum("gni,gi->gn", r, axis)[..., None] * axis[:, None]
        radius = (1 + 1e-9) * np.linalg.norm(r, axis=2).max(axis=1)  # rounding loses nothing
        levels.append(np.vstack([center.T, axis.T, radius, 0.5 * (high - low)]))
        if level < depth:  # every node is split at the median of its longest side
            c = centers[group]
            longest = np.ptp(c, axis=1).argmax(axis=1)[:, None, None]
            rank = np.take_along_axis(c, longest, axis=2)[..., 0].argsort(axis=1)
            order = np.take_along_axis(group, rank, axis=1).ravel()
    return order, levels


def _squared_distance(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Squared distance of each point (n, 3) to its triangle (n, 3, 3), m^2."""
    result = np.full(len(points), np.inf)
    inside = np.ones(len(points), dtype=bool)
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    normal = np.cross(b - a, c - a)
    for start, end in ((a, b), (b, c), (c, a)):
        along, r = end - start, points - start
        length = np.einsum("ni,ni->n", along, along)
        share = np.einsum("ni,ni->n", along, r) / np.where(length > 0, length, 1)
        off = r - share.clip(0, 1)[:, None] * along
        result = np.minimum(result, np.einsum("ni,ni->n", off, off))
        inside &= np.einsum("ni,ni->n", np.cross(along, r), normal) > 0
    size = np.einsum("ni,ni->n", normal, normal)
    height = np.einsum("ni,ni->n", normal, points - a)
    over = inside & (size > 0)
    return np.where(over, height**2 / np.where(size > 0, size, 1), result)
