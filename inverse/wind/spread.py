"""How well a force is known: a record."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Spread:
    """Standard deviations of a force per mass, m/s^2, along the axes of the world.

    net: (T, 3), of the whole object; part: (T, n, 3), of each particle.
    """

    net: np.ndarray
    part: np.ndarray
