"""The clips and scenes that are included with the packages."""

from pathlib import Path


def asset(name: str) -> Path:
    """The path of a file or folder in assets, such as leaf, rotor_puck or scenes/NAME.toml.

    The assets lie inside the installed package, and beside the packages in a checkout. Raises
    ValueError if there is no such file or folder.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "assets", package.parent / "assets"):
        if (folder / name).exists():
            return folder / name
    raise ValueError(f"{name}: not among the clips and scenes that are included with taichi-phys")


def shipped_scenes() -> list[str]:
    """The names of the included scenes."""
    return sorted(path.stem for path in asset("scenes").glob("*.toml"))
