"""A sheet that deforms: few of its points carry all of it, it hardly stretches and bends softly."""

import numpy as np
from scipy.spatial import cKDTree

from inverse.spread import farthest_points
from taichi_phys.rotations import nearest_rotation


FLAT = 0.02  # extent over the largest one below which a set of nodes is flat in a direction
# Length, of the object's size, below which nothing is measured: tracks may hold a point twice.
SHORTEST = 1e-3


class SheetShape:
    """What is known of the shape of N keypoints points0 (N, 3) m on a sheet.

    neighbors: keypoints that each is tied to; nodes: how many of them carry the others; strain:
    relative stretch expected between neighbors; bending: relative change of shape of a neighborhood
    that is still usual.

    rest: (M, 3) m, the nodes in frame 0; W: (N, M), by which they carry the keypoints; mean: (M,),
    by which they carry the centroid; extent: size of the object, m.
    """

    def __init__(
        self, points0: np.ndarray, *, neighbors: int, nodes: int, strain: float, bending: float
    ):
        self.extent = float(np.linalg.norm(points0.std(axis=0)))
        chosen = farthest_points(points0, nodes)
        self.rest = points0[chosen]
        self.W = thin_plate_weights(self.rest, points0)
        self.mean = self.W.mean(axis=0)
        k = min(neighbors, len(points0) - 1)
        self.near = cKDTree(points0).query(points0, k + 1)[1][:, 1:]
        n, k = self.near.shape
        i, j = np.repeat(np.arange(n), k), self.near.ravel()
        self.edges = np.unique(np.sort(np.stack([i, j], 1), axis=1), axis=0)
        a, b = self.edges.T
        shortest = SHORTEST * self.extent
        self.length = np.linalg.norm(points0[a] - points0[b], axis=1)
        self.edge_W = self.W[a] - self.W[b]
        self.star = points0[self.near] - points0[:, None]  # (N, k, 3)
        self.star_W = self.W[self.near] - self.W[:, None]  # (N, k, M)
        reach = np.maximum(np.linalg.norm(self.star, axis=2), shortest)
        # Each neighborhood counts once, however many neighbors it has.
        self.star_weight = 1 / (bending * reach) ** 2 / k
        flat = self.star_W.reshape(-1, self.star_W.shape[2])
        self.matrix = np.kron(flat.T @ (self.star_weight.reshape(-1, 1) * flat), np.eye(3))
        self.stiffness = 1 / (strain * np.maximum(self.length, shortest))

    def _state(self, X: np.ndarray) -> tuple[np.ndarray, ...]:
        """Edges, their lengths and strain, and bending: each star against its turned rest shape."""
        a, b = self.edges.T
        edge = X[a] - X[b]
        now = np.linalg.norm(edge, axis=1)
        star = X[self.near] - X[:, None]
        rotations = best_rotations(self.star, star, self.star_weight)
        bend = star - self.star @ np.swapaxes(rotations, 1, 2)
        return edge, now, self.stiffness * (now - self.length), bend

    def terms(self, C: np.ndarray) -> tuple[np.ndarray, ...]:
        """At nodes C (M, 3) m: residuals (e,) and their Jacobian (e, 3, M); and of what has none, a
        Gauss-Newton matrix (3 M, 3 M) and gradient (3 M,)."""
        edge, now, strain, bend = self._state(self.W @ C)
        unit = edge * (self.stiffness / np.maximum(now, 1e-12))[:, None]
        J = unit[..., None] * self.edge_W[:, None]
        pull = (self.star_weight[..., None] * bend).reshape(-1, 3)
        flat = self.star_W.reshape(-1, len(C))
        return strain, J, self.matrix, (flat.T @ pull).ravel()

    def cost(self, C: np.ndarray) -> float:
        """The energy of nodes C (M, 3) m."""
        _, _, strain, bend = self._state(self.W @ C)
        return float(strain @ strain + (self.star_weight * (bend**2).sum(-1)).sum())

    def fit(self, X: np.ndarray) -> np.ndarray:
        """Nodes (T, M, 3) m that carry given keypoints (T, N, 3) m."""
        return np.einsum("mn,tnd->tmd", np.linalg.pinv(self.W), X)

    def strain(self, C: np.ndarray) -> float:
        """Root mean square relative change of the lengths between neighbors, of nodes (T, M, 3)."""
        X = np.einsum("nm,tmd->tnd", self.W, C)
        a, b = self.edges.T
        strain = np.linalg.norm(X[:, a] - X[:, b], axis=2) - self.length
        strain /= np.maximum(self.length, SHORTEST * self.extent)
        return float(np.sqrt((strain**2).mean()))


def best_rotations(rest: np.ndarray, now: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Rotations (N, 3, 3) that best turn rest (N, k, 3) into now (N, k, 3) (Kabsch 1976)."""
    covariance = np.einsum("nka,nkb,nk->nab", now, rest, weight)
    return nearest_rotation(covariance)


def thin_plate_weights(nodes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """W (N, M) with f(points) = W f(nodes): the smoothest interpolation, exact for affine maps.

    nodes: (M, d); points: (N, d). Polyharmonic splines |x|^2 log|x| (Duchon 1977) with a linear
    part over the axes along which the nodes extend, so that flat sheets are no special case.
    """
    center = nodes.mean(axis=0)
    _, extent, axes = np.linalg.svd(nodes - center, full_matrices=False)
    axes = axes[extent > FLAT * extent[0]]
    scale = extent[0] / np.sqrt(len(nodes))

    def kernel(p: np.ndarray) -> np.ndarray:
        r2 = ((p[:, None] - nodes[None]) ** 2).sum(-1) / scale**2
        return 0.5 * r2 * np.log(np.maximum(r2, 1e-30))

    def linear(p: np.ndarray) -> np.ndarray:
        return np.concatenate([np.ones((len(p), 1)), (p - center) @ axes.T / scale], axis=1)

    m, d = len(nodes), 1 + len(axes)
    system = np.block([[kernel(nodes), linear(nodes)], [linear(nodes).T, np.zeros((d, d))]])
    solution = np.linalg.solve(system, np.eye(m + d)[:, :m])
    return np.concatenate([kernel(points), linear(points)], axis=1) @ solution
