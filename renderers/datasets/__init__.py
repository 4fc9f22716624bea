"""Posed images in the formats of NeRF-synthetic, nerfstudio, COLMAP and kin, also with times."""

from renderers.datasets.loading import hold_out as hold_out
from renderers.datasets.loading import load_points as load_points
from renderers.datasets.loading import load_views as load_views
from renderers.datasets.loading import splits as splits
from renderers.datasets.photograph import Photograph as Photograph
from renderers.datasets.views import Lens as Lens
from renderers.datasets.views import View as View


__all__ = ["Lens", "Photograph", "View", "hold_out", "load_points", "load_views", "splits"]
