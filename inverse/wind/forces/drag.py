"""Wind that drags: what air of a velocity does to a body, and which air does what was seen.

    m dv/dt = m g + k m (u - v) + internal forces

with the air's velocity u(x, t), a rate k, 1/s, and gravity g. Solvers look for w = k u, what the
air would do to a particle at rest. The force of an interval of h s is held: it is the mean of what
the drag does in it to a particle that begins with velocity v and that nothing else moves,

    f / m = (w + g - k v) s,    s = (1 - exp(-k h)) / (k h)

which has the center of mass right. Where the rate is not given it follows from the density, size
and shape of the body: drag is quadratic in the slip c = |u - v|,

    f / m = q c (u - v),    q = C rho A / 2 m

with the density rho of air, the mean A of the area that the body shows to a flow, over all
directions (a quarter of its surface, if it is convex: Cauchy), and a coefficient C. At the slip c
that explains a typical force a per mass, q c^2 = a, its rate is k = q c = sqrt(q a).
"""

import dataclasses
import math

import numpy as np
import torch
from scipy.spatial import ConvexHull, QhullError

import taichi_phys as tp


AIR = 1.2  # kg/m^3, at 20 degrees Celsius at sea level
COEFFICIENT = 1.0  # between a sphere's 0.5 and a plate's 1.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class AirDrag:
    """The force of a wind: rate, 1/s; gravity (3,) m/s^2; frame_dt, s, of an interval."""

    rate: float
    gravity: tuple[float, float, float]
    frame_dt: float

    @property
    def share(self) -> float:
        """Mean force in an interval over that at its beginning."""
        z = self.rate * self.frame_dt
        return -math.expm1(-z) / z

    def held(self, field: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """(n, 3) m/s^2, held in an interval that begins with velocities v (n, 3) m/s; field: (n, 3)
        m/s^2, the rate times the air's velocity."""
        gravity = torch.as_tensor(self.gravity).to(v)
        return self.share * (field + gravity - self.rate * v)

    def air(self, specific: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """(..., 3) m/s: the air that does specific forces, held in intervals that begin with
        velocities v; the reverse of held."""
        gravity = torch.as_tensor(self.gravity).to(v)
        return v + (specific / self.share - gravity) / self.rate


def quadratic_drag(x: np.ndarray, mass: float) -> float:
    """q, 1/m, of a body of particles x (n, 3) m that weighs so many kg."""
    try:
        area = float(ConvexHull(x).area)
    except QhullError:  # flat
        spans = np.sort(np.ptp(x, axis=0))
        area = 2.0 * float(spans[1] * spans[2])
    return COEFFICIENT * AIR * (area / 4) / (2 * mass)


def settled_rate(quadratic: float, targets: np.ndarray, gravity: np.ndarray, fps: float) -> float:
    """k, 1/s, of a body with q (1/m) that moves along targets (T, n, 3) m: at the slip that its
    typical acceleration, less gravity (3,) m/s^2, takes; fps: frames per second."""
    center = targets.mean(axis=1)
    second = np.diff(center, n=2, axis=0) * fps**2 - gravity
    typical = float(np.sqrt((second**2).sum(axis=1).mean()))
    return math.sqrt(quadratic * max(typical, 1e-3))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BodyDrag(tp.ForceField):
    """The drag of air on a whole body, which shares it out by mass: a heavier body of the same
    shape answers with a lower rate.

    air: its velocity; strength: kg/s, the body's rate times its mass.
    """

    air: tp.AirVelocity
    strength: float

    def __call__(
        self, x: torch.Tensor, t: float, v: torch.Tensor, mass: torch.Tensor
    ) -> torch.Tensor:
        """Forces (n, 3) N on particles."""
        share = (mass / mass.sum())[:, None]
        return self.strength * share * (self.air(x, t) - v)
