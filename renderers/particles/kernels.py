"""Kernels that draw balls, triangles and floors with shadows, in camera axes; see draw.py.

Buffers hold one 64-bit number for each fine pixel, with the depth and the owner of the nearest
object, so that atomic minima give the same picture for any number of threads. The owner is the
index of a ball or triangle. Rows of rig: 0 lens (fx, fy, cx, cy in fine pixels); 1 direction to
the lamp; 2 up; 3 to 5 axes of the lamp (from camera axes to texel column, texel row and depth);
6 and 7 background at the top and at the bottom.
"""

from taichi_phys.language import ti


FINE = 2  # fine pixels along each side of a pixel
EMPTY = 0x7F000000 << 32  # in buffers: no object, encoded as a depth beyond FAR
FAR = 1e30  # m, larger than any depth
AMBIENT, DIFFUSE, SHINE = 0.40, 0.72, 0.08  # weights of ambient, diffuse and mirrored light
DIM = 0.62  # fraction of the light of a floor that a shadow takes away

f32, i32, i64, nd = ti.f32, ti.i32, ti.i64, ti.types.ndarray
vec3 = ti.types.vector(3, f32)


@ti.func
def row(a: ti.template(), k):
    return vec3(a[k, 0], a[k, 1], a[k, 2])


@ti.func
def encode(depth, owner):
    return (ti.cast(ti.bit_cast(ti.cast(depth, f32), i32), i64) << 32) | ti.cast(owner, i64)


@ti.func
def depth_of(code):
    return ti.bit_cast(ti.cast(code >> 32, i32), f32)


@ti.func
def ray(rig: ti.template(), i, j):
    return vec3((j + 0.5 - rig[0, 2]) / rig[0, 0], (i + 0.5 - rig[0, 3]) / rig[0, 1], 1.0)


@ti.func
def index(value, size):
    """value as an integer from 0 to size, clamped before the cast, as infinity would overflow."""
    return ti.cast(ti.min(ti.max(value, 0.0), size), i32)


@ti.kernel
def splat(balls: nd(f32, 2), rig: nd(f32, 2), buffer: nd(i64, 2)):
    """Draw balls (n, 4), center and radius, into the buffer; ball p is owner p."""
    for p in range(balls.shape[0]):
        c, r = row(balls, p), balls[p, 3]
        if c[2] > 2 * r:
            u = rig[0, 0] * c[0] / c[2] + rig[0, 2]
            v = rig[0, 1] * c[1] / c[2] + rig[0, 3]
            # The outline of a ball off the optical axis is an ellipse, longer by 1 / cos.
            wide = r / (c[2] - r) * c.norm() / c[2]
            a, b = rig[0, 0] * wide + 1, rig[0, 1] * wide + 1
            nearest = encode(c[2] - r, 0)
            left, right = index(u - a, buffer.shape[1]), index(u + a + 1, buffer.shape[1])
            for i in range(index(v - b, buffer.shape[0]), index(v + b + 1, buffer.shape[0])):
                for j in range(left, right):
                    if nearest < buffer[i, j]:
                        d = ray(rig, i, j)
                        square = d.dot(d)
                        t = d.dot(c) / square
                        off = c - t * d
                        inside = r * r - off.dot(off)
                        if inside > 0:
                            code = encode(t - ti.sqrt(inside / square), p)
                            if code < buffer[i, j]:
                                ti.atomic_min(buffer[i, j], code)


@ti.func
def edge(ax, ay, bx, by, px, py):
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


