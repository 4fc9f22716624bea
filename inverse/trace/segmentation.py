"""Rigid parts of a scene, from the motion that each particle has learned (TRACE).

Particles i and j belong to one rigid body when the velocity field of each, v_i(y) = v_bar_i +
w_i x y, gives the velocity of the other; the speed by which they miss,

    d_ij = (|v_i(x_j) - v_j(x_j)| + |v_j(x_i) - v_i(x_i)|) / 2,

does not depend on the world's origin (v_bar alone does) nor on its axes, and an error of w counts
no more than the velocities that it changes. Bodies of one rigid motion, however far apart, are
one part.
"""

import numpy as np
from scipy.spatial import cKDTree

from inverse.trace.readout import check_particles, rigid_fit


NEIGHBORS = 16  # neighbors whose median motion stands for that of a particle
MEDIAN_ROUNDS = 8  # of Weiszfeld's iteration
SAMPLE = 1_200  # particles that are compared with each other
PIECES = 100  # that the sample is cut into before pieces are united
# Two motions agree when they differ by less than NOISE times the misfit of the particles and less
# than AGREEMENT of their speed; or by less than ROUNDING of the mean speed of all parts.
NOISE = 4.0
AGREEMENT = 0.2
ROUNDING = 0.02
REST = 2.0  # a part is at rest when its speed is less than this many times its misfit
NEGLIGIBLE = 0.015  # share of the weight below which particles are no part of their own
STRAYS = 3  # particles that a piece has at least
ROUNDS = 20  # of reassigning, at most


