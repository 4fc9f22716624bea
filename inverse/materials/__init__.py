"""What things are made of: a table of common materials, as ranges with their sources."""

from inverse.materials.substance import Range as Range
from inverse.materials.substance import Substance as Substance
from inverse.materials.table import find_substance as find_substance
from inverse.materials.table import substances as substances


__all__ = ["Range", "Substance", "find_substance", "substances"]
