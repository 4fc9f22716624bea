"""Edges by which something holds an object: its motion goes to zero there.

Beside a pole cloth moves by less than tracks are wrong, and no point lies on the edge itself. But
motion that is seen over the whole object and the whole clip shows where it begins. It is taken
apart into its courses in time (singular vectors), each of which is as strong at each place as a
Gaussian process with a Matern kernel of order 3/2 says, whose length makes the motion likeliest.
That carries them on to the outline, with the error of doing so.

The object is held at an edge if all of them are zero there. How much likelier than a free edge the
motion makes that, is the density of zero after the motion was seen, beside the one before (the
ratio of Savage and Dickey: Dickey, The weighted likelihood ratio, linear hypotheses on normal
location parameters, Annals of Mathematical Statistics 42, 1971). Most edges move; of those that
nothing is seen of, it says nothing.
"""

import dataclasses
import itertools

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial import cKDTree


SEEN = 0.8  # of the frames, in which a point must be seen: between them it moves evenly
FEWEST = 8  # points that tell where motion begins
FRAMES = 24  # of the clip that are looked at: motion lasts longer than one
LENGTHS = 2.0 ** np.arange(-2, 3)  # of the size of the object, over which motion changes, tried
ROUGH = 0.1  # of a motion: patches at a rim show that of what is beside it
APART = 0.25  # of that length, between places of the outline that are looked at
MOST = 64  # of those
AROUND = 24  # particles that show whether one lies on the outline
LAYER = 6  # neighbors of a particle, within a layer of them
RIM = 0.4  # of their usual distance, by which their center is off: at a straight rim it is 0.64
BEYOND = 0.02  # of the particles, which may lie beyond an edge: outlines are ragged
STRONG, MENTION = 3.0, 1.0  # logarithms of odds, strong and worth a mention (Kass and Raftery)


def held_edge(
    x: np.ndarray, points: np.ndarray, off: np.ndarray, sigma: float, *, sheet: bool = True,
    odds: float = 0.0,
) -> np.ndarray:  # fmt: skip
    """Particles (n,) bool at the straight edge, or the two corners of a sheet, at which the motion
    of an object goes to zero; none where it moves at all of them, or hardly tells.

    x: (n, 3) m in frame 0; points: (m, 3) m, that were followed; off: (V, T, m, 2) px, how each
    view sees these stray, NaN where it does not; sigma: px, by which they drift; sheet: whether x
    is one; odds: the logarithm of those of being held, by all else that is known.
    """
    held = np.zeros(len(x), dtype=bool)
    outline = np.flatnonzero(_on_outline(x))
    views = [_Motion(x, points, one, sigma) for one in off if _often(one).sum() >= FEWEST]
    if len(outline) == 0 or not views:
        return held
    at = x[outline]
    spacing = APART * min(view.length for view in views)
    layer = float(np.median(cKDTree(x).query(x, k=min(LAYER + 1, len(x)))[0][:, -1]))
    places = at[_spread(at, spacing)]
    laws = [law for view in views for law in view.at(places)]
    edges = _edges(x, places, layer, sheet)
    # Views show the same motion, and do not add up.
    gain = np.array([sum(law.log_odds(edge) for law in laws) for edge in edges]) / len(views)
    best = edges[gain.argmax()]
    if gain.max() < max(STRONG - odds, MENTION):
        return held
    # A thing is rather held along the whole of an edge than along a part of it.
    longer = [edge for edge, one in zip(edges, gain, strict=True) if one >= gain.max() - MENTION]
    longest = max((edge for edge in longer if np.isin(best, edge).all()), key=len)
    if not _is_line(places, longest):
        away = _distances(at, places[longest]).min(axis=1)
    else:
        start, end = _ends(places[longest])
        beyond = 0.5 * spacing * (end - start) / max(float(np.linalg.norm(end - start)), 1e-300)
        away = np.linalg.norm(_along(at, start - beyond, end + beyond)[1], axis=1)
    held[outline] = away <= layer
    return held


class _Motion:
    """The motion that one view shows, as functions of place.

    length: m, over which it changes.
    """

    def __init__(self, x: np.ndarray, points: np.ndarray, off: np.ndarray, sigma: float) -> None:
        often = _often(off)
        self._points, self._sigma = points[often], sigma
        frames = np.unique(np.linspace(1, len(off) - 1, FRAMES).astype(int))
        moved = _evenly(off[:, often])[frames].transpose(1, 0, 2).reshape(often.sum(), -1)
        courses = np.linalg.svd(moved, full_matrices=False)[2]
        # Errors last as motion does, so that no course is better known than a single frame.
        shapes = moved @ courses.T / np.sqrt(moved.shape[1])
        size = np.sqrt((shapes**2).mean(axis=0))
        self._shapes = list(zip(shapes.T[size > sigma], size[size > sigma], strict=True))
        self._apart = _distances(self._points, self._points)
        radius = float(np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=1).mean()))
        self.length = float(max(radius * LENGTHS, key=self._likelihood))

    def _noise(self, size: float, count: int) -> np.ndarray:
        return (self._sigma**2 + (ROUGH * size) ** 2) * np.eye(count)

    def _likelihood(self, length: float) -> float:
        """Logarithm of how likely the motion is that changes over a length, m."""
        near = _matern(self._apart, length)
        return sum(
            _log_density(shape, size**2 * near + self._noise(size, len(shape)))
            for shape, size in self._shapes
        )

    def at(self, places: np.ndarray) -> list["_Law"]:
        """Each course at places (k, 3) m, with the errors of tracks at a rim."""
        near = _matern(self._apart, self.length)
        across = _matern(_distances(self._points, places), self.length)
        before, found = _matern(_distances(places, places), self.length), []
        for shape, size in self._shapes:
            factor = cho_factor(size**2 * near + self._noise(size, len(shape)))
            gain = cho_solve(factor, size**2 * across)
            prior = size**2 * before + self._noise(size, len(places))
            found.append(
                _Law(mean=gain.T @ shape, before=prior, after=prior - size**2 * across.T @ gain)
            )
        return found


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Law:
    """How strong a course of motion is at k places: mean (k,) px, and covariances (k, k) px^2
    before and after the motion was seen."""

    mean: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def log_odds(self, edge: np.ndarray) -> float:
        """How much likelier it is zero at an edge, places by index: the logarithm."""
        off, pairs = self.mean[edge], np.ix_(edge, edge)
        return _log_density(off, self.after[pairs]) - _log_density(0 * off, self.before[pairs])


