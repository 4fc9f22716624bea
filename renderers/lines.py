"""Segments (m, 2, 3) m that outline boxes, circles and planes."""

from collections.abc import Sequence

import numpy as np


Vector = Sequence[float] | np.ndarray  # three numbers


def across(direction: Vector) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors (3,) across a direction (3,) and each other: right-handed with it."""
    normal = np.asarray(direction, float) / np.linalg.norm(direction)
    first = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    first /= np.linalg.norm(first)
    return first, np.cross(normal, first)


def box_lines(lower: Vector, upper: Vector) -> np.ndarray:
    """(12, 2, 3) m: the edges of a box."""
    corners = np.array(np.meshgrid(*zip(lower, upper, strict=True), indexing="ij")).reshape(3, 8).T
    pairs = [(a, a | bit) for a in range(8) for bit in (1, 2, 4) if not a & bit]
    return corners[np.array(pairs)]


def circle_lines(center: Vector, normal: Vector, radius: float, pieces: int = 48) -> np.ndarray:
    """(pieces, 2, 3) m: a circle about center (3,) m across normal (3,)."""
    first, second = across(normal)
    turn = np.linspace(0, 2 * np.pi, pieces + 1)[:, None]
    points = np.asarray(center, float) + radius * (np.cos(turn) * first + np.sin(turn) * second)
    return np.stack([points[:-1], points[1:]], axis=1)


def grid_lines(center: Vector, normal: Vector, size: float, cells: int = 10) -> np.ndarray:
    """(2 (cells + 1), 2, 3) m: a square grid on a plane, size m to each side of center."""
    first, second = across(normal)
    lines = []
    for k in np.linspace(-size, size, cells + 1):
        for a, b in ((first, second), (second, first)):
            lines.append([center + k * a - size * b, center + k * a + size * b])
    return np.array(lines)
