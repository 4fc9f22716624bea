"""How well a force is known, and whether the material explains the motion: records."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Spread:
    """Standard deviations of a force per mass, m/s^2, along the axes of the world.

    net: (T, 3), of the whole object; part: (T, n, 3), of each particle.
    """

    net: np.ndarray
    part: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bending:
    """Whether the material of an object explains how it bends.

    error: by how much a simulation would have to be off for that, over what is assumed of it, the
    root mean square over its modes; usual: what one that is as good as assumed stays below.
    """

    error: float
    usual: float

    @property
    def explained(self) -> bool:
        """Whether no larger error is needed than one that is usual."""
        return self.error <= self.usual
