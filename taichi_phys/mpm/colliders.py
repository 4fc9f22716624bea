"""Rigid bodies that the material touches, and the table that describes them to kernels."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from taichi_phys.checks import finite_number, finite_vector, one_of, set_fields
from taichi_phys.geometry.signed_distance import MAX_NODES, SignedDistance, signed_distance
from taichi_phys.mpm.grid import CONTACTS
from taichi_phys.mpm.poses import twists


# Columns of the table; a row is one collider in one substep.
KIND = 0
ACTIVE = 1  # 1 or 0
CONTACT = 2  # index in CONTACTS
FRICTION = 3
ROTATION = 4  # 3x3, row by row: with TRANSLATION, takes a point of the world to the unposed shape
TRANSLATION = 13  # m
VELOCITY = 16  # m/s, of the body at the origin of the world: u(x) = VELOCITY + SPIN x x
SPIN = 19  # rad/s
SHAPE = 22  # the numbers of the shape, see below
CELL = 32  # m: edge of a cell of the grid; the engine sets it
CENTER = 33  # m: the point about which moments are taken; the engine sets it
COLUMNS = 36
TOLERANCE = 1e-4  # cells: nodes outside by less than this count as inside, whatever the rounding

# The values of KIND, and the numbers from column SHAPE on:
PLANE = 0  # point (3), unit normal (3)
BOX = 1  # center (3), half size (3)
CAPSULE = 2  # start (3), end - start (3), radius, normal on the axis (3); a sphere has length 0
MESH = 3  # offset of its distances, spacing, 0, number of nodes (3), lower (3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collider:
    """Base of all colliders.

    contact: the motion of material inside, "sticky" (it takes the velocity of the collider), "slip"
    (no motion along the normal relative to the collider) or "separate" (no motion into the
    collider); friction: Coulomb coefficient for "slip" and "separate", >= 0: the tangential
    relative speed falls by at most friction times the change of the normal speed; pose: None for a
    collider at rest, or a function of the time t, s, that returns a rotation, (3, 3) or a
    quaternion (4,) wxyz, and a translation (3,), m: a point x of the shape lies at
    R x + translation (see `moving`); during: (t0, t1), s, when the collider acts, None for always.
    Raises ValueError.

    A sticky collider around a part of a body holds that part: a collider at rest clamps a beam, a
    pose prescribes the motion of the part, and `during` releases it.
    """

    contact: str = "separate"
    friction: float = 0.0
    pose: Callable[[float], tuple[Any, Any]] | None = None
    during: tuple[float, float] | None = None

    def __post_init__(self):
        one_of("contact", self.contact, CONTACTS)
        friction = finite_number("friction", self.friction, "a number >= 0", low=0)
        set_fields(self, friction=friction)
        if self.pose is not None and not callable(self.pose):
            raise ValueError(
                f"pose: got {self.pose!r}, expected None or a function t -> (rotation, translation)"
            )
        if self.during is not None:
            try:
                start, end = (float(t) for t in self.during)
            except (TypeError, ValueError, OverflowError, RuntimeError):
                start = end = math.nan
            if not start < end:
                raise ValueError(f"during: got {self.during!r}, expected (t0, t1) s with t0 < t1")
            set_fields(self, during=(start, end))

    def _row(self, offset: int) -> tuple[int, list[float]]:
        """KIND and the numbers of the shape; offset: index of the first distance of a mesh."""
        raise NotImplementedError

    def distance_at(self, p: np.ndarray) -> np.ndarray:
        """Signed distances (n,) m at points p (n, 3) m of the shape's own frame."""
        raise NotImplementedError

    def outline(self) -> np.ndarray:
        """Points (k, 3) m of the shape's own frame, between which the whole shape lies."""
        raise NotImplementedError

    def thickness(self) -> float:
        """The thickness of the shape where it is thinnest, m."""
        raise NotImplementedError


