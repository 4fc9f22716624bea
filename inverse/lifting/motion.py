"""What tracks tell about the motion before anything is lifted: noise, smoothness, modes."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from inverse.lifting.smoothness import (
    Smoothness,
    effective_count,
    estimate_smoothness,
    without_spikes,
)
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera


@dataclasses.dataclass(frozen=True, kw_only=True)
class Motion:
    """Smoothness of the object's centroid and of its shape around it, m; modes: how many
    independent motions the shape has; acceleration: usual second difference of the centroid,
    m per frame^2; sigma_px: noise of the tracks, px.

    It is measured across the cameras' axes, where tracks show metres directly, and holds in
    every direction: what moves the object does not know where the camera stands.
    """

    centroid: Smoothness
    local: Smoothness
    modes: float
    acceleration: float
    sigma_px: float


def measure_motion(views: Sequence[tuple[Tracks, Sequence[Camera]]], points0: np.ndarray) -> Motion:
    """Estimate the motion's statistics from tracks with one camera per frame.

    points0: (N, 3) m, the tracked points in frame 0.
    """
    centre, local, modes, scale = [], [], [], []
    for tracks, cameras in views:
        z = np.median(cameras[0].to_camera(points0)[:, 2])
        metres = [
            cameras[0].to_camera(camera.unproject(xy, z))[:, :2]
            for camera, xy in zip(cameras, tracks.xy, strict=True)
        ]
        metres = np.moveaxis(metres, 0, 2)  # (N, 2, T)
        length = np.where(tracks.visible.all(0), tracks.frames, tracks.visible.argmin(0))
        longest = length.max()
        if longest < 5:
            continue
        middle = np.median(metres[length == longest], axis=0)
        apart = [without_spikes((y - middle)[:, :n]) for y, n in zip(metres, length, strict=True)]
        # A track that jumped elsewhere keeps a kink far beyond what is usual: leave it out.
        kinks = [np.abs(np.diff(y, 2)) for y in apart]
        usual = 1.4826 * np.median(np.concatenate([kink.ravel() for kink in kinks]))
        sound = [kink.max(initial=0) <= 8 * usual + 1e-12 for kink in kinks]
        chosen = np.flatnonzero(sound & (length == longest))
        if len(chosen) < 3:
            continue
        whole = np.stack([apart[i] for i in chosen])
        mean = whole.mean(axis=0)
        centre += list(middle[:, :longest] + mean)
        local += [row for i in np.flatnonzero(sound) for row in apart[i] - mean[:, : length[i]]]
        modes.append(np.swapaxes(whole - mean, 0, 1))
        scale.append(cameras[0].fx / z)
    try:
        smooth = estimate_smoothness(local)
        return Motion(
            centroid=estimate_smoothness(centre),
            local=smooth,
            modes=float(np.mean([effective_count(series, smooth) for series in modes])),
            acceleration=float(np.sqrt(np.mean([(np.diff(y, 2) ** 2).mean() for y in centre]))),
            sigma_px=max(smooth.noise * float(np.mean(scale)), 0.02),
        )
    except ValueError:  # a handful of frames: nothing to learn from, assume little
        size = 0.01 * np.linalg.norm(points0.std(axis=0))
        usual = Smoothness(order=3, amplitude=size, noise=0.0)
        return Motion(centroid=usual, local=usual, modes=1.0, acceleration=size, sigma_px=0.3)
