"""Patterns of particles that fill a body: lattices, jittered or not, and blue noise."""

import math
from collections.abc import Callable, Sequence

import numpy as np


JITTER = 0.25  # largest displacement to each side, in spacings
MAX_COUNT = 50_000_000
# Distance of neighbors in the densest packing, in spacings (edges of the cube per particle).
REACH = 2 / (4 * math.sqrt(2)) ** (1 / 3)
CANDIDATES = 5  # candidates per particle of blue noise, as in Yuksel 2015

Turns = Callable[[np.ndarray], np.ndarray]  # points (n, 3) m -> winding numbers (n,)
Samples = tuple[np.ndarray, np.ndarray]  # particles (n, 3) m and their volumes (n,) m^3


def shared(x: np.ndarray, volume: float) -> Samples:
    """Particles x (n, 3) m and their equal shares of volume, m^3. Raises ValueError if n is 0."""
    if not len(x):
        raise ValueError(
            "spacing, count: no particle fits into the body, expected a smaller spacing or a "
            "larger count"
        )
    return x, np.full(len(x), volume / len(x))


def lattice(
    shape: Sequence[int] | np.ndarray, jitter: float, rng: np.random.Generator | None
) -> np.ndarray:
    """(n, 3) centers of cells of edge 1, moved at random by up to jitter to each side."""
    axes = [np.arange(n) + 0.5 for n in shape]
    x = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return x + rng.uniform(-jitter, jitter, x.shape) if jitter and rng is not None else x


def box_shape(size: np.ndarray, h: float, count: int | None) -> np.ndarray:
    """(3,) cells along the edges of a box, of an edge near h.

    size: (3,) m; h: m; count: if given, the product of the three is near count.
    """
    shape = np.maximum(1, np.round(size / h))
    if count is not None:
        near = [np.arange(max(1, int(0.8 * n)), int(1.25 * n) + 2) for n in size[:2] / h]
        x, y = (axis.reshape(-1) for axis in np.meshgrid(*near))
        trials = np.stack([x, y, np.maximum(1, np.round(count / (x * y)))], axis=1)
        cells = size / trials
        stretch = np.log(cells.max(axis=1) / cells.min(axis=1))
        miss = np.abs(trials.prod(axis=1) / count - 1)
        # A count that is 1 % off is as bad as cells that are stretched by 10 %.
        shape = trials[np.argmin(stretch + 10 * miss)]
    return shape.astype(np.int64)


