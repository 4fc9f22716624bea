"""Scene files: a simulation as a TOML file, with the names and units of the Python API.

    scene = load_scene("dam.toml")
    sim, force = scene.build()
    for state in sim.run(frames=scene.time.frames, fps=scene.time.fps, force=force): ...

A scene has the keys title and gravity, and the tables [grid], [[body]], [[collider]], [[rigid]],
[[force]], [contact], [time], [camera], [output] and [simulation]; docs/scene_files.md describes
them, and assets/scenes/ has examples. A mistake raises SceneError, a ValueError in one sentence
that gives the file, the line, the key and the allowed values.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taichi_phys.checks import finite_number, finite_vector, whole_number
from taichi_phys.materials import MATERIALS, Material
from taichi_phys.mpm.forces import ForceField, total
from taichi_phys.mpm.grid import WALL_CELLS, WALLS, Grid
from taichi_phys.mpm.solver import MPM, OUTSIDE
from taichi_phys.runtime import PRECISIONS
from taichi_phys.scenes.changes import change
from taichi_phys.scenes.keys import (
    COLOR,
    FLAG,
    TEXT,
    Place,
    choice,
    integer,
    number,
    read_table,
    show,
    vector,
)
from taichi_phys.scenes.lines import read_toml
from taichi_phys.scenes.parts import LENGTH, POSITION, SEED, Body, Force, Obstacle, Rigid
from taichi_phys.scenes.reading import read_body, read_collider, read_force, read_rigid
from taichi_phys.scenes.touch import TOUCH, Touch


Vector = tuple[float, float, float]

EXPORTS = ("none", "ply", "npz")
COLORS = ("body", "speed", "plastic", "height")
PARTS = ("body", "collider", "rigid", "force")  # [[tables]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Time:
    """The table [time]: the number of frames after the initial one, and frames per second."""

    frames: int = 48
    fps: float = 24.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """The table [camera]: a view from eye to target, or from a side of the scene.

    eye, target: (3,) m, None to choose them from the scene; azimuth: degrees, counter-clockwise
    seen from above, where 0 looks along +y; elevation: degrees above the horizon; fov: vertical
    angle of view, degrees; turns: number of turns of the camera around the target during the film;
    width, height: px; background: color, None for the default; walls: whether to draw the edges of
    the room between the walls.
    """

    eye: Vector | None = None
    target: Vector | None = None
    azimuth: float = 25.0
    elevation: float = 18.0
    fov: float = 30.0
    turns: float = 0.0
    width: int = 640
    height: int = 480
    background: Vector | None = None
    walls: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
    """The table [output]: what is written of the frames.

    video: whether to write a film; frames: format of the frames, "ply", "npz" (exact) or "none" to
    remove them after the film; every: n writes every n-th frame; report: whether to write a report;
    color: quantity that colors the particles; limits: values at both ends of the color map, None to
    take them from the data; colormap: name of a matplotlib color map; radius: of the drawn
    particles, m, None to compute it from their volume.
    """

    video: bool = True
    frames: str = "ply"
    every: int = 1
    report: bool = True
    color: str = "body"
    limits: tuple[float, float] | None = None
    colormap: str = "viridis"
    radius: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numerics:
    """The table [simulation]: arguments of MPM, and the seed of bodies and noise without a seed."""

    cfl: float = 0.4
    outside: str = "error"
    reactions: bool = False
    precision: str | None = None
    seed: int = 0


KINDS = {
    "grid": {
        "lower": POSITION,
        "upper": POSITION,
        "dx": number("m", least=1e-6),
        "contact": choice(WALLS),
        "friction": number(least=0),
    },
    "contact": TOUCH,
    "time": {"frames": integer(1, 1_000_000), "fps": number("1/s", least=1e-3, most=1e6)},
    "camera": {
        "eye": POSITION,
        "target": POSITION,
        "azimuth": number("degrees"),
        "elevation": number("degrees", least=-89, most=89),
        "fov": number("degrees", least=1, most=170),
        "turns": number(),
        "width": integer(16, 7680),
        "height": integer(16, 4320),
        "background": COLOR,
        "walls": FLAG,
    },
    "output": {
        "video": FLAG,
        "frames": choice(EXPORTS),
        "every": integer(1, 1_000_000),
        "report": FLAG,
        "color": choice(COLORS),
        "limits": vector("of the colors", 2),
        "colormap": TEXT,
        "radius": LENGTH,
    },
    "simulation": {
        "cfl": number(above=0, most=1),
        "outside": choice(OUTSIDE),
        "reactions": FLAG,
        "precision": choice(PRECISIONS),
        "seed": SEED,
    },
}
CLASSES: dict[str, type[Any]] = {
    "contact": Touch,
    "time": Time,
    "camera": Look,
    "output": Output,
    "simulation": Numerics,
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """The contents of a scene file, checked."""

    path: Path
    title: str
    gravity: Vector
    grid: Grid
    bodies: tuple[Body, ...]
    colliders: tuple[Obstacle, ...]
    rigid: tuple[Rigid, ...]
    forces: tuple[Force, ...]
    contact: Touch
    time: Time
    camera: Look
    output: Output
    simulation: Numerics
    place: Place = dataclasses.field(repr=False)

    @property
    def solids(self) -> tuple[Obstacle | Rigid, ...]:
        """The parts that make the colliders of the simulation, in their order."""
        return (*self.colliders, *self.rigid)

    def build(self) -> tuple[MPM, ForceField | None]:
        """The simulation, and the force for MPM.run (None without forces). Raises SceneError."""
        folder = self.path.parent
        particles = [body.particles(folder, self.grid) for body in self.bodies]
        obstacles = [part.make(folder) for part in self.solids]
        names = [body.name for body in self.bodies]
        contact = self.contact.make(names, self.place.at("contact"))
        with self.place.errors():
            sim = MPM(
                particles=particles,
                grid=self.grid,
                gravity=self.gravity,
                colliders=obstacles,
                contact=contact,
                cfl=self.simulation.cfl,
                outside=self.simulation.outside,
                reactions=self.simulation.reactions,
                precision=self.simulation.precision,
            )
        force = total([f.make(folder) for f in self.forces]) if self.forces else None
        return sim, force

    def settings(self) -> dict[str, Any]:
        """The scene with all defaults as numbers, strings, lists and dicts, for a JSON file."""
        return {
            f.name: _plain(getattr(self, f.name))
            for f in dataclasses.fields(self)
            if f.name not in ("path", "place")
        }


def load_scene(path: str | Path, changes: Sequence[str] = ()) -> Scene:
    """The scene in a TOML file.

    path: the file; paths in it are relative to its folder; changes: of single values, such as
    "time.frames=12" or "body.1.material.E=2e4". Raises ValueError, in one sentence that
    gives file, line, key, and the found and the allowed value.
    """
    data, lines = read_toml(path)
    change(data, changes)
    path = Path(path)
    root = Place(file=str(path), lines=lines)
    top = {"title": TEXT, "gravity": vector("m/s^2")}
    known = [*top, *KINDS, *PARTS]
    read_table(dict.fromkeys(data, ""), root, dict.fromkeys(known, TEXT), of="a scene")
    values = read_table({k: v for k, v in data.items() if k in top}, root, top)
    tables = {
        name: read_table(data.get(name, {}), root.at(name), KINDS[name], of=f"[{name}]")
        for name in CLASSES
    }
    if "contact" in data:
        tables["contact"].setdefault("friction", 0.0)
    for name in ("grid", "body"):
        if name not in data:
            brackets = "[grid]" if name == "grid" else "[[body]]"
            raise root.at(name).error(f"missing, expected a table {brackets}")
    grid = read_table(data["grid"], root.at("grid"), KINDS["grid"], ("lower", "upper", "dx"))
    with root.at("grid").errors({"grid": "lower, upper, dx"}):
        grid = Grid(**grid)
    parts = {}
    for name in PARTS:
        parts[name] = data.get(name, [])
        if not isinstance(parts[name], list):
            raise root.at(name).error(f"got {show(parts[name])}, expected tables [[{name}]]")
    if not parts["body"]:
        raise root.at("body").error("got none, expected at least one table [[body]]")
    seed, folder = tables["simulation"].get("seed", 0), path.parent
    view = tables["camera"]
    if "eye" in view and "target" not in view:
        raise root.at("camera", "target").error(f"missing beside eye, expected {POSITION.expected}")
    if "eye" in view:
        eye, target = view["eye"], view["target"]
        if math.dist(eye[:2], target[:2]) <= 1e-5 * math.dist(eye, target):
            raise root.at("camera", "eye").error(
                f"got {show(list(eye))}, expected a point not straight above or below target"
            )
    limits = tables["output"].get("limits")
    if limits and not limits[0] < limits[1]:
        raise root.at("output", "limits").error(
            f"got {show(list(limits))}, expected [low, high] with low < high"
        )
    return Scene(
        path=path,
        title=values.get("title", path.stem.replace("_", " ")),
        gravity=values.get("gravity", (0.0, 0.0, -9.81)),
        grid=grid,
        bodies=tuple(
            read_body(table, root.at("body", i), folder, i, seed + i)
            for i, table in enumerate(parts["body"])
        ),
        colliders=tuple(
            read_collider(table, root.at("collider", i), folder)
            for i, table in enumerate(parts["collider"])
        ),
        rigid=tuple(
            read_rigid(table, root.at("rigid", i), folder) for i, table in enumerate(parts["rigid"])
        ),
        forces=tuple(
            read_force(table, root.at("force", i), folder, seed + i)
            for i, table in enumerate(parts["force"])
        ),
        place=root,
        **{name: cls(**tables[name]) for name, cls in CLASSES.items()},
    )


def shrink(scene: Scene, *, frames: int | None = None, coarsen: float = 1.0) -> Scene:
    """The scene with fewer frames, and with larger cells and particles.

    frames: largest number of frames, None for all; coarsen: factor on the size of the cells and
    particles. The room between the walls keeps its size. Raises ValueError.
    """
    if frames is not None:
        frames = whole_number("frames", frames, "a whole number >= 1", low=1)
    coarsen = finite_number("coarsen", coarsen, "a number > 0", low=0, open_end=True)
    time, grid, bodies = scene.time, scene.grid, scene.bodies
    if frames is not None:
        time = dataclasses.replace(time, frames=min(frames, time.frames))
    if coarsen != 1:
        pad = WALL_CELLS * grid.dx * (coarsen - 1)
        with scene.place.at("grid").errors({"grid": "lower, upper, dx"}):
            grid = dataclasses.replace(
                grid,
                lower=finite_vector("lower", np.subtract(grid.lower, pad)),
                upper=finite_vector("upper", np.add(grid.upper, pad)),
                dx=grid.dx * coarsen,
            )
        bodies = tuple(_coarser(body, coarsen) for body in bodies)
    return dataclasses.replace(scene, time=time, grid=grid, bodies=bodies)


def _coarser(body: Body, coarsen: float) -> Body:
    options = dict(body.options)
    if "spacing" in options:
        options["spacing"] *= coarsen
    elif "count" in options:
        options["count"] = max(1, round(options["count"] / coarsen**3))
    elif "voxel" in options:  # a cloud whose particles are half a voxel apart
        options["spacing"] = options["voxel"] / 2 * coarsen
    return dataclasses.replace(body, options=options)


def _plain(value):
    if isinstance(value, Material):
        name = next(k for k, cls in MATERIALS.items() if cls is type(value))
        return {"type": name, **dataclasses.asdict(value)}
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value) if f.name != "place"]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value
