"""Reading the parts of a scene from the tables of its file, with checks."""

import dataclasses
from pathlib import Path
from typing import Any

from taichi_phys.materials import MATERIALS, PRESETS, Material
from taichi_phys.scenes.keys import (
    COLOR,
    TEXT,
    Kind,
    Place,
    choice,
    file_in,
    near,
    number,
    read_choice,
    read_table,
    show,
    vector,
)
from taichi_phys.scenes.parts import (
    ACTING,
    AIRS,
    CLOUDS,
    COLLIDERS,
    DURING,
    FORCES,
    MOTION,
    NEEDED,
    OPTIONAL,
    POSITION,
    RIGID,
    SAMPLING,
    SHAPES,
    Body,
    Force,
    Obstacle,
    Rigid,
    without,
)


LOOK = {"color": COLOR, "opacity": number(least=0, most=1)}  # of colliders and rigid bodies


def read_body(table: Any, place: Place, folder: Path, index: int, seed: int) -> Body:
    """The body of a [[body]] table. Raises SceneError.

    folder: of the scene file; index: position among the bodies; seed: seed of the particles, unless
    the table has one.
    """
    shape = read_choice(table, place, "shape", SHAPES)
    own = {k: kind or file_in(folder) for k, kind in SHAPES[shape].items()}
    kinds: dict[str, Kind | None] = {"shape": choice(SHAPES), "name": TEXT, **own, **SAMPLING}
    kinds |= {"velocity": vector("m/s"), "angular_velocity": vector("rad/s")}
    kinds |= {"material": None, "density": number("kg/m^3", above=0), "color": COLOR}
    rest = table if "material" not in table else without(table, "material")
    with_material = {k: v for k, v in kinds.items() if v is not None}
    _known(table, place, kinds, f"a body with shape = {shape!r}")
    values = read_table(rest, place, with_material, NEEDED[shape])
    if "material" not in table:
        raise place.at("material").error(f"missing, expected {_material_expected()}")
    material, density = read_material(table["material"], place.at("material"))
    _one_of_two(values, place, {"spacing": " (m)", "count": ""}, needed=shape not in CLOUDS)
    options = {k: v for k, v in values.items() if k in own or k in SAMPLING}
    options.setdefault("seed", seed)
    return Body(
        name=values.get("name", f"body {index + 1}"),
        shape=shape,
        options=options,
        material=material,
        density=values.get("density", density),
        place=place,
        **{k: values[k] for k in ("velocity", "angular_velocity", "color") if k in values},
    )


def _material_expected() -> str:
    return (
        f"a preset, one of {', '.join(PRESETS)}, or a table with type = one of "
        f"{', '.join(MATERIALS)} (or with preset = ...) and its parameters"
    )


def read_material(value: Any, place: Place) -> tuple[Material, float]:
    """The material and its density, kg/m^3, from the name of a preset or a table.

    Raises SceneError.
    """
    if isinstance(value, str) and value in PRESETS:
        return PRESETS[value]
    if not isinstance(value, dict):
        hint = near(value, PRESETS)
        raise place.error(
            f"got {show(value)}, expected {_material_expected()}" + (f"; {hint}" if hint else "")
        )
    if "preset" in value:
        name = read_choice(value, place, "preset", PRESETS)
        (base, density), word = PRESETS[name], ("preset", name)
        cls = type(base)
    else:
        name = read_choice(value, place, "type", MATERIALS)
        base, density, word, cls = None, 1000.0, ("type", name), MATERIALS[name]
    fields = {f.name: f for f in dataclasses.fields(cls)}
    kinds = {word[0]: TEXT, **{name: number() for name in fields}}
    needed = [k for k, f in fields.items() if f.default is dataclasses.MISSING and base is None]
    values = read_table(value, place, kinds, needed, f"{word[0]} = {name!r}")
    values = without(values, word[0])
    with place.errors():
        return (cls(**values) if base is None else dataclasses.replace(base, **values)), density


def _one_of_two(
    values: dict[str, Any], place: Place, units: dict[str, str], *, needed: bool = True
) -> None:
    """Check that exactly one of two keys, with their units, is given, or none unless one is needed.

    Raises SceneError.
    """
    (first, second), given = units, [key for key in units if key in values]
    if len(given) == 2 or (needed and not given):
        found = "got both" if given else f"missing, and so is {second}"
        raise place.at(given[1] if given else first).error(
            f"{found}, expected exactly one of {first}{units[first]} and {second}{units[second]}"
        )


