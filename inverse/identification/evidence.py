"""What is seen of the motion, and what a simulation misses of it."""

from typing import Protocol

import numpy as np

from inverse.affine import affine_slopes, affine_weights
from inverse.identification.inputs import MIN_POINTS, MovingPoints
from inverse.lifting.rigid import motion_between
from inverse.spread import farthest_points


CLUSTERS = 24  # groups of neighbors, whose errors may be alike


class Followers:
    """Points that follow the particles around them.

    x0: (n, 3) m, particles in frame 0; points: (m, 3) m there.
    """

    def __init__(self, x0: np.ndarray, points: np.ndarray):
        self.near, self.weights = affine_weights(x0, points)
        self.slopes = affine_slopes(x0, points)
        # Particles do not reach the surface: what is left of a point there turns along.
        self.rest = points - np.einsum("mk,mkc->mc", self.weights, x0[self.near])

    def stretch(self, x: np.ndarray) -> np.ndarray:
        """The deformation gradients (..., m, 3, 3) around the points, of particles (..., n, 3)."""
        return np.einsum("...mka,mkb->...mab", x[..., self.near, :], self.slopes)

    def place(self, x: np.ndarray, stretch: np.ndarray) -> np.ndarray:
        """The points (..., m, 3) m of particles (..., n, 3) m; stretch: of these."""
        carried = np.einsum("mk,...mkc->...mc", self.weights, x[..., self.near, :])
        return carried + np.einsum("...mab,mb->...ma", stretch, self.rest)


class MotionEvidence(Protocol):
    """What is seen of an object's motion.

    unit: of the residuals; t: (T,) s, of the frames; cloud: (m, 3) m, points of the object in
    frame 0; noise: the standard deviation of residuals where the simulation is right; shapeless:
    what the best motion misses that leaves the object its shape, root mean square, and still: what
    an object at rest misses.
    """

    unit: str
    t: np.ndarray
    cloud: np.ndarray
    noise: float
    shapeless: float
    still: float

    @property
    def count(self) -> int:
        """The number of frames."""

    @property
    def clusters(self) -> np.ndarray:
        """(N,) int: the group of each residual of the whole clip, of which errors are alike."""

    def bind(self, x0: np.ndarray) -> None:
        """Be ready for simulations of particles that start at x0 (n, 3) m."""

    def trust(self, shares: np.ndarray) -> None:
        """Let residuals of each frame count as shares (T,) in 0..1 say, 1 at first."""

    def shown(self, x: np.ndarray) -> np.ndarray:
        """(T, N): what a simulation x (T, n, 3) m shows in each frame, in the unit of residuals."""

    def residuals(self, x: np.ndarray) -> np.ndarray:
        """(N,) float64: seen minus simulated, weighted, of the first frames x (k, n, 3) m."""

    def missed(self, x: np.ndarray) -> list[float]:
        """The root mean square of what a simulation x (T, n, 3) m misses of each frame."""


class PointEvidence:
    """Points that move with the object; noise: m, default: as the points show it."""

    unit = "m"

    def __init__(self, points: MovingPoints, noise: float | None = None):
        self.points, self.t, self.cloud = points, points.t, points.x[0]
        self.noise = points.noise() if noise is None else noise
        x0 = points.x[0]
        groups = farthest_points(x0, CLUSTERS)
        gap = ((x0[:, None] - x0[groups]) ** 2).sum(axis=2)
        self._groups = gap.argmin(axis=1)
        self._root = np.sqrt(points.weights)
        self._trusted = self._root
        rigid = [
            motion_between(x0[w > 0], x[w > 0]).move(x0[w > 0]) - x[w > 0]
            for x, w in zip(points.x, points.weights, strict=True)
            if (w > 0).sum() >= MIN_POINTS
        ]
        self.shapeless = float(np.sqrt((np.concatenate(rigid) ** 2).mean()))
        way = np.where(points.weights[..., None] > 0, points.x - x0, 0.0)
        self.still = float(np.sqrt((way**2).mean()))

    @property
    def count(self) -> int:
        """The number of frames."""
        return len(self.points.t)

    @property
    def clusters(self) -> np.ndarray:
        """(N,) int: the group of neighbors of each residual."""
        shape = (*self.points.x.shape[:2], 3)
        return np.broadcast_to(self._groups[None, :, None], shape).reshape(-1)

    def bind(self, x0: np.ndarray) -> None:
        """Be ready for simulations of particles that start at x0 (n, 3) m."""
        self._followers = Followers(x0, self.points.x[0])

    def trust(self, shares: np.ndarray) -> None:
        """Let residuals of each frame count as shares (T,) in 0..1 say, 1 at first."""
        self._trusted = self._root * np.sqrt(shares)[:, None]

    def shown(self, x: np.ndarray) -> np.ndarray:
        """(T, N) m: the points in a simulation x (T, n, 3) m, weighted."""
        placed = self._followers.place(x, self._followers.stretch(x))
        return (self._root[..., None] * placed).reshape(len(x), -1)

    def simulated(self, x: np.ndarray) -> np.ndarray:
        """The points (k, m, 3) m in a simulation x (k, n, 3) m, moved to where they fit best.

        A point is noisy in frame 0, too: its place in the body is that from which it meets all
        frames best, frame 0 as one of them.
        """
        stretch = self._followers.stretch(x)
        placed = self._followers.place(x, stretch)
        root = self._trusted[: len(x), :, None]
        off = root * (self.points.x[: len(x)] - placed)
        slopes = root[..., None] * stretch
        normal = np.einsum("tmab,tmac->mbc", slopes, slopes)
        shift = np.linalg.solve(normal, np.einsum("tmab,tma->mb", slopes, off)[..., None])
        return placed + np.einsum("tmab,mb->tma", stretch, shift[..., 0])

    def residuals(self, x: np.ndarray) -> np.ndarray:
        """(N,) m: seen minus simulated, weighted, of the first frames x (k, n, 3) m."""
        off = self.points.x[: len(x)] - self.simulated(x)
        return (self._trusted[: len(x), :, None] * off).reshape(-1)

    def missed(self, x: np.ndarray) -> list[float]:
        """The root mean square, m, of what a simulation x (T, n, 3) m misses of each frame."""
        square = (self.residuals(x) ** 2).reshape(len(x), -1).sum(axis=1)
        return np.sqrt(square / np.maximum(3 * self.points.weights.sum(axis=1), 1e-300)).tolist()
