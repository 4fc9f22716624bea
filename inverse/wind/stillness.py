"""Parts of an object that stay where they are while the rest moves: something holds them.

A part counts as held if all of this is so:

1. Throughout the clip its particles move in no view by more than the noise of tracks explains.
2. The rest moves by more than that could be. A free body that turns or bends has points that stay
   where they are, too, but around these its motion grows with the distance, and a held part is
   still as a whole: a motion that grew in proportion from the middle of the part to the rest of the
   object would be seen in the part itself.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from inverse.wind.results.verdict import SEEN, followed_until
from inverse.wind.targets import Tracked
from renderers.camera import Camera


STILL = 3.0  # standard deviations of the tracks by which something still may seem to move
LEAST = 1.0  # px, the same for better tracks: they drift, and a lift bends what they show
TOLD = 3.0  # times the largest motion of a still part, that a motion in proportion would show
PROFILE = 9.0  # the same: up to here the rest shows how motion grows beyond the support
EDGE = 4.0  # the same: up to here, where motion begins; farther on the object has another width
DEEP = 0.5  # of the way into a held part, beyond which nothing moves
POWERS = (1.0, 2.0)
FEWEST = 8  # particles that show it
SEEN_SHARE = 0.1  # of the particles of a still part: of a solid, views see a part of the surface
DEEPEST = 0.8  # of the way into a held part: so much of it may be rim
REACH = 1.5  # times the usual distance of neighbors: particles farther away are not connected
NEIGHBORS = 6
MOST_FLOOR = 0.8  # of the limit, that is taken for noise
AROUND = 9  # a particle and those around it, whose median motion counts


def pixel_size(cameras: Sequence[Sequence[Camera]], x: np.ndarray) -> float:
    """The size of a pixel, m, at an object of particles x (n, 3) m in the first view."""
    camera = cameras[0][0]
    return float(np.median(camera.to_camera(x)[:, 2])) / camera.fx


def still_part(x: np.ndarray, cameras: Sequence[Sequence[Camera]], tracked: Tracked) -> np.ndarray:
    """Particles (n,) bool that something holds, as they stay where they are while the rest moves.

    x: (n, 3) m in frame 0; cameras: of each view, one for each frame; tracked: what the tracks say.
    """
    until = followed_until(tracked.quality.seen_share) + 1
    moved = motion_px(tracked.targets[:until], [path[0] for path in cameras])
    seen = (tracked.confidence[:until] >= SEEN).mean(axis=0) > 0.5
    limit = max(STILL * tracked.quality.sigma_px, LEAST)
    pixels = cameras[0][0].project(x)[0]
    return held_part(x, pixels, moved, seen, limit)


def motion_px(targets: np.ndarray, cameras: Sequence[Camera]) -> np.ndarray:
    """How far, px, particles with targets (T, n, 3) m are at most from their places in frame 0, in
    the view in which that is farthest: (n,). cameras: of frame 0 of each view."""
    farthest = np.zeros(targets.shape[1])
    for camera in cameras:
        pixels = np.stack([camera.project(x)[0] for x in targets])
        off = np.linalg.norm(pixels - pixels[0], axis=-1)
        farthest = np.fmax(farthest, off.max(axis=0))
    return farthest


def held_part(
    x: np.ndarray, pixels: np.ndarray, moved: np.ndarray, seen: np.ndarray, limit: float
) -> np.ndarray:
    """Particles (n,) bool that are held.

    x: (n, 3) m and pixels: (n, 2) px in frame 0; moved: (n,) px, how far they move at most; seen:
    (n,) bool, whether tracks show that, and do not merely suggest it; limit: px, by which something
    still may seem to move.
    """
    nothing = np.zeros(len(x), dtype=bool)
    around = cKDTree(x).query(x, k=min(AROUND, len(x)))[1]
    moved = np.median(moved[around], axis=1)  # a lift bends the edges of what it carries
    still = moved <= limit  # also where nothing is seen, behind or inside of what is
    rest = seen & (moved > TOLD * limit)
    if not still.any() or not rest.any():
        return nothing
    graph = _neighbors(x)
    held = nothing.copy()
    for part in _pieces(graph, still):
        middle = pixels[part].mean(axis=0)
        size = np.linalg.norm(pixels[part] - middle, axis=1).max()
        away = np.linalg.norm(pixels[rest] - middle, axis=1)
        rate = np.median(moved[rest] / np.maximum(away, 1e-9))
        if rate * size >= TOLD * limit and seen[part].mean() >= SEEN_SHARE:
            held[part] = True
    if not held.any():
        return nothing
    # What held parts separate from all that moves cannot move either.
    for part in _pieces(graph, ~held):
        if not rest[part].any():
            held[part] = True
    return _without_rim(x, moved, held, limit)


def _without_rim(x: np.ndarray, moved: np.ndarray, held: np.ndarray, limit: float) -> np.ndarray:
    """The held particles less those near the rest, which moves, only less than can be seen.

    Beyond its support an object moves in proportion to the distance s from it, as cloth does, or to
    its square, as a beam does: u = (s / a)^p. The law that fits the rest better, where it begins to
    move, tells where motion begins.
    """
    near = ~held & (moved > limit) & (moved <= PROFILE * limit)
    depth = cKDTree(x[~held]).query(x)[0]
    if near.sum() < FEWEST:
        return held
    beyond = cKDTree(x[held]).query(x[near])[0]
    # What cannot move seems to, by the noise of tracks, which adds to motion in squares.
    floor = np.median(moved[held & (depth >= DEEP * depth[held].max())])
    floor = min(float(floor), MOST_FLOOR * limit)
    moved, limit = np.sqrt(np.maximum(moved**2 - floor**2, 0)), np.sqrt(limit**2 - floor**2)
    edge = moved[near] <= EDGE * limit
    edge |= edge.sum() < FEWEST
    rims, misses = [], []
    for power in POWERS:
        grown = moved[near] ** (1 / power)
        slope = max(beyond @ (grown - limit ** (1 / power)) / (beyond @ beyond), 1e-300)
        fitted = (limit ** (1 / power) + slope * beyond) ** power
        misses.append(np.square(fitted / moved[near] - 1).mean())
        # Particles at the edge move by less than the limit: where the line begins, they say.
        slope, start = np.polyfit(beyond[edge], grown[edge], 1)
        rims.append(np.clip(start, 0, limit ** (1 / power)) / max(slope, 1e-300))
    rim = min(rims[int(np.argmin(misses))], DEEPEST * depth[held].max())
    return held & (depth > rim + 0.5 * depth[held].min())  # the edge lies between particles


def _neighbors(x: np.ndarray) -> coo_array:
    """The graph of neighbors among particles x (n, 3) m."""
    tree = cKDTree(x)
    usual = np.median(tree.query(x, k=min(NEIGHBORS + 1, len(x)))[0][:, -1])
    i, j = tree.query_pairs(REACH * usual, output_type="ndarray").T
    return coo_array((np.ones(len(i)), (i, j)), shape=(len(x), len(x)))


def _pieces(graph: coo_array, chosen: np.ndarray) -> list[np.ndarray]:
    """Indices of the chosen particles, in sets that hang together."""
    index = np.flatnonzero(chosen)
    part = graph.tocsr()[index][:, index]
    count, label = connected_components(part, directed=False)
    return [index[label == k] for k in range(count)]
