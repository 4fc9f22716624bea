"""A scene from its settings, the inverse of `Scene.settings`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taichi_phys.materials import MATERIALS
from taichi_phys.mpm.grid import Grid
from taichi_phys.scenes.keys import Place
from taichi_phys.scenes.parts import Body, Force, Obstacle, Rigid
from taichi_phys.scenes.scene import CLASSES, Scene


def scene_from_settings(settings: Mapping[str, Any], path: str | Path) -> Scene:
    """The scene whose `Scene.settings` are given, directly or read from JSON.

    path: the scene file; paths in the scene are relative to its folder, and are opened only when
    the scene is built. Raises ValueError for settings of another version.
    """
    place = Place(file=str(path), lines={(): 1})

    def part(cls: type, table: Mapping[str, Any], *key: str | int) -> Any:
        return cls(**table, place=place.at(*key))

    try:
        values = _tuples(dict(settings))
        unknown = set(values) - {field.name for field in dataclasses.fields(Scene)}
        if unknown:
            raise TypeError(f"unknown {', '.join(sorted(unknown))}")
        bodies = [table | {"material": _material(table["material"])} for table in values["bodies"]]
        return Scene(
            path=Path(path),
            title=values["title"],
            gravity=values["gravity"],
            grid=Grid(**values["grid"]),
            bodies=tuple(part(Body, table, "body", i) for i, table in enumerate(bodies)),
            colliders=tuple(
                part(Obstacle, table, "collider", i) for i, table in enumerate(values["colliders"])
            ),
            rigid=tuple(
                part(Rigid, table, "rigid", i) for i, table in enumerate(values.get("rigid", ()))
            ),
            forces=tuple(
                part(Force, table, "force", i) for i, table in enumerate(values["forces"])
            ),
            place=place,
            **{name: cls(**values.get(name, {})) for name, cls in CLASSES.items()},
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"scene: got settings of another version ({error!r})") from None


def _material(table: Mapping[str, Any]) -> Any:
    values = {key: value for key, value in table.items() if key != "type"}
    return MATERIALS[table["type"]](**values)


def _tuples(value: Any) -> Any:
    """value with tuples in place of lists, as the fields of a scene have them."""
    if isinstance(value, dict):
        return {key: _tuples(one) for key, one in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
