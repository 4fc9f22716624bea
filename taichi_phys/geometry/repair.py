"""Triangle meshes as simulation needs them: vertices joined, faces consistent and outwards."""

import os
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from taichi_phys.geometry.inside import winding


class TriangleMesh(Protocol):
    """What has vertices (m, 3) m and faces (k, 3), for example a trimesh.Trimesh."""

    @property
    def vertices(self) -> Any: ...

    @property
    def faces(self) -> Any: ...


class Triangles(NamedTuple):
    """Vertices (m, 3) m and faces (k, 3), indices of vertices."""

    vertices: np.ndarray
    faces: np.ndarray


def triangles(mesh: str | os.PathLike[str] | TriangleMesh) -> Triangles:
    """As `joined`, without the second of faces that lie on each other: surfaces may be two-sided.

    Raises ValueError.
    """
    vertices, faces = joined(mesh)
    _, kept = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    return Triangles(vertices, faces[np.sort(kept)])


def joined(mesh: str | os.PathLike[str] | TriangleMesh) -> Triangles:
    """The triangles of a path or trimesh object, equal vertices made one.

    Faces that then lack three different vertices are left out. Raises ValueError.
    """
    if isinstance(mesh, str | os.PathLike):
        mesh = load_mesh(mesh)
    if hasattr(mesh, "to_mesh"):  # a scene
        mesh = mesh.to_mesh()
    try:
        vertices = np.asarray(mesh.vertices, dtype=np.float64)
        faces = np.asarray(mesh.faces, dtype=np.int64)
    except (AttributeError, TypeError, ValueError):
        got = type(mesh).__name__
        raise ValueError(f"mesh: got {got}, expected a path or a trimesh object") from None
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(
            f"mesh: got vertices {vertices.shape} and faces {faces.shape}, expected (n, 3) each"
        )
    if not len(faces):
        raise ValueError("mesh: got no faces, expected at least one")
    if not 0 <= faces.min() <= faces.max() < len(vertices):
        raise ValueError("mesh: its faces name vertices that it does not have")
    used, faces = np.unique(faces, return_inverse=True)
    vertices = vertices[used]
    if not np.isfinite(vertices).all():
        raise ValueError(
            f"mesh: {(~np.isfinite(vertices).all(axis=1)).sum()} vertices are NaN or infinite"
        )
    # Files cut surfaces at seams of texture, or (STL) everywhere: joined again by place.
    low, extent = vertices.min(axis=0), np.ptp(vertices, axis=0).max()
    if not 1e-30 < extent < 1e30:
        raise ValueError("mesh: it has no size, or one beyond all measure")
    cells = np.round((vertices - low) / (1e-8 * extent)).astype(np.int64)
    _, kept, index = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    vertices, faces = vertices[kept], index.reshape(-1)[faces.reshape(-1, 3)]
    ordered = np.sort(faces, axis=1)
    faces = faces[(ordered[:, 0] < ordered[:, 1]) & (ordered[:, 1] < ordered[:, 2])]
    if not len(faces):
        raise ValueError("mesh: its faces have no area")
    return Triangles(vertices, faces)


def load_mesh(path: str | os.PathLike[str]) -> Any:
    """A mesh file as trimesh reads it. Raises ValueError, ImportError without trimesh."""
    path = Path(path)
    try:
        import trimesh
    except ImportError:
        raise ImportError("reading a mesh needs trimesh: pip install trimesh") from None
    if not path.is_file():
        raise ValueError(f"mesh: got {str(path)!r}, which is no file")
    try:
        return trimesh.load_mesh(path)
    except Exception as error:  # readers of a dozen formats raise whatever they like
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"mesh: {path} cannot be read as a mesh ({reason})") from None


def open_edges(faces: np.ndarray) -> np.ndarray:
    """Vertices (m, 2) of the edges at which an odd number of faces (k, 3) meet."""
    ends, _, _, count = _edges(faces)
    return ends[count % 2 == 1]


def agree(faces: np.ndarray) -> bool:
    """Whether every edge is passed as often in one direction as in the other by faces (k, 3)."""
    _, edge, forward, _ = _edges(faces)
    return not np.bincount(edge, np.where(forward, 1, -1)).any()


def _edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ends of each edge; for each side of each face its edge, direction (bool); faces per edge."""
    sides = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    ends, edge, count = np.unique(
        np.sort(sides, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    return ends, edge.reshape(-1), sides[:, 0] < sides[:, 1], count


def outward(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """A closed mesh, its faces turned outwards (inwards round a cavity), and its volume, m^3."""
    vertices = vertices - (offset := vertices.mean(axis=0))
    faces, part = _consistent(faces)
    corners = vertices[faces]
    six = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    volumes = np.bincount(part, six) / 6
    if volumes.sum() < 0:
        faces, volumes = faces[:, ::-1], -volumes
    for k in np.flatnonzero(volumes < 0):
        own, others = faces[part == k], faces[part != k]
        corner = vertices[own[0, :1]]
        if not len(others) or not winding(vertices, others, corner)[0]:  # else a cavity
            faces = np.where((part == k)[:, None], faces[:, ::-1], faces)
            volumes[k] *= -1
    return vertices + offset, faces, volumes.sum()


def _consistent(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces turned so that neighbors agree, and the number of each face's part."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    _, edge, forward, count = _edges(faces)
    order = np.argsort(edge, kind="stable")
    joined = np.stack([order[:-1], order[1:]])[:, np.diff(edge[order]) == 0] // 3
    order = order[count[edge[order]] == 2].reshape(-1, 2)  # the two sides at ordinary edges
    left, right = (order // 3).T
    same = forward[order[:, 0]] != forward[order[:, 1]]
    n = len(faces)
    link = coo_array((np.ones(len(left)), (left, right)), (n, n)).tocsr()
    parts, part = connected_components(link, directed=False)
    if not same.all():
        # a tree over the faces of each part: a face follows its parent
        first = np.unique(part, return_index=True)[1]
        rows = np.concatenate([left, np.full(parts, n)])
        tree = coo_array((np.ones(len(rows)), (rows, np.append(right, first))), (n + 1, n + 1))
        sequence, parent = breadth_first_order(tree.tocsr(), n, directed=False)
        opposed = {
            pair
            for a, b, ok in zip(left.tolist(), right.tolist(), same.tolist(), strict=True)
            if not ok
            for pair in ((a, b), (b, a))
        }
        turn = np.zeros(n + 1, bool)
        for face in sequence[1:].tolist():
            turn[face] = turn[parent[face]] ^ ((face, int(parent[face])) in opposed)
        faces = np.where(turn[:n, None], faces[:, ::-1], faces)
    if not agree(faces):
        raise ValueError(
            "mesh: its faces cannot be turned so that all neighbors agree; repair it or give "
            "thickness= (m)"
        )
    # Parts may be closed only together, where more than two faces meet at an edge.
    link = coo_array((np.ones(joined.shape[1]), tuple(joined)), (n, n))
    return faces, connected_components(link, directed=False)[1]