def _radius(value: Any) -> float:
    return finite_number("radius", value, "a positive number of meters", low=0, open_end=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plane(Collider):
    """The half-space behind a plane.

    point: (3,) any point of the plane, m; normal: (3,) of any length, pointing out of the solid.
    For contact, friction, pose and during see `Collider`. Raises ValueError.
    """

    point: tuple[float, float, float]
    normal: tuple[float, float, float]

    def __post_init__(self):
        super().__post_init__()
        point = finite_vector("point", self.point)
        normal = np.array(finite_vector("normal", self.normal))
        if not normal.any():
            raise ValueError(f"normal: got {self.normal!r}, expected a vector other than zero")
        normal /= np.abs(normal).max()  # its square may overflow or vanish
        set_fields(self, point=point, normal=tuple((normal / np.linalg.norm(normal)).tolist()))

    def _row(self, offset: int) -> tuple[int, list[float]]:
        return PLANE, [*self.point, *self.normal]

    def distance_at(self, p: np.ndarray) -> np.ndarray:
        return (p - self.point) @ np.asarray(self.normal)

    def outline(self) -> np.ndarray:
        return np.array([self.point])

    def thickness(self) -> float:
        return math.inf


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box(Collider):
    """A box along the axes, unless a pose turns it.

    center: (3,) m; half_size: (3,) half of each edge, m. For contact, friction, pose and during see
    `Collider`. Raises ValueError.
    """

    center: tuple[float, float, float]
    half_size: tuple[float, float, float]

    def __post_init__(self):
        super().__post_init__()
        center = finite_vector("center", self.center)
        size = finite_vector("half_size", self.half_size)
        if min(size) <= 0:
            raise ValueError(f"half_size: got {self.half_size!r}, expected 3 positive lengths")
        set_fields(self, center=center, half_size=size)

    def _row(self, offset: int) -> tuple[int, list[float]]:
        return BOX, [*self.center, *self.half_size]

    def distance_at(self, p: np.ndarray) -> np.ndarray:
        q = np.abs(p - self.center) - self.half_size
        return np.linalg.norm(q.clip(0), axis=1) + q.max(axis=1).clip(max=0)

    def outline(self) -> np.ndarray:
        return _corners(np.subtract(self.center, self.half_size), np.multiply(2, self.half_size))

    def thickness(self) -> float:
        return 2 * min(self.half_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sphere(Collider):
    """A ball.

    center: (3,) m; radius: m. For contact, friction, pose and during see `Collider`. Raises
    ValueError.
    """

    center: tuple[float, float, float]
    radius: float

    def __post_init__(self):
        super().__post_init__()
        set_fields(self, center=finite_vector("center", self.center), radius=_radius(self.radius))

    def _row(self, offset: int) -> tuple[int, list[float]]:
        return CAPSULE, [*self.center, 0, 0, 0, self.radius, 0, 0, 1]

    def distance_at(self, p: np.ndarray) -> np.ndarray:
        return np.linalg.norm(p - self.center, axis=1) - self.radius

    def outline(self) -> np.ndarray:
        return _corners(np.subtract(self.center, self.radius), np.full(3, 2 * self.radius))

    def thickness(self) -> float:
        return 2 * self.radius


@dataclasses.dataclass(frozen=True, kw_only=True)
class Capsule(Collider):
    """All points within a given distance of a line segment.

    start, end: (3,) ends of the segment, m; radius: the distance, m. For contact, friction, pose
    and during see `Collider`. Raises ValueError.
    """

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float

    def __post_init__(self):
        super().__post_init__()
        start, end = finite_vector("start", self.start), finite_vector("end", self.end)
        set_fields(self, start=start, end=end, radius=_radius(self.radius))

    def _row(self, offset: int) -> tuple[int, list[float]]:
        along = np.subtract(self.end, self.start)
        across = np.cross(along, np.eye(3)[np.abs(along).argmin()])
        size = np.linalg.norm(across)
        across = across / size if size > 0 else np.array([0.0, 0.0, 1.0])
        return CAPSULE, [*self.start, *along, self.radius, *across]

    def distance_at(self, p: np.ndarray) -> np.ndarray:
        along, r = np.subtract(self.end, self.start), p - self.start
        share = (r @ along / max(along @ along, 1e-300)).clip(0, 1)
        return np.linalg.norm(r - share[:, None] * along, axis=1) - self.radius

    def outline(self) -> np.ndarray:
        lower = np.minimum(self.start, self.end) - self.radius
        return _corners(lower, np.maximum(self.start, self.end) + self.radius - lower)

    def thickness(self) -> float:
        return 2 * self.radius


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Mesh(Collider):
    """The inside of a closed triangle mesh.

    mesh: a path that trimesh reads or a trimesh.Trimesh, in m, or a SignedDistance; cells: number
    of grid cells along the longest side of the mesh; the constructor samples the signed distance on
    this grid into `distance`, and details smaller than a cell are lost. For contact, friction, pose
    and during see `Collider`. Raises ValueError, for example for an open mesh, and ImportError
    without trimesh.
    """

    mesh: Any
    cells: int = 48
    distance: SignedDistance = dataclasses.field(init=False, repr=False)

    def __post_init__(self):
        super().__post_init__()
        ready = isinstance(self.mesh, SignedDistance)
        distance = self.mesh if ready else signed_distance(self.mesh, cells=self.cells)
        set_fields(self, distance=distance)

    def _row(self, offset: int) -> tuple[int, list[float]]:
        d = self.distance
        return MESH, [offset, d.spacing, 0, *d.values.shape, *d.lower]

    def distance_at(self, p: np.ndarray) -> np.ndarray:
        from scipy.ndimage import map_coordinates

        d = self.distance
        places = (p - np.array(d.lower)) / d.spacing
        return map_coordinates(d.values, places.T, order=1, mode="constant", cval=math.inf)

    def outline(self) -> np.ndarray:
        d = self.distance
        return _corners(np.array(d.lower), d.spacing * (np.array(d.values.shape) - 1))

    def thickness(self) -> float:
        d = self.distance
        if d.thickness is not None:
            return d.thickness
        # at most: the middle lies up to half a diagonal of a cell away from the deepest sample
        deepest = -float(d.values.min())
        return 2 * deepest + math.sqrt(3) * d.spacing if deepest > 0 else 0.0


def _corners(lower: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The corners (8, 3) of a box."""
    return lower + size * np.stack(np.meshgrid(*[(0, 1)] * 3), axis=-1).reshape(-1, 3)


def check_colliders(colliders: Any) -> tuple[Collider, ...]:
    """Return colliders as a tuple. Raises ValueError."""
    if isinstance(colliders, Collider) or not isinstance(colliders, Sequence):
        raise ValueError(f"colliders: got {type(colliders).__name__}, expected a list of colliders")
    for collider in colliders:
        if not isinstance(collider, Collider) or type(collider) is Collider:
            raise ValueError(
                f"colliders: got a list with {collider!r}, expected Plane, Box, Sphere, Capsule or "
                "Mesh, or RigidBody"
            )
    nodes = sum(c.distance.values.size for c in colliders if isinstance(c, Mesh))
    if nodes > MAX_NODES:
        raise ValueError(
            f"colliders: got meshes with {nodes} grid nodes in all, expected at most {MAX_NODES}: "
            "use fewer cells"
        )
    return tuple(colliders)


def distances(colliders: Sequence[Collider]) -> np.ndarray:
    """Signed distances of all meshes one after the other, m; a single 0 if there is no mesh."""
    values = [c.distance.values.ravel() for c in colliders if isinstance(c, Mesh)]
    return np.concatenate(values) if values else np.zeros(1)


def table(colliders: Sequence[Collider], times: np.ndarray, dt: float) -> np.ndarray:
    """The table (substeps, colliders, COLUMNS), float64, that describes colliders to kernels.

    times: (substeps,) start of each substep, s; dt: s. The first axis has length 1 if no collider
    moves, begins or ends. A collider acts in the substeps whose middle lies in its `during`. Its
    velocity belongs to the steady screw motion from its pose at t to its pose at t + dt. Raises
    ValueError for what a pose returns.
    """
    times = np.atleast_1d(np.asarray(times, dtype=np.float64))
    constant = all(c.pose is None and c.during is None for c in colliders)
    result = np.zeros((1 if constant else len(times), len(colliders), COLUMNS))
    offset = 0
    for i, collider in enumerate(colliders):
        rows = result[:, i]
        kind, shape = collider._row(offset)
        if isinstance(collider, Mesh):
            offset += collider.distance.values.size
        rows[:, KIND] = kind
        rows[:, ACTIVE] = 1
        rows[:, CONTACT] = CONTACTS.index(collider.contact)
        rows[:, FRICTION] = collider.friction
        rows[:, ROTATION:TRANSLATION] = np.eye(3).ravel()
        rows[:, SHAPE : SHAPE + len(shape)] = shape
        if collider.during is not None:
            middle = times + 0.5 * dt
            rows[:, ACTIVE] = (collider.during[0] <= middle) & (middle < collider.during[1])
        acting = np.flatnonzero(rows[:, ACTIVE])  # a pose need not exist at other times
        if collider.pose is not None and len(acting):
            rows[acting, ROTATION:SHAPE] = twists(collider.pose, times[acting], dt)
    return result
