"""Pictures of particles and lines, fast enough to follow a mouse on a CPU.

`renderers.particles.draw` draws for films, with shadows and at twice the size; here a ball is a
shaded disc, and a picture of 20,000 of them takes a few milliseconds.
"""

import functools

import numpy as np
import taichi as ti

from renderers.camera import Camera
from taichi_phys import runtime


EMPTY = 0x7F800000 << 32  # in the buffer of depths (upper half) and owners: infinity, nobody
SKY = ((38, 42, 52), (16, 18, 23))  # top and bottom of the background
SMALLEST = 0.75  # px, radius of a disc: it covers at least one pixel
LARGEST = 0.25  # of the picture's height


def draw_particles(
    camera: Camera, x: np.ndarray, colors: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) uint8 of balls, and its depths (H, W) m, infinite where nothing is.

    x: (n, 3) m; colors: (n, 3) uint8; radius: m. What lies behind the camera is left out.
    """
    runtime.ensure_initialized()
    local = np.asarray(x, np.float32) @ camera.rotation.T.astype(np.float32)
    local = np.ascontiguousarray(local + camera.world_to_camera[:3, 3].astype(np.float32))
    lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy, radius], np.float32)
    shape = camera.height, camera.width
    keys = np.full(shape, EMPTY, np.int64)
    picture, depth = np.empty((*shape, 3), np.uint8), np.empty(shape, np.float32)
    cover, develop = _kernels()
    sky = np.array(SKY, np.float32)
    if len(local):
        cover(local, lens, keys)
        develop(local, np.ascontiguousarray(colors, np.uint8), lens, keys, sky, picture, depth)
    else:
        one = np.zeros((1, 3))
        develop(one.astype(np.float32), one.astype(np.uint8), lens, keys, sky, picture, depth)
    return picture, depth


def background(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: what `draw_particles` shows where there is nothing."""
    share = np.linspace(0, 1, height)[:, None, None]
    rows = (1 - share) * SKY[0] + share * SKY[1]
    return np.broadcast_to(rows.astype(np.uint8), (height, width, 3)).copy()


@functools.cache
def _kernels():
    nd, f32, i32, i64, u8 = ti.types.ndarray, ti.f32, ti.i32, ti.i64, ti.u8

    @ti.func
    def disc(lens: ti.template(), z, height):
        return ti.min(ti.max(lens[0] * lens[4] / z, SMALLEST), LARGEST * height)

    @ti.kernel
    def cover(x: nd(f32, 2), lens: nd(f32, 1), keys: nd(i64, 2)):
        for p in range(x.shape[0]):
            z = x[p, 2]
            if z > lens[4]:
                u = lens[0] * x[p, 0] / z + lens[2]
                v = lens[1] * x[p, 1] / z + lens[3]
                r = disc(lens, z, keys.shape[0])
                inside = u > -r and v > -r and u < keys.shape[1] + r and v < keys.shape[0] + r
                if inside:
                    left = ti.max(0, ti.cast(ti.floor(u - r), i32))
                    right = ti.min(keys.shape[1], ti.cast(u + r, i32) + 1)
                    for i in range(
                        ti.max(0, ti.cast(ti.floor(v - r), i32)),
                        ti.min(keys.shape[0], ti.cast(v + r, i32) + 1),
                    ):
                        for j in range(left, right):
                            du, dv = (j + 0.5 - u) / r, (i + 0.5 - v) / r
                            square = du * du + dv * dv
                            if square < 1.0:
                                near = z - lens[4] * ti.sqrt(1 - square)
                                code = ti.cast(ti.bit_cast(near, i32), i64) << 32
                                code = code | ti.cast(p, i64)
                                if code < keys[i, j]:
                                    ti.atomic_min(keys[i, j], code)

    @ti.kernel
    def develop(
        x: nd(f32, 2), colors: nd(u8, 2), lens: nd(f32, 1), keys: nd(i64, 2), sky: nd(f32, 2),
        picture: nd(u8, 3), depth: nd(f32, 2),
    ):  # fmt: skip
        for i, j in ti.ndrange(keys.shape[0], keys.shape[1]):
            if keys[i, j] == ti.i64(EMPTY):
                share = ti.cast(i, f32) / keys.shape[0]
                for k in ti.static(range(3)):
                    picture[i, j, k] = ti.cast(sky[0, k] + share * (sky[1, k] - sky[0, k]), u8)
                depth[i, j] = ti.math.inf
            else:
                p = ti.cast(keys[i, j], i32)  # its lower half
                z = x[p, 2]
                r = disc(lens, z, keys.shape[0])
                du = (j + 0.5 - lens[0] * x[p, 0] / z - lens[2]) / r
                dv = (i + 0.5 - lens[1] * x[p, 1] / z - lens[3]) / r
                out = ti.sqrt(ti.max(0.0, 1 - du * du - dv * dv))
                lit = ti.max(0.0, -0.35 * du - 0.6 * dv + 0.72 * out)  # a lamp above the camera
                for k in ti.static(range(3)):
                    picture[i, j, k] = ti.cast(
                        ti.min(255.0, ti.cast(colors[p, k], f32) * (0.42 + 0.62 * lit)), u8
                    )
                depth[i, j] = ti.bit_cast(ti.cast(keys[i, j] >> 32, i32), f32)

    return cover, develop


