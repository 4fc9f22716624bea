"""What a run is given: clips, cameras, the object, its shape and its material, checked and read."""

from inverse.wind.inputs.load import Inputs as Inputs
from inverse.wind.inputs.load import load_inputs as load_inputs


__all__ = ["Inputs", "load_inputs"]
