"""Balls: what is followed by its silhouette, where its surface is too fast or too plain for tracks.

A ball in flight is often all that its silhouette says: motion blur takes the texture, and what is
seen at first turns away. But a disc shows where the ball is (inverse/tracking/discs.py), far better
than points of a surface that turns. So tracks say how a ball turns, and its silhouette where it is.
Where too few tracks are left, it is taken not to turn, which no net force depends on.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from inverse.lifting import Targets
from inverse.perception.relief import is_disc
from inverse.tracking.discs import Disc, follow_disc
from inverse.tracking.timing import at_even_times
from inverse.tracking.tracks import Tracks
from inverse.wind.inputs.load import Inputs


LOST = 0.5  # of the particles, in some frame: tracks do not carry the ball
AWAY = 0.5  # radii, from the silhouette: nor do they
FOUND = 0.8  # of the frames, in which the silhouette is found, for it to be believed


def follow_ball(
    inputs: Inputs, follow: Callable[[Sequence[Tracks] | None, np.ndarray | None], Targets]
) -> tuple[Targets, bool]:
    """Targets of an object, put where its silhouette is if that is the disc of a ball; and whether
    only the silhouette could be followed.

    follow: finds targets from tracks, or, for None, these too, inside of masks, if any. Raises its
    ValueError where the silhouette does not help.
    """
    ball = inputs.surface is not None and len(inputs.videos) == 1 and is_disc(inputs.mask)
    path = inputs.cameras[0]  # what is behind the ball must stay in its place
    ball &= inputs.adrift == 0 and all(camera is path[0] for camera in path)
    if not ball or inputs.tracks is not None:
        return follow(inputs.tracks, inputs.masks), False
    found, failure = None, None
    try:
        found = follow(None, inputs.masks)
    except ValueError as error:
        failure = error
    disc = follow_disc(inputs.videos[0], inputs.mask)
    disc = None if disc is None else _at_even_times(disc, inputs)
    if disc is None or disc.found.mean() < FOUND:
        if failure is not None:
            raise failure
        assert found is not None
        return found, False
    if found is not None and found.quality.seen_share.min() >= LOST:
        moved = _placed(found.targets, disc, inputs)
        off = _pixels(found.targets, inputs)[disc.found] - _pixels(moved, inputs)[disc.found]
        if np.linalg.norm(off, axis=1).max() < AWAY * disc.radius[0]:
            return dataclasses.replace(found, targets=moved), False
    everywhere = np.ones((len(disc.found), 1, 1), dtype=bool)  # what is found is on the ball
    found = follow([disc.tracks()], everywhere)
    return dataclasses.replace(found, targets=_placed(found.targets, disc, inputs)), True


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


def _pixels(targets: np.ndarray, inputs: Inputs) -> np.ndarray:
    """(T, 2) px: where the middles of targets (T, n, 3) m are seen."""
    middles = targets.mean(axis=1)
    return np.stack([
        camera.project(middle[None])[0][0]
        for camera, middle in zip(inputs.cameras[0], middles, strict=True)
    ])  # fmt: skip


def _placed(targets: np.ndarray, disc: Disc, inputs: Inputs) -> np.ndarray:
    """Targets (T, n, 3) m, moved so that their middles are where a disc is; in frames in which it
    was not found, as in those around."""
    cameras, middles = inputs.cameras[0], targets.mean(axis=1)
    size, first = disc.smooth_size(), cameras[0].to_camera(middles[:1])[0]
    offset = cameras[0].project(middles[:1])[0][0] - disc.center[0]
    shift = np.stack([
        camera.unproject((center + scale * offset)[None], np.array([first[2] / scale]))[0] - middle
        for camera, center, scale, middle in zip(cameras, disc.center, size, middles, strict=True)
    ])  # fmt: skip
    frames = np.arange(len(targets))
    shift = np.stack(
        [np.interp(frames, frames[disc.found], axis[disc.found]) for axis in shift.T], axis=1
    )
    return targets + shift[:, None]
