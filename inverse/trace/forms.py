"""Forms of rigid motion: how a body may turn, and how a point of it may move.

Each form is a function of time with a few parameters, made for fitting: times count from the last
observed one in units of the observed span, so that observed times are -1 to 0. A rotation form
gives rotations since those of a reference orientation; a path form gives the positions of the
center, and may use how the body turns.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from inverse.trace.spins import integral, spun


Turns = Callable[[np.ndarray], Rotation]

FREQUENCIES = np.geomspace(1.5, 30.0, 40)  # rad per span, tried at first: a quarter to 5 periods
ROUNDS = 15  # of a nonlinear fit, at most
DAMPING = 2.0  # largest decay or growth of an oscillation, 1 per span
ARM = 0.2  # sizes of the body, within which the point that moves simply is expected
FAR = 20.0  # the same, for the pivot about which a body turns


def solved(misfit: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> np.ndarray:
    """The parameters that make misfit(parameters) least, from a start that is nearly right."""
    return least_squares(misfit, start, x_scale="jac", ftol=1e-6, max_nfev=ROUNDS).x


def waves(times: np.ndarray, frequency: float, damping: float) -> np.ndarray:
    """The two solutions (T, 2) of an oscillator at times."""
    fade = np.exp(-damping * times)
    return np.stack([fade * np.cos(frequency * times), fade * np.sin(frequency * times)], axis=1)


def powers(times: np.ndarray, degree: int) -> np.ndarray:
    """Columns t^0 to t^degree, (T, degree + 1)."""
    return times[:, None] ** np.arange(degree + 1)


def best_wave(
    times: np.ndarray, target: np.ndarray, degree: int
) -> tuple[float, float, np.ndarray]:
    """Fit polynomials of a degree and one damped wave to target (T, d).

    Returns the frequency, the damping, and the coefficients (degree + 3, d).
    """

    def solve(frequency: float, damping: float) -> tuple[np.ndarray, np.ndarray]:
        basis = np.concatenate([powers(times, degree), waves(times, frequency, damping)], axis=1)
        # A little ridge: slow waves and polynomials are nearly the same.
        ridge = np.eye(basis.shape[1]) * 1e-4 * len(times) ** 0.5
        rows = np.concatenate([basis, ridge])
        values = np.concatenate([target, np.zeros((len(ridge), target.shape[1]))])
        found = np.linalg.lstsq(rows, values, rcond=None)[0]
        return found, (rows @ found - values).ravel()

    start = min(FREQUENCIES, key=lambda f: float(np.square(solve(f, 0.0)[1]).sum()))
    low, high = FREQUENCIES[0] / 2, FREQUENCIES[-1] * 1.5
    fit = least_squares(
        lambda p: solve(*p)[1], [start, 0.0], bounds=([low, -DAMPING], [high, DAMPING]),
        x_scale=[start, 1.0], ftol=1e-6, max_nfev=ROUNDS,
    )  # fmt: skip
    return float(fit.x[0]), float(fit.x[1]), solve(*fit.x)[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RotationForm:
    """How a body turns.

    start(times, turns) gives first parameters, None where the form cannot be; turns(parameters,
    times) gives the rotations (T,); count: the number of parameters.
    """

    name: str
    count: int
    start: Callable[[np.ndarray, Rotation], np.ndarray | None]
    turns: Callable[[np.ndarray, np.ndarray], Rotation]

    def fit(self, times: np.ndarray, turns: Rotation) -> np.ndarray | None:
        """The parameters that fit rotations (T,) at times (T,), None where the form cannot be."""
        start = self.start(times, turns) if 3 * len(times) >= self.count else None
        if start is None:
            return None

        def misfit(p: np.ndarray) -> np.ndarray:
            return (turns * self.turns(p, times).inv()).as_rotvec().ravel()

        return solved(misfit, start)


def _polynomial(degree: int) -> RotationForm:
    """A spin that is a polynomial of the time; degree -1: none."""

    def start(times: np.ndarray, turns: Rotation) -> np.ndarray:
        found = np.zeros((degree + 2, 3))
        found[0] = turns[-1].as_rotvec()
        if degree >= 0 and len(times) > 1:
            steps = (turns[1:] * turns[:-1].inv()).as_rotvec() / np.diff(times)[:, None]
            middle = (times[1:] + times[:-1]) / 2
            known = min(degree, len(times) - 2)
            found[1 : known + 2] = np.linalg.lstsq(powers(middle, known), steps, rcond=None)[0]
        return found.ravel()

    def evaluate(p: np.ndarray, times: np.ndarray) -> Rotation:
        p = p.reshape(-1, 3)
        if len(p) == 1:
            return Rotation.from_rotvec(np.tile(p[0], (len(times), 1)))
        return spun(p[1:], times) * Rotation.from_rotvec(p[0])

    name = {-1: "none", 0: "constant", 1: "accelerated", 2: "jerk"}[degree]
    return RotationForm(name=name, count=3 * (degree + 2), start=start, turns=evaluate)


def _swing_start(times: np.ndarray, turns: Rotation) -> np.ndarray | None:
    middle = turns.mean()
    vectors = (turns * middle.inv()).as_rotvec()
    if np.linalg.norm(vectors, axis=1).max() > 2.6:  # rad; beyond that it goes round
        return None
    frequency, damping, found = best_wave(times, vectors, 0)
    # The constant goes into the reference, to first order.
    base = Rotation.from_rotvec(found[0]) * middle
    return np.concatenate([base.as_rotvec(), found[1], found[2], [frequency, damping]])


def _swing(p: np.ndarray, times: np.ndarray) -> Rotation:
    vectors = waves(times, p[9], p[10]) @ p[3:9].reshape(2, 3)
    return Rotation.from_rotvec(vectors) * Rotation.from_rotvec(p[:3])


ROTATIONS = {
    form.name: form
    for form in (
        *(_polynomial(degree) for degree in (-1, 0, 1, 2)),
        RotationForm(name="harmonic", count=11, start=_swing_start, turns=_swing),
    )
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PathForm:
    """How the center of a body moves, given how it turns.

    fit(times, centers, turns, size) finds parameters, None where the form cannot be;
    centers(parameters, times, turns) gives the positions (T, 3), with `turns` a function of times;
    count: the number of parameters, without the place in the body of the point that follows the
    form; carried: whether the path depends on the turns.
    """

    name: str
    count: int
    fit: Callable[[np.ndarray, np.ndarray, Turns, float], np.ndarray | None]
    centers: Callable[[np.ndarray, np.ndarray, Turns], np.ndarray]
    carried: bool = False


def _linear(
    name: str,
    basis: Callable[[np.ndarray, Turns], np.ndarray],
    unknowns: int,
    arm: float | None = None,
) -> PathForm:
    """A form that is linear in its parameters: basis(times, turns) is (T, 3, unknowns).

    arm: how far, in sizes of the body, the point that follows the form may be from the center; None
    where it is the center.
    """

    def rows(times: np.ndarray, turns: Turns) -> np.ndarray:
        parts = [basis(times, turns)]
        if arm is not None:
            parts.append(-turns(times).as_matrix())
        return np.concatenate(parts, axis=2)

    def fit(times: np.ndarray, centers: np.ndarray, turns: Turns, size: float) -> np.ndarray | None:
        if 3 * len(times) < unknowns:
            return None
        A = rows(times, turns).reshape(3 * len(times), -1)
        target = centers.ravel()
        if arm is None:
            return np.linalg.lstsq(A, target, rcond=None)[0]
        plain = np.linalg.lstsq(A[:, :unknowns], target, rcond=None)[0]
        noise = np.sqrt(np.mean((target - A @ np.linalg.lstsq(A, target, rcond=None)[0]) ** 2))
        miss = np.sqrt(np.mean((target - A[:, :unknowns] @ plain) ** 2))
        # The noise is not known where the form fits exactly; the arm stays where it is not needed.
        noise = max(3 * noise, 1e-2 * min(miss, size), 1e-9 * size)
        prior = np.zeros((3, A.shape[1]))
        prior[:, unknowns:] = np.eye(3) * noise / (arm * size)
        rows_, values = np.concatenate([A, prior]), np.concatenate([target, np.zeros(3)])
        return np.linalg.lstsq(rows_, values, rcond=None)[0]

    def evaluate(p: np.ndarray, times: np.ndarray, turns: Turns) -> np.ndarray:
        return rows(times, turns) @ p

    return PathForm(name=name, count=unknowns, fit=fit, centers=evaluate, carried=True)


def _polynomial_basis(degree: int) -> Callable[[np.ndarray, Turns], np.ndarray]:
    def basis(times: np.ndarray, turns: Turns) -> np.ndarray:
        return np.einsum("td,ij->tidj", powers(times, degree), np.eye(3)).reshape(len(times), 3, -1)

    return basis


def _steered_basis(times: np.ndarray, turns: Turns) -> np.ndarray:
    """c = c0 + integral of R (u0 + u1 t): a velocity that turns with the body."""
    first = turns(np.zeros(1))[0].inv()

    def moves(t: np.ndarray) -> np.ndarray:
        R = (turns(t) * first).as_matrix()
        return np.concatenate([R, R * t[:, None, None]], axis=2)

    here = np.broadcast_to(np.eye(3), (len(times), 3, 3))
    return np.concatenate([here, integral(moves, times)], axis=2)


def _trd_basis(times: np.ndarray, turns: Turns) -> np.ndarray:
    """TRACE's form, dc/dt = v_bar + a_bar t + w x c, that is c = R (c0 + integral of R^T (...))."""
    first = turns(np.zeros(1))[0].inv()

    def moves(t: np.ndarray) -> np.ndarray:
        back = np.swapaxes((turns(t) * first).as_matrix(), 1, 2)
        return np.concatenate([back, back * t[:, None, None]], axis=2)

    here = np.broadcast_to(np.eye(3), (len(times), 3, 3))
    inner = np.concatenate([here, integral(moves, times)], axis=2)
    return (turns(times) * first).as_matrix() @ inner