@ti.kernel
def fill(triangles: nd(f32, 3), rig: nd(f32, 2), buffer: nd(i64, 2), first: i32):
    """Draw triangles (m, 3, 3) in front of the camera; triangle f is owner first + f."""
    for f in range(triangles.shape[0]):
        za, zb, zc = triangles[f, 0, 2], triangles[f, 1, 2], triangles[f, 2, 2]
        if ti.min(za, zb, zc) > 1e-6:
            ax = rig[0, 0] * triangles[f, 0, 0] / za + rig[0, 2]
            ay = rig[0, 1] * triangles[f, 0, 1] / za + rig[0, 3]
            bx = rig[0, 0] * triangles[f, 1, 0] / zb + rig[0, 2]
            by = rig[0, 1] * triangles[f, 1, 1] / zb + rig[0, 3]
            cx = rig[0, 0] * triangles[f, 2, 0] / zc + rig[0, 2]
            cy = rig[0, 1] * triangles[f, 2, 1] / zc + rig[0, 3]
            area = edge(ax, ay, bx, by, cx, cy)
            if ti.abs(area) > 1e-9:
                top = index(ti.min(ay, by, cy), buffer.shape[0])
                low = index(ti.max(ay, by, cy) + 1, buffer.shape[0])
                left = index(ti.min(ax, bx, cx), buffer.shape[1])
                right = index(ti.max(ax, bx, cx) + 1, buffer.shape[1])
                for i in range(top, low):
                    for j in range(left, right):
                        x, y = j + 0.5, i + 0.5
                        wa = edge(bx, by, cx, cy, x, y) / area
                        wb = edge(cx, cy, ax, ay, x, y) / area
                        wc = 1 - wa - wb
                        if wa >= 0 and wb >= 0 and wc >= 0:
                            # 1 / depth is linear in picture coordinates
                            code = encode(1 / (wa / za + wb / zb + wc / zc), first + f)
                            if code < buffer[i, j]:
                                ti.atomic_min(buffer[i, j], code)


@ti.func
def texel(lamp: ti.template(), first, p):
    """(column, row, depth) of point p in the shadow map; first: row of the lamp's axes."""
    q = vec3(0.0)
    for k in ti.static(range(3)):
        q[k] = lamp[first + k, 3]
        for d in ti.static(range(3)):
            q[k] += lamp[first + k, d] * p[d]
    return q


@ti.kernel
def cast_balls(balls: nd(f32, 2), lamp: nd(f32, 2), shade: nd(f32, 2)):
    """Draw the depths of balls, as discs, as seen from the lamp."""
    for p in range(balls.shape[0]):
        r, q = balls[p, 3], texel(lamp, 0, row(balls, p))
        wide = r * vec3(lamp[0, 0], lamp[0, 1], lamp[0, 2]).norm()
        left, right = index(q[0] - wide, shade.shape[1]), index(q[0] + wide + 1, shade.shape[1])
        for i in range(index(q[1] - wide, shade.shape[0]), index(q[1] + wide + 1, shade.shape[0])):
            for j in range(left, right):
                off = (j + 0.5 - q[0]) ** 2 + (i + 0.5 - q[1]) ** 2
                if off < wide * wide + 0.5 and q[2] < shade[i, j]:
                    ti.atomic_min(shade[i, j], q[2])


@ti.kernel
def cast_triangles(triangles: nd(f32, 3), lamp: nd(f32, 2), shade: nd(f32, 2)):
    """Draw the depths of triangles as seen from the lamp."""
    for f in range(triangles.shape[0]):
        a = texel(lamp, 0, vec3(triangles[f, 0, 0], triangles[f, 0, 1], triangles[f, 0, 2]))
        b = texel(lamp, 0, vec3(triangles[f, 1, 0], triangles[f, 1, 1], triangles[f, 1, 2]))
        c = texel(lamp, 0, vec3(triangles[f, 2, 0], triangles[f, 2, 1], triangles[f, 2, 2]))
        area = edge(a[0], a[1], b[0], b[1], c[0], c[1])
        if ti.abs(area) > 1e-9:
            left = index(ti.min(a[0], b[0], c[0]), shade.shape[1])
            right = index(ti.max(a[0], b[0], c[0]) + 1, shade.shape[1])
            top = index(ti.min(a[1], b[1], c[1]), shade.shape[0])
            low = index(ti.max(a[1], b[1], c[1]) + 1, shade.shape[0])
            for i in range(top, low):
                for j in range(left, right):
                    x, y = j + 0.5, i + 0.5
                    wa = edge(b[0], b[1], c[0], c[1], x, y) / area
                    wb = edge(c[0], c[1], a[0], a[1], x, y) / area
                    wc = 1 - wa - wb
                    if wa >= 0 and wb >= 0 and wc >= 0:
                        ti.atomic_min(shade[i, j], wa * a[2] + wb * b[2] + wc * c[2])


