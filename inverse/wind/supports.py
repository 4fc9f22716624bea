"""What holds the object, and what it touches: colliders of its simulator.

A part of the object that is held follows its own tracked motion, as a rigid body, or rests, where
it was found because it does: the nodes of the grid in and around it lie in a sticky collider.
Forces that act there meet the collider, which pushes back with what is called the reaction. It
follows from the momentum p of the object, by dp/dt = external force + reaction.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation, RotationSpline

import taichi_phys as tp
from inverse.lifting.quality import followed_frames
from inverse.lifting.shrink import shrink_factor
from inverse.wind.carried import CANCELED, canceled_fall
from inverse.wind.config import WindJob
from inverse.wind.impacts import find_impacts, thrown_back
from inverse.wind.inputs.load import Inputs
from inverse.wind.solver import WindResult, at_frames
from inverse.wind.stillness import LEAST, STILL, pixel_size, still_part
from inverse.wind.targets import Tracked
from renderers.camera import Camera
from taichi_phys.geometry.signed_distance import SignedDistance
from taichi_phys.mpm.colliders import Collider
from taichi_phys.rotations import nearest_rotation


Pose = Callable[[float], tuple[np.ndarray, np.ndarray]]
PADDING = 2  # nodes around a part, in each direction
APART = 1.5  # grid spacings: held particles farther from each other belong to parts of their own
CONTACT_GAP = 0.5  # grid spacings between a plane and what rests on it, on average over places
WIDEST_GAP = 0.9  # grid spacings: more than any point is away from its nearest node


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Particles that one support holds; pose: of the support, as a collider takes it, None for
    one at rest; found: whether nobody said so, but the clip shows that they rest."""

    particles: np.ndarray
    pose: Pose | None = None
    found: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Supports:
    """What holds an object of n particles, and what it stands on.

    held: (n,) bool, particles that are held; parts: the supports, one for each set of held
    particles that hangs together; floor: None where there is none; impacts: intervals of the clip
    in which the floor hits the object (impacts.py); distance: m, of the object in frame 0, at
    which the floor is as high as it was said to be, None where a guess did not have to move it.
    """

    held: np.ndarray
    parts: tuple[Part, ...] = ()
    floor: tp.Plane | None = None
    impacts: tuple[int, ...] = ()
    distance: float | None = None

    @property
    def touch(self) -> bool:
        """Whether anything but the force to be found acts on the object."""
        return bool(self.parts) or self.floor is not None

    def steadied(
        self, targets: np.ndarray, cameras: Sequence[Sequence[Camera]], body: np.ndarray
    ) -> np.ndarray:
        """Targets (T, n, 3) m with which the parts that were found to rest are as deep as in frame
        0.

        One view hardly tells that an object as a whole comes nearer from that it grows: what is
        lifted drifts along the rays, and off what holds it. Each frame is scaled about its camera,
        by which nothing moves in its picture. Several views tell, and targets stay.

        cameras: of each view, for each frame; body: (n,) number of the object of each particle.
        """
        rest = np.zeros(len(self.held), dtype=bool)
        for part in self.parts:
            rest[part.particles] = part.found
        if len(cameras) > 1 or not rest.any():
            return targets
        targets = targets.copy()
        for number in np.unique(body[rest]):
            own = body == number
            known = rest & own
            for camera, x in zip(cameras[0], targets, strict=True):
                deep = [camera.to_camera(at[known])[:, 2].mean() for at in (targets[0], x)]
                x[own] = camera.position + (x[own] - camera.position) * (deep[0] / deep[1])
        return targets

    def colliders(self, x: np.ndarray, grid: tp.Grid) -> list[Collider]:
        """The colliders of a simulation that begins with particles x (n, 3) m."""
        found: list[Collider] = [
            tp.Mesh(mesh=_around(x, part.particles, grid), contact="sticky", pose=part.pose)
            for part in self.parts
        ]
        if self.floor is None:
            return found
        # Nodes above the plane carry what has not reached it yet.
        lower = np.asarray(self.floor.point) - CONTACT_GAP * grid.dx * np.asarray(self.floor.normal)
        return [*found, dataclasses.replace(self.floor, point=tuple(lower.tolist()))]

    def sentences(self, job: WindJob) -> list[str]:
        """What was assumed of them, for the report."""
        said = []
        if self.parts:
            share = f"{100 * self.held.mean():.2g} % of the object"
            moving = sum(part.pose is not None for part in self.parts)
            how = f"{moving} of {len(self.parts)} supports move" if moving else "at rest"
            if job.hold == "auto" and job.hold_box is None:
                said.append(
                    f"{share} stays where it is while the rest moves, and was taken to be held "
                    "there; --hold none undoes that."
                )
            else:
                said.append(f"{share} is held, as given, {how}.")
        if self.floor is not None:
            said.append(
                f"A floor at height {job.floor:g} m, with a friction of {job.floor_friction:g}, "
                "carries what lies on it; its push is not part of the force."
            )
        if self.distance is not None:
            said.append(
                "The floor was put where it throws the object back. It is at the height that was "
                f"given if the object is {self.distance:.3g} m away in frame 0: --distance "
                f"{self.distance:.3g} makes lengths and forces right."
            )
        if self.impacts:
            frames = sorted({frame for step in self.impacts for frame in (step, step + 1)})
            said.append(
                f"The floor hits the object between frames {_ranges(frames)}; the force there is "
                "taken to be that before and after."
            )
        return said


