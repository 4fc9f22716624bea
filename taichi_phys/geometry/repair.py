"""Repair of triangle meshes for simulation: joined vertices, faces that all point outwards."""

import os
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from taichi_phys.geometry.inside import winding


class TriangleMesh(Protocol):
    """An object with vertices (m, 3) m and faces (k, 3), for example a trimesh.Trimesh."""

    @property
    def vertices(self) -> Any: ...

    @property
    def faces(self) -> Any: ...


class Triangles(NamedTuple):
    """Vertices (m, 3) m and faces (k, 3), indices of vertices."""

    vertices: np.ndarray
    faces: np.ndarray


def triangles(mesh: str | os.PathLike[str] | TriangleMesh) -> Triangles:
    """The triangles of a mesh, with equal vertices joined and with each face only once.

    mesh: a path or a trimesh object. Faces with the same vertices are one face, as in a two-sided
    surface, whose first side is kept; where this leaves a connected part of the mesh open, they
    cancel in pairs of opposite faces if this closes the part, as in blocks that share a face and in
    a face that is folded back. See `joined` for the rest. Raises ValueError.
    """
    vertices, faces = joined(mesh)
    _, kept, same = np.unique(
        np.sort(faces, axis=1), axis=0, return_index=True, return_inverse=True
    )
    if len(kept) == len(faces):
        return Triangles(vertices, faces)
    single = faces[kept]
    # going round a face, its vertices fall once in one orientation and twice in the other
    falling = (faces > np.roll(faces, -1, axis=1)).sum(axis=1)
    net = np.bincount(same.reshape(-1), np.where(falling == 1, 1, -1))
    first = np.where(falling[kept] == 1, 1, -1)
    turned = np.where((np.sign(net) == -first)[:, None], single[:, ::-1], single)
    part, keep = _parts(single), np.ones(len(single), bool)
    for k in np.unique(part[net != first]):
        own = part == k
        left = own & (net != 0)
        if len(open_edges(single[own])) and left.any() and not len(open_edges(single[left])):
            keep[own], single[own] = left[own], turned[own]
    order = np.argsort(kept[keep], kind="stable")
    return Triangles(vertices, single[keep][order])


def joined(mesh: str | os.PathLike[str] | TriangleMesh) -> Triangles:
    """The triangles of a mesh, with vertices at the same place joined into one.

    mesh: a path or a trimesh object. Faces that have fewer than three different vertices after the
    join are left out. Raises ValueError.
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
        raise ValueError(f"mesh: got faces with indices outside 0 to {len(vertices) - 1}")
    used, faces = np.unique(faces, return_inverse=True)
    vertices = vertices[used]
    if not np.isfinite(vertices).all():
        raise ValueError(
            f"mesh: got {(~np.isfinite(vertices).all(axis=1)).sum()} vertices that are NaN or "
            "infinite, expected finite ones"
        )
    # Many files repeat a vertex at texture seams, and STL files in every face; vertices at the same
    # place are joined again.
    low, extent = vertices.min(axis=0), np.ptp(vertices, axis=0).max()
    if not 1e-30 < extent < 1e30:
        raise ValueError(f"mesh: got a size of {extent:g} m, expected between 1e-30 and 1e30 m")
    cells = np.round((vertices - low) / (1e-8 * extent)).astype(np.int64)
    _, kept, index = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    vertices, faces = vertices[kept], index.reshape(-1)[faces.reshape(-1, 3)]
    ordered = np.sort(faces, axis=1)
    faces = faces[(ordered[:, 0] < ordered[:, 1]) & (ordered[:, 1] < ordered[:, 2])]
    if not len(faces):
        raise ValueError("mesh: got faces without area only, expected triangles")
    return Triangles(vertices, faces)


def load_mesh(path: str | os.PathLike[str]) -> Any:
    """The mesh in a file, as trimesh reads it. Raises ValueError; ImportError without trimesh."""
    path = Path(path)
    try:
        import trimesh
    except ImportError:
        raise ImportError("reading a mesh needs trimesh: pip install trimesh") from None
    if not path.is_file():
        raise ValueError(f"mesh: got {str(path)!r}, which does not exist or is not a file")
    try:
        return trimesh.load_mesh(path)
    except Exception as error:  # trimesh's readers of many formats raise many types
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"mesh: {path} cannot be read as a mesh ({reason})") from None


def open_edges(faces: np.ndarray) -> np.ndarray:
    """Vertices (m, 2) of the edges at which an odd number of faces (k, 3) meet."""
    ends, _, _, count = _edges(faces)
    return ends[count % 2 == 1]


def agree(faces: np.ndarray) -> bool:
    """Whether the faces (k, 3) pass every edge equally often in both directions."""
    _, edge, forward, _ = _edges(faces)
    return not np.bincount(edge, np.where(forward, 1, -1)).any()


def _edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The edges of faces (k, 3), and the edge of each side of each face.

    Returns the two vertices of each edge (m, 2); for each of the 3 k sides its edge and whether it
    runs from the lower to the higher vertex; and the number of faces at each edge (m,).
    """
    sides = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    ends, edge, count = np.unique(
        np.sort(sides, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    return ends, edge.reshape(-1), sides[:, 0] < sides[:, 1], count


def _parts(faces: np.ndarray) -> np.ndarray:
    """(k,) the index of the part of each of the faces (k, 3), parts being connected by edges."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, edge, _, _ = _edges(faces)
    order = np.argsort(edge, kind="stable")
    joined = np.stack([order[:-1], order[1:]])[:, np.diff(edge[order]) == 0] // 3
    link = coo_array((np.ones(joined.shape[1]), tuple(joined)), (len(faces), len(faces)))
    return connected_components(link, directed=False)[1]


def outward(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """A closed mesh with its faces turned outwards (at a cavity: into it), and its volume, m^3.

    vertices: (m, 3) m; faces: (k, 3). Raises ValueError if the faces cannot be turned consistently.
    """
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
    """Faces turned so that neighbors agree, and the index of the connected part of each face."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    _, edge, forward, count = _edges(faces)
    order = np.argsort(edge, kind="stable")
    order = order[count[edge[order]] == 2].reshape(-1, 2)  # both sides at edges of two faces
    left, right = (order // 3).T
    same = forward[order[:, 0]] != forward[order[:, 1]]
    n = len(faces)
    link = coo_array((np.ones(len(left)), (left, right)), (n, n)).tocsr()
    parts, part = connected_components(link, directed=False)
    if not same.all():
        # A tree spans the faces of each part, and each face is turned to agree with its parent.
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
            "mesh: its faces cannot be turned so that all neighbors agree: repair the mesh, or "
            "give thickness= (m) for a sheet of particles along its surface"
        )
    # Where more than two faces meet at an edge, only several parts together may be closed; so these
    # parts count as one.
    return faces, _parts(faces)
