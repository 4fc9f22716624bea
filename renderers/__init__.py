"""Gaussian splats, cameras and video; import the modules you need."""

import os


# Taichi prints its version when it is imported; `taichi_phys.runtime` silences that too.
os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "0")
