"""What an object is made of, found from how it moves."""

from inverse.identification.config import MaterialConfig as MaterialConfig
from inverse.identification.config import MaterialJob as MaterialJob
from inverse.identification.identify import fit_material as fit_material
from inverse.identification.run import MaterialRun as MaterialRun


__all__ = ["MaterialConfig", "MaterialJob", "MaterialRun", "fit_material"]
