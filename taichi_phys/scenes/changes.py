"""Changes of single values of a scene file, as body.1.material.E=2e4."""

from collections.abc import Sequence
from typing import Any

from taichi_phys.scenes.lines import tomllib


def change(data: dict[str, Any], changes: Sequence[str]) -> None:
    """Change values in the contents of a scene file.

    data: as read from TOML; changes: texts KEY=VALUE, where VALUE is TOML, or a text without its
    quotes, and KEY the names of tables and a key, joined by dots; a part among [[tables]] is named
    by its number, from 1, or by its name. A material that is the name of a preset becomes a table
    when one of its parameters is changed. Raises ValueError.
    """
    for text in changes:
        key, sign, value = text.partition("=")
        names = [name.strip() for name in key.split(".")]
        if not sign or not all(names):
            raise ValueError(f"set: got {text!r}, expected KEY=VALUE, such as time.frames=12")
        table: Any = data
        for i, name in enumerate(names[:-1]):
            table = _inside(table, name, text, preset=i == len(names) - 2)
        if not isinstance(table, dict):
            raise ValueError(f"set: got {text!r}, but {names[-2]} is no table")
        table[names[-1]] = _value(value.strip())


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _inside(table: Any, name: str, text: str, preset: bool) -> Any:
    """The table of this name in another one, or the part of this number or name in a list."""
    if isinstance(table, list):
        for number, part in enumerate(table, 1):
            if isinstance(part, dict) and name in (str(number), part.get("name")):
                return part
        raise ValueError(f"set: got {text!r}, but there is no {name!r} among {len(table)} tables")
    if not isinstance(table, dict):
        raise ValueError(f"set: got {text!r}, but there is no table {name!r}")
    if preset and name == "material" and isinstance(table.get(name), str):
        table[name] = {"preset": table[name]}
    return table.setdefault(name, {})
