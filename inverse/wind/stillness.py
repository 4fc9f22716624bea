"""Parts of an object that stay where they are while the rest moves: something holds them.

A part counts as held if all of this is so:

1. Throughout the clip its points move in no view by more than the noise of tracks explains, or
   hardly beside the rest.
2. The rest moves by more than that could be. A free body that turns or bends has points that stay
   where they are, too, but around these its motion grows with the distance, and a held part is
   still as a whole: a motion that grew in proportion from the middle of the part to the rest of the
   object would be seen in the part itself.
3. How the motion grows beyond it says that it begins within the part; or at its outermost layer,
   where the rest lies on one side of it, as a flag beside its pole. A free body that bends has
   lines that stay where they are, with the rest on both sides.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree

from inverse.wind.results.verdict import SEEN, followed_until
from inverse.wind.targets import Tracked
from renderers.camera import Camera


STILL = 3.0  # standard deviations of the tracks by which something still may seem to move
LEAST = 1.0  # px of the pictures that are followed, the same for better tracks: they drift
HARDLY = 0.05  # of the usual motion of the rest: what moves less is still beside it
ALONG = 0.1  # the same, along an edge that is held: its particles lie half a spacing within it
BESIDE = 0.2  # the same, up to which motion is looked at beside such an edge
TOLD = 3.0  # times the largest motion of a still part, that a motion in proportion would show
DRIFT = 0.25  # of the limit of what still may seem to move: what hardly all points of a part share
PROFILE = 9.0  # the same: up to here the rest shows how motion grows beyond the support
EDGE = 4.0  # the same: up to here, where motion begins; farther on the object has another width
NEAR = 0.5  # of the usual distance from a part: a beam moves by a quarter there, what turns by half
STIFF = 0.7  # of the motion that a turn would make there: halfway, in ratio
DEEP = 0.5  # of the way into a held part, beyond which nothing moves
POWERS = (1.0, 2.0)
FEWEST = 8  # particles that show it
SEEN_SHARE = 0.1  # of the particles of a still part: of a solid, views see a part of the surface
ONE_SIDE = 0.5  # mean of the directions to the rest, from which on it lies on one side
UNSURE = 0.25  # of the rim of a part: so badly it is known
REACH = 1.5  # times the usual distance of neighbors: particles farther away are not connected
NEIGHBORS = 6
MOST_FLOOR = 0.8  # of the limit, that is taken for noise
POINTS = 8  # that were followed, by which the motion of a particle is found
BEYOND = 2.0  # times how far these spread, that their motion goes on beyond them
SMALLEST = 1e-12  # m^2, of that: points in one place
FLAT = 0.02  # of their spread, squared: along less than that their motion is not told apart


def pixel_size(cameras: Sequence[Sequence[Camera]], x: np.ndarray) -> float:
    """The size of a pixel, m, at an object of particles x (n, 3) m in the first view."""
    camera = cameras[0][0]
    return float(np.median(camera.to_camera(x)[:, 2])) / camera.fx


def still_part(
    x: np.ndarray, pixels: np.ndarray, tracked: Tracked, least: float = LEAST
) -> np.ndarray:
    """Particles (n,) bool that something holds, as they stay where they are while the rest moves.

    x: (n, 3) m and pixels: (n, 2) px in frame 0; tracked: what the tracks say; least: px, what
    tracks may drift by.
    """
    until = followed_until(tracked.quality.seen_share) + 1
    strayed = tracked.strayed[:until]
    farthest = np.nanmax(strayed, axis=0)
    limit = max(STILL * tracked.quality.sigma_px, least)
    # A point that is soon lost does not show that it stays, but may show that it moves.
    known = (np.isfinite(strayed).mean(axis=0) > 0.5) | (farthest > TOLD * limit)
    if not known.any():
        return np.zeros(len(x), dtype=bool)
    points, farthest = tracked.anchors[known], farthest[known]
    # A patch at the rim of a still thing may hold something that moves before or behind it, and one
    # that moves may have strayed onto something still: no point stands alone.
    beside = np.sort(farthest[nearest(points, points)[1]], axis=1)
    usual, second = np.median(beside, axis=1), beside[:, min(1, beside.shape[1] - 1)]
    farthest = np.where(farthest > TOLD * usual, usual, farthest)
    farthest = np.where(TOLD * farthest < second, second, farthest)
    moved = between(points, farthest, x)
    # Beyond the last points motion fades only towards something still.
    near = farthest[nearest(points, x)[1]].min(axis=1)
    fades = near <= max(limit, BESIDE * float(np.median(farthest)))
    moved = np.where(fades, moved, np.maximum(moved, near))
    seen = (tracked.confidence[:until] >= SEEN).mean(axis=0) > 0.5
    return held_part(x, pixels, moved, seen, limit)


def nearest(points: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances (n, p) m and indices (n, p) of the points (k, 3) m that are nearest to x (n, 3) m,
    the nearest first."""
    away, near = cKDTree(points).query(x, k=min(POINTS, len(points)))
    return away.reshape(len(x), -1), near.reshape(len(x), -1)


