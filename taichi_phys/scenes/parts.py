"""The parts of a scene: bodies, colliders and forces, and the keys of their tables.

Each part makes the object of the Python API that it describes; keys have the names of arguments and
fields there.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taichi_phys.geometry.repair import Triangles, triangles
from taichi_phys.geometry.sampling import (
    PATTERNS,
    sample_box,
    sample_cloud,
    sample_mesh,
    sample_sphere,
)
from taichi_phys.io.states import load_ply
from taichi_phys.materials import Material
from taichi_phys.mpm import colliders, forces
from taichi_phys.mpm.grid import CONTACTS, Grid
from taichi_phys.mpm.particles import Particles
from taichi_phys.mpm.poses import moving
from taichi_phys.mpm.recorded import ACTS, recorded_force
from taichi_phys.mpm.rigid_bodies import RigidBody
from taichi_phys.scenes.keys import (
    DURING,
    FLAG,
    TEXT,
    Kind,
    Place,
    choice,
    integer,
    number,
    vector,
)


LENGTH, POSITION = number("m", above=0), vector("m")
SEED = integer(0, 2**31 - 1)

# Keys for the size and place of the contents of a file, which are scaled first, then turned about
# the origin of the file (a box about its center), then moved.
ROTATION = vector("degrees: the direction is the axis, the length the angle")
FROM_FILE = {"scale": number("m per unit of the file", above=0), "rotation": ROTATION}
FROM_FILE |= {"translation": POSITION}

SAMPLING = {"spacing": LENGTH, "count": integer(1, 50_000_000), "pattern": choice(PATTERNS)}
SAMPLING |= {"seed": SEED}
SHAPES: dict[str, dict[str, Kind | None]] = {
    "box": {"lower": POSITION, "upper": POSITION, "rotation": ROTATION},
    "sphere": {"center": POSITION, "radius": LENGTH},
    "mesh": {"mesh": None, "thickness": LENGTH, **FROM_FILE},
    "cloud": {"points": None, "fill": FLAG, "voxel": LENGTH, **FROM_FILE},
    "gaussians": {
        "gaussians": None,
        "opacity": number(least=0, most=1),
        "fill": FLAG,
        "voxel": LENGTH,
        **FROM_FILE,
    },
}
CLOUDS = ("cloud", "gaussians")  # which tell a spacing themselves
NEEDED = {"box": ("lower", "upper"), "sphere": ("center", "radius"), "mesh": ("mesh",)}
NEEDED |= {"cloud": ("points",), "gaussians": ("gaussians",)}

ACTING = {"contact": choice(CONTACTS), "friction": number(least=0), "during": DURING}
COLLIDERS: dict[str, tuple[type[colliders.Collider], dict[str, Kind | None]]] = {
    "plane": (colliders.Plane, {"point": POSITION, "normal": vector("a direction")}),
    "box": (colliders.Box, {"center": POSITION, "half_size": POSITION}),
    "sphere": (colliders.Sphere, {"center": POSITION, "radius": LENGTH}),
    "capsule": (colliders.Capsule, {"start": POSITION, "end": POSITION, "radius": LENGTH}),
    "mesh": (colliders.Mesh, {"mesh": None}),
}
OPTIONAL: dict[str, dict[str, Kind]] = {
    "box": {"rotation": ROTATION},
    "mesh": {"cells": integer(2, 400), **FROM_FILE},
}
RIGID = {"density": number("kg/m^3", above=0), "mass": number("kg", above=0)}
RIGID |= {"velocity": vector("m/s"), "angular_velocity": vector("rad/s")}
RIGID |= {"contact": choice(CONTACTS), "friction": number(least=0)}
MOTION = {"velocity": vector("m/s"), "angular_velocity": vector("rad/s"), "center": POSITION}
MOTION |= {"during": DURING}

AIRS: dict[str, tuple[type[Any] | None, dict[str, Kind]]] = {
    "constant": (None, {"velocity": vector("m/s")}),
    "vortex": (
        forces.Vortex,
        {
            "center": POSITION,
            "axis": vector("a direction"),
            "strength": number("m^2/s"),
            "radius": LENGTH,
        },
    ),
    "noise": (
        forces.Noise,
        {
            "scale": LENGTH,
            "speed": number("m/s", least=0),
            "time_scale": number("s", above=0),
            "seed": SEED,
            "modes": integer(1, 4096),
        },
    ),
}
FORCES: dict[str, tuple[Callable[..., forces.ForceField], dict[str, Kind | None]]] = {
    "uniform": (forces.Uniform, {"acceleration": vector("m/s^2"), "force": vector("N")}),
    "drag": (
        forces.Drag,
        {"air": None, "rate": number("1/s", least=0), "quadratic": number("1/m", least=0)},
    ),
    "acceleration": (forces.Acceleration, {"field": None, "scale": number()}),
    "run": (recorded_force, {"run": TEXT, "act": choice(ACTS)}),
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """A [[body]] table; options: arguments of its sampler, and scale, rotation and translation."""

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
        """The particles of the body. Raises SceneError, also if particles lie outside the grid."""
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
                    f"from {low} to {high} m, expected a body between {grid.lower} and "
                    f"{grid.upper} m, at least one cell of {grid.dx:g} m away from the faces"
                )
            return Particles(x, v=v, density=self.density, volume=volume, material=self.material)

    def mesh(self, folder: Path) -> Triangles | None:
        """The surface of a body that is made of a mesh, in its place, else None."""
        if self.shape != "mesh":
            return None
        with self.place.errors():
            return _placed_mesh(folder, self.options)

    def _sample(self, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        options = {k: v for k, v in self.options.items() if k not in FROM_FILE}
        if self.shape == "mesh":
            return sample_mesh(_placed_mesh(folder, self.options), **without(options, "mesh"))
        if self.shape == "cloud":
            points = _moved(load_ply(folder / options.pop("points")).x, self.options)
            return sample_cloud(points, **options)
        if self.shape == "gaussians":
            return self._of_gaussians(folder, options)
        if self.shape == "sphere":
            return sample_sphere(**options)
        x, volume = sample_box(**options)
        center = (np.array(options["lower"]) + options["upper"]) / 2
        return center + _moved(x - center, self.options), volume

    def _of_gaussians(self, folder: Path, options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Particles in the body that Gaussians outline, those that are opaque enough."""
        path = folder / options.pop("gaussians")
        model = load_ply(path)
        if "opacity" not in model.fields:
            raise ValueError(f"gaussians: {path} has no opacity, expected a .ply file of Gaussians")
        opacity = 1 / (1 + np.exp(-model.fields["opacity"].astype(np.float64)))
        threshold = {"threshold": options.pop("opacity")} if "opacity" in options else {}
        points = _moved(model.x, self.options)
        return sample_cloud(points, weights=opacity, **threshold, **options)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Obstacle:
    """A [[collider]] table; options: fields of its class, and scale, rotation and translation."""

    shape: str
    options: dict[str, Any]
    motion: tuple[dict[str, Any], ...] = ()
    color: tuple[float, float, float] | None = None
    opacity: float = 1.0
    place: Place = dataclasses.field(repr=False)

    def make(self, folder: Path) -> colliders.Collider:
        """The collider. Raises SceneError."""
        with self.place.errors():
            options = {k: v for k, v in self.options.items() if k not in FROM_FILE}
            start = np.eye(3), np.zeros(3)
            if self.shape == "mesh":
                options["mesh"] = _placed_mesh(folder, self.options)
            elif "rotation" in self.options:
                turn, center = _matrix(self.options["rotation"]), np.array(options["center"])
                start = turn, center - turn @ center
            if self.motion or "rotation" in self.options:
                motions = tuple(
                    (moving(**without(m, "during")), m.get("during")) for m in self.motion
                )
                options["pose"] = Course(start=start, motions=motions)
            return COLLIDERS[self.shape][0](**options)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Rigid:
    """A [[rigid]] table; options: fields of its shape, and scale, rotation and translation."""

    shape: str
    options: dict[str, Any]
    moved: dict[str, Any]  # fields of RigidBody
    color: tuple[float, float, float] | None = None
    opacity: float = 1.0
    place: Place = dataclasses.field(repr=False)

    def make(self, folder: Path) -> RigidBody:
        """The rigid body. Raises SceneError."""
        with self.place.errors():
            options = {k: v for k, v in self.options.items() if k not in FROM_FILE}
            if self.shape == "mesh":
                options["mesh"] = _placed_mesh(folder, self.options)
            return RigidBody(shape=COLLIDERS[self.shape][0](**options), **self.moved)


