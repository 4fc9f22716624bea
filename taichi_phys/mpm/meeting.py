"""Contact of two bodies at a node of the grid, and its adjoint; fields.py describes the method."""

from taichi_phys.language import ti


DEEPEST = 1.0  # cells: a node this deep in a body does not show how deep it is


@ti.func
def face_distance(share):
    """Distance, in cells, of a node from a flat face of a body that fills a share of its cell.

    The inverse of B(d), which falls from 1 at d = -1.5, inside, to 0 at d = 1.5.
    """
    outer = ti.min(share, 1 - share)
    d = ti.zero(share)
    if outer < 1 / 6:
        d = 1.5 - (6 * ti.max(outer, 0.0)) ** (1 / 3)
    else:  # B(d) = 1 / 2 - 3 d / 4 + d^3 / 3: three steps of a fixed point, to 3e-3
        rest = 4 / 3 * (0.5 - outer)
        d = rest
        for _ in ti.static(range(3)):
            d = rest + 4 / 9 * d**3
    if share > 0.5:
        d = -d
    return d


@ti.func
def depth(share):
    """face_distance, but not below that of a node which does not show how deep it is."""
    return ti.max(face_distance(share), -DEEPEST)


@ti.func
def touching(sa, sb):
    """Whether two bodies with the surfaces sa and sb at a node meet there, and the normal q.

    A surface is (m, share), see faces.py; q is not of length 1 and points from a to b.
    """
    q = ti.Vector([sa[0] - sb[0], sa[1] - sb[1], sa[2] - sb[2]])
    return depth(sa[3]) + depth(sb[3]) < 0 and q.norm_sqr() > 0, q


@ti.func
def meet(a, b, sa, sb, friction):
    """(velocity, mass) of two bodies at a node after their contact; sa, sb: their surfaces."""
    ra, rb = a, b
    if a[3] > 0 and b[3] > 0:
        close, q = touching(sa, sb)
        w = ti.Vector([b[0] - a[0], b[1] - a[1], b[2] - a[2]])
        if close and w.dot(q) < 0:
            n = q / q.norm()
            change = -w.dot(n) * n
            t = w + change
            size, cut = t.norm(), -friction * w.dot(n)
            if size <= cut:
                change = -w
            elif size > 0:
                change -= cut / size * t
            part = b[3] / (a[3] + b[3])
            for d in ti.static(range(3)):
                ra[d] -= part * change[d]
                rb[d] += (1 - part) * change[d]
    return ra, rb


@ti.func
def meet_adjoint(a, b, sa, sb, friction, ga, gb):
    """The adjoint of meet: gradients in a, b from those in its results, and in q of touching.

    With the sliding t = w - wn n, wn = w . n < 0, and k = -friction wn / |t|, the relative velocity
    w becomes (1 - k) t.
    """
    ra, rb = ga, gb
    gq = ti.Vector([ti.zero(ga[0]), ti.zero(ga[0]), ti.zero(ga[0])])
    if a[3] > 0 and b[3] > 0:
        close, q = touching(sa, sb)
        w = ti.Vector([b[0] - a[0], b[1] - a[1], b[2] - a[2]])
        if close and w.dot(q) < 0:
            length = q.norm()
            n = q / length
            wn = w.dot(n)
            t = w - wn * n
            size, cut = t.norm(), -friction * wn
            part = b[3] / (a[3] + b[3])
            va, vb = ti.Vector([ga[0], ga[1], ga[2]]), ti.Vector([gb[0], gb[1], gb[2]])
            gchange = (1 - part) * vb - part * va
            change = -w
            gw, gn = -gchange, ti.zero(n)
            if size > cut or size == 0:
                k = ti.zero(size)
                along = ti.zero(n)
                slope = ti.zero(size)
                if size > 0:
                    k = cut / size
                    along = t / size
                    slope = friction * along.dot(gchange)
                change = (1 - k) * t - w
                gt = (1 - k) * gchange + k * along.dot(gchange) * along
                gwn = slope - n.dot(gt)
                gw += gt + gwn * n
                gn = gwn * w - wn * gt
            gq = (gn - gn.dot(n) * n) / length
            gpart = -(va + vb).dot(change)
            total = (a[3] + b[3]) ** 2
            for d in ti.static(range(3)):
                ra[d] -= gw[d]
                rb[d] += gw[d]
            ra[3] -= gpart * b[3] / total
            rb[3] += gpart * a[3] / total
    return ra, rb, gq
