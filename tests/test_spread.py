"""Farthest point sampling: distinct points, far from each other."""

import numpy as np
import pytest

from inverse.spread import farthest_points


def test_chosen_points_are_distinct_and_farther_apart_than_random_ones():
    points = np.random.default_rng(0).random((500, 3))
    chosen = farthest_points(points, 20)
    assert len(set(chosen)) == 20

    def nearest(index):
        gaps = np.linalg.norm(points[index][:, None] - points[index], axis=2)
        return gaps[~np.eye(len(index), dtype=bool)].min()

    assert nearest(chosen) > 3 * nearest(np.arange(20))


def test_the_first_point_is_the_outermost():
    assert farthest_points(np.array([[0.0, 0], [1, 0], [9, 0], [2, 0]]), 2).tolist() == [2, 0]


def test_points_that_coincide_are_chosen_once():
    points = np.repeat(np.eye(3), 4, axis=0)
    assert sorted(farthest_points(points, 10) // 4) == [0, 1, 2]
    assert farthest_points(np.ones((5, 2)), 3).tolist() == [0]


def test_no_points_are_refused():
    with pytest.raises(ValueError, match="points: got none"):
        farthest_points(np.zeros((0, 3)), 3)
