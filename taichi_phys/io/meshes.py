"""Surfaces as files of triangles, one for each frame."""

from pathlib import Path

import numpy as np

from taichi_phys.checks import one_of, path_of
from taichi_phys.geometry.surfacing import SurfaceMesh
from taichi_phys.io.files import atomic_path


MESH_FORMATS = ("obj", "ply")


def save_mesh(path: str | Path, mesh: SurfaceMesh) -> None:
    """Write a surface to a file ending in .obj or .ply, with its normals and colors.

    A .ply file also holds the velocities vx, vy, vz, m/s, of the vertices, if the mesh has them. A
    surface without faces gives a file without faces. Raises ValueError.
    """
    import trimesh

    path = path_of("path", path)
    kind = one_of("path", path.suffix.lower().removeprefix("."), MESH_FORMATS)
    some = len(mesh.vertices) > 0
    normals = mesh.normals if some else None  # trimesh cannot take none
    colors = mesh.colors
    if colors is not None:
        colors = np.round(255 * np.clip(colors, 0, 1)).astype(np.uint8)
    made = trimesh.Trimesh(
        mesh.vertices, mesh.faces, vertex_normals=normals, vertex_colors=colors, process=False
    )
    if kind == "ply":
        if mesh.v is not None:
            for name, column in zip(("vx", "vy", "vz"), mesh.v.T, strict=True):
                made.vertex_attributes[name] = column.astype(np.float32)
        data = trimesh.exchange.ply.export_ply(made, vertex_normal=some)
    else:
        text = trimesh.exchange.obj.export_obj(made, include_normals=True, header=None)
        data = (text if some else "# no surface\n").encode("utf-8")
    with atomic_path(path) as partial:
        partial.write_bytes(data)
