"""The commands that come with the packages: taichi-phys NAME.

Importing this, and `taichi-phys --help`, is quick: torch and Taichi are imported when a command
needs them.
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
    "show": "turn once around a file of Gaussians",
    "simulate": "run a scene file: simulate, film, export",
    "view": "look at scenes, bodies, splats and results, and poke them",
    "doctor": "say what is installed, what works, and what to install",
}


def make_parser() -> argparse.ArgumentParser:
    """The flags of taichi-phys itself; those of a command are its own module's."""
    lines = "\n".join(f"  {name:10} {what}" for name, what in COMMANDS.items())
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
    name = make_parser().parse_args(words[:1]).command  # all other words are the command's own
    return importlib.import_module(f"inverse.commands.{name}").main(words[1:])


def version() -> str:
    """The version of the packages, without importing them."""
    path = Path(__file__).resolve().parent.parent.parent / "taichi_phys" / "version.py"
    return runpy.run_path(str(path))["__version__"]
