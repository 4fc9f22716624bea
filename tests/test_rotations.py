"""Quaternions to matrices and the nearest rotation, the same for numpy and torch."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from taichi_phys.rotations import nearest_rotation, rotation_matrix, rotation_quaternion


KINDS = {"numpy": np.asarray, "torch": torch.as_tensor}
LIMIT = 100 * np.finfo(np.float64).eps


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,)])
def test_matrices_of_quaternions_agree_with_scipy(rng, kind, shape):
    quats = rng.standard_normal((*shape, 4))
    found = rotation_matrix(KINDS[kind](quats))
    assert type(found) is type(KINDS[kind](quats)) and tuple(found.shape) == (*shape, 3, 3)
    flat = quats.reshape(-1, 4)
    if len(flat):
        expected = Rotation.from_quat(flat, scalar_first=True).as_matrix()
        np.testing.assert_allclose(np.asarray(found).reshape(-1, 3, 3), expected, atol=LIMIT)


@pytest.mark.parametrize("kind", KINDS)
def test_a_zero_quaternion_is_the_identity(kind):
    np.testing.assert_array_equal(rotation_matrix(KINDS[kind](np.zeros(4))), np.eye(3))


def test_matrices_of_quaternions_have_gradients(rng):
    quats = torch.as_tensor(rng.standard_normal((3, 4))).requires_grad_()
    assert torch.autograd.gradcheck(rotation_matrix, quats)


@pytest.mark.parametrize("kind", KINDS)
def test_the_nearest_rotation_is_the_polar_part(rng, kind):
    R = Rotation.random(20, rng=rng).as_matrix().reshape(4, 5, 3, 3)
    stretch = rng.standard_normal((4, 5, 3, 3))
    stretch = np.eye(3) + stretch @ np.swapaxes(stretch, -1, -2)
    found = nearest_rotation(KINDS[kind](R @ stretch))
    np.testing.assert_allclose(found, R, atol=100 * LIMIT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(3, 2, 1), (3, 2, -1), (1, 1, 0), (1, 0, 0), (0, 0, 0)])
def test_no_rotation_is_nearer_and_its_determinant_is_one(rng, kind, sizes):
    U, V = Rotation.random(2, rng=rng).as_matrix()
    A = U @ np.diag(sizes) @ V.T
    found = np.asarray(nearest_rotation(KINDS[kind](A)))
    assert np.linalg.det(found) == pytest.approx(1)
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=LIMIT)
    others = Rotation.random(2000, rng=rng).as_matrix()
    least = np.linalg.norm(others - A, axis=(1, 2)).min()
    assert np.linalg.norm(found - A) <= least + LIMIT


def test_it_does_not_write_into_its_argument(rng):
    A = rng.standard_normal((4, 3, 3))
    before = A.copy()
    nearest_rotation(A)
    nearest_rotation(torch.as_tensor(A))
    np.testing.assert_array_equal(A, before)


def test_quaternions_of_matrices_turn_back_into_them():
    turns = Rotation.random(200, random_state=4).as_matrix()
    half = Rotation.from_rotvec(np.pi * np.eye(3)).as_matrix()  # w = 0, where one formula divides
    matrices = np.concatenate([turns, half, np.eye(3)[None]])
    quats = rotation_quaternion(matrices)
    np.testing.assert_allclose(np.linalg.norm(quats, axis=1), 1, atol=LIMIT)
    assert (quats[:, 0] >= 0).all()
    np.testing.assert_allclose(rotation_matrix(quats), matrices, atol=LIMIT)