def _ranges(numbers: Sequence[int]) -> str:
    """Sorted whole numbers in words, as ranges."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(f"{first} and {last}" for first, last in parts)


def find_supports(
    job: WindJob,
    inputs: Inputs,
    x: np.ndarray,
    tracked: Tracked,
    dx: float,
    *,
    guessed: float | None = None,
) -> Supports:
    """What holds an object and what it stands on.

    x: (n, 3) m, its particles in frame 0; tracked: what the tracks say of them; dx: of the grid, m;
    guessed: m, the distance of the object where that is a guess: then all lengths may be too long
    or too short alike, and the floor is put where it throws the object back. Raises ValueError
    where no particle, or each of them, is held as the job says.
    """
    found = inputs.hold is None and job.hold == "auto"
    if inputs.hold is not None:
        pixels, _ = inputs.cameras[0][0].project(x)
        held = _in_pixels(pixels, inputs.hold)
        if not held.any() or held.all():
            name = "hold" if job.hold_box is None else "hold_box"
            got = "no part" if not held.any() else "all"
            raise ValueError(f"{name}: {got} of the object lies in it, expected a part")
    elif found and tracked.by == "tracks":  # nothing holds a ball that moves as its silhouette does
        # Pictures of large objects are made smaller before anything is followed in them.
        shrunk = 1.0 if inputs.tracks else shrink_factor(inputs.mask)
        sheet = inputs.surface is None
        odds = _odds_of_hold(job, inputs.fps, tracked) if sheet else 0.0
        held = still_part(x, tracked, LEAST / shrunk, sheet, odds)
    else:
        held = np.zeros(len(x), dtype=bool)
    noise = tracked.quality.sigma_px * pixel_size(inputs.cameras, x)
    if found:
        noise = np.inf  # along the axis of a camera it may seem to move
    parts = make_parts(
        held, x, tracked.targets, tracked.confidence, inputs.fps, dx, STILL * noise, found=found
    )  # fmt: skip
    floor, impacts, distance = _floor(job), [], None
    if floor is not None and not parts:  # what is held as well swings rather than flies
        if guessed is not None:
            floor, nearer = _met(floor, tracked.targets, inputs.cameras[0][0])
            distance = None if nearer is None else guessed / nearer
        gravity = float(np.linalg.norm(job.gravity))
        impacts = find_impacts(floor, tracked.targets, inputs.fps, dx, gravity)
    return Supports(held=held, parts=parts, floor=floor, impacts=tuple(impacts), distance=distance)


def _odds_of_hold(job: WindJob, fps: float, tracked: Tracked) -> float:
    """Logarithm of the odds that something holds a sheet: it stays in its place only if winds
    cancel its weight along each axis, by chance."""
    x = tracked.targets[: followed_frames(tracked.quality.seen_share)]
    fall = canceled_fall(x, np.ones(x.shape[1]), job.gravity, (len(x) - 1) / fps)
    return 0.0 if fall is None else 3 * float(np.log(CANCELED))


def _in_pixels(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Which of pixels (n, 2) px lie in a mask (H, W) bool."""
    u, v = np.floor(pixels).astype(int).T
    seen = (u >= 0) & (u < mask.shape[1]) & (v >= 0) & (v < mask.shape[0])
    inside = np.zeros(len(pixels), dtype=bool)
    inside[seen] = mask[v[seen], u[seen]]
    return inside


def _floor(job: WindJob) -> tp.Plane | None:
    if job.floor is None:
        return None
    up = -np.asarray(job.gravity) / np.linalg.norm(job.gravity)
    return tp.Plane(
        point=tuple(job.floor * up), normal=tuple(up), contact="separate",
        friction=job.floor_friction,
    )  # fmt: skip


def _met(floor: tp.Plane, targets: np.ndarray, camera: Camera) -> tuple[tp.Plane, float | None]:
    """The floor at the height where it throws back targets (T, n, 3) m, and the share of its true
    distance from the camera that it has there; the floor as it is, and None, where nothing is
    thrown back below the camera."""
    point, up = np.asarray(floor.point), np.asarray(floor.normal)
    heights = thrown_back(((targets - point) @ up).min(axis=1))
    above = float((camera.position - point) @ up)
    if not len(heights) or not np.median(heights) < above:
        return floor, None
    height = float(np.median(heights))
    put = dataclasses.replace(floor, point=tuple((point + height * up).tolist()))
    return put, 1 - height / above


