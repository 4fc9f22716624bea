"""The truth that a clip may come with, and the errors of a recovered force against it."""

import contextlib
import dataclasses
import warnings
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from inverse.metrics import vector_errors
from inverse.runs.folder import read_npz


INNER = slice(1, -3)  # frames whose net force counts: the ends of a clip do not determine it
ALL = slice(None)
WEAK = 0.05  # of the strongest force of a field: what is weaker has no direction to speak of
SAME = 1e-3  # of a run's length, by which its times may differ from those of the truth
NODES = 4  # particles near a node, whose forces are averaged there


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What really acted on the object, in T frames.

    net: (T, 3) m/s^2, the mean external force per mass, without the reaction of what holds it.
    Where it is known: nodes (T, N, 3) m, points of the object, and external (T, N, 3) m/s^2, the
    force per mass on each; reaction: (T, 3) N, by which something holds the object, None for one
    that nothing holds.
    """

    net: np.ndarray
    nodes: np.ndarray | None = None
    external: np.ndarray | None = None
    reaction: np.ndarray | None = None


def load_truth(path: Path, frames: int, times: np.ndarray | None = None) -> Truth | None:
    """The truth in a file `ground_truth.npz`, cut to so many frames.

    times: (frames,) s of a run that does not use all frames of the clip; where the file has times
    `t`, too, the truth is that at these.

    None where the clip does not come with it, and, with a warning, where it cannot be used: that
    is no reason to lose the results of a run.
    """
    if not path.exists():
        return None
    try:
        try:
            arrays = list(read_npz(path, "external_mean", "nodes", "external"))
            names = ["external_mean", "nodes", "external"]
        except ValueError:  # without a field: the net force is mass times acceleration
            arrays, names = list(read_npz(path, "acceleration")), ["acceleration"]
        arrays = [array.astype(np.float64) for array in arrays]
        if times is not None:
            arrays = [_at_times(path, array, times) for array in arrays]
        _check(path, dict(zip(names, arrays, strict=True)), frames)
    except (ValueError, TypeError) as error:
        warnings.warn(f"{error}; the forces are not compared with it", stacklevel=2)
        return None
    cut = [array[:frames] for array in arrays]
    truth = Truth(net=cut[0]) if len(cut) == 1 else Truth(net=cut[0], nodes=cut[1], external=cut[2])
    with contextlib.suppress(ValueError):  # a file without it
        (reaction,) = read_npz(path, "reaction")
        if times is not None:
            reaction = _at_times(path, reaction, times)
        if reaction.shape[1:] == (3,) and len(reaction) >= frames and reaction[:frames].any():
            truth = dataclasses.replace(truth, reaction=reaction[:frames].astype(np.float64))
    return truth


def _at_times(path: Path, array: np.ndarray, times: np.ndarray) -> np.ndarray:
    """An array (F, ...) of a file with times t (F,) s at other times (T,) s; as it is where the
    file has none. Raises ValueError for times that it does not cover."""
    try:
        (t,) = read_npz(path, "t")
    except ValueError:
        return array
    first = t[: len(times)]
    if t.shape != array.shape[:1] or (
        first.shape == times.shape and np.allclose(first, times, rtol=0, atol=SAME * times[-1])
    ):
        return array
    step = float(np.diff(times).min())
    if times[0] < t[0] - step / 2 or times[-1] > t[-1] + step / 2:
        raise ValueError(
            f"{path}: holds the truth from {t[0]:.3g} to {t[-1]:.3g} s, and the run is one from "
            f"{times[0]:.3g} to {times[-1]:.3g} s"
        )
    flat = array.reshape(len(array), -1)
    at = np.clip((np.interp(times, t, np.arange(len(t)))), 0, len(t) - 1)
    low = np.minimum(at.astype(int), len(t) - 2)
    mixed = flat[low] + (at - low)[:, None] * (flat[low + 1] - flat[low])
    return mixed.reshape(len(times), *array.shape[1:])


def _check(path: Path, arrays: dict[str, np.ndarray], frames: int) -> None:
    for name, array in arrays.items():
        shape = array.shape
        if array.ndim != (3 if name in ("nodes", "external") else 2) or shape[-1] != 3:
            raise ValueError(f"{path}: {name} has shape {shape}, expected ({frames}, 3)")
        if len(array) < frames:
            raise ValueError(f"{path}: {name} has shape {shape}, expected ({frames}, 3)")
        if not np.isfinite(array[:frames]).all():
            raise ValueError(f"{path}: {name} has values that are not finite")
    net = next(iter(arrays.values()))
    if not net[:frames][INNER].any():
        raise ValueError(f"{path}: no true force in the {len(range(frames)[INNER])} frames "
                         "that count, so errors have no meaning")  # fmt: skip
    if len(arrays) > 1 and arrays["nodes"].shape != arrays["external"].shape:
        shapes = arrays["nodes"].shape, arrays["external"].shape
        raise ValueError(f"{path}: nodes and external have shapes {shapes[0]} and {shapes[1]}")


def force_errors(
    specific: np.ndarray, truth: np.ndarray, frames: slice = INNER
) -> dict[str, float]:
    """Errors of net specific force (T, 3) m/s^2 over frames, by default 1 <= t < T - 3.

    A net force is a second difference of positions: the ends of a clip do not determine it.
    """
    return vector_errors(specific[frames], truth[frames])


def within(errors: np.ndarray, std: np.ndarray) -> dict[str, float]:
    """Shares of the frames in which errors (T, ..., 3) are within one and two standard deviations
    (T, ..., 3), both as lengths; ideally about 0.65 and 0.97."""
    size, limit = np.linalg.norm(errors, axis=-1), np.linalg.norm(std, axis=-1)
    return {"one": float((size <= limit).mean()), "two": float((size <= 2 * limit).mean())}


def field_errors(
    x: np.ndarray,
    specific: np.ndarray,
    truth: Truth,
    frames: slice = INNER,
    *,
    threshold: float = WEAK,
) -> dict[str, float]:
    """Errors of the forces on the nodes of the truth, where they are not weak.

    x: (T, n, 3) m and specific: (T, n, 3) m/s^2, of the particles; frames: those that count;
    threshold: of the strongest force, below which one is weak. A
    node's force is that of the particles around it in frame 0, which move with it. Raises
    ValueError where the truth knows no nodes.
    """
    if truth.nodes is None or truth.external is None:
        raise ValueError("truth: it has no nodes, only a net force")
    distance, near = cKDTree(x[0]).query(truth.nodes[0], k=min(NODES, x.shape[1]))
    weight = 1 / np.maximum(distance, 1e-9) ** 2
    weight /= weight.sum(axis=1, keepdims=True)
    at_nodes = np.einsum("nk,tnkd->tnd", weight, specific[:, near])
    return vector_errors(at_nodes[frames], truth.external[frames], threshold=threshold)


def roughness(x: np.ndarray, specific: np.ndarray, neighbors: int = 6) -> float:
    """How much forces differ between neighboring particles, as a share of the forces' size.

    x: (T, n, 3) m; specific: (T, n, 3) m/s^2. Root mean squares over all particles and frames.
    """
    near = cKDTree(x[0]).query(x[0], k=min(neighbors + 1, x.shape[1]))[1][:, 1:]
    apart = specific[:, near] - specific[:, :, None]
    size = np.sqrt((specific**2).sum(-1).mean())
    return float(np.sqrt((apart**2).sum(-1).mean()) / max(size, 1e-300))
