"""Signed distance to a closed triangle mesh, sampled on a regular grid.

The distances are exact at every node; a search tree over the triangles leaves a few candidates for
each node. Winding numbers give the signs.
"""

import dataclasses
import os
import warnings

import numpy as np

from taichi_phys.checks import finite_number, finite_vector, set_fields, whole_number
from taichi_phys.geometry.exposed import exposed, thickness
from taichi_phys.geometry.inside import winding
from taichi_phys.geometry.repair import TriangleMesh, open_edges, outward, triangles


MAX_NODES = 2**24  # their indices stay exact in single precision
CHUNK = 2048  # points per pass of the search: their arrays fit into the cache


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SignedDistance:
    """Distances to a surface at the nodes lower + spacing (i, j, k), negative inside the surface.

    lower: (3,) first node, m; spacing: distance between nodes, m; values: (nx, ny, nz) m, at least
    2 nodes along each axis; thickness: of the solid where it is thin, m, if known. Raises
    ValueError.
    """

    lower: tuple[float, float, float]
    spacing: float
    values: np.ndarray
    thickness: float | None = None

    def __post_init__(self):
        lower = finite_vector("lower", self.lower)
        expected = "a positive number of meters"
        spacing = finite_number("spacing", self.spacing, expected, low=0, open_end=True)
        try:
            values = np.asarray(self.values, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            got = type(self.values).__name__
            raise ValueError(f"values: got {got}, expected an array (nx, ny, nz)") from None
        if values.ndim != 3 or min(values.shape) < 2 or values.size > MAX_NODES:
            raise ValueError(
                f"values: got shape {values.shape}, expected (nx, ny, nz) with at least 2 nodes "
                f"along each axis and at most {MAX_NODES} in all"
            )
        if not np.isfinite(values).all():
            raise ValueError("values: got NaN or infinite distances, expected finite meters")
        set_fields(self, lower=lower, spacing=spacing, values=values)


def signed_distance(
    mesh: str | os.PathLike[str] | TriangleMesh, *, cells: int = 48, padding: int = 2
) -> SignedDistance:
    """The signed distance to a closed mesh, on a grid around the mesh.

    mesh: a path that trimesh reads, or a trimesh.Trimesh, in m; cells: number of grid cells along
    the longest side of the mesh's bounding box, from 2 to 400; padding: number of cells between the
    bounding box and the edge of the grid, from 1 to 400. A point is inside if the surface winds
    around it. Closed shells that overlap or touch are one solid, whose distances ignore what lies
    within it; faces that are turned the wrong way are repaired. Raises ValueError for an open mesh,
    and ImportError without trimesh.
    """
    cells = whole_number("cells", cells, "an integer from 2 to 400", low=2, high=400)
    padding = whole_number("padding", padding, "an integer from 1 to 400", low=1, high=400)
    vertices, faces = _closed(mesh)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    spacing = float((high - low).max()) / cells
    # The bounding box is centered in the grid, so that a symmetric mesh has symmetric distances.
    shape = np.ceil((high - low) / spacing - 1e-9).astype(int) + 1 + 2 * padding
    lower = 0.5 * (low + high) - 0.5 * (shape - 1) * spacing
    if np.prod(shape.astype(float)) > MAX_NODES:
        raise ValueError(
            f"cells: got {cells}, which makes {shape} nodes, expected at most {MAX_NODES} in "
            "all: use fewer cells"
        )
    axes = [lower[d] + spacing * np.arange(shape[d]) for d in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = winding(vertices, faces, points).reshape(shape) != 0
    # half the spacing: the cut where two shells meet is then as exact as the samples
    surface = exposed(vertices, faces, spacing / 2)
    if not inside.any() and not len(surface):
        raise ValueError("mesh: it is closed but encloses no volume")
    distance = _distances(points, surface, spacing).reshape(shape)
    thick = thickness(vertices, faces)
    if thick < spacing:  # between two samples there may be none inside
        extent = (high - low).max()
        warnings.warn(
            f"cells: got {cells}, which makes samples every {spacing:.3g} m, but the mesh is about "
            f"{thick:.3g} m thick, so that it has holes: give cells={int(2 * extent / thick)} or "
            "more, or a thicker mesh",
            stacklevel=2,
        )
    return SignedDistance(
        lower=tuple(lower.tolist()),
        spacing=spacing,
        values=np.where(inside, -distance, distance),
        thickness=thick,
    )


def _closed(mesh) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n, 3) m and triangles (m, 3) of a closed, consistently oriented surface."""
    vertices, faces = triangles(mesh)
    opened = open_edges(faces)
    if len(opened):
        a, b = vertices[opened[0]].round(6).tolist()
        raise ValueError(
            f"mesh: it is open: {len(opened)} of its edges bound a hole, the first from {tuple(a)} "
            f"to {tuple(b)} m: close it with trimesh.repair.fill_holes(mesh) or in a mesh editor"
        )
    vertices, faces, _ = outward(vertices, faces)
    return vertices, faces


def _distances(points: np.ndarray, triangles: np.ndarray, size: float) -> np.ndarray:
    """The exact distance (n,) in m of points (n, 3) to the nearest of the triangles (m, 3, 3).

    size: spacing, m, of samples on the triangles; the sample nearest to a point gives the first
    candidate triangle, whose distance bounds the search.
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
    """Points on triangles (m, 3, 3), one per cube of edge size, m, and the triangle of each."""
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
    # One sample per cube: more would slow the search from points that are equally far from many.
    _, one = np.unique(cube.astype(int), axis=0, return_index=True)
    return points[one], owner[one]


def _tree(triangles: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """A balanced binary tree over triangles (m, 3, 3): the triangle of each leaf, and the levels.

    A level is an array (8, nodes). Each column describes a cylinder around the triangles of a node,
    along their mean normal: center (3,), axis (3,), radius and half height. On a smooth surface a
    cylinder is much tighter than a box. The children of node i are the nodes 2 i and 2 i + 1 of the
    next level. Some triangles are in two leaves, which fill up the last level.
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
        radius = (1 + 1e-9) * np.linalg.norm(r, axis=2).max(axis=1)  # rounding excludes no corner
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
