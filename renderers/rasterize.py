"""Compositing the Gaussians of each tile, front to back.

Both kernels compute the same image. `by_rows` is for CPUs: it visits only the pixels of each row
where a Gaussian counts and steps its exponential along them by two multiplications, because one
evaluation for each pixel is what the time goes into there. `by_pixels` is for GPUs: a thread for
each pixel, the pixels of a tile in one block.
"""

import taichi as ti

from renderers.projection import vec2, vec3, vec4


MAX_ALPHA = 0.999  # keeps a little light for what lies behind, so that gradients stay finite
OPAQUE = 1e-4  # a pixel that lets less light than this through is finished


@ti.kernel
def by_rows(
    members: ti.types.ndarray(dtype=ti.i32, ndim=1),
    starts: ti.types.ndarray(dtype=ti.i32, ndim=1),
    uv: ti.types.ndarray(dtype=vec2, ndim=1),
    depth: ti.types.ndarray(dtype=ti.f32, ndim=1),
    ellipse: ti.types.ndarray(dtype=vec4, ndim=1),
    opacities: ti.types.ndarray(dtype=ti.f32, ndim=1),
    colors: ti.types.ndarray(dtype=vec3, ndim=1),
    tile: ti.i32,
    light: ti.types.ndarray(dtype=vec4, ndim=2),
    transmittance: ti.types.ndarray(dtype=ti.f32, ndim=2),
):
    """Adds (red, green, blue, depth) to `light`; `transmittance` must come in as ones."""
    height, width = transmittance.shape[0], transmittance.shape[1]
    columns = (width + tile - 1) // tile
    ti.loop_config(block_dim=1)
    for t in range(starts.shape[0] - 1):
        left, top = (t % columns) * tile, (t // columns) * tile
        right, bottom = ti.min(left + tile, width), ti.min(top + tile, height)
        unfinished = (right - left) * (bottom - top)
        for m in range(starts[t], starts[t + 1]):
            if unfinished == 0:
                break
            i = members[m]
            e, center, opacity = ellipse[i], uv[i], opacities[i]
            gift = vec4(colors[i], depth[i])
            determinant = e.x * e.z - e.y * e.y
            ratio = ti.exp(-e.x)  # of two neighbouring ratios of neighbouring pixels
            reach = ti.sqrt(e.w * e.x / determinant)
            first_row = ti.max(top, ti.ceil(center.y - reach - 0.5, ti.i32))
            last_row = ti.min(bottom - 1, ti.floor(center.y + reach - 0.5, ti.i32))
            for row in range(first_row, last_row + 1):
                dy = row + 0.5 - center.y
                middle = center.x - e.y * dy / e.x
                half = ti.sqrt(ti.max(e.w * e.x - determinant * dy * dy, 0.0)) / e.x
                first = ti.max(left, ti.ceil(middle - half - 0.5, ti.i32))
                last = ti.min(right - 1, ti.floor(middle + half - 0.5, ti.i32))
                if first <= last:
                    dx = first + 0.5 - center.x
                    power = -0.5 * (e.x * dx * dx + e.z * dy * dy) - e.y * dx * dy
                    value = opacity * ti.exp(power)
                    step = ti.exp(-e.x * (dx + 0.5) - e.y * dy)
                    for column in range(first, last + 1):
                        through = transmittance[row, column]
                        if through >= OPAQUE:
                            alpha = ti.min(value, MAX_ALPHA)
                            light[row, column] = light[row, column] + through * alpha * gift
                            through *= 1.0 - alpha
                            transmittance[row, column] = through
                            if through < OPAQUE:
                                unfinished -= 1
                        value *= step
                        step *= ratio


@ti.kernel
def by_pixels(
    members: ti.types.ndarray(dtype=ti.i32, ndim=1),
    starts: ti.types.ndarray(dtype=ti.i32, ndim=1),
    uv: ti.types.ndarray(dtype=vec2, ndim=1),
    depth: ti.types.ndarray(dtype=ti.f32, ndim=1),
    ellipse: ti.types.ndarray(dtype=vec4, ndim=1),
    opacities: ti.types.ndarray(dtype=ti.f32, ndim=1),
    colors: ti.types.ndarray(dtype=vec3, ndim=1),
    tile: ti.i32,
    light: ti.types.ndarray(dtype=vec4, ndim=2),
    transmittance: ti.types.ndarray(dtype=ti.f32, ndim=2),
):
    """Adds (red, green, blue, depth) to `light`; `transmittance` must come in as ones."""
    height, width = transmittance.shape[0], transmittance.shape[1]
    columns = (width + tile - 1) // tile
    ti.loop_config(block_dim=256)
    for k in range((starts.shape[0] - 1) * tile * tile):
        t, local = k // (tile * tile), k % (tile * tile)
        row = (t // columns) * tile + local // tile
        column = (t % columns) * tile + local % tile
        if row < height and column < width:
            total = vec4(0.0, 0.0, 0.0, 0.0)
            through = ti.cast(1.0, ti.f32)
            for m in range(starts[t], starts[t + 1]):
                if through < OPAQUE:
                    break
                i = members[m]
                e = ellipse[i]
                d = vec2(column + 0.5, row + 0.5) - uv[i]
                level = e.x * d.x * d.x + e.z * d.y * d.y + 2.0 * e.y * d.x * d.y
                if level <= e.w:
                    alpha = ti.min(opacities[i] * ti.exp(-0.5 * level), MAX_ALPHA)
                    total = total + through * alpha * vec4(colors[i], depth[i])
                    through *= 1.0 - alpha
            light[row, column] = total
            transmittance[row, column] = through
