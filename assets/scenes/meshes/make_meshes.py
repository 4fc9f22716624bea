"""Makes the meshes of the scenes: python assets/scenes/meshes/make_meshes.py"""

from pathlib import Path

import numpy as np
import trimesh


HERE = Path(__file__).parent


def write(name: str, mesh: trimesh.Trimesh) -> None:
    assert mesh.is_watertight and mesh.volume > 0
    mesh.export(HERE / name)
    print(f"{name}: {len(mesh.faces)} faces, {mesh.volume:.3g} m^3")


def turned(profile: list, sections: int = 40) -> trimesh.Trimesh:
    """The body of a closed profile of radii and heights (r, z), m, turned round the z axis."""
    mesh = trimesh.creation.revolve(np.array([*profile, profile[0]], float), sections=sections)
    mesh.merge_vertices()
    mesh.fix_normals()
    return mesh


# A tube that narrows to a nozzle: outside up, inside down.
write("tube.stl", turned([
    (0.035, 0.14), (0.06, 0.14), (0.13, 0.25), (0.13, 0.46), (0.095, 0.46), (0.095, 0.26),
    (0.035, 0.18),
]))  # fmt: skip
# What is in it.
write("paste.stl", turned([(0, 0.15), (0.03, 0.15), (0.03, 0.19), (0.088, 0.27), (0.088, 0.44),
                           (0, 0.44)]))  # fmt: skip
write("ring.stl", trimesh.creation.torus(major_radius=0.75, minor_radius=0.25))
