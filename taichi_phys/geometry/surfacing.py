"""The surface of a body of particles, as triangles."""

import dataclasses
import math
import warnings

import numpy as np

from taichi_phys.checks import finite_number


SMOOTH = 0.75  # standard deviation of the blur; the ripple of a regular grid is then below 1 %
FINE = 0.5  # edge of a voxel
# Share of volume at the surface. It is 1/2 at a plane; less where a body is curved or stretched.
LEVELS = (0.3, 0.5)
LOST = 0.6  # of the level: particles where the blurred share of volume is lower become balls
MOST = 2**26  # voxels
CHORD = 0.4  # square of voxels by which a ball's square radius grows, since faces are chords of it
NEIGHBORS = 32  # that tell the volume of a particle, if it is not given
CARRIED = 4  # particles whose values a vertex takes


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SurfaceMesh:
    """The surface of a body at one time.

    vertices: (m, 3) m; faces: (k, 3) indices of vertices, counterclockwise seen from outside;
    normals: (m, 3) of length 1, outward; v: (m, 3) m/s, None if it is not known; colors: (m, 3)
    red, green and blue from 0 to 1, or None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    v: np.ndarray | None = None
    colors: np.ndarray | None = None


def surface_mesh(
    x: np.ndarray,
    volume: np.ndarray | float | None = None,
    *,
    voxel: float | None = None,
    smooth: float = SMOOTH,
) -> SurfaceMesh:
    """The closed surface of a body of particles, fluid or solid.

    x: (n, 3) m; volume: m^3, (n,) or one number, None to estimate it from the distances between
    particles; voxel: edge of the cells of the surface, m, by default half the distance between
    particles; smooth: width of the blur, in distances between particles. The share of space that
    the particles fill is blurred, and marching cubes (Lewiner et al. 2003) find where it is 1/2 or,
    if the surface would enclose less volume than the particles have, down to 0.3. Particles that
    this surface leaves out, such as drops, become balls of their volume. Without particles the mesh
    is empty. Raises ValueError.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates
    from skimage.measure import marching_cubes

    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != 3 or not np.isfinite(x).all():
        raise ValueError(f"x: got shape {x.shape}, expected finite positions (n, 3)")
    smooth = finite_number("smooth", smooth, "a positive number", low=0, open_end=True)
    if not len(x):
        empty = np.zeros((0, 3))
        return SurfaceMesh(vertices=empty, faces=np.zeros((0, 3), np.int64), normals=empty)
    volumes = np.broadcast_to(particle_volume(x) if volume is None else volume, len(x))
    volumes = np.asarray(volumes, dtype=np.float64)
    if not (np.isfinite(volumes) & (volumes > 0)).all():
        raise ValueError("volume: expected positive numbers of cubic meters")
    apart = float(np.median(volumes)) ** (1 / 3)
    if voxel is None:
        voxel = FINE * apart
    voxel = finite_number("voxel", voxel, "a positive number of meters", low=0, open_end=True)
    lower, shape, voxel = _lattice(x, apart, smooth, voxel)
    cells = (x - lower) / voxel
    share = _splat(cells, volumes / voxel**3, shape)
    share = gaussian_filter(share, smooth * apart / voxel, mode="constant", truncate=3.0)
    lost = map_coordinates(share, cells.T, order=1) < LOST * LEVELS[1]
    level = _level(share, volumes[~lost].sum() / voxel**3)
    _add_balls(share, cells[lost], (0.75 / math.pi * volumes[lost]) ** (1 / 3) / voxel, level)
    vertices, faces, normals, _ = marching_cubes(
        share, level, gradient_direction="descent", allow_degenerate=False
    )
    return SurfaceMesh(
        vertices=lower + voxel * vertices.astype(np.float64),
        faces=faces[:, ::-1].astype(np.int64),  # skimage's are clockwise
        normals=normals.astype(np.float64),
    )


