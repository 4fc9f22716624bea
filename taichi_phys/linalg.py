"""Functions of 3x3 matrices in Taichi, generic in precision, with exact derivatives.

No derivative is clamped where eigenvalues meet; see `log_divided_difference`.
"""

import math
from collections.abc import Mapping
from typing import Any

from taichi_phys.language import ti


JACOBI_SWEEPS = 8  # a limit: convergence is quadratic, 3 to 5 sweeps reach rounding
ROUNDING = {"f32": 2.0**-24, "f64": 2.0**-53}
# Power series of a traceless Y whose eigenvalues are at most REACH in size: the first omitted term
# of ln(1 + y) is y^TERMS / TERMS times the first term, which is rounding; exp(y) - 1 converges
# faster.
REACH = {"f32": 0.25, "f64": 0.05}
TERMS = 12
FACTORIAL = tuple(math.factorial(n) for n in range(TERMS))


def of_type(table: Mapping[str, Any], x: Any) -> Any:
    """The entry of table for the type of the Taichi scalar x; only for use inside ti.static."""
    return table[str(x.ptr.get_rvalue_type())]


@ti.func
def sym(A):
    """Symmetric part of A."""
    return 0.5 * (A + A.transpose())


@ti.func
def cofactor(A):
    """Cofactor matrix det(A) A^-T, which is defined for singular A too."""
    r = ti.zero(A)
    for i, j in ti.static(ti.ndrange(3, 3)):
        a, b, c, d = ti.static((i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3)
        r[i, j] = A[a, c] * A[b, d] - A[a, d] * A[b, c]
    return r


@ti.func
def sym_eig(A):
    """Eigenvalues and eigenvectors (the columns of U) of a symmetric A, by cyclic Jacobi rotations.

    The sweeps stop when the entries off the diagonal are below rounding of the largest eigenvalue.
    """
    D = A
    U = ti.zero(A)
    for i in ti.static(range(3)):
        U[i, i] += 1.0
    largest = ti.max(ti.abs(D[0, 0]), ti.abs(D[1, 1]), ti.abs(D[2, 2]))
    sweep = 0
    while sweep < JACOBI_SWEEPS:
        rest = ti.max(ti.abs(D[0, 1]), ti.abs(D[0, 2]), ti.abs(D[1, 2]))
        largest = ti.max(largest, rest)
        if rest <= ti.static(of_type(ROUNDING, largest)) * largest:
            break
        sweep += 1
        for p, q in ti.static(((0, 1), (0, 2), (1, 2))):
            k = ti.static(3 - p - q)
            # t is the tangent of the rotation that zeroes D[p, q], the smaller of two roots:
            # t = d / (|g| + h) sign(g) with h = sqrt(g^2 + d^2), which does not cancel
            g = D[q, q] - D[p, p]
            d = 2.0 * D[p, q]
            h = ti.sqrt(g * g + d * d)
            if h > 0:
                size = ti.abs(g) + h
                t = ti.select(g < 0, -d, d) / size
                c = ti.sqrt(size / (2.0 * h))  # = 1 / sqrt(1 + t^2)
                s = t * c
                D[p, p] -= t * D[p, q]
                D[q, q] += t * D[p, q]
                D[p, q] = ti.zero(g)
                D[q, p] = ti.zero(g)
                kp, kq = D[k, p], D[k, q]
                D[k, p] = c * kp - s * kq
                D[p, k] = D[k, p]
                D[k, q] = s * kp + c * kq
                D[q, k] = D[k, q]
                for r in ti.static(range(3)):
                    up, uq = U[r, p], U[r, q]
                    U[r, p] = c * up - s * uq
                    U[r, q] = s * up + c * uq
    eigenvalues = ti.Vector([D[0, 0], D[1, 1], D[2, 2]])
    return eigenvalues, U


@ti.func
def log_strain(b):
    """Mean m and deviator e of the logarithmic strain ln(b) / 2 of b = F F^T.

    With c = tr(b) / 3 and the traceless Y = b / c - I, ln b = ln c I + sum (-1)^(n+1) Y^n / n.
    By Cayley-Hamilton, Y^3 = J2 Y + J3 I, the sum becomes p Y^2 + q Y + r I. That costs a fifth of
    an eigendecomposition, which is used for large strains only.
    """
    one = ti.zero(b[0, 0]) + 1.0
    c = b.trace() / 3.0
    Y = b / c
    for d in ti.static(range(3)):
        Y[d, d] -= 1.0
    Y2 = Y @ Y
    J2 = 0.5 * Y2.trace()
    m, e = ti.zero(c), ti.zero(b)
    reach = ti.static(of_type(REACH, c))
    if J2 * 4.0 / 3.0 < reach * reach:  # bounds the largest eigenvalue of Y
        J3 = Y.determinant()
        p, q, r = ti.zero(c), ti.zero(c), ti.zero(c)
        for n in ti.static(range(TERMS, 0, -1)):
            p, q, r = q, r + J2 * p, J3 * p + one / (2 * n if n % 2 else -2 * n)
        p, q, r = q, r + J2 * p, J3 * p  # the sum above began at Y^0 / 2
        mean = J2 * p * 2.0 / 3.0  # the mean of p Y^2
        m = 0.5 * ti.log(c) + mean + r
        e = p * Y2 + q * Y
        for d in ti.static(range(3)):
            e[d, d] -= mean
    else:
        eig, U = sym_eig(b)
        eps = 0.5 * ti.log(eig)
        m = eps.sum() / 3.0
        e = from_eigenframe(U, diagonal(eps - m))
    return m, e


@ti.func
def exp_deviator(A):
    """exp(A) - I of a symmetric, traceless A, by the series of log_strain and repeated squaring."""
    one = ti.zero(A[0, 0]) + 1.0
    Y = A
    reach = ti.static(of_type(REACH, one))
    size2 = (A * A).sum() * 2.0 / 3.0  # bounds its largest eigenvalue, squared
    halvings = 0
    while size2 > reach * reach and halvings < 20:  # the limit ends the loop for an infinite A
        size2 *= 0.25
        Y *= 0.5
        halvings += 1
    Y2 = Y @ Y
    J2, J3 = 0.5 * Y2.trace(), Y.determinant()
    p, q, r = ti.zero(J2), ti.zero(J2), ti.zero(J2)
    for n in ti.static(range(TERMS - 3, 0, -1)):
        p, q, r = q, r + J2 * p, J3 * p + one / FACTORIAL[n]
    p, q, r = q, r + J2 * p, J3 * p
    X = p * Y2 + q * Y
    for d in ti.static(range(3)):
        X[d, d] += r
    for _ in range(halvings):
        X = 2.0 * X + X @ X  # exp(2 Y) - 1 = (exp(Y) - 1) (exp(Y) + 1)
    return X


@ti.func
def diagonal(v):
    """Matrix with v on its diagonal."""
    return ti.Matrix([[v[0], 0.0, 0.0], [0.0, v[1], 0.0], [0.0, 0.0, v[2]]])


@ti.func
def sinhc(x):
    """sinh(x) / x, which is 1 at x = 0."""
    x2 = x * x
    r = 1.0 + x2 / 6.0 * (1.0 + x2 / 20.0 * (1.0 + x2 / 42.0))
    if x2 > 0.01:
        r = 0.5 * (ti.exp(x) - ti.exp(-x)) / x
    return r


@ti.func
def log_divided_difference(a, b):
    """(ln a - ln b) / (a - b) for a, b > 0, and its limit 1/a where a = b.

    With ln(a/b) = 2 artanh(r) and r = (a - b)/(a + b), nothing cancels at a = b.
    """
    r = (a - b) / (a + b)
    r2 = r * r
    # The sum of r^2k / (2k + 1). Every literal is exact in f32, so that f64 keeps its precision.
    artanhc = 1.0 + r2 / 3.0 * (
        1.0 + r2 * 3.0 / 5.0 * (1.0 + r2 * 5.0 / 7.0 * (1.0 + r2 * 7.0 / 9.0))
    )
    if r2 > 0.001:
        artanhc = 0.5 * ti.log(a / b) / r
    return 2.0 * artanhc / (a + b)


@ti.func
def from_eigenframe(U, A):
    """U A U^T."""
    return U @ A @ U.transpose()


@ti.func
def to_eigenframe(U, A):
    """U^T A U."""
    return U.transpose() @ A @ U