def centered_lattice(
    low: np.ndarray,
    high: np.ndarray,
    turns: Turns,
    h: float,
    jitter: float,
    rng: np.random.Generator | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Lattice points (n, 3) m inside a body, and the winding number (n,) of the body at each.

    The lattice has the spacing h in m, is centered on the box from low to high, (3,) m, and its
    points are moved by up to jitter h. It is built slab by slab, so that only the points that are
    kept need memory. Raises ValueError.
    """
    shape = np.maximum(1, np.ceil((high - low) / h - 1e-9)).astype(np.int64)
    if shape.astype(float).prod() > 50 * MAX_COUNT:
        raise ValueError(
            f"spacing, count: the body fills too little of its box of {shape.tolist()} cells, "
            "expected a larger spacing or fewer particles"
        )
    corner = (low + high) / 2 - shape * h / 2
    slab = max(1, 2_000_000 // int(shape[1] * shape[2]))
    points, wound = [], []
    for start in range(0, shape[0], slab):
        block = (min(slab, shape[0] - start), shape[1], shape[2])
        x = corner + (lattice(block, jitter, rng) + [start, 0, 0]) * h
        w = turns(x)
        points.append(x[w != 0])
        wound.append(w[w != 0])
    return np.concatenate(points), np.concatenate(wound)


def united(volume: float, wound: np.ndarray) -> float:
    """Volume of a union of parts, given the sum of their volumes.

    wound: (n,) winding numbers of evenly spread points inside; where parts overlap, the sum counts
    the volume as often as the surface winds.
    """
    return volume * len(wound) / max(1, abs(wound.sum()))


def filled(
    low: np.ndarray,
    high: np.ndarray,
    turns: Turns,
    volume: float,
    h: float,
    count: int | None,
    rng: np.random.Generator,
    jitter: float,
) -> Samples:
    """A body of a volume in m^3 filled with a lattice of spacing h in m.

    The arguments are those of `blue`, but count is ignored.
    """
    x, wound = centered_lattice(low, high, turns, h, jitter, rng)
    return shared(x, united(volume, wound))


def blue(
    low: np.ndarray,
    high: np.ndarray,
    turns: Turns,
    volume: float,
    h: float,
    count: int | None,
    rng: np.random.Generator,
    jitter: float | None = None,
) -> Samples:
    """A body filled with blue noise: random points in the cells of a fine lattice, thinned out.

    Points around the body take part in the thinning; without them, the outermost layer of the body
    would keep a quarter too many particles. The result has exactly count particles if count is
    given. jitter is ignored.
    """
    from scipy.spatial import cKDTree

    wanted = max(1, round(volume / h**3)) if count is None else count
    few = wanted < 100  # nearly all lie at the surface; more candidates, so that enough hit
    fine = (volume / (CANDIDATES * (100 if few else wanted))) ** (1 / 3)
    x, wound = centered_lattice(low, high, turns, fine, 0.5, rng)
    if not len(x):
        return shared(x, volume)
    volume = united(volume, wound)
    if count is None:  # again, with the volume of the union
        wanted = max(1, round(volume / h**3))
    if few:
        return shared(thinned(x, wanted, (volume / wanted) ** (1 / 3), x[:0]), volume)
    h = (volume / wanted) ** (1 / 3)
    tree, margin = cKDTree(x), REACH * h

    def beside(place):
        near = np.isfinite(tree.query(place, distance_upper_bound=margin)[0])
        near[near] = turns(place[near]) == 0
        return near

    around, _ = centered_lattice(low - margin, high + margin, beside, fine, 0.5, rng)
    return shared(thinned(x, wanted, h, around), volume)


def thinned(x: np.ndarray, count: int, h: float, around: np.ndarray) -> np.ndarray:
    """The count points of x (m, 3) that remain when the points closest to others are removed first.

    h: spacing of the result, m; around: (k, 3) points that are removed by the same rule, but are
    neither counted nor returned. The method is weighted sample elimination (Yuksel 2015, eq. 2 and
    3), except that each pass removes all points that weigh most among their neighbors and are in
    the top 5 % of the body; that takes a few dozen passes over arrays. Without the second condition
    the density would vary by 10 % from place to place.
    """
    from scipy.spatial import cKDTree

    m = len(x)
    if m <= count:
        return x
    x = np.concatenate([x, around])
    n = len(x)
    reach, ratio = REACH * h, count / m
    closest = reach / 2 * (1 - ratio**1.5) * 0.65  # weight limiting with the paper's gamma and beta
    a, b = cKDTree(x).query_pairs(reach, output_type="ndarray").astype(np.int32).T
    pair = np.sqrt(sum(np.square(axis[a] - axis[b]) for axis in x.T))
    pair = (1 - np.maximum(pair, closest) / reach).clip(0) ** 8
    weight = np.bincount(a, pair, n) + np.bincount(b, pair, n)
    alive, left = np.ones(n, bool), m
    while left > count:
        top = alive & (weight >= np.quantile(weight[alive], 0.95))
        heavier = weight[a] >= weight[b]
        top[np.where(heavier, b, a)] = False
        go = np.flatnonzero(top)
        inner = np.searchsorted(go, m)  # number of removed points that belong to x
        if inner > left - count:
            go = go[:inner][np.argsort(-weight[go[:inner]], kind="stable")[: left - count]]
            inner = len(go)
        alive[go] = False
        left -= inner
        stays_a, stays_b = alive[a], alive[b]
        for end, gone in ((a, stays_a & ~stays_b), (b, stays_b & ~stays_a)):
            weight -= np.bincount(end[gone], pair[gone], n)
        keep = stays_a & stays_b
        a, b, pair = a[keep], b[keep], pair[keep]
    return x[:m][alive[:m]]
