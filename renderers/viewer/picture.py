"""A snapshot as a picture, fast enough to follow a mouse on a CPU.

`renderers.particles.draw` draws for films, with shadows and at twice the size; here a ball is a
shaded disc, and a picture of 20,000 of them takes a few milliseconds.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from renderers.camera import Camera
from renderers.images import to_bytes
from renderers.overlay import draw_arrows_in_space, draw_colorbar, draw_lines
from renderers.particles.kernels import EMPTY, depth_of, encode, index
from renderers.splats.render import render
from renderers.viewer.snapshot import Points, Snapshot
from taichi_phys import runtime
from taichi_phys.language import ti


SKY = ((38, 42, 52), (16, 18, 23))  # top and bottom of the background
SMALLEST = 0.75  # px, radius of a disc: it covers at least one pixel
LARGEST = 0.25  # of the picture's height
FAINT = 0.8  # share of what is there that a line covers
SOLID = 0.5  # alpha from which splats hide lines
LEGEND = 0.75  # of the size that it has in videos of arrows
THICKNESS = 4 / 720  # of the picture's height, of an arrow

f32, i32, nd, u8 = ti.f32, ti.i32, ti.types.ndarray, ti.u8


def draw(snapshot: Snapshot, camera: Camera, left: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: what a camera sees of a snapshot.

    left: columns at the left edge, px, in which the picture beside the view is shown.
    """
    picture = sky(camera.height, camera.width).copy()
    depth = np.full(picture.shape[:2], np.inf, np.float32)
    if snapshot.splats is not None:
        draw_splats(picture, depth, camera, snapshot.splats)
    if snapshot.points is not None:
        draw_points(picture, depth, camera, snapshot.points)
    lines, arrows, side = snapshot.lines, snapshot.arrows, snapshot.side
    if lines is not None:
        draw_lines(picture, camera, lines.ends, lines.colors, depth=depth, strength=FAINT)
    if arrows is not None:
        picture = draw_arrows_in_space(
            picture, camera, arrows.ends, arrows.strengths, limits=arrows.limits,
            thickness=THICKNESS * camera.height,
        )  # fmt: skip
    if side is not None and left:
        _draw_beside(picture, side, left)
    if snapshot.legend is not None:
        draw_colorbar(picture[:, left:], *snapshot.legend, scale=LEGEND)
    return picture


@functools.lru_cache(maxsize=8)
def sky(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: what a picture shows where there is nothing; not to be written to."""
    share = np.linspace(0, 1, height)[:, None, None]
    rows = ((1 - share) * SKY[0] + share * SKY[1]).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(rows, (height, width, 3)))


def _draw_beside(picture: np.ndarray, side: np.ndarray, width: int) -> None:
    """Put a picture into the first columns, and darken what they show."""
    import cv2

    height = round(width * side.shape[0] / side.shape[1])
    top = max((picture.shape[0] - height) // 2, 0)
    small = cv2.resize(side, (width, height), interpolation=cv2.INTER_AREA)
    picture[:, :width] //= 4
    picture[top : top + height, :width] = small[: picture.shape[0]]


def draw_splats(
    picture: np.ndarray, depth: np.ndarray, camera: Camera, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Draw Gaussians over an empty picture (H, W, 3) uint8, and their depth (H, W) m, float32,
    where they are solid."""
    distance = float(np.linalg.norm(camera.position - tensors["means"].mean(0).cpu().numpy()))
    free, near = torch.as_tensor(picture) / 255, max(0.01 * distance, 1e-6)
    image = render(camera, **dict[str, Any](tensors), background=free, near=near)
    picture[:] = to_bytes(image.rgb)
    depth[:] = torch.where(image.alpha > SOLID, image.depth, torch.inf).cpu().numpy()


def draw_points(picture: np.ndarray, depth: np.ndarray, camera: Camera, points: Points) -> None:
    """Draw balls into a picture (H, W, 3) uint8 where they are nearer than its depth (H, W) m,
    float32; both are changed. What lies behind the camera is left out."""
    runtime.ensure_initialized()
    if not len(points.x):
        return
    local = np.asarray(points.x, np.float32) @ camera.rotation.T.astype(np.float32)
    local = np.ascontiguousarray(local + camera.world_to_camera[:3, 3].astype(np.float32))
    lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy, points.radius], np.float32)
    keys = np.full(depth.shape, EMPTY, np.int64)
    cover(local, lens, keys)
    shade(local, np.ascontiguousarray(points.colors, np.uint8), lens, keys, picture, depth)


@ti.func
def disc(lens: ti.template(), z, height):
    """Radius of a ball in the picture, px."""
    return ti.min(ti.max(lens[0] * lens[4] / z, SMALLEST), LARGEST * height)


@ti.kernel
def cover(x: nd(f32, 2), lens: nd(f32, 1), keys: nd(ti.i64, 2)):
    """Depth and owner of the nearest disc in each pixel. The films' exact outlines of balls take
    twice as long for balls of a few pixels."""
    for p in range(x.shape[0]):
        z = x[p, 2]
        if z > lens[4]:
            u = lens[0] * x[p, 0] / z + lens[2]
            v = lens[1] * x[p, 1] / z + lens[3]
            r = disc(lens, z, keys.shape[0])
            left, right = index(u - r, keys.shape[1]), index(u + r + 1, keys.shape[1])
            for i in range(index(v - r, keys.shape[0]), index(v + r + 1, keys.shape[0])):
                for j in range(left, right):
                    du, dv = (j + 0.5 - u) / r, (i + 0.5 - v) / r
                    square = du * du + dv * dv
                    if square < 1.0:
                        code = encode(z - lens[4] * ti.sqrt(1 - square), p)
                        if code < keys[i, j]:
                            ti.atomic_min(keys[i, j], code)


@ti.kernel
def shade(
    x: nd(f32, 2), colors: nd(u8, 2), lens: nd(f32, 1), keys: nd(ti.i64, 2), picture: nd(u8, 3),
    depth: nd(f32, 2),
):  # fmt: skip
    """Color the pixels whose owner is nearer than what they show."""
    for i, j in ti.ndrange(keys.shape[0], keys.shape[1]):
        near = depth_of(keys[i, j])
        if keys[i, j] != ti.i64(EMPTY) and near < depth[i, j]:
            depth[i, j] = near
            p = ti.cast(keys[i, j] & 0x7FFFFFFF, i32)
            z = x[p, 2]
            r = disc(lens, z, keys.shape[0])
            du = (j + 0.5 - lens[0] * x[p, 0] / z - lens[2]) / r
            dv = (i + 0.5 - lens[1] * x[p, 1] / z - lens[3]) / r
            out = ti.sqrt(ti.max(0.0, 1 - du * du - dv * dv))
            lit = ti.max(0.0, -0.35 * du - 0.6 * dv + 0.72 * out)  # a lamp above the camera
            for k in ti.static(range(3)):
                value = ti.cast(colors[p, k], f32) * (0.42 + 0.62 * lit)
                picture[i, j, k] = ti.cast(ti.min(255.0, value), u8)
