"""Edges by which something holds a sheet, found from where its motion goes to zero."""

import numpy as np
import pytest

import taichi_phys as tp
from inverse.wind.edges import held_edge


SHEET, _ = tp.sample_box((0, 0, 0), (0.9, 0.02, 0.6), spacing=0.02)
POINTS = np.random.default_rng(0).uniform((0.04, 0, 0.02), (0.88, 0, 0.58), (80, 3))
T = np.arange(36) / 24
SIGMA = 0.33  # px
CARRIED = 7.0  # odds of a sheet that stays in its place against its weight


def waves(reach: np.ndarray, most: float = 12.0) -> np.ndarray:
    """Motion (T, k, 2) px that is at most about so large, at places of a reach (k,) from 0 to 1."""
    over, along = np.sin(5 * T - 0.4), np.cos(9 * T)
    size = over[:, None] + 0.6 * along[:, None] * np.cos(6 * POINTS[:, 2] + 2 * POINTS[:, 0])
    off = most * (size * reach)[..., None] * [1.0, 0.5]
    return off - off[0]


def found(off: np.ndarray, odds: float = 0.0, **views: np.ndarray) -> np.ndarray:
    """What is held of the sheet, with drift of its points."""
    rng = np.random.default_rng(1)
    drift = rng.normal(0, 0.2, (len(POINTS), 2)) * np.linspace(0, 1, len(off))[:, None, None]
    seen = np.stack([view + drift for view in (off, *views.values())])
    return held_edge(SHEET, POINTS, seen, SIGMA, odds=odds)


def test_the_pole_of_a_flag_is_found_though_no_point_near_it_stays_still():
    off = waves(POINTS[:, 0] / 0.9)
    off[8:, POINTS[:, 0] > 0.6] = np.nan  # where it is fast, it is soon lost
    held = found(off, odds=CARRIED)
    at_pole = SHEET[:, 0] < 0.02
    assert held[at_pole].mean() > 0.9 and not held[SHEET[:, 0] > 0.05].any()


def test_two_corners_at_which_a_cloth_is_pinned_are_found_and_nothing_between_them():
    corners = np.array([[0, 0, 0.6], [0.9, 0, 0.6]])
    away = np.linalg.norm(POINTS[:, None] - corners, axis=2).min(axis=1)
    held = found(waves(away / 0.75), odds=CARRIED)
    assert held.any()
    assert np.linalg.norm(SHEET[held][:, None] - corners, axis=2).min(axis=1).max() < 0.06
    assert all(np.linalg.norm(SHEET[held] - corner, axis=1).min() < 0.03 for corner in corners)


@pytest.mark.parametrize("line", [0.2, 0.45, 0.7])
def test_nothing_holds_a_sheet_that_turns_about_a_line_across_it(line):
    assert not found(waves((POINTS[:, 0] - line) / 0.5)).any()


@pytest.mark.parametrize("shift", [0.3, 1.0, 4.0])
def test_nothing_holds_a_sheet_all_of_whose_edges_move(shift):
    assert not found(waves(POINTS[:, 0] / 0.9 + shift)).any()


def test_what_hardly_moves_shows_its_edge_where_all_else_says_that_it_is_held():
    off = waves(POINTS[:, 0] / 0.9, most=2.5)
    assert not found(off).any()
    assert found(off, odds=CARRIED)[SHEET[:, 0] < 0.02].mean() > 0.8
    assert not found(waves(POINTS[:, 0] / 0.9 + 1), odds=CARRIED).any()


def test_an_edge_that_a_second_view_sees_move_is_not_held():
    """It moves along the axis of the first."""
    first = waves(POINTS[:, 0] / 0.9)
    assert found(first, second=first).any()
    assert not found(first, second=waves(1 + 0 * POINTS[:, 0])).any()