def between(points: np.ndarray, values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Values (k,) >= 0 of points (k, 3) m at places x (n, 3) m, by the plane through those of the
    nearest, which also goes on beyond the last of them."""
    away, near = nearest(points, x)
    weight = 1 / (away**2 + np.median(away) ** 2)
    weight /= weight.sum(axis=1, keepdims=True)
    middle = np.einsum("nk,nkd->nd", weight, points[near])
    mean = (weight * values[near]).sum(axis=1)
    arms = points[near] - middle[:, None]
    spread = np.einsum("nk,nkd,nke->nde", weight, arms, arms)
    wide = np.maximum(np.trace(spread, axis1=1, axis2=2), SMALLEST)
    spread += FLAT * wide[:, None, None] * np.eye(3)
    along = np.einsum("nk,nkd,nk->nd", weight, arms, values[near] - mean[:, None])
    slope = np.linalg.solve(spread, along[..., None])[..., 0]
    off = x - middle
    share = BEYOND * np.sqrt(wide) / np.maximum(np.linalg.norm(off, axis=1), np.sqrt(SMALLEST))
    value = mean + np.minimum(share, 1) * (off * slope).sum(axis=1)
    return np.clip(value, 0, values[near].max(axis=1))


def held_part(
    x: np.ndarray, pixels: np.ndarray, moved: np.ndarray, seen: np.ndarray, limit: float
) -> np.ndarray:
    """Particles (n,) bool that are held.

    x: (n, 3) m and pixels: (n, 2) px in frame 0; moved: (n,) px, how far they move at most; seen:
    (n,) bool, whether tracks show that, and do not merely suggest it; limit: px, by which something
    still may seem to move.
    """
    held = np.zeros(len(x), dtype=bool)
    moving = seen & (moved > TOLD * limit)
    if not moving.any():
        return held
    body = _Body(x=x, pixels=pixels, moved=moved, seen=seen, graph=_neighbors(x), limit=limit)
    usual = float(np.median(moved[moving]))
    wide, line = (max(limit, share * usual) for share in (HARDLY, BESIDE))
    for part in _still_pieces(body, wide):
        kept = part[_beyond_rim(body, part, wide)]
        if len(kept) and _is_held(body, kept):
            held[kept] = True
    edges = []
    for part in _still_pieces(body, line):
        if not held.any() or held[part].any():
            kept = part[_outermost(body, part, line)]
            edges.append(kept[moved[kept] <= max(limit, ALONG * usual)])
    # Of an object that one edge holds, another short piece does not stay where it is by chance.
    if held.any() or any(len(edge) and _is_held(body, edge) for edge in edges):
        held[np.concatenate([*edges, []]).astype(int)] = True
    return held


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Body:
    """What `held_part` is given, and the graph of neighbors."""

    x: np.ndarray
    pixels: np.ndarray
    moved: np.ndarray
    seen: np.ndarray
    graph: csr_array
    limit: float

    def moving(self, limit: float) -> np.ndarray:
        """(n,) bool: what is seen to move by far more than a limit, px."""
        return self.seen & (self.moved > TOLD * limit)


def _still_pieces(body: _Body, limit: float) -> list[np.ndarray]:
    """Particles, by index, in pieces that move by no more than a limit, px."""
    still = np.zeros(len(body.x), dtype=bool)
    rest = body.moving(limit)
    if not rest.any():
        return []
    # Also where nothing is seen, behind or inside of what is.
    for part in _pieces(body.graph, body.moved <= limit):
        still[part] = body.seen[part].mean() >= SEEN_SHARE
    if not still.any():
        return []
    # What they separate from all that moves cannot move either.
    for part in _pieces(body.graph, ~still):
        still[part] = not rest[part].any()
    return _pieces(body.graph, still)


def _is_held(body: _Body, part: np.ndarray) -> bool:
    """Whether a part does not merely lie where the object turns about."""
    return _would_turn(body, part) or _bends(body, part)


def _would_turn(body: _Body, part: np.ndarray) -> bool:
    """Whether a part would be seen to move if the object turned about it."""
    pixels = body.pixels[part] - body.pixels[part].mean(axis=0)
    rest = body.moving(body.limit)
    away = np.linalg.norm(body.pixels[rest] - body.pixels[part].mean(axis=0), axis=1)
    rate = float(np.median(body.moved[rest] / np.maximum(away, 1e-9)))
    least = max(DRIFT * body.limit, float(np.percentile(body.moved[part], 90)))
    return rate * float(np.linalg.norm(pixels, axis=1).max()) >= TOLD * least


def _bends(body: _Body, part: np.ndarray) -> bool:
    """Whether the object moves less near a part than it would if it turned about it, as beams do
    beyond their supports."""
    away = cKDTree(body.pixels[part]).query(body.pixels)[0]
    rest = body.moving(body.limit)
    near = (away > 0) & (away <= NEAR * np.median(away[rest]))
    if near.sum() < FEWEST:
        return False
    rates = body.moved / np.maximum(away, 1e-9)
    return bool(np.median(rates[near]) < STIFF * np.median(rates[rest]))


def _beyond_rim(body: _Body, part: np.ndarray, limit: float) -> np.ndarray:
    """Which (k,) bool of the particles of a part are held: those near the rest move, only by less
    than can be seen.

    Beyond its support an object moves in proportion to the distance s from it, as cloth does, or to
    its square, as a beam does: u = (s / a)^p. The law that fits the rest better, where it begins to
    move, tells where motion begins.
    """
    inside = np.zeros(len(body.x), dtype=bool)
    inside[part] = True
    depth, beyond = _way(body.graph, ~inside)[part], _way(body.graph, inside)
    near = ~inside & np.isfinite(beyond) & (body.moved > limit) & (body.moved <= PROFILE * limit)
    if near.sum() < FEWEST or not np.isfinite(depth).all():
        return np.ones(len(part), dtype=bool)
    # What cannot move seems to, by the noise of tracks, which adds to motion in squares.
    floor = float(np.median(body.moved[part][depth >= DEEP * depth.max()]))
    floor = min(floor, MOST_FLOOR * limit)
    grown = np.sqrt(np.maximum(body.moved[near] ** 2 - floor**2, 0))
    rim = _rim(beyond[near], grown, float(np.sqrt(limit**2 - floor**2)))
    step = depth.min()
    kept: np.ndarray = depth > rim + 0.5 * step  # the edge lies between particles
    if _one_sided(body.x, part, near & (beyond <= np.median(beyond[near]))):
        outermost = _farthest(body, part, depth)
        return kept if kept.sum() >= outermost.sum() else outermost
    return kept & (rim + max(step, UNSURE * rim) < depth.max())


def _rim(beyond: np.ndarray, grown: np.ndarray, limit: float) -> float:
    """How far, m, within a part motion begins.

    beyond: (k,) m, how far other particles are from the part; grown: (k,) px, how far they move;
    limit: px, the same at the edge of the part.
    """
    # The nearest, up to where motion has grown: what hangs far out may move as little again.
    order = np.argsort(beyond, kind="stable")
    far = np.flatnonzero(ndimage.median_filter(grown[order], FEWEST, mode="nearest") > EDGE * limit)
    edge = order[: max(int(far[0]) if len(far) else len(order), FEWEST)]
    rims, misses = [], []
    for power in POWERS:
        root, start = grown ** (1 / power), limit ** (1 / power)
        slope = max(beyond @ (root - start) / (beyond @ beyond), 1e-300)
        misses.append(np.square((start + slope * beyond) ** power / grown - 1).mean())
        # Particles at the edge move by less than the limit: where the line begins, they say.
        slope, first = np.polyfit(beyond[edge], root[edge], 1)
        rims.append(float(np.clip(first, 0, start) / slope) if slope > 0 else np.inf)
    return rims[int(np.argmin(misses))]


def _outermost(body: _Body, part: np.ndarray, limit: float) -> np.ndarray:
    """Which (k,) bool of the particles of a part at the edge of the object are at that edge, none
    where the rest lies on both sides."""
    inside = np.zeros(len(body.x), dtype=bool)
    inside[part] = True
    depth, beyond = _way(body.graph, ~inside)[part], _way(body.graph, inside)
    near = ~inside & np.isfinite(beyond) & (body.moved <= PROFILE * limit)
    if not near.any() or not np.isfinite(depth).all():
        return np.zeros(len(part), dtype=bool)
    if not _one_sided(body.x, part, near & (beyond <= np.median(beyond[near]))):
        return np.zeros(len(part), dtype=bool)
    return _farthest(body, part, depth)


def _farthest(body: _Body, part: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Which (k,) bool of the particles of a part are its outermost layer: of their neighbors none
    is farther, by a layer, from the rest than they are, depth (k,) m."""
    row, column = body.graph[part][:, part].nonzero()
    most = depth.copy()
    for one, other in ((row, column), (column, row)):
        np.maximum.at(most, one, depth[other])
    outer: np.ndarray = depth > most - 0.5 * depth.min()
    return outer


def _one_sided(x: np.ndarray, part: np.ndarray, near: np.ndarray) -> bool:
    """Whether particles near (n,) bool a part lie on one side of it."""
    at = x[near]
    arms = at - x[part][cKDTree(x[part]).query(at)[1]]
    arms /= np.linalg.norm(arms, axis=1, keepdims=True)
    return bool(np.linalg.norm(arms.mean(axis=0)) > ONE_SIDE)


def _way(graph: csr_array, start: np.ndarray) -> np.ndarray:
    """The shortest way (n,) m from each particle to those of start (n,) bool, through neighbors."""
    return dijkstra(graph, directed=False, indices=np.flatnonzero(start), min_only=True)


def _neighbors(x: np.ndarray) -> csr_array:
    """The graph of neighbors among particles x (n, 3) m; it holds their distances."""
    tree = cKDTree(x)
    usual = np.median(tree.query(x, k=min(NEIGHBORS + 1, len(x)))[0][:, -1])
    i, j = tree.query_pairs(REACH * usual, output_type="ndarray").T
    length = np.linalg.norm(x[i] - x[j], axis=1)
    return csr_array((length, (i, j)), shape=(len(x), len(x)))


def _pieces(graph: csr_array, chosen: np.ndarray) -> list[np.ndarray]:
    """Indices of the chosen particles, in sets that hang together."""
    index = np.flatnonzero(chosen)
    part = graph[index][:, index]
    count, label = connected_components(part, directed=False)
    return [index[label == k] for k in range(count)]
