"""What the object of a wind run is in frame 0: a sheet behind its pixels, or a solid."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from inverse.lifting.shrink import shrink_image
from inverse.perception import closed_mesh, constant_depth, mesh_in_view
from inverse.perception.networks import NetworkDepth
from inverse.perception.relief import is_disc, measure_relief, relief_solid
from inverse.perception.splat_surface import splat_surface
from inverse.runs.settings import given
from inverse.wind.config import WindJob
from inverse.wind.inputs.object import read_depth
from renderers.camera import Camera
from renderers.splats.files import load_gaussians
from renderers.splats.gaussians import Gaussians
from taichi_phys.geometry.repair import Triangles


LEAST_OVERLAP = 0.5  # of the pixels of mask or surface, in both: less is another place or pose
# Half of the thickness of the back of a solid over that of a round one, where depth shows none of
# it (it was not given, or is flat), and bounds of what it may show.
HALF_UNKNOWN, LEAST_HALF, MOST_HALF = 0.5, 0.35, 1.5


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Shape:
    """The object in frame 0 of the first view.

    mask: (H, W) bool; masks: (T, h, w) bool, of all frames, at any scale, or None; depth: (H, W) m,
    NaN outside the mask; surface: closed, of a solid, None for a sheet; gaussians: of a fit, or
    None; flat: whether nothing said how deep it is, so that depth is that of a plane that faces the
    camera.
    """

    mask: np.ndarray
    masks: np.ndarray | None
    depth: np.ndarray
    surface: Triangles | None = None
    gaussians: Gaussians | None = None
    flat: bool = False

    def reduced(self, scale: float) -> "Shape":
        """In pictures that are smaller by that."""
        masks = self.masks
        if masks is not None and masks.shape[1:] == self.mask.shape:
            masks = np.stack([shrink_image(mask, scale) for mask in masks])
        return dataclasses.replace(
            self, mask=shrink_image(self.mask, scale), depth=shrink_image(self.depth, scale),
            masks=masks,
        )  # fmt: skip


def read_shape(
    job: WindJob,
    camera: Camera,
    extra: Mapping[str, Any],
    assumptions: list[str],
    *,
    mask: np.ndarray | None,
    masks: np.ndarray | None,
    network: NetworkDepth | None = None,
) -> Shape:
    """Read the shape of the object in frame 0, or find it in the picture and its depth.

    camera: that took frame 0; extra: other keys of the camera's file; assumptions: takes sentences
    about what was not given; mask: (H, W) bool, of frame 0, None where only a mesh or a model says
    where the object is; masks: (T, H, W) bool, of all frames, or None; network: what a network says
    of frame 0. Raises ValueError for files that cannot be used, and for a mesh or a model that is
    not where the mask is.
    """
    if job.solid_given:
        shape = _given_shape(job, camera, assumptions, mask, masks)
        what = "its mesh" if job.mesh is not None else "the surface of its Gaussians"
        assumptions.insert(0, f"The object fills {what}, a solid of {_material(job)}.")
        return shape
    assert mask is not None  # the job says where the object is
    unknown = job.depth is None and network is None
    disc = unknown and job.shape != "sheet" and job.thickness is None and is_disc(mask)
    if unknown and (job.shape == "solid" or disc):
        shape, why = _round_body(job, mask, masks, camera), "it was asked for"
        if job.shape == "auto":
            why = "its silhouette is that of a ball"
        assumptions.append(
            f"In frame 0 the middle of the object is {job.distance:g} m away, and it is as round "
            "as its silhouette; all lengths and forces scale with that distance."
        )
        assumptions.insert(0, f"The object is a solid, since {why}, of {_material(job)}.")
        return shape
    if unknown:
        depth = constant_depth(mask, given("distance", job.distance))
        return Shape(mask=mask, masks=masks, depth=depth, flat=True)
    depth = read_depth(job, mask, camera, extra, assumptions, network)
    shape = Shape(mask=mask, masks=masks, depth=depth)
    return shape_of_depth(job, shape, camera, assumptions, known=True)


def shape_of_depth(
    job: WindJob, shape: Shape, camera: Camera, assumptions: list[str], *, known: bool
) -> Shape:
    """Take a shape of which only depth is there for a sheet, or close it to a solid.

    camera: that took frame 0; assumptions: takes sentences; known: whether its depth is more than a
    guess.
    """
    mask, depth = shape.mask, shape.depth
    solid, why = _is_solid(job, mask, depth, camera, known)
    kind = "solid" if solid else "sheet"
    assumptions.insert(0, f"The object is a {kind}, since {why}, of {_material(job)}.")
    if not solid:
        return shape
    relief = measure_relief(mask, depth, camera)
    round_ = HALF_UNKNOWN if not relief.solid else min(max(relief.roundness, LEAST_HALF), MOST_HALF)
    assumptions.append(
        "Its back, which is not seen, bulges as far as its front does, and to "
        f"{100 * round_:.0f} % of what is round over its silhouette."
    )
    back = np.where(mask, np.fmax(relief.middle, depth) + round_ * relief.half, np.nan)
    return dataclasses.replace(shape, surface=relief_solid(mask, depth, back, camera))


def _given_shape(
    job: WindJob,
    camera: Camera,
    assumptions: list[str],
    mask: np.ndarray | None,
    masks: np.ndarray | None,
) -> Shape:
    """The shape of a mesh or of a model of Gaussians."""
    gaussians = None
    if job.model is not None:
        surface, gaussians = splat_surface(load_gaussians(job.model), mask, camera)
        what = "model"
    if job.mesh is not None:
        surface, what = closed_mesh(job.mesh), "mesh"
    depth = mesh_in_view(surface, camera)[0]
    shown = np.isfinite(depth)
    if mask is None:
        mask = shown
        assumptions.append(f"The object's pixels in frame 0 are those in which the {what} appears.")
    both = mask & shown
    if not both.any() or both.sum() < LEAST_OVERLAP * (mask | shown).sum():
        raise ValueError(
            f"{what}: in frame 0 it appears in {shown.sum()} pixels, the mask has {mask.sum()}, "
            f"and they share {both.sum()}; expected the object in world coordinates, in meters, as "
            "the first camera sees it in frame 0"
        )
    return Shape(
        mask=both, masks=masks, depth=np.where(both, depth, np.nan), surface=surface,
        gaussians=gaussians,
    )  # fmt: skip


def _round_body(job: WindJob, mask: np.ndarray, masks: np.ndarray | None, camera: Camera) -> Shape:
    """A body as round as its silhouette, whose middle is as far away as the job says."""
    middle = constant_depth(mask, given("distance", job.distance))
    half = np.where(mask, measure_relief(mask, middle, camera).half, np.nan)
    front, back = middle - half, middle + half
    return Shape(
        mask=mask, masks=masks, depth=front, surface=relief_solid(mask, front, back, camera)
    )


def _is_solid(
    job: WindJob, mask: np.ndarray, depth: np.ndarray, camera: Camera, known: bool
) -> tuple[bool, str]:
    """Whether an object is taken for a solid, and why."""
    if job.shape != "auto":
        return job.shape == "solid", "it was asked for"
    if job.thickness is not None:
        return False, "a thickness was given"
    if not known:
        return False, "nothing shows how thick it is"
    relief = measure_relief(mask, depth, camera)
    share = 100 * max(relief.roundness, 0.0)
    if relief.solid:
        return True, f"its relief is {share:.0f} % of what is round over its silhouette"
    if relief.roundness > LEAST_HALF:
        return False, "its relief is not that of a body that closes behind its silhouette"
    return False, f"its relief is only {share:.0f} % of what is round over its silhouette"


def _material(job: WindJob) -> str:
    text = f"{job.material} material: "
    text += f"E = {job.E:g} Pa, nu = {job.nu:g}, density = {job.density:g} kg/m³"
    if job.material != "elastic":
        text += f", yield stress = {job.yield_stress:g} Pa"
    if job.material == "viscoplastic":
        text += f", viscosity = {job.viscosity:g} Pa s"
    return text
