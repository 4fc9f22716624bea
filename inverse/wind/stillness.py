"""Parts of an object that stay where they are while the rest moves: something holds them.

A part counts as held if all of this is so:

1. Throughout the clip its points move in no view by more than the noise of tracks explains, or
   hardly beside the rest, and they are seen while the rest moves. It is not so small that none of
   them need lie on it.
2. The rest moves by more than that could be. A free body that turns or bends has points that stay
   where they are, too, but around these its motion grows with the distance, and a held part is
   still as a whole: a motion that grew in proportion from the middle of the part to the rest of the
   object would be seen in the part itself.
3. How the motion grows beyond it says that it begins within the part; or at its outermost layer,
   where the rest lies on one side of it. A free body that bends has lines that stay where they
   are, with the rest on both sides.

A sheet is often held at an edge, as a flag at its pole, on which no point lies: edges.py finds it.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree

from inverse.lifting.quality import SEEN, followed_frames
from inverse.wind.edges import held_edge
from inverse.wind.strayed import between, farthest_px, nearest, strayed_between
from inverse.wind.targets import Tracked
from renderers.camera import Camera


STILL = 3.0  # standard deviations of the tracks by which something still may seem to move
LEAST = 1.0  # px of the pictures that are followed, the same for better tracks: they drift
LOST = 0.5  # of the clip, or of the motion of the rest in it: points seen in no more are soon lost
HARDLY = 0.05  # of the usual motion of the rest: what moves less is still beside it
BESIDE = 0.2  # the same, beside the last points of what is held
DRIFT = 0.25  # of the limit of what still may seem to move: what few points may share
THIN = 0.1  # of the size of a part: along less than that its motion is not told apart
TOLD = 3.0  # times the largest motion of a still part, that a motion in proportion would show
EDGE = 4.0  # the same: up to here, where motion begins; farther on the object has another width
NEAR = 0.5  # of the usual distance from a part: a beam moves by a quarter there, what turns by half
STIFF = 0.7  # of the motion that a turn would make there: halfway, in ratio
DEEP = 0.5  # of the way into a held part, beyond which nothing moves
FEWEST = 8  # particles or points that show it
SEEN_SHARE = 0.1  # of the particles of a still part: of a solid, views see a part of the surface
ONE_SIDE = 0.5  # mean of the directions to the rest, from which on it lies on one side
LAW = 0.2  # of the motion: so badly its laws describe it
PLACES = 100  # where motion may begin, that are tried
REACH = 1.5  # times the usual distance of neighbors: particles farther away are not connected
NEIGHBORS = 6


def pixel_size(cameras: Sequence[Sequence[Camera]], x: np.ndarray) -> float:
    """The size of a pixel, m, at an object of particles x (n, 3) m in the first view."""
    camera = cameras[0][0]
    return float(np.median(camera.to_camera(x)[:, 2])) / camera.fx


def still_part(
    x: np.ndarray, tracked: Tracked, least: float = LEAST, sheet: bool = False, odds: float = 0.0
) -> np.ndarray:
    """Particles (n,) bool that something holds, as they stay where they are while the rest moves.

    x: (n, 3) m in frame 0; tracked: what the tracks say of them; least: px, what tracks may drift
    by; sheet: whether x is one; odds: logarithm of those that something holds it, by all else that
    is known.
    """
    until = followed_frames(tracked.quality.seen_share)
    off = tracked.strayed[:, :until]
    farthest, lost = _farthest_in_all(off)
    limit = max(STILL * tracked.quality.sigma_px, least)
    # A point that is soon lost does not show that it stays, but may show that it moves.
    known = ~lost | (farthest_px(off) > TOLD * limit)
    # A patch at the rim of a still thing may hold something that moves before or behind it, and one
    # that moves may have strayed onto something still: no point stands alone.
    if known.any():
        around = nearest(tracked.anchors[known], tracked.anchors)[1]
        beside = np.sort(farthest[known][around], axis=1)
        usual, second = np.median(beside, axis=1), beside[:, min(1, beside.shape[1] - 1)]
        known &= (farthest <= TOLD * usual) & (TOLD * farthest >= second)
    if not known.any():
        return np.zeros(len(x), dtype=bool)
    seen = (tracked.confidence[1:until] >= SEEN).mean(axis=0) if until > 1 else np.zeros(len(x))
    points, off, farthest = tracked.anchors[known], off[:, :, known], farthest[known]
    motion = strayed_between(points, off, x)
    # Drift of single points makes how far they stray too large, and waves the motion between them.
    moved = np.fmin(between(points, farthest, x), farthest_px(motion))
    # Beyond the last points motion fades only towards something still.
    near = farthest[nearest(points, x)[1]].min(axis=1)
    fades = near <= max(limit, BESIDE * float(np.median(farthest)))
    moved = np.where(fades, moved, np.maximum(moved, near))
    at = cKDTree(x).query(points)[1]
    return held_part(x, motion, moved, seen, limit, at=at, off=off, sheet=sheet, odds=odds)


def _farthest_in_all(off: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far (k,) px points stray at most, by off (V, T, k, 2) px, NaN where they are not seen,
    and which (k,) bool are lost before they could show that they stay, as others do not move until
    then: these, as if they had gone on as the others do on average."""
    size = np.linalg.norm(off, axis=3)
    seen = np.isfinite(size)
    lost = seen.any(axis=0).mean(axis=0) <= LOST
    count = np.maximum(seen[..., ~lost].sum(axis=2), 1)
    usual = np.nansum(size[..., ~lost], axis=2) / count
    most, meanwhile = usual.max(axis=1)[:, None], np.where(seen, usual[..., None], 0).max(axis=1)
    lost |= (meanwhile <= LOST * most).all(axis=0)
    farthest = farthest_px(off)
    grown = np.maximum(most / np.maximum(meanwhile, 1e-9), 1)
    further = (np.nan_to_num(size).max(axis=1) * grown).max(axis=0)
    further = np.clip(further, farthest, np.maximum(farthest, farthest[~lost].max(initial=0)))
    return np.where(lost, further, farthest), lost


