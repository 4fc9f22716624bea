"""The object as a thin sheet: particles through its thickness, Gaussians on its surface."""

import dataclasses
import math

import cv2
import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from inverse.perception.surface import GRAZING, Surface, visible_surface
from renderers.camera import Camera
from renderers.splats.gaussians import Gaussians


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Splats:
    """Coloured Gaussians: means (m, 3) m, quats (m, 4) wxyz, scales (m, 3) m, colors (m, 3) in
    0..1, opacities (m,) in 0..1."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    colors: np.ndarray
    opacities: np.ndarray

    def gaussians(self) -> Gaussians:
        """The same in single precision, as the renderer takes them."""
        fields = {k: torch.as_tensor(v, dtype=torch.float32) for k, v in vars(self).items()}
        return Gaussians.from_colors(**fields)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ObjectModel:
    """A sheet: x (n, 3) m, volume (n,) m^3, normals (n, 3) towards the camera of frame 0, colors
    (n, 3) in 0..1; splats on its visible surface; area m^2, thickness m, spacing m."""

    x: np.ndarray
    volume: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    splats: Splats
    area: float
    thickness: float
    spacing: float


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
    """Model what the mask shows as a sheet of uniform thickness behind the visible surface.

    image: (H, W, 3) uint8; mask: (H, W) bool; depth: (H, W) m; thickness: m; spacing: distance of
    particles along the surface, m; stride: px between Gaussians. Layers through the thickness: at
    least two, more when the sheet is thicker than that in spacings. Raises ValueError for sizes
    that disagree, lengths that are not positive, or a spacing that leaves fewer than 8 particles.
    """
    for name, value in (("thickness", thickness), ("spacing", spacing), ("stride", stride)):
        if not value > 0:
            raise ValueError(f"{name}: got {value}, expected > 0")
    image = np.asarray(image)
    if image.shape != (*np.shape(mask), 3):
        raise ValueError(f"image: got shape {image.shape}, expected {(*np.shape(mask), 3)}")
    surface = visible_surface(mask, depth, camera)
    colors = _clean_colors(image, mask)[surface.pixels[:, 1], surface.pixels[:, 0]]
    area = float(surface.area.sum())
    count = int(round(area / spacing**2))
    if count < 8:
        raise ValueError(
            f"spacing: {spacing} m puts {count} particles on {area:.3g} m^2, expected at least 8"
        )
    places, sample, patch = _even_samples(surface, count, camera)
    layers = max(2, int(round(thickness / spacing)))
    inward = thickness * (np.arange(layers) + 0.5) / layers
    normals = surface.normals[sample]
    x = places[:, None] - normals[:, None] * inward[:, None]
    return ObjectModel(
        x=x.reshape(-1, 3),
        volume=np.repeat(patch * thickness / layers, layers),
        normals=np.repeat(normals, layers, axis=0),
        colors=np.repeat(colors[sample], layers, axis=0),
        splats=_splats(surface, colors, camera, stride),
        area=area,
        thickness=float(thickness),
        spacing=float(spacing),
    )


def _even_samples(
    surface: Surface, count: int, camera: Camera
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Up to count points (n, 3) spread evenly over the surface, the sample nearest to each (n,),
    and their shares of the area (n,).

    Lloyd's relaxation weighted by area: cells become hexagons of equal area, and their areas add
    up to the whole exactly.
    """
    split = min(4, math.ceil(math.sqrt(30 * count / len(surface.points))))
    points = _split_pixels(surface, camera, split)
    area = np.repeat(surface.area, split**2) / split**2
    # Start along the scan order at equal steps of area: deterministic, and dense where area is.
    ladder = np.cumsum(area) / area.sum()
    centres = points[np.unique(np.searchsorted(ladder, (np.arange(count) + 0.5) / count))]
    for _ in range(30):
        owner = cKDTree(centres).query(points)[1]
        share = np.bincount(owner, area, minlength=len(centres))
        held = share > 0
        sums = [np.bincount(owner, area * axis, minlength=len(centres)) for axis in points.T]
        centres = np.stack(sums, axis=1)[held] / share[held, None]
    # Centroids of curved cells lie off the surface: back along the normal.
    nearest = cKDTree(surface.points).query(centres)[1]
    normals = surface.normals[nearest]
    off = ((centres - surface.points[nearest]) * normals).sum(axis=1, keepdims=True)
    return centres - off * normals, nearest, share[held]


def _split_pixels(surface: Surface, camera: Camera, split: int) -> np.ndarray:
    """Points (m split^2, 3) where rays through split x split parts of pixels meet their planes."""
    step = (np.arange(split) + 0.5) / split
    parts = np.stack(np.meshgrid(step, step), axis=-1).reshape(-1, 2)
    rays = camera.unproject(surface.pixels[:, None] + parts, 1.0) - camera.position
    height = ((surface.points - camera.position) * surface.normals).sum(1)
    slope = np.einsum("mka,ma->mk", rays, surface.normals)
    # On grazing planes a part of a pixel would reach far: no farther than the pixel itself may.
    depth = camera.to_camera(surface.points)[:, 2:]
    reach = surface.footprint[:, None] / GRAZING
    z = np.clip(height[:, None] / np.minimum(slope, -1e-9), depth - reach, depth + reach)
    return (camera.position + rays * z[..., None]).reshape(-1, 3)


def _splats(surface: Surface, colors: np.ndarray, camera: Camera, stride: int) -> Splats:
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
    size = 0.55 * stride * surface.footprint[keep]
    # A pixel on a slope covers more of it, but long splats would stick out over the rim.
    stretch = np.minimum(1 / np.maximum(facing[:, 0], GRAZING), 4)
    return Splats(
        means=points,
        quats=quaternions(axes),
        scales=np.stack([size * stretch, size, 0.1 * size], axis=1),
        colors=colors[keep],
        opacities=np.full(keep.sum(), 0.95),
    )


def _clean_colors(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) in 0..1 where rim pixels, mixed with background, take an inner colour."""
    inner = cv2.erode(np.asarray(mask, np.uint8), np.ones((5, 5), np.uint8)) > 0
    colors = image.astype(np.float64) / 255
    if not inner.any():
        return colors
    nearest = ndimage.distance_transform_edt(~inner, return_indices=True)[1]
    return colors[tuple(nearest)]


def quaternions(rotations: np.ndarray) -> np.ndarray:
    """Rotation matrices (m, 3, 3) to unit quaternions (m, 4), wxyz with w >= 0."""
    m = rotations
    w = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    diagonal = np.einsum("naa->na", m)
    size = np.sqrt(np.maximum(1 + diagonal @ w.T, 0)) / 2  # |w|, |x|, |y|, |z|
    largest = size.argmax(axis=1)
    a, b, c = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    d, e, f = m[:, 0, 1] + m[:, 1, 0], m[:, 0, 2] + m[:, 2, 0], m[:, 1, 2] + m[:, 2, 1]
    s = 4 * size**2
    table = np.stack(
        [
            np.stack([s[:, 0], a, b, c], 1),
            np.stack([a, s[:, 1], d, e], 1),
            np.stack([b, d, s[:, 2], f], 1),
            np.stack([c, e, f, s[:, 3]], 1),
        ],
        axis=1,
    )
    q = table[np.arange(len(m)), largest]
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    return q * np.where(q[:, :1] < 0, -1.0, 1.0)
