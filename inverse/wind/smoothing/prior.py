"""What is presumed of a force per mass before any motion is seen: a Gaussian process.

    f(x, t) ~ GP(0, (a^2 + s^2 k(|x - x'| / l)) g(t - t')),    k(d) = exp(-d^2 / 2)

for each axis, with x in the shape of frame 0: a part that is the same everywhere, of size a, one
that varies over a length l, of size s, and both change over a time tau:

    g(t) = (1 + r + r^2 / 3) exp(-r) + c,    r = sqrt(5) |t| / tau    (Matern 5/2, and a constant)

so that two derivatives in time exist, and a force that does not change (gravity) is no surprise.
The process is written in few functions of space and time and as many standard normal numbers.
"""

import dataclasses

import numpy as np
from scipy import linalg


CONSTANT = 0.5  # c: variance of the part that does not change, beside that of the one that does
SAMPLES = 600  # particles that the functions of space are made from (Nystrom)
SMALLEST = 1e-4  # of the largest variance: functions below it are left out
JITTER = 1e-10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strength:
    """The prior's parameters: uniform (a) and varying (s), m/s^2; length (l), m; time (tau), s."""

    uniform: float
    varying: float
    length: float
    time: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Shapes:
    """Functions of space of one length: values (n, J) at particles, variances (J,) and the
    coefficients (J,) of the function that is 1 everywhere."""

    values: np.ndarray
    variances: np.ndarray
    one: np.ndarray

    def root(self, uniform: float, varying: float) -> np.ndarray:
        """(J, J): times standard normal numbers, coefficients of a force along an axis, m/s^2."""
        covariance = varying**2 * np.diag(self.variances)
        covariance += uniform**2 * np.outer(self.one, self.one)
        covariance[np.diag_indices_from(covariance)] += JITTER * np.trace(covariance)
        return linalg.cholesky(covariance, lower=True)


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
    return Shapes(values=values, variances=variances, one=one)


def only_shape(values: np.ndarray) -> Shapes:
    """The one function of a force that has no other, with values (n,); its size is the uniform
    one."""
    return Shapes(values=values[:, None], variances=np.zeros(1), one=np.ones(1))


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