def held_part(
    x: np.ndarray, motion: np.ndarray, moved: np.ndarray, seen: np.ndarray, limit: float, *,
    at: np.ndarray, off: np.ndarray, sheet: bool = False, odds: float = 0.0,
) -> np.ndarray:  # fmt: skip
    """Particles (n,) bool that are held.

    x: (n, 3) m in frame 0; motion: (V, T, n, 2) px, how each view sees them move, NaN where it does
    not; moved: (n,) px, how far they move at most; seen: (n,) share of the frames in which tracks
    show that, and do not merely suggest it, for what is soon lost may still show that it moves;
    limit: px, by which something still may seem to move; at: (m,), the particle nearest to each of
    the points that were followed, and off: (V, T, m, 2) px, how these move; sheet and odds: as for
    still_part.
    """
    held = np.zeros(len(x), dtype=bool)
    body = _Body(
        x=x, motion=motion, moved=moved, seen=seen, limit=limit, at=at, off=off,
        graph=_neighbors(x),
    )  # fmt: skip
    moving = body.moving(limit)
    if not moving.any():
        return held
    usual = float(np.median(body.moved[moving]))
    wide = max(limit, HARDLY * usual)
    for part in _still_pieces(body, wide):
        kept = part[_beyond_rim(body, part, wide)]
        if len(kept) and _is_shown(body, part) and _is_held(body, kept):
            held[kept] = True
    if held.any() and not sheet:
        return held
    shown = (seen[at] > 0.5) & ~_farthest_in_all(off)[1]
    edge = held_edge(
        x, x[at[shown]], off[:, :, shown], limit / STILL, sheet=sheet, odds=odds
    )  # fmt: skip
    if held.any() or (edge.any() and _is_held(body, np.flatnonzero(edge))):
        held |= edge
    return held


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Body:
    """What `held_part` is given, and the graph of neighbors."""

    x: np.ndarray
    motion: np.ndarray
    moved: np.ndarray
    seen: np.ndarray
    limit: float
    at: np.ndarray
    off: np.ndarray
    graph: csr_array

    def moving(self, limit: float) -> np.ndarray:
        """(n,) bool: what is seen to move by far more than a limit, px."""
        return (self.seen > 0) & (self.moved > TOLD * limit)


