"""Where points that come into view later lie on the object, in its shape of frame 0.

The motion of the points that are known carries a point to every frame in which it is seen, and its
rest position is where the rays of these frames meet (triangulation on a body that moves). What is
known reaches a little further then, and so on to the end of the clip.
"""

import dataclasses
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial import cKDTree

from inverse.lifting.energy import LiftConfig, TrackedView
from inverse.lifting.followed import well_followed
from inverse.lifting.quality import width_px
from inverse.lifting.rigid import motion_between
from inverse.lifting.solve import Lifted, lift
from inverse.lifting.volume import VolumeNodes
from renderers.camera import Camera
from taichi_phys.rotations import nearest_rotation


CARRIERS = 24  # nearest known points that carry a new one
SOFTEN = 0.1  # of the object's size: carriers that are nearer than this weigh alike
# How far a new point may be from where its neighbors' depth puts it, of the object's size.
SURPRISE = 0.3
ROUNDS = 8  # of Gauss-Newton
CAUCHY = 2.385  # in sigmas, where an observation loses half its weight
LEAST_SIGMA = 0.3  # px: the motion that carries a point is itself not better known
# Of the object's width in the picture: a point that its motion leaves so far from its tracks, on
# median, is no part of it.
WRONG = 0.03
FAR = 2.0  # of the object's size, from all known points: a new one there is no part of it, either
NODES = 24  # that carry a draft of the deformation
LEAST_SEEN = 3  # frames, in which the motion is known, for a point to be found


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Carriers:
    """How n points move with those that carry them, frame by frame: x = turn (p - rest) + now.

    rest: (n, 3) m; turn: (T, n, 3, 3); now: (T, n, 3) m.
    """

    rest: np.ndarray
    turn: np.ndarray
    now: np.ndarray

    def move(self, points: np.ndarray) -> np.ndarray:
        """Positions (T, n, 3) m of points (n, 3) m of frame 0."""
        return np.einsum("tnij,nj->tni", self.turn, points - self.rest) + self.now

    def back(self, frame: int, points: np.ndarray) -> np.ndarray:
        """Positions (n, 3) m in frame 0 of points (n, 3) m of another frame."""
        apart = points - self.now[frame]
        return np.einsum("nji,nj->ni", self.turn[frame], apart) + self.rest


def carriers(
    at: np.ndarray, known0: np.ndarray, known: np.ndarray, own: np.ndarray | None = None
) -> Carriers:
    """The motion at points (n, 3) m of frame 0 that known ones (N, 3) m, (T, N, 3) m, go through.

    own: (n,) indices of the points among the known ones, which then do not carry themselves.

    The rigid motion of the nearest known points, weighted by their nearness (moving least squares,
    Schaefer et al. 2006, Zhu and Gortler 2007): beyond the known part it goes on as a rigid body.
    """
    size = np.linalg.norm(known0.std(axis=0))
    gap, near = cKDTree(known0).query(at, k=min(CARRIERS, len(known0)))
    weight = 1 / (gap**2 + (SOFTEN * size) ** 2)
    if own is not None:
        weight[near == own[:, None]] = 0
    weight /= weight.sum(axis=1, keepdims=True)
    rest = np.einsum("nk,nki->ni", weight, known0[near])
    now = np.einsum("nk,tnki->tni", weight, known[:, near])
    before = (known0[near] - rest[:, None]) * weight[..., None]
    turn = nearest_rotation(np.einsum("tnki,nkj->tnij", known[:, near] - now[:, :, None], before))
    return Carriers(rest=rest, turn=turn, now=now)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Anchored:
    """Known points with those that were found to belong to them.

    points: (N, 3) m, all, in frame 0; keep: (N,) bool, those that lie on the object; lifted: the
    motion of these.
    """

    points: np.ndarray
    keep: np.ndarray
    lifted: Lifted


