"""A sheet of unknown relief that moves without stretching: its energy, and where that is least.

Lengths on the surface stay what they are in frame 0, which its depth there decides: points whose
distances in the picture change as those of a tilted or bent surface do give the tilt and the bend
(isometric non-rigid structure from motion; Varol et al. 2009, Parashar et al. 2018). A rigid body
is a special case, since the side of it that is seen does not stretch either.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial import cKDTree

from inverse.lifting.energy import CAUCHY
from inverse.lifting.motion import MotionStatistics
from inverse.lifting.sheet import best_rotations, thin_plate_weights
from inverse.lifting.smoothness import differences
from inverse.spread import farthest_points
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera


NEIGHBORS = 8  # keypoints that each is tied to
STRAIN, BENDING = 0.01, 0.2  # relative change of lengths, and of neighborhoods, that is still usual
STEADIEST = 1e-6  # amplitude, of the object's size: a motion may be as exact as arithmetic
SHALLOWEST = 0.1  # inverse depth, over the usual one: no point is farther away than that
SHORTEST = 1e-6  # of the distance: tracks may hold a point twice
NEAREST = 0.05  # of the distance, in front of the camera, within which nothing is seen
SEEN_WEIGHT = 1e-4  # of the frame before, where a frame shows too little to place every node
# Levenberg-Marquardt: damping of the diagonal at the start, its least, and where it gives up.
DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-4, 1e-9, 1e4


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ReliefFit:
    """Where the energy is least.

    relief: (k,), coefficients; nodes: (T, M, 3) m; cost: twice the negative logarithm of the
    posterior, up to a constant.
    """

    relief: np.ndarray
    nodes: np.ndarray
    cost: float


class ReliefEnergy:
    """The energy of a relief and of the motion of N keypoints through T frames of one view.

    In frame 0 the inverse depth of the keypoints is (1 + basis relief) / distance; in later frames
    M nodes carry them. tracks: of the keypoints, seen in frame 0; cameras: of each frame; basis:
    (N, k); prior: (k,), usual sizes of the coefficients; distance: m; motion: how smooth the motion
    is; sigma_px: noise of the tracks, px; nodes: M.
    """

    def __init__(
        self,
        tracks: Tracks,
        cameras: Sequence[Camera],
        basis: np.ndarray,
        prior: np.ndarray,
        *,
        distance: float,
        motion: MotionStatistics,
        sigma_px: float,
        nodes: int,
    ):
        self.tracks, self.cameras, self.basis = tracks, cameras, basis
        self.precision, self.sigma_px = 1 / prior**2, sigma_px
        first = cameras[0]
        self.origin, self.distance = first.position, distance
        self.rays = first.unproject(tracks.xy[0], distance) - self.origin
        flat = first.to_camera(self.rays + self.origin)[:, :2]
        chosen = farthest_points(flat, min(nodes, len(flat)))
        self.W = thin_plate_weights(flat[chosen], flat)
        self.onto_nodes = np.linalg.pinv(self.W)
        k = min(NEIGHBORS, len(flat) - 1)
        self.near = cKDTree(flat).query(flat, k + 1)[1][:, 1:]
        pairs = np.stack([np.repeat(np.arange(len(flat)), k), self.near.ravel()], axis=1)
        self.edges = np.unique(np.sort(pairs, axis=1), axis=0)
        self.edge_W = self.W[self.edges[:, 0]] - self.W[self.edges[:, 1]]
        self.star_W = self.W[self.near] - self.W[:, None]
        # Each neighborhood counts once, however many neighbors it has.
        reach = np.linalg.norm(flat[self.near] - flat[:, None], axis=2)
        reach = np.maximum(reach, SHORTEST * distance)
        self.star_root = 1 / (BENDING * reach) / np.sqrt(k)
        extent = float(np.linalg.norm(flat.std(axis=0)))
        self._prepare_time(motion, extent)

    def _prepare_time(self, motion: MotionStatistics, extent: float) -> None:
        mean, m = self.W.mean(axis=0), self.W.shape[1]
        apart = np.eye(m) - np.outer(np.ones(m), mean)
        self.time = []
        for smooth, H, weight in (
            (motion.centroid, np.outer(mean, mean), 1.0),
            (motion.local, apart.T @ apart, motion.modes / m),
        ):
            D = differences(self.tracks.frames, smooth.order)
            amplitude = max(smooth.amplitude, STEADIEST * extent)
            self.time.append((D.T @ D * (weight / amplitude**2), H))

    def rest(self, relief: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints (N, 3) m in frame 0, and their derivatives (N, 3, k)."""
        inverse = np.maximum(1 + self.basis @ relief, SHALLOWEST)[:, None]
        slope = -(self.rays / inverse**2)[:, :, None] * self.basis[:, None]
        return self.rays / inverse + self.origin, slope

    def nodes_of(self, X: np.ndarray) -> np.ndarray:
        """Nodes (T, M, 3) m that carry given keypoints (T, N, 3) m."""
        return np.einsum("mn,tnd->tmd", self.onto_nodes, X)

    def start(self, relief: np.ndarray) -> np.ndarray:
        """Nodes (T, M, 3) m by which every point stays at its depth of frame 0."""
        X, _ = self.rest(relief)
        depth = self.cameras[0].to_camera(X)[:, 2]
        C = [self.onto_nodes @ X]
        for t in range(1, self.tracks.frames):
            seen = self.tracks.visible[t]
            Y = self.cameras[t].unproject(self.tracks.xy[t, seen], depth[seen])
            W = self.W[seen]
            H = W.T @ W + SEEN_WEIGHT * np.eye(W.shape[1])
            C.append(np.linalg.solve(H, W.T @ Y + SEEN_WEIGHT * C[-1]))
        return np.stack(C)

    def mirrored(self, C: np.ndarray) -> np.ndarray:
        """Nodes (T, M, 3) m that look as nodes C do, with near and far exchanged."""
        found = []
        for camera, X in zip(self.cameras, self.W @ C, strict=True):
            depth = camera.to_camera(X)[:, 2]
            other = np.maximum(2 * depth.mean() - depth, NEAREST * self.distance)
            found.append(self.onto_nodes @ camera.unproject(camera.project(X)[0], other))
        return np.stack(found)

    def cost(self, relief: np.ndarray, C: np.ndarray) -> float:
        """The energy of coefficients (k,) and nodes (T, M, 3) m."""
        lengths = _Lengths(self, relief)
        total = float((self.precision * relief**2).sum())
        for t in range(1, len(C)):
            X = self.W @ C[t]
            r = self._reprojection(t, X)[0]
            total += float((CAUCHY**2 * np.log1p((r**2).sum(1) / CAUCHY**2)).sum())
            strain, _, bend, _ = lengths.compare(X)
            total += float((strain**2).sum() + (bend**2).sum())
        held = np.concatenate([(self.onto_nodes @ lengths.X)[None], C[1:]])
        return total + float((held * self._pull(held)).sum())

    def minimize(
        self, relief: np.ndarray, C: np.ndarray | None = None, *, rounds: int, tolerance: float,
        free: bool = True,
    ) -> ReliefFit:  # fmt: skip
        """Levenberg-Marquardt from coefficients (k,) and nodes (T, M, 3) m.

        rounds: at most; tolerance: share of the energy, of a step that is the last; free: whether
        the coefficients are sought, too.
        """
        relief = np.array(relief, dtype=np.float64)
        C = self.start(relief) if C is None else C.copy()
        cost, damping = self.cost(relief, C), DAMPING
        for _ in range(rounds):
            H, B, g, small, slope = self._system(relief, C)
            new, step, turn = np.inf, C, relief
            while not new <= cost and damping <= MOST_DAMPING:
                try:
                    turn, step = _step(H, B, g, small, slope, damping, free)
                    step = step.reshape(C[1:].shape)
                    new = self.cost(relief + turn, np.concatenate([C[:1], C[1:] + step]))
                except np.linalg.LinAlgError:
                    new = np.inf
                damping *= 1 if new <= cost else 10
            if not new <= cost:
                break
            last = cost - new < tolerance * cost
            relief, C = relief + turn, np.concatenate([C[:1], C[1:] + step])
            cost, damping = new, max(damping / 10, LEAST_DAMPING)
            if last:
                break
        C[0] = self.onto_nodes @ self.rest(relief)[0]
        return ReliefFit(relief=relief, nodes=C, cost=cost)

    def information(self, fit: ReliefFit) -> np.ndarray:
        """Curvature (k, k) of half the energy in the coefficients, with the nodes that fit each."""
        H, B, _, small, _ = self._system(fit.relief, fit.nodes)
        return small - B.T @ cho_solve(cho_factor(H, check_finite=False), B)

    def _reprojection(self, t: int, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Errors (n, 2) sigmas of the n keypoints seen, their Jacobian (n, 2, 3), and which."""
        camera, seen = self.cameras[t], np.flatnonzero(self.tracks.visible[t])
        local = camera.to_camera(X[seen])
        z = np.maximum(local[:, 2], NEAREST * self.distance)
        at = local[:, :2] / z[:, None] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
        J = np.zeros((len(z), 2, 3))
        J[:, 0, 0], J[:, 0, 2] = camera.fx / z, -camera.fx * local[:, 0] / z**2
        J[:, 1, 1], J[:, 1, 2] = camera.fy / z, -camera.fy * local[:, 1] / z**2
        error = (at - self.tracks.xy[t, seen]) / self.sigma_px
        return error, J @ camera.rotation / self.sigma_px, seen

    def _pull(self, C: np.ndarray) -> np.ndarray:
        """Gradient (T, M, 3) of half the energy of roughness in time."""
        return sum((np.einsum("ts,smc->tmc", K, H @ C) for K, H in self.time), np.zeros_like(C))

    def _system(self, relief: np.ndarray, C: np.ndarray) -> tuple[np.ndarray, ...]:
        """Gauss-Newton: of nodes (n, n), of both (n, k), gradient (n,); of the relief alone (k, k)
        and its gradient (k,). Nodes of frame 0 follow from the relief."""
        frames, m, k = len(C), C.shape[1], len(relief)
        size = 3 * m
        lengths = _Lengths(self, relief)
        C = np.concatenate([(self.onto_nodes @ lengths.X)[None], C[1:]])
        first = np.einsum("mn,nik->mik", self.onto_nodes, lengths.dX).reshape(size, k)
        H = np.zeros((frames, size, frames, size))
        for K, A in self.time:
            H += np.einsum("ts,ab->tasb", K, np.kron(A, np.eye(3)))
        g = self._pull(C).reshape(frames, size)
        slope, small = self.precision * relief + first.T @ g[0], np.diag(self.precision)
        small = small + first.T @ H[0, :, 0] @ first
        B = np.einsum("tas,sk->tak", H[:, :, 0], first)
        for t in range(1, frames):
            X = self.W @ C[t]
            r, J, seen = self._reprojection(t, X)
            root = np.sqrt(1 / (1 + (r**2).sum(1) / CAUCHY**2))
            G = (J * root[:, None, None])[:, :, None] * self.W[seen][:, None, :, None]
            G = G.reshape(-1, size)
            strain, edge, bend, turned = lengths.compare(X)
            S = (edge[:, None] * self.edge_W[..., None]).reshape(-1, size)
            S_a = -((strain * STRAIN + 1) / STRAIN / lengths.length)[:, None] * lengths.d_length
            Q = (self.star_W * lengths.star_root[..., None]).reshape(-1, m)
            Q_a = -(turned * lengths.star_root[..., None, None]).reshape(-1, 3, k)
            H[t, :, t] += G.T @ G + S.T @ S + np.kron(Q.T @ Q, np.eye(3))
            flat = bend.reshape(-1, 3)
            g[t] += G.T @ (r * root[:, None]).ravel() + S.T @ strain + (Q.T @ flat).ravel()
            B[t] += S.T @ S_a + np.einsum("pm,pik->mik", Q, Q_a).reshape(size, k)
            small = small + S_a.T @ S_a + np.einsum("pik,pil->kl", Q_a, Q_a)
            slope = slope + S_a.T @ strain + np.einsum("pik,pi->k", Q_a, flat)
        n = (frames - 1) * size
        return H[1:, :, 1:].reshape(n, n), B[1:].reshape(n, k), g[1:].ravel(), small, slope


class _Lengths:
    """Lengths and neighborhoods of frame 0 of a relief, against which later frames are compared."""

    def __init__(self, energy: ReliefEnergy, relief: np.ndarray):
        self.energy = energy
        self.X, self.dX = X, dX = energy.rest(relief)
        a, b = energy.edges.T
        edge = X[a] - X[b]
        self.length = np.maximum(np.linalg.norm(edge, axis=1), SHORTEST * energy.distance)
        self.d_length = np.einsum("ei,eik->ek", edge, dX[a] - dX[b]) / self.length[:, None]
        self.star = X[energy.near] - X[:, None]
        self.d_star = dX[energy.near] - dX[:, None]
        self.star_root = energy.star_root

    def compare(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Strain (e,) of edges, its derivative (e, 3), bending (N, k, 3) of stars, and the
        derivative of turned stars by the relief (N, k, 3, r)."""
        a, b = self.energy.edges.T
        edge = X[a] - X[b]
        now = np.linalg.norm(edge, axis=1)
        star = X[self.energy.near] - X[:, None]
        R = best_rotations(self.star, star, self.star_root**2)
        bend = (star - self.star @ np.swapaxes(R, 1, 2)) * self.star_root[..., None]
        unit = edge / np.maximum(now * self.length * STRAIN, 1e-300)[:, None]
        turned = np.einsum("nij,nqjk->nqik", R, self.d_star)
        return (now / self.length - 1) / STRAIN, unit, bend, turned


def _step(
    H: np.ndarray, B: np.ndarray, g: np.ndarray, small: np.ndarray, slope: np.ndarray,
    damping: float, free: bool,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The damped step of relief (k,) and nodes (T - 1, M, 3); the relief is eliminated last."""
    factor = cho_factor(H + damping * np.diag(np.diag(H)), check_finite=False)
    x = cho_solve(factor, g)
    if not free:
        return np.zeros(len(slope)), -x
    Y = cho_solve(factor, B)
    S = small + damping * np.diag(np.diag(small)) - B.T @ Y
    turn = -np.linalg.solve(S, slope - B.T @ x)
    return turn, -x - Y @ turn
