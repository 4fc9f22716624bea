"""What an object is made of, as ranges: what a word or a picture leaves open stays open."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from taichi_phys import MATERIALS, Material
from taichi_phys.checks import finite_number, one_of, set_fields


LAWS = ("elastic", "elastoplastic", "viscoplastic")
# Units, and limits that no material of an everyday thing lies beyond: what does is in another unit.
UNITS = {
    "density": "kg/m³", "E": "Pa", "nu": "", "thickness": "m", "yield_stress": "Pa",
    "viscosity": "Pa s",
}  # fmt: skip
LIMITS = {
    "density": (1.0, 23000.0), "E": (10.0, 1.3e12), "nu": (-0.5, 0.4999), "thickness": (1e-7, 2.0),
    "yield_stress": (1e-2, 1e10), "viscosity": (1e-5, 1e6),
}  # fmt: skip
NEEDED = {"elastoplastic": ("yield_stress",), "viscoplastic": ("yield_stress", "viscosity")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
    """A quantity that is known to lie from low to high; typical: the value to work with."""

    low: float
    typical: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Substance:
    """A material, its quantities as ranges, and where they come from.

    law: elastic, elastoplastic or viscoplastic; density: kg/m^3; E: Young's modulus, Pa; nu:
    Poisson's ratio; thickness: of sheets of it, m, None for solids; yield_stress: Pa, and
    viscosity: Pa s, where the law has them; sources: of each quantity; origin: whose word it is.
    Raises ValueError for a law without its quantities, a range whose values do not rise, and values
    beyond those of any material.
    """

    name: str
    law: str
    density: Range
    E: Range
    nu: Range
    thickness: Range | None = None
    yield_stress: Range | None = None
    viscosity: Range | None = None
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    origin: str = ""

    def __post_init__(self) -> None:
        one_of("law", self.law, LAWS)
        for name in NEEDED.get(self.law, ()):
            if getattr(self, name) is None:
                raise ValueError(f"{name}: none given, which the law {self.law} needs")
        for name, (low, high) in LIMITS.items():
            values: Range | None = getattr(self, name)
            if values is None:
                continue
            expected = f"numbers from {low:g} to {high:g} {UNITS[name]}".rstrip()
            three = [
                finite_number(name, v, expected, low=low, high=high)
                for v in (values.low, values.typical, values.high)
            ]
            if three != sorted(three):
                raise ValueError(f"{name}: got {three}, expected a low, a typical and a high value")
            set_fields(self, **{name: Range(low=three[0], typical=three[1], high=three[2])})
        self.make_material()

    def make_material(self) -> Material:
        """The material of the typical values."""
        kind = MATERIALS[self.law]
        names = {field.name for field in dataclasses.fields(kind)} & set(LIMITS)
        return kind(**{name: getattr(self, name).typical for name in names})

    def typical(self) -> dict[str, Any]:
        """The typical values, by the names of a wind run's settings; the law is its material."""
        values: dict[str, Any] = {"material": self.law}
        for name in LIMITS:
            one = getattr(self, name)
            if one is not None:
                values[name] = one.typical
        return values

    def sentence(self) -> str:
        """What was assumed, with the ranges."""
        parts = []
        for name, unit in UNITS.items():
            one = getattr(self, name)
            if one is not None:
                words = f"{name.replace('_', ' ')} {one.typical:g} ({one.low:g} to {one.high:g})"
                parts.append(f"{words} {unit}".rstrip())
        return f"The object is made of {self.name}, {self.law}: {', '.join(parts)}; {self.origin}."
