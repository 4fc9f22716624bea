"""The object in frame 0: particles through its volume, Gaussians on its surface.

Here it is a thin sheet behind what the camera sees; solid.py makes it of a closed surface.
"""

import dataclasses
import math

import cv2
import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from inverse.perception.surface import GRAZING, VisibleSurface, visible_surface
from renderers.camera import Camera
from renderers.splats.gaussians import Gaussians
from taichi_phys.checks import finite_number, whole_number
from taichi_phys.geometry.repair import Triangles
from taichi_phys.rotations import rotation_quaternion


MIN_PARTICLES = 8  # on the surface; fewer do not make a sheet
MIN_LAYERS = 2  # of particles through the thickness; one layer would not resist bending
PARTS_PER_PARTICLE = 30  # approximate number of surface samples in each particle's cell
MAX_SPLIT = 4  # a pixel's side is cut into at most this many parts to have that many samples
ROUNDS = 30  # of Lloyd's relaxation
OVERLAP = 0.55  # standard deviation of a Gaussian in pixels; no gap shows between Gaussians
FLATNESS = 0.1  # thickness of a Gaussian over its size
MAX_STRETCH = 4.0  # of a Gaussian along a slope; longer ones would stick out over the rim
OPACITY = 0.95  # of the Gaussians before the refinement
RIM = 5  # px, side of the square within which a pixel may mix object and background


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ObjectModel:
    """The object in frame 0.

    x: (n, 3) m and volume: (n,) m^3, particles that fill it; spacing: their distance, m; seen: (n,)
    in 0..1, how near a particle is to surface that a view sees; gaussians: on the surface, float32;
    surface: what encloses a solid, None for a sheet; counts: of particles, which lie part by part,
    in each part of it, none where it is of one material.
    """

    x: np.ndarray
    volume: np.ndarray
    spacing: float
    seen: np.ndarray
    gaussians: Gaussians
    surface: Triangles | None = None
    counts: tuple[int, ...] = ()


def object_model(
    image: np.ndarray,
    mask: np.ndarray,
    depth: np.ndarray,
    camera: Camera,
    *,
    thickness: float,
    spacing: float,
    stride: int = 1,
) -> ObjectModel:
    """Model the object in the mask as a sheet of uniform thickness behind its visible surface.

    image: (H, W, 3) uint8; mask: (H, W) bool; depth: (H, W) m; thickness: m; spacing: distance of
    particles along the surface, m; stride: px between Gaussians. There is a layer of particles for
    each spacing through the thickness, and at least two. Raises ValueError for sizes that disagree,
    lengths that are not positive, or a spacing that leaves fewer than 8 particles.
    """
    for name, value in (("thickness", thickness), ("spacing", spacing)):
        finite_number(name, value, "a positive length in meters", low=0, open_end=True)
    whole_number("stride", stride, "a whole number from 1 on", low=1)
    image = np.asarray(image)
    if image.shape != (*np.shape(mask), 3):
        raise ValueError(f"image: got shape {image.shape}, expected {(*np.shape(mask), 3)}")
    surface = visible_surface(mask, depth, camera)
    colors = clean_colors(image, mask)[surface.pixels[:, 1], surface.pixels[:, 0]]
    area = float(surface.area.sum())
    count = int(round(area / spacing**2))
    if count < MIN_PARTICLES:
        raise ValueError(
            f"spacing: {spacing} m puts {count} particles on {area:.3g} m^2, expected at least "
            f"{MIN_PARTICLES}; give a smaller spacing"
        )
    places, sample, patch = _even_samples(surface, count, camera)
    layers = max(MIN_LAYERS, int(round(thickness / spacing)))
    inward = thickness * (np.arange(layers) + 0.5) / layers
    normals = surface.normals[sample]
    x = places[:, None] - normals[:, None] * inward[:, None]
    x = x.reshape(-1, 3)
    return ObjectModel(
        x=x,
        volume=np.repeat(patch * thickness / layers, layers),
        spacing=float(spacing),
        seen=np.ones(len(x)),
        gaussians=_gaussians(surface, colors, camera, stride),
    )


