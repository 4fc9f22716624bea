"""How the points of an object are seen to stray from where they are in frame 0, and what lies
between them."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from inverse.tracking import Tracks
from renderers.camera import Camera


POINTS = 8  # that were followed, by which the motion of a particle is found
BEYOND = 2.0  # times how far these spread, that their motion goes on beyond them
SMALLEST = 1e-12  # m^2, of that: points in one place
FLAT = 0.02  # of their spread, squared: along less than that their motion is not told apart


def strayed_px(
    tracks: Sequence[Tracks], cameras: Sequence[Sequence[Camera]], points: np.ndarray
) -> np.ndarray:
    """Which way and how far, px, points are seen off their places in frame 0: (V, T, k, 2), NaN
    where a view does not see a point, or did not in frame 0.

    It is what tracks show: a motion in space that was fitted to them bends at its ends. tracks and
    cameras, one for each frame: of each of V views; points: (T, k, 3) m, where they are in space,
    which counts for the motion of a camera only.
    """
    off = np.full((len(tracks), *points.shape[:2], 2), np.nan)
    for view, (one, path) in enumerate(zip(tracks, cameras, strict=True)):
        for t, (xy, x) in enumerate(zip(one.xy, points, strict=True)):
            if path[t] is not path[0]:  # where the camera of frame 0 would see it
                xy = path[0].project(path[t].unproject(xy, path[t].project(x)[1]))[0]
            seen = one.visible[0] & one.visible[t]
            off[view, t, seen] = xy[seen] - one.xy[0, seen]
    return off


def farthest_px(off: np.ndarray) -> np.ndarray:
    """How far (k,) px points stray at most, by off (V, T, k, 2) px, NaN where they are not seen."""
    size = np.linalg.norm(off, axis=3)
    farthest: np.ndarray = np.nan_to_num(size).max(axis=(0, 1))
    return farthest


def nearest(points: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances (n, p) m and indices (n, p) of the points (k, 3) m that are nearest to x (n, 3) m,
    the nearest first."""
    away, near = cKDTree(points).query(x, k=min(POINTS, len(points)))
    return away.reshape(len(x), -1), near.reshape(len(x), -1)


def between(points: np.ndarray, values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Values (k,) >= 0 of points (k, 3) m at places x (n, 3) m, by the plane through those of the
    nearest, which also goes on beyond the last of them."""
    closeness, near = _around(points, x)
    value = np.einsum("nk,nk->n", _shares(points[near], closeness, x), values[near])
    return np.clip(value, 0, values[near].max(axis=1))


def strayed_between(points: np.ndarray, off: np.ndarray, x: np.ndarray) -> np.ndarray:
    """How places x (n, 3) m stray, (V, T, n, 2) px, as the points (k, 3) m around them do by off
    (V, T, k, 2) px; NaN where none of these is seen.

    It is the affine motion of the nearest points, which also goes on beyond the last of them.
    """
    closeness, near = _around(points, x)
    found = np.full((*off.shape[:2], len(x), 2), np.nan)
    for view, path in enumerate(off):
        seen, share = None, closeness
        for t, at in enumerate(path):
            now = np.isfinite(at).all(axis=1)
            if seen is None or (now != seen).any():
                seen, share = now, _shares(points[near], closeness * now[near], x)
            value = np.einsum("nk,nkd->nd", share, np.where(seen[near, None], at[near], 0))
            most = np.where(seen[near], np.linalg.norm(at, axis=1)[near], 0).max(axis=1)
            size = np.linalg.norm(value, axis=1)
            value *= np.minimum(1, most / np.maximum(size, 1e-300))[:, None]
            found[view, t] = np.where(seen[near].any(axis=1)[:, None], value, np.nan)
    return found


def _around(points: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n, p) and indices (n, p) of the points (k, 3) m that are nearest to x (n, 3) m."""
    away, near = nearest(points, x)
    return 1 / (away**2 + np.median(away) ** 2), near


def _shares(near: np.ndarray, weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The shares (n, p) of the points near (n, p, 3) m, of weights (n, p), in an affine function at
    places x (n, 3) m."""
    weight = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    middle = np.einsum("nk,nkd->nd", weight, near)
    arms = near - middle[:, None]
    spread = np.einsum("nk,nkd,nke->nde", weight, arms, arms)
    wide = np.maximum(np.trace(spread, axis1=1, axis2=2), SMALLEST)
    spread += FLAT * wide[:, None, None] * np.eye(3)
    off = x - middle
    reach = BEYOND * np.sqrt(wide) / np.maximum(np.linalg.norm(off, axis=1), np.sqrt(SMALLEST))
    slope = np.linalg.solve(spread, (np.minimum(reach, 1)[:, None] * off)[..., None])[..., 0]
    shares: np.ndarray = weight * (1 + np.einsum("nkd,nd->nk", arms, slope))
    return shares
