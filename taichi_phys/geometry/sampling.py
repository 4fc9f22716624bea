"""Bodies as particles: boxes, spheres, meshes, point clouds; volumes add up to the body's.

Every function takes either spacing (m, the edge of the cube that a particle stands for) or count,
and a pattern: "lattice" (a regular grid), "jittered" (each of its points moved by up to a quarter
of the spacing, which hides the grid) or "blue" (blue noise: random, yet evenly apart; about 2 s
for 30,000 particles where the others take none).
With blue, a count is met exactly; with the others to a few per cent at 10,000 particles, less
well for few particles or thin bodies.
"""

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from taichi_phys.checks import finite_number, finite_vector, is_complex, one_of, whole_number
from taichi_phys.geometry.inside import winding
from taichi_phys.geometry.patterns import (
    CANDIDATES,
    JITTER,
    MAX_COUNT,
    blue,
    box_shape,
    centered_lattice,
    filled,
    lattice,
    shared,
    thinned,
)
from taichi_phys.geometry.repair import TriangleMesh, open_edges, outward, triangles


PATTERNS = ("jittered", "lattice", "blue")
MAX_BLUE = 300_000  # beyond, pairs of neighbors take gigabytes
CLOSING = 1  # voxels: holes in a shell up to twice as wide are closed before it is filled
MAX_VOXELS = 2**27
LARGEST = 1e9  # m: far beyond any body, and its cube is still a number


class NothingEnclosedError(ValueError):
    """The points of a cloud enclose no volume."""