def _wave_form(name: str, degree: int) -> PathForm:
    """Polynomials and a damped wave in each coordinate."""

    def fit(times: np.ndarray, centers: np.ndarray, turns: Turns, size: float) -> np.ndarray | None:
        if 3 * len(times) < 3 * (degree + 3) + 2:
            return None
        middle = centers.mean(axis=0)
        frequency, damping, found = best_wave(times, (centers - middle) / size, degree)
        found = found * size
        found[0] += middle
        return np.concatenate([found.ravel(), [frequency, damping]])

    def evaluate(p: np.ndarray, times: np.ndarray, turns: Turns) -> np.ndarray:
        basis = np.concatenate([powers(times, degree), waves(times, p[-2], p[-1])], axis=1)
        return basis @ p[:-2].reshape(-1, 3)

    return PathForm(name=name, count=3 * (degree + 3) + 2, fit=fit, centers=evaluate)


def _arc_fit(
    times: np.ndarray, centers: np.ndarray, turns: Turns, size: float
) -> np.ndarray | None:
    """A point that swings on a circle: the circle, then the angle as a damped wave."""
    middle = centers.mean(axis=0)
    _, spread, axes = np.linalg.svd(centers - middle, full_matrices=False)
    if len(times) < 6 or spread[1] < 1e-3 * spread[0]:
        return None
    flat = (centers - middle) @ axes[:2].T
    A = np.concatenate([2 * flat, np.ones((len(flat), 1))], axis=1)
    found = np.linalg.lstsq(A, (flat**2).sum(axis=1), rcond=None)[0]
    radius = float(np.sqrt(max(found[2] + found[:2] @ found[:2], 0.0)))
    if not 0 < radius < FAR * np.ptp(flat):
        return None
    arms = flat - found[:2]
    angles = np.unwrap(np.arctan2(arms[:, 1], arms[:, 0]))
    frequency, damping, wave = best_wave(times, angles[:, None], 0)
    pivot = middle + found[:2] @ axes[:2]
    start = np.concatenate(
        [pivot, radius * axes[0], radius * axes[1], wave[:, 0], [frequency, damping]]
    )

    def misfit(p: np.ndarray) -> np.ndarray:
        # The two axes of the circle stay at right angles and equally long.
        a, b = p[3:6], p[6:9]
        kept = np.array([a @ b, a @ a - b @ b]) / radius
        return np.concatenate([(_arc(p, times, turns) - centers).ravel(), kept])

    return solved(misfit, start)


