"""The energy of a motion: what tracks, the object's shape and its smoothness say of it.

Robust reprojection in every view, a shape that hardly stretches (sheet.py, solid.py), and motion as
smooth as the tracks show it to be.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.linalg import solveh_banded

from inverse.lifting.motion import MotionStatistics, measure_motion
from inverse.lifting.sheet import SheetShape
from inverse.lifting.smoothness import differences
from inverse.lifting.solid import SolidShape
from inverse.lifting.volume import VolumeNodes
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera
from taichi_phys.checks import finite_number, whole_number


MIN_TRACKS = 8  # fewer leave the shape of a sheet open
CAUCHY = 2.385  # in sigmas, where an observation loses half its weight (Holland and Welsch 1977)
STEADIEST = 1e-6  # amplitude, of the object's size: a motion may be as exact as arithmetic
LASTING = 0.2  # px, usual errors of tracks that last for many frames
FEW_OBSERVATIONS = 3  # of all points in a frame, below which the object may only drift on
# Beyond, few nodes lock: they cannot bend without changing their volume.
MOST_POISSON = 0.45
NEAR_PLANE = 1e-6  # m in front of the camera, within which nothing is seen


TrackedView = tuple[Tracks, list[Camera]]  # tracks, and the camera of each frame


@dataclasses.dataclass(frozen=True, kw_only=True)
class LiftConfig:
    """What is assumed of the object, not of the clip."""

    neighbors: int = 8  # keypoints that each is tied to
    nodes: int = 48  # control points that carry the deformation
    strain: float = 0.01  # relative stretch expected between neighbors
    bending: float = 0.2  # relative change of shape of a neighborhood that is still usual
    solid_strain: float = 0.02  # expected in solids, principal
    poisson: float = 0.3  # Poisson's ratio of solids, 0 to MOST_POISSON
    depth_error: float = 1e-3  # of the frame-0 depth, relative
    iterations: int = 15
    tolerance: float = 3e-4  # of the object's size: a shorter step is the last

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            name, value = f"lift {field.name}", getattr(self, field.name)
            if field.name == "poisson":
                expected = f"a number from 0 to {MOST_POISSON}"
                finite_number(name, value, expected, low=0, high=MOST_POISSON)
            elif field.type is int:
                whole_number(name, value, "a whole number from 1 on", low=1)
            else:
                finite_number(name, value, "a positive number", low=0, open_end=True)


class LiftEnergy:
    """The energy in the positions C (T, M, 3) of M nodes that carry the keypoints X = W C."""

    def __init__(
        self,
        views: Sequence[TrackedView],
        points0: np.ndarray,
        config: LiftConfig,
        motion: MotionStatistics | None = None,
        volume: VolumeNodes | None = None,
    ):
        self.views, self.config, self.points0 = views, config, points0
        self.frames = views[0][0].frames
        self.volume = volume
        self.motion = measure_motion(views, points0) if motion is None else motion
        self.shape: SheetShape | SolidShape
        self.usual = 1.0  # sigmas, of errors that are no outliers
        if volume is None:
            self.shape = SheetShape(
                points0, neighbors=config.neighbors, nodes=config.nodes, strain=config.strain,
                bending=config.bending,
            )  # fmt: skip
        else:
            # Tracks err in ways that last, by shading and slant, of which their jitter shows
            # nothing: against the shape they are worth no more than that.
            self.usual = max(1.0, LASTING / self.motion.sigma_px)
            self.shape = SolidShape(
                volume, points0, strain=config.solid_strain / self.usual, poisson=config.poisson
            )
        self.extent, self.W, self.rest = self.shape.extent, self.shape.W, self.shape.rest
        # In frame 0 the nodes lie where the depth map puts them.
        depth = views[0][1][0].to_camera(self.rest)[:, 2]
        self.anchor = 1 / (config.depth_error * depth) ** 2
        self._prepare_time()

    def _prepare_time(self) -> None:
        """Smoothness in time as quadratic forms: of the centroid, and of the shape around it."""
        m, mean = len(self.rest), self.shape.mean
        apart = np.eye(m) - np.outer(np.ones(m), mean)
        # The nodes do not move independently: together they weigh as much as their modes.
        share = self.motion.modes / m
        self.time = []
        for smooth, H, weight in (
            (self.motion.centroid, np.outer(mean, mean), 1.0),
            (self.motion.local, apart.T @ apart, share),
        ):
            D = differences(self.frames, smooth.order)
            amplitude = max(smooth.amplitude, STEADIEST * self.extent)
            self.time.append((D.T @ D * (weight / amplitude**2), H))
        # Motions of a high order run away where nothing is seen.
        seen = sum(tracks.visible.sum(axis=1) for tracks, _ in self.views)
        blind = seen[2:, None] < FEW_OBSERVATIONS
        D = differences(self.frames, 2) * blind
        amplitude = max(self.motion.acceleration, STEADIEST * self.extent)
        self.time += [(D.T @ D / amplitude**2, H) for _, H in self.time]

    def fit_nodes(self, X: np.ndarray) -> np.ndarray:
        """Nodes (T, M, 3) m that carry given keypoints (T, N, 3) m."""
        return self.shape.fit(X)

    def keypoints(self, C: np.ndarray) -> np.ndarray:
        """Keypoints (T, N, 3) m that nodes C (T, M, 3) m carry."""
        return np.einsum("nm,tmd->tnd", self.W, C)

    def residuals(
        self, t: int, X: np.ndarray, scale: float = 1.0
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """Reprojection (whitened by sigma), its Jacobian and robust weight, view by view.

        scale: in sigmas, of errors that are still usual.
        """
        for tracks, cameras in self.views:
            seen, camera = tracks.visible[t], cameras[t]
            local = camera.to_camera(X)
            seen = seen & (local[:, 2] > NEAR_PLANE)
            local = local[seen]
            z = local[:, 2]
            at = camera.project(X[seen])[0]
            root = np.linalg.cholesky(tracks.information[t, seen]) / self.motion.sigma_px
            r = np.einsum("nba,nb->na", root, at - tracks.xy[t, seen])
            robust = 1 / (1 + (r**2).sum(1) / (CAUCHY * max(scale, self.usual)) ** 2)
            J = np.zeros((len(z), 2, 3))
            J[:, 0, 0], J[:, 0, 2] = camera.fx / z, -camera.fx * local[:, 0] / z**2
            J[:, 1, 1], J[:, 1, 2] = camera.fy / z, -camera.fy * local[:, 1] / z**2
            J = np.einsum("nba,nbc->nac", root, J @ camera.rotation)
            yield seen, r, J, robust

    def frame(self, t: int, C: np.ndarray, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Gauss-Newton matrix (3M, 3M) and gradient (3M,) of one frame without time."""
        m = len(C)
        X = self.W @ C
        rows, rest = [], []
        for seen, r, J, robust in self.residuals(t, X, scale):
            w = np.sqrt(robust)[:, None]
            rows.append((J * w[..., None])[..., None] * self.W[seen][:, None, None])
            rest.append((r * w).ravel())
        strain, slope, matrix, pull = self.shape.terms(C)
        rows.append(slope)
        rest.append(strain)
        # Axes before nodes: numpy is slow over runs of three numbers.
        J, r = np.concatenate([row.reshape(-1, 3 * m) for row in rows]), np.concatenate(rest)
        H = (J.T @ J).reshape(3, m, 3, m).transpose(1, 0, 3, 2).reshape(3 * m, 3 * m) + matrix
        g = (J.T @ r).reshape(3, m).T.ravel() + pull
        if t == 0:
            H = H + np.diag(np.repeat(self.anchor, 3))
            g = g + (self.anchor[:, None] * (C - self.rest)).ravel()
        return H, g

    def linearize(self, C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gauss-Newton blocks (T, 3M, 3M) of the frames and gradient (T, M, 3) at C."""
        parts = [self.frame(t, C[t]) for t in range(self.frames)]
        gradient = np.stack([g for _, g in parts]).reshape(C.shape)
        return np.stack([H for H, _ in parts]), gradient + self._time_gradient(C)

    def cost(self, C: np.ndarray) -> float:
        """The energy at C, twice the negative logarithm of the posterior."""
        total = (C * self._time_gradient(C)).sum()
        total += (self.anchor[:, None] * (C[0] - self.rest) ** 2).sum()
        for t in range(self.frames):
            X = self.W @ C[t]
            for _, r, _, _ in self.residuals(t, X):
                usual = (CAUCHY * self.usual) ** 2
                total += usual * np.log1p((r**2).sum(1) / usual).sum()
            total += self.shape.cost(C[t])
        return total

    def _time_gradient(self, C: np.ndarray) -> np.ndarray:
        return sum(np.einsum("ts,smc->tmc", K, H @ C) for K, H in self.time)

    def solve(self, blocks: np.ndarray, gradient: np.ndarray, damping: float) -> np.ndarray:
        """The damped step (T, M, 3), by a banded matrix: differences tie few frames together."""
        frames, m = self.frames, len(self.rest)
        size, reach = 3 * m, 1 + max(self.motion.centroid.order, self.motion.local.order)
        reach = min(reach, frames)
        # The columns of the lower triangle: of each unknown of a frame, this and the next frames.
        columns = np.zeros((frames, size, reach * size))
        ties = columns.reshape(frames, m, 3, reach, m, 3)
        for s in range(reach):
            tie = sum(np.diagonal(K, -s)[:, None, None] * H for K, H in self.time)
            for axis in range(3):
                ties[: frames - s, :, axis, s, :, axis] = tie
        columns[:, :, :size] += np.swapaxes(blocks, 1, 2)
        diagonal = np.einsum("taa->ta", columns[:, :, :size])
        diagonal += damping * diagonal
        for k in range(1, size):  # each begins on the diagonal
            columns[:, k, :-k] = columns[:, k, k:]
            columns[:, k, -k:] = 0
        band = columns.reshape(frames * size, reach * size).T
        step = solveh_banded(band, -gradient.ravel(), lower=True, overwrite_ab=True)
        return step.reshape(gradient.shape)


def camera_path(camera: Camera | Sequence[Camera], frames: int) -> list[Camera]:
    """One camera per frame, of one that stands still or a sequence.

    Raises ValueError for a sequence that is too short.
    """
    if isinstance(camera, Camera):
        return [camera] * frames
    if len(camera) < frames:
        raise ValueError(f"cameras: got {len(camera)} for a view of {frames} frames")
    return list(camera[:frames])
