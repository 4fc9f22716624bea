"""What the viewer's stages share: bodies of particles, outlines of colliders, splats."""

from collections.abc import Sequence

import numpy as np

import taichi_phys as tp
from renderers.images import to_bytes
from renderers.lines import box_lines, circle_lines, grid_lines
from renderers.splats.render import render
from renderers.viewer.picture import SKY
from taichi_phys.geometry.repair import load_mesh
from taichi_phys.mpm.grid import WALL_CELLS


def splat_picture(camera, tensors: dict) -> np.ndarray:
    """(H, W, 3) uint8 of Gaussians on the viewer's background."""
    distance = float(np.linalg.norm(camera.position - tensors["means"].mean(0).cpu().numpy()))
    middle = tuple(np.mean(SKY, axis=0) / 255)
    image = render(camera, **tensors, background=middle, near=max(0.01 * distance, 1e-6))
    return to_bytes(image.rgb)


def collider_lines(collider, t: float, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """(m, 2, 3) m: a collider where it is at time t s, in a grid from lower to upper (3,) m."""
    if isinstance(collider, tp.Plane):
        normal, middle = np.array(collider.normal), (lower + upper) / 2
        foot = middle - normal * (normal @ (middle - np.array(collider.point)))
        lines = grid_lines(foot, normal, 0.5 * float((upper - lower).max()))
    elif isinstance(collider, tp.Box):
        centre, half = np.array(collider.center), np.array(collider.half_size)
        lines = box_lines(centre - half, centre + half)
    elif isinstance(collider, tp.Sphere | tp.Capsule):
        sphere = isinstance(collider, tp.Sphere)
        ends = np.array([collider.center] * 2 if sphere else [collider.start, collider.end], float)
        along = ends[1] - ends[0]
        normals = np.eye(3) if sphere else [along, *np.linalg.svd(along[None])[2][1:]]
        lines = np.concatenate(
            [circle_lines(end, n, collider.radius) for end in ends for n in normals]
        )
        if not sphere:
            rim = circle_lines(ends[0], along, collider.radius, 8)[:, 0]
            lines = np.concatenate([lines, np.stack([rim, rim + along], axis=1)])
    else:
        lines = _mesh_lines(collider)
    if collider.pose is None:
        return lines
    R, T = collider.pose(t)
    R = np.asarray(R, float)
    if R.shape == (4,):
        from scipy.spatial.transform import Rotation

        R = Rotation.from_quat(np.roll(R, -1)).as_matrix()
    return lines @ R.T + np.asarray(T, float)


def _mesh_lines(collider) -> np.ndarray:
    import trimesh

    mesh = collider.mesh
    if isinstance(mesh, str) or hasattr(mesh, "__fspath__"):
        mesh = load_mesh(mesh)
    if hasattr(mesh, "to_mesh"):  # a scene
        mesh = mesh.to_mesh()
    if not isinstance(mesh, trimesh.Trimesh):
        size = collider.distance.spacing * (np.array(collider.distance.values.shape) - 1)
        lower = np.array(collider.distance.lower)
        return box_lines(lower, lower + size)
    edges = mesh.edges_unique
    return mesh.vertices[edges[:: max(1, len(edges) // 4000)]]


def body_simulation(
    x: np.ndarray, volume: np.ndarray, *, up: Sequence[float], material: str, room=None,
    gravity: float = 9.81,
) -> tp.MPM:  # fmt: skip
    """A body of a preset material in a box, or within the corners room (2, 3) m."""
    law, density = tp.preset(material)
    dx = 2 * float(volume.mean()) ** (1 / 3)
    lower, upper = x.min(axis=0), x.max(axis=0)
    if room is None:
        size, up = float((upper - lower).max()), np.asarray(up, float)
        # free on all sides, and a short fall to the floor
        down, above = np.maximum(-up, 0), np.maximum(up, 0)
        lower = lower - size * np.where(above > 0.5, 0.15, np.where(down > 0.5, 0.8, 1.0))
        upper = upper + size * np.where(down > 0.5, 0.15, np.where(above > 0.5, 0.8, 1.0))
    else:
        lower, upper = np.minimum(lower, room[0]), np.maximum(upper, room[1])
    pad = (WALL_CELLS + 1) * dx
    return tp.MPM(
        particles=tp.Particles(x, density=density, volume=volume, material=law),
        grid=tp.Grid(
            lower=tuple(lower - pad), upper=tuple(upper + pad), dx=dx, friction=0.4
        ),
        gravity=tuple(-gravity * np.asarray(up, float)),
    )  # fmt: skip