@ti.func
def lit(rig: ti.template(), shade: ti.template(), p, slack):
    """Weighted share, 0 to 1, of the four nearest texels in which the lamp sees a point.

    slack: distance over which a depth beyond the shadow map fades into shadow, m.
    """
    q = texel(rig, 3, p)
    i, j = ti.cast(ti.floor(q[1] - 0.5), i32), ti.cast(ti.floor(q[0] - 0.5), i32)
    y, x = q[1] - 0.5 - i, q[0] - 0.5 - j
    result = ti.cast(1.0, f32)
    if i >= 0 and j >= 0 and i + 1 < shade.shape[0] and j + 1 < shade.shape[1]:
        near = vec3(0.0)  # only its first entry is used
        for a, b in ti.static(ti.ndrange(2, 2)):
            weight = (y if a else 1 - y) * (x if b else 1 - x)
            depth = shade[i + a, j + b]
            near[0] += weight * ti.min(ti.max((depth + 2 * slack - q[2]) / slack, 0.0), 1.0)
        result = near[0]
    return result


@ti.func
def covered(rig: ti.template(), cover: ti.template(), p):
    """The value, 0 to 1, of the blurred map of covered texels at a point of a floor."""
    q = texel(rig, 3, p)
    i, j = ti.cast(ti.floor(q[1] - 0.5), i32), ti.cast(ti.floor(q[0] - 0.5), i32)
    y, x = q[1] - 0.5 - i, q[0] - 0.5 - j
    result = ti.cast(0.0, f32)
    if i >= 0 and j >= 0 and i + 1 < cover.shape[0] and j + 1 < cover.shape[1]:
        top = (1 - x) * cover[i, j] + x * cover[i, j + 1]
        low = (1 - x) * cover[i + 1, j] + x * cover[i + 1, j + 1]
        result = (1 - y) * top + y * low
    return result


@ti.func
def shaded(rig: ti.template(), color, normal, sight, light):
    """Linear light of a surface; light: fraction of the lamp's light that arrives."""
    lamp, up = row(rig, 1), row(rig, 2)
    sky = AMBIENT * (0.78 + 0.22 * normal.dot(up))
    mirror = lamp - sight
    gleam = ti.max(normal.dot(mirror) / mirror.norm(), 0.0) ** 24
    return color * (sky + DIFFUSE * light * ti.max(normal.dot(lamp), 0.0)) + SHINE * light * gleam


@ti.func
def corner(triangles: ti.template(), f, k):
    return vec3(triangles[f, k, 0], triangles[f, k, 1], triangles[f, k, 2])


@ti.func
def facing(triangles: ti.template(), f, sight):
    a = corner(triangles, f, 0)
    n = (corner(triangles, f, 1) - a).cross(corner(triangles, f, 2) - a)
    n = n / ti.max(n.norm(), 1e-30)
    return -n if n.dot(sight) > 0 else n