def segment(
    x: np.ndarray,
    v_bar: np.ndarray,
    w: np.ndarray,
    *,
    weights: np.ndarray,
    static: np.ndarray | None = None,
    parts: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Find the rigid part of every particle: (n,) int, 1 for the heaviest part, then 2, ...

    x: (n, 3) m; v_bar: (n, 3) m/s and w: (n, 3) rad/s, rates of each particle's velocity field
    about the origin; weights: (n,), at least 0, such as opacities; static: (n,) bool, particles
    known to stand still. These particles get 0, and so do parts of the others that are at rest
    within their noise. Without static no label is 0, and particles at rest form a part like any
    other.

    parts: the number of parts, 0 not counted. If it is None, a sample is cut into many pieces, and
    the two whose motions differ least are united until the motions of all pieces differ by more
    than NOISE times the misfit of single particles, or by more than AGREEMENT of the speed. A part
    with less than NEGLIGIBLE of the weight is dissolved, and its particles join the part that fits
    them best, so that fewer parts than asked for may be left. The same seed gives the same labels.
    Raises ValueError for other shapes, NaN, unusable weights, or a number of parts out of range.
    """
    x, v_bar, w, weights = check_particles(weights, x=x, v_bar=v_bar, w=w)
    still = np.zeros(len(x), dtype=bool) if static is None else np.asarray(static)
    if still.shape != (len(x),) or still.dtype != bool:
        raise ValueError(f"static: got {still.dtype} {still.shape}, expected bool ({len(x)},)")
    if parts is not None and not 1 <= parts <= PIECES:
        raise ValueError(f"parts: got {parts}, expected 1 to {PIECES}")
    labels, moving = np.zeros(len(x), dtype=np.int64), np.flatnonzero(~still)
    if len(moving) == 0:
        return labels
    v = v_bar + np.cross(w, x)
    x, v, w, weights = x[moving], v[moving], w[moving], weights[moving]
    v, w = _smoothed(x, v, w, weights)
    chance, size = weights / weights.sum(), min(SAMPLE, len(x))
    sample = np.random.default_rng(seed).choice(len(x), size, replace=False, p=chance)
    # one more than asked for, because particles at rest that static lacks may form a part
    least = 1 if parts is None else parts + (static is not None)
    pieces = _pieces(x[sample], v[sample], w[sample])
    _, fields = _united(x[sample], v[sample], w[sample], weights[sample], pieces, least)
    label, fields = _settled(x, v, w, weights, fields)
    if static is not None:
        speed, misfit, _ = _motions(x, v, w, label, fields)
        moves = speed > REST * misfit
        goes = moves[label]
        if not goes.any():
            return labels
        x, v, w, weights, moving = x[goes], v[goes], w[goes], weights[goes], moving[goes]
        label, fields = _settled(x, v, w, weights, fields[moves])
    before = 0
    while len(fields) != before:
        before = len(fields)
        label, fields = _united(x, v, w, weights, label, parts or 1, force=parts is not None)
        label, fields = _settled(x, v, w, weights, fields)
    rank = np.argsort(np.argsort(-np.bincount(label, weights), kind="stable"))
    labels[moving] = 1 + rank[label]
    return labels


def _smoothed(
    x: np.ndarray, v: np.ndarray, w: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The medians of v and w over each particle's neighbors, which ignore stray particles."""
    _, near = cKDTree(x).query(x, range(1, 1 + min(NEIGHBORS, len(x))))
    there = v[near] + np.cross(w[near], x[:, None] - x[near])
    return _median(there, weights[near]), _median(w[near], weights[near])


def _median(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Geometric medians (n, 3) of points (n, k, 3) by Weiszfeld's rounds: they turn with the axes,
    as medians of coordinates do not."""
    q = weights
    for _ in range(MEDIAN_ROUNDS):
        center = np.einsum("nk,nkc->nc", q, points) / q.sum(axis=1, keepdims=True)
        distance = np.linalg.norm(points - center[:, None], axis=2)
        q = weights / np.maximum(distance, 1e-3 * distance.mean(axis=1, keepdims=True) + 1e-300)
    return center


def _pieces(x: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Labels of pieces of nearly one motion; -1 for strays, which are cut off first."""
    from sklearn.cluster import AgglomerativeClustering

    if len(x) == 1:
        return np.zeros(1, dtype=np.int64)
    miss = np.linalg.norm(v[:, None] + np.cross(w[:, None], x - x[:, None]) - v, axis=2)
    tree = AgglomerativeClustering(
        n_clusters=min(PIECES, len(x)), metric="precomputed", linkage="average"
    )
    label = tree.fit_predict((miss + miss.T) / 2)
    size = np.bincount(label)
    counts = size >= min(STRAYS, size.max())
    return np.where(counts, np.cumsum(counts) - 1, -1)[label]


def _united(
    x: np.ndarray,
    v: np.ndarray,
    w: np.ndarray,
    weights: np.ndarray,
    label: np.ndarray,
    least: int,
    force: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Unite parts as long as the motions of two agree; returns the labels and the fields.

    least: the number of parts at which to stop; force: unite down to that number even if the
    motions do not agree.
    """
    fields = _fields(x, v, weights, label)
    while len(fields) > least:
        speed, misfit, apart = _motions(x, v, w, label, fields)
        mean = [(a[:, None] + a) / 2 for a in (speed, misfit)]
        limit = np.minimum(AGREEMENT * mean[0], NOISE * mean[1])
        ratio = apart / np.maximum(limit, ROUNDING * speed.mean() + 1e-300)
        ratio[np.tri(len(ratio), dtype=bool)] = np.inf
        i, j = np.unravel_index(ratio.argmin(), ratio.shape)
        share = np.bincount(label[label >= 0], weights[label >= 0]) / weights.sum()
        counts = share >= NEGLIGIBLE
        last = counts[i] and counts[j] and counts.sum() <= least
        if not force and (ratio[i, j] >= 1 or last):
            break
        label = np.where(label == j, i, label - (label > j))
        both = label == i
        fields[i] = rigid_fit(x[both], v[both], weights[both])
        fields = np.delete(fields, j, axis=0)
    return label, fields


def _settled(
    x: np.ndarray, v: np.ndarray, w: np.ndarray, weights: np.ndarray, fields: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and fields when each particle is in the part that suits it best and each part's motion
    is that of its particles, or after ROUNDS rounds of both."""
    label = np.full(len(x), -1)
    for _ in range(ROUNDS):
        misfits = np.stack([_misfit(x, v, w, field) for field in fields])
        mass = np.bincount(misfits.argmin(axis=0), weights, len(misfits))
        while mass.min() < NEGLIGIBLE * mass.sum():  # one by one: others take its particles
            misfits = np.delete(misfits, mass.argmin(), axis=0)
            mass = np.bincount(misfits.argmin(axis=0), weights, len(misfits))
        before, label = label, misfits.argmin(axis=0)
        if np.array_equal(label, before):
            break
        fields = _fields(x, v, weights, label)
    return label, fields


def _fields(x: np.ndarray, v: np.ndarray, weights: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Center, velocity and spin of all parts, (k, 3, 3)."""
    groups = (label == k for k in range(label.max() + 1))
    return np.stack([rigid_fit(x[k], v[k], weights[k]) for k in groups])


def _flow(field: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The velocities (..., n, 3) that fields (..., 3, 3) have at x (n, 3)."""
    center, velocity, spin = np.moveaxis(field[..., None, :], -3, 0)
    return velocity + np.cross(spin, x - center)


def _misfit(x: np.ndarray, v: np.ndarray, w: np.ndarray, field: np.ndarray) -> np.ndarray:
    """(n,) m/s: how far the motion of each particle is from that of a part."""
    there = v + np.cross(w, field[0] - x) - field[1]
    return (np.linalg.norm(v - _flow(field, x), axis=1) + np.linalg.norm(there, axis=1)) / 2


def _motions(
    x: np.ndarray, v: np.ndarray, w: np.ndarray, label: np.ndarray, fields: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Speed (k,) m/s of each part, misfit (k,) m/s of its particles, and how far (k, k) m/s the
    motions of two parts differ."""
    count = len(fields)
    speed, misfit, apart = np.zeros(count), np.zeros(count), np.zeros((count, count))
    for k, field in enumerate(fields):
        own = label == k
        flows = _flow(fields, x[own])
        speed[k] = np.linalg.norm(flows[k], axis=1).mean()
        misfit[k] = np.median(_misfit(x[own], v[own], w[own], field))
        apart[k] = np.linalg.norm(flows - flows[k], axis=2).mean(axis=1)
    return speed, misfit, (apart + apart.T) / 2
