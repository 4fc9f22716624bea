"""The 3x3 kit against torch, where eigenvalues meet and where they do not."""

import functools
import math

import pytest
import torch

from taichi_phys import linalg
from taichi_phys.language import ti


f64 = torch.float64
vec3, mat3 = ti.types.vector(3, ti.f64), ti.types.matrix(3, 3, ti.f64)
nd = ti.types.ndarray


@ti.kernel
def eig_kernel(A: nd(mat3, 1), values: nd(vec3, 1), U: nd(mat3, 1)):
    for p in range(A.shape[0]):
        values[p], U[p] = linalg.sym_eig(A[p])


@ti.kernel
def cofactor_kernel(A: nd(mat3, 1), out: nd(mat3, 1)):
    for p in range(A.shape[0]):
        out[p] = linalg.cofactor(A[p])


@ti.kernel
def scalar_kernel(
    a: nd(ti.f64, 1), b: nd(ti.f64, 1), sinhc: nd(ti.f64, 1), difference: nd(ti.f64, 1)
):
    for p in range(a.shape[0]):
        sinhc[p] = linalg.sinhc(a[p])
        difference[p] = linalg.log_divided_difference(a[p], b[p])


@functools.cache
def strain_kernels(precision):
    """log_strain and exp_deviator over arrays, in a precision."""
    real = getattr(ti, precision)
    mat = ti.types.matrix(3, 3, real)

    @ti.kernel
    def log_strain(b: nd(mat, 1), m: nd(real, 1), e: nd(mat, 1)):
        for p in range(b.shape[0]):
            mean, deviator = linalg.log_strain(b[p])
            m[p] = mean
            e[p] = deviator

    @ti.kernel
    def exp_deviator(A: nd(mat, 1), X: nd(mat, 1)):
        for p in range(A.shape[0]):
            X[p] = linalg.exp_deviator(A[p])

    return log_strain, exp_deviator


def rotations(n):
    Q, R = torch.linalg.qr(torch.randn(n, 3, 3, dtype=f64))
    return Q * torch.linalg.det(Q)[:, None, None]


def with_spectrum(*eigenvalues, n=4):
    Q = rotations(n)
    return Q @ torch.diag(torch.tensor(eigenvalues, dtype=f64)) @ Q.mT


def symmetric(n):
    A = torch.randn(n, 3, 3, dtype=f64)
    return A + A.mT


MATRICES = {
    "random": lambda: symmetric(200),
    "two equal": lambda: with_spectrum(2.0, 2.0, 5.0),
    "two nearly equal": lambda: with_spectrum(2.0, 2.0 + 1e-9, 5.0),
    "three equal": lambda: with_spectrum(3.0, 3.0, 3.0),
    "identity": lambda: torch.eye(3, dtype=f64)[None],
    "diagonal": lambda: torch.diag(torch.tensor([3.0, -1.0, 2.0], dtype=f64))[None],
    "zero": lambda: torch.zeros(1, 3, 3, dtype=f64),
    "singular": lambda: with_spectrum(0.0, 1.0, 2.0),
    "wide": lambda: with_spectrum(1e-8, 1.0, 1e8),
    "large": lambda: 1e100 * symmetric(4),
}


@pytest.mark.parametrize("kind", MATRICES)
def test_sym_eig(kind):
    A = MATRICES[kind]()
    values, U = A.new_empty(len(A), 3), torch.empty_like(A)
    eig_kernel(A.contiguous(), values, U)
    size = A.abs().amax().item()
    expected = torch.linalg.eigvalsh(A)
    torch.testing.assert_close(values.sort().values, expected, rtol=0, atol=1e-14 * size)
    torch.testing.assert_close(U @ torch.diag_embed(values) @ U.mT, A, rtol=0, atol=1e-14 * size)
    torch.testing.assert_close(U.mT @ U, torch.eye(3, dtype=f64).expand_as(U), rtol=0, atol=1e-14)


def test_cofactor():
    A = torch.randn(20, 3, 3, dtype=f64)
    A[0], A[1, :, 0] = 0.0, 0.0  # singular matrices have one too
    out = torch.empty_like(A)
    cofactor_kernel(A, out)
    det = torch.linalg.det(A)[:, None, None]
    torch.testing.assert_close(out @ A.mT, det * torch.eye(3, dtype=f64), rtol=0, atol=1e-13)
    torch.testing.assert_close(out[1, :, 0], torch.linalg.cross(A[1, :, 1], A[1, :, 2]))


