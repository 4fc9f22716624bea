"""3D trajectories of keypoints from their tracks in one or more views.

All frames are solved for at once: robust reprojection in every view, a sheet that hardly stretches
and bends softly, and motion as smooth as the tracks show it to be. Depth, which a single view
barely sees, then follows from lengths and from smoothness, instead of frame by frame
("Seeing the wind", eq. 11) where its noise would drown the accelerations.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from inverse.lifting.energy import (
    MIN_TRACKS,
    LiftConfig,
    LiftEnergy,
    TrackedView,
    camera_path,
)
from inverse.lifting.jackknife import block_shifts
from inverse.lifting.motion import ASSUMED_SIGMA, MIN_SIGMA, MotionStatistics, measure_motion
from inverse.lifting.quality import median_and_most, reprojection_errors
from inverse.lifting.rigid import MEDIAN_LENGTH
from inverse.lifting.smoothness import Smoothness
from inverse.lifting.starts import rigid_poses, small_steps
from inverse.lifting.volume import VolumeNodes
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera
from taichi_phys.checks import finite_number


# Levenberg-Marquardt: damping of the diagonal at the start, its least, and where it gives up.
DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-6, 1e-9, 1e3
AT_REST = 1e-3  # of the energy: a step that brings less has come to rest
# Reprojection error (median over a frame's keypoints) up to which a solution needs no second
# opinion, in sigmas of the tracks' noise, and up to which that noise may be one, px.
SOUND_SIGMAS, SOUND_PX = 3.0, 1.0
OUTLIER = 5.0  # sigmas from a pose, beyond which an observation says nothing about smoothness
PATIENCE = 2  # times as many iterations from rigid poses, which start farther off


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Lifted:
    """Keypoints in space.

    points: (T, N, 3) m; nodes: (T, M, 3) m, that carry them; confidence: (T, N) in 0..1, how well
    each was seen; fps: frames per second; sigma_px: noise of the tracks, px; centroid, local:
    smoothness in time that the tracks show, of the centroid and of the shape around it, in m and
    frames of 1 / fps s; strain: root mean square relative change of lengths; converged: whether the
    solution came to rest; reprojection_px: (T, 2) px, median and 90 % of the distances between
    where keypoints were tracked and where they project, NaN where none is seen; shifts: (B, T, M,
    3) m, of the nodes of a solid, or (B, T, N, 3) m, of the keypoints of a sheet, without blocks of
    tracks (jackknife.py), None where they were not asked for.
    """

    points: np.ndarray
    nodes: np.ndarray
    confidence: np.ndarray
    fps: float
    sigma_px: float
    centroid: Smoothness
    local: Smoothness
    strain: float
    converged: bool
    reprojection_px: np.ndarray
    shifts: np.ndarray | None = None

    def until(self, frames: int) -> "Lifted":
        """The first frames of the motion."""
        return dataclasses.replace(
            self,
            points=self.points[:frames],
            nodes=self.nodes[:frames],
            confidence=self.confidence[:frames],
            reprojection_px=self.reprojection_px[:frames],
            shifts=None if self.shifts is None else self.shifts[:, :frames],
        )


def lift(
    views: Sequence[tuple[Tracks, Camera | Sequence[Camera]]],
    points0: np.ndarray,
    fps: float,
    *,
    config: LiftConfig | None = None,
    volume: VolumeNodes | None = None,
    initial: np.ndarray | None = None,
    spread: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Lifted:
    """Whole 3D trajectories of N keypoints from their tracks in one or more synchronized views.

    views: tracks of the same keypoints with their camera (or one per frame, where it moves);
    points0: (N, 3) m, the keypoints in frame 0; fps: frames per second; volume: what carries a
    solid, and its keypoints with it; by default they lie on a sheet; initial: (T, N, 3) m, a
    first guess; spread: whether to find how uncertain it is; progress: called with (iteration,
    iterations). Raises ValueError for fewer than 8 keypoints, and for shapes that disagree.
    """
    config = config or LiftConfig()
    points0 = np.asarray(points0, dtype=np.float64)
    paths = [(tracks, camera_path(camera, tracks.frames)) for tracks, camera in views]
    _check(paths, points0, fps)
    energy = LiftEnergy(paths, points0, config, volume=volume)
    if initial is not None and not energy.motion.known:
        motion = _motion_along(energy, np.asarray(initial))
        energy = LiftEnergy(paths, points0, config, motion, volume)
    C = small_steps(energy) if initial is None else energy.fit_nodes(np.asarray(initial))
    solution = _minimize(energy, C, config.iterations, config.tolerance, progress)
    if not (solution.converged and _is_sound(energy, solution.nodes)):
        second, other = _from_poses(energy, progress)
        if other.cost < second.cost(solution.nodes):
            energy, solution = second, other
    shifts = block_shifts(energy, solution.nodes) if spread else None
    if shifts is not None and volume is None:
        shifts = np.einsum("nm,btmd->btnd", energy.W, shifts)
    return dataclasses.replace(_result(energy, solution, float(fps)), shifts=shifts)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Solution:
    """Nodes (T, M, 3) m, their energy, and whether the last step was short or brought little."""

    nodes: np.ndarray
    cost: float
    converged: bool


def _minimize(
    energy: LiftEnergy,
    C: np.ndarray,
    iterations: int,
    tolerance: float,
    progress: Callable[[int, int], None] | None,
) -> _Solution:
    """Levenberg-Marquardt over all frames at once, from nodes C (T, M, 3) m."""
    damping, cost, converged = DAMPING, energy.cost(C), False
    for k in range(iterations):
        blocks, gradient = energy.linearize(C)
        while True:
            try:
                trial = C + energy.solve(blocks, gradient, damping)
                new = energy.cost(trial)
            except np.linalg.LinAlgError:  # too little seen to fix every node: damp more
                new = np.inf
            if new <= cost or damping > MOST_DAMPING:
                break
            damping *= 10
        if not new <= cost:
            break
        change = np.abs(trial - C).max()
        converged = change < tolerance * energy.extent or cost - new < AT_REST * cost
        C, cost, damping = trial, new, max(damping / 10, LEAST_DAMPING)
        if progress is not None:
            progress(k + 1, iterations)
        if change < tolerance * energy.extent:
            break
    return _Solution(nodes=C, cost=float(cost), converged=bool(converged))


def _is_sound(energy: LiftEnergy, C: np.ndarray) -> bool:
    """Whether nodes C (T, M, 3) m explain what is seen in every frame, and the noise is small."""
    errors = reprojection_errors(energy.views, energy.keypoints(C))
    worst = max((float(np.median(r)) for r in errors if len(r)), default=0.0)
    sigma = energy.motion.sigma_px
    return worst < SOUND_SIGMAS * sigma and sigma < SOUND_PX


def _from_poses(
    energy: LiftEnergy, progress: Callable[[int, int], None] | None
) -> tuple[LiftEnergy, _Solution]:
    """The motion that starts from rigid poses, with the energy in which it is least.

    What tracks alone say of noise and smoothness may be wrong where the motion is fast or tracks
    are: both are measured again, against the poses.
    """
    config, views, points0 = energy.config, energy.views, energy.points0
    sigma = min(energy.motion.sigma_px, ASSUMED_SIGMA)
    motion = dataclasses.replace(energy.motion, sigma_px=sigma)
    C = rigid_poses(LiftEnergy(views, points0, config, motion, energy.volume))
    motion = _motion_along(energy, energy.keypoints(C))
    second = LiftEnergy(views, points0, config, motion, energy.volume)
    rounds = PATIENCE * config.iterations
    return second, _minimize(second, C, rounds, config.tolerance, progress)


def _motion_along(energy: LiftEnergy, X: np.ndarray) -> MotionStatistics:
    """The statistics of a motion that is about X (T, N, 3) m, where tracks alone do not tell."""
    sigma = min(energy.motion.sigma_px, ASSUMED_SIGMA)
    usual = [float(np.median(r)) for r in reprojection_errors(energy.views, X) if len(r)]
    sigma = max(float(np.median(usual)) / MEDIAN_LENGTH, MIN_SIGMA) if usual else sigma
    return measure_motion(_cleaned(energy.views, X, sigma), energy.points0, sigma_px=sigma)


def _cleaned(views: Sequence[TrackedView], X: np.ndarray, sigma: float) -> list[TrackedView]:
    """Tracks of all keypoints in all frames: where X (T, N, 3) m projects when nothing is seen
    there, or something far off."""
    cleaned = []
    for tracks, cameras in views:
        xy = np.stack([camera.project(x)[0] for camera, x in zip(cameras, X, strict=True)])
        off = np.linalg.norm(tracks.xy - xy, axis=2)
        good = tracks.visible & (off < OUTLIER * sigma)
        xy[good] = tracks.xy[good]
        cleaned.append((Tracks(xy=xy, visible=np.ones(good.shape, dtype=bool)), cameras))
    return cleaned


def _check(views: Sequence[TrackedView], points0: np.ndarray, fps: float) -> None:
    if points0.ndim != 2 or points0.shape[1] != 3 or not np.isfinite(points0).all():
        raise ValueError(f"points0: got shape {points0.shape}, expected finite (N, 3) m")
    if len(points0) < MIN_TRACKS:
        raise ValueError(
            f"points0: got {len(points0)} keypoints, at least {MIN_TRACKS} tracks are needed"
        )
    finite_number("fps", fps, "a positive number of frames per second", low=0, open_end=True)
    if len(views) == 0:
        raise ValueError("views: got none, expected at least one (Tracks, Camera)")
    for k, (tracks, _) in enumerate(views):
        if tracks.count != len(points0) or tracks.frames != views[0][0].frames:
            raise ValueError(
                f"views[{k}]: got {tracks.frames} frames of {tracks.count} tracks, expected "
                f"{views[0][0].frames} frames of {len(points0)}"
            )


def _result(energy: LiftEnergy, solution: _Solution, fps: float) -> Lifted:
    """The keypoints that a solution carries, with what the tracks say of them."""
    X = energy.keypoints(solution.nodes)
    confidence = np.zeros(X.shape[:2])
    for t in range(energy.frames):
        for seen, _, _, robust in energy.residuals(t, X[t]):
            confidence[t, seen] = np.maximum(confidence[t, seen], robust)
    return Lifted(
        points=X,
        nodes=solution.nodes,
        confidence=confidence,
        fps=fps,
        sigma_px=energy.motion.sigma_px,
        centroid=energy.motion.centroid,
        local=energy.motion.local,
        strain=energy.shape.strain(solution.nodes),
        converged=solution.converged,
        reprojection_px=median_and_most(reprojection_errors(energy.views, X)),
    )
