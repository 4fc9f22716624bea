"""The simulator of a job, at a resolution."""

import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.spatial import cKDTree

import taichi_phys as tp
from inverse.identification.config import MaterialJob
from inverse.identification.inputs import KnownForce, MovingPoints
from inverse.identification.simulator import BodySimulator
from inverse.perception.mesh import closed_mesh
from taichi_phys.scenes.scene import load_scene, shrink


CELL = 2.0  # edge of a cell in spacings of particles: eight fill a cell
POINTS = 27  # for each particle, that measure its share of the object
MARGIN = 0.35  # of the object's size, that the grid reaches beyond what is seen or foreseen
SIDEWAYS = 1.0  # the same where no points show where the object goes
DOWN = (0.0, 0.0, -9.81)  # m/s^2
# Cells that a body rests above the nodes which a floor stops: 0.5 to 0.65, whatever its stiffness.
STANDOFF = 0.5


def make_simulator(
    job: MaterialJob,
    t: np.ndarray,
    particles: int,
    cloud: np.ndarray,
    points: MovingPoints | None,
    force: KnownForce | None,
) -> BodySimulator:
    """The object of a job with about so many particles.

    t: (T,) s; cloud: (m, 3) m, points of the object in frame 0, around which it lies if the job has
    no mesh; points: seen, None for videos; force: beside gravity.
    """
    if job.scene is not None:
        return _scene_simulator(job, t, particles)
    sample = (
        partial(tp.sample_cloud, cloud)
        if job.mesh is None
        else partial(tp.sample_mesh, closed_mesh(job.mesh))
    )
    x, volume = _shares(sample, particles, job.seed)
    dx = CELL * float(np.mean(volume)) ** (1 / 3)
    gravity = gravity_of(job)
    labels = np.zeros(len(x), dtype=int)
    if points is not None:
        labels = points.labels[cKDTree(points.x[0]).query(x)[1]]
    v = np.zeros_like(x) if job.velocity is None else np.tile(job.velocity, (len(x), 1))
    body = tp.Particles(x, v=v, volume=volume, density=job.density, material=job.make_material())
    colliders: list[tp.Plane | tp.Box] = []
    up = -np.array(gravity if any(gravity) else DOWN)
    up /= np.linalg.norm(up)
    if job.floor is not None:
        colliders.append(
            tp.Plane(
                point=tuple(job.floor * up),
                normal=tuple(up),
                contact="separate",
                friction=job.floor_friction,
            )
        )
    if job.hold_box is not None:
        low, high = np.array(job.hold_box[:3]), np.array(job.hold_box[3:])
        if not (high > low).all():
            raise ValueError(f"hold_box: got {job.hold_box}, expected a corner and a higher one")
        if not ((x >= low) & (x <= high)).all(axis=1).any():
            raise ValueError("hold_box: nothing of the object is in there")
        colliders.append(
            tp.Box(
                center=tuple((low + high) / 2),
                half_size=tuple((high - low) / 2),
                contact="sticky",
            )
        )
    reach = _reach(job, x, t, points, np.array(gravity), up)
    size = float(np.ptp(x, axis=0).max())
    grid = tp.Grid.around(reach, dx=dx, margin=MARGIN * size)
    if job.floor is not None:
        grid = _below_floor(grid, job.floor, up)
    sim = tp.MPM(particles=body, grid=grid, gravity=gravity, colliders=colliders)
    return BodySimulator(
        sim,
        labels,
        t,
        None if force is None else force.at_particles(x),
        job.density if force is not None and force.fixed else None,
    )


def _below_floor(grid: tp.Grid, floor: float, up: np.ndarray) -> tp.Grid:
    """The grid with a layer of nodes STANDOFF cells below a floor that lies along its cells.

    So a body rests where its floor is, with any cells. Else it would rest anywhere within a cell, a
    finer grid would let it fall farther, and no two grids would tell what cells do to its motion.
    """
    axis = int(np.abs(up).argmax())
    if abs(up[axis]) < 1 - 1e-6:
        return grid
    layer = up[axis] * (floor - STANDOFF * grid.dx)
    lower = np.array(grid.lower)
    lower[axis] -= (lower[axis] - layer) % grid.dx
    return dataclasses.replace(grid, lower=tuple(lower))


def _shares(
    sample: Callable[..., tuple[np.ndarray, np.ndarray]], particles: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Particles (n, 3) m and their volumes (n,) m^3 that fill an object without steps.

    Each particle is the middle of what of the object is nearest to it, and has the volume of that.
    A lattice alone ends up to half a spacing from the surface, and what is too thick or too thin by
    that bends, stretches and flies like another object: of a few hundred particles in a block,
    the stiffness would be 5 to 15 % off. With shares the error falls with the spacing squared.
    """
    x, volume = sample(count=particles, seed=seed)
    inner, _ = sample(count=POINTS * len(x), pattern="stratified", seed=seed)
    near = cKDTree(x).query(inner)[1]
    count = np.bincount(near, minlength=len(x))
    middle = np.stack([np.bincount(near, axis, minlength=len(x)) for axis in inner.T], axis=1)
    held = count > 0
    return middle[held] / count[held, None], volume.sum() * count[held] / len(inner)


def gravity_of(job: MaterialJob) -> tuple[float, float, float]:
    """The gravity of a job, m/s^2; a known force includes it."""
    if job.gravity is not None:
        return job.gravity
    return DOWN if job.force is None else (0.0, 0.0, 0.0)


def _reach(
    job: MaterialJob,
    x: np.ndarray,
    t: np.ndarray,
    points: MovingPoints | None,
    gravity: np.ndarray,
    up: np.ndarray,
) -> np.ndarray:
    """(m, 3) m: places that the object may reach."""
    if points is not None:
        return np.concatenate([x, points.x[points.weights > 0]])
    if job.hold_box is not None:
        path = np.zeros((1, 3))
    else:  # as a stone flies
        v = np.zeros(3) if job.velocity is None else np.array(job.velocity)
        path = t[:, None] * v + 0.5 * t[:, None] ** 2 * gravity
    ends = np.stack([x.min(axis=0), x.max(axis=0)])
    away = SIDEWAYS * float(np.ptp(x, axis=0).max())
    ends += [[-away], [away]]
    places = (ends[:, None] + path).reshape(-1, 3)
    if job.floor is not None:
        below = np.minimum(places @ up - job.floor, 0.0)
        places = places - below[:, None] * up
    return places


def _scene_simulator(job: MaterialJob, t: np.ndarray, particles: int) -> BodySimulator:
    assert job.scene is not None
    scene = load_scene(job.scene)
    sim, force = scene.build()
    coarser = (len(sim.mass) / particles) ** (1 / 3)
    if coarser > 1:
        sim, force = shrink(scene, coarsen=coarser).build()
    labels = np.concatenate([np.full(len(b), k) for k, b in enumerate(sim.bodies)])
    return BodySimulator(sim, labels, t, force)
