"""The version of all packages; setup.py and `taichi-phys --version` read it here."""

__version__ = "0.2.0.dev0"