@ti.kernel
def develop(
    balls: nd(f32, 2), solid: nd(f32, 3), paint: nd(f32, 2), glass: nd(f32, 3), tint: nd(f32, 2),
    planes: nd(f32, 3), rig: nd(f32, 2), shade: nd(f32, 2), cover: nd(f32, 2),
    buffer: nd(i64, 2), glasses: nd(i64, 2), picture: nd(ti.u8, 3), depth: nd(f32, 2), slack: f32,
):  # fmt: skip
    """Shade the objects in the buffers, and average over fine pixels; depth: of the nearest, m."""
    n = balls.shape[0]
    for i, j in ti.ndrange(picture.shape[0], picture.shape[1]):
        total, nearest = vec3(0.0), ti.cast(FAR, f32)
        for a, b in ti.static(ti.ndrange(FINE, FINE)):
            y, x = FINE * i + a, FINE * j + b
            d = ray(rig, y, x)
            sight = d / d.norm()
            height = (y + 0.5) / (FINE * picture.shape[0])
            color = row(rig, 6) * (1 - height) + row(rig, 7) * height
            z = ti.cast(FAR, f32)
            code = buffer[y, x]
            drawn = depth_of(code) < FAR
            if drawn:
                z = depth_of(code)
            plane = -1
            for k in range(planes.shape[0]):
                normal = vec3(planes[k, 1, 0], planes[k, 1, 1], planes[k, 1, 2])
                point = vec3(planes[k, 0, 0], planes[k, 0, 1], planes[k, 0, 2])
                slope = normal.dot(d)
                if ti.abs(slope) > 1e-6:
                    t = normal.dot(point) / slope
                    if 0 < t < z and (t * d - point).norm() < planes[k, 0, 3]:
                        z = t
                        plane = k
            nearest = ti.min(nearest, z)
            p = z * d
            if plane >= 0:
                normal = vec3(planes[plane, 1, 0], planes[plane, 1, 1], planes[plane, 1, 2])
                off = p - vec3(planes[plane, 0, 0], planes[plane, 0, 1], planes[plane, 0, 2])
                u = off.dot(vec3(planes[plane, 2, 0], planes[plane, 2, 1], planes[plane, 2, 2]))
                v = off.dot(vec3(planes[plane, 3, 0], planes[plane, 3, 1], planes[plane, 3, 2]))
                cell, far = planes[plane, 1, 3], off.norm() / planes[plane, 0, 3]
                # A grid line is 1.5 fine pixels wide when seen from above.
                pixel = 1.5 * z / rig[0, 0]
                gap = ti.min(ti.abs(u - cell * ti.round(u / cell)),
                             ti.abs(v - cell * ti.round(v / cell)))  # fmt: skip
                line = ti.max(1 - gap / pixel, 0.0) * ti.min(1.0, 0.25 * cell / pixel)
                own = vec3(planes[plane, 4, 0], planes[plane, 4, 1], planes[plane, 4, 2])
                own *= 1 - 0.22 * line
                if normal.dot(d) < 0:  # from above
                    own *= 1 - DIM * covered(rig, cover, p)
                fade = ti.min(1.0, ti.max(0.0, 2 - 2 * far))
                color += (own - color) * fade * fade * (3 - 2 * fade)
            elif drawn:
                owner = ti.cast(code & 0x7FFFFFFF, i32)
                normal = vec3(0.0)
                if owner < n:
                    normal = (p - row(balls, owner)) / balls[owner, 3]
                else:
                    normal = facing(solid, owner - n, sight)
                light = lit(rig, shade, p, slack)
                color = shaded(rig, row(paint, owner), normal, sight, light)
            over = glasses[y, x]
            if depth_of(over) < ti.min(z, FAR):
                f = ti.cast(over & 0x7FFFFFFF, i32)
                own = shaded(rig, row(tint, f), facing(glass, f, sight), sight, 1.0)
                color += (own - color) * tint[f, 3]
            total += color
        depth[i, j] = nearest
        for c in ti.static(range(3)):
            value = ti.min(ti.max(total[c] / (FINE * FINE), 0.0), 1.0) ** (1 / 2.2)
            picture[i, j, c] = ti.cast(255 * value + 0.5, ti.u8)