def _even_samples(
    surface: VisibleSurface, count: int, camera: Camera
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Up to count points (n, 3) m spread evenly over the surface, the sample nearest to each (n,),
    and their shares of the area (n,) m^2.

    Lloyd's relaxation, weighted by area: cells become hexagons of equal area, and their areas add
    up to the whole exactly.
    """
    parts = PARTS_PER_PARTICLE * count / len(surface.points)
    split = min(MAX_SPLIT, math.ceil(math.sqrt(parts)))
    points = _split_pixels(surface, camera, split)
    area = np.repeat(surface.area, split**2) / split**2
    # Start at equal steps of area along the scan order: deterministic, and dense where the area is.
    ladder = np.cumsum(area) / area.sum()
    centers = points[np.unique(np.searchsorted(ladder, (np.arange(count) + 0.5) / count))]
    for _ in range(ROUNDS):
        owner = cKDTree(centers).query(points)[1]
        share = np.bincount(owner, area, minlength=len(centers))
        held = share > 0
        sums = [np.bincount(owner, area * axis, minlength=len(centers)) for axis in points.T]
        centers = np.stack(sums, axis=1)[held] / share[held, None]
    # Centroids of curved cells lie off the surface: move them back along the normal.
    nearest = cKDTree(surface.points).query(centers)[1]
    normals = surface.normals[nearest]
    off = ((centers - surface.points[nearest]) * normals).sum(axis=1, keepdims=True)
    return centers - off * normals, nearest, share[held]


def _split_pixels(surface: VisibleSurface, camera: Camera, split: int) -> np.ndarray:
    """The points (m split^2, 3) m where rays through split x split parts of each pixel meet the
    plane of that pixel."""
    step = (np.arange(split) + 0.5) / split
    parts = np.stack(np.meshgrid(step, step), axis=-1).reshape(-1, 2)
    rays = camera.unproject(surface.pixels[:, None] + parts, 1.0) - camera.position
    height = ((surface.points - camera.position) * surface.normals).sum(1)
    slope = np.einsum("mka,ma->mk", rays, surface.normals)
    # On grazing planes a part of a pixel would reach far: limit it to the reach of the pixel.
    depth = camera.to_camera(surface.points)[:, 2:]
    reach = surface.footprint[:, None] / GRAZING
    z = np.clip(height[:, None] / np.minimum(slope, -1e-9), depth - reach, depth + reach)
    return (camera.position + rays * z[..., None]).reshape(-1, 3)


def _gaussians(
    surface: VisibleSurface, colors: np.ndarray, camera: Camera, stride: int
) -> Gaussians:
    """One flat Gaussian per stride x stride pixels, drawn out along the slope of the surface."""
    keep = (surface.pixels % stride == stride // 2).all(axis=1)
    points, normals = surface.points[keep], surface.normals[keep]
    ray = points - camera.position
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    facing = -(normals * ray).sum(1, keepdims=True)
    slope = ray + facing * normals
    flat = np.linalg.norm(slope, axis=1) < 1e-6
    slope[flat] = np.cross(normals[flat], np.roll(normals[flat], 1, axis=1) + [1e-3, 0, 0])
    slope /= np.linalg.norm(slope, axis=1, keepdims=True)
    axes = np.stack([slope, np.cross(normals, slope), normals], axis=2)
    size = OVERLAP * stride * surface.footprint[keep]
    # A pixel on a slope covers more surface.
    stretch = np.minimum(1 / np.maximum(facing[:, 0], GRAZING), MAX_STRETCH)
    fields = {
        "means": points,
        "quats": rotation_quaternion(axes),
        "scales": np.stack([size * stretch, size, FLATNESS * size], axis=1),
        "colors": colors[keep],
        "opacities": np.full(keep.sum(), OPACITY),
    }
    return Gaussians.from_colors(
        **{name: torch.as_tensor(value, dtype=torch.float32) for name, value in fields.items()}
    )


def clean_colors(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Colors (H, W, 3) in 0..1, in which pixels at the rim take the color of an inner pixel.

    The colors of the rim itself are mixed with the background.
    """
    inner = cv2.erode(np.asarray(mask, np.uint8), np.ones((RIM, RIM), np.uint8)) > 0
    colors = image.astype(np.float64) / 255
    if not inner.any():
        return colors
    nearest = ndimage.distance_transform_edt(~inner, return_indices=True)[1]
    return colors[tuple(nearest)]
