"""Closed meshes of a body's surface in frame 0, and what a camera sees of them."""

import os
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from renderers.camera import Camera
from taichi_phys.geometry.repair import Triangles, open_edges, outward, triangles


# Area of the patches that close a mesh, over its own: an object that was scanned on a table lacks
# its underside (a cube 0.2), half a ball has 0.5 and a sheet 1.
MOST_PATCHED = 0.3
PAIRS = 2**20  # of a triangle and a pixel, looked at together, so that memory stays bounded
NEAR = 1e-6  # m in front of the camera, within which nothing is seen


def closed_mesh(mesh: str | os.PathLike[str] | Any) -> Triangles:
    """A mesh with its holes closed and its faces turned outwards.

    mesh: a path that trimesh can read, or an object with vertices (m, 3) m and faces (k, 3). Each
    hole is closed by a fan around the mean of its border. Raises ValueError for a mesh that cannot
    be read, whose holes are too large to be guessed, or that encloses no volume.
    """
    vertices, faces = triangles(mesh)
    border = open_edges(faces)
    if len(border):
        area = _area(vertices, faces)
        ends, index = np.unique(border, return_inverse=True)
        index = index.reshape(-1, 2)
        link = coo_array((np.ones(len(index)), tuple(index.T)), (len(ends), len(ends)))
        count, part = connected_components(link, directed=False)
        held = np.bincount(part)
        centers = np.stack([np.bincount(part, axis) / held for axis in vertices[ends].T], axis=1)
        fan = np.column_stack([border, len(vertices) + part[index[:, 0]]])
        vertices = np.concatenate([vertices, centers])
        patched = _area(vertices, fan) / area
        if patched > MOST_PATCHED:
            raise ValueError(
                f"mesh: it is open, and closing its {count} holes would add {100 * patched:.0f} % "
                "to its area; close it in a mesh editor, or leave it out to have a sheet"
            )
        faces = np.concatenate([faces, fan])
    vertices, faces, volume = outward(vertices, faces)
    if not volume > 1e-6 * np.ptp(vertices, axis=0).max() ** 3:
        raise ValueError(
            "mesh: it encloses no volume; give a closed surface, or leave it out to have a sheet"
        )
    return Triangles(vertices, faces)


def mesh_in_view(mesh: Triangles, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """What a camera sees of a mesh: depth (H, W) m and the face (H, W) int in each pixel.

    Where it sees nothing, depth is infinite and the face is -1. Faces that reach behind the camera
    are left out.
    """
    depth = np.full(camera.height * camera.width, np.inf)
    owner = np.full(depth.shape, -1)
    uv, z = camera.project(mesh.vertices)
    uv, z = uv[mesh.faces], z[mesh.faces]
    # Pixels whose centers lie in the box around each face.
    last = np.array([camera.width, camera.height]) - 1
    low = np.ceil(np.nan_to_num(uv.min(axis=1)) - 0.5).clip(0, last + 1)
    high = np.floor(np.nan_to_num(uv.max(axis=1)) - 0.5).clip(-1, last)
    size = np.where((z > NEAR).all(axis=1)[:, None], np.maximum(high - low + 1, 0), 0).astype(int)
    low = low.astype(int)
    count = size.prod(axis=1)
    group = np.cumsum(count) // PAIRS
    for some in np.split(np.arange(len(count)), np.flatnonzero(np.diff(group)) + 1):
        face = np.repeat(some, count[some])
        if not len(face):
            continue
        start = np.cumsum(count[some]) - count[some]
        step = np.arange(len(face)) - np.repeat(start, count[some])
        column = low[face, 0] + step % size[face, 0]
        row = low[face, 1] + step // size[face, 0]
        weight = _weights(np.stack([column + 0.5, row + 0.5], axis=1), uv[face])
        inside = (weight >= 0).all(axis=1)
        face, pixel = face[inside], (row * camera.width + column)[inside]
        here = 1 / (weight[inside] / z[face]).sum(axis=1)  # 1/z is linear in the picture
        order = np.argsort(-here, kind="stable")  # nearest last: it overwrites the others
        order = order[here[order] < depth[pixel[order]]]
        depth[pixel[order]], owner[pixel[order]] = here[order], face[order]
    shape = (camera.height, camera.width)
    return depth.reshape(shape), owner.reshape(shape)


def surface_points(mesh: Triangles, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points (count, 3) m spread over the area of a mesh, and the normals (count, 3) there."""
    corners = mesh.vertices[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double = np.linalg.norm(normal, axis=1)
    rng = np.random.default_rng(seed)
    place = (np.arange(count) + rng.random(count)) / count  # evenly distributed over the area
    face = np.searchsorted(np.cumsum(double) / double.sum(), place).clip(max=len(corners) - 1)
    u, v = rng.random((2, count))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    a, b, c = np.moveaxis(corners[face], 1, 0)
    points = a + u[:, None] * (b - a) + v[:, None] * (c - a)
    return points, normal[face] / double[face, None]


def mesh_area(mesh: Triangles) -> float:
    """Area of a mesh, m^2."""
    return _area(mesh.vertices, mesh.faces)


def mesh_volume(mesh: Triangles) -> float:
    """Volume of a closed mesh whose faces are turned outwards, m^3."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    return float((a * np.cross(b, c)).sum() / 6)


def _area(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def _weights(at: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric weights (n, 3) of points (n, 2) in triangles (n, 3, 2); -1 where without area."""
    a, b, c = np.moveaxis(corners, 1, 0)

    def cross(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]

    whole = cross(b - a, c - a)
    parts = np.stack([cross(b - at, c - at), cross(c - at, a - at), cross(a - at, b - at)], axis=1)
    safe = np.where(whole == 0, 1.0, whole)
    return np.where((whole == 0)[:, None], -1.0, parts / safe[:, None])
