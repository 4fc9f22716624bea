"""Rotations as matrices and quaternions, for numpy arrays and torch tensors.

Quaternions are (w, x, y, z). taichi_phys.rigid.rotation has the functions for Taichi's kernels.
"""

from typing import Any, TypeVar

import numpy as np
import torch


Array = TypeVar("Array", np.ndarray, torch.Tensor)


def rotation_matrix(quats: Array) -> Array:
    """Rotation matrices (..., 3, 3) of quaternions (..., 4) wxyz, which need not be of unit length.

    The result is differentiable if quats is a tensor. A zero quaternion gives the identity.
    """
    if isinstance(quats, torch.Tensor):
        unit = torch.nn.functional.normalize(quats, dim=-1)
        return torch.stack(_entries(*unit.unbind(-1)), -1).reshape(*quats.shape[:-1], 3, 3)
    unit = quats / np.maximum(np.linalg.norm(quats, axis=-1, keepdims=True), 1e-300)
    return np.stack(_entries(*np.moveaxis(unit, -1, 0)), -1).reshape(*quats.shape[:-1], 3, 3)


def _entries(w: Any, x: Any, y: Any, z: Any) -> list[Any]:
    """Entries of the rotation matrix of a unit quaternion, row by row."""
    return [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]


def rotation_quaternion(matrices: np.ndarray) -> np.ndarray:
    """Unit quaternions (n, 4), wxyz with w >= 0, of rotation matrices (n, 3, 3).

    The result is accurate at every angle, since each quaternion is computed by the formula that
    divides by its largest component.
    """
    m = matrices
    w = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    diagonal = np.einsum("naa->na", m)
    size = np.sqrt(np.maximum(1 + diagonal @ w.T, 0)) / 2  # |w|, |x|, |y|, |z|
    largest = size.argmax(axis=1)
    a, b, c = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    d, e, f = m[:, 0, 1] + m[:, 1, 0], m[:, 0, 2] + m[:, 2, 0], m[:, 1, 2] + m[:, 2, 1]
    s = 4 * size**2
    table = np.stack(
        [
            np.stack([s[:, 0], a, b, c], 1),
            np.stack([a, s[:, 1], d, e], 1),
            np.stack([b, d, s[:, 2], f], 1),
            np.stack([c, e, f, s[:, 3]], 1),
        ],
        axis=1,
    )
    q = table[np.arange(len(m)), largest]
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    return q * np.where(q[:, :1] < 0, -1.0, 1.0)


def nearest_rotation(matrices: Array) -> Array:
    """The rotations (..., 3, 3), with determinant 1, nearest to matrices (..., 3, 3).

    The distance is the Frobenius norm; the method is the singular value decomposition A = U S V^T
    (Kabsch 1976). Where det A > 0, the result is the polar factor U V^T; where det A < 0, the
    direction that A stretches least is reversed. Where the rank of A is below 2, several rotations
    are equally near, and the result is one of these. For A = sum_i b_i a_i^T, the result is the
    rotation R that minimizes sum_i |R a_i - b_i|^2.
    """
    if isinstance(matrices, torch.Tensor):
        U, _, Vt = torch.linalg.svd(matrices)
        turn = torch.linalg.det(U @ Vt).sign()
        return torch.cat([U[..., :2], U[..., 2:] * turn[..., None, None]], dim=-1) @ Vt
    U, _, Vt = np.linalg.svd(matrices)
    U[..., 2] *= np.sign(np.linalg.det(U @ Vt))[..., None]
    return U @ Vt
