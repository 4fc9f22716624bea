"""Particles that fill a body: a box, a sphere, a mesh or the body outlined by a point cloud.

The volumes of the particles add up to the volume of the body. Every function takes either spacing
(m, the edge of the cube that a particle stands for) or count (the number of particles), and a
pattern: "lattice" is a regular grid; "jittered" moves each point of the grid by up to a quarter of
the spacing, which hides the grid; "stratified" by up to half, so that sums over the points are
integrals over the body, without bias at its surface; "blue" is blue noise, random but evenly
spaced, and takes about 2 s for 30,000 particles, where the other patterns take almost no time.
"blue" meets count exactly; the others meet it to a few per cent at 10,000 particles, and less well
for few particles or thin bodies.
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


SPREAD = {"jittered": JITTER, "lattice": 0.0, "stratified": 0.5}  # to each side, in spacings
PATTERNS = (*SPREAD, "blue")
MAX_BLUE = 300_000  # for more particles, the pairs of neighbors take gigabytes
CLOSING = 1  # voxels: holes of up to twice this width in a shell are closed before it is filled
MAX_VOXELS = 2**27
LARGEST = 1e9  # m: far larger than any body, and its cube does not overflow


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

    lower, upper: (3,) corners, m; spacing: m, adjusted so that it divides the edges of the box;
    count: number of particles, instead of spacing; pattern: "jittered", "lattice" or "blue", see
    the module; seed: seed of the random numbers. Raises ValueError.
    """
    lower = np.array(finite_vector("lower", lower))
    size = np.array(finite_vector("upper", upper)) - lower
    if not ((size > 0) & (size <= LARGEST)).all():
        raise ValueError(
            f"upper: got a box with edges of {size.tolist()} m, expected positive edges of at "
            f"most {LARGEST:g} m"
        )
    volume = size.prod()
    h, count, rng = _options(spacing, count, pattern, seed, volume, size.max())
    if pattern == "blue":

        def turns(x):
            return ((x >= lower) & (x <= lower + size)).all(axis=1).astype(np.int64)

        return blue(lower, lower + size, turns, volume, h, count, rng)
    shape = box_shape(size, h, count)
    x = lower + lattice(shape, SPREAD[pattern], rng) * (size / shape)
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

    center: (3,) m; radius: m; spacing, count, pattern, seed: as in `sample_box`. Raises ValueError.
    """
    center = np.array(finite_vector("center", center))
    radius = _length("radius", radius)
    volume = 4 / 3 * math.pi * radius**3
    h, count, rng = _options(spacing, count, pattern, seed, volume, 2 * radius)
    low, high = np.full(3, -radius), np.full(3, radius)

    def turns(x):
        return (np.square(x).sum(axis=1) <= radius**2).astype(np.int64)

    fill = blue if pattern == "blue" else filled
    x, volumes = fill(low, high, turns, volume, h, count, rng, SPREAD.get(pattern, 0.0))
    return center + x, volumes


def sample_mesh(
    mesh: str | os.PathLike[str] | TriangleMesh,
    *,
    spacing: float | None = None,
    count: int | None = None,
    scale: float = 1.0,
    thickness: float | None = None,
    pattern: str = "jittered",
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Particles x (n, 3) m and their volumes (n,) m^3 of a triangle mesh.

    mesh: a path that trimesh can read, or a trimesh object, which is not changed; spacing, count,
    pattern, seed: as in `sample_box`; scale: m per unit of the mesh, for example 0.001 for a file
    in millimeters; thickness: m, if given, the particles form a sheet of this
    thickness along the surface instead of filling the mesh; a sheet has the volume area x thickness
    and is always blue noise, and an open mesh can only become a sheet. Faces that are turned the
    wrong way are repaired, overlapping bodies are united, and shells whose faces point inwards
    within other shells are cavities. Raises ValueError.
    """
    scale = finite_number("scale", scale, "a positive number (m per unit)", low=0, open_end=True)
    vertices, faces = triangles(mesh)
    vertices = vertices * scale
    size = np.ptp(vertices[np.unique(faces)], axis=0)
    extent = size.max()
    measures = " x ".join(f"{edge:.3g}" for edge in size)
    hint = f"; the mesh measures {measures} m; for a file in another unit give scale= (m per unit)"
    if thickness is not None:
        return _sheet(vertices, faces, thickness, spacing, count, pattern, seed, extent, hint)
    opened = len(open_edges(faces))
    if opened:
        raise ValueError(
            f"mesh: it has {opened} open edges and cannot be filled: repair the mesh, so that "
            "every edge joins two faces, or give thickness= (m) for a sheet of particles along it"
        )
    vertices, faces, volume = outward(vertices, faces)
    if not volume > 1e-9 * extent**3:
        raise ValueError(
            "mesh: it is closed but encloses no volume: give thickness= (m) for a sheet of "
            "particles along it"
        )
    h, count, rng = _options(spacing, count, pattern, seed, volume, extent, hint=hint)

    def turns(x):
        return winding(vertices, faces, x)

    fill = blue if pattern == "blue" else filled
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    return fill(low, high, turns, volume, h, count, rng, SPREAD.get(pattern, 0.0))


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

    points: (m, 3) m on the surface, inside, or both, for example the means of Gaussians; fill: fill
    the body with particles, or keep the points as particles, each with its share of the volume of
    its voxel; weights: (m,), such as opacities; threshold: points whose weight is below it are left
    out; voxel: m, the edge of the voxels in which the shell is closed, by default estimated from
    the distances between points; spacing, count: as in `sample_box`, by default a spacing of half a
    voxel; pattern, seed: as in `sample_box`. The body is the region that a flood of voxels from
    outside does not reach; its surface passes through the points. Raises ValueError, and its
    subclass NothingEnclosedError if the points enclose no volume.
    """
    points = _cloud(points, weights, threshold)
    voxel = _typical_voxel(points) if voxel is None else _length("voxel", voxel)
    if not fill:
        if spacing is not None or count is not None:
            raise ValueError(
                "spacing, count: got one with fill=False, which keeps the given points: leave it "
                "out; voxel= (m) sets the volumes"
            )
        cells = np.floor((points - points.min(axis=0)) / voxel).astype(np.int64)
        _, index, held = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
        return points, voxel**3 / held[index.reshape(-1)]
    turns, low, high, volume = _voxel_body(points, voxel)
    if spacing is None and count is None:
        spacing = voxel / 2
    h, count, rng = _options(spacing, count, pattern, seed, volume, (high - low).max())
    fill = blue if pattern == "blue" else filled
    return fill(low, high, turns, volume, h, count, rng, SPREAD.get(pattern, 0.0))


# Arguments


def _length(name: str, value) -> float:
    expected = f"a positive number of meters, at most {LARGEST:g}"
    return finite_number(name, value, expected, low=0, high=LARGEST, open_end=True)


def _options(
    spacing,
    count,
    pattern,
    seed,
    volume: float,
    extent: float,
    layers: float = 1.0,
    hint: str = "",
):
    """The spacing in m, the count (None if spacing was given) and the random generator for a body.

    layers: factor on the expected number of particles, for a sheet that is thinner than the
    spacing: its particles lie closer than the cube root of their volume; hint: the end of messages
    about a spacing that does not fit the body.
    """
    one_of("pattern", pattern, PATTERNS)
    seed = whole_number("seed", seed, "an integer >= 0", low=0)
    if (spacing is None) == (count is None):
        given = "neither" if spacing is None else "both"
        raise ValueError(f"spacing, count: got {given}, expected exactly one")
    if spacing is None:
        count = whole_number("count", count, "a positive integer", low=1)
        name, expected = "count", count
        spacing = (volume / count) ** (1 / 3)
    else:
        name, spacing = "spacing", _length("spacing", spacing)
        if spacing > extent:
            raise ValueError(
                f"spacing: got {spacing:g} m, expected at most the size of the body, {extent:g} m"
                + hint
            )
        expected = (volume ** (1 / 3) / spacing) ** 3 * layers if spacing > 1e-9 else math.inf
    limit = MAX_BLUE if pattern == "blue" else MAX_COUNT
    if expected > limit:
        raise ValueError(
            f"{name}: got a value that makes {expected:.3g} particles, expected at most {limit:,}"
            + (' of blue noise; pattern="jittered" allows more' if pattern == "blue" else "")
            + hint
        )
    return spacing, count, np.random.default_rng(seed)


def _sheet(vertices, faces, thickness, spacing, count, pattern, seed, extent, hint):
    """Particles within thickness / 2 of a surface, measured along the normals of its faces."""
    thickness = _length("thickness", thickness)
    if pattern in ("lattice", "stratified"):
        raise ValueError(f'pattern: got "{pattern}", expected "jittered" or "blue" for a sheet')
    pattern = "blue" if pattern == "jittered" else pattern
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double = np.linalg.norm(normal, axis=1)
    area = double.sum() / 2
    if not area > 0:
        raise ValueError("mesh: got faces without area only, expected triangles")
    if thickness > extent:
        raise ValueError(
            f"thickness: got {thickness:g} m, expected at most the size of the mesh, {extent:g} m"
        )
    volume = area * thickness
    # A sheet that is thinner than the spacing has one layer of particles.
    layers = 1.0 if spacing is None else max(1.0, _length("spacing", spacing) / thickness)
    h, count, rng = _options(spacing, count, pattern, seed, volume, extent, layers, hint)
    wanted = max(1, round(volume / h**3 * layers)) if count is None else count
    h = max(h, math.sqrt(area / wanted)) if h > thickness else h
    total = max(CANDIDATES * wanted, 500)
    place = (np.arange(total) + rng.random(total)) / total  # evenly distributed over the area
    face = np.searchsorted(np.cumsum(double) / double.sum(), place).clip(max=len(faces) - 1)
    u, v, depth = rng.random((3, total))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    a, b, c = corners[face].transpose(1, 0, 2)
    x = a + u[:, None] * (b - a) + v[:, None] * (c - a)
    x += (thickness * (depth - 0.5) / double[face])[:, None] * normal[face]
    return shared(thinned(x, wanted, h, x[:0]), volume)


# Clouds


def _cloud(points, weights, threshold) -> np.ndarray:
    """The points (n, 3) whose weight reaches the threshold, checked."""
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
        raise ValueError(
            f"points: got {bad} of {len(points)} points that are NaN or infinite, expected finite "
            "ones"
        )
    return points.copy()


def _array(value):
    value = value.detach().cpu().numpy() if hasattr(value, "detach") else value
    if is_complex(value):
        raise TypeError("complex numbers")
    return value


def _typical_voxel(points: np.ndarray) -> float:
    """A voxel edge, m, that leaves few voxels empty within a shell or a body of points (n, 3) m."""
    from scipy.spatial import cKDTree

    neighbors = min(8, len(points) - 1)
    some = points[:: max(1, len(points) // 20_000)]
    distance = cKDTree(points).query(some, k=[neighbors + 1])[0] if neighbors else np.zeros(1)
    voxel = float(np.quantile(distance, 0.9))
    if not voxel > 0:
        raise ValueError("points: too few different points to estimate voxel: give voxel= (m)")
    return voxel


def _voxel_body(points: np.ndarray, voxel: float):
    """The body that points outline: its winding numbers, its box and its volume.

    The winding numbers are a function of points (n, 3) m that returns 1 inside and 0 outside; the
    box is two corners (3,) m; the volume is in m^3.
    """
    from scipy import ndimage

    pad = CLOSING + 2
    corner = points.min(axis=0) - pad * voxel
    shape = np.floor(np.ptp(points, axis=0) / voxel) + 1 + 2 * pad
    if shape.prod() > MAX_VOXELS:
        raise ValueError(
            f"points: got an extent of {shape.astype(np.int64).tolist()} voxels of {voxel:g} m, "
            f"expected at most {MAX_VOXELS:,} in all: leave out stray points or give a larger "
            "voxel= (m)"
        )
    full = np.zeros(shape.astype(np.int64), bool)
    full[tuple(np.floor((points - corner) / voxel).astype(np.int64).T)] = True
    # The flood comes while the shell is dilated: a thin slanted shell leaks, even if it is closed.
    cube = np.ones((2 * CLOSING + 1,) * 3)
    full = ndimage.binary_fill_holes(ndimage.binary_dilation(full, cube))
    full = ndimage.binary_erosion(full, cube)
    # The signed distance in voxels is 0.5 at the centers of the outermost voxels. Points lie
    # anywhere in these voxels, so that on average the surface runs through their centers.
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
            "points: they enclose no volume: give a larger voxel= (m), or fill=False to keep the "
            "points as particles"
        )
    return turns, low, high, volume