def scalars(a, b):
    a, b = torch.tensor(a, dtype=f64), torch.tensor(b, dtype=f64)
    sinhc, difference = torch.empty_like(a), torch.empty_like(a)
    scalar_kernel(a, b, sinhc, difference)
    return sinhc, difference


def test_sinhc():
    x = [0.0, 1e-300, -1e-8, 1e-4, 0.05, -0.0999999, 0.1, 0.1000001, 1.0, -5.0, 30.0]
    expected = [math.sinh(v) / v if v else 1.0 for v in x]
    got, _ = scalars(x, [1.0] * len(x))
    torch.testing.assert_close(got, torch.tensor(expected, dtype=f64), rtol=2e-13, atol=0)


def test_log_divided_difference():
    a = 1.7
    b = [a * (1 + s * 10.0**k) for k in range(-16, 0) for s in (-1, 1)]
    b += [a, 1e-6, 1e6, a * (1 + 0.0652), a * (1 + 0.0655)]  # about r^2 = 0.001
    # a - v is exact where v is close to a, so log1p gives the quotient to rounding
    logs = [math.log1p((a - v) / v) if 0.5 < v / a < 2 else math.log(a / v) for v in b]
    expected = [log / (a - v) if v != a else 1 / a for log, v in zip(logs, b, strict=True)]
    _, got = scalars([a] * len(b), b)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=f64), rtol=2e-13, atol=0)
    _, swapped = scalars(b, [a] * len(b))
    torch.testing.assert_close(swapped, got, rtol=1e-14, atol=0)


def deviators(n, size):
    A = size * symmetric(n) / 2
    return A - A.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(3, dtype=f64)


# around where series give way to the decomposition and to squaring, and far from it
SIZES = (1e-9, 1e-4, 5e-3, 0.01, 0.015, 0.03, 0.06, 0.1, 0.3, 1.0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, f64])
def test_log_strain(dtype, size):
    """ln(b) / 2 to rounding of b, for every size of strain and any volume."""
    e = deviators(500, size)
    e[0] = 0.0
    m = 0.4 * torch.randn(500, dtype=f64)
    b = torch.linalg.matrix_exp(2 * e) * torch.exp(2 * m)[:, None, None]
    got_m, got_e = torch.empty(500, dtype=dtype), torch.empty(500, 3, 3, dtype=dtype)
    name = "f64" if dtype == f64 else "f32"
    strain_kernels(name)[0](((b + b.mT) / 2).to(dtype), got_m, got_e)
    condition = torch.linalg.cond(b)  # what rounding of b does to its smallest eigenvalue
    unit = 4 * torch.finfo(dtype).eps * condition
    assert ((got_m.double() - m).abs() <= unit).all()
    assert ((got_e.double() - e).abs().amax((1, 2)) <= unit).all()
    trace = got_e.double().diagonal(dim1=1, dim2=2).sum(1)
    assert (trace.abs() <= unit).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, f64])
def test_exp_deviator(dtype, size):
    """exp(A) - I relative to A, without loss where A is small; volume is kept."""
    A = deviators(500, size).to(dtype)
    A[0] = 0.0
    X = torch.empty_like(A)
    strain_kernels("f64" if dtype == f64 else "f32")[1](A, X)
    values, U = torch.linalg.eigh(A.double())
    expected = U * torch.expm1(values)[:, None] @ U.mT
    scale = expected.abs().amax((1, 2)).clamp(min=1e-300)
    unit = 20 * torch.finfo(dtype).eps
    assert ((X.double() - expected).abs().amax((1, 2)) <= unit * scale).all()


def test_sym_eig_in_single_precision():
    real = ti.f32
    mat, vec = ti.types.matrix(3, 3, real), ti.types.vector(3, real)

    @ti.kernel
    def eig(A: nd(mat, 1), values: nd(vec, 1), U: nd(mat, 1)):
        for p in range(A.shape[0]):
            values[p], U[p] = linalg.sym_eig(A[p])

    near = torch.eye(3, dtype=f64) + 1e-6 * symmetric(200)
    A = torch.cat([symmetric(200), near, *(MATRICES[k]() for k in ("two nearly equal", "zero"))])
    A = A.float()
    values, U = A.new_empty(len(A), 3), torch.empty_like(A)
    eig(A, values, U)
    values, U = values.double(), U.double()
    size = A.abs().amax((1, 2)).double()[:, None, None]
    rebuilt = U @ torch.diag_embed(values) @ U.mT
    assert ((rebuilt - A.double()).abs() <= 2e-6 * size).all()
    assert (U.mT @ U - torch.eye(3, dtype=f64)).abs().max() < 2e-6