def anchor_points(
    views: Sequence[TrackedView],
    points0: np.ndarray,
    draft: Lifted,
    *,
    config: LiftConfig | None = None,
    volume: VolumeNodes | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Anchored:
    """Find where tracked points lie in frame 0 that came into view later.

    views: tracks of N points and the camera of each frame; points0: (N0, 3) m, the first N0 of
    them, in frame 0; draft: a lift of these, which counts as far as enough of them are seen;
    volume: what carries a solid, and points with it;
    progress: called with (frame that the motion is known up to, frames).
    """
    config = config or LiftConfig()
    config = dataclasses.replace(config, nodes=min(config.nodes, NODES))
    frames, count = views[0][0].frames, views[0][0].count
    rest = np.full((count, 3), np.nan)
    rest[: len(points0)] = points0
    known = np.arange(count) < len(points0)
    lifted, end = draft, _horizon(views, known)
    while True:
        X = lifted.points[: end + 1]
        moved = known.copy()
        new = _seen(views, slice(0, end + 1)).sum(axis=0) >= LEAST_SEEN
        new = np.flatnonzero(new & ~known)
        if len(new):
            at, good = locate(views, new, rest[moved], X, lifted.sigma_px)
            rest[new[good]] = at[good]
            known[new[good]] = True
        before, end = end, _horizon(views, known)
        if progress is not None:
            progress(end + 1, frames)
        done = end == before  # the end of the clip, or nothing shows how it goes on
        until = frames - 1 if done else end
        lifted = _lift_until(views, rest, known, moved, X, until, draft.fps, config, volume)
        # What does not turn with the body can pass for a part of it over a few frames.
        index = np.flatnonzero(known)
        stay = fits(views, index, rest[index], lifted.points) | (index < len(points0))
        known[index[~stay]] = False
        lifted = dataclasses.replace(
            lifted, points=lifted.points[:, stay], confidence=lifted.confidence[:, stay]
        )
        if done:
            break
    return Anchored(points=rest, keep=known, lifted=lifted)


def locate(
    views: Sequence[TrackedView],
    index: np.ndarray,
    known0: np.ndarray,
    known: np.ndarray,
    sigma_px: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Where points lie in frame 0 whose motion is that of known ones around them.

    views: tracks and cameras; index: (n,) of the points among the tracks; known0, known: (N, 3) m
    and (T, N, 3) m, the known points in frame 0 and in the first T frames; sigma_px: noise of the
    tracks. Returns positions (n, 3) m, and which of them (n,) bool
    agree with their tracks and lie on the object.
    """
    size = float(np.linalg.norm(known0.std(axis=0)))
    frames = len(known)
    guess = _first_guess(views, index, known0, known)
    sigma = max(sigma_px, LEAST_SIGMA)
    p = guess.copy()
    carry = carriers(p, known0, known)
    for k in range(ROUNDS):
        if k in (2, 4):  # others may be nearer now
            carry = carriers(p, known0, known)
        x = carry.move(p)
        H = np.tile(np.eye(3) / (SURPRISE * size) ** 2, (len(p), 1, 1))
        g = (p - guess) / (SURPRISE * size) ** 2
        for tracks, cameras in views:
            for t in range(frames):
                seen = np.flatnonzero(tracks.visible[t, index])
                if len(seen) == 0:
                    continue
                r, J = reprojection(cameras[t], x[t, seen], tracks.xy[t, index[seen]])
                J = J @ carry.turn[t, seen] / sigma
                r = r / sigma
                w = 1 / (1 + (r**2).sum(1) / CAUCHY**2)
                H[seen] += np.einsum("n,nai,naj->nij", w, J, J)
                g[seen] += np.einsum("n,nai,na->ni", w, J, r)
        step = np.linalg.solve(H, g[..., None])[..., 0]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        p = p - step * np.minimum(1, SURPRISE * size / np.maximum(length, 1e-12))
    gap = cKDTree(known0).query(p)[0]
    move = carriers(p, known0, known).move(p)
    return p, (gap < FAR * size) & _agree(views, index, known0, move, sigma)


def fits(
    views: Sequence[TrackedView], index: np.ndarray, points0: np.ndarray, motion: np.ndarray
) -> np.ndarray:
    """Which of some points, index (n,), are near their tracks: (n,) bool.

    views: tracks and cameras of all points; points0: (n, 3) m, in frame 0; motion: (T, n, 3) m.
    """
    return _agree(views, index, points0, motion, LEAST_SIGMA)


def reprojection(camera: Camera, x: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences (n, 2) px of points x (n, 3) m from where they are seen, and their derivatives
    (n, 2, 3) px/m."""
    local = camera.to_camera(x)
    z = np.maximum(local[:, 2], 1e-6)
    J = np.zeros((len(z), 2, 3))
    J[:, 0, 0], J[:, 0, 2] = camera.fx / z, -camera.fx * local[:, 0] / z**2
    J[:, 1, 1], J[:, 1, 2] = camera.fy / z, -camera.fy * local[:, 1] / z**2
    return camera.project(x)[0] - xy, J @ camera.rotation


def _seen(views: Sequence[TrackedView], frames: slice) -> np.ndarray:
    """Whether any view sees points: (T, N) bool."""
    return np.any([tracks.visible[frames] for tracks, _ in views], axis=0)


def _horizon(views: Sequence[TrackedView], known: np.ndarray) -> int:
    """The last frame up to which enough of the known points are seen for their motion."""
    few = np.flatnonzero(~well_followed([tracks.of(known) for tracks, _ in views]))
    return int(few[0]) - 1 if len(few) else views[0][0].frames - 1


def _first_guess(
    views: Sequence[TrackedView], index: np.ndarray, known0: np.ndarray, known: np.ndarray
) -> np.ndarray:
    """Points (n, 3) m in frame 0, as deep as the known points around them where first seen."""
    guess = np.empty((len(index), 3))
    done = np.zeros(len(index), dtype=bool)
    for tracks, cameras in views:
        seen = tracks.visible[: len(known), index]
        first = np.where(seen.any(axis=0), seen.argmax(axis=0), -1)
        for t in np.unique(first[~done & (first >= 0)]):
            own = np.flatnonzero((first == t) & ~done)
            at, z = cameras[t].project(known[t])
            gap, near = cKDTree(at).query(tracks.xy[t, index[own]], k=4)
            weight = 1 / (gap + 1.0)
            depth = (weight * z[near]).sum(1) / weight.sum(1)
            x = cameras[t].unproject(tracks.xy[t, index[own]], depth)
            # The motion of the nearest, wherever it may turn out to lie.
            close = known0[cKDTree(known[t]).query(x)[1]]
            guess[own] = carriers(close, known0, known).back(t, x)
            done[own] = True
    return guess


def _agree(
    views: Sequence[TrackedView],
    index: np.ndarray,
    known0: np.ndarray,
    motion: np.ndarray,
    sigma: float,
) -> np.ndarray:
    """Whether points (T, n, 3) m are on median near their tracks, or not seen: (n,) bool."""
    off = []
    for tracks, cameras in views:
        at = np.stack([camera.project(p)[0] for camera, p in zip(cameras, motion, strict=False)])
        r = np.linalg.norm(at - tracks.xy[: len(at), index], axis=2)
        off.append(np.where(tracks.visible[: len(at), index], r, np.nan))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of points that are never seen
        median = np.nanmedian(np.concatenate(off), axis=0)
    width = max(width_px(cameras[0].project(known0)[0]) for _, cameras in views)
    return ~(median > max(WRONG * width, CAUCHY * sigma))


def _lift_until(
    views: Sequence[TrackedView],
    rest: np.ndarray,
    known: np.ndarray,
    moved: np.ndarray,
    X: np.ndarray,
    end: int,
    fps: float,
    config: LiftConfig | None,
    volume: VolumeNodes | None,
) -> Lifted:
    """The motion of known points up to a frame.

    rest: (N, 3) m; known, moved: (N,) bool, the points that are known, and those of them whose
    motion X (T, n, 3) m is, in its first frames.
    """
    some = [(tracks.of(known).until(end + 1), path[: end + 1]) for tracks, path in views]
    X = X[: end + 1]
    while len(X) <= end:  # on as before
        X = np.concatenate([X, motion_between(X[-2], X[-1]).move(X[-1])[None]])
    first = carriers(rest[known], rest[moved], X).move(rest[known])
    first[:, moved[known]] = X
    return lift(some, rest[known], fps, config=config, volume=volume, initial=first)
