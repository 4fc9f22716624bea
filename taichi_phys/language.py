"""The language of the kernels: Taichi, or its fork Quadrants. Kernels import it from here alone.

Quadrants (`pip install quadrants`) is chosen by the environment variable TAICHI_PHYS_LANGUAGE. It
takes the same kernels and has no window.
"""

import importlib
import os
from typing import TYPE_CHECKING

from taichi_phys.sources import quick_import, read_once


if TYPE_CHECKING:
    import taichi as ti
else:
    VARIABLE = "TAICHI_PHYS_LANGUAGE"
    LANGUAGES = ("taichi", "quadrants")
    NAME = os.environ.get(VARIABLE) or LANGUAGES[0]
    if NAME not in LANGUAGES:
        raise ImportError(f"{VARIABLE}: got {NAME!r}, expected one of {', '.join(LANGUAGES)}")
    os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "0")  # read on import
    os.environ.setdefault("ENABLE_QUADRANTS_HEADER_PRINT", "0")
    try:
        with quick_import():
            ti = importlib.import_module(NAME)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{VARIABLE}={NAME}, but {error.name} is not installed: pip install {error.name}"
        ) from error
    if NAME == LANGUAGES[0]:
        read_once(ti)

__all__ = ["ti"]
