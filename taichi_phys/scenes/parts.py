"""The parts of a scene: bodies, colliders and forces, read from tables and made into those of
the Python API. The names of keys are those of its arguments and fields."""

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from taichi_phys.geometry.repair import triangles
from taichi_phys.geometry.sampling import (
    PATTERNS,
    sample_box,
    sample_cloud,
    sample_mesh,
    sample_sphere,
)  # fmt: skip
from taichi_phys.io.states import load_ply
from taichi_phys.materials import MATERIALS, PRESETS, Material
from taichi_phys.mpm import colliders, forces
from taichi_phys.mpm.grid import CONTACTS, Grid
from taichi_phys.mpm.particles import Particles
from taichi_phys.scenes.keys import (
    COLOUR,
    DURING,
    FLAG,
    TEXT,
    Place,
    choice,
    file_in,
    integer,
    near,
    number,
    read_choice,
    read_table,
    show,
    vector,
)  # fmt: skip


METRES, PLACE = number("m", above=0), vector("m")
SEED = integer(0, 2**31 - 1)

# Keys that say where and how large the contents of a file are: scaled first, then turned about
# the file's origin (a box about its centre), then moved.
ROTATION = vector("degrees: the direction is the axis, the length the angle")
FROM_FILE = {"scale": number("m per unit of the file", above=0), "rotation": ROTATION}
FROM_FILE |= {"translation": PLACE}

SAMPLING = {"spacing": METRES, "count": integer(1, 50_000_000), "pattern": choice(PATTERNS)}
SAMPLING |= {"seed": SEED}
SHAPES = {
    "box": {"lower": PLACE, "upper": PLACE, "rotation": ROTATION},
    "sphere": {"center": PLACE, "radius": METRES},
    "mesh": {"mesh": None, "thickness": METRES, **FROM_FILE},
    "cloud": {"points": None, "fill": FLAG, "voxel": METRES, **FROM_FILE},
}
NEEDED = {"box": ("lower", "upper"), "sphere": ("center", "radius"), "mesh": ("mesh",)}
NEEDED |= {"cloud": ("points",)}

ACTING = {"contact": choice(CONTACTS), "friction": number(least=0), "during": DURING}
COLLIDERS = {
    "plane": (colliders.Plane, {"point": PLACE, "normal": vector("a direction")}),
    "box": (colliders.Box, {"center": PLACE, "half_size": PLACE}),
    "sphere": (colliders.Sphere, {"center": PLACE, "radius": METRES}),
    "capsule": (colliders.Capsule, {"start": PLACE, "end": PLACE, "radius": METRES}),
    "mesh": (colliders.Mesh, {"mesh": None}),
}
OPTIONAL = {"box": {"rotation": ROTATION}, "mesh": {"cells": integer(2, 400), **FROM_FILE}}
MOTION = {"velocity": vector("m/s"), "angular_velocity": vector("rad/s"), "center": PLACE}
MOTION |= {"during": DURING}

