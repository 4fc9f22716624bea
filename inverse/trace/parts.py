"""The rigid parts of a scene that TRACE has learned, and which of them are rigid indeed."""

import itertools

import numpy as np
import torch

from inverse.trace.model import TraceModel
from inverse.trace.paths import median, rigid_path
from inverse.trace.segmentation import AGREEMENT, NEGLIGIBLE, segment


PHOTOGRAPHS = 4  # for each knot, at least: fewer do not show a pose in all directions
STILL = 0.02  # half sides, from which the paths of a part's Gaussians reach; shorter is at rest
RIGID = 1.0  # median sizes of Gaussians, by which those of a rigid part may seem to leave it


@torch.no_grad()
def label_parts(model: TraceModel, parts: int | None = None, seed: int = 0) -> np.ndarray:
    """Find the part (n,) int of every Gaussian at the last observed time, 0 if it stands still.

    parts: the number of moving parts, None to find it; seed: of the sample of Gaussians that are
    compared. Gaussians that share a motion already keep their part; the others are numbered after
    these. They count by their squared opacity: clouds of faint Gaussians, which show little, are no
    parts.
    """
    free = model.free.cpu().numpy()
    shared = 0 if model.shared is None else len(model.shared)
    labels = np.zeros(len(free), dtype=np.int64)
    if model.shared is not None:
        labels = model.shared.part.cpu().numpy().copy()
    left = None if parts is None else parts - shared
    if not free.any() or left == 0 or model.dynamics is None:
        return labels
    tensors = model.tensors_at(model.duration)
    rates = model.motion(tensors["means"], model.duration).origin_rates()
    x, weights, v_bar, w = (
        tensor.double().cpu().numpy()
        for tensor in (tensors["means"], tensors["opacities"].square(), rates[0], rates[2])
    )
    rest = ~free & (labels == 0)
    some = free | rest
    found = segment(
        x[some], v_bar[some], w[some], weights=weights[some],
        static=rest[some] if not some.all() or rest.any() else None, parts=left, seed=seed,
    )  # fmt: skip
    labels[some] = np.where(found > 0, found + shared, 0)
    return labels


@torch.no_grad()
def rigid_parts(
    model: TraceModel,
    labels: np.ndarray,
    times: list[float],
    parts: int | None = None,
    reach: float = 1.0,
    apart: np.ndarray | None = None,
) -> np.ndarray:
    """The labels (n,) of the parts that move rigidly through all times, numbered 1, 2, ..., -1 for
    parts that are at rest, else 0.

    A part is rigid if half of it, by squared opacity, keeps its place in a rigid body to within the
    size of its Gaussians. Two parts are one if the same holds of both with a single motion, and
    half the size, or twice the misfit of their own motions; what is less cannot be seen. That is
    no more than a fifth of how far they move, or twice the misfit of their own motions. New parts
    have more than a negligible share of the weight. times: s;
    parts: the number of parts that are kept apart, None for any; reach: multiplies the size within
    which two parts are one; apart: as in `united_parts`.
    """
    states = [model.tensors_at(t) for t in times]
    x = np.stack([state["means"].double().cpu().numpy() for state in states])
    weights = states[0]["opacities"].square().double().cpu().numpy()
    sizes = states[0]["scales"].double().cpu().numpy().max(axis=1)
    part = united_parts(x, labels, weights, reach * sizes, parts or 1, apart)
    rigid = np.zeros_like(part)
    known = 0 if model.shared is None else len(model.shared)
    old = (labels > 0) & (labels <= known)
    least = NEGLIGIBLE * weights[labels > 0].sum()
    for label in range(1, part.max(initial=0) + 1):
        own = part == label
        if not old[own].any() and weights[own].sum() < least:
            continue  # the Gaussians of a part that shares a motion already have no other
        if _looseness(x, own, own, weights, sizes) < RIGID:
            moved = median(np.linalg.norm(np.ptp(x[:, own], axis=0), axis=1), weights[own])
            rigid[own] = rigid.max() + 1 if moved > STILL * model.half_side else -1
    return rigid


