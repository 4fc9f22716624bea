"""Carry particles along with the keypoints around them ("Seeing the wind", eq. 13).

The particles of a sheet follow triangles of keypoints, those of a solid the nodes in its volume.
"""

import dataclasses
import itertools

import numpy as np
from scipy.spatial import cKDTree

from inverse.lifting.solve import Lifted
from inverse.lifting.volume import VolumeNodes
from inverse.spread import farthest_points


BLOCK = 4096  # particles bound at once, so that memory stays bounded
NEAREST = 6  # keypoints whose triangles a particle chooses from, beside three of the whole object
ON_A_LINE = 1e-6  # shape (0 to 0.87) below which no triangle has an area
# Shape at which a triangle's penalty doubles: thinner ones amplify the noise of their corners.
THIN = 0.3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TriangleBinding:
    """n particles, each bound to K triangles of keypoints.

    triangles: (n, K, 3) indices of keypoints; barycentric: (n, K, 3) weights in each triangle,
    summing to 1; offset: (n, K) m, distance from its plane along the normal; blend: (n, K) weights
    of the triangles, summing to 1.
    """

    triangles: np.ndarray
    barycentric: np.ndarray
    offset: np.ndarray
    blend: np.ndarray

    def carry(self, keypoints: np.ndarray) -> np.ndarray:
        """Particles (n, 3) m for keypoints (N, 3) m."""
        corners = keypoints[self.triangles]
        flat = np.einsum("nki,nkic->nkc", self.barycentric, corners)
        place = flat + self.offset[..., None] * _normals(corners)
        return np.einsum("nk,nkc->nc", self.blend, place)


def bind_to_triangles(
    x0: np.ndarray, keypoints0: np.ndarray, *, triangles: int = 4
) -> TriangleBinding:
    """Bind particles x0 (n, 3) m to triangles of nearby keypoints0 (N, 3) m, both in frame 0.

    Weights, and offsets from the triangles' planes, are fixed here for all frames. Of all triangles
    among the nearest keypoints the best shaped and closest are taken, so that none is degenerate;
    several are blended, so that the noise of one corner is not a particle's. triangles: how many.
    Raises ValueError for wrong shapes, fewer than 3 keypoints, or all of them on a line.
    """
    x0, keypoints0 = np.asarray(x0, dtype=np.float64), np.asarray(keypoints0, dtype=np.float64)
    for name, value in (("x0", x0), ("keypoints0", keypoints0)):
        if value.ndim != 2 or value.shape[1] != 3:
            raise ValueError(f"{name}: got shape {value.shape}, expected (n, 3) m")
    if len(keypoints0) < 3:
        raise ValueError(f"keypoints0: got {len(keypoints0)}, expected at least 3")
    # Three corners of the whole object stand by for particles whose neighbors lie on a line.
    near = cKDTree(keypoints0).query(x0, k=min(NEAREST, len(keypoints0)))[1]
    wide = np.broadcast_to(farthest_points(keypoints0, 3), (len(x0), 3))
    near = np.concatenate([near, wide], axis=1)
    parts = [
        _best_triangles(x0[i : i + BLOCK], keypoints0, near[i : i + BLOCK], triangles)
        for i in range(0, len(x0), BLOCK)
    ]
    chosen, weights, offset, penalty = (np.concatenate(part) for part in zip(*parts, strict=True))
    blend = 1 / penalty**2
    return TriangleBinding(
        triangles=chosen,
        barycentric=weights,
        offset=offset,
        blend=blend / blend.sum(1, keepdims=True),
    )