def _still_pieces(body: _Body, limit: float) -> list[np.ndarray]:
    """Particles, by index, in pieces that move by no more than a limit, px."""
    still = np.zeros(len(body.x), dtype=bool)
    rest = body.moving(limit)
    if not rest.any():
        return []
    # Also where nothing is seen, behind or inside of what is.
    for part in _pieces(body.graph, body.moved <= limit):
        still[part] = (body.seen[part] > 0.5).mean() >= SEEN_SHARE
    if not still.any():
        return []
    # What they separate from all that moves cannot move either.
    for part in _pieces(body.graph, ~still):
        still[part] = not rest[part].any()
    return _pieces(body.graph, still)


def _is_shown(body: _Body, part: np.ndarray) -> bool:
    """Whether a part is not so small that it lies between points, where motion is a guess: one lies
    on it, or would if they were spread evenly."""
    return bool(np.isin(body.at, part).any()) or len(part) * len(body.at) >= len(body.x)


def _is_held(body: _Body, part: np.ndarray) -> bool:
    """Whether a part does not merely lie where the object turns about."""
    return _would_turn(body, part) or _bends(body, part)


def _would_turn(body: _Body, part: np.ndarray) -> bool:
    """Whether a part would be seen to move if the object turned about it.

    Points drift, each by itself; what turns moves as one. So it is the affine motion that fits the
    part best which is compared with that of the rest.
    """
    middle = body.x[part].mean(axis=0)
    arms, rest = body.x[part] - middle, body.moving(body.limit)
    radius = float(np.sqrt((arms**2).sum(axis=1).mean()))
    if radius == 0:
        return False
    away = np.linalg.norm(body.x[rest] - middle, axis=1)
    rate = float(np.median(_usual_px(body.motion[:, :, rest]) / np.maximum(away, 1e-9)))
    U, size, _ = np.linalg.svd(arms, full_matrices=False)
    U = U[:, size > THIN * size[0]]
    turning = U @ np.einsum("ka,vtkd->vtad", U, body.motion[:, :, part])
    # Drift by a third of the limit, of each point, makes an affine motion that is smaller.
    points = int(np.isin(body.at, part).sum())
    drift = min(DRIFT, np.sqrt(U.shape[1] / max(points, 1)) / STILL) * body.limit
    usual = np.sqrt((_usual_px(turning) ** 2).mean())
    return bool(rate * radius >= TOLD * max(drift, usual))


def _usual_px(motion: np.ndarray) -> np.ndarray:
    """How far particles move by motion (V, T, k, 2) px: (k,) px, root mean squares of all frames,
    in the view in which that is most."""
    square = (motion**2).sum(axis=3)
    count = np.maximum(np.isfinite(square).sum(axis=1), 1)
    usual: np.ndarray = np.sqrt((np.nansum(square, axis=1) / count).max(axis=0))
    return usual


def _bends(body: _Body, part: np.ndarray) -> bool:
    """Whether the object moves less near a part than it would if it turned about it, as beams do
    beyond their supports."""
    away = cKDTree(body.x[part]).query(body.x)[0]
    rest = body.moving(body.limit)
    near = (away > 0) & (away <= NEAR * np.median(away[rest]))
    if near.sum() < FEWEST:
        return False
    rates = body.moved / np.maximum(away, 1e-9)
    return bool(np.median(rates[near]) < STIFF * np.median(rates[rest]))


def _beyond_rim(body: _Body, part: np.ndarray, limit: float) -> np.ndarray:
    """Which (k,) bool of the particles of a part are held: those near the rest move, only by less
    than can be seen."""
    inside = np.zeros(len(body.x), dtype=bool)
    inside[part] = True
    depth, beyond = _way(body.graph, ~inside)[part], _way(body.graph, inside)
    near = np.flatnonzero(~inside & np.isfinite(beyond) & (body.moved > limit))
    if len(near) < FEWEST or not np.isfinite(depth).all():
        return np.ones(len(part), dtype=bool)
    # Up to where motion has grown: what hangs far out may move as little again.
    near = near[np.argsort(beyond[near], kind="stable")]
    grown = ndimage.median_filter(body.moved[near], FEWEST, mode="nearest") > EDGE * limit
    near, far = np.split(near, [max(int(grown.argmax()) if grown.any() else len(near), FEWEST)])
    # It is told better from there how far something is than from the edge of what seems still.
    start = np.zeros(len(body.x), dtype=bool)
    start[far[body.moved[far] > EDGE * limit]] = True
    if not start.any():
        start[near[-FEWEST:]] = True
    away = _way(body.graph, start)
    way = np.full(len(body.x), np.nan)
    way[part], way[near] = -away[part], -away[near]
    way -= np.median(way[near[:FEWEST]])
    step = depth.min()
    points = np.flatnonzero(np.isfinite(way[body.at]))
    if len(points) == 0:
        return np.ones(len(part), dtype=bool)
    begins, error = _begins(way[body.at[points]], _moved_along(body, points, near), way[part].min())
    kept: np.ndarray = way[part] <= begins
    if _one_sided(body.x, part, near[beyond[near] <= np.median(beyond[near])]):
        outermost = _farthest(body, part, depth)
        return kept if kept.sum() >= outermost.sum() else outermost
    return kept & (begins - max(step, error) > way[part].min())