def united_parts(
    x: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    sizes: np.ndarray,
    least: int,
    apart: np.ndarray | None = None,
) -> np.ndarray:
    """Unite parts that one rigid motion explains about as well as two.

    x: (T, n, 3) m; labels: (n,) int, 0 for no part; weights: (n,), such as opacities; sizes: (n,)
    m, of the Gaussians; least: the number of parts at which to stop; apart: (R, n) int, refused
    unions, in each of which 1 is not united with 2 again, that is parts of which most is such.
    Returns labels numbered from the heaviest part down.
    """
    masks = {int(k): labels == k for k in np.unique(labels) if k > 0}
    own = {k: _looseness(x, mask, mask, weights, sizes) for k, mask in masks.items()}
    refused = [] if apart is None else [(row == 1, row == 2) for row in apart]

    def mostly(k: int, some: np.ndarray) -> bool:
        return weights[masks[k] & some].sum() > weights[masks[k]].sum() / 2

    def ratio(i: int, j: int) -> float:
        if any(mostly(i, a) and mostly(j, b) or mostly(j, a) and mostly(i, b) for a, b in refused):
            return np.inf
        both = masks[i] | masks[j]
        return max(_looseness(x, both, masks[k], weights, sizes) / limit(k) for k in (i, j))

    def limit(k: int) -> float:
        # What has moved by hardly more than the size of its Gaussians would fit any motion.
        mask = masks[k]
        moved = _spread(x[:, mask], weights[mask], sizes[mask])
        most = max(2 * own[k], AGREEMENT * moved)
        return min(float(np.clip(2 * own[k], 0.5 * RIGID, RIGID)), most)

    ratios: dict[tuple[int, int], float] = {}
    while len(masks) > max(least, 1):
        for pair in itertools.combinations(sorted(masks), 2):
            if pair not in ratios:
                ratios[pair] = ratio(*pair)
        i, j = min(ratios, key=lambda pair: ratios[pair])
        if ratios[i, j] > 1:
            break
        masks[i] = masks[i] | masks.pop(j)
        own[i] = _looseness(x, masks[i], masks[i], weights, sizes)
        ratios = {pair: value for pair, value in ratios.items() if not {i, j} & {*pair}}
    order = sorted(masks, key=lambda k: -weights[masks[k]].sum())
    result = np.zeros_like(labels)
    for number, k in enumerate(order, start=1):
        result[masks[k]] = number
    return result


def _looseness(
    x: np.ndarray, fitted: np.ndarray, judged: np.ndarray, weights: np.ndarray, sizes: np.ndarray
) -> float:
    """How far half of the judged Gaussians stay from their places in a body, in their mean size.

    The motion of the body is that which fits the fitted Gaussians; both are (n,) bool.
    """
    centers, turns, _ = rigid_path(x[:, fitted], weights[fitted])
    arms = np.einsum("tji,tnj->tni", turns.as_matrix(), x[:, judged] - centers[:, None])
    return _spread(arms, weights[judged], sizes[judged])


def _spread(x: np.ndarray, weights: np.ndarray, sizes: np.ndarray) -> float:
    """The median of how far, as root mean squares over time, points (T, n, 3) go, in mean sizes."""
    miss = np.sqrt(((x - np.median(x, axis=0)) ** 2).sum(axis=2).mean(axis=0))
    return median(miss, weights) / float(np.average(sizes, weights=weights))


def knots_of(times: list[float], photographs: int) -> list[float]:
    """The times, s, ascending, at which shared motions have poses: all of times, or some of them.

    photographs: their number; there are several for each knot.
    """
    count = min(len(times), max(photographs // PHOTOGRAPHS, 4))
    places = np.unique(np.linspace(0, len(times) - 1, count).round().astype(int))
    return [times[k] for k in places]
