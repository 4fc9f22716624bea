"""Balls: what is followed by its silhouette, where its surface is too fast or too plain for tracks.

A ball in flight is often all that its silhouette says: motion blur takes the texture, and what is
seen at first turns away. But a disc shows where the ball is (inverse/tracking/discs.py), far better
than points of a surface that turns. So tracks say how a ball turns, as a rigid body, and its
silhouette where it is. Where too few tracks are left, it is taken not to turn, which no net force
depends on.

Across the axis of the camera a disc shows meters directly. How far away it is, only its radius
says, which is 100 times worse. So its depth is taken to be as smooth in time as the motion across
the axis is, as far as the radii do not say otherwise: differences of its order are white, of an
amplitude over which the posterior is summed; where something hits the ball they may be anything.
What is left open, and errors of the disc that last, become shifts of the targets, and so a part of
how uncertain the force is.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy.interpolate import CubicSpline

from inverse.lifting import Targets
from inverse.lifting.smoothness import (
    MAD_TO_SIGMA,
    Smoothness,
    differences,
    estimate_smoothness,
)
from inverse.perception.relief import is_disc
from inverse.tracking.discs import Disc, follow_disc
from inverse.tracking.timing import at_even_times
from inverse.tracking.tracks import Tracks
from inverse.wind.inputs.load import Inputs
from renderers.camera import Camera
from taichi_phys.rotations import nearest_rotation


FOLLOWED = ("tracks", "both", "outline", "doubt")  # what an object was followed by
ASSUMED = {
    "both": "The ball was put where its silhouette is, and turns as tracks on it say.",
    "outline": "Too little of the surface could be followed, and the ball was followed by its "
    "silhouette: how it turns is not known, and the force on the whole does not depend on that.",
    "doubt": "Tracks on the ball lead elsewhere than its silhouette, by which it was followed: how "
    "it turns is not known, and the force on the whole does not depend on that.",
}
LOST = 0.5  # of the particles, in some frame: tracks do not carry the ball
AWAY = 0.5  # radii, from the silhouette: nor do they
FOUND = 0.8  # of the frames, in which the silhouette is found, for it to be believed
UNEVEN = 0.15  # of its radius, by which the surface of a ball is off it
# px: errors of centers and radii that last, by light, shade and background, and over which share of
# the clip they do; white ones are never smaller than the last.
LASTING, LASTS, LEAST_JITTER = 0.15, 1 / 3, 0.03
ORDERS = (2, 3)  # of differences that are white: the speed or the acceleration drifts
WIDTH = 1.5  # of the logarithm of the amplitude along the axis, around that across it
STEPS = np.linspace(-4, 4, 49)  # of that, in widths
# Times the usual one, from which on a second difference is a blow; their share, at most; how much
# larger differences there may be.
KINK, MOST_KINKS, LOOSE = 6.0, 1 / 3, 1e3
OUTLIER = 4.0  # standard deviations, from which on a radius says nothing
UNKNOWN = 1e4  # px, of a radius that says nothing
LEAST_SEEN = 1e-3  # confidence of what is not seen, beside that of what is
SHIFTS = 0.999  # of the variance of a path, which few shifts carry


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BallPath:
    """Where a ball is in T frames: center (T, 2) px; depth (T,), along the axis of the camera, over
    that in frame 0; depths (T, T): covariance of depth; centers (T, T) px^2: of the center along
    an axis of the picture, both against frame 0."""

    center: np.ndarray
    depth: np.ndarray
    depths: np.ndarray
    centers: np.ndarray


def follow_ball(
    inputs: Inputs, follow: Callable[[Sequence[Tracks] | None, np.ndarray | None], Targets]
) -> tuple[Targets, str]:
    """Targets of an object, put where its silhouette is if that is the disc of a ball; and what it
    was followed by (FOLLOWED): tracks, both, the outline where tracks were too few, or in doubt the
    outline, where tracks see something else.

    follow: finds targets from tracks, or, for None, these too, inside of masks, if any. Raises its
    ValueError where the silhouette does not help.
    """
    path = inputs.cameras[0]  # what is behind the ball must stay in its place
    ball = inputs.tracks is None and len(inputs.videos) == 1 and _is_ball(inputs)
    if not ball or inputs.adrift != 0 or not all(camera is path[0] for camera in path):
        return follow(inputs.tracks, inputs.masks), "tracks"
    found, failure = None, None
    try:
        found = follow(None, inputs.masks)
    except ValueError as error:
        failure = error
    disc = follow_disc(inputs.videos[0], inputs.mask, path[0])
    disc = None if disc is None else _at_even_times(disc, inputs)
    if disc is None or disc.found.mean() < FOUND:
        if failure is not None:
            raise failure
        assert found is not None
        return found, "tracks"
    where, by = find_path(disc, path[0]), "outline"
    if found is not None and found.quality.seen_share.min() >= LOST:
        moved = _placed(found, where, path[0])
        off = (_pixels(found.targets, path[0]) - _pixels(moved.targets, path[0]))[disc.found]
        if np.linalg.norm(off, axis=1).max() < AWAY * disc.radius[0]:
            return moved, "both"
        by = "doubt"
    everywhere = np.ones((len(disc.found), 1, 1), dtype=bool)  # what is found is on the ball
    found = follow([disc.tracks()], everywhere)
    return _placed(found, where, path[0], turns=False), by


def _is_ball(inputs: Inputs) -> bool:
    """Whether the object is a solid whose surface is that of a ball, nearly."""
    if inputs.surface is None or not is_disc(inputs.mask):
        return False
    vertices = inputs.surface.vertices
    arms = np.linalg.norm(vertices - 0.5 * (vertices.min(axis=0) + vertices.max(axis=0)), axis=1)
    return bool(arms.std() < UNEVEN * arms.mean())


def _at_even_times(disc: Disc, inputs: Inputs) -> Disc:
    """The same disc at even steps of time."""
    rim = disc.center + disc.radius[:, None] * [1.0, 0.0]
    pair = Tracks(
        xy=np.stack([disc.center, rim], axis=1), visible=np.repeat(disc.found[:, None], 2, axis=1)
    )
    even = at_even_times(pair, inputs.taken[0], inputs.fps)
    return Disc(
        center=even.xy[:, 0], radius=even.xy[:, 1, 0] - even.xy[:, 0, 0], found=even.visible[:, 0]
    )


def find_path(disc: Disc, camera: Camera) -> BallPath:
    """Where a ball is, from its disc in the pictures of a camera."""
    frames, known = np.arange(len(disc.found)), np.flatnonzero(disc.found)
    lasting = LASTING**2 * _matern(frames, max(LASTS * len(frames), 1.0))
    center = CubicSpline(known, disc.center[known])(np.clip(frames, known[0], known[-1]))
    radius = np.interp(frames, known, disc.radius[known])
    kinks = _kinks(center)
    smooth = _smoothness(_between(center, kinks))
    free = kinks
    for _ in range(smooth.order - 2):
        free = free[1:] | free[:-1]
    white = np.where(disc.found, max(smooth.noise, LEAST_JITTER), UNKNOWN) ** 2
    axes = [_smoothed(axis, np.diag(white) + lasting, smooth, free) for axis in center.T]
    center = np.stack([mean for mean, _ in axes], axis=1)
    # Along the axis, in radii of the ball: there, not along rays, free flight is a parabola.
    focal = float(np.sqrt(camera.fx * camera.fy))
    ahead = np.linalg.norm(camera.unproject(center, 1.0) - camera.position, axis=1)
    depth = np.hypot(focal, radius) / radius / ahead
    slope = depth * focal**2 / (radius * (focal**2 + radius**2))  # of it, by px of the radius
    along = dataclasses.replace(smooth, amplitude=smooth.amplitude * np.median(depth) / focal)
    jitter = _smoothness([radius[known]]).noise
    white = np.where(disc.found, max(jitter, LEAST_JITTER), UNKNOWN) ** 2
    for _ in range(2):
        noise = slope[:, None] * (np.diag(white) + lasting) * slope
        found, covariance = _smoothed(depth, noise, along, free)
        off = np.abs(depth - found) / slope
        usually = max(1.5 * float(np.median(off[known])), np.sqrt(white.min()))
        white = np.where(off > OUTLIER * usually, UNKNOWN**2, white)
    found = np.maximum(found, 0.1 * found[0])
    # Frame 0 is where it is: all else is known beside it.
    first = np.eye(len(frames))[0]
    beside = (np.eye(len(frames)) - np.outer(found / found[0], first)) / found[0]
    apart = np.eye(len(frames)) - first
    return BallPath(
        center=center, depth=found / found[0], depths=beside @ covariance @ beside.T,
        centers=apart @ np.mean([own for _, own in axes], axis=0) @ apart.T,
    )  # fmt: skip


def _kinks(center: np.ndarray) -> np.ndarray:
    """(T-2,) bool: second differences of a path (T, 2) px in which something hits the ball."""
    second = np.diff(center, 2, axis=0)
    off = np.linalg.norm(second - np.median(second, axis=0), axis=1)
    usual = max(MAD_TO_SIGMA * float(np.median(off)), np.sqrt(6) * LEAST_JITTER)
    kinks = off > KINK * usual
    return kinks if kinks.mean() < MOST_KINKS else np.zeros(len(kinks), dtype=bool)


def _between(center: np.ndarray, kinks: np.ndarray) -> list[np.ndarray]:
    """Coordinates of the parts of a path (T, 2) px between kinks."""
    parts, first = [], 0
    for end in [*np.flatnonzero(kinks).tolist(), len(kinks)]:
        if end > first:
            parts += list(center[first : end + 2].T)
        first = end + 1
    return parts


def _matern(frames: np.ndarray, time: float) -> np.ndarray:
    """(T, T) covariance of errors of size 1 that change over a time, in frames (Matern 3/2)."""
    r = np.sqrt(3) * np.abs(frames[:, None] - frames) / time
    return (1 + r) * np.exp(-r)


def _smoothness(series: Sequence[np.ndarray]) -> Smoothness:
    """How smooth series in px are; of few frames, as rough as they can be."""
    try:
        return estimate_smoothness(series, ORDERS)
    except ValueError:
        second = np.concatenate([np.diff(one, 2) for one in series])
        rough = float(np.sqrt((second**2).mean())) if len(second) else LEAST_JITTER
        return Smoothness(
            order=ORDERS[0], amplitude=max(rough, LEAST_JITTER), noise=LEAST_JITTER
        )  # fmt: skip


def _smoothed(
    y: np.ndarray, noise: np.ndarray, smooth: Smoothness, free: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (T,) and covariance (T, T) of what was measured as y, with noise (T, T), and whose
    differences are white, with an amplitude that is that of smooth, or another one; free: which of
    these may be anything."""
    D = differences(len(y), smooth.order)
    informed, seen = np.linalg.inv(noise), D @ y
    spread, weights, means, covariances = D @ noise @ D.T, [], [], []
    loose = np.where(free, LOOSE, 1.0)
    amplitudes = smooth.amplitude * np.exp(WIDTH * STEPS)
    for step, amplitude in zip(STEPS, np.maximum(amplitudes, 1e-12), strict=True):
        total = spread + amplitude**2 * np.diag(loose**2)
        misfit = seen @ np.linalg.solve(total, seen) + np.linalg.slogdet(total)[1]
        weights.append(-0.5 * (misfit + step**2))
        covariances.append(np.linalg.inv(informed + (D.T / loose**2) @ D / amplitude**2))
        means.append(covariances[-1] @ (informed @ y))
    share = np.exp(np.array(weights) - max(weights))
    share /= share.sum()
    mean = share @ np.stack(means)
    apart = np.stack(means) - mean
    covariance = np.einsum("k,kts->ts", share, np.stack(covariances))
    return mean, covariance + np.einsum("k,kt,ks->ts", share, apart, apart)


