"""Snapshots in the scene of a page: viser, optional extra `web`.

Splats show the color that they have from all sides: viser knows no spherical harmonics.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from renderers.camera import Camera
from renderers.orbit import look_at
from renderers.particles.draw import ball_mesh
from renderers.splats.gaussians import SH_DEGREE_0
from renderers.splats.projection import covariances_of
from renderers.viewer.eye import Eye
from renderers.viewer.snapshot import Arrows, Lines, Points, Snapshot


SIZE = 10.0  # the scene in the units of the browser, which holds covariances as float16
FLOAT16 = 6e4  # near the largest number of that
ROWS = 1000  # px, height of the camera of a client
SHAFT, HEAD = 0.06, 0.15  # radii of arrows in units of the browser
HULL = ball_mesh((0, 0, 0), 1.0, rings=12)
KINDS = ("particles", "splats", "arrows", "lines")


class Scenery:
    """What the browsers show of a stage.

    server: of viser; box: corners (2, 3) m of what is shown; drag: called with the phase of a drag
    ("start", "update", "end"), a camera and a pixel (2,) when the mouse pulls at a body.
    """

    def __init__(
        self, server: Any, box: np.ndarray, drag: Callable[[str, Camera, np.ndarray], None]
    ):
        self._server, self._drag = server, drag
        self._middle = np.mean(box, axis=0)
        self._scale = SIZE / max(float(np.linalg.norm(box[1] - box[0])), 1e-12)
        self._handles: dict[str, Any] = {}
        self._sent: dict[str, Any] = {}
        self._visible = dict.fromkeys(KINDS, True)

    def show(self, now: Snapshot) -> None:
        """Show a snapshot; records that are there already are not sent again."""
        parts: tuple[tuple[str, Any, Callable[[Any], None]], ...] = (
            ("particles", now.points, self._points), ("splats", now.splats, self._splats),
            ("arrows", now.arrows, self._arrows), ("lines", now.lines, self._lines),
        )  # fmt: skip
        for kind, part, make in parts:
            if part is not None and part is not self._sent.get(kind):
                make(part)
            if kind in self._handles:
                self._handles[kind].visible = part is not None and self._visible[kind]
            self._sent[kind] = part
        self._hulls(now)

    def kinds(self) -> list[str]:
        """What there was to show so far."""
        return [kind for kind in KINDS if kind in self._handles]

    def set_visible(self, kind: str, on: bool) -> None:
        """Show or hide particles, splats, arrows or lines."""
        self._visible[kind] = on
        self._handles[kind].visible = on and self._sent.get(kind) is not None

    def clear(self) -> None:
        """Take everything away."""
        for handle in self._handles.values():
            handle.remove()
        self._handles, self._sent = {}, {}

    # Cameras

    def look(self, camera: Any, eye: Eye) -> None:
        """Point a camera of viser as an eye looks."""
        seen = eye.camera(2 * ROWS, ROWS, 0, 2 * ROWS)
        reach = np.linalg.norm(seen.position - eye.center)
        camera.fov = 2 * math.atan(ROWS / 2 / seen.fy)
        camera.position = self._units(seen.position)
        camera.look_at = self._units(seen.position + reach * seen.rotation[2])
        if hasattr(camera, "up_direction"):
            camera.up_direction = np.array(eye.up if eye.given is None else -seen.rotation[1])

    def _camera(self, seen: Any) -> Camera:
        """A client's camera, in meters, ROWS px high."""
        ends = np.array([seen.position, seen.look_at], float)
        place, target = ends / self._scale + self._middle
        width, fov = round(ROWS * seen.aspect), math.degrees(seen.fov)
        return look_at(place, target, seen.up_direction, width=width, height=ROWS, fov=fov)

    # Parts

    def _units(self, x: np.ndarray) -> np.ndarray:
        """Places (..., 3) m in the units of the page."""
        return (self._scale * (np.asarray(x, np.float64) - self._middle)).astype(np.float32)

    def _put(self, kind: str, add: Callable, fields: Mapping[str, Any], **fixed: Any) -> bool:
        """Add something to the scene, or change what is there; whether it is new."""
        if kind not in self._handles:
            self._handles[kind] = add(f"/{kind}", **fields, **fixed)
            return True
        for name, value in fields.items():
            setattr(self._handles[kind], name, value)
        return False

    def _points(self, points: Points) -> None:
        # viser's size is a radius
        size = self._scale * points.radius
        fields = {"points": self._units(points.x), "colors": points.colors, "point_size": size}
        add = self._server.scene.add_point_cloud
        self._put("particles", add, fields, point_shape="circle", precision="float32")

    def _splats(self, tensors: Mapping[str, torch.Tensor]) -> None:
        covariances, colors = tensors.get("covariances"), tensors.get("colors")
        if covariances is None:
            covariances = covariances_of(tensors["quats"], tensors["scales"])
        if colors is None:
            colors = 0.5 + SH_DEGREE_0 * tensors["sh"][:, 0]
        small = (self._scale**2 * covariances).clamp(-FLOAT16, FLOAT16)
        fields = {
            "centers": self._units(tensors["means"].detach().cpu().numpy()),
            "covariances": small.detach().float().cpu().numpy(),
            "rgbs": colors.detach().clamp(0, 1).float().cpu().numpy(),
            "opacities": tensors["opacities"].detach().float().cpu().numpy()[:, None],
        }
        if "splats" in self._handles:
            self._handles["splats"].set_gaussians(**fields)
        else:
            self._put("splats", self._server.scene.add_gaussian_splats, fields)

    def _arrows(self, arrows: Arrows) -> None:
        fields = {"points": self._units(arrows.ends), "colors": _as_light(arrows.colors)}
        radii = {"shaft_radius": SHAFT, "head_radius": HEAD, "head_length": 3 * HEAD}
        self._put("arrows", self._server.scene.add_arrows, fields, **radii)

    def _lines(self, lines: Lines) -> None:
        colors = np.repeat(_as_light(lines.colors)[:, None], 2, axis=1)
        fields = {"points": self._units(lines.ends), "colors": colors}
        add = self._server.scene.add_line_segments
        self._put("lines", add, fields, thickness=1.5, thickness_units="screen")

    def _hulls(self, now: Snapshot) -> None:
        """Invisible hulls around the bodies: viser tells of drags at meshes only."""
        radius = 0.0 if now.points is None else now.points.radius
        fixed = {"faces": HULL["faces"], "color": (0, 0, 0), "opacity": 0.0, "side": "double"}
        for k, x in enumerate(now.bodies):
            if len(x):
                farthest = x[(x @ HULL["vertices"].T).argmax(axis=0)]
                vertices = self._units(farthest + radius * HULL["vertices"])
                name, add = f"body {k}", self._server.scene.add_mesh_simple
                if self._put(name, add, {"vertices": vertices}, **fixed):
                    self._handles[name].on_drag("left")(self._dragged)

    async def _dragged(self, event: Any) -> None:
        camera = self._camera(event.client.camera)
        place = event.start_screen_pos if event.phase == "start" else event.end_screen_pos
        self._drag(event.phase, camera, np.array(place) * [camera.width, camera.height])


def _as_light(colors: np.ndarray) -> np.ndarray:
    """Colors uint8 of lines and arrows for a page, which takes them for amounts of light."""
    return np.round(255 * (colors / 255) ** 2.2).astype(np.uint8)