def sample_box(
    lower: Sequence[float],
    upper: Sequence[float],
    *,
    spacing: float | None = None,
    count: int | None = None,
    pattern: str = "jittered",
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Particles x (n, 3) m and their volumes (n,) m^3 that fill a box.

    lower, upper: (3,) corners, m; spacing: m, fitted to the edges of the box, or count: of
    particles; pattern, seed: see the module. Raises ValueError.
    """
    lower = np.array(finite_vector("lower", lower))
    size = np.array(finite_vector("upper", upper)) - lower
    if not ((size > 0) & (size <= LARGEST)).all():
        raise ValueError(f"upper: got a box of {size.tolist()} m, expected positive edges")
    volume = size.prod()
    h, count, rng = _options(spacing, count, pattern, seed, volume, size.max())
    if pattern == "blue":

        def turns(x):
            return ((x >= lower) & (x <= lower + size)).all(axis=1).astype(np.int64)

        return blue(lower, lower + size, turns, volume, h, count, rng)
    shape = box_shape(size, h, count)
    x = lower + lattice(shape, JITTER * (pattern == "jittered"), rng) * (size / shape)
    return shared(x, volume)


def sample_sphere(
    center: Sequence[float],
    radius: float,
    *,
    spacing: float | None = None,
    count: int | None = None,
    pattern: str = "jittered",
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Particles x (n, 3) m and their volumes (n,) m^3 that fill a ball.

    center: (3,) m; radius: m; spacing: m, or count: of particles; pattern, seed: see the module.
    Raises ValueError.
    """
    center = np.array(finite_vector("center", center))
    radius = _length("radius", radius)
    volume = 4 / 3 * math.pi * radius**3
    h, count, rng = _options(spacing, count, pattern, seed, volume, 2 * radius)
    low, high = np.full(3, -radius), np.full(3, radius)

    def turns(x):
        return (np.square(x).sum(axis=1) <= radius**2).astype(np.int64)

    fill = blue if pattern == "blue" else filled
    x, volumes = fill(low, high, turns, volume, h, count, rng, JITTER * (pattern == "jittered"))
    return center + x, volumes


def sample_mesh(
    mesh: str | os.PathLike[str] | TriangleMesh,
    *,
    spacing: float | None = None,
    count: int | None = None,
    thickness: float | None = None,
    pattern: str = "jittered",
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Particles x (n, 3) m and their volumes (n,) m^3 of a triangle mesh.

    mesh: a path that trimesh can read, or a trimesh object, left as it is; spacing: m, or count:
    of particles; thickness: m, makes a sheet along the surface (its volume: area x thickness,
    always blue noise) instead of filling it, and is needed where the mesh is open; pattern, seed:
    see the module. Faces turned the wrong way are repaired, bodies that overlap are united, and
    shells turned inwards within others are cavities. Raises ValueError.
    """
    vertices, faces = triangles(mesh)
    extent = np.ptp(vertices[np.unique(faces)], axis=0).max()
    if thickness is not None:
        return _sheet(vertices, faces, thickness, spacing, count, pattern, seed, extent)
    opened = len(open_edges(faces))
    if opened:
        raise ValueError(
            f"mesh: it has {opened} open edges and cannot be filled: repair it, so that every "
            "edge joins two faces, or give thickness= (m) for a sheet of particles along it"
        )
    vertices, faces, volume = outward(vertices, faces)
    if not volume > 1e-9 * extent**3:
        raise ValueError("mesh: it is closed but encloses no volume; give thickness= (m)")
    h, count, rng = _options(spacing, count, pattern, seed, volume, extent)

    def turns(x):
        return winding(vertices, faces, x)

    fill = blue if pattern == "blue" else filled
    jitter = JITTER * (pattern == "jittered")
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    return fill(low, high, turns, volume, h, count, rng, jitter)


def sample_cloud(
    points: Any,
    *,
    spacing: float | None = None,
    count: int | None = None,
    fill: bool = True,
    weights: Any = None,
    threshold: float = 0.1,
    voxel: float | None = None,
    pattern: str = "jittered",
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Particles x (n, 3) m and their volumes (n,) m^3 of the body that a cloud of points outlines.

    points: (m, 3) m on the surface, inside, or both, for example the means of Gaussians; weights:
    (m,) such as opacities: points below threshold are left out; voxel: m, the edge of the voxels
    in which the shell is closed, default: from the distances between points; spacing: m, or
    count: of particles, default: half a voxel; pattern, seed: see the module. The body is what a
    flood from outside does not reach, its surface through the points. fill=False keeps the points
    as particles and shares out the volume of each voxel among those in it. Raises ValueError, its
    kind NothingEnclosedError where the points enclose no volume.
    """
    points = _cloud(points, weights, threshold)
    voxel = _typical_voxel(points) if voxel is None else _length("voxel", voxel)
    if not fill:
        if spacing is not None or count is not None:
            raise ValueError("spacing, count: fill=False keeps the points as they are; give voxel")
        cells = np.floor((points - points.min(axis=0)) / voxel).astype(np.int64)
        _, index, held = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
        return points, voxel**3 / held[index.reshape(-1)]
    turns, low, high, volume = _voxel_body(points, voxel)
    if spacing is None and count is None:
        spacing = voxel / 2
    h, count, rng = _options(spacing, count, pattern, seed, volume, (high - low).max())
    fill = blue if pattern == "blue" else filled
    return fill(low, high, turns, volume, h, count, rng, JITTER * (pattern == "jittered"))


# Arguments


def _length(name: str, value) -> float:
    expected = f"a positive number of meters, at most {LARGEST:g}"
    return finite_number(name, value, expected, low=0, high=LARGEST, open_end=True)


def _options(spacing, count, pattern, seed, volume: float, extent: float, layers: float = 1.0):
    """Spacing m, count (None where spacing was given) and random numbers of a body.

    layers: particles of a sheet lie closer than the cube root of their volume where it is thin.
    """
    one_of("pattern", pattern, PATTERNS)
    seed = whole_number("seed", seed, "an integer >= 0", low=0)
    if (spacing is None) == (count is None):
        given = "neither" if spacing is None else "both"
        raise ValueError(f"spacing, count: got {given}, expected exactly one of them")
    if spacing is None:
        count = whole_number("count", count, "a positive integer", low=1)
        name, expected = "count", count
        spacing = (volume / count) ** (1 / 3)
    else:
        name, spacing = "spacing", _length("spacing", spacing)
        if spacing > extent:
            raise ValueError(
                f"spacing: got {spacing:g} m, expected at most the size of the body, {extent:g} m"
            )
        expected = (volume ** (1 / 3) / spacing) ** 3 * layers if spacing > 1e-9 else math.inf
    limit = MAX_BLUE if pattern == "blue" else MAX_COUNT
    if expected > limit:
        raise ValueError(
            f"{name}: it would make {expected:.3g} particles, expected at most {limit:,}"
            + (' of blue noise; pattern="jittered" makes more' if pattern == "blue" else "")
        )
    return spacing, count, np.random.default_rng(seed)


def _sheet(vertices, faces, thickness, spacing, count, pattern, seed, extent):
    """Particles within thickness / 2 of a surface, along the normals of its faces."""
    thickness = _length("thickness", thickness)
    if pattern == "lattice":
        raise ValueError('pattern: got "lattice", but a sheet has none; use "jittered" or "blue"')
    pattern = "blue" if pattern == "jittered" else pattern
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double = np.linalg.norm(normal, axis=1)
    area = double.sum() / 2
    if not area > 0:
        raise ValueError("mesh: its faces have no area")
    if thickness > extent:
        raise ValueError(
            f"thickness: got {thickness:g} m, expected at most the size of the mesh, {extent:g} m"
        )
    volume = area * thickness
    # one layer where it is thinner than the spacing
    layers = 1.0 if spacing is None else max(1.0, _length("spacing", spacing) / thickness)
    h, count, rng = _options(spacing, count, pattern, seed, volume, extent, layers)
    wanted = max(1, round(volume / h**3 * layers)) if count is None else count
    h = max(h, math.sqrt(area / wanted)) if h > thickness else h
    total = max(CANDIDATES * wanted, 500)
    place = (np.arange(total) + rng.random(total)) / total  # evenly over the area
    face = np.searchsorted(np.cumsum(double) / double.sum(), place).clip(max=len(faces) - 1)
    u, v, depth = rng.random((3, total))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    a, b, c = corners[face].transpose(1, 0, 2)
    x = a + u[:, None] * (b - a) + v[:, None] * (c - a)
    x += (thickness * (depth - 0.5) / double[face])[:, None] * normal[face]
    return shared(thinned(x, wanted, h, x[:0]), volume)


# Clouds


def _cloud(points, weights, threshold) -> np.ndarray:
    """(n, 3) points of enough weight."""
    try:
        points = np.asarray(_array(points), dtype=np.float64)
        weights = None if weights is None else np.asarray(_array(weights), dtype=np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise ValueError("points, weights: expected arrays of numbers") from None
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points: got shape {points.shape}, expected (n, 3)")
    if weights is not None:
        if weights.shape not in ((len(points),), (len(points), 1)):
            raise ValueError(f"weights: got shape {weights.shape}, expected ({len(points)},)")
        threshold = finite_number("threshold", threshold, "a number")
        if not np.isfinite(weights).all():
            raise ValueError("weights: got NaN or infinity, expected finite values")
        points = points[weights.reshape(-1) >= threshold]
    if not len(points):
        why = "" if weights is None else f" of weight >= {threshold:g}"
        raise ValueError(f"points: got none{why}, expected at least one")
    if not np.isfinite(points).all():
        bad = (~np.isfinite(points).all(axis=1)).sum()
        raise ValueError(f"points: {bad} of {len(points)} are NaN or infinite")
    return points.copy()


def _array(value):
    value = value.detach().cpu().numpy() if hasattr(value, "detach") else value
    if is_complex(value):
        raise TypeError("complex numbers")
    return value


def _typical_voxel(points: np.ndarray) -> float:
    """m: an edge that leaves few voxels empty in a shell of points, or within a body of them."""
    from scipy.spatial import cKDTree

    neighbors = min(8, len(points) - 1)
    some = points[:: max(1, len(points) // 20_000)]
    distance = cKDTree(points).query(some, k=[neighbors + 1])[0] if neighbors else np.zeros(1)
    voxel = float(np.quantile(distance, 0.9))
    if not voxel > 0:
        raise ValueError("points: got too few places for an estimate of voxel; give voxel= (m)")
    return voxel


def _voxel_body(points: np.ndarray, voxel: float):
    """How the body of a cloud winds round points (1 or 0), its box, and its volume, m^3."""
    from scipy import ndimage

    pad = CLOSING + 2
    corner = points.min(axis=0) - pad * voxel
    shape = np.floor(np.ptp(points, axis=0) / voxel) + 1 + 2 * pad
    if shape.prod() > MAX_VOXELS:
        raise ValueError(
            f"points: they spread over {shape.astype(np.int64).tolist()} voxels of {voxel:g} m, "
            f"expected at most {MAX_VOXELS:,} in all: leave out stray points or give voxel= (m)"
        )
    full = np.zeros(shape.astype(np.int64), bool)
    full[tuple(np.floor((points - corner) / voxel).astype(np.int64).T)] = True
    # The flood comes while the shell is thick: a thin one leaks, closed or not, where it slants.
    cube = np.ones((2 * CLOSING + 1,) * 3)
    full = ndimage.binary_fill_holes(ndimage.binary_dilation(full, cube))
    full = ndimage.binary_erosion(full, cube)
    # Signed distance in voxels, 0.5 at the centers of the outermost ones: points lie anywhere in
    # those, so on average the surface runs through their centers.
    distance = ndimage.distance_transform_edt(full) - ndimage.distance_transform_edt(~full)
    distance = (distance - 0.5 * np.sign(distance)).astype(np.float32)

    def turns(x):
        place = (x - corner) / voxel - 0.5
        inner = ndimage.map_coordinates(distance, place.T, order=1, mode="nearest")
        return (inner >= 0.5 - 1e-4).astype(np.int64)

    places = np.argwhere(full)
    low, high = corner + places.min(axis=0) * voxel, corner + (places.max(axis=0) + 1) * voxel
    fine = voxel / 4
    while math.prod((high - low) / fine) > 2e7 and fine < voxel:
        fine *= 1.3
    volume = len(centered_lattice(low, high, turns, fine, 0.0, None)[0]) * fine**3
    if not volume > 0:
        raise NothingEnclosedError(
            "points: they enclose nothing; give a larger voxel= (m) or fill=False"
        )
    return turns, low, high, volume