def _best_triangles(
    x0: np.ndarray, keypoints0: np.ndarray, near: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Triangles, their weights, offsets and penalties, of particles with keypoints near (n, k)."""
    choice = np.array(list(itertools.combinations(range(near.shape[1]), 3)))
    index = near[:, choice]  # (n, C, 3)
    corners = keypoints0[index]
    a, b, c = np.moveaxis(corners, 2, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=2)
    longest = np.maximum.reduce([((p - q) ** 2).sum(2) for p, q in ((a, b), (b, c), (c, a))])
    shape = area / np.maximum(longest, 1e-30)  # 0 on a line, 0.87 for an equilateral triangle
    if shape.max() < ON_A_LINE:
        raise ValueError("keypoints0: all lie on a line, no triangle can carry particles")
    weights = _barycentric(x0[:, None], corners)
    reach = np.linalg.norm(corners - x0[:, None, None], axis=3).mean(2)
    # Outside of its triangle a particle amplifies the noise of the corners.
    thinness = (THIN / np.maximum(shape, 1e-9)) ** 2
    penalty = np.abs(weights).sum(2) * (reach + 1e-12) * (1 + thinness)
    best = np.argsort(penalty, axis=1, kind="stable")[:, :count]
    rows = np.arange(len(x0))[:, None]
    corners, weights = corners[rows, best], weights[rows, best]
    flat = np.einsum("nki,nkic->nkc", weights, corners)
    offset = ((x0[:, None] - flat) * _normals(corners)).sum(2)
    return index[rows, best], weights, offset, penalty[rows, best]


def dense_targets(binding: TriangleBinding, lifted: Lifted) -> tuple[np.ndarray, np.ndarray]:
    """Targets (T, n, 3) m of particles and their confidence (T, n), from lifted keypoints."""
    targets = np.stack([binding.carry(points) for points in lifted.points])
    share = np.abs(binding.barycentric)
    share = binding.blend[..., None] * share / share.sum(2, keepdims=True)
    confidence = np.einsum("nki,tnki->tn", share, lifted.confidence[:, binding.triangles])
    return targets, confidence


def carried_shifts(
    carrier: TriangleBinding | VolumeNodes, lifted: Lifted, some: np.ndarray
) -> np.ndarray:
    """(B, T, m, 3) m: the shifts of a lift, as some particles (m,), by index, follow them.

    carrier: has carried all particles.
    """
    assert lifted.shifts is not None
    if isinstance(carrier, VolumeNodes):
        return np.einsum("sm,btmd->btsd", carrier.weights[some], lifted.shifts)
    few = TriangleBinding(
        **{f.name: getattr(carrier, f.name)[some] for f in dataclasses.fields(carrier)}
    )
    rest = [few.carry(points) for points in lifted.points]
    return np.array([
        [few.carry(points + off) - place
         for points, off, place in zip(lifted.points, shift, rest, strict=True)]
        for shift in lifted.shifts
    ]).reshape(-1, len(lifted.points), len(some), 3)  # fmt: skip


def solid_targets(
    volume: VolumeNodes, x0: np.ndarray, keypoints0: np.ndarray, lifted: Lifted
) -> tuple[np.ndarray, np.ndarray]:
    """Targets (T, n, 3) m of the particles of a solid and their confidence (T, n).

    volume: has carried the keypoints; x0: (n, 3) m, particles in frame 0; keypoints0: (N, 3) m.
    """
    gap, near = cKDTree(keypoints0).query(x0, k=min(NEAREST, len(keypoints0)))
    share = 1 / np.maximum(gap, 1e-9) ** 2
    share /= share.sum(axis=1, keepdims=True)
    confidence = np.einsum("nk,tnk->tn", share, lifted.confidence[:, near])
    return volume.carry(lifted.nodes), confidence


def _normals(corners: np.ndarray) -> np.ndarray:
    """Unit normals (..., 3) of triangles (..., 3, 3)."""
    normal = np.cross(
        corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]
    )
    return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-30)


def _barycentric(x: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Weights (..., 3), summing to 1, of the projection of x (..., 3) onto triangles' planes."""
    e, f = corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]
    d = x - corners[..., 0, :]
    ee, ef, ff = (e * e).sum(-1), (e * f).sum(-1), (f * f).sum(-1)
    de, df = (d * e).sum(-1), (d * f).sum(-1)
    det = np.maximum(ee * ff - ef**2, 1e-30)
    u, v = (ff * de - ef * df) / det, (ee * df - ef * de) / det
    return np.stack([1 - u - v, u, v], axis=-1)
