"""The object of a wind run: its particles in frame 0, and the simulator that moves them."""

import numpy as np

import taichi_phys as tp
from inverse.perception import ObjectModel, mesh_volume, object_model, solid_model
from inverse.wind.config import WindJob
from inverse.wind.inputs.load import Inputs
from inverse.wind.supports import Supports
from taichi_phys.geometry.repair import Triangles


CELLS = 24  # along the longest side, unless the job says otherwise
MOST_PARTICLES = 5000  # in a solid, unless the job says how many cells
SPACING = 0.5  # of particles, in cells: eight fill a cell
MARGIN = 0.25  # of the object's size, that the grid reaches beyond the targets


def make_body(job: WindJob, inputs: Inputs) -> tuple[ObjectModel, float]:
    """The object in frame 0, and the grid spacing (m) that gives its longest side job.cells."""
    if inputs.surface is not None:
        return _make_solid(job, inputs, inputs.surface)
    camera = inputs.cameras[0][0]
    rows, columns = np.nonzero(inputs.mask)
    pixels = np.stack([columns + 0.5, rows + 0.5], axis=1)
    points = camera.unproject(pixels, inputs.depth[rows, columns])
    dx = float(np.ptp(points, axis=0).max()) / (job.cells or CELLS)
    thickness = dx if job.thickness is None else job.thickness
    model = object_model(
        inputs.videos[0][0], inputs.mask, inputs.depth, camera,
        thickness=thickness, spacing=SPACING * dx,
    )  # fmt: skip
    return model, dx


def _make_solid(job: WindJob, inputs: Inputs, surface: Triangles) -> tuple[ObjectModel, float]:
    dx = float(np.ptp(surface.vertices, axis=0).max()) / (job.cells or CELLS)
    if job.cells is None:
        dx = max(dx, (mesh_volume(surface) / MOST_PARTICLES) ** (1 / 3) / SPACING)
    model = solid_model(
        surface, [video[0] for video in inputs.videos], [path[0] for path in inputs.cameras],
        spacing=SPACING * dx, gaussians=inputs.gaussians,
    )  # fmt: skip
    return model, dx


def make_simulator(
    job: WindJob, model: ObjectModel, targets: np.ndarray, dx: float, supports: Supports
) -> tp.MPM:
    """The simulator of an object that moves along targets (T, n, 3) m, on a grid of spacing dx m.

    supports: what holds it and what it touches. It has no gravity: that is part of the force to be
    found.
    """
    size = float(np.ptp(model.x, axis=0).max())
    particles = tp.Particles(
        model.x, density=job.density, volume=model.volume, material=job.make_material()
    )
    grid = tp.Grid.around(targets, dx=dx, margin=MARGIN * size)
    colliders = supports.colliders(model.x, grid)
    return tp.MPM(particles=particles, grid=grid, gravity=(0.0, 0.0, 0.0), colliders=colliders)