@dataclasses.dataclass(frozen=True, eq=False)
class Course:
    """The pose of a collider: its pose at first, then one motion after the other.

    start: rotation (3, 3) and translation (3,) m; motions: pairs of a pose, as `moving` gives it,
    and the time (t0, t1) s in which the motion acts or None for always.
    """

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
    """A [[force]] table.

    options: fields of its class; air or field is a tuple of air velocities (type, options), which
    are added up; during: (t0, t1) s in which the force acts, None for always.
    """

    type: str
    options: dict[str, Any]
    during: tuple[float, float] | None = None
    place: Place = dataclasses.field(repr=False)

    def make(self, folder: Path) -> forces.ForceField:
        """The force field; folder: of the scene file. Raises SceneError."""
        with self.place.errors():
            options = dict(self.options)
            if "run" in options:
                options["folder"] = folder / options.pop("run")
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
    """A force that acts only from t0 to t1, s."""

    force: forces.ForceField
    during: tuple[float, float]

    def __call__(
        self, x: torch.Tensor, t: float, v: torch.Tensor, mass: torch.Tensor
    ) -> torch.Tensor:
        """Forces (n, 3) N on particles."""
        if not self.during[0] <= t < self.during[1]:
            return torch.zeros_like(x)
        return self.force(x, t, v, mass)


def without(table: dict, key: str) -> dict:
    """A copy of a table without one key."""
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


def _placed_mesh(folder: Path, options: dict[str, Any]) -> Triangles:
    vertices, faces = triangles(folder / options["mesh"])
    return Triangles(_moved(vertices, options), faces)
