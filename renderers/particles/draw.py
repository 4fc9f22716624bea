"""Pictures and films of particles: shaded balls, floors, bodies of triangles, shadows, captions.

    camera = view((0, 0, 0), (1, 1, 0.6), width=640, height=480)
    picture = draw(camera, x, colors, radius=0.008, floors=[Floor()], caption="t = 0.50 s")
    film("out/video.mp4", ({"x": s.x, "caption": f"{s.time:.2f} s"} for s in states), camera,
         fps=24, count=48, colors=colors, radius=0.008, floors=[Floor()])

Positions are in meters, with z up; colors are red, green and blue from 0 to 1. Arrays may be torch
tensors. Pictures are drawn at twice their size and scaled down.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from renderers.camera import Camera
from renderers.lines import Vector, across, box_lines
from renderers.orbit import look_at, outward
from renderers.overlay import INK, draw_arrows_in_space, draw_lines, draw_text, text_width
from renderers.particles import kernels
from renderers.particles.kernels import EMPTY, FAR, FINE
from renderers.video import write_video
from taichi_phys import runtime
from taichi_phys.checks import finite_number, set_fields


MAP = 512  # texels along each side of the shadow map
GAMMA = 2.2
LINE = (90, 98, 112)  # color of lines, 0 to 255
BACKGROUND = ((0.97, 0.98, 0.99), (0.80, 0.84, 0.89))  # top and bottom


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Floor:
    """A plane with a square grid that fades into the background.

    point: (3,) a point of the plane and the center of the visible part, m; normal: (3,); size:
    radius at which the plane has faded, m; cell: of the grid, m; color: (3,); along: (3,) direction
    of one set of grid lines. Raises ValueError.
    """

    point: Vector = (0.0, 0.0, 0.0)
    normal: Vector = (0.0, 0.0, 1.0)
    size: float = 2.0
    cell: float = 0.1
    color: Vector = (0.80, 0.82, 0.85)
    along: Vector = (1.0, 0.0, 0.0)

    def __post_init__(self):
        for name in ("point", "normal", "color", "along"):
            set_fields(self, **{name: _array(name, getattr(self, name), (3,))})
        for name in ("size", "cell"):
            expected = "a positive number of meters"
            finite_number(name, getattr(self, name), expected, low=0, open_end=True)
        if not np.linalg.norm(np.cross(self.normal, self.along)) > 1e-6:
            set_fields(self, along=np.roll(self.along, 1))
        if not np.any(self.normal):
            raise ValueError("normal: got zeros, expected a direction")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """A body of triangles, for example a collider or a clamped part.

    vertices: (k, 3) m; faces: (m, 3) indices of vertices; color: (3,); opacity: in (0, 1], where 1
    is opaque; of several transparent surfaces in a pixel only the nearest is drawn. `box_mesh`,
    `ball_mesh` and `capsule_mesh` make vertices and faces. Raises ValueError.
    """

    vertices: np.ndarray
    faces: np.ndarray
    color: Vector = (0.55, 0.60, 0.68)
    opacity: float = 1.0

    def __post_init__(self):
        vertices = _array("vertices", self.vertices, (-1, 3))
        color = _array("color", self.color, (3,))
        faces = np.asarray(self.faces)
        if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
            raise ValueError(f"faces: got {faces.dtype} {faces.shape}, expected integers (m, 3)")
        if len(faces) and not (0 <= faces.min() and faces.max() < len(vertices)):
            raise ValueError(f"faces: expected numbers from 0 to {len(vertices) - 1}")
        set_fields(self, vertices=vertices, faces=faces, color=color)
        if not 0 < self.opacity <= 1:
            raise ValueError(f"opacity: got {self.opacity!r}, expected a number in (0, 1]")

    def moved(self, rotation: np.ndarray, translation: Vector) -> "Surface":
        """The surface turned by rotation (3, 3), then shifted by translation (3,) m."""
        vertices = self.vertices @ np.asarray(rotation, float).T + np.asarray(translation, float)
        return dataclasses.replace(self, vertices=vertices)


def box_mesh(center: Vector, half_size: Vector) -> dict[str, np.ndarray]:
    """The arguments vertices and faces of `Surface` for a box along the axes.

    center: (3,) m; half_size: (3,) half of each edge, m.
    """
    corners = np.array(np.meshgrid(*[(-1, 1)] * 3, indexing="ij")).reshape(3, 8).T
    sides = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    faces = [t for a, b, c, d in sides for t in ((a, b, c), (a, c, d))]
    vertices = np.asarray(center, float) + corners * np.asarray(half_size, float)
    return {"vertices": vertices, "faces": np.array(faces)}


def ball_mesh(center: Vector, radius: float, rings: int = 48) -> dict[str, np.ndarray]:
    """The arguments vertices and faces of `Surface` for a ball.

    center: (3,) m; radius: m; rings: number of rings of faces, about.
    """
    return capsule_mesh(center, center, radius, rings)


def capsule_mesh(
    start: Vector, end: Vector, radius: float, rings: int = 48
) -> dict[str, np.ndarray]:
    """The arguments vertices and faces of `Surface` for a capsule.

    start, end: (3,) m; radius: m; rings: as in `ball_mesh`.
    """
    start, end = np.asarray(start, float), np.asarray(end, float)
    along = end - start
    length = np.linalg.norm(along)
    axis = along / length if length > 0 else np.array([0.0, 0.0, 1.0])
    side, other = across(axis)
    half = np.linspace(0, np.pi / 2, rings // 4 + 1)
    polar = np.concatenate([half, np.pi - half[::-1]])
    ends = np.repeat([1.0, 0.0], len(half))
    turn = np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    ring = np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * other
    vertices = (
        (start + ends[:, None] * along)[:, None]
        + radius * np.cos(polar)[:, None, None] * axis
        + radius * np.sin(polar)[:, None, None] * ring
    ).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(len(polar) - 1), np.arange(2 * rings), indexing="ij")
    a, b = i * 2 * rings + j, i * 2 * rings + (j + 1) % (2 * rings)
    c, d = a + 2 * rings, b + 2 * rings
    faces = np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)]).reshape(-1, 3)
    return {"vertices": vertices, "faces": faces}


def view(
    lower: Vector,
    upper: Vector,
    *,
    width: int,
    height: int,
    azimuth: float = 25.0,
    elevation: float = 18.0,
    fov: float = 30.0,
    margin: float = 0.06,
) -> Camera:
    """A camera that looks at a box from a given side, as near as the box fits into the picture.

    lower, upper: (3,) corners of the box, m; width, height: px; azimuth, elevation: degrees, as in
    `renderers.orbit.outward` with z up, elevation in (-90, 90); fov: vertical angle of view,
    degrees; margin: free fraction of the picture at each edge. Raises ValueError.
    """
    lower, upper = _array("lower", lower, (3,)), _array("upper", upper, (3,))
    if not (upper > lower).all():
        raise ValueError(f"upper: got {upper}, expected more than lower, {lower}")
    if not -90 < elevation < 90:
        raise ValueError(f"elevation: got {elevation}, expected degrees between -90 and 90")
    center = (lower + upper) / 2
    side = outward(azimuth, elevation)
    camera = look_at(center + side, center, fov=fov, width=width, height=height)
    corners = box_lines(lower, upper).reshape(-1, 3)
    right, down, ahead = ((corners - center) @ camera.rotation.T).T
    wide = 2 / (1 - 2 * margin) * camera.fx / np.array([[width], [height]])
    distance = (wide * np.abs([right, down]) - ahead).max()
    return look_at(center + distance * side, center, fov=fov, width=width, height=height)


def color_map(values: Any, limits: tuple[float, float], name: str = "viridis") -> np.ndarray:
    """The colors (n, 3) of values (n,) by a color map.

    limits: values at both ends of the map; name: of a color map of matplotlib.
    """
    import matplotlib

    values = _array("values", values, (-1,))
    low, high = limits
    level = np.clip((values - low) / max(high - low, 1e-30), 0, 1)
    return matplotlib.colormaps[name](level)[:, :3]


def draw(
    camera: Camera,
    x: Any,
    colors: Any = (0.25, 0.52, 0.82),
    radius: Any = 0.01,
    *,
    floors: Sequence[Floor] = (),
    surfaces: Sequence[Surface] = (),
    lines: Any = None,
    arrows: tuple | None = None,
    labels: Sequence[tuple[str, Vector]] = (),
    caption: str = "",
    light: Vector = (-0.45, -0.55, 1.0),
    background: Any = BACKGROUND,
) -> np.ndarray:
    """A picture (H, W, 3) uint8 of n particles as balls.

    x: (n, 3) m; colors: (3,) or (n, 3); radius: m, a number or (n,); floors, surfaces: further
    objects; lines: (m, 2, 3) m, drawn dark and thin where no object hides them; arrows: starts
    (m, 3) m, ends (m, 3) m, strengths (m,) and optionally the strength of the brightest color,
    drawn over everything; labels: pairs of a text and a place (3,) m, below which it is centered;
    caption: lines of text for the upper left corner; light: (3,) direction to the lamp; background:
    (3,), or (2, 3) for the top and the bottom. Particles with NaN and particles behind the camera
    are left out. Raises ValueError.
    """
    runtime.ensure_initialized()
    x = _array("x", x, (-1, 3), finite=False)
    n = len(x)
    colors = np.broadcast_to(_array("colors", colors, (n, 3), broadcast=True), (n, 3))
    radius = np.broadcast_to(_array("radius", radius, (n,), broadcast=True), (n,))
    if not (radius > 0).all():
        raise ValueError(f"radius: got {radius.min():g}, expected > 0 m")
    background = _array("background", background, (2, 3), broadcast=True)
    background = np.broadcast_to(background, (2, 3))
    lamp_at = _array("light", light, (3,))
    toward = camera.rotation @ lamp_at / np.linalg.norm(lamp_at)

    known = np.isfinite(x).all(axis=1)
    balls = _f32(np.concatenate([camera.to_camera(x), radius[:, None]], axis=1)[known])
    colors = colors[known]
    solid, solid_colors, _ = _triangles(camera, [s for s in surfaces if s.opacity == 1])
    glass, glass_colors, opacity = _triangles(camera, [s for s in surfaces if s.opacity < 1])
    lamp, shade, cover = _shadows(balls, solid, toward)

    height, width = FINE * camera.height, FINE * camera.width
    lens = [FINE * value for value in (camera.fx, camera.fy, camera.cx, camera.cy)]
    up = camera.rotation @ (0.0, 0.0, 1.0)
    rig = _f32([lens, [*toward, 0], [*up, 0], *lamp, *np.pad(background**GAMMA, [(0, 0), (0, 1)])])
    buffer, glasses = (np.full((height, width), EMPTY, np.int64) for _ in range(2))
    kernels.splat(balls, rig, buffer)
    kernels.fill(solid, rig, buffer, len(balls))
    kernels.fill(glass, rig, glasses, 0)
    picture = np.empty((camera.height, camera.width, 3), np.uint8)
    depth = np.empty((camera.height, camera.width), np.float32)
    paint = _f32(np.concatenate([colors, solid_colors]).clip(0, 1) ** GAMMA)
    tint = _f32(np.concatenate([glass_colors.clip(0, 1) ** GAMMA, opacity], axis=1))
    planes = _planes(camera, floors)
    kernels.develop(
        balls, solid, paint, glass, tint, planes, rig, shade, cover, buffer, glasses,
        picture, depth, 1.5 * float(radius.max(initial=1e-3)),
    )  # fmt: skip
    if lines is not None:
        lines = _array("lines", lines, (-1, 2, 3))
        draw_lines(picture, camera, lines, LINE, depth=depth)
    if arrows is not None:
        picture = _draw_arrows(picture, camera, *arrows)
    _write(picture, camera, labels, caption)
    return picture


def film(
    path: str | Path,
    frames: Iterable[Mapping],
    camera: Camera,
    *,
    fps: float = 24.0,
    count: int | None = None,
    progress: bool | None = None,
    **common: Any,
) -> None:
    """Write a film of particles as an .mp4 file, which appears only when it is complete.

    frames: for each picture its arguments of `draw`, for example {"x": x, "caption": text}, which
    may contain "camera"; common: arguments of `draw` that all pictures share; fps: frames per
    second; count: number of frames, for the progress bar; progress: whether to show the bar, by
    default on a terminal only. Raises ValueError.
    """
    disable = None if progress is None else not progress
    bar = tqdm(frames, desc="film", unit="frame", total=count, disable=disable)
    pictures = (draw(**{"camera": camera, **common, **frame}) for frame in bar)
    write_video(path, pictures, fps)


# Arguments


def _array(name: str, value, shape: tuple, *, broadcast=False, finite=True) -> np.ndarray:
    """Return value as float64 of a shape, in which -1 fits any size. Raises ValueError.

    broadcast: allow fewer axes; finite: refuse NaN and infinity.
    """
    value = value.detach().cpu() if hasattr(value, "detach") else value
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: got {type(value).__name__}, expected numbers") from None
    wanted = shape[len(shape) - array.ndim :] if broadcast else shape
    fits = array.ndim == len(wanted) and all(
        want in (-1, got) for want, got in zip(wanted, array.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name}: got shape {array.shape}, expected {shape}")
    if finite and not np.isfinite(array).all():
        raise ValueError(f"{name}: got NaN or infinity")
    return array


def _f32(values) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float32)


def _triangles(camera: Camera, surfaces):
    """Corners (m, 3, 3) in camera axes, colors (m, 3) and opacities (m, 1)."""
    corners = [camera.to_camera(s.vertices)[s.faces] for s in surfaces]
    colors = [np.repeat([s.color], len(s.faces), axis=0) for s in surfaces]
    opacity = [np.full((len(s.faces), 1), s.opacity) for s in surfaces]
    none = np.zeros((0, 3))
    return (
        _f32(np.concatenate([np.zeros((0, 3, 3)), *corners])),
        np.concatenate([none, *colors]),
        np.concatenate([none[:, :1], *opacity]),
    )


def _planes(camera: Camera, floors) -> np.ndarray:
    """(k, 5, 4) rows of floors: point and size, normal and cell, two directions, color.

    Points and directions are in camera axes.
    """
    rows = []
    for floor in floors:
        normal = floor.normal / np.linalg.norm(floor.normal)
        first = floor.along - normal * (normal @ floor.along)
        first /= np.linalg.norm(first)
        axes = np.stack([normal, first, np.cross(normal, first)]) @ camera.rotation.T
        rows.append([
            [*camera.to_camera(floor.point), floor.size], [*axes[0], floor.cell], [*axes[1], 0],
            [*axes[2], 0], [*(floor.color**GAMMA), 0],
        ])  # fmt: skip
    return _f32(np.reshape(rows, (-1, 5, 4)))


def _shadows(balls: np.ndarray, solid: np.ndarray, light: np.ndarray):
    """The axes (3, 4) of the lamp, its map of depths, and a blurred map of the covered texels.

    The axes times (x, y, z, 1) in camera axes give texel column, texel row and depth.
    """
    import cv2

    points = np.concatenate([balls[:, :3], solid.reshape(-1, 3)])
    if not len(points):
        points = np.zeros((1, 3))
    axes = np.stack([*across(light), -light])
    reach = balls[:, 3].max(initial=1e-6)
    seen = points @ axes.T
    low, high = seen.min(axis=0) - 4 * reach, seen.max(axis=0) + 4 * reach
    texel = (high - low)[:2].max() / (MAP - 4)
    scale = np.array([1 / texel, 1 / texel, 1.0])
    shift = np.append(2 - low[:2] / texel, -low[2])
    lamp = np.concatenate([axes * scale[:, None], shift[:, None]], axis=1)
    shade = np.full((MAP, MAP), np.float32(FAR))
    kernels.cast_balls(balls, _f32(lamp), shade)
    kernels.cast_triangles(solid, _f32(lamp), shade)
    cover = cv2.GaussianBlur((shade < FAR).astype(np.float32), (0, 0), max(1.0, MAP / 160))
    return lamp, shade, cover


# Over the picture


def _draw_arrows(picture, camera: Camera, starts, ends, strengths, strongest=None) -> np.ndarray:
    starts, ends = _array("arrows", starts, (-1, 3)), _array("arrows", ends, (len(starts), 3))
    strengths = _array("arrows", strengths, (len(starts),))
    limits = None if strongest is None else (0.0, float(strongest))
    return draw_arrows_in_space(
        picture, camera, np.stack([starts, ends], axis=1), strengths, limits=limits,
        thickness=max(2.0, camera.height / 200),
    )  # fmt: skip


def _write(picture: np.ndarray, camera: Camera, labels, caption: str) -> None:
    size = max(round(camera.height / 26), 9)
    for text, place in labels:
        uv, depth = camera.project(_array("labels", place, (3,)))
        if depth > 0:
            at = (round(uv[0] - text_width(text, size) / 2), round(uv[1]))
            draw_text(picture, text, at, size, INK)
    for k, text in enumerate(caption.splitlines()):
        draw_text(picture, text, (size, round((0.7 + 1.35 * k) * size)), size, INK)
