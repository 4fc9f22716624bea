"""Rotations as Taichi functions, generic in precision: unit quaternions (w, x, y, z).

The gradient of a loss in a rotation R is a vector g of three numbers, taken in the tangent space:
g . phi is the change of the loss when R becomes exp([phi]) R.
"""

from taichi_phys.language import ti


SERIES_TERMS = 6  # enough for rounding in f64 at angles below sqrt(0.5)


@ti.func
def multiply(p, q):
    """The quaternion product p q, which rotates by q first and then by p."""
    return ti.Vector(
        [
            p[0] * q[0] - p[1] * q[1] - p[2] * q[2] - p[3] * q[3],
            p[0] * q[1] + p[1] * q[0] + p[2] * q[3] - p[3] * q[2],
            p[0] * q[2] - p[1] * q[3] + p[2] * q[0] + p[3] * q[1],
            p[0] * q[3] + p[1] * q[2] - p[2] * q[1] + p[3] * q[0],
        ]
    )


@ti.func
def conjugate(q):
    """The inverse of a unit quaternion."""
    return ti.Vector([q[0], -q[1], -q[2], -q[3]])


@ti.func
def vector_part(q):
    return ti.Vector([q[1], q[2], q[3]])


@ti.func
def rotate(q, a):
    """The vector R(q) a, for a unit quaternion q."""
    u = vector_part(q)
    b = 2.0 * u.cross(a)
    return a + q[0] * b + u.cross(b)


@ti.func
def exponential(theta):
    """The quaternion of the rotation vector theta (Rodrigues), exact at zero."""
    half = 0.5 * theta.norm()
    k = 0.5 * ti.one(half)  # sin(half) / (2 half)
    if half > 0:
        k = 0.5 * ti.sin(half) / half
    return ti.Vector([ti.cos(half), k * theta[0], k * theta[1], k * theta[2]])


@ti.func
def exponential_adjoint(theta, g):
    """Gradient in theta, J_l(theta)^T g, from g, the tangent gradient of exp([theta]).

    J_l = I + b [theta] + c [theta]^2 with b = (1 - cos r) / r^2, c = (r - sin r) / r^3, r = |theta|
    (Sola et al. 2018, "A micro Lie theory", eq. 145).
    """
    r2 = theta.dot(theta)
    b, c = ti.one(r2), ti.one(r2)
    if r2 < 0.5:  # 2 b and 6 c as nested series, since the formulas below would cancel
        for n in ti.static(range(SERIES_TERMS, 0, -1)):
            b = 1.0 - r2 / ((2 * n + 1) * (2 * n + 2)) * b
            c = 1.0 - r2 / ((2 * n + 2) * (2 * n + 3)) * c
        b, c = b / 2.0, c / 6.0
    else:
        r = ti.sqrt(r2)
        b, c = (1.0 - ti.cos(r)) / r2, (r - ti.sin(r)) / (r2 * r)
    side = theta.cross(g)
    return g - b * side + c * theta.cross(side)
