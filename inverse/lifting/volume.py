"""A solid that deforms: few nodes in its volume carry all of it, and its energy is elastic.

The nodes' weights are biharmonic within the body: of all functions that take given values at the
nodes they bend least, they follow its limbs rather than the air between them, and they are exact
for affine motions. The energy is as rigid as possible over the volume (Sorkine and Alexa 2007):
what the deformation gradients around particles have beyond a rotation. How much parts swell stands
beside it.
"""

import functools

import numpy as np
from scipy.sparse import coo_array, csc_array
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from inverse.affine import affine_weights
from inverse.spread import farthest_points
from taichi_phys.rotations import nearest_rotation


MOST = 2500  # particles that the weights are solved for; others follow those around them
STAR = 16  # neighbors around a particle, whose affine fit is its local deformation
SAMPLES = 400  # particles at which the energy is measured
FAINT = 1e-6  # weight of the nearest nodes in a star: ties parts that the stars leave apart
FLAT = 1e-3  # extent of a star over the largest, below which it is flat in a direction


class VolumeNodes:
    """Nodes in a body of particles x (n, 3) m, and how they carry it.

    rest: (M, 3) m, the nodes in frame 0; weights: (n, M) of the particles, so that x = weights @
    rest. Raises ValueError for fewer than 8 particles.
    """

    def __init__(self, x: np.ndarray, count: int):
        x = np.asarray(x, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != 3 or len(x) < 8:
            raise ValueError(f"x: got shape {x.shape}, expected at least 8 particles (n, 3) m")
        self.cloud = x if len(x) <= MOST else x[farthest_points(x, MOST)]
        self.extent = float(np.linalg.norm(x.std(axis=0)))
        nodes = farthest_points(self.cloud, count)
        self.rest = self.cloud[nodes]
        self._weights = _biharmonic_weights(self.cloud, nodes)
        self.weights = self._weights if self.cloud is x else self.weights_at(x)
        self._prepare_energy()

    def weights_at(self, points: np.ndarray) -> np.ndarray:
        """Weights (N, M) of any points (N, 3) m in or beside the body in frame 0."""
        near, share = affine_weights(self.cloud, points)
        return np.einsum("nk,nkm->nm", share, self._weights[near])

    def carry(self, nodes: np.ndarray) -> np.ndarray:
        """Particles (T, n, 3) m for nodes (T, M, 3) m."""
        return np.einsum("nm,tmd->tnd", self.weights, nodes)

    def gradients(self, nodes: np.ndarray) -> np.ndarray:
        """Deformation gradients (T, S, 3, 3) at the samples, for nodes (T, M, 3) m."""
        return np.einsum("sbm,tma->tsab", self._slopes, nodes)

    def strain(self, nodes: np.ndarray) -> float:
        """Root mean square principal strain of nodes (T, M, 3) m."""
        F = self.gradients(nodes)
        return float(np.sqrt(((F - nearest_rotation(F)) ** 2).sum((-1, -2)).mean() / 3))

    def _prepare_energy(self) -> None:
        chosen = farthest_points(self.cloud, min(SAMPLES, len(self.cloud)))
        near = cKDTree(self.cloud).query(self.cloud[chosen], min(STAR + 1, len(self.cloud)))[1]
        star = self.cloud[near] - self.cloud[near].mean(axis=1, keepdims=True)
        # Least squares: F = (sum now rest^T) (sum rest rest^T)^-1. Where a star is flat, its
        # particles say nothing across: there F is what it is around.
        spread = np.einsum("ska,skb->sab", star, star)
        floor = FLAT * np.trace(spread, axis1=1, axis2=2)[:, None, None] * np.eye(3)
        slope = np.linalg.solve(spread + floor, np.swapaxes(star, 1, 2))
        self._slopes = np.einsum("sbk,skm->sbm", slope, self._weights[near])
        # The ridge makes rest gradients a little less than one: scaled back to be exact at rest.
        rest = self.gradients(self.rest[None])[0]
        self._slopes = np.einsum("sbc,scm->sbm", np.linalg.inv(rest).swapaxes(1, 2), self._slopes)

    @functools.cached_property
    def stiffness(self) -> np.ndarray:
        """(M, M): nodes C with rotations held have the energy tr C^T stiffness C, per sample."""
        flat = self._slopes.reshape(-1, len(self.rest))
        return flat.T @ flat / len(self._slopes)

    def turned(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Deformation gradients (S, 3, 3) at the samples, for nodes (M, 3) m of one frame, and the
        rotations nearest to them."""
        F = np.einsum("sbm,ma->sab", self._slopes, nodes)
        return F, nearest_rotation(F)

    def energy(
        self, nodes: np.ndarray, turned: tuple[np.ndarray, np.ndarray] | None = None
    ) -> tuple[float, np.ndarray]:
        """Mean square of what gradients have beyond rotations, and half its slope (M, 3) by nodes
        (M, 3) m of one frame; turned: of these, if known."""
        F, turns = turned or self.turned(nodes)
        rest = F - turns
        pull = np.einsum("sbm,sab->ma", self._slopes, rest) / len(F)
        return float((rest**2).sum() / len(F)), pull

    def swelling(
        self, nodes: np.ndarray, turned: tuple[np.ndarray, np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the principal strains (S,) at the samples, for nodes (M, 3) m of one frame, and
        their slopes (S, 3, M) 1/m; turned: of these, if known."""
        F, turns = turned or self.turned(nodes)
        slope = np.einsum("sbm,sab->sam", self._slopes, turns)
        return np.einsum("sab,sab->s", turns, F) - 3, slope


def _biharmonic_weights(cloud: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """W (n, M) that minimizes, over all stars, what no affine function explains of each column,
    with W[nodes] the identity."""
    n, m = len(cloud), len(nodes)
    tree = cKDTree(cloud)
    Q = _star_energy(cloud, tree.query(cloud, min(STAR + 1, n))[1])
    fine = np.median(Q.diagonal())
    wide = cKDTree(cloud[nodes]).query(cloud, min(8, m))[1]
    faint = _star_energy(cloud, np.column_stack([np.arange(n), nodes[wide]]))
    Q = csc_array(Q + FAINT * fine * faint)
    free = np.setdiff1d(np.arange(n), nodes)
    W = np.zeros((n, m))
    W[nodes] = np.eye(m)
    if len(free):
        factor = splu(
            csc_array(Q[free][:, free]), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )  # fmt: skip
        W[free] = -factor.solve(Q[free][:, nodes].toarray())
    return W


def _star_energy(cloud: np.ndarray, stars: np.ndarray) -> csc_array:
    """(n, n): the quadratic form that is the squared residual of affine fits over stars (s, k)."""
    star = cloud[stars] - cloud[stars].mean(axis=1, keepdims=True)
    size = np.sqrt((star**2).sum(-1).mean(-1))[:, None, None]
    A = np.concatenate([np.ones((*stars.shape, 1)), star / np.maximum(size, 1e-300)], axis=2)
    U, s, _ = np.linalg.svd(A, full_matrices=False)
    U = U * (s > FLAT * s[:, :1])[:, None]
    k = stars.shape[1]
    rest = np.eye(k) - U @ np.swapaxes(U, 1, 2)
    row, column = np.repeat(stars, k, axis=1).ravel(), np.tile(stars, (1, k)).ravel()
    return coo_array((rest.ravel(), (row, column)), shape=(len(cloud), len(cloud))).tocsc()
