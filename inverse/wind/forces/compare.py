"""Which force explains the motion: the one that was found, or one that is the same everywhere?

Points between the keypoints are followed, too, and no fit sees their tracks. Both forces are
simulated, and miss these tracks by so many pixels. A field with many parameters follows the tracks
that it was fitted to better than one vector a frame does, whether or not it is right; tracks that
are held out it follows better only if the force does differ from place to place.

The uniform force is found from the same targets by the linear model of the clip (smoothing), also
for sheets: it takes three simulations of the clip, few percent of the time of a run. Velocities in
frame 0 are among its unknowns, so that a spin which lasts is none of the force. It is not looked
for where the spin of a free object changes by far too much: a uniform force has no torque about
the center of mass.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

from inverse.lifting.keypoints import unproject_on
from inverse.perception.surface import visible_surface
from inverse.tracking import track_lucas_kanade
from inverse.tracking.keypoints import select_keypoints
from inverse.wind.balls import OUTLINE
from inverse.wind.forces.make import Form
from inverse.wind.inputs.load import Inputs
from inverse.wind.smoothing.smoother import WindSmoother
from inverse.wind.solver import WindResult, WindSolver
from renderers.splats.binding import bind
from taichi_phys import SimulationError


POINTS, FEWEST = 40, 8  # that are followed; of which so many must be seen in some later frame
# Distance from keypoints, of the distance between these: the patches of nearer points overlap.
AWAY = 0.35
RUNS = 3  # simulations that find the uniform force
# Misses differ by nothing to speak of below this share, and below two standard errors of the mean
# of the differences between tracks;
SAME, ERRORS = 0.1, 2.0
SHARP = 0.3  # px: nor by less than tracks themselves are off, on average
HOPELESS = 3.0  # times the run's own misses, or SHARP: what is off by more needs no simulation


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Tracks of N points that no fit saw: points (N, 3) m in frame 0; xy (T, N, 2) px of the first
    view; seen (T, N) bool."""

    points: np.ndarray
    xy: np.ndarray
    seen: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explained:
    """How far forces miss tracks that no fit saw.

    force: the form of the run's own; tracks: how many; own_px, uniform_px: mean over tracks of the
    median miss over frames, the second None where no uniform force moves the object at all as it
    moved; enough: whether a uniform force explains the motion as well.
    """

    force: str
    tracks: int
    own_px: float
    uniform_px: float | None
    enough: bool

    @property
    def sentence(self) -> str:
        """What that says of the force."""
        own = f"the {self.force} force by {self.own_px:.2g} px"
        if self.uniform_px is None:
            return (
                "A uniform force does not explain the motion: none moves the object so. The "
                f"{self.force} force misses tracks that no fit saw by {self.own_px:.2g} px."
            )
        verb = "explains the motion as well" if self.enough else "does not explain the motion"
        return (
            f"A uniform force {verb}: it misses tracks that no fit saw by {self.uniform_px:.2g} "
            f"px, {own}."
        )

    def record(self) -> dict[str, Any]:
        """As metrics.json keeps it."""
        return {**dataclasses.asdict(self), "sentence": self.sentence}


def hold_out(inputs: Inputs, keypoints: np.ndarray, by: str = "tracks") -> HeldOut | None:
    """Follow points that are no keypoints (k, 2) px, in the first view; None where too few can be
    followed, or where what the object was followed by, one of balls.FOLLOWED, is not points."""
    if by in OUTLINE:
        return None
    mask = inputs.mask & np.isfinite(inputs.depth)
    away = np.ones(mask.shape, dtype=np.uint8)
    for u, v in np.floor(keypoints).astype(int):
        if 0 <= v < mask.shape[0] and 0 <= u < mask.shape[1]:
            away[v, u] = 0
    gap = AWAY * np.sqrt(mask.sum() / max(len(keypoints), 1))
    free = mask & (cv2.distanceTransform(away, cv2.DIST_L2, 5) > gap)
    if not free.any():
        return None
    video, camera = inputs.videos[0], inputs.cameras[0][0]
    xy = select_keypoints(video[0], free, max_count=POINTS, margin=0.0)
    tracks = track_lucas_kanade(video, xy, mask=mask)
    kept = tracks.visible[1:].any(axis=0)
    if kept.sum() < FEWEST:
        return None
    points = unproject_on(visible_surface(mask, inputs.depth, camera), xy[kept], camera)
    return HeldOut(points=points, xy=tracks.xy[:, kept], seen=tracks.visible[:, kept])


