"""The object in frame 0: its mask and depth, and its model of particles and Gaussians."""

from inverse.perception.depth import constant_depth as constant_depth
from inverse.perception.depth import fill_depth as fill_depth
from inverse.perception.depth import load_depth as load_depth
from inverse.perception.grabcut import grabcut_mask as grabcut_mask
from inverse.perception.masks import is_sequence as is_sequence
from inverse.perception.masks import load_labels as load_labels
from inverse.perception.masks import load_mask as load_mask
from inverse.perception.masks import load_masks as load_masks
from inverse.perception.mesh import closed_mesh as closed_mesh
from inverse.perception.mesh import mesh_in_view as mesh_in_view
from inverse.perception.mesh import mesh_volume as mesh_volume
from inverse.perception.model import ObjectModel as ObjectModel
from inverse.perception.model import object_model as object_model
from inverse.perception.moving_disc import moving_disc as moving_disc
from inverse.perception.moving_disc import moving_object as moving_object
from inverse.perception.refine import refine_on_image as refine_on_image
from inverse.perception.relief import measure_relief as measure_relief
from inverse.perception.relief import relief_solid as relief_solid
from inverse.perception.solid import solid_model as solid_model
from inverse.perception.splat_surface import splat_surface as splat_surface
from inverse.perception.surface import VisibleSurface as VisibleSurface
from inverse.perception.surface import visible_surface as visible_surface
from inverse.perception.surface import without_outliers as without_outliers


__all__ = [
    "ObjectModel",
    "VisibleSurface",
    "closed_mesh",
    "constant_depth",
    "fill_depth",
    "grabcut_mask",
    "is_sequence",
    "load_depth",
    "load_labels",
    "load_mask",
    "load_masks",
    "measure_relief",
    "mesh_in_view",
    "mesh_volume",
    "moving_disc",
    "moving_object",
    "object_model",
    "refine_on_image",
    "relief_solid",
    "solid_model",
    "splat_surface",
    "visible_surface",
    "without_outliers",
]
