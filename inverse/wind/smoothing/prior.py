"""What is presumed of a force per mass before any motion is seen: a Gaussian process.

    f(x, t) ~ GP(0, (a^2 I + s^2 ((1 - c) F(d) + c S(d))) g(t - t')),    d = (x - x') / l
    F(d) = (d d^T / 2 + (1 - |d|^2 / 2) I) exp(-|d|^2 / 2),    S(d) = (I - d d^T) exp(-|d|^2 / 2)

with x in the shape of frame 0, turned as the body is: a part that is the same everywhere, of size
a, and one that varies over a length l, of size s. That is a flow without sources, F, as of an air
that is hardly compressible, and for a share c of its variance the slope of a potential, S, as of
something that draws or drives apart (Narcowich and Ward 1994). Without preference c is 1/3: then
axes are nearly independent. What a motion shows least of, pressure from all sides, is what F has
not. All change over a time tau:

    g(t) = (1 + r + r^2 / 3) exp(-r) + c,    r = sqrt(5) |t| / tau    (Matern 5/2, and a constant)

so that two derivatives in time exist, and a force that does not change (gravity) is no surprise.
The process is written in few functions of space and time and as many standard normal numbers.
"""

import dataclasses
import itertools

import numpy as np
from scipy import linalg


CONSTANT = 0.5  # c: variance of the part that does not change, beside that of the one that does
SAMPLES = 600  # particles that the functions of space are made from (Nystrom)
SMALLEST = 1e-4  # of the largest variance: functions below it are left out
JITTER = 1e-10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strength:
    """The prior's parameters: uniform (a) and varying (s), m/s^2; length (l), m; time (tau), s;
    sources (c), 0 to 1."""

    uniform: float
    varying: float
    length: float
    time: float
    sources: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Shapes:
    """Functions of space of one length: values (n, J) at particles, variances (J,), the
    coefficients (J,) of the function that is 1 everywhere, and covariances (3, J, 3, J) of the
    coefficients of a field of size 1 along three axes: of a flow and of the slope of a potential.
    """

    values: np.ndarray
    variances: np.ndarray
    one: np.ndarray
    flow: np.ndarray
    slope: np.ndarray

    def root(self, strength: Strength) -> np.ndarray:
        """(3, J, 3, J), symmetric: times standard normal numbers, coefficients of a force, m/s^2.

        The symmetric root leaves numbers with their axes, so that a force that stays in the world
        is one whose numbers stay, while the body turns (`turned`).
        """
        J = len(self.one)
        covariance = (1 - strength.sources) * self.flow + strength.sources * self.slope
        covariance = (strength.varying**2 * covariance).reshape(3 * J, 3 * J)
        same = np.kron(np.eye(3), self.one[:, None])
        values, vectors = np.linalg.eigh(covariance + strength.uniform**2 * same @ same.T)
        return ((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T).reshape(3, J, 3, J)


def turned(root: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """(T, 3, J, 3, J): a root (3, J, 3, J) for a body that has turned by turns (T, 3, 3)."""
    return np.einsum("tab,bjcl,tdc->tajdl", turns, root, turns, optimize=True)


def find_shapes(x: np.ndarray, mass: np.ndarray, length: float, count: int) -> Shapes:
    """The functions, at most count, that carry most of a process of a length, m, over the body.

    x: (n, 3) m; mass: (n,) kg.
    """
    step = max(1, len(x) // SAMPLES)
    # Particles come in the order of a lattice: a stride with no factor of it in common samples it.
    order = np.random.default_rng(0).permutation(len(x))[::step]
    some, weight = x[order], np.sqrt(mass[order] / mass[order].sum())
    near = np.exp(-((some[:, None] - some) ** 2).sum(axis=-1) / (2 * length**2))
    variances, vectors = np.linalg.eigh(weight[:, None] * near * weight)
    variances, vectors = variances[::-1][:count], vectors[:, ::-1][:, :count]
    kept = variances > SMALLEST * variances[0]
    variances, vectors = variances[kept], vectors[:, kept]
    values = np.empty((len(x), len(variances)))
    for start in range(0, len(x), 4096):
        part = slice(start, start + 4096)
        far = ((x[part, None] - some) ** 2).sum(axis=-1) / (2 * length**2)
        values[part] = np.exp(-far) @ (weight[:, None] * vectors) / variances
    one = np.linalg.lstsq(
        np.sqrt(mass)[:, None] * values, np.sqrt(mass), rcond=None
    )[0]  # fmt: skip
    apart = (some[:, None] - some) / length
    weighted = weight[:, None] * vectors
    flow, slope = np.empty((2, 3, len(variances), 3, len(variances)))
    for a, b in itertools.product(range(3), range(3)):
        across = apart[..., a] * apart[..., b]
        along = (1 - 0.5 * (apart**2).sum(axis=-1)) * (a == b)
        flow[a, :, b] = weighted.T @ ((0.5 * across + along) * near) @ weighted
        slope[a, :, b] = weighted.T @ (((a == b) - across) * near) @ weighted
    return Shapes(values=values, variances=variances, one=one, flow=flow, slope=slope)


def only_shape(values: np.ndarray) -> Shapes:
    """The one function of a force that has no other, with values (n,); its size is the uniform
    one."""
    none = np.zeros((3, 1, 3, 1))
    return Shapes(
        values=values[:, None], variances=np.zeros(1), one=np.ones(1), flow=none, slope=none
    )


def alike(lag: np.ndarray, time: float) -> np.ndarray:
    """g: the covariance of forces at lags, s, that change over a time, s."""
    r = np.sqrt(5) * np.abs(lag) / time
    return (1 + r + r * r / 3) * np.exp(-r) + CONSTANT


def time_root(intervals: int, frame_dt: float, time: float) -> np.ndarray:
    """(intervals, intervals): times standard normal numbers, a coefficient in each interval."""
    t = np.arange(intervals) * frame_dt
    covariance = alike(t[:, None] - t, time)
    covariance[np.diag_indices_from(covariance)] += JITTER * intervals
    return linalg.cholesky(covariance, lower=True)