def misses(
    held_out: HeldOut, inputs: Inputs, x: torch.Tensor, F: torch.Tensor
) -> np.ndarray:  # fmt: skip
    """(N,) px: the median over frames by which a motion x (T, n, 3) m, F (T, n, 3, 3) of particles
    misses each of N tracks; less than that of frame 0, where they start alike."""
    x, F = x.float().cpu(), F.float().cpu()
    points = torch.as_tensor(held_out.points).float()
    binding = bind(points, torch.zeros(len(points), 3, 3), x[0])
    off = np.full(held_out.seen.shape, np.nan)
    for frame in range(1, len(x)):
        place = binding.deform(x[frame], F[frame])[0].double().numpy()
        uv = inputs.cameras[0][frame].project(place)[0]
        off[frame] = np.linalg.norm(uv - held_out.xy[frame], axis=1)
    return np.nanmedian(np.where(held_out.seen, off, np.nan)[1:], axis=0)


def hopes_for_uniform(own: np.ndarray, inputs: Inputs, solver: WindSolver) -> bool:
    """Whether a uniform force may move what nothing touches as it moved; own: (N,) px, misses of
    the force that was found."""
    if bool(solver.body.any()):  # several, which may touch each other
        return True
    targets = solver.targets.double().cpu().numpy()
    missed = misses_of_steady_spin(inputs, targets, solver.sim.mass.double().cpu().numpy())
    return missed < HOPELESS * max(SHARP, float(own.mean()))


def misses_of_steady_spin(
    inputs: Inputs, targets: np.ndarray, mass: np.ndarray
) -> float:  # fmt: skip
    """px, root mean square, by which particles without a torque about their center of mass miss
    their targets (T, n, 3) m in the first view, as far as their turn as a whole makes it.

    mass: (n,) kg. Without a torque, the angular momentum about the center is constant; of all
    constants the one counts with which the turn differs least from that of the targets.
    """
    share = mass / mass.sum()
    middle = 0.5 * (targets[1:] + targets[:-1])
    arms = middle - np.einsum("n,tnd->td", share, middle)[:, None]
    spin = np.einsum("n,tnd->td", share, np.cross(arms, np.diff(targets, axis=0)))
    inertia = -np.einsum("n,tna,tnb->tab", share, arms, arms)
    inertia += -np.trace(inertia, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    yielding = np.linalg.pinv(inertia, rcond=1e-9, hermitian=True)  # a row of points lacks an axis
    turn = np.cumsum(np.einsum("tab,tb->ta", yielding, spin), axis=0)
    by_one = np.cumsum(yielding, axis=0)
    constant = np.linalg.lstsq(by_one.reshape(-1, 3), turn.ravel(), rcond=None)[0]
    missed = turn - by_one @ constant
    squares = 0.0
    for frame, angle in enumerate(missed, 1):
        camera, x = inputs.cameras[0][frame], targets[frame]
        local = camera.to_camera(x)
        off = np.cross(angle, x - share @ x) @ camera.rotation.T
        depth = np.maximum(local[:, 2:], 1e-6)
        pixels = [camera.fx, camera.fy] * (off[:, :2] - local[:, :2] / depth * off[:, 2:]) / depth
        squares += float(share @ (pixels**2).sum(axis=1)) / len(missed)
    return float(np.sqrt(squares))


def uniform_motion(
    solver: WindSolver, held: np.ndarray, steady: Sequence[float] = (0.0, 0.0, 0.0)
) -> WindResult | None:
    """The motion under the likeliest uniform force, from the targets of a solver; None where there
    is none that moves the object nearly as it moved.

    held: (n,) bool, particles that something holds; steady: (3,) m/s^2, their weight.
    """
    config = dataclasses.replace(solver.config, force="uniform", iterations=1)
    targets, weights = (t.double().cpu().numpy() for t in (solver.targets, solver.weights))
    uniform = WindSolver(
        solver.sim, targets, fps=1 / solver.frame_dt, config=config, confidence=weights,
        gaps=solver.gaps, body=solver.body.cpu().numpy(), form=Form(),
    )  # fmt: skip
    try:
        if solver.gaps or bool(solver.body.any()):  # of which there is no linear model
            return uniform.solve(progress=False)
        return WindSmoother(uniform, held=held, steady=steady).solve(RUNS, progress=False)
    except (SimulationError, ValueError):
        return None


def compare_forces(
    force: str, own: np.ndarray, uniform: np.ndarray | None
) -> Explained:  # fmt: skip
    """What misses (N,) px of the same tracks by the run's own force and by a uniform one say."""
    mine = float(own.mean())
    if uniform is None:
        return Explained(
            force=force, tracks=len(own), own_px=mine, uniform_px=None, enough=False
        )  # fmt: skip
    worse = uniform - own
    least = max(SHARP, SAME * mine, ERRORS * float(worse.std()) / np.sqrt(len(worse)))
    return Explained(
        force=force, tracks=len(own), own_px=mine, uniform_px=float(uniform.mean()),
        enough=bool(worse.mean() <= least),
    )  # fmt: skip