def particle_volume(x: np.ndarray) -> float:
    """The volume, m^3, of one of the particles x (n, 3) m that fill a body evenly.

    It is estimated from the balls around particles that hold so many neighbors; of these the
    first quartile counts, because balls at a surface are half empty. Raises ValueError.
    """
    from scipy.spatial import cKDTree

    count = min(NEIGHBORS, len(x) - 1)
    if count < 1:
        raise ValueError("volume: none given, expected the volume of a single particle")
    far = cKDTree(x).query(x, k=[count + 1])[0][:, 0]
    radius = float(np.quantile(far, 0.25))
    if not radius > 0:
        raise ValueError("volume: none given, and particles at one place do not tell it")
    return 4 / 3 * math.pi * radius**3 / (count + 0.5)


def carry_values(points: np.ndarray, x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values (m, ...) at points (m, 3) m of particles at x (n, 3) m with values (n, ...).

    A point takes the mean of the nearest particles, weighted by the inverse square distance.
    """
    from scipy.spatial import cKDTree

    if not len(points):
        return np.zeros((0, *values.shape[1:]))
    count = min(CARRIED, len(x))
    far, index = cKDTree(x).query(points, k=list(range(1, count + 1)))
    weight = 1 / np.maximum(far, 1e-9 * max(float(far.max()), 1e-30)) ** 2
    weight /= weight.sum(axis=1, keepdims=True)
    return np.einsum("mk,mk...->m...", weight, values[index].astype(np.float64))


def _lattice(
    x: np.ndarray, apart: float, smooth: float, voxel: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Corner (3,) m, shape (3,) and cell, m, of a grid around the particles and their blur."""
    margin = 4 * smooth * apart + 2 * apart
    span = np.ptp(x, axis=0) + 2 * margin
    wanted = voxel
    while np.prod(span / voxel + 4) > MOST:
        voxel *= 1.1
    if voxel > wanted:
        warnings.warn(
            f"voxel: {wanted:.3g} m would need more than {MOST} voxels; {voxel:.3g} m is taken",
            stacklevel=3,
        )
    lower = x.min(axis=0) - margin
    return lower, np.ceil(span / voxel).astype(int) + 2, voxel


def _splat(cells: np.ndarray, amounts: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """The sum (shape) of amounts (n,) at places (n, 3) of a grid, each shared by eight nodes."""
    base = np.floor(cells).astype(np.int64)
    high = cells - base
    nodes, parts = [], []
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(np.array(corner) == 1, high, 1 - high).prod(axis=1)
        nodes.append(np.ravel_multi_index(tuple((base + corner).T), shape))
        parts.append(weight * amounts)
    total = np.bincount(np.concatenate(nodes), np.concatenate(parts), minlength=int(shape.prod()))
    return total.reshape(shape).astype(np.float32)


def _level(share: np.ndarray, filled: float) -> float:
    """The share of volume above which as many voxels lie as are filled."""
    inside = share[share >= LEVELS[0]]
    rank = round(filled)
    if not 0 < rank < len(inside):
        return LEVELS[1] if rank <= 0 else LEVELS[0]
    value = float(np.partition(inside, len(inside) - rank)[len(inside) - rank])
    return min(max(value, LEVELS[0]), LEVELS[1])


def _add_balls(share: np.ndarray, cells: np.ndarray, radii: np.ndarray, level: float) -> None:
    """Raise share to the level within radii (n,), in voxels, of places (n, 3)."""
    if not len(cells):
        return
    radii = np.sqrt(radii**2 + CHORD)
    reach = math.ceil(2 * float(radii.max()))
    base = np.round(cells).astype(np.int64)
    for offset in np.ndindex(*[2 * reach + 1] * 3):
        node = base + np.array(offset) - reach
        far = np.linalg.norm(node - cells, axis=1) / radii
        ok = (far < 2) & (node >= 0).all(axis=1) & (node < share.shape).all(axis=1)
        np.maximum.at(share, tuple(node[ok].T), (level * (2 - far[ok])).astype(np.float32))