def read_collider(table: Any, place: Place, folder: Path) -> Obstacle:
    """The collider of a [[collider]] table; folder: of the scene file. Raises SceneError."""
    shape = read_choice(table, place, "shape", COLLIDERS)
    needed = {k: kind or file_in(folder) for k, kind in COLLIDERS[shape][1].items()}
    own = {**needed, **OPTIONAL.get(shape, {}), **ACTING}
    _known(table, place, [*own, "motion", *LOOK, "shape"], f"a collider with shape = {shape!r}")
    kinds = {"shape": choice(COLLIDERS), **own, **LOOK}
    values = read_table(without(table, "motion"), place, kinds, needed)
    motions, at = table.get("motion", []), place.at("motion")
    several = isinstance(motions, list)
    motion = []
    for i, one in enumerate(motions if several else [motions]):
        here = at.at(i) if several else at
        motion.append(read_table(one, here, MOTION, of="motion"))
        if "angular_velocity" in one and "center" not in one:
            raise here.at("center").error(f"missing, expected {POSITION.expected}")
    obstacle = Obstacle(
        shape=shape,
        options={k: v for k, v in values.items() if k in own},
        motion=tuple(motion),
        place=place,
        **{k: values[k] for k in LOOK if k in values},
    )
    if shape != "mesh":  # a mesh takes time for its distances, and is made in Scene.build
        obstacle.make(folder)
    return obstacle


def read_rigid(table: Any, place: Place, folder: Path) -> Rigid:
    """The rigid body of a [[rigid]] table; folder: of the scene file. Raises SceneError."""
    shapes = [name for name in COLLIDERS if name != "plane"]
    shape = read_choice(table, place, "shape", shapes)
    needed = {k: kind or file_in(folder) for k, kind in COLLIDERS[shape][1].items()}
    own = {**needed, **(OPTIONAL["mesh"] if shape == "mesh" else {})}
    _known(table, place, [*own, *RIGID, *LOOK, "shape"], f"a rigid body with shape = {shape!r}")
    values = read_table(table, place, {"shape": choice(shapes), **own, **RIGID, **LOOK}, needed)
    _one_of_two(values, place, {"density": " (kg/m^3)", "mass": " (kg)"})
    rigid = Rigid(
        shape=shape,
        options={k: v for k, v in values.items() if k in own},
        moved={k: v for k, v in values.items() if k in RIGID},
        place=place,
        **{k: values[k] for k in LOOK if k in values},
    )
    if shape != "mesh":  # a mesh takes time for its distances, and is made in Scene.build
        rigid.make(folder)
    return rigid


def read_force(table: Any, place: Place, folder: Path, seed: int) -> Force:
    """The force of a [[force]] table. Raises SceneError.

    folder: of the scene file; seed: of the noise in it, unless the noise has a seed of its own.
    """
    kind = read_choice(table, place, "type", FORCES)
    own = FORCES[kind][1]
    _known(table, place, ["type", *own, "during"], f"a force with type = {kind!r}")
    plain = {k: v for k, v in own.items() if v is not None}
    plain |= {"type": choice(FORCES), "during": DURING}
    values = read_table({k: v for k, v in table.items() if k in plain}, place, plain)
    options = {k: v for k, v in values.items() if k in own}
    for key in set(own) - set(plain):
        if key not in table:
            raise place.at(key).error(f"missing, expected {_air_expected()}")
        options[key] = _read_airs(table[key], place.at(key), seed)
    force = Force(type=kind, options=options, during=values.get("during"), place=place)
    if kind == "run" and "run" not in options:
        raise place.at("run").error("missing, expected the folder of a run")
    force.make(folder)
    return force


def _air_expected() -> str:
    return (
        "a velocity [x, y, z] (m/s), a table with type = one of "
        f"{', '.join(AIRS)}, or a list of these, which add up"
    )


def _read_airs(value, place: Place, seed: int) -> tuple[tuple[str, dict], ...]:
    vector_like = isinstance(value, list) and any(
        isinstance(x, int | float) and not isinstance(x, bool) for x in value
    )
    if vector_like or isinstance(value, dict):
        return (_read_air(value, place, seed),)
    if not isinstance(value, list) or not value:
        raise place.error(f"got {show(value)}, expected {_air_expected()}")
    return tuple(_read_air(one, place.at(i), seed + i) for i, one in enumerate(value))


def _read_air(value, place: Place, seed: int) -> tuple[str, dict]:
    if isinstance(value, list):
        return "constant", {"velocity": vector("m/s").check(value, place)}
    kind = read_choice(value, place, "type", AIRS)
    cls, kinds = AIRS[kind]
    fields = dataclasses.fields(cls) if cls else ()
    optional = {f.name for f in fields if f.default is not dataclasses.MISSING}
    needed = [k for k in kinds if k not in optional]
    kinds = {"type": choice(AIRS), **kinds}
    values = without(read_table(value, place, kinds, needed, f"type = {kind!r}"), "type")
    if kind == "noise":
        values.setdefault("seed", seed)
    return kind, values


def _known(table: dict, place: Place, keys, of: str):
    """Check for unknown keys first, so that a misspelled key is not reported as missing."""
    anything = dict.fromkeys(keys, TEXT)
    read_table({k: "" for k in table}, place, anything, of=of)
