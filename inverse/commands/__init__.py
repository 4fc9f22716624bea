"""The commands of the packages: taichi-phys NAME.

Importing this module is quick, and so is `taichi-phys --help`: torch and Taichi are imported when a
command needs them.
"""

import argparse
import importlib
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path


COMMANDS = {
    "wind": "recover the unseen force that moves an object in a video",
    "trace": "learn how the things in a multi-view video move, and show what happens next",
    "fit": "fit Gaussians to photographs of a scene",
    "fit-material": "find what an object is made of from how it moves",
    "show": "film a turn around a file of Gaussians",
    "simulate": "run a scene file: simulate, film, export",
    "sweep": "run a command many times over values of its parameters",
    "export": "write a run as files for ParaView, Blender and other programs",
    "view": "look at scenes, bodies, splats and results, and poke them",
    "doctor": "check what is installed and works, and say what to install",
}


def make_parser() -> argparse.ArgumentParser:
    """The parser of taichi-phys itself; each command has a parser of its own in its module."""
    lines = "\n".join(f"  {name:13} {what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="taichi-phys",
        usage="taichi-phys COMMAND ...",
        description="What moved this, and what happens next? Differentiable physics for video.",
        epilog=f"commands:\n{lines}\n\ntaichi-phys COMMAND --help lists the flags of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"taichi-phys {version()}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = make_parser().parse_args(words[:1]).command  # the command parses all other words
    return importlib.import_module(module_of(name)).main(words[1:])


def module_of(name: str) -> str:
    """The module of a command."""
    return f"inverse.commands.{name.replace('-', '_')}"


def version() -> str:
    """The version of the packages, without importing them."""
    path = Path(__file__).resolve().parent.parent.parent / "taichi_phys" / "version.py"
    return runpy.run_path(str(path))["__version__"]
