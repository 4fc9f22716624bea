"""The film of a scene: what it shows, from which camera, in which colors."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import taichi_phys as tp
from inverse.simulation.looks import at_time, floors_of, moved_by, surfaces_of
from renderers.camera import Camera
from renderers.lines import box_lines
from renderers.orbit import look_at
from renderers.particles.draw import color_map, film, view
from taichi_phys.io.states import Frame, Frames
from taichi_phys.scenes.keys import near
from taichi_phys.scenes.scene import Look, Scene


PALETTE = ("#3d85c8", "#e2813b", "#4ba86c", "#b25fc0", "#d1a827", "#c5534f", "#4fb2b5", "#83889a")
BALL = 0.62  # radius of a drawn particle over the edge of its cube: balls just overlap
ROOM = 0.04  # free margin at each side, as a share of the extent of what is filmed
ENDS = (0.01, 0.99)  # quantiles of the values that get the colors at the ends of the map


def check_look(scene: Scene) -> None:
    """Raise ValueError if the film cannot be drawn; called before the simulation, not after it."""
    import matplotlib

    name = scene.output.colormap
    if name not in matplotlib.colormaps:
        hint = near(name, matplotlib.colormaps)
        raise scene.place.at("output", "colormap").error(
            f"got {name!r}, expected a color map of matplotlib, such as viridis or magma"
            + (f"; {hint}" if hint else "")
        )


def bodies_colors(scene: Scene, counts: Sequence[int]) -> np.ndarray:
    """Colors (n, 3) of particles by body; counts: the number of particles of each body."""
    rows = []
    for i, body in enumerate(scene.bodies):
        color = body.color or _hex(PALETTE[i % len(PALETTE)])
        rows.append(np.tile(color, (counts[i], 1)))
    return np.concatenate(rows)


def _hex(text: str) -> tuple[float, ...]:
    return tuple(int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))


def values_of(frame: Frame, kind: str) -> np.ndarray:
    """The values (n,) that color the particles: speed in m/s, plastic strain, or height in m."""
    if kind == "speed":
        return np.linalg.norm(frame.v, axis=1)
    return frame.fields["plastic"] if kind == "plastic" else frame.x[:, 2]


def visible(frame: Frame) -> np.ndarray:
    """The positions (n, 3) m, NaN for removed particles, so that these are not drawn."""
    return np.where(frame.removed[:, None], np.nan, frame.x)


def write_film(path: Path, scene: Scene, sim: tp.MPM, frames: Frames) -> None:
    """Write the video of a simulated scene."""
    surfaces = surfaces_of(scene, moved_by(frames, sim.colliders))
    room = np.array(scene.grid.room)
    low, high = _extent(frames)
    if scene.camera.walls:
        low, high = np.minimum(low, room[0]), np.maximum(high, room[1])
    for surface in at_time(surfaces, 0.0):
        low = np.minimum(low, surface.vertices.min(axis=0))
        high = np.maximum(high, surface.vertices.max(axis=0))
    margin = ROOM * (high - low).max() + scene.grid.dx
    low, high = low - margin, high + margin

    shots = Shots(scene.camera, low, high, len(frames))
    first, size = shots.camera(0), float(np.linalg.norm(high - low)) / 2
    colors = _colors(scene, sim, frames)
    common: dict[str, Any] = {
        "floors": floors_of(scene, sim.colliders, (low + high) / 2, size, first.position),
        "radius": scene.output.radius or BALL * sim.volume.cpu().numpy() ** (1 / 3),
    }
    if scene.camera.background is not None:
        common["background"] = scene.camera.background
    if scene.camera.walls:
        common["lines"] = box_lines(*room)

    def pictures() -> Iterator[dict[str, Any]]:
        for k, frame in enumerate(frames):
            t = float(frame.time)
            yield {
                "x": visible(frame),
                "colors": colors(frame),
                "camera": shots.camera(k) if scene.camera.turns else first,
                "surfaces": at_time(surfaces, t),
                "caption": f"{scene.title}\nt = {t:.2f} s",
            }

    film(path, pictures(), first, fps=frames.fps, count=len(frames), **common)


def _extent(frames: Frames) -> tuple[np.ndarray, np.ndarray]:
    """Corners (3,) m of the box that holds all particles at all times."""
    shown = [points for f in frames if len(points := f.x[~f.removed])]
    shown = shown or [frames[0].x]  # no frame has a particle left
    low = np.min([points.min(axis=0) for points in shown], axis=0)
    return low, np.max([points.max(axis=0) for points in shown], axis=0)


def _colors(scene: Scene, sim: tp.MPM, frames: Frames) -> Callable[[Frame], np.ndarray]:
    """Return a function that gives the colors (n, 3) of the particles of a frame."""
    output = scene.output
    if output.color == "body":
        fixed = bodies_colors(scene, [len(body) for body in sim.bodies])
        return lambda frame: fixed
    limits = output.limits
    if limits is None:
        values = (values_of(f, output.color)[~f.removed] for f in frames)
        ends = [np.quantile(v, ENDS) for v in values if len(v)] or [np.array([0.0, 1.0])]
        limits = min(e[0] for e in ends), max(e[1] for e in ends)
    return lambda frame: color_map(values_of(frame, output.color), limits, output.colormap)


@dataclasses.dataclass(frozen=True)
class Shots:
    """The cameras of a film.

    look: the scene's camera settings; low, high: corners (3,) m of what is filmed; count: the
    number of frames in which the camera makes its turns.
    """

    look: Look
    low: np.ndarray
    high: np.ndarray
    count: int

    def camera(self, frame: int) -> Camera:
        """The camera of a frame."""
        look, turn = self.look, 360 * self.look.turns * frame / self.count
        shape: dict[str, Any] = {"width": look.width, "height": look.height, "fov": look.fov}
        if look.eye is None or look.target is None:
            sides: dict[str, Any] = {"azimuth": look.azimuth + turn, "elevation": look.elevation}
            return view(self.low.tolist(), self.high.tolist(), **shape, **sides)
        arm, angle = np.subtract(look.eye, look.target), math.radians(turn)
        c, s = math.cos(angle), math.sin(angle)
        arm = np.array([c * arm[0] - s * arm[1], s * arm[0] + c * arm[1], arm[2]])
        return look_at((look.target + arm).tolist(), look.target, **shape)
