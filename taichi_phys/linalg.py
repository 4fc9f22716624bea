"""3x3 kit as Taichi functions, generic in precision; derivatives are exact, without clamps."""

import taichi as ti


JACOBI_SWEEPS = 5  # quadratic convergence: 5 reach rounding in f64 for any symmetric 3x3


@ti.func
def sym(A):
    """Symmetric part of A."""
    return 0.5 * (A + A.transpose())


@ti.func
def cofactor(A):
    """Cofactor matrix det(A) A^-T, defined for singular A too."""
    r = ti.zero(A)
    for i, j in ti.static(ti.ndrange(3, 3)):
        a, b, c, d = ti.static((i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3)
        r[i, j] = A[a, c] * A[b, d] - A[a, d] * A[b, c]
    return r


@ti.func
def sym_eig(A):
    """Eigenvalues and eigenvectors U (columns) of symmetric A.

    Cyclic Jacobi with a fixed number of sweeps: no branches on the data, half the cost of ti.svd.
    """
    D = A
    U = ti.zero(A)
    for i in ti.static(range(3)):
        U[i, i] += 1.0
    for _ in range(JACOBI_SWEEPS):
        for p, q in ti.static(((0, 1), (0, 2), (1, 2))):
            k = ti.static(3 - p - q)
            # t = tan of the rotation that zeroes D[p, q]; the smaller root, written without
            # cancellation: t = 2 d / (|g| + sqrt(g^2 + 4 d^2)) sign(g)
            g = D[q, q] - D[p, p]
            d = 2.0 * D[p, q]
            size = ti.abs(g) + ti.sqrt(g * g + d * d)
            t = ti.zero(g)
            if size > 0:
                t = d / size
            if g < 0:
                t = -t
            c = 1.0 / ti.sqrt(t * t + 1.0)
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
def sinhc(x):
    """sinh(x) / x, 1 at x = 0."""
    x2 = x * x
    r = 1.0 + x2 / 6.0 * (1.0 + x2 / 20.0 * (1.0 + x2 / 42.0))
    if x2 > 0.01:
        r = 0.5 * (ti.exp(x) - ti.exp(-x)) / x
    return r


@ti.func
def log_divided_difference(a, b):
    """(ln a - ln b) / (a - b), and 1/a where a = b (a, b > 0).

    ln(a/b) = 2 artanh(r) with r = (a - b)/(a + b), so no cancellation at a = b.
    """
    r = (a - b) / (a + b)
    r2 = r * r
    # sum r^2k / (2k + 1); every literal is exact in f32, so f64 keeps its precision
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
