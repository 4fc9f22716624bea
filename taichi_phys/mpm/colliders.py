"""Rigid bodies that the material touches, and the table that describes them to kernels."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from taichi_phys.checks import finite_number, finite_vector, one_of, set_fields
from taichi_phys.geometry.signed_distance import MAX_NODES, SignedDistance, signed_distance
from taichi_phys.mpm.grid import CONTACTS
from taichi_phys.rotations import rotation_matrix


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
TOLERANCE = 32  # m: nodes outside by less than this count as inside; the engine sets it
COLUMNS = 33

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


def moving(
    *,
    velocity: Sequence[float] = (0.0, 0.0, 0.0),
    angular_velocity: Sequence[float] = (0.0, 0.0, 0.0),
    center: Sequence[float] = (0.0, 0.0, 0.0),
) -> Callable[[float], tuple[np.ndarray, np.ndarray]]:
    """A pose for colliders that move at constant velocities from their given place at t = 0.

    velocity: (3,) of the center, m/s; angular_velocity: (3,) about the center, rad/s; center: (3,)
    at t = 0, m. Raises ValueError.
    """
    velocity, center = (
        np.array(finite_vector("velocity", velocity)),
        np.array(finite_vector("center", center)),
    )
    spin = np.array(finite_vector("angular_velocity", angular_velocity))
    rate = math.hypot(*spin)
    axis = np.cross(np.eye(3), spin / rate if rate > 0 else spin)  # axis @ x = cross(direction, x)
    return functools.partial(_moved, velocity, rate, axis, center)


def _moved(velocity, rate, axis, center, t):
    R = np.eye(3) + math.sin(rate * t) * axis + (1 - math.cos(rate * t)) * (axis @ axis)
    return R, center + velocity * t - R @ center


def check_colliders(colliders: Any) -> tuple[Collider, ...]:
    """Return colliders as a tuple. Raises ValueError."""
    if isinstance(colliders, Collider) or not isinstance(colliders, Sequence):
        raise ValueError(f"colliders: got {type(colliders).__name__}, expected a list of colliders")
    for collider in colliders:
        if not isinstance(collider, Collider) or type(collider) is Collider:
            raise ValueError(
                f"colliders: got a list with {collider!r}, expected Plane, Box, Sphere, Capsule or "
                "Mesh"
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
            rows[acting, ROTATION:SHAPE] = _motion(collider.pose, times[acting], dt)
    return result


def _motion(pose, times: np.ndarray, dt: float) -> np.ndarray:
    """The columns from ROTATION to SHAPE at times (n,), s."""
    from scipy.spatial.transform import Rotation

    if (np.abs(np.diff(times) - dt) < 1e-7 * dt).all():  # each substep ends where the next begins
        R, T = _poses(pose, np.append(times, times[-1] + dt))
        R, T, next_R, next_T = R[:-1], T[:-1], R[1:], T[1:]
    else:
        R, T = _poses(pose, times)
        next_R, next_T = _poses(pose, times + dt)
    turn = next_R @ R.transpose(0, 2, 1)
    angle = Rotation.from_matrix(turn).as_rotvec()
    # x -> turn x + shift is the exponential of the twist (angle, V^-1 shift), with V^-1 shift =
    # shift - angle x shift / 2 + k angle x (angle x shift) and
    # k = (1 - (r / 2) / tan(r / 2)) / r^2, r = |angle| (Sola et al. 2018, "A micro Lie theory",
    # eq. 174 and the inverse of eq. 145).
    shift = next_T - np.einsum("tij,tj->ti", turn, T)
    r = np.linalg.norm(angle, axis=1, keepdims=True)
    half = np.maximum(0.5 * r, 1e-4)  # below this, the series below: its next term is rounding
    k = np.where(r > 2e-4, (1 - half / np.tan(half)) / (4 * half**2), 1 / 12 + r**2 / 720)
    cross = np.cross(angle, shift)
    twist = shift - 0.5 * cross + k * np.cross(angle, cross)
    back = -np.einsum("tji,tj->ti", R, T)
    return np.hstack([R.transpose(0, 2, 1).reshape(-1, 9), back, twist / dt, angle / dt])


def _poses(pose, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (n, 3, 3) and translations (n, 3) m of a pose at times (n,) s.

    Raises ValueError, which names the time, if the pose returns anything else.
    """
    from scipy.spatial.transform import Rotation

    expected = "expected (rotation (3, 3) or unit quaternion (4,) wxyz, translation (3,) m)"
    results, rotations, translations = [], [], []
    for t in times.tolist():
        result = pose(t)
        try:
            rotation, translation = (np.asarray(part, dtype=np.float64) for part in result)
            fits = translation.shape == (3,) and rotation.shape in ((3, 3), (4,))
        except (TypeError, ValueError, OverflowError, RuntimeError):
            fits = False
        if not fits:
            raise ValueError(f"pose: at t = {t:g} s got {result!r}, {expected}")
        results.append(result)
        if rotation.shape == (4,):  # scaled, so that the check below finds a length other than 1
            with np.errstate(invalid="ignore", over="ignore"):
                rotation = rotation_matrix(rotation) * (rotation @ rotation)
        rotations.append(rotation)
        translations.append(translation)
    R, T = np.array(rotations), np.array(translations)
    with np.errstate(invalid="ignore", over="ignore"):
        good = np.isfinite(T).all(axis=1) & (
            np.abs(R.transpose(0, 2, 1) @ R - np.eye(3)) < 1e-3
        ).all(axis=(1, 2))
        good &= np.linalg.det(R) > 0
    if not good.all():
        bad = int(np.flatnonzero(~good)[0])
        raise ValueError(f"pose: at t = {times[bad]:g} s got {results[bad]!r}, {expected}")
    return Rotation.from_matrix(R).as_matrix(), T  # orthogonal to rounding
