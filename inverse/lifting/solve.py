"""3D trajectories of keypoints from their tracks in one or more views.

All frames are solved for at once: robust reprojection in every view, a sheet that hardly stretches
and bends softly, and motion as smooth as the tracks show it to be. Depth, which a single view
barely sees, then follows from lengths and from smoothness, instead of frame by frame
("Seeing the wind", eq. 11) where its noise would drown the accelerations.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.linalg import solveh_banded
from scipy.spatial import cKDTree

from inverse.lifting.motion import measure_motion
from inverse.lifting.smoothness import Smoothness, differences
from inverse.spread import farthest_points
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera
from taichi_phys.rotations import nearest_rotation


CAUCHY = 2.385  # in sigmas, where an observation loses half its weight (Holland and Welsch 1977)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Lifted:
    """Keypoints in space: points (T, N, 3) m; confidence (T, N) in 0..1, how far each was seen;
    sigma_px: noise of the tracks, px; centroid, local: smoothness in time that the tracks show,
    of the centroid and of the shape around it, in m and frames of 1 / fps s; strain: rms relative
    change of the lengths between neighbours.
    """

    points: np.ndarray
    confidence: np.ndarray
    fps: float
    sigma_px: float
    centroid: Smoothness
    local: Smoothness
    strain: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LiftConfig:
    """What is assumed of the object, not of the clip."""

    neighbours: int = 8  # keypoints that each is tied to
    nodes: int = 48  # control points that carry the deformation
    strain: float = 0.01  # relative stretch expected between neighbours
    bending: float = 0.2  # relative change of shape of a neighbourhood that is still usual
    depth_error: float = 1e-3  # of the frame-0 depth, relative
    iterations: int = 15
    tolerance: float = 3e-4  # largest last step, relative to the object's size

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"lift {field.name}: got {value}, expected > 0")


def lift(
    views: Sequence[tuple[Tracks, Camera | Sequence[Camera]]],
    points0: np.ndarray,
    fps: float,
    *,
    config: LiftConfig | None = None,
    initial: np.ndarray | None = None,
    progress=None,
) -> Lifted:
    """Whole 3D trajectories of N keypoints from their tracks in one or more synchronised views.

    views: tracks of the same keypoints with their camera (or one per frame, where it moves);
    points0: (N, 3) m, the keypoints in frame 0; fps: frames per second; initial: (T, N, 3) m, a
    first guess; progress: called with (iteration, iterations). Raises ValueError for fewer than 8
    keypoints, or shapes that disagree.
    """
    config = config or LiftConfig()
    points0 = np.asarray(points0, dtype=np.float64)
    views = [(tracks, camera_path(camera, tracks.frames)) for tracks, camera in views]
    _check(views, points0, fps)
    problem = _Problem(views, points0, config)
    C = problem.start() if initial is None else problem.fit_nodes(np.asarray(initial))
    damping, cost = 1e-6, problem.cost(C)
    for k in range(config.iterations):
        blocks, gradient = problem.linearise(C)
        while True:
            try:
                trial = C + problem.solve(blocks, gradient, damping)
                new = problem.cost(trial)
            except np.linalg.LinAlgError:  # too little seen to fix every node: damp more
                new = np.inf
            if new <= cost or damping > 1e3:
                break
            damping *= 10
        if not new <= cost:
            break
        change = np.abs(trial - C).max()
        C, cost, damping = trial, new, max(damping / 10, 1e-9)
        if progress is not None:
            progress(k + 1, config.iterations)
        if change < config.tolerance * problem.extent:
            break
    return problem.result(C, float(fps))


def camera_path(camera: Camera | Sequence[Camera], frames: int) -> list[Camera]:
    """One camera per frame; raises ValueError for a sequence that is too short."""
    if isinstance(camera, Camera):
        return [camera] * frames
    if len(camera) < frames:
        raise ValueError(f"cameras: got {len(camera)} of one view, expected {frames}")
    return list(camera[:frames])


def _check(views, points0, fps):
    if points0.ndim != 2 or points0.shape[1] != 3 or not np.isfinite(points0).all():
        raise ValueError(f"points0: got shape {points0.shape}, expected finite (N, 3) m")
    if len(points0) < 8:
        raise ValueError(f"points0: got {len(points0)} keypoints, at least 8 tracks are needed")
    if not fps > 0:
        raise ValueError(f"fps: got {fps}, expected > 0")
    if len(views) == 0:
        raise ValueError("views: got none, expected at least one (Tracks, Camera)")
    for k, (tracks, _) in enumerate(views):
        if tracks.count != len(points0) or tracks.frames != views[0][0].frames:
            raise ValueError(
                f"views[{k}]: got {tracks.frames} frames of {tracks.count} tracks, expected "
                f"{views[0][0].frames} frames of {len(points0)}"
            )


class _Problem:
    """The energy, in the positions C (T, M, 3) of M nodes that carry the keypoints X = W C."""

    def __init__(self, views, points0, config):
        self.views, self.config, self.points0 = views, config, points0
        self.frames = views[0][0].frames
        self.extent = np.linalg.norm(points0.std(axis=0))
        self.nodes = farthest_points(points0, config.nodes)
        self.W = thin_plate_weights(points0[self.nodes], points0)
        k = min(config.neighbours, len(points0) - 1)
        self.near = cKDTree(points0).query(points0, k + 1)[1][:, 1:]
        self.motion = measure_motion(views, points0)
        self._prepare_shape()
        self._prepare_time()

    def _prepare_shape(self):
        """Edges, and the constant part of the as-rigid-as-possible energy."""
        n, k = self.near.shape
        i, j = np.repeat(np.arange(n), k), self.near.ravel()
        self.edges = np.unique(np.sort(np.stack([i, j], 1), axis=1), axis=0)
        a, b = self.edges.T
        shortest = 1e-3 * self.extent  # ready tracks may hold a point twice
        self.length = np.linalg.norm(self.points0[a] - self.points0[b], axis=1)
        self.edge_W = self.W[a] - self.W[b]
        self.star = self.points0[self.near] - self.points0[:, None]  # (N, k, 3)
        self.star_W = self.W[self.near] - self.W[:, None]  # (N, k, M)
        reach = np.maximum(np.linalg.norm(self.star, axis=2), shortest)
        # Each neighbourhood counts once however many neighbours it has.
        self.star_weight = 1 / (self.config.bending * reach) ** 2 / k
        flat = self.star_W.reshape(-1, self.star_W.shape[2])
        self.shape_H = flat.T @ (self.star_weight.reshape(-1, 1) * flat)
        self.stiffness = 1 / (self.config.strain * np.maximum(self.length, shortest))
        # In frame 0 the nodes lie where the depth map puts them.
        depth = self.views[0][1][0].to_camera(self.points0[self.nodes])[:, 2]
        self.anchor = 1 / (self.config.depth_error * depth) ** 2

    def _prepare_time(self):
        """Smoothness in time as quadratic forms: of the centroid, and of the shape around it."""
        m = len(self.nodes)
        mean = self.W.mean(axis=0)
        apart = np.eye(m) - np.outer(np.ones(m), mean)
        # The nodes do not move independently: together they weigh as much as their modes.
        share = self.motion.modes / m
        self.time = []
        for smooth, H, weight in (
            (self.motion.centroid, np.outer(mean, mean), 1.0),
            (self.motion.local, apart.T @ apart, share),
        ):
            D = differences(self.frames, smooth.order)
            amplitude = max(smooth.amplitude, 1e-6 * self.extent)
            self.time.append((D.T @ D * (weight / amplitude**2), H))
        # High orders run away where nothing is seen: there the object may only drift on.
        seen = sum(tracks.visible.sum(axis=1) for tracks, _ in self.views)
        D = differences(self.frames, 2) * (seen < 3)[2:, None][: max(self.frames - 2, 0)]
        amplitude = max(self.motion.acceleration, 1e-6 * self.extent)
        self.time += [(D.T @ D / amplitude**2, H) for _, H in self.time]

    def fit_nodes(self, X):
        """Nodes (T, M, 3) that carry given keypoints (T, N, 3)."""
        return np.einsum("mn,tnd->tmd", np.linalg.pinv(self.W), X)

    def start(self):
        """A first guess: frame after frame, each starting where the last one ended (eq. 11)."""
        m = len(self.nodes)
        C = np.empty((self.frames, m, 3))
        C[0] = self.points0[self.nodes]
        stay = 1 / (0.05 * self.extent) ** 2
        for t in range(1, self.frames):
            C[t] = guess = 2 * C[t - 1] - C[t - 2] if t > 1 else C[0]
            for _ in range(6):
                H, g = self._frame(t, C[t])
                H = H + stay * np.eye(3 * m)
                g = g + stay * (C[t] - guess).ravel()
                C[t] -= np.linalg.solve(H, g).reshape(m, 3)
        return C

    def _residuals(self, t, X):
        """Reprojection (whitened by sigma), its Jacobian and robust weight, view by view."""
        for tracks, cameras in self.views:
            seen, camera = tracks.visible[t], cameras[t]
            local = camera.to_camera(X)
            seen = seen & (local[:, 2] > 1e-6)
            local = local[seen]
            z = local[:, 2]
            at = camera.project(X[seen])[0]
            root = np.linalg.cholesky(tracks.information[t, seen]) / self.motion.sigma_px
            r = np.einsum("nba,nb->na", root, at - tracks.xy[t, seen])
            robust = 1 / (1 + (r**2).sum(1) / CAUCHY**2)
            J = np.zeros((len(z), 2, 3))
            J[:, 0, 0], J[:, 0, 2] = camera.fx / z, -camera.fx * local[:, 0] / z**2
            J[:, 1, 1], J[:, 1, 2] = camera.fy / z, -camera.fy * local[:, 1] / z**2
            J = np.einsum("nba,nbc->nac", root, J @ camera.rotation)
            yield seen, r, J, robust

    def _shape(self, X):
        """Strain of the edges, and bending: each star against its turned rest shape."""
        a, b = self.edges.T
        edge = X[a] - X[b]
        now = np.linalg.norm(edge, axis=1)
        star = X[self.near] - X[:, None]
        rotations = best_rotations(self.star, star, self.star_weight)
        bend = star - self.star @ np.swapaxes(rotations, 1, 2)
        return edge, now, self.stiffness * (now - self.length), bend

    def _frame(self, t, C):
        """Gauss-Newton matrix (3M, 3M) and gradient (3M,) of one frame without time."""
        m = len(C)
        X = self.W @ C
        rows, rest = [], []
        for seen, r, J, robust in self._residuals(t, X):
            w = np.sqrt(robust)[:, None]
            rows.append((J * w[..., None])[:, :, None] * self.W[seen][:, None, :, None])
            rest.append((r * w).ravel())
        edge, now, strain, bend = self._shape(X)
        unit = edge * (self.stiffness / np.maximum(now, 1e-12))[:, None]
        rows.append(unit[:, None] * self.edge_W[..., None])
        rest.append(strain)
        J, r = np.concatenate([row.reshape(-1, 3 * m) for row in rows]), np.concatenate(rest)
        H = J.T @ J + np.kron(self.shape_H, np.eye(3))
        pull = (self.star_weight[..., None] * bend).reshape(-1, 3)
        g = J.T @ r + (self.star_W.reshape(-1, m).T @ pull).ravel()
        if t == 0:
            H = H + np.diag(np.repeat(self.anchor, 3))
            g = g + (self.anchor[:, None] * (C - self.points0[self.nodes])).ravel()
        return H, g

    def linearise(self, C):
        """Blocks (T, 3M, 3M) and gradient (T, M, 3) at C."""
        parts = [self._frame(t, C[t]) for t in range(self.frames)]
        gradient = np.stack([g for _, g in parts]).reshape(C.shape)
        return np.stack([H for H, _ in parts]), gradient + self._time_gradient(C)

    def cost(self, C):
        """The energy at C, twice the negative logarithm of the posterior."""
        total = (C * self._time_gradient(C)).sum()
        total += (self.anchor[:, None] * (C[0] - self.points0[self.nodes]) ** 2).sum()
        for t in range(self.frames):
            X = self.W @ C[t]
            for _, r, _, _ in self._residuals(t, X):
                total += CAUCHY**2 * np.log1p((r**2).sum(1) / CAUCHY**2).sum()
            _, _, strain, bend = self._shape(X)
            total += strain @ strain + (self.star_weight * (bend**2).sum(-1)).sum()
        return total

    def _time_gradient(self, C):
        return sum(np.einsum("ts,smc->tmc", K, H @ C) for K, H in self.time)

    def solve(self, blocks, gradient, damping):
        """The damped step: a matrix of bands, since differences tie a few frames together."""
        size = blocks.shape[1]
        reach = 1 + max(self.motion.centroid.order, self.motion.local.order)
        band = np.zeros((reach * size, size * self.frames))
        time = [(K, np.kron(H, np.eye(3))) for K, H in self.time]
        a, b = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
        for t in range(self.frames):
            for s in range(min(reach, self.frames - t)):
                block = sum(K[t + s, t] * H for K, H in time)
                row, column = s * size + a - b, t * size + b
                if s == 0:
                    block = block + blocks[t]
                    block = block + damping * np.diag(np.diag(block))
                    keep = row >= 0
                    band[row[keep], column[keep]] = block[keep]
                else:
                    band[row, column] = block
        step = solveh_banded(band, -gradient.ravel(), lower=True, overwrite_ab=True)
        return step.reshape(gradient.shape)

    def result(self, C, fps):
        X = np.einsum("nm,tmd->tnd", self.W, C)
        confidence = np.zeros(X.shape[:2])
        for t in range(self.frames):
            for seen, _, _, robust in self._residuals(t, X[t]):
                confidence[t, seen] = np.maximum(confidence[t, seen], robust)
        a, b = self.edges.T
        strain = np.linalg.norm(X[:, a] - X[:, b], axis=2) - self.length
        strain /= np.maximum(self.length, 1e-3 * self.extent)
        return Lifted(
            points=X,
            confidence=confidence,
            fps=fps,
            sigma_px=self.motion.sigma_px,
            centroid=self.motion.centroid,
            local=self.motion.local,
            strain=float(np.sqrt((strain**2).mean())),
        )


def best_rotations(rest, now, weight):
    """Rotations (N, 3, 3) that best turn rest (N, k, 3) into now (N, k, 3) (Kabsch 1976)."""
    covariance = np.einsum("nka,nkb,nk->nab", now, rest, weight)
    return nearest_rotation(covariance)


def thin_plate_weights(nodes, points):
    """W (N, M) with f(points) = W f(nodes): the smoothest interpolation, exact for affine maps.

    Polyharmonic splines |x|^2 log|x| with a linear part over the axes in which the nodes really
    extend, so that flat sheets are no special case.
    """
    centre = nodes.mean(axis=0)
    _, extent, axes = np.linalg.svd(nodes - centre, full_matrices=False)
    axes = axes[extent > 0.02 * extent[0]]
    scale = extent[0] / np.sqrt(len(nodes))

    def kernel(p):
        r2 = ((p[:, None] - nodes[None]) ** 2).sum(-1) / scale**2
        return 0.5 * r2 * np.log(np.maximum(r2, 1e-30))

    def linear(p):
        return np.concatenate([np.ones((len(p), 1)), (p - centre) @ axes.T / scale], axis=1)

    m, d = len(nodes), 1 + len(axes)
    system = np.block([[kernel(nodes), linear(nodes)], [linear(nodes).T, np.zeros((d, d))]])
    solution = np.linalg.solve(system, np.eye(m + d)[:, :m])
    return np.concatenate([kernel(points), linear(points)], axis=1) @ solution