def reaction(supports: Supports, result: WindResult, mass: torch.Tensor, fps: float) -> np.ndarray:
    """(T, 3) N by which supports push an object of particles' mass (n,) kg, averaged over the frame
    interval centered on each frame; fps: frames per second."""
    if not supports.touch:
        return np.zeros((len(result.x), 3))
    momentum = (mass[:, None] * result.v).double().sum(dim=1)
    pushed = momentum.diff(dim=0) * fps - result.force.double().sum(dim=1)
    if result.nudges is not None:
        pushed -= result.nudges.double().sum(dim=1)
    if supports.impacts:  # a cubic would swing around a blow
        pushed = torch.cat([pushed[:1], 0.5 * (pushed[:-1] + pushed[1:]), pushed[-1:]])
        return pushed.cpu().numpy()
    return at_frames(pushed).cpu().numpy()


def make_parts(
    held: np.ndarray, x: np.ndarray, targets: np.ndarray, confidence: np.ndarray, fps: float,
    dx: float, still: float, found: bool = False,
) -> tuple[Part, ...]:  # fmt: skip
    """The supports of particles that are held.

    held: (n,) bool; x: (n, 3) m in frame 0; targets: (T, n, 3) m and confidence: (T, n), of the
    tracks; fps: frames per second; dx: of the grid, m; still: m, a part that moves by less is at
    rest; found: as in Part.
    """
    parts = []
    for particles in _pieces(x, held, APART * dx):
        weights = confidence[:, particles].mean(axis=0)
        if not weights.sum() > 0:
            weights = np.ones(len(particles))
        R, center = _rigid_motion(x[particles], targets[:, particles], weights)
        middle = (weights / weights.sum()) @ x[particles]
        translation = center - np.einsum("tij,j->ti", R, middle)
        moved = np.einsum("tij,nj->tni", R, x[particles]) + translation[:, None] - x[particles]
        rests = np.sqrt((moved**2).sum(axis=-1).mean(axis=1)).max() <= still
        pose = None if rests else _pose(R, translation, fps)
        parts.append(Part(particles=particles, pose=pose, found=found))
    return tuple(parts)


def _pieces(x: np.ndarray, held: np.ndarray, reach: float) -> list[np.ndarray]:
    """Indices of held particles, in sets with gaps wider than reach, m, between them."""
    index = np.flatnonzero(held)
    if len(index) == 0:
        return []
    i, j = cKDTree(x[index]).query_pairs(reach, output_type="ndarray").T
    graph = coo_array((np.ones(len(i)), (i, j)), shape=(len(index), len(index)))
    count, label = connected_components(graph, directed=False)
    return [index[label == k] for k in range(count)]


def _rigid_motion(
    x: np.ndarray, moving: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, 3, 3) and centers (T, 3) m of the rigid motion that takes points x (k, 3) m
    nearest to moving (T, k, 3) m."""
    share = weights / weights.sum()
    center = np.einsum("k,tkd->td", share, moving)
    arms = x - share @ x
    later = moving - center[:, None]
    covariance = np.einsum("k,tki,kj->tij", share, later, arms)
    # What does not turn visibly, as points on a line about it, does not turn.
    size = np.trace(np.einsum("k,ki,kj->ij", share, arms, arms))
    return nearest_rotation(covariance + 1e-3 * size * np.eye(3)), center


def _pose(R: np.ndarray, translation: np.ndarray, fps: float) -> Pose:
    """The smooth motion through rotations (T, 3, 3) and translations (T, 3) m of the frames."""
    t = np.arange(len(R)) / fps
    turn, shift = RotationSpline(t, Rotation.from_matrix(R)), CubicSpline(t, translation)

    def pose(time: float) -> tuple[np.ndarray, np.ndarray]:
        time = min(time, t[-1])
        return turn(time).as_matrix(), shift(time)

    return pose


def _around(x: np.ndarray, particles: np.ndarray, grid: tp.Grid) -> SignedDistance:
    """The region of particles, by index, among x (n, 3) m, sampled on the nodes of the grid.

    A node lies in it if it is within a cell of one of them, and no more than half a cell beyond the
    edge between them and the rest: material is held up to the outermost nodes, which then lie on
    the edge, on average over places of the grid. If no node does, the region grows until it holds
    one.
    """
    inside = np.zeros(len(x), dtype=bool)
    inside[particles] = True
    lower = np.asarray(grid.lower)
    low = np.floor((x[inside].min(axis=0) - lower) / grid.dx).astype(int) - PADDING
    high = np.ceil((x[inside].max(axis=0) - lower) / grid.dx).astype(int) + PADDING
    axes = [lower[d] + grid.dx * np.arange(low[d], high[d] + 1) for d in range(3)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    held = cKDTree(x[inside]).query(nodes)[0]
    free = np.inf if inside.all() else cKDTree(x[~inside]).query(nodes)[0]
    beyond = 0.5 * (held - np.minimum(free, 1e3 * grid.dx + held))
    distance = np.maximum(beyond - 0.5 * grid.dx, held - grid.dx)
    if not (distance <= 0).any():
        distance = held - WIDEST_GAP * grid.dx
    corner = lower + grid.dx * low
    return SignedDistance(lower=tuple(corner.tolist()), spacing=grid.dx, values=distance)
