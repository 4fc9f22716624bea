"""Tracks at even steps of time, from pictures that were taken at other times or are missing."""

import numpy as np
from scipy.interpolate import CubicSpline

from inverse.tracking.tracks import Tracks


# Steps between two pictures over which a track is carried: farther, the motion between is a guess.
BRIDGE = 4.5
EXACT = 1e-6  # of a step: a picture that is off by less was taken at its step
BETWEEN = 0.5  # how much a place between pictures counts, beside one in a picture


def at_even_times(tracks: Tracks, taken: np.ndarray, fps: float) -> Tracks:
    """Tracks at the times of T even steps, along the cubic spline through what pictures show.

    tracks: found in the pictures of the steps; taken: (T,) s after step 0, when the picture of each
    step was taken, NaN where it has none; fps: of the steps, 1/s. Where pictures are missing for
    long, or a point is not seen before and after, it is not seen between.
    """
    steps = np.arange(tracks.frames)
    place = np.asarray(taken, dtype=float)[: tracks.frames] * fps  # in steps
    there = np.isfinite(place)
    if there.all() and np.abs(place - steps).max() < EXACT:
        return tracks
    seen = tracks.visible & there[:, None]
    xy, visible = tracks.xy.copy(), np.zeros_like(seen)
    information = tracks.information.copy()
    for point in range(tracks.count):
        for run in _unbroken(seen[:, point], there, place):
            x = place[run]
            inside = steps[(steps >= x[0] - EXACT) & (steps <= x[-1] + EXACT)]
            if len(inside) == 0:
                continue
            where = tracks.xy[run, point]
            xy[inside, point] = CubicSpline(x, where)(inside) if len(run) > 1 else where
            visible[inside, point] = True
            near = run[np.abs(inside[:, None] - x).argmin(axis=1)]
            exact = np.abs(place[near] - inside) < EXACT
            weight = np.where(exact, 1.0, BETWEEN)
            information[inside, point] = weight[:, None, None] * tracks.information[near, point]
    return Tracks(xy=xy, visible=visible, information=information)


def at_times_taken(points: np.ndarray, taken: np.ndarray, fps: float) -> np.ndarray:
    """Points (T, N, 3) of even steps, at the times when the pictures of the steps were taken.

    taken, fps: as for `at_even_times`; where a step has no picture they stay as they are.
    """
    steps = np.arange(len(points))
    place = np.asarray(taken, dtype=float)[: len(points)] * fps
    place = np.where(np.isfinite(place), place, steps)
    if np.abs(place - steps).max() < EXACT:
        return points
    return CubicSpline(steps, points, axis=0)(place)


def _unbroken(seen: np.ndarray, there: np.ndarray, place: np.ndarray) -> list[np.ndarray]:
    """Runs of pictures, one after the other, in all of which a point is seen."""
    pictures = np.flatnonzero(there)
    shown = pictures[seen[pictures]]
    if len(shown) == 0:
        return []
    rank = np.searchsorted(pictures, shown)
    breaks = np.flatnonzero((np.diff(rank) > 1) | (np.diff(place[shown]) > BRIDGE)) + 1
    return np.split(shown, breaks)
