"""The air of a wind: a field of velocities in the world, without divergence.

What a run finds is the air at the particles, in every interval. The field around them is what is
likeliest, given that, of a Gaussian process without divergence,

    u(x, t) ~ GP(0, (a^2 I + s^2 K(x - x')) g(t - t')),
    K(r) = ((1 - r^2 / 2 l^2) I + r r^T / 2 l^2) exp(-r^2 / 2 l^2)

the curl of a random vector potential (Narcowich and Ward 1994) beside a part that is the same
everywhere; g is that of the force's prior. Sizes and lengths are the likeliest of a few. Far from
where the object was the field is uniform. It is kept on a grid of points, by which anything can be
blown at, at the cost of a look-up.
"""

import dataclasses
import itertools

import numpy as np
from scipy import linalg

from inverse.spread import farthest_points
from inverse.wind.smoothing.prior import alike
from taichi_phys import SampledAir


PARTICLES, MOST = 20, 900  # particles, and samples in space and time, that tell the air
FEW = 150  # samples that lengths are chosen by
LENGTHS = (0.5, 1.0, 2.0, 4.0)  # of the object's size
TIMES = (0.1, 0.3, 1.0)  # of the clip's duration
VARYING = (0.1, 0.3, 1.0)  # size of the part that varies in space, of the air's
NOISE = (0.02, 0.1, 0.3)  # errors of the air at a particle, of the air's size
CELLS, NODES = 8, 12_000  # of the grid along the object's size; at most so many points
PIECE = 500  # points of the grid at a time


@dataclasses.dataclass(frozen=True, kw_only=True)
class Likeness:
    """Sizes uniform (a) and varying (s), m/s; length (l), m; time, s; noise, m/s."""

    uniform: float
    varying: float
    length: float
    time: float
    noise: float

    def in_space(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(n, m, 3, 3) m^2/s^2: covariances of velocities at x (n, 3) m and y (m, 3) m."""
        r = (x[:, None] - y) / self.length
        square = 0.5 * (r**2).sum(axis=-1)[..., None, None]
        swirl = (1 - square) * np.eye(3) + 0.5 * r[..., :, None] * r[..., None, :]
        return self.uniform**2 * np.eye(3) + self.varying**2 * np.exp(-square) * swirl

    def factor(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """(3 m, 3 m): root of the covariance of what samples at x (m, 3) m and t (m,) s say."""
        covariance = self.in_space(x, x) * alike(t[:, None] - t, self.time)[..., None, None]
        covariance = covariance.swapaxes(1, 2).reshape(3 * len(x), -1)
        covariance[np.diag_indices_from(covariance)] += self.noise**2
        return linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)


def find_air(
    x: np.ndarray, u: np.ndarray, fps: float, *, held: np.ndarray | None = None
) -> SampledAir:
    """The air around particles that move along x (T, n, 3) m, from that in the intervals between
    frames, u (T-1, n, 3) m/s.

    fps: frames per second; held: (n,) bool, particles of which no motion shows the air.
    """
    size = float(np.ptp(x[0], axis=0).max())
    free = np.arange(x.shape[1]) if held is None or held.all() else np.flatnonzero(~held)
    some = free[farthest_points(x[0, free], PARTICLES)]
    middle = 0.5 * (x[:-1] + x[1:])[:, some]
    t = np.arange(len(x)) / fps
    times = np.repeat(0.5 * (t[:-1] + t[1:]), len(some))
    places, speeds = middle.reshape(-1, 3), u[:, some].reshape(-1, 3)
    order = np.random.default_rng(0).permutation(len(places))[:MOST]
    places, speeds, times = places[order], speeds[order], times[order]
    likeness = _likeliest(places[:FEW], speeds[:FEW], times[:FEW], size, float(t[-1]))
    factor = likeness.factor(places, times)
    told = linalg.cho_solve((factor, True), speeds.ravel(), check_finite=False).reshape(-1, 3)
    lower, upper = (end(x, axis=(0, 1)) for end in (np.min, np.max))
    lower, upper = lower - size, upper + size
    spacing = max(size / CELLS, float(np.prod(upper - lower) / NODES) ** (1 / 3))
    axes = [
        low + spacing * np.arange(int(np.ceil((high - low) / spacing)) + 1)
        for low, high in zip(lower, upper, strict=True)
    ]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    flat, fade = nodes.reshape(-1, 3), alike(t[:, None] - times, likeness.time)
    values = np.concatenate([
        np.einsum("ts,nsab,sb->tna", fade, likeness.in_space(flat[k : k + PIECE], places), told,
                  optimize=["einsum_path", (1, 2), (0, 1)])
        for k in range(0, len(flat), PIECE)
    ], axis=1)  # fmt: skip
    return SampledAir(
        lower=lower, spacing=spacing, t=t,
        values=values.reshape(len(t), *nodes.shape).astype(np.float32),
    )  # fmt: skip


def _likeliest(
    x: np.ndarray, u: np.ndarray, t: np.ndarray, size: float, duration: float
) -> Likeness:
    strength = max(float(np.sqrt((u**2).mean())), 1e-6)
    best, most = None, -np.inf
    for length, time, varying, noise in itertools.product(LENGTHS, TIMES, VARYING, NOISE):
        tried = Likeness(
            uniform=strength, varying=varying * strength, length=length * size,
            time=time * duration, noise=noise * strength,
        )  # fmt: skip
        factor = tried.factor(x, t)
        part = linalg.solve_triangular(factor, u.ravel(), lower=True, check_finite=False)
        likelihood = -0.5 * part @ part - np.log(np.diagonal(factor)).sum()
        if likelihood > most:
            best, most = tried, likelihood
    assert best is not None
    return best
