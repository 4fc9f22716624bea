"""What tracks say of a motion before anything is lifted: noise, smoothness, modes."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from inverse.lifting.smoothness import (
    MAD_TO_SIGMA,
    Smoothness,
    effective_count,
    estimate_smoothness,
    without_spikes,
)
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera


MIN_FRAMES = 5  # that the longest track must have
MIN_TRACKS = 3  # that there must be of that length
KINK = 8.0  # times the usual second difference: a track with a larger one jumped elsewhere
MIN_SIGMA = 0.02  # px: no tracker is better, even where a clip has no noise
MISTAKEN = 2.0  # times the known noise: more is a motion that is smooth at no order
# Assumed where a clip is too short to learn from: smoothness of order 3 with this amplitude,
# relative to the object's size, and this noise, px.
ASSUMED_ORDER, ASSUMED_AMPLITUDE, ASSUMED_SIGMA = 3, 0.01, 0.3


@dataclasses.dataclass(frozen=True, kw_only=True)
class MotionStatistics:
    """How smooth a motion is, and how noisy its tracks are.

    centroid, local: smoothness of the object's centroid and of its shape around it, m; modes: how
    many independent motions the shape has; acceleration: usual second difference of the centroid,
    m per frame^2; sigma_px: noise of the tracks, px; known: false where tracks are too short to
    tell any of this, and it is assumed.

    They are measured across the cameras' axes, where tracks show meters directly, and hold in every
    direction: what moves the object does not know where the camera stands.
    """

    centroid: Smoothness
    local: Smoothness
    modes: float
    acceleration: float
    sigma_px: float
    known: bool = True


def measure_motion(
    views: Sequence[tuple[Tracks, Sequence[Camera]]],
    points0: np.ndarray,
    *,
    sigma_px: float | None = None,
) -> MotionStatistics:
    """Estimate the statistics of a motion from its tracks.

    views: tracks with one camera per frame; points0: (N, 3) m, the tracked points in frame 0;
    sigma_px: noise of the tracks, where it is known already, px.
    """
    center: list[np.ndarray] = []
    local: list[np.ndarray] = []
    modes: list[np.ndarray] = []
    scale: list[float] = []
    for tracks, cameras in views:
        z = np.median(cameras[0].to_camera(points0)[:, 2])
        frames = [
            cameras[0].to_camera(camera.unproject(xy, z))[:, :2]
            for camera, xy in zip(cameras, tracks.xy, strict=True)
        ]
        meters = np.moveaxis(np.stack(frames), 0, 2)  # (N, 2, T)
        length = np.where(tracks.visible.all(0), tracks.frames, tracks.visible.argmin(0))
        longest = length.max()
        if longest < MIN_FRAMES:
            continue
        middle = np.median(meters[length == longest], axis=0)
        apart = [without_spikes((y - middle)[:, :n]) for y, n in zip(meters, length, strict=True)]
        # A track that jumped elsewhere keeps a kink far beyond what is usual: leave it out.
        kinks = [np.abs(np.diff(y, 2)) for y in apart]
        usual = MAD_TO_SIGMA * np.median(np.concatenate([kink.ravel() for kink in kinks]))
        sound = [kink.max(initial=0) <= KINK * usual + 1e-12 for kink in kinks]
        chosen = np.flatnonzero(sound & (length == longest))
        if len(chosen) < MIN_TRACKS:
            continue
        whole = np.stack([apart[i] for i in chosen])
        mean = whole.mean(axis=0)
        center += list(middle[:, :longest] + mean)
        local += [row for i in np.flatnonzero(sound) for row in apart[i] - mean[:, : length[i]]]
        modes.append(np.swapaxes(whole - mean, 0, 1))
        scale.append(cameras[0].fx / z)
    try:
        noise = None if sigma_px is None or not scale else sigma_px / float(np.mean(scale))
        smooth = _smoothness(local, noise)
        return MotionStatistics(
            centroid=_smoothness(center, noise),
            local=smooth,
            modes=float(np.mean([effective_count(series, smooth) for series in modes])),
            acceleration=float(np.sqrt(np.mean([(np.diff(y, 2) ** 2).mean() for y in center]))),
            sigma_px=max(smooth.noise * float(np.mean(scale)), MIN_SIGMA)
            if sigma_px is None
            else sigma_px,
        )
    except ValueError:  # a handful of frames: nothing to learn from, assume little
        size = ASSUMED_AMPLITUDE * float(np.linalg.norm(points0.std(axis=0)))
        assumed = Smoothness(order=ASSUMED_ORDER, amplitude=size, noise=0.0)
        return MotionStatistics(
            centroid=assumed, local=assumed, modes=1.0, acceleration=size,
            sigma_px=ASSUMED_SIGMA if sigma_px is None else sigma_px, known=False,
        )  # fmt: skip


def _smoothness(series: Sequence[np.ndarray], noise: float | None) -> Smoothness:
    """How smooth series are; what lies far above a known noise is motion, however rough."""
    found = estimate_smoothness(series)
    if noise is None or found.noise <= MISTAKEN * noise:
        return found
    return estimate_smoothness(series, noise=noise)
