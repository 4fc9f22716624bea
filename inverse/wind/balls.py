"""Balls: what is followed by its silhouette, where its surface is too fast or too plain for tracks.

A ball in flight is often all that its silhouette says: motion blur takes the texture, and what is
seen at first turns away. But a disc shows where the ball is (inverse/tracking/discs.py), far better
than points of a surface that turns. So tracks say how a ball turns, as a rigid body, and its
silhouette where it is. Where too few tracks are left, it is taken not to turn, which no net force
depends on.

Where the ball is in space, and what is left open of that, its discs say (ball_path.py); the errors
become shifts of the targets, and so a part of how uncertain the force is.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from inverse.lifting import Targets
from inverse.lifting.followed import FEWEST_FRAMES
from inverse.lifting.quality import followed_frames
from inverse.perception.relief import is_disc
from inverse.tracking.discs import Disc, follow_disc
from inverse.tracking.timing import at_even_times
from inverse.tracking.tracks import Tracks
from inverse.tracking.unsteady import steadied
from inverse.wind.ball_path import BallPath, find_path
from inverse.wind.inputs.load import Inputs
from renderers.camera import Camera
from taichi_phys.rotations import nearest_rotation


FOLLOWED = ("tracks", "both", "outline", "doubt")  # what an object was followed by
OUTLINE = ("outline", "doubt")  # of these, by its silhouette alone: points on it are not believed
ASSUMED = {
    "both": "The ball was put where its silhouette is, and turns as tracks on it say.",
    "outline": "Too little of the surface could be followed, and the ball was followed by its "
    "silhouette: how it turns is not known, and the force on the whole does not depend on that.",
    "doubt": "Tracks on the ball lead elsewhere than its silhouette, by which it was followed: how "
    "it turns is not known, and the force on the whole does not depend on that.",
}
NODES = 8  # of a lift: a ball keeps its shape, so that few carry its motion
LOST = 0.5  # of the particles, in some frame: tracks do not carry the ball
AWAY = 0.5  # radii, from the silhouette: nor do they
# Of the frames in which anything shows the ball, those in which the silhouette is found, for it to
# be believed.
FOUND = 0.8
UNEVEN = 0.15  # of its radius, by which the surface of a ball is off it
LEAST_SEEN = 1e-3  # confidence of what is not seen, beside that of what is
SHIFTS = 0.999  # of the variance of a path, which few shifts carry


def follow_ball(inputs: Inputs, follow: Callable[..., Targets]) -> tuple[Targets, str]:
    """Targets of an object, put where its silhouette is if that is the disc of a ball, up to where
    that is lost for good; and what it was followed by (FOLLOWED): tracks, both, the outline where
    tracks were too few, or in doubt the outline, where tracks see something else.

    follow: called with (tracks, masks, nodes) finds targets from tracks per view, or, for None,
    these too, inside of masks, if any, carried by so many nodes, or as many as usual. Raises its
    ValueError where the silhouette does not help.
    """
    path = inputs.cameras[0]  # what is behind the ball must stay in its place
    ball = inputs.tracks is None and len(inputs.videos) == 1 and _is_ball(inputs)
    if not ball or inputs.adrift != 0 or not _in_place(path):
        return follow(inputs.tracks, inputs.masks), "tracks"
    found, failure = None, None
    try:
        found = follow(None, inputs.masks, NODES)
    except ValueError as error:
        failure = error
    disc = follow_disc(steadied(inputs.videos[0], path), inputs.mask, path[0])
    disc = None if disc is None else _at_even_times(disc, inputs)
    end = 0 if disc is None else followed_frames(disc.found.astype(float))
    reach = end if found is None else max(end, len(found.targets))
    if disc is None or end < FEWEST_FRAMES or disc.found[:reach].mean() < FOUND:
        if failure is not None:
            raise failure
        assert found is not None
        return found, "tracks"
    outline, disc = disc.tracks(), disc.until(end)  # it may leave the picture
    where, by = find_path(disc, path[0]), "outline"
    if found is not None and len(found.targets) > end:
        found = found.until(end)
    if found is not None and _followed(found, end):
        moved = _placed(found, where, path[0])
        off = (_pixels(found.targets, path[0]) - _pixels(moved.targets, path[0]))[disc.found]
        if np.linalg.norm(off, axis=1).max() < AWAY * disc.radius[0]:
            return moved, "both"
        by = "doubt"
    everywhere = np.ones((outline.frames, 1, 1), dtype=bool)  # what is found is on the ball
    found = follow([_as_seen(outline, path)], everywhere, NODES)
    return _placed(found, where, path[0], turns=False), by


def _followed(found: Targets, frames: int) -> bool:
    """Whether tracks carry the ball through all frames."""
    return len(found.targets) == frames and bool(found.quality.seen_share.min() >= LOST)


def _in_place(path: Sequence[Camera]) -> bool:
    """Whether a camera turns at most."""
    moved = max(float(np.linalg.norm(camera.position - path[0].position)) for camera in path)
    return moved < 1e-9


def _as_seen(tracks: Tracks, path: Sequence[Camera]) -> Tracks:
    """Tracks in steadied pictures, where those of the cameras show them."""
    if all(camera is path[0] for camera in path):
        return tracks
    xy = [
        camera.project(path[0].unproject(points, 1.0))[0]
        for points, camera in zip(tracks.xy, path, strict=True)
    ]
    return dataclasses.replace(tracks, xy=np.stack(xy))


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
    return dataclasses.replace(
        disc, center=even.xy[:, 0], radius=even.xy[:, 1, 0] - even.xy[:, 0, 0],
        found=even.visible[:, 0],
    )  # fmt: skip


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
    """(B, T): independent errors whose squares add up to a covariance (T, T), nearly, and in each
    frame: what is hardly known in some does not count for more there than what is known in
    others."""
    size = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    scale = np.maximum(size, 1e-6 * size.max() + 1e-300)
    values, vectors = np.linalg.eigh(covariance / scale[:, None] / scale)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    share = np.cumsum(values) / max(values.sum(), 1e-300)
    count = int((share < SHIFTS).sum()) + 1
    return (scale[:, None] * vectors * np.sqrt(values))[:, :count].T