AIRS = {
    "constant": (None, {"velocity": vector("m/s")}),
    "vortex": (
        forces.Vortex,
        {"center": PLACE, "axis": vector("a direction"), "strength": number("m^2/s"),
         "radius": METRES},
    ),
    "noise": (
        forces.Noise,
        {"scale": METRES, "speed": number("m/s", least=0), "time_scale": number("s", above=0),
         "seed": SEED, "modes": integer(1, 4096)},
    ),
}  # fmt: skip
FORCES = {
    "uniform": (forces.Uniform, {"acceleration": vector("m/s^2"), "force": vector("N")}),
    "drag": (
        forces.Drag, {"air": None, "rate": number("1/s", least=0),
                      "quadratic": number("1/m", least=0)},
    ),
    "acceleration": (forces.Acceleration, {"field": None, "scale": number()}),
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """A [[body]]; options: arguments of its sampler, and scale, rotation, translation."""

    name: str
    shape: str
    options: dict[str, Any]
    material: Material
    density: float
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    angular_velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    color: tuple[float, float, float] | None = None
    place: Place = dataclasses.field(repr=False)

    def particles(self, folder: Path, grid: Grid) -> Particles:
        """The body as particles that lie inside the grid. Raises ValueError."""
        with self.place.errors():
            x, volume = self._sample(folder)
            arm = x - np.average(x, axis=0, weights=volume)
            v = np.array(self.velocity) + np.cross(self.angular_velocity, arm)
            cells = (x - grid.lower) / grid.dx
            out = ((cells < 1) | (cells > np.array(grid.shape) - 2)).any(axis=1)
            if out.any():
                low, high = (
                    "(" + ", ".join(f"{c:.4g}" for c in corner) + ")"
                    for corner in (x.min(axis=0), x.max(axis=0))
                )
                raise ValueError(
                    f"{out.sum()} of {len(x)} particles lie outside the grid: the body reaches "
                    f"from {low} to {high} m, expected places between {grid.lower} and "
                    f"{grid.upper} m, a cell of {grid.dx:g} m away from the faces"
                )
            return Particles(
                x, v=v, density=self.density, volume=volume, material=self.material
            )  # fmt: skip

    def _sample(self, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        options = {k: v for k, v in self.options.items() if k not in FROM_FILE}
        if self.shape == "mesh":
            return sample_mesh(_placed_mesh(folder, self.options), **_without(options, "mesh"))
        if self.shape == "cloud":
            points = _moved(load_ply(folder / options.pop("points")).x, self.options)
            return sample_cloud(points, **options)
        if self.shape == "sphere":
            return sample_sphere(**options)
        x, volume = sample_box(**options)
        centre = (np.array(options["lower"]) + options["upper"]) / 2
        return centre + _moved(x - centre, self.options), volume


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Obstacle:
    """A [[collider]]; options: fields of its class, and scale, rotation, translation."""

    shape: str
    options: dict[str, Any]
    motion: tuple[dict[str, Any], ...] = ()
    color: tuple[float, float, float] | None = None
    opacity: float = 1.0
    place: Place = dataclasses.field(repr=False)

    def make(self, folder: Path) -> colliders.Collider:
        """The collider. Raises ValueError."""
        with self.place.errors():
            options = {k: v for k, v in self.options.items() if k not in FROM_FILE}
            start = np.eye(3), np.zeros(3)
            if self.shape == "mesh":
                options["mesh"] = _placed_mesh(folder, self.options)
            elif "rotation" in self.options:
                turn, centre = _matrix(self.options["rotation"]), np.array(options["center"])
                start = turn, centre - turn @ centre
            if self.motion or "rotation" in self.options:
                motions = tuple(
                    (colliders.moving(**_without(m, "during")), m.get("during"))
                    for m in self.motion
                )
                options["pose"] = Course(start=start, motions=motions)
            return COLLIDERS[self.shape][0](**options)


@dataclasses.dataclass(frozen=True, eq=False)
class Course:
    """A pose: where a collider is at first, and motions each in its time, one after the other."""

    start: tuple[np.ndarray, np.ndarray]
    motions: tuple

    def __call__(self, t: float) -> tuple[np.ndarray, np.ndarray]:
        R, T = self.start
        for pose, during in self.motions:
            begin, end = during or (0.0, math.inf)
            turn, shift = pose(min(max(t, begin), end) - begin)
            R, T = turn @ R, turn @ T + shift
        return R, T


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Force:
    """A [[force]]; options: fields of its class, where air or field is a tuple of (type, options)
    that add up."""

    type: str
    options: dict[str, Any]
    during: tuple[float, float] | None = None
    place: Place = dataclasses.field(repr=False)

    def make(self) -> forces.ForceField:
        """The force field. Raises ValueError."""
        with self.place.errors():
            options = dict(self.options)
            for key in {"air", "field"} & set(options):
                options[key] = self._air(options[key], self.place.at(key))
            force = FORCES[self.type][0](**options)
        return force if self.during is None else During(force, self.during)

    def _air(self, airs, place: Place) -> forces.AirVelocity:
        parts = []
        for i, (kind, options) in enumerate(airs):
            at = place.at(i) if (*place.path, i) in place.lines else place
            with at.errors():
                cls = AIRS[kind][0]
                parts.append(options["velocity"] if cls is None else cls(**options))
        return forces.AirSum(tuple(parts))


@dataclasses.dataclass(frozen=True, eq=False)
class During(forces.ForceField):
    """A force that acts from t0 to t1, s."""

    force: forces.ForceField
    during: tuple[float, float]

    def __call__(self, x, t, v, mass):
        """(n, 3) N."""
        if not self.during[0] <= t < self.during[1]:
            return torch.zeros_like(x)
        return self.force(x, t, v, mass)


# Reading


def read_body(table, place: Place, folder: Path, number_: int, seed: int) -> Body:
    """A Body; number_: among the bodies; seed: of its particles unless the table has one."""
    shape = read_choice(table, place, "shape", SHAPES)
    own = {k: kind or file_in(folder) for k, kind in SHAPES[shape].items()}
    kinds = {"shape": choice(SHAPES), "name": TEXT, **own, **SAMPLING}
    kinds |= {"velocity": vector("m/s"), "angular_velocity": vector("rad/s")}
    kinds |= {"material": None, "density": number("kg/m^3", above=0), "color": COLOUR}
    rest = table if "material" not in table else _without(table, "material")
    with_material = {k: v for k, v in kinds.items() if v is not None}
    _known(table, place, kinds, f"a body with shape = {shape!r}")
    values = read_table(rest, place, with_material, NEEDED[shape])
    if "material" not in table:
        raise place.at("material").error(f"missing, expected {_material_expected()}")
    material, density = read_material(table["material"], place.at("material"))
    given = [k for k in ("spacing", "count") if k in values]
    if len(given) == 2 or (not given and shape != "cloud"):
        which = place.at(given[1]) if given else place.at("spacing")
        found = "both are given" if given else "missing, and so is count"
        raise which.error(f"{found}, expected exactly one of spacing (m) and count")
    options = {k: v for k, v in values.items() if k in own or k in SAMPLING}
    options.setdefault("seed", seed)
    return Body(
        name=values.get("name", f"body {number_ + 1}"), shape=shape, options=options,
        material=material, density=values.get("density", density), place=place,
        **{k: values[k] for k in ("velocity", "angular_velocity", "color") if k in values},
    )  # fmt: skip


def _material_expected() -> str:
    return (
        f"a preset, one of {', '.join(PRESETS)}, or a table with type = one of "
        f"{', '.join(MATERIALS)} (or with preset = ...) and its parameters"
    )


def read_material(value, place: Place) -> tuple[Material, float]:
    """Material and density, kg/m^3, of a preset's name or a table."""
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
    needed = [
        k for k, f in fields.items() if f.default is dataclasses.MISSING and base is None
    ]  # fmt: skip
    values = read_table(value, place, kinds, needed, f"{word[0]} = {name!r}")
    values = _without(values, word[0])
    with place.errors():
        return (cls(**values) if base is None else dataclasses.replace(base, **values)), density


def read_collider(table, place: Place, folder: Path) -> Obstacle:
    """An Obstacle."""
    shape = read_choice(table, place, "shape", COLLIDERS)
    needed = {k: kind or file_in(folder) for k, kind in COLLIDERS[shape][1].items()}
    own = {**needed, **OPTIONAL.get(shape, {}), **ACTING}
    look = {"color": COLOUR, "opacity": number(least=0, most=1)}
    _known(table, place, [*own, "motion", *look, "shape"], f"a collider with shape = {shape!r}")
    kinds = {"shape": choice(COLLIDERS), **own, **look}
    values = read_table(_without(table, "motion"), place, kinds, needed)
    motions, at = table.get("motion", []), place.at("motion")
    several = isinstance(motions, list)
    motion = []
    for i, one in enumerate(motions if several else [motions]):
        here = at.at(i) if several else at
        motion.append(read_table(one, here, MOTION, of="motion"))
        if "angular_velocity" in one and "center" not in one:
            raise here.at("center").error(f"missing, expected {PLACE.expected}")
    obstacle = Obstacle(
        shape=shape, options={k: v for k, v in values.items() if k in own}, motion=tuple(motion),
        place=place, **{k: values[k] for k in look if k in values},
    )  # fmt: skip
    if shape != "mesh":  # whose distances take a while: when the scene is built
        obstacle.make(folder)
    return obstacle


def read_force(table, place: Place, seed: int) -> Force:
    """A Force; seed: of noise unless it has one."""
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
    force.make()
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
    values = _without(read_table(value, place, kinds, needed, f"type = {kind!r}"), "type")
    if kind == "noise":
        values.setdefault("seed", seed)
    return kind, values


def _known(table: dict, place: Place, keys, of: str):
    """Unknown keys first: what is wrong with a misspelt one is not that it is missing."""
    anything = dict.fromkeys(keys, TEXT)
    read_table({k: "" for k in table}, place, anything, of=of)


def _without(table: dict, key: str) -> dict:
    return {k: v for k, v in table.items() if k != key}


# Places


def _matrix(rotation) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(rotation, degrees=True).as_matrix()


def _moved(x: np.ndarray, options: dict) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64) * options.get("scale", 1.0)
    if "rotation" in options:
        x = x @ _matrix(options["rotation"]).T
    return x + options.get("translation", (0.0, 0.0, 0.0))


def _placed_mesh(folder: Path, options: dict) -> SimpleNamespace:
    vertices, faces = triangles(folder / options["mesh"])
    return SimpleNamespace(vertices=_moved(vertices, options), faces=faces)
