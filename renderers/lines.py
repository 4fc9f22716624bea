"""Segments (m, 2, 3) m of boxes, circles and grids on planes."""

from collections.abc import Sequence

import numpy as np


Vector = Sequence[float] | np.ndarray  # three numbers


def across(direction: Vector) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors (3,) at right angles to a direction (3,) and to each other.

    The two and the direction, in this order, are right-handed.
    """
    normal = np.asarray(direction, float) / np.linalg.norm(direction)
    first = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    first /= np.linalg.norm(first)
    return first, np.cross(normal, first)


def box_lines(lower: Vector, upper: Vector) -> np.ndarray:
    """The edges (12, 2, 3) m of the box between corners lower (3,) m and upper (3,) m."""
    corners = np.array(np.meshgrid(*zip(lower, upper, strict=True), indexing="ij")).reshape(3, 8).T
    pairs = [(a, a | bit) for a in range(8) for bit in (1, 2, 4) if not a & bit]
    return corners[np.array(pairs)]


def circle_lines(center: Vector, normal: Vector, radius: float, pieces: int = 48) -> np.ndarray:
    """A circle (pieces, 2, 3) m about center (3,) m across normal (3,); radius: m."""
    first, second = across(normal)
    turn = np.linspace(0, 2 * np.pi, pieces + 1)[:, None]
    points = np.asarray(center, float) + radius * (np.cos(turn) * first + np.sin(turn) * second)
    return np.stack([points[:-1], points[1:]], axis=1)


def grid_lines(center: Vector, normal: Vector, size: float, cells: int = 10) -> np.ndarray:
    """A square grid (2 (cells + 1), 2, 3) m in the plane across normal (3,).

    center: (3,) m; size: half the side of the grid, m; cells: number of cells along a side.
    """
    first, second = across(normal)
    lines = []
    for k in np.linspace(-size, size, cells + 1):
        for a, b in ((first, second), (second, first)):
            lines.append([center + k * a - size * b, center + k * a + size * b])
    return np.array(lines)
