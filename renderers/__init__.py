"""Gaussian splats, cameras, posed photographs and video.

The names below are imported when they are first used, so that importing this package is quick.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any


# Taichi prints its version when it is imported; `taichi_phys.runtime` silences that too.
os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "0")

if TYPE_CHECKING:
    from renderers.camera import Camera as Camera
    from renderers.camera import camera_from_fov as camera_from_fov
    from renderers.camera import load_camera as load_camera
    from renderers.datasets import View as View
    from renderers.datasets import hold_out as hold_out
    from renderers.datasets import load_points as load_points
    from renderers.datasets import load_views as load_views
    from renderers.images import write_png as write_png
    from renderers.orbit import framing as framing
    from renderers.orbit import look_at as look_at
    from renderers.overlay import draw_arrows as draw_arrows
    from renderers.overlay import side_by_side as side_by_side
    from renderers.particles.draw import film as film
    from renderers.splats.binding import Binding as Binding
    from renderers.splats.binding import bind as bind
    from renderers.splats.files import load_gaussians as load_gaussians
    from renderers.splats.files import save_gaussians as save_gaussians
    from renderers.splats.gaussians import Gaussians as Gaussians
    from renderers.splats.render import Render as Render
    from renderers.splats.render import render as render
    from renderers.video import Video as Video
    from renderers.video import read_video as read_video
    from renderers.video import write_video as write_video

_HOMES = {  # of the public names; not renderers.orbit.orbit, since a module has that name
    "Binding": "renderers.splats.binding",
    "Camera": "renderers.camera",
    "Gaussians": "renderers.splats.gaussians",
    "Render": "renderers.splats.render",
    "Video": "renderers.video",
    "View": "renderers.datasets",
    "bind": "renderers.splats.binding",
    "camera_from_fov": "renderers.camera",
    "draw_arrows": "renderers.overlay",
    "film": "renderers.particles.draw",
    "framing": "renderers.orbit",
    "hold_out": "renderers.datasets",
    "load_camera": "renderers.camera",
    "load_gaussians": "renderers.splats.files",
    "load_points": "renderers.datasets",
    "load_views": "renderers.datasets",
    "look_at": "renderers.orbit",
    "read_video": "renderers.video",
    "render": "renderers.splats.render",
    "save_gaussians": "renderers.splats.files",
    "side_by_side": "renderers.overlay",
    "write_png": "renderers.images",
    "write_video": "renderers.video",
}

__all__ = [*_HOMES]

if not TYPE_CHECKING:  # a checker would take any name for one of these

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
