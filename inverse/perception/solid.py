"""The object as a solid: particles that fill a closed surface, Gaussians on it."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree

from inverse.perception.mesh import mesh_area, mesh_in_view, surface_points
from inverse.perception.model import FLATNESS, OPACITY, ObjectModel, clean_colors
from renderers.camera import Camera
from renderers.splats.gaussians import Gaussians
from taichi_phys import sample_mesh
from taichi_phys.checks import finite_number
from taichi_phys.geometry.patterns import thinned
from taichi_phys.geometry.repair import Triangles
from taichi_phys.rotations import rotation_quaternion


MIN_PARTICLES = 64  # fewer do not fill a body
MOST_GAUSSIANS = 20_000  # on its surface; more only cost time
CANDIDATES = 3  # samples of the surface for each Gaussian, of which the most even are kept
OVERLAP = 0.7  # standard deviation of a Gaussian in spacings, which vary more than those of pixels
HIDDEN = 4.0  # a point is hidden if the surface lies more than so many pixels' size before it
SAMPLES = 20_000  # of the surface, to measure distances from it


def solid_model(
    surface: Triangles,
    images: Sequence[np.ndarray],
    cameras: Sequence[Camera],
    *,
    spacing: float,
    gaussians: Gaussians | None = None,
) -> ObjectModel:
    """Fill a closed surface with particles, and cover it with Gaussians.

    surface: of the object in frame 0; images: frame 0 of each view, (H, W, 3) uint8, with one
    camera each; spacing: of the particles, m; gaussians: those of a fit, instead of new ones, which
    take their colors from the pictures, and from their neighbors where no view sees them. Raises
    ValueError for a spacing that leaves fewer than 64 particles, and for no views or other sizes.
    """
    finite_number("spacing", spacing, "a positive length in meters", low=0, open_end=True)
    if len(images) != len(cameras) or not len(cameras):
        raise ValueError(f"images: got {len(images)} for {len(cameras)} cameras, expected one each")
    for k, (image, camera) in enumerate(zip(images, cameras, strict=True)):
        if np.shape(image) != (camera.height, camera.width, 3):
            raise ValueError(
                f"images[{k}]: got shape {np.shape(image)}, expected "
                f"{(camera.height, camera.width, 3)}, that of its camera"
            )
    x, volume = sample_mesh(surface, spacing=spacing, pattern="blue")
    if len(x) < MIN_PARTICLES:
        raise ValueError(
            f"spacing: {spacing:.3g} m puts {len(x)} particles into the object, expected at least "
            f"{MIN_PARTICLES}; give more --cells"
        )
    buffers = [mesh_in_view(surface, camera)[0] for camera in cameras]
    return ObjectModel(
        x=x,
        volume=volume,
        spacing=float(spacing),
        seen=_seen(x, surface, cameras, buffers),
        gaussians=gaussians or _gaussians(surface, images, cameras, buffers),
        surface=surface,
    )


def facing_view(
    points: np.ndarray, normals: np.ndarray, camera: Camera, depth: np.ndarray
) -> np.ndarray:
    """How much points (n, 3) m with normals (n, 3) of a surface face a camera, (n,) in 0..1.

    depth: (H, W) m, the camera's depth buffer of the surface; 0 for points that it does not see.
    """
    xy, z = camera.project(points)
    size = np.array([camera.width, camera.height])
    cell = np.floor(np.nan_to_num(xy, nan=-1.0)).clip(-1, size).astype(int)
    shown = (z > 0) & (cell >= 0).all(axis=1) & (cell < size).all(axis=1)
    cell = np.where(shown[:, None], cell, 0)
    pixel = z / math.sqrt(camera.fx * camera.fy)
    shown &= z < depth[cell[:, 1], cell[:, 0]] + HIDDEN * pixel
    ray = points - camera.position
    facing = -(ray * normals).sum(axis=1) / np.linalg.norm(ray, axis=1)
    return np.where(shown, facing.clip(0, 1), 0.0)


def _seen(
    x: np.ndarray, surface: Triangles, cameras: Sequence[Camera], buffers: Sequence[np.ndarray]
) -> np.ndarray:
    """How near particles (n, 3) m are to surface that a view sees, (n,) in 0..1.

    1 where no other surface is nearer, 1/2 where the seen surface is farther by the depth at which
    the innermost particle lies.
    """
    points, normals = surface_points(surface, SAMPLES)
    views = zip(cameras, buffers, strict=True)
    shown = np.any([facing_view(points, normals, *view) > 0 for view in views], axis=0)
    if not shown.any():
        raise ValueError("mesh: no view sees it in frame 0; are mesh and cameras of one world?")
    inward = cKDTree(points).query(x)[0]
    detour = cKDTree(points[shown]).query(x)[0] - inward
    return 1 / (1 + (detour / inward.max()) ** 2)


def _gaussians(
    surface: Triangles,
    images: Sequence[np.ndarray],
    cameras: Sequence[Camera],
    buffers: Sequence[np.ndarray],
) -> Gaussians:
    """Flat Gaussians on a surface, about as large as a pixel, in the colors of the pictures."""
    camera = cameras[0]
    z = camera.to_camera(surface.vertices)[:, 2]
    pixel = float(np.median(z)) / math.sqrt(camera.fx * camera.fy)
    area = mesh_area(surface)
    count = int(np.clip(area / pixel**2, 100, MOST_GAUSSIANS))
    gap = math.sqrt(area / count)
    candidates, normals = surface_points(surface, CANDIDATES * count)
    points = thinned(candidates, count, gap, candidates[:0])
    normals = normals[cKDTree(candidates).query(points)[1]]
    best, colors = np.zeros(len(points)), np.full((len(points), 3), 0.5)
    for image, view, depth in zip(images, cameras, buffers, strict=True):
        facing = facing_view(points, normals, view, depth)
        cell = np.floor(view.project(points)[0][facing > best]).astype(int)
        colors[facing > best] = clean_colors(image, np.isfinite(depth))[cell[:, 1], cell[:, 0]]
        best = np.maximum(best, facing)
    seen = best > 0
    if seen.any():
        colors[~seen] = colors[seen][cKDTree(points[seen]).query(points[~seen])[1]]
    return flat_gaussians(points, normals, colors, OVERLAP * gap)


def flat_gaussians(
    points: np.ndarray, normals: np.ndarray, colors: np.ndarray, size: float
) -> Gaussians:
    """Gaussians that lie flat on a surface.

    points: (n, 3) m; normals: (n, 3); colors: (n, 3) in 0..1; size: m, their standard deviation
    along the surface.
    """
    # Any two directions across the normal.
    side = np.cross(normals, np.eye(3)[np.abs(normals).argmin(axis=1)])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    axes = np.stack([side, np.cross(normals, side), normals], axis=2)
    fields = {
        "means": points,
        "quats": rotation_quaternion(axes),
        "scales": size * np.tile([1, 1, FLATNESS], (len(points), 1)),
        "colors": colors,
        "opacities": np.full(len(points), OPACITY),
    }
    return Gaussians.from_colors(
        **{name: torch.as_tensor(value, dtype=torch.float32) for name, value in fields.items()}
    )
