"""Drawing on pictures: lines and arrows in space, arrows colored by strength, labels, panels.

Pictures are (H, W, 3) uint8 RGB; positions are image coordinates as in `renderers.camera`
(the center of the top-left pixel is at (0.5, 0.5)).
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from renderers.camera import Camera
from taichi_phys.checks import whole_number


COLORS = "plasma"  # perceptually uniform, bright at the strong end
WEAK = 0.08  # place of the weakest arrow on the map, whose very end is hard to see on black
INK = np.array([24, 26, 32])
PAPER = np.array([255, 255, 255])
BEHIND = 1.002  # a line is hidden where it is farther than the picture's depth by this factor


def strength_colors(strengths: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Colors (n, 3) uint8 of strengths (n,), from limits[0] (dark) to limits[1] (bright)."""
    import matplotlib

    low, high = limits
    level = (np.asarray(strengths, dtype=float) - low) / max(high - low, 1e-30)
    level = WEAK + (1 - WEAK) * np.clip(level, 0, 1)
    return matplotlib.colormaps[COLORS](level, bytes=True)[..., :3]


def draw_arrows(
    image: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    strengths: np.ndarray,
    *,
    limits: tuple[float, float] | None = None,
    thickness: float = 2.0,
    scale: int = 1,
    legend: str | None = None,
    opacity: np.ndarray | None = None,
) -> np.ndarray:
    """Return a copy of the picture with n anti-aliased arrows, the strongest on top.

    image: (H, W, 3) uint8; starts, ends: (n, 2) px; strengths: (n,); limits: strengths at the ends
    of the color map (by default 0 and the strongest; give them for a video, because otherwise the
    meaning of a color changes from frame to frame); thickness: of a shaft, px; scale: a whole
    number by which the picture is enlarged first (positions and thickness stay in pixels of
    `image`); legend: what the colors measure, such as "force (N)", drawn beside a color bar;
    opacity: (n,) of each arrow, 0 to 1, default: 1. Arrows with NaN are left out.
    Raises ValueError for other shapes or another scale.
    """
    import cv2

    _check_image("image", image)
    starts, ends, strengths = (np.asarray(a, dtype=np.float64) for a in (starts, ends, strengths))
    n = strengths.shape[0] if strengths.ndim else 0
    opacity = np.ones(n) if opacity is None else np.asarray(opacity, dtype=np.float64)
    for name, value, shape in (
        ("starts", starts, (n, 2)),
        ("ends", ends, (n, 2)),
        ("strengths", strengths, (n,)),
        ("opacity", opacity, (n,)),
    ):
        if value.shape != shape:
            raise ValueError(f"{name}: got shape {value.shape}, expected {shape}")
    whole_number("scale", scale, "a whole number >= 1", low=1)
    known = np.isfinite(starts).all(1) & np.isfinite(ends).all(1) & np.isfinite(strengths)
    starts, ends, strengths, opacity = (a[known] for a in (starts, ends, strengths, opacity))
    if limits is None:
        limits = (0.0, float(strengths.max(initial=0.0)) or 1.0)
    canvas = image.copy()
    if scale > 1:
        canvas = cv2.resize(canvas, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    colors = strength_colors(strengths, limits)
    for i in np.argsort(strengths, kind="stable"):
        line = scale * np.stack([starts[i], ends[i]])
        width, before = scale * thickness, canvas.copy() if opacity[i] < 1 else canvas
        # A light rim inside a dark one stands out on any picture.
        for rim, color in ((0.55 * width, INK), (0.35 * width, PAPER), (0.0, colors[i])):
            _fill(canvas, _arrow(line[0], line[1], width, rim), color)
        if opacity[i] < 1:
            canvas = cv2.addWeighted(canvas, opacity[i], before, 1 - opacity[i], 0)
    if legend is not None:
        draw_colorbar(canvas, limits, legend)
    return canvas


def draw_arrows_in_space(
    image: np.ndarray, camera: Camera, ends: np.ndarray, strengths: np.ndarray, **looks: Any
) -> np.ndarray:
    """Return a copy of the picture with arrows in space drawn over everything in it.

    ends: (m, 2, 3) m, tails and tips; arrows that reach behind the camera are left out; strengths,
    looks: as in `draw_arrows`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        uv, depth = camera.project(ends)
    uv[(depth <= 0).any(axis=1)] = np.nan
    return draw_arrows(image, uv[:, 0], uv[:, 1], strengths, **looks)


def draw_lines(
    image: np.ndarray,
    camera: Camera,
    ends: np.ndarray,
    colors: np.ndarray | Sequence[int],
    *,
    depth: np.ndarray | None = None,
    strength: float = 1.0,
) -> None:
    """Draw anti-aliased segments, one pixel wide, where nothing hides them.

    image: (H, W, 3) uint8, changed in place; ends: (k, 2, 3) m; colors: (3,) or (k, 3), 0 to 255;
    depth: (H, W) m of the picture, infinite where it shows nothing, or None to hide nothing;
    strength: opacity of the lines, 0 to 1.
    """
    height, width = image.shape[:2]
    ends = camera.to_camera(np.asarray(ends, np.float64).reshape(-1, 2, 3))
    colors = np.broadcast_to(np.asarray(colors, np.float32), (len(ends), 3))
    near = 1e-3 * max(np.abs(ends[..., 2]).max(initial=0.0), 1e-9)
    # the sides of the picture are planes through the eye: nothing far outside is sampled
    for normal, offset in (
        ((0, 0, 1.0), near), ((camera.fx, 0, camera.cx), 0.0),
        ((-camera.fx, 0, width - camera.cx), 0.0), ((0, camera.fy, camera.cy), 0.0),
        ((0, -camera.fy, height - camera.cy), 0.0),
    ):  # fmt: skip
        ends, colors = _clip(ends, colors, np.array(normal), offset)
    if not len(ends):
        return
    inverse = 1 / ends[..., 2]
    focal, middle = np.array([camera.fx, camera.fy]), np.array([camera.cx, camera.cy])
    uv = focal * ends[..., :2] * inverse[..., None] + middle
    # a sample for each pixel along the longer side of a segment, shared between two across it
    steep = np.abs(np.diff(uv[..., 1])) > np.abs(np.diff(uv[..., 0]))
    counts = np.ceil(np.abs(uv[:, 1] - uv[:, 0]).max(axis=1)).astype(int) + 1
    owner = np.repeat(np.arange(len(ends)), counts)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (place + 0.5) / counts[owner]
    at = uv[owner, 0] + share[:, None] * (uv[owner, 1] - uv[owner, 0])
    z = 1 / (inverse[owner, 0] + share * (inverse[owner, 1] - inverse[owner, 0]))
    steep, tint = steep[owner, 0], colors[owner]
    across = np.where(steep, at[:, 0], at[:, 1]) - 0.5
    first = np.floor(across).astype(int)
    for side in (0, 1):
        weight = strength * np.abs(1 - side - (across - first))
        j = np.where(steep, first + side, at[:, 0].astype(int))
        i = np.where(steep, at[:, 1].astype(int), first + side)
        seen = (i >= 0) & (i < height) & (j >= 0) & (j < width)
        i, j, w = i[seen], j[seen], weight[seen, None]
        if depth is not None:
            w = w * (z[seen] < BEHIND * depth[i, j])[:, None]
        image[i, j] = (image[i, j] + w * (tint[seen] - image[i, j])).astype(np.uint8)


def _clip(
    ends: np.ndarray, colors: np.ndarray, normal: np.ndarray, offset: float
) -> tuple[np.ndarray, np.ndarray]:
    """Clip segments (k, 2, 3) to normal . x >= offset; returns what is left and its colors."""
    height = ends @ normal - offset
    keep = (height >= 0).any(axis=1)
    ends, height = ends[keep].copy(), height[keep]
    for k in (0, 1):
        cut = height[:, k] < 0
        share = (height[cut, k] / (height[cut, k] - height[cut, 1 - k]))[:, None]
        ends[cut, k] = ends[cut, k] * (1 - share) + ends[cut, 1 - k] * share
    return ends, colors[keep]


def _arrow(start: np.ndarray, end: np.ndarray, width: float, rim: float = 0.0) -> np.ndarray:
    """Outline (k, 2) px of an arrow, grown by `rim` on all sides; a dot if it is too short."""
    along = end - start
    length = float(np.hypot(*along))
    if length < width:
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        return start + (0.8 * width + rim) * np.stack([np.cos(angle), np.sin(angle)], 1)
    along = along / length
    across = np.array([-along[1], along[0]])
    head = min(4.0 * width, 0.6 * length)
    half = 0.42 * head + rim
    shaft = min(0.5 * width, 0.2 * head) + rim
    neck = length - head
    # Growing a triangle by `rim` moves its tip by rim / sin(half the angle at the tip).
    tip = length + rim * np.hypot(1.0, 0.42) / 0.42
    outline = [
        (-rim, -shaft), (neck - rim, -shaft), (neck - rim, -half - 0.5 * rim), (tip, 0),
        (neck - rim, half + 0.5 * rim), (neck - rim, shaft), (-rim, shaft),
    ]  # fmt: skip
    return start + np.array([a * along + b * across for a, b in outline])


def _fill(canvas: np.ndarray, outline: np.ndarray, color: np.ndarray) -> None:
    import cv2

    # OpenCV counts from pixel centers, in fixed point of 1/16 px; it overflows far outside.
    points = np.clip((outline - 0.5) * 16, -(2**24), 2**24)
    cv2.fillPoly(canvas, [np.round(points).astype(np.int32)], color.tolist(), cv2.LINE_AA, 4)


def draw_colorbar(
    image: np.ndarray, limits: tuple[float, float], label: str, scale: float = 1.0
) -> None:
    """Draw a bar of the strength colors, their limits and a label into the lower left corner.

    image: (H, W, 3) uint8, changed in place; limits: the strengths at the ends of the bar; scale:
    1 for a bar as long as 0.29 of the picture's shorter side.
    """
    _check_image("image", image)
    unit = max(scale * min(image.shape[:2]) / 384, 0.5)
    size = round(13 * unit)
    low, high = (f"{value:.3g}" for value in limits)
    length, thick, pad = round(110 * unit), max(round(9 * unit), 2), round(8 * unit)
    width = max(length, text_width(label, size), text_width(low + "  " + high, size)) + 2 * pad
    height = thick + 2 * round(1.35 * size) + 2 * pad
    top = image.shape[0] - height - pad
    box = image[max(top, 0) : max(top, 0) + height, pad : pad + width]
    box[...] = (0.18 * box + 0.82 * INK).astype(np.uint8)  # a dark plate, whatever lies below
    ramp = strength_colors(np.linspace(0, 1, length), (0, 1))
    bar = box[pad + round(1.35 * size) :, pad : pad + length][:thick]
    bar[...] = ramp[: bar.shape[1]]
    draw_text(box, label, (pad, pad - round(0.15 * size)), size, PAPER)
    below = pad + round(1.35 * size) + thick + round(0.15 * size)
    draw_text(box, low, (pad, below), size, PAPER)
    draw_text(box, high, (pad + length - text_width(high, size), below), size, PAPER)


@cache
def _font(size: int):
    import matplotlib
    from PIL import ImageFont

    # The font that comes with matplotlib: the same picture on every machine.
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), size)


def text_width(text: str, size: int) -> int:
    """Width in px of a line of text `size` px high."""
    return int(np.ceil(_font(size).getlength(text)))


def draw_text(
    image: np.ndarray, text: str, at: tuple[int, int], size: int, color: Sequence[int] | np.ndarray
) -> None:
    """Write a line of text into a picture (H, W, 3) uint8, in place.

    at: the top left corner (x, y) of the text, px; size: its height, px; color: 0 to 255.
    """
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image)
    ImageDraw.Draw(picture).text(at, text, fill=tuple(int(c) for c in color), font=_font(size))
    image[...] = np.asarray(picture)


def side_by_side(
    panels: Sequence[np.ndarray], labels: Sequence[str] | None = None, *, gap: int = 6
) -> np.ndarray:
    """Put several pictures side by side on white, each under its label.

    panels: pictures (H, W, 3) uint8, enlarged to the height of the tallest; labels: one for each
    panel, or None for no labels; gap: between panels, px. The result has even sides. Raises
    ValueError if there are no panels, or labels and panels differ in number.
    """
    import cv2

    if not len(panels):
        raise ValueError("panels: got none, expected at least one")
    if labels is not None and len(labels) != len(panels):
        raise ValueError(f"labels: got {len(labels)}, expected {len(panels)}, one for each panel")
    for i, panel in enumerate(panels):
        _check_image(f"panels[{i}]", panel)
    height = max(panel.shape[0] for panel in panels)
    size = max(round(height / 24), 10)
    header = round(1.9 * size) if labels is not None else 0
    sized = []
    for panel in panels:
        width = round(panel.shape[1] * height / panel.shape[0])
        sized.append(cv2.resize(panel, (width, height), interpolation=cv2.INTER_CUBIC))
    total = sum(panel.shape[1] for panel in sized) + gap * (len(sized) - 1)
    canvas = np.empty((height + header + height % 2 + header % 2, total + total % 2, 3), np.uint8)
    canvas[...] = PAPER
    left = 0
    for i, panel in enumerate(sized):
        canvas[header : header + height, left : left + panel.shape[1]] = panel
        if labels is not None:
            strip = canvas[:header, left : left + panel.shape[1]]
            room = max((panel.shape[1] - text_width(labels[i], size)) // 2, 0)
            draw_text(strip, labels[i], (room, round(0.3 * size)), size, INK)
        left += panel.shape[1] + gap
    return canvas


def _check_image(name: str, image: np.ndarray) -> None:
    dtype, shape = getattr(image, "dtype", type(image).__name__), np.shape(image)
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3:
        raise ValueError(f"{name}: got {dtype} {shape}, expected uint8 (H, W, 3)")
