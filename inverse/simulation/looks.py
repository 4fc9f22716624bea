"""The appearance of the colliders and the floor of a scene."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import taichi_phys as tp
from renderers.particles.draw import Floor, Surface, ball_mesh, box_mesh, capsule_mesh
from taichi_phys.io.records import read_rigid_paths
from taichi_phys.io.states import Frames
from taichi_phys.mpm.colliders import Collider
from taichi_phys.scenes.scene import Scene


Colliders = Sequence[Collider]


def surfaces_of(scene: Scene, colliders: Colliders) -> list[tuple[Collider, Surface]]:
    """Each visible collider except planes, with its surface in the collider's initial place.

    colliders: the colliders that the scene's build has made, in their order, or of `moved_by`.
    """
    result: list[tuple[Collider, Surface]] = []
    for part, collider in zip(scene.solids, colliders, strict=True):
        if isinstance(collider, tp.RigidBody):
            collider = collider.shape
        if isinstance(collider, tp.Box):
            mesh = box_mesh(collider.center, collider.half_size)
        elif isinstance(collider, tp.Sphere):
            mesh = ball_mesh(collider.center, collider.radius)
        elif isinstance(collider, tp.Capsule):
            mesh = capsule_mesh(collider.start, collider.end, collider.radius)
        elif isinstance(collider, tp.Mesh):
            mesh = {"vertices": collider.mesh.vertices, "faces": collider.mesh.faces}
        else:
            continue
        if part.opacity > 0:
            look: dict[str, Any] = {} if part.color is None else {"color": part.color}
            result.append((collider, Surface(**mesh, opacity=part.opacity, **look)))
    return result


def moved_by(frames: Frames, colliders: Colliders) -> list[Collider]:
    """The colliders, with shapes that move as in the frames in place of rigid bodies.

    Raises ValueError if the folder of the frames does not say how these move.
    """
    bodies = [c for c in colliders if isinstance(c, tp.RigidBody)]
    paths = iter(read_rigid_paths(frames.folder, bodies) if bodies else [])
    return [
        dataclasses.replace(c.shape, pose=next(paths)) if isinstance(c, tp.RigidBody) else c
        for c in colliders
    ]


def at_time(surfaces: Sequence[tuple[Collider, Surface]], t: float) -> list[Surface]:
    """The surfaces of the colliders that act at time t s, in their places at that time."""
    shown = []
    for collider, surface in surfaces:
        if collider.during is None or collider.during[0] <= t < collider.during[1]:
            shown.append(surface if collider.pose is None else surface.moved(*collider.pose(t)))
    return shown


def floors_of(
    scene: Scene, colliders: Colliders, center: np.ndarray, size: float, eye: np.ndarray
) -> list[Floor]:
    """The planes that face the camera or, in a scene without planes, the lower wall of the grid.

    center: (3,) m, and size: m, half the diagonal, of what is filmed; eye: (3,) m, of the camera.
    """
    cell = 10 ** math.floor(math.log10(max(size, 1e-9)))
    cell = cell if cell < 0.7 * size else cell / 5
    planes = [
        (c.point, c.normal, part)
        for part, c in zip(scene.solids, colliders, strict=True)
        if isinstance(c, tp.Plane) and part.opacity > 0
    ]
    if not planes and not any(isinstance(c, tp.Plane) for c in colliders):
        planes = [((0.0, 0.0, scene.grid.room[0][2]), (0.0, 0.0, 1.0), None)]
    floors = []
    for point, normal, part in planes:
        point, normal = np.array(point), np.array(normal)
        if (np.asarray(eye) - point) @ normal <= 0:
            continue
        middle = center - normal * ((center - point) @ normal)
        look = {"color": part.color} if part is not None and part.color is not None else {}
        floors.append(
            Floor(
                point=middle.tolist(),
                normal=normal.tolist(),
                size=2.2 * size,
                cell=cell / 2,
                **look,
            )
        )
    return floors
