"""Rigid bodies that the material moves: their description and their state."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from taichi_phys.checks import finite_number, finite_vector, set_fields
from taichi_phys.geometry.repair import outward, triangles
from taichi_phys.geometry.signed_distance import SignedDistance
from taichi_phys.mpm.colliders import Box, Capsule, Collider, Mesh, Sphere
from taichi_phys.rotations import rotation_matrix


# Cells: how much farther out the surface of a rigid body is for the grid, if there are fluids. The
# nodes that it pushes lie within it, the first of them on average by half a cell. And a fluid at
# rest fills half a cell behind this node: the forces of a uniform pressure on the next node, sums
# over V grad w, cancel only if its whole support of 1.5 cells to either side is full. Without this,
# water creeps a cell into the body in a few seconds. Solids do not flow there, and stand off.
LARGER = 1.0
POINTS = 400  # most points of a mesh that are tried for contact with other solids


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RigidBody(Collider):
    """A rigid body that is moved by gravity, by the material and by other solids that it hits.

    shape: a Box, Sphere, Capsule or Mesh where the body is at first, without contact, friction,
    pose and during; density: kg/m^3, or mass: kg, spread evenly; velocity: (3,) of the center of
    mass at first, m/s; angular_velocity: (3,) at first, rad/s; contact and friction: with the
    material, as for every `Collider`. Two solids that touch have the larger friction of the two,
    and do not bounce. Raises ValueError.
    """

    shape: Any
    density: float | None = None
    mass: float | None = None
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    angular_velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    center: np.ndarray = dataclasses.field(init=False, repr=False)  # (3,) of mass at first, m
    inertia: np.ndarray = dataclasses.field(init=False, repr=False)  # (3, 3) about it, kg m^2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.shape, Box | Sphere | Capsule | Mesh):
            got = type(self.shape).__name__
            raise ValueError(f"shape: got {got}, expected a Box, Sphere, Capsule or Mesh")
        own = (self.shape.contact, self.shape.friction, self.shape.pose, self.shape.during)
        if own != ("separate", 0.0, None, None) or self.pose is not None or self.during is not None:
            raise ValueError(
                "shape: got a contact, friction, pose or during, expected a shape without these: "
                "give contact, friction, velocity and angular_velocity to the rigid body"
            )
        if (self.density is None) == (self.mass is None):
            raise ValueError("density, mass: expected one of the two")
        volume, center, inertia = mass_properties(self.shape)
        expected = "a positive number"
        if self.mass is None:
            density = finite_number("density", self.density, expected, low=0, open_end=True)
            mass = density * volume
        else:
            mass = finite_number("mass", self.mass, expected, low=0, open_end=True)
        set_fields(
            self,
            mass=mass,
            density=mass / volume,
            center=center,
            inertia=mass / volume * inertia,
            velocity=finite_vector("velocity", self.velocity),
            angular_velocity=finite_vector("angular_velocity", self.angular_velocity),
        )

    @property
    def solid(self) -> Collider:
        """The shape with the contact and the friction of the body."""
        return dataclasses.replace(self.shape, contact=self.contact, friction=self.friction)

    def outline(self) -> np.ndarray:
        """Points (k, 3) m at first, whose mean is the center of mass, around the shape."""
        points = self.shape.outline()
        return np.concatenate([points, 2 * self.center - points])


def solids_of(colliders: Sequence[Collider], larger: float = 0.0) -> tuple[Collider, ...]:
    """The colliders, with the solids of rigid bodies in their place, larger by a length, m."""
    return tuple(grown(c.solid, larger) if isinstance(c, RigidBody) else c for c in colliders)


def grown(shape: Collider, by: float) -> Collider:
    """A shape whose surface lies farther out by a length, m >= 0; a box keeps its edges sharp."""
    if by == 0:
        return shape
    if isinstance(shape, Box):
        return dataclasses.replace(
            shape, half_size=finite_vector("half_size", np.add(shape.half_size, by))
        )
    if isinstance(shape, Sphere | Capsule):
        return dataclasses.replace(shape, radius=shape.radius + by)
    assert isinstance(shape, Mesh)
    d = shape.distance
    more = 2 + math.ceil(
        by / d.spacing
    )  # samples; beyond the edge, distances at the edge and to it
    values = np.pad(d.values, more, mode="edge")
    past = [
        np.maximum(np.abs(np.arange(n) - (n - 1) / 2) - (n - 1) / 2 + more, 0) for n in values.shape
    ]
    beyond = np.sqrt(sum(a**2 for a in np.meshgrid(*past, indexing="ij")))
    lower = finite_vector("lower", np.subtract(d.lower, more * d.spacing))
    distance = SignedDistance(
        lower=lower,
        spacing=d.spacing,
        values=values + d.spacing * beyond - by,
        thickness=None if d.thickness is None else d.thickness + 2 * by,
    )
    return dataclasses.replace(shape, mesh=distance)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RigidState:
    """The state of b rigid bodies, in the order of the colliders, at a frame boundary.

    x: (b, 3) centers of mass, m; q: (b, 4) quaternions wxyz that turn each body from where it was
    at first; v: (b, 3) m/s; w: (b, 3) rad/s. All are float64 arrays. Raises ValueError.
    """

    x: np.ndarray
    q: np.ndarray
    v: np.ndarray
    w: np.ndarray

    def __post_init__(self) -> None:
        count = len(np.atleast_2d(self.x))
        for name, size in (("x", 3), ("q", 4), ("v", 3), ("w", 3)):
            value = np.array(getattr(self, name), dtype=np.float64)
            if value.shape != (count, size) or not np.isfinite(value).all():
                raise ValueError(
                    f"{name}: got {value.shape}, expected finite numbers ({count}, {size})"
                )
            set_fields(self, **{name: value})

    @classmethod
    def of(cls, bodies: Sequence[RigidBody]) -> "RigidState":
        """The state of the bodies at first."""
        return cls(
            x=np.array([b.center for b in bodies]),
            q=np.tile([1.0, 0.0, 0.0, 0.0], (len(bodies), 1)),
            v=np.array([b.velocity for b in bodies]),
            w=np.array([b.angular_velocity for b in bodies]),
        )

    @property
    def rotations(self) -> np.ndarray:
        """(b, 3, 3): the rotation matrices of q."""
        return rotation_matrix(self.q)


def mass_properties(shape: Collider) -> tuple[float, np.ndarray, np.ndarray]:
    """Volume, m^3, center (3,) m, and inertia (3, 3) about it at a density of 1 kg/m^3, m^5."""
    if isinstance(shape, Box):
        a, b, c = half = np.array(shape.half_size)
        volume = 8 * a * b * c
        return volume, np.array(shape.center), volume / 3 * np.diag((half @ half) - half**2)
    if isinstance(shape, Sphere):
        volume = 4 / 3 * math.pi * shape.radius**3
        return volume, np.array(shape.center), 0.4 * volume * shape.radius**2 * np.eye(3)
    if isinstance(shape, Capsule):
        return _capsule(shape)
    assert isinstance(shape, Mesh)
    if not isinstance(shape.mesh, SignedDistance):
        import trimesh

        vertices, faces, _ = outward(*triangles(shape.mesh))
        mesh = trimesh.Trimesh(vertices, faces, process=False)
        if mesh.body_count == 1:  # shells that overlap would count twice
            return float(mesh.volume), np.array(mesh.center_mass), np.array(mesh.moment_inertia)
    d = shape.distance
    # the share of the cube around a sample that is inside, from the distance of its middle
    share = np.clip(0.5 - d.values / d.spacing, 0, 1)
    places = np.stack(np.meshgrid(*(np.arange(n) for n in share.shape), indexing="ij"), axis=-1)
    x = (np.array(d.lower) + d.spacing * places).reshape(-1, 3)
    weight = share.ravel() * d.spacing**3
    volume = float(weight.sum())
    center = weight @ x / volume
    second = (weight[:, None] * (x - center)).T @ (x - center)
    second += np.eye(3) * volume * d.spacing**2 / 12
    return volume, center, np.trace(second) * np.eye(3) - second


def _capsule(shape: Capsule) -> tuple[float, np.ndarray, np.ndarray]:
    start, end, r = np.array(shape.start), np.array(shape.end), shape.radius
    length = float(np.linalg.norm(end - start))
    axis = (end - start) / length if length > 0 else np.array([0.0, 0.0, 1.0])
    rod, ball = math.pi * r**2 * length, 4 / 3 * math.pi * r**3
    along = rod * r**2 / 2 + 0.4 * ball * r**2
    # half balls at the ends: their centers lie 3/8 r beyond the ends of the rod
    across = rod * (length**2 / 12 + r**2 / 4)
    across += ball * (0.4 * r**2 + length**2 / 4 + 3 / 8 * length * r)
    inertia = across * np.eye(3) + (along - across) * np.outer(axis, axis)
    return rod + ball, (start + end) / 2, inertia


def contact_points(shape: Collider) -> tuple[np.ndarray, float]:
    """Points (k, 3) m of a shape, and a distance, m, around them which the shape fills.

    Other solids are tested with these for contact: the centers of a sphere or capsule, and points
    on the edges of a box or on the surface of a mesh. A plane has no points.
    """
    if isinstance(shape, Sphere):
        return np.array([shape.center]), shape.radius
    if isinstance(shape, Capsule):
        start, end = np.array(shape.start), np.array(shape.end)
        count = 2 + int(2 * np.linalg.norm(end - start) / shape.radius)
        return start + np.linspace(0, 1, count)[:, None] * (end - start), shape.radius
    if isinstance(shape, Box):
        steps = np.stack(np.meshgrid(*[np.linspace(-1, 1, 5)] * 3), axis=-1).reshape(-1, 3)
        edges = steps[(np.abs(steps) == 1).sum(axis=1) >= 2]
        return np.array(shape.center) + edges * shape.half_size, 0.0
    if isinstance(shape, Mesh):
        d = shape.distance
        places = np.argwhere(np.abs(d.values) < d.spacing)
        x = np.array(d.lower) + d.spacing * places[:: max(1, len(places) // POINTS)]
        return x - shape.distance_at(x)[:, None] * normals(shape, x, 0.25 * d.spacing), 0.0
    return np.zeros((0, 3)), 0.0


def normals(shape: Collider, x: np.ndarray, step: float) -> np.ndarray:
    """Unit normals (n, 3) of the distance at x (n, 3) m, by central differences over step m."""
    offsets = step * np.eye(3)
    ends = [shape.distance_at(x + sign * e) for e in offsets for sign in (1, -1)]
    with np.errstate(invalid="ignore"):
        slopes = np.stack([ends[2 * i] - ends[2 * i + 1] for i in range(3)], axis=1)
    slopes = np.nan_to_num(slopes, posinf=0.0, neginf=0.0)
    return slopes / np.maximum(np.linalg.norm(slopes, axis=1, keepdims=True), 1e-300)


def rigid_speed(bodies: Sequence[RigidBody], state: RigidState) -> float:
    """The speed, m/s, that no point of the bodies exceeds."""
    reach = [np.linalg.norm(b.outline() - b.center, axis=1).max() for b in bodies]
    speeds = np.linalg.norm(state.v, axis=1) + np.linalg.norm(state.w, axis=1) * reach
    return float(speeds.max())