def _pixels(targets: np.ndarray, camera: Camera) -> np.ndarray:
    """(T, 2) px: where the middles of targets (T, n, 3) m are seen."""
    return camera.project(targets.mean(axis=1))[0]


def _placed(found: Targets, path: BallPath, camera: Camera, *, turns: bool = True) -> Targets:
    """Targets with their middles where a ball is; turns: whether it turns as they do."""
    middles = found.targets.mean(axis=1)
    pixel, start = camera.project(middles[0])
    pixels, depth = path.center + (pixel - path.center[0]), float(start) * path.depth
    place = camera.unproject(pixels, depth)
    arms = found.targets[0] - middles[0]
    turned = np.tile(np.eye(3), (len(middles), 1, 1))
    if turns:  # as a whole: a lift bends what is hardly seen, where a ball stays one
        share = found.confidence + LEAST_SEEN
        later = found.targets - middles[:, None]
        turned = nearest_rotation(np.einsum("tn,tni,nj->tij", share, later, arms))
    targets = np.einsum("tij,nj->tni", turned, arms)
    # Errors along the rays, and along both axes of the picture.
    rays = camera.unproject(pixels, 1.0) - camera.position
    moved = [float(start) * _modes(path.depths)[..., None] * rays]
    for axis in np.eye(2) / [camera.fx, camera.fy]:
        across = depth[:, None] * (np.append(axis, 0.0) @ camera.rotation)
        moved.append(_modes(path.centers)[..., None] * across)
    own = np.concatenate(moved)[:, :, None] * np.ones((len(found.sampled), 1))
    shifts = found.shifts - found.shifts.mean(axis=2, keepdims=True) if turns else own[:0]
    return dataclasses.replace(
        found, targets=targets + place[:, None], shifts=np.concatenate([shifts, own])
    )


def _modes(covariance: np.ndarray) -> np.ndarray:
    """(B, T): independent errors whose squares add up to a covariance (T, T), nearly."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    share = np.cumsum(values) / max(values.sum(), 1e-300)
    count = int((share < SHIFTS).sum()) + 1
    return (vectors * np.sqrt(values))[:, :count].T
