"""What is to be found, as numbers of which a step of one is a large one.

Values are sought by their logarithm, Poisson's ratio by that of the stiffness against compression
over the stiffness, u = -ln(1 - 2 nu) = ln(3 K / E), and initial velocities in body lengths per
clip. A floor is sought in height, too, where there is one: on a grid, where a body stops depends on
the cells, by up to half of one.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from inverse.identification.config import PLACES, START


Values = dict[str, np.ndarray]  # by name: (parts,) of a material, (3,) of a velocity, (1,) else

LIMITS = {"nu": (0.0, 0.49), "friction_angle": (1.0, 75.0), "exponent": (0.05, 1.0)}
WIDE = 1e4  # a factor either way, within which other values are sought
UNITS = {
    "E": "Pa", "yield_stress": "Pa", "viscosity": "Pa s", "hardening": "Pa", "cohesion": "Pa",
    "bulk_modulus": "Pa", "density": "kg/m³", "friction_angle": "degrees", "velocity": "m/s",
    "spin": "rad/s", "floor": "m",
}  # fmt: skip
# One standard deviation of what is known before: so little that any evidence outweighs it.
LOG_PRIOR, NU_PRIOR, MOTION_PRIOR = 3.0, 1.0, 10.0
FLOOR_SHARE = 0.01  # of the object's size: a tenth of what a floor may be off by
# A value whose interval spans more than that is not told by the motion: a factor of five either
# way, and half of what lies between the limits of what has limits.
VAGUE_FACTOR, VAGUE_SHARE = 5.0, 0.5
SIGMAS = 1.96  # of an interval that holds 95 of 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unknown:
    """One number to be found.

    name: of the quantity; index: of the part or the axis; count: of parts or axes; start: the
    guess; scale: m/s, rad/s or m of one step, for what belongs to the motion.
    """

    name: str
    index: int
    count: int
    start: float
    scale: float = 1.0

    @property
    def label(self) -> str:
        """The name, with the part or the axis where there are several."""
        if self.moves and self.count == 3:
            return f"{self.name} {'xyz'[self.index]}"
        return self.name if self.count == 1 else f"{self.name} of part {self.index}"

    @property
    def unit(self) -> str:
        return UNITS.get(self.name, "")

    @property
    def moves(self) -> bool:
        """Whether it belongs to the motion, not to the material."""
        return self.name in PLACES

    @property
    def begins(self) -> bool:
        """Whether it belongs to how the motion begins."""
        return self.name in START

    @property
    def scanned(self) -> bool:
        """Whether a guess may be so far off that steps from it lead nowhere."""
        return not self.moves and self.name != "nu"

    def reach(self, decades: float) -> tuple[float, float]:
        """The numbers between which others are tried: all of what has limits, else powers of ten
        around the guess."""
        if self.name in LIMITS:
            return self.bounds
        start = self.encode(self.start)
        return start - decades * math.log(10), start + decades * math.log(10)

    def encode(self, value: float) -> float:
        """The number that is sought, of a value."""
        if self.moves:
            return value / self.scale
        return -math.log(1 - 2 * value) if self.name == "nu" else math.log(value)

    def decode(self, number: float) -> float:
        """The value of a number that is sought, within its limits."""
        if self.moves:
            return number * self.scale
        low, high = self.bounds
        number = min(max(number, low), high)
        return (1 - math.exp(-number)) / 2 if self.name == "nu" else math.exp(number)

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest number."""
        if self.moves:
            return -math.inf, math.inf
        low, high = LIMITS.get(self.name, (self.start / WIDE, self.start * WIDE))
        return self.encode(low), self.encode(high)

    @property
    def prior(self) -> tuple[float, float]:
        """Mean and standard deviation of the number before any evidence."""
        deviation = NU_PRIOR if self.name == "nu" else LOG_PRIOR
        return self.encode(self.start), MOTION_PRIOR if self.moves else deviation

    @property
    def step(self) -> float:
        """Of differences: above the rounding of the simulation, below its curvature."""
        return 0.3 if self.name == "floor" else 0.02 if self.moves else 0.04

    def interval(self, number: float, deviation: float) -> tuple[float, float]:
        """The 95 % interval of the value."""
        return self.decode(number - SIGMAS * deviation), self.decode(number + SIGMAS * deviation)

    @property
    def range(self) -> tuple[float, float]:
        """The interval of the value before any evidence."""
        return self.interval(*self.prior) if self.moves else self.interval(0.0, math.inf)

    def told(self, number: float, deviation: float) -> bool:
        """Whether an interval of this deviation says anything."""
        low, high = self.interval(number, deviation)
        if self.moves:
            return SIGMAS * deviation < MOTION_PRIOR
        if self.name in LIMITS:
            return high - low < VAGUE_SHARE * (LIMITS[self.name][1] - LIMITS[self.name][0])
        return high / low < VAGUE_FACTOR**2


def values_of(unknowns: Sequence[Unknown], numbers: np.ndarray) -> Values:
    """The values (parts,), (3,) or (1,) by name, of the numbers that are sought."""
    values: dict[str, np.ndarray] = {}
    for unknown, number in zip(unknowns, numbers, strict=True):
        array = values.setdefault(unknown.name, np.zeros(unknown.count))
        array[unknown.index] = unknown.decode(float(number))
    return values


def make_unknowns(
    starts: Mapping[str, Sequence[float]], size: float, duration: float
) -> list[Unknown]:
    """The unknowns of guesses by name, of which each has a value for each part or axis.

    size: of the object, m; duration: of the clip, s.
    """
    scales = {"velocity": size / duration, "spin": 1 / duration, "floor": FLOOR_SHARE * size}
    return [
        Unknown(
            name=name, index=k, count=len(guesses), start=float(guess), scale=scales.get(name, 1.0)
        )
        for name, guesses in starts.items()
        for k, guess in enumerate(guesses)
    ]