def _log_density(off: np.ndarray, covariance: np.ndarray) -> float:
    """That of a normal distribution at off (k,), but for a constant."""
    L = np.linalg.cholesky(covariance)
    return float(-0.5 * off @ cho_solve((L, True), off) - np.log(np.diag(L)).sum())


def _edges(x: np.ndarray, places: np.ndarray, layer: float, sheet: bool) -> list[np.ndarray]:
    """Where x (n, 3) m may be held, by index of places (k, 3) m of its outline: at one of them,
    along all that are within a layer, m, of the line between two, or at two corners of a sheet. All
    of it is on one side, for what bends or turns by itself has lines across it that stay where they
    are, and places within an edge."""
    edges = [np.array([k]) for k in range(len(places))]
    for pair in itertools.combinations(range(len(places)), 2):
        start, end = places[list(pair)]
        arms = _along(x, start, end)[1]
        side = arms.sum(axis=0) / max(float(np.linalg.norm(arms.sum(axis=0))), 1e-300)
        if (arms @ side < -layer).mean() > BEYOND:
            continue
        edge = np.flatnonzero(np.linalg.norm(_along(places, start, end)[1], axis=1) <= layer)
        if _is_line(places, edge):
            edges.append(edge)
        if sheet and not _goes_on(x, start, end, layer):
            edges.append(np.array(pair))
    return edges


def _is_line(places: np.ndarray, edge: np.ndarray) -> bool:
    """Whether an edge, of places (k, 3) m by index, has no gaps."""
    apart = cKDTree(places).query(places, k=min(2, len(places)))[0][:, -1].max()
    way = np.sort(_along(places[edge], *_ends(places[edge]))[0])
    return bool((np.diff(way) <= 2 * apart).all())


def _goes_on(x: np.ndarray, start: np.ndarray, end: np.ndarray, layer: float) -> bool:
    """Whether x (n, 3) m goes on beyond the ends of a line, within a layer, m, of it."""
    arms = _along(x, start, end)[1]
    line = (end - start) / max(float(np.linalg.norm(end - start)), 1e-300)
    beyond = arms @ line
    aside = np.linalg.norm(arms - beyond[:, None] * line, axis=1)
    return bool((np.abs(beyond[aside <= layer]) > 2 * layer).any())


def _ends(edge: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those of an edge through places (k, 3) m."""
    apart = _distances(edge, edge)
    start, end = np.unravel_index(apart.argmax(), apart.shape)
    return edge[start], edge[end]


def _along(x: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far (k,) m points x (k, 3) m are along the line between two, and their arms (k, 3) m from
    there."""
    line = end - start
    length = max(float(np.linalg.norm(line)), 1e-300)
    way = np.clip((x - start) @ line / length, 0, length)
    return way, x - start - way[:, None] * line / length


def _matern(distance: np.ndarray, length: float) -> np.ndarray:
    ratio = np.sqrt(3) * distance / length
    return (1 + ratio) * np.exp(-ratio)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    away: np.ndarray = np.linalg.norm(a[:, None] - b[None], axis=2)
    return away


def _often(off: np.ndarray) -> np.ndarray:
    """Which (m,) bool of points that stray by off (T, m, 2) px are seen in most frames."""
    often: np.ndarray = np.isfinite(off[..., 0]).mean(axis=0) >= SEEN
    return often


def _evenly(off: np.ndarray) -> np.ndarray:
    """Paths off (T, m, 2) px that go on evenly where they are not seen."""
    frames, full = np.arange(len(off)), off.copy()
    for path in np.moveaxis(full, 0, 2).reshape(-1, len(off)):
        seen = np.isfinite(path)
        path[~seen] = np.interp(frames[~seen], frames[seen], path[seen])
    return full


def _on_outline(x: np.ndarray) -> np.ndarray:
    """Which (n,) bool of particles x (n, 3) m have the others on one side."""
    away, near = cKDTree(x).query(x, k=min(AROUND + 1, len(x)))
    shift = np.linalg.norm(x[near[:, 1:]].mean(axis=1) - x, axis=1)
    return shift > RIM * away[:, 1:].mean(axis=1)


def _spread(x: np.ndarray, apart: float) -> np.ndarray:
    """Places of x (n, 3) m, by index, of which corners are the first, each as far as can be from
    those before, until they are nearer than apart, m."""
    chosen = [int(np.linalg.norm(x - x.mean(axis=0), axis=1).argmax())]
    away = np.linalg.norm(x - x[chosen[0]], axis=1)
    while len(chosen) < MOST and away.max() > apart:
        chosen.append(int(away.argmax()))
        away = np.minimum(away, np.linalg.norm(x - x[chosen[-1]], axis=1))
    return np.array(chosen)
