"""The closed surface of an object that is given as 3D Gaussians of a scene.

Gaussians of a fit lie on surfaces, with stray ones in the air and the background around. Those that
the first view sees in the object's mask are kept, as far as they hang together; the surface is that
of the volume that they enclose, and passes where they become transparent.
"""

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from inverse.perception.mesh import closed_mesh, mesh_in_view
from renderers.camera import Camera
from renderers.splats.gaussians import Gaussians
from taichi_phys.geometry.repair import Triangles
from taichi_phys.rotations import rotation_matrix


OPAQUE = 0.2  # opacity from which on a Gaussian is taken for surface
CELLS = (64, 48, 36, 28, 20)  # voxels along the longest side of the object that are tried
FILLED = 0.8  # of the median volume of these: less has leaked
CUBE = np.ones((3, 3, 3))
BROAD = 0.1  # of the scene's size, above which a Gaussian is background or fog
RIM = 3  # px, by which a Gaussian of the object may lie outside of its mask
# Standard deviations from its center at which an opaque Gaussian begins to let light pass.
REACH = 2.0
MIN_GAUSSIANS = 50
PULL, NEAREST = 1.5, 12  # voxels around a vertex, and Gaussians in them, whose centers draw it near


def splat_surface(
    gaussians: Gaussians, mask: np.ndarray | None, camera: Camera
) -> tuple[Triangles, Gaussians]:
    """The surface of the object among Gaussians, and those Gaussians that are the object's.

    mask: (H, W) bool, the object's pixels in the camera's view, None where there is nothing else.
    Raises ValueError where too few Gaussians are in the mask, or they enclose no volume.
    """
    means = gaussians.means.double().cpu().numpy()
    axes = rotation_matrix(gaussians.quats.double().cpu().numpy())
    scales = gaussians.scales.double().cpu().numpy()
    opacity = gaussians.opacities.double().cpu().numpy()
    inside = _in_mask(means, mask, camera)
    solid = inside & (opacity >= OPAQUE)
    if solid.sum() < MIN_GAUSSIANS:
        raise ValueError(
            f"model: {solid.sum()} opaque Gaussians appear in the mask, expected at least "
            f"{MIN_GAUSSIANS}; is the model in the world of the camera, in meters?"
        )
    size = np.ptp(np.quantile(means[solid], [0.02, 0.98], axis=0), axis=0).max()
    solid &= scales.max(axis=1) < BROAD * size
    points = _spread(means[solid], axes[solid], scales[solid])
    low, high = np.quantile(points, [0.01, 0.99], axis=0)
    near = points[((points > low - 0.5 * size) & (points < high + 0.5 * size)).all(axis=1)]
    bodies = [_voxel_part(near, size / cells, camera) for cells in CELLS]
    volumes = [part.sum() * voxel**3 for part, _, voxel in bodies]
    # The finest voxels through which no gap leads inside: a shell that leaks is hardly filled.
    tight = np.flatnonzero(np.array(volumes) > FILLED * np.median(volumes))[0]
    part, corner, voxel = bodies[tight]
    shape = np.array(part.shape)
    distance = ndimage.distance_transform_edt(part) - ndimage.distance_transform_edt(~part)
    distance -= 0.5 * np.sign(distance)
    # The outermost voxels hold the centers: the surface passes through their middle.
    field = ndimage.gaussian_filter(distance.astype(np.float64), 0.7) - 0.5
    vertices, faces = surface_net(field)
    if not len(faces):
        raise ValueError("model: its Gaussians enclose no volume")
    surface = closed_mesh(Triangles(corner + (vertices + 0.5) * voxel, faces))
    surface = _drawn_to(surface, means[solid], axes[solid] * scales[solid][:, None], voxel)
    chosen = np.flatnonzero(inside & (scales.max(axis=1) < BROAD * size))
    cell = np.clip(((means[chosen] - corner) / voxel).astype(int), 0, shape - 1)
    chosen = chosen[ndimage.binary_dilation(part, CUBE, iterations=2)[tuple(cell.T)]]
    index = torch.as_tensor(chosen, device=gaussians.means.device)
    return surface, Gaussians(**{k: v[index].float() for k, v in gaussians.tensors().items()})


def _voxel_part(
    points: np.ndarray, voxel: float, camera: Camera
) -> tuple[np.ndarray, np.ndarray, float]:
    """The body (X, Y, Z) bool of voxels that points (n, 3) m enclose, as far as it hangs together
    and the camera sees it; the corner (3,) m of the grid, and the voxels' edge, m."""
    corner = points.min(axis=0) - 4 * voxel
    full = np.zeros(np.ceil((points.max(axis=0) - corner) / voxel).astype(int) + 4, dtype=bool)
    full[tuple(((points - corner) / voxel).astype(int).T)] = True
    closed = ndimage.binary_fill_holes(ndimage.binary_dilation(full, CUBE))
    return _seen_part(ndimage.binary_erosion(closed, CUBE), corner, voxel, camera), corner, voxel


