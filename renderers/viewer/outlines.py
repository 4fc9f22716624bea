"""Lines that show colliders and the walls of a simulation."""

from typing import Any

import numpy as np

import taichi_phys as tp
from renderers.lines import box_lines, circle_lines, grid_lines
from renderers.viewer.snapshot import Lines
from taichi_phys.rotations import rotation_matrix


DOMAIN, WALLS, OBSTACLES = (60, 65, 75), (120, 130, 150), (235, 180, 90)
EDGES = 4000  # of a mesh, about as many as are drawn


class Outlines:
    """The walls of a simulation's grid and its colliders, at any time."""

    def __init__(self, sim: tp.MPM):
        lower, upper = np.array(sim.grid.lower), np.array(sim.grid.upper)
        room = box_lines(*np.array(sim.grid.room))
        self._walls = [(box_lines(lower, upper), DOMAIN), (room, WALLS)]
        self._colliders = [(c, collider_lines(c, lower, upper)) for c in sim.colliders]
        self._still = not sim.rigid_bodies and all(
            c.pose is None and c.during is None for c in sim.colliders
        )
        self._last: Lines | None = None

    def at(self, state: tp.State) -> Lines:
        """All lines in a state; the same record while nothing moves."""
        if self._last is None or not self._still:
            t, shown, moved = state.time, [], 0
            for collider, lines in self._colliders:
                if isinstance(collider, tp.RigidBody):
                    assert state.rigid is not None
                    R, x = state.rigid.rotations[moved], state.rigid.x[moved]
                    shown.append(((lines - collider.center) @ R.T + x, OBSTACLES))
                    moved += 1
                elif collider.during is None or collider.during[0] <= t < collider.during[1]:
                    shown.append((posed(lines, collider, t), OBSTACLES))
            self._last = Lines.of(*self._walls, *shown)
        return self._last


def posed(lines: np.ndarray, collider: Any, t: float) -> np.ndarray:
    """Lines (m, 2, 3) m of a collider, moved to where it is at time t s."""
    if collider.pose is None:
        return lines
    R, T = (np.asarray(part, float) for part in collider.pose(t))
    return lines @ (rotation_matrix(R) if R.shape == (4,) else R).T + T


def collider_lines(collider: Any, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """(m, 2, 3) m: a collider where it was given, in a grid from lower to upper (3,) m."""
    if isinstance(collider, tp.RigidBody):
        collider = collider.shape
    if isinstance(collider, tp.Plane):
        normal, middle = np.array(collider.normal), (lower + upper) / 2
        foot = middle - normal * (normal @ (middle - np.array(collider.point)))
        return grid_lines(foot, normal, 0.5 * float((upper - lower).max()))
    if isinstance(collider, tp.Box):
        center, half = np.array(collider.center), np.array(collider.half_size)
        return box_lines(center - half, center + half)
    if isinstance(collider, tp.Sphere):
        circles = [circle_lines(collider.center, n, collider.radius) for n in np.eye(3)]
        return np.concatenate(circles)
    if isinstance(collider, tp.Capsule):
        ends, radius = np.array([collider.start, collider.end], float), collider.radius
        along = ends[1] - ends[0]
        normals = [along, *np.linalg.svd(along[None])[2][1:]]
        rim = circle_lines(ends[0], along, radius, 8)[:, 0]
        circles = [circle_lines(end, n, radius) for end in ends for n in normals]
        return np.concatenate([*circles, np.stack([rim, rim + along], axis=1)])
    return _mesh_lines(collider)


def _mesh_lines(collider: tp.Mesh) -> np.ndarray:
    import trimesh

    mesh = collider.mesh
    if isinstance(mesh, str) or hasattr(mesh, "__fspath__"):
        mesh = trimesh.load_mesh(mesh)
    if hasattr(mesh, "to_mesh"):  # a scene
        mesh = mesh.to_mesh()
    if not isinstance(mesh, trimesh.Trimesh):
        size = collider.distance.spacing * (np.array(collider.distance.values.shape) - 1)
        lower = np.array(collider.distance.lower)
        return box_lines(lower, lower + size)
    edges = mesh.edges_unique
    return mesh.vertices[edges[:: max(1, len(edges) // EDGES)]]