def _moved_along(body: _Body, points: np.ndarray, near: np.ndarray) -> np.ndarray:
    """How far (k,) px, root mean square, points move along with the particles near that are nearest
    to them; noise makes it neither larger nor smaller."""
    beside = near[cKDTree(body.x[near]).query(body.x[body.at[points]], k=FEWEST)[1]]
    path = body.motion[:, :, beside]
    along = np.nansum(path, axis=3) / np.maximum(np.isfinite(path).sum(axis=3), 1)
    along = np.where(np.isfinite(body.off[:, :, points]), along, np.nan)
    frames = np.isfinite(along).any(axis=(0, 3)).sum(axis=0)
    size = np.maximum(np.nansum(along**2, axis=(0, 1, 3)), 1e-300)
    moved: np.ndarray = np.nansum(body.off[:, :, points] * along, axis=(0, 1, 3))
    return moved / np.sqrt(size * np.maximum(frames, 1))


def _begins(way: np.ndarray, moved: np.ndarray, deepest: float) -> tuple[float, float]:
    """Where motion begins, m, and the standard deviation of that.

    Beyond its support an object moves in proportion to the distance s from it, as cloth does, or to
    its square, as a beam does, or by some of both, as one that shears as well: u = a s + b s^2. The
    place is the mean over all that the motion leaves possible, each as likely as it makes it.

    way: (k,) m, of points, from the edge of what seems still outwards; moved: (k,) px, how far
    they move; deepest: m, the way of what is farthest inside.
    """
    inner, beyond = moved[way <= DEEP * deepest], moved[way > 0][np.argsort(way[way > 0])[:FEWEST]]
    noise = float(np.sqrt((inner**2).mean())) if len(inner) else 0.0
    edge = float(np.median(beyond)) if len(beyond) else 0.0
    weight = 1 / np.maximum(np.hypot(noise, LAW * moved), max(LAW * edge, 1e-300))
    places = np.linspace(deepest, max(way.max(), 0) / 2, PLACES)
    s = np.maximum(way - places[:, None], 0)
    misses = _misses(s * weight, s**2 * weight, moved * weight)
    log = -0.5 * max(len(way) - 3, 1) * np.log(np.maximum(misses, 1e-12 * len(way)))
    chance = np.exp(log - log.max())
    chance /= chance.sum()
    mean = float(chance @ places)
    return mean, float(np.sqrt(chance @ (places - mean) ** 2))


def _misses(A: np.ndarray, B: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sums of squares (l,) of y (k,) - a A - b B, for the best a, b >= 0 of each row of A and B
    (l, k)."""
    aa, bb, ab = (A * A).sum(axis=1), (B * B).sum(axis=1), (A * B).sum(axis=1)
    ay, by = A @ y, B @ y
    aa, bb = np.maximum(aa, 1e-300), np.maximum(bb, 1e-300)
    det = np.maximum(aa * bb - ab**2, np.maximum(1e-12 * aa * bb, 1e-300))
    a, b = (bb * ay - ab * by) / det, (aa * by - ab * ay) / det
    gained = np.where((a >= 0) & (b >= 0), a * ay + b * by, np.maximum(ay**2 / aa, by**2 / bb))
    missed: np.ndarray = np.maximum(y @ y - gained, 0)
    return missed


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
    """Whether particles near a part, by index, lie on one side of it."""
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
