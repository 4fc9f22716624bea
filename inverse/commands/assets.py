"""The clips and scenes that come with the project."""

from pathlib import Path


def asset(name: str) -> Path:
    """The file or folder of that name in assets: leaf, rotor_puck or scenes/NAME.toml, say.

    They lie inside the installed package, and beside the packages in a checkout. Raises ValueError
    where they are missing.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "assets", package.parent / "assets"):
        if (folder / name).exists():
            return folder / name
    raise ValueError(f"{name}: not among the files that come with the project")


def shipped_scenes() -> list[str]:
    """Names of the scenes that come with the project."""
    return sorted(path.stem for path in asset("scenes").glob("*.toml"))