def surface_net(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (v, 3), in cells from the first sample, and faces (f, 3) of the closed surface on
    which a field (X, Y, Z) is zero, negative all around; faces look to where it is negative.

    One vertex in each cell that the surface passes, in the mean of where it meets the cell's edges
    (naive surface nets; Gibson 1998).
    """
    inside = field > 0
    total = np.zeros((*[n + 1 for n in field.shape], 3))  # cell (i, j, k) lies below its sample
    count = np.zeros(total.shape[:3])
    quads = []
    for axis in range(3):
        first = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        second = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        edge = np.argwhere(inside[first] != inside[second])
        ahead = edge + np.eye(3, dtype=int)[axis]
        f0, f1 = field[tuple(edge.T)], field[tuple(ahead.T)]
        at = edge.astype(np.float64)
        at[:, axis] += f0 / (f0 - f1)
        u, v = np.eye(3, dtype=int)[(axis + 1) % 3], np.eye(3, dtype=int)[(axis + 2) % 3]
        ring = np.stack([ahead, ahead + u, ahead + u + v, ahead + v], axis=1)
        for k in range(4):
            np.add.at(total, tuple(ring[:, k].T), at)
            np.add.at(count, tuple(ring[:, k].T), 1)
        turned = np.where((f0 > 0)[:, None, None], ring, ring[:, ::-1])
        quads.append(np.ravel_multi_index(np.moveaxis(turned, 2, 0), count.shape))
    corners = np.concatenate(quads)
    used, index = np.unique(corners, return_inverse=True)
    index = index.reshape(-1, 4)
    faces = np.concatenate([index[:, [0, 1, 2]], index[:, [0, 2, 3]]])
    return (total.reshape(-1, 3) / np.maximum(count.reshape(-1, 1), 1))[used], faces


def _in_mask(means: np.ndarray, mask: np.ndarray | None, camera: Camera) -> np.ndarray:
    xy, z = camera.project(means)
    if mask is None:
        return z > 0
    cell = np.floor(np.nan_to_num(xy, nan=-1.0)).clip(-1, 2**30).astype(int)
    inside = (z > 0) & (cell >= 0).all(axis=1) & (cell < mask.shape[::-1]).all(axis=1)
    wide = ndimage.binary_dilation(mask, iterations=RIM)
    cell = np.where(inside[:, None], cell, 0)
    return inside & wide[cell[:, 1], cell[:, 0]]


def _spread(means: np.ndarray, axes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """27 points (27 n, 3) of each Gaussian, its center and those at its end along its
    axes, so that broad ones leave no gaps and thick ones reach as far as they are seen."""
    long = REACH * np.swapaxes(axes, 1, 2) * scales[..., None]
    side = (-1, 0, 1)
    steps = np.array([(a, b, c) for a in side for b in side for c in side], dtype=float)
    steps /= np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1)
    return (means[:, None] + np.einsum("sk,nkc->nsc", steps, long)).reshape(-1, 3)


def _seen_part(body: np.ndarray, corner: np.ndarray, voxel: float, camera: Camera) -> np.ndarray:
    """Of the connected parts of a voxel body, the one that fills most of the camera's view."""
    labels, parts = ndimage.label(body)
    if parts < 2:
        return body
    best, most = body, -1
    blocks = []
    for part in range(1, parts + 1):
        one = labels == part
        if one.sum() < MIN_GAUSSIANS:
            continue
        net = surface_net(ndimage.gaussian_filter(one.astype(float), 0.5) - 0.5)
        if len(net[1]):
            mesh = Triangles(corner + (net[0] + 0.5) * voxel, net[1])
            blocks.append((one, mesh_in_view(mesh, camera)[0]))
    if not blocks:
        return body
    nearest = np.min([depth for _, depth in blocks], axis=0)
    for one, depth in blocks:
        pixels = int((np.isfinite(depth) & (depth <= nearest)).sum())
        if pixels > most:
            best, most = one, pixels
    return best


def _drawn_to(surface: Triangles, centers: np.ndarray, half: np.ndarray, voxel: float) -> Triangles:
    """The surface with its vertices moved along their normals to where Gaussians around them end.

    centers: (n, 3) m; half: (n, 3, 3) m, whose columns are their standard deviations.
    """
    a, b, c = np.moveaxis(surface.vertices[surface.faces], 1, 0)
    flat = np.cross(b - a, c - a)
    normals = np.zeros_like(surface.vertices)
    for k in range(3):
        np.add.at(normals, surface.faces[:, k], flat)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    gap, near = cKDTree(centers).query(surface.vertices, min(NEAREST, len(centers)))
    weight = np.exp(-0.5 * (gap / (0.7 * voxel)) ** 2) * (gap < PULL * voxel)
    off = ((centers[near] - surface.vertices[:, None]) * normals[:, None]).sum(-1)
    off += REACH * np.linalg.norm(np.einsum("vkab,va->vkb", half[near], normals), axis=2)
    move = (weight * off).sum(1) / (weight.sum(1) + 0.1)
    return Triangles(surface.vertices + normals * move[:, None], surface.faces)
