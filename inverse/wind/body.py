"""The objects of a wind run: their particles in frame 0, and the simulator that moves them."""

from collections.abc import Sequence

import numpy as np

import taichi_phys as tp
from inverse.perception import ObjectModel, mesh_volume, object_model, solid_model
from inverse.wind.inputs.load import Inputs
from inverse.wind.inputs.parts import by_part, particles_of
from inverse.wind.supports import Supports


MOST_PARTICLES = 5000  # in a solid, unless the job says how many cells
SPACING = 0.5  # of particles, in cells: eight fill a cell
COARSER = 2 ** (1 / 3)  # steps of the spacing, of which each halves the particles of a solid
MARGIN = 0.25  # of the object's size, that the grid reaches beyond the targets


def make_bodies(each: Sequence[Inputs]) -> tuple[list[ObjectModel], float]:
    """Objects in frame 0, and the grid spacing (m) that they have in common.

    each: inputs of each object. The spacing gives the longest side of the smallest object so many
    cells as its job says, or fewer, if that would take more particles than as many objects have.
    """
    dx = min(_spacing(one) for one in each)
    models = [_model(one, dx) for one in each]
    while len(each) > 1 and sum(len(m.x) for m in models) > MOST_PARTICLES * len(each):
        dx *= COARSER
        models = [_model(one, dx) for one in each]
    return models, dx


def _spacing(inputs: Inputs) -> float:
    """The grid spacing (m) of an object alone."""
    job = inputs.job
    if inputs.surface is None:
        rows, columns = np.nonzero(inputs.mask)
        pixels = np.stack([columns + 0.5, rows + 0.5], axis=1)
        points = inputs.cameras[0][0].unproject(pixels, inputs.depth[rows, columns])
        return float(np.ptp(points, axis=0).max()) / (job.cells or job.most_cells)
    dx = float(np.ptp(inputs.surface.vertices, axis=0).max()) / (job.cells or job.most_cells)
    if job.cells is None:
        dx = max(dx, (mesh_volume(inputs.surface) / MOST_PARTICLES) ** (1 / 3) / SPACING)
    return dx


def _model(inputs: Inputs, dx: float) -> ObjectModel:
    """The object in frame 0 for a grid of spacing dx, m."""
    thickness, camera = inputs.job.thickness or dx, inputs.cameras[0][0]
    if inputs.surface is None:
        model = object_model(
            inputs.videos[0][0], inputs.mask, inputs.depth, camera, thickness=thickness,
            spacing=SPACING * dx,
        )  # fmt: skip
    else:
        model = _solid(inputs, dx)
    return model if inputs.parts is None else by_part(model, inputs.parts, camera, thickness)


def _solid(inputs: Inputs, dx: float) -> ObjectModel:
    assert inputs.surface is not None
    return solid_model(
        inputs.surface, [video[0] for video in inputs.videos], [path[0] for path in inputs.cameras],
        spacing=SPACING * dx, gaussians=inputs.gaussians,
    )  # fmt: skip


def make_simulator(
    each: Sequence[Inputs],
    models: Sequence[ObjectModel],
    targets: np.ndarray,
    dx: float,
    supports: Supports,
) -> tp.MPM:
    """The simulator of objects that move along targets (T, n, 3) m, on a grid of spacing dx m.

    each: inputs of each object, which say its material; supports: what holds them and what they
    touch. It has no gravity: that is part of the force to be found.
    """
    x = np.concatenate([model.x for model in models])
    size = max(float(np.ptp(model.x, axis=0).max()) for model in models)
    particles = [
        part
        for one, model in zip(each, models, strict=True)
        for part in particles_of(model, one.materials)
    ]
    grid = tp.Grid.around(targets, dx=dx, margin=MARGIN * size)
    colliders = supports.colliders(x, grid)
    return tp.MPM(particles=particles, grid=grid, gravity=(0.0, 0.0, 0.0), colliders=colliders)