def _arc(p: np.ndarray, times: np.ndarray, turns: Turns) -> np.ndarray:
    angles = p[9] + waves(times, p[12], p[13]) @ p[10:12]
    return p[:3] + np.cos(angles)[:, None] * p[3:6] + np.sin(angles)[:, None] * p[6:9]


def _turning_fit(
    times: np.ndarray, centers: np.ndarray, turns: Turns, size: float
) -> np.ndarray | None:
    """A velocity that turns by itself at a changing rate, while the speed changes."""
    if len(times) < 7:
        return None
    cubic = np.linalg.lstsq(powers(times, 4), centers, rcond=None)[0]
    derivative = powers(times, 3) * np.arange(1, 5)
    v = derivative @ cubic[1:]
    a = powers(times, 2) * np.array([2, 6, 12]) @ cubic[2:]
    square = np.maximum((v**2).sum(axis=1, keepdims=True), 1e-12)
    rates = np.linalg.lstsq(powers(times, 1), np.cross(v, a) / square, rcond=None)[0]
    growth = float(np.mean((v * a).sum(axis=1) / square[:, 0]))
    # The place and the velocity at time 0 follow linearly from how the velocity turns and grows.
    here = np.broadcast_to(np.eye(3), (len(times), 3, 3))
    target = centers.ravel()

    def solve(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        A = np.concatenate([here, _turned(p, times)], axis=2).reshape(len(target), -1)
        found = np.linalg.lstsq(A, target, rcond=None)[0]
        return found, A @ found - target

    p = solved(lambda p: solve(p)[1], np.concatenate([rates.ravel(), [growth, 0.0]]))
    return np.concatenate([solve(p)[0], p])


def _turned(p: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Integrals (T, 3, 3) from 0 to times of the matrices that a velocity at time 0 goes through.

    p: (8,), the two rates of its turning, and the linear and the quadratic growth of the speed.
    """

    def moves(t: np.ndarray) -> np.ndarray:
        speed = 1 + p[6] * t + p[7] * t**2
        return spun(p[:6].reshape(2, 3), t).as_matrix() * speed[:, None, None]

    return integral(moves, times)


def _turning(p: np.ndarray, times: np.ndarray, turns: Turns) -> np.ndarray:
    return p[:3] + _turned(p[6:], times) @ p[3:6]


PATHS = {
    form.name: form
    for form in (
        _linear("pivot", _polynomial_basis(0), 3, FAR),
        _linear("constant", _polynomial_basis(1), 6, ARM),
        _linear("accelerated", _polynomial_basis(2), 9, ARM),
        _linear("steered", _steered_basis, 9),
        _linear("trd", _trd_basis, 9),
        _linear("jerk", _polynomial_basis(3), 12, ARM),
        _wave_form("harmonic", 0),
        PathForm(name="arc", count=12, fit=_arc_fit, centers=_arc),
        PathForm(name="turning", count=14, fit=_turning_fit, centers=_turning),
        _wave_form("weaving", 1),
    )
}
