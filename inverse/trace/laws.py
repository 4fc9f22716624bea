"""The law by which a rigid part moves: its form is chosen by what held-out frames show.

A part's poses at the observed times are fitted with every form of `forms`, without the last of
them, and each form predicts those. The simplest form that predicts about as well as the best is
taken, fitted to all poses, and continued. The errors of its predictions also say how uncertain the
continuation is.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from inverse.trace.forms import PATHS, ROTATIONS, solved
from inverse.trace.observed_poses import TURNED, ObservedPoses


HELD_OUT = (1 / 6, 1 / 4, 1 / 3)  # shares of the observed frames, the last ones, that are predicted
ABOUT = 1.5  # times the error of the best form: forms up to there predict about as well
AGAIN = 4.0  # the same, up to which rotations are compared again with the path
PRIOR = 4  # predictions whose scatter is believed before any is made
RIVAL = 2.0  # times the error of the chosen form, up to which forms are possible
KEPT = 2.0  # standard deviations by which a law may miss later poses and still be that of the part
GROWTH = 9  # times up to the one asked for at which deviations are compared
RELATIVE_STEP = 1e-5  # of numeric derivatives


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MotionLaw:
    """How one rigid part moves, in closed form.

    rotation, path: names of the forms in `forms`; end: the last observed time, s; span: the
    observed time, s; size: of the part, m; rotation_parameters, path_parameters: of the forms;
    covariance: (p, p) of both, rotation first; floor: standard deviation of an observed pose, m;
    others: further laws that predict nearly as well, with their weights, whose disagreement counts
    as uncertainty; errors: root mean square errors of held-out predictions, m, by form.
    """

    rotation: str
    path: str
    end: float
    span: float
    size: float
    rotation_parameters: np.ndarray
    path_parameters: np.ndarray
    covariance: np.ndarray
    floor: float = 0.0
    others: tuple[tuple[float, "MotionLaw"], ...] = ()
    errors: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)

    def poses(self, times: Sequence[float] | np.ndarray) -> tuple[np.ndarray, Rotation]:
        """Centers (T, 3) m and rotations of the part at times, s."""
        tau = (np.asarray(times, dtype=np.float64) - self.end) / self.span
        return self._poses(tau, self.rotation_parameters, self.path_parameters)

    def _poses(
        self, tau: np.ndarray, rotation: np.ndarray, path: np.ndarray
    ) -> tuple[np.ndarray, Rotation]:
        form = ROTATIONS[self.rotation]
        turns = form.turns(rotation, tau)
        return PATHS[self.path].centers(path, tau, lambda t: form.turns(rotation, t)), turns

    def deviations(self, times: Sequence[float] | np.ndarray) -> np.ndarray:
        """Standard deviations (T,) m of the places of the part's particles, root mean squares.

        Past the last observed time they never fall, though an oscillation meets itself again.
        """
        times = np.asarray(times, dtype=np.float64)
        reach = max(float(times.max()), self.end)
        path = np.concatenate([np.linspace(self.end, reach, GROWTH), times])
        values = self._deviations(path)
        order = np.argsort(path, kind="stable")
        later = path[order] >= self.end
        values[order[later]] = np.maximum.accumulate(values[order[later]])
        return values[GROWTH:]

    def _deviations(self, times: np.ndarray) -> np.ndarray:
        J = self.jacobian(times)
        variance = np.einsum("tip,pq,tiq->t", J, self.covariance, J) + self.floor**2
        for weight, other in self.others:
            variance = variance + weight * self.apart(other, times) ** 2
        return np.sqrt(variance)

    def apart(self, other: "MotionLaw", times: Sequence[float] | np.ndarray) -> np.ndarray:
        """How far (T,) m the part would be from itself if it moved by another law."""
        return distances(self.poses(times), other.poses(times), self.size)

    def jacobian(self, times: Sequence[float] | np.ndarray) -> np.ndarray:
        """Derivatives (T, 6, p) of center and turn (times size) in all parameters."""
        tau = (np.asarray(times, dtype=np.float64) - self.end) / self.span
        both = np.concatenate([self.rotation_parameters, self.path_parameters])
        split = len(self.rotation_parameters)
        centers, turns = self._poses(tau, both[:split], both[split:])
        columns = []
        for k, value in enumerate(both):
            step = RELATIVE_STEP * max(abs(value), 1e-2)
            moved = both.copy()
            moved[k] += step
            c, R = self._poses(tau, moved[:split], moved[split:])
            turn = (R * turns.inv()).as_rotvec() * self.size
            columns.append(np.concatenate([c - centers, turn], axis=1) / step)
        return np.stack(columns, axis=2)

    def record(self) -> dict[str, Any]:
        """The law for JSON; `MotionLaw.from_record` makes it again."""
        record = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "others"
        }
        for name in ("rotation_parameters", "path_parameters", "covariance"):
            record[name] = record[name].tolist()
        record["errors"] = {k: dict(v) for k, v in self.errors.items()}
        record["others"] = [[weight, other.record()] for weight, other in self.others]
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "MotionLaw":
        """Make the law whose record this is. Raises ValueError if it is none."""
        try:
            arrays = {
                name: np.array(record[name], dtype=np.float64)
                for name in ("rotation_parameters", "path_parameters", "covariance")
            }
            others = tuple((float(w), cls.from_record(other)) for w, other in record["others"])
            return cls(**{**record, **arrays, "others": others})
        except (KeyError, TypeError) as error:
            raise ValueError(f"law: made by another version ({error})") from None


def distances(
    one: tuple[np.ndarray, Rotation], two: tuple[np.ndarray, Rotation], size: float
) -> np.ndarray:
    """Root mean square distances (T,) m of the particles of a body of a size in two poses."""
    shift = ((one[0] - two[0]) ** 2).sum(axis=1)
    # |(R - S) x|^2 of a round body: 2 (1 - cos angle) of two thirds of its square size.
    angle = (one[1] * two[1].inv()).magnitude()
    return np.sqrt(shift + 4 / 3 * size**2 * (1 - np.cos(angle)))


def find_law(
    times: np.ndarray,
    centers: np.ndarray,
    turns: Rotation,
    size: float,
    known: MotionLaw | None = None,
) -> MotionLaw:
    """Find the law of a part from its poses.

    times: (T,) s, ascending, at least 3; centers: (T, 3) m; turns: (T,) rotations; size: root mean
    square distance of its particles from the center, m; known: the law of the part until an earlier
    time: if it has foreseen the later poses, its forms are fitted anew, and no others are sought.
    """
    times = np.asarray(times, dtype=np.float64)
    path = ObservedPoses(times=times, centers=centers, turns=turns, size=size)
    kept = None if known is None else _continued(known, path)
    return _sought(path) if kept is None else kept


def _continued(known: MotionLaw, path: ObservedPoses) -> MotionLaw | None:
    """The forms of a known law, fitted to all poses; None if it or a rival did not foresee them.

    What is foreseen is within KEPT standard deviations, and no rival was clearly nearer.
    """
    fold = int((path.times > known.end + 1e-9).sum())
    if not 0 < fold < len(path.times):
        return None
    claimed = known.deviations(path.times[-fold:])
    missed = np.sqrt(np.mean((_misses(known, path, fold) / claimed) ** 2))
    noise = math.hypot(path.center_noise(), path.turn_noise())
    laws = [known, *(other for _, other in known.others)]
    errors = [_root_mean([_misses(law, path, fold)[:, None]]) for law in laws]
    if missed > KEPT or errors[0] > ABOUT * max(min(errors), noise):
        return None
    earlier = _fitted(path.until(len(path.times) - fold), known.rotation, known.path)
    law = _fitted(path, known.rotation, known.path)
    if earlier is None or law is None:
        return None
    scale = max(errors[0], noise, 1e-12)
    rivals = [
        (_weight(error, scale), _fitted(path, other.rotation, other.path))
        for error, other in zip(errors[1:], laws[1:], strict=True)
        if error < RIVAL * scale
    ]
    return _with_others(
        dataclasses.replace(_calibrated(law, path, [fold], [earlier]), errors=known.errors), rivals
    )


def _sought(path: ObservedPoses) -> MotionLaw:
    """The law of poses of which nothing is known: all forms are compared."""
    times, size = path.times, path.size
    folds = sorted({max(1, round(share * len(times))) for share in HELD_OUT})
    starts = [path.until(len(times) - fold) for fold in folds]
    # Rotations first: they do not depend on the path. Forms go from simple to rich, until one
    # predicts to within the noise: it or a simpler one is the choice, whatever the others do.
    errors: dict[str, dict[str, float]] = {"rotation": {}, "path": {}}
    for name, form in sorted(ROTATIONS.items(), key=lambda item: item[1].count):
        fits = [form.fit(s.tau, s.turns) for s in starts]
        found = [p for p in fits if p is not None]
        if len(found) == len(folds):
            pairs = zip(folds, found, strict=True)
            errors["rotation"][name] = _root_mean(
                path.turn_errors(fold, form.turns(p, path.tau[-fold:])) for fold, p in pairs
            )
            if errors["rotation"][name] <= ABOUT * path.turn_noise():
                break
    first = _choice(errors["rotation"], path.turn_noise())
    # How the center moves is asked given how the body turns at all times: what the rotation is
    # mispredicted by would be the same for all forms, and hide what tells them apart.
    whole = ROTATIONS[first].fit(path.tau, path.turns)
    assert whole is not None  # it was fitted to fewer poses
    turn = turns_of(first, whole)
    for name, path_form in sorted(PATHS.items(), key=lambda item: item[1].count):
        fits = [path_form.fit(s.tau, s.centers, turn, size) for s in starts]
        found = [p for p in fits if p is not None]
        if len(found) == len(folds):
            errors["path"][name] = _root_mean(
                path_form.centers(p, path.tau[-fold:], turn) - path.centers[-fold:]
                for fold, p in zip(folds, found, strict=True)
            )
            if errors["path"][name] <= ABOUT * path.center_noise():
                break
    chosen = _choice(errors["path"], path.center_noise())
    # A center that is far from a pivot shows well how the body turns, so rotations are compared
    # again, with the path.
    noise = math.hypot(path.center_noise(), path.turn_noise())
    limit = AGAIN * max(min(errors["rotation"].values()), path.turn_noise())
    again = [name for name, error in errors["rotation"].items() if error <= limit]
    laws = {name: [_fitted(start, name, chosen) for start in starts] for name in again}
    errors["both"] = {
        name: _root_mean(
            _misses(earlier, path, fold)[:, None]
            for fold, earlier in zip(folds, own, strict=True)
            if earlier is not None
        )
        for name, own in laws.items()
        if None not in own
    }
    rotation = _choice(errors["both"], noise)
    law = _fitted(path, rotation, chosen)
    assert law is not None  # it was fitted to fewer poses
    law = _calibrated(law, path, folds, laws[rotation])
    rivals = [
        *((w, _fitted(path, rotation, n)) for n, w in
          _rivals(errors["path"], chosen, path.center_noise())),
        *((w, _fitted(path, n, chosen)) for n, w in _rivals(errors["both"], rotation, noise)),
    ]  # fmt: skip
    return _with_others(dataclasses.replace(law, errors=errors), rivals)


def _with_others(law: MotionLaw, rivals: Sequence[tuple[float, MotionLaw | None]]) -> MotionLaw:
    """The law with those of its rivals that could be fitted, by weights relative to it."""
    others = [(weight, other) for weight, other in rivals if other is not None]
    total = 1 + sum(weight for weight, _ in others)
    return dataclasses.replace(
        law, others=tuple((weight / total, other) for weight, other in others)
    )


def turns_of(name: str, p: np.ndarray) -> Callable[[np.ndarray], Rotation]:
    """The rotations of a form with parameters p, as a function of times."""
    return functools.partial(ROTATIONS[name].turns, p)


def _root_mean(misses: Iterable[np.ndarray]) -> float:
    return float(np.sqrt((np.concatenate(list(misses)) ** 2).sum(axis=1).mean()))


def _choice(errors: Mapping[str, float], noise: float) -> str:
    """The simplest form whose error is about that of the best one, or within the noise."""
    limit = ABOUT * max(min(errors.values()), noise)
    fine = [name for name, error in errors.items() if error <= limit]
    return min(fine, key=lambda name: ((ROTATIONS | PATHS)[name].count, errors[name]))


def _rivals(errors: Mapping[str, float], chosen: str, noise: float) -> list[tuple[str, float]]:
    """The forms that are not much worse than the chosen one, and their weights relative to it."""
    scale = max(errors[chosen], noise, 1e-12)
    return [
        (name, _weight(error, scale))
        for name, error in errors.items()
        if name != chosen and error < RIVAL * scale
    ]


def _weight(error: float, scale: float) -> float:
    """The weight, relative to the chosen form, of one that errs more than a scale."""
    return float(np.exp(1 - max(error / scale, 1.0) ** 2))


def _fitted(path: ObservedPoses, rotation: str, name: str) -> MotionLaw | None:
    """The law of these forms that fits the poses, and the covariance of its parameters."""
    form, r = PATHS[name], ROTATIONS[rotation].fit(path.tau, path.turns)
    p = None if r is None else form.fit(path.tau, path.centers, turns_of(rotation, r), path.size)
    if r is None or p is None:
        return None
    if form.carried:

        def misfit(parameters: np.ndarray) -> np.ndarray:
            turn = turns_of(rotation, parameters)
            own = form.fit(path.tau, path.centers, turn, path.size)
            assert own is not None  # as it was before
            shift = form.centers(own, path.tau, turn) - path.centers
            turned = (turn(path.tau) * path.turns.inv()).as_rotvec() * path.size * TURNED
            return np.concatenate([shift.ravel(), turned.ravel()])

        r = solved(misfit, r)
        p = form.fit(path.tau, path.centers, turns_of(rotation, r), path.size)
        assert p is not None
    count = len(r) + len(p)
    law = MotionLaw(
        rotation=rotation, path=name, end=path.end, span=path.span, size=path.size,
        rotation_parameters=r, path_parameters=p, covariance=np.zeros((count, count)),
    )  # fmt: skip
    c, R = law.poses(path.times)
    turned = (R * path.turns.inv()).as_rotvec() * path.size
    miss = np.concatenate([c - path.centers, turned], axis=1)
    noise = float(np.sqrt((miss**2).sum() / max(miss.size - count, 1)))
    J = law.jacobian(path.times).reshape(-1, count)
    # A weak prior: what the poses do not show at all must not make the rest uncertain.
    scale = np.maximum(np.abs(np.concatenate([r, p])), 1.0)
    information = J.T @ J / max(noise, 1e-9) ** 2 + np.diag(1 / (10 * scale) ** 2)
    # Parameters have units of their own: the matrix is scaled before it is inverted.
    unit = np.sqrt(np.diag(information))
    inverse = np.linalg.pinv(information / np.outer(unit, unit), hermitian=True)
    covariance = inverse / np.outer(unit, unit)
    return dataclasses.replace(law, covariance=covariance, floor=noise * 3**0.5)


def _misses(law: MotionLaw, path: ObservedPoses, fold: int) -> np.ndarray:
    """How far (fold,) m a law misses the last poses, to which it was not fitted."""
    last = slice(-fold, None)
    return distances(law.poses(path.times[last]), (path.centers[last], path.turns[last]), law.size)


def _calibrated(
    law: MotionLaw, path: ObservedPoses, folds: Sequence[int], earlier: Sequence[MotionLaw | None]
) -> MotionLaw:
    """The law with a covariance that explains how far its forms missed the held-out poses.

    earlier: the laws of these forms that were fitted to all poses but the last ones, by folds.
    """
    ratios: list[float] = []
    for fold, own in zip(folds, earlier, strict=True):
        if own is not None:
            claimed = np.maximum(own.deviations(path.times[-fold:]), 1e-12)
            ratios += list((_misses(own, path, fold) / claimed) ** 2)
    count = 2 * len(folds)  # errors within a fold are alike, so that it counts as two predictions
    factor = (count * float(np.mean(ratios)) + PRIOR) / (count + PRIOR) if ratios else 1.0
    return dataclasses.replace(law, covariance=factor * law.covariance)
