"""What the object of a wind run is in frame 0: a sheet behind its pixels, or a solid."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from inverse.clips import ClipPlan
from inverse.lifting.shrink import shrink_image
from inverse.perception import closed_mesh, mesh_in_view
from inverse.wind.config import WindJob
from inverse.wind.input_object import read_depth, read_mask
from renderers.camera import Camera
from taichi_phys.geometry.repair import Triangles


LEAST_OVERLAP = 0.5  # of the pixels of mask or mesh, in both: less is another place or pose


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Shape:
    """The object in frame 0 of the first view.

    mask: (H, W) bool; masks: (T, H, W) bool, of all frames, or None; depth: (H, W) m, NaN outside
    the mask; surface: closed, of a solid, None for a sheet.
    """

    mask: np.ndarray
    masks: np.ndarray | None
    depth: np.ndarray
    surface: Triangles | None

    def reduced(self, scale: float) -> "Shape":
        """In pictures that are smaller by that."""
        return dataclasses.replace(
            self, mask=shrink_image(self.mask, scale), depth=shrink_image(self.depth, scale),
            masks=None if self.masks is None
            else np.stack([shrink_image(mask, scale) for mask in self.masks]),
        )  # fmt: skip


def read_shape(
    job: WindJob,
    plan: ClipPlan,
    camera: Camera,
    extra: Mapping[str, Any],
    assumptions: list[str],
) -> Shape:
    """Read the shape of the object in frame 0.

    plan: of the clip of the first view; camera: that took frame 0; extra: other keys of
    the camera's file; assumptions: takes sentences about what was not given. Raises ValueError for
    files that cannot be used, and for a mesh that is not where the mask is.
    """
    if job.mesh is None:
        mask, masks = read_mask(job, plan, assumptions)
        depth = read_depth(job, mask, camera, extra, assumptions)
        assumptions.insert(
            0, f"The object is a sheet of {job.material} material: {_material(job)}."
        )
        return Shape(mask=mask, masks=masks, depth=depth, surface=None)
    surface = closed_mesh(job.mesh)
    assumptions.insert(0, f"The object fills its mesh, a solid of {_material(job)}.")
    depth = mesh_in_view(surface, camera)[0]
    shown = np.isfinite(depth)
    if job.mask is None and job.box is None:
        mask, masks = shown, None
        assumptions.append("The object's pixels in frame 0 are those in which the mesh appears.")
    else:
        mask, masks = read_mask(job, plan, assumptions)
    both = mask & shown
    if not both.any() or both.sum() < LEAST_OVERLAP * (mask | shown).sum():
        raise ValueError(
            f"mesh: in frame 0 it appears in {shown.sum()} pixels, the mask has {mask.sum()}, and "
            f"they share {both.sum()}; expected the object in world coordinates, in meters, as the "
            "first camera sees it in frame 0"
        )
    return Shape(mask=both, masks=masks, depth=np.where(both, depth, np.nan), surface=surface)


def _material(job: WindJob) -> str:
    text = f"{job.material} material: "
    text += f"E = {job.E:g} Pa, nu = {job.nu:g}, density = {job.density:g} kg/m³"
    if job.material != "elastic":
        text += f", yield stress = {job.yield_stress:g} Pa"
    if job.material == "viscoplastic":
        text += f", viscosity = {job.viscosity:g} Pa s"
    return text
