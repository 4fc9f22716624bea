"""Farthest point sampling: distinct points, far from each other."""

import numpy as np
import pytest

from inverse.spread import farthest_points


def test_chosen_points_are_distinct_and_apart():
    points = np.random.default_rng(0).random((500, 3))
    chosen = points[farthest_points(points, 20)]
    gaps = np.linalg.norm(chosen[:, None] - chosen, axis=2)[~np.eye(20, dtype=bool)]
    assert gaps.min() > 0.2


def test_the_first_point_is_the_outermost():
    assert farthest_points(np.array([[0.0, 0], [1, 0], [9, 0], [2, 0]]), 2).tolist() == [2, 0]


def test_points_that_coincide_are_chosen_once():
    points = np.repeat(np.eye(3), 4, axis=0)
    assert sorted(farthest_points(points, 10) // 4) == [0, 1, 2]
    assert farthest_points(np.ones((5, 2)), 3).tolist() == [0]


def test_no_points_are_refused():
    with pytest.raises(ValueError, match="points: got none"):
        farthest_points(np.zeros((0, 3)), 3)