def draw_lines(
    picture: np.ndarray, depth: np.ndarray | None, camera: Camera, lines: np.ndarray, color,
    strength: float = 0.8,
) -> None:  # fmt: skip
    """Draw segments (m, 2, 3) m into the picture where nothing in depth (H, W) m hides them.

    color: (3,) 0 to 255; strength: 0 to 1, how much of it covers what is there.
    """
    height, width = picture.shape[:2]
    ends = camera.to_camera(np.asarray(lines, np.float64).reshape(-1, 2, 3))
    near = 1e-3 * max(np.abs(ends[..., 2]).max(initial=0.0), 1e-9)
    ends = _clip(ends, np.array([0, 0, 1.0]), -near)
    # the sides of the picture are planes through the eye: nothing far outside is sampled
    for side in (
        (camera.fx, 0, camera.cx), (-camera.fx, 0, width - camera.cx),
        (0, camera.fy, camera.cy), (0, -camera.fy, height - camera.cy),
    ):  # fmt: skip
        ends = _clip(ends, np.array(side, float), 0.0)
    if not len(ends):
        return
    inverse = 1 / ends[..., 2]
    uv = np.stack(
        [camera.fx * ends[..., 0] * inverse + camera.cx,
         camera.fy * ends[..., 1] * inverse + camera.cy], axis=-1,
    )  # fmt: skip
    counts = np.ceil(np.abs(uv[:, 1] - uv[:, 0]).max(axis=1)).astype(int) + 1
    owner = np.repeat(np.arange(len(ends)), counts)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = ((place + 0.5) / counts[owner])[:, None]
    at = (uv[owner, 0] * (1 - share) + uv[owner, 1] * share).astype(int)
    far = inverse[owner, 0] * (1 - share[:, 0]) + inverse[owner, 1] * share[:, 0]
    j, i = at[:, 0].clip(0, width - 1), at[:, 1].clip(0, height - 1)
    if depth is not None:
        seen = 1 / far < depth[i, j]
        i, j = i[seen], j[seen]
    picture[i, j] = ((1 - strength) * picture[i, j] + strength * np.asarray(color)).astype(np.uint8)


def _clip(ends: np.ndarray, normal: np.ndarray, offset: float) -> np.ndarray:
    """What of the segments (m, 2, 3) lies where normal . x + offset >= 0."""
    height = ends @ normal + offset
    keep = (height >= 0).any(axis=1)
    ends, height = ends[keep].copy(), height[keep]
    for k in (0, 1):
        cut = height[:, k] < 0
        share = (height[cut, k] / (height[cut, k] - height[cut, 1 - k]))[:, None]
        ends[cut, k] = ends[cut, k] * (1 - share) + ends[cut, 1 - k] * share
    return ends
