"""A choice of points that are spread evenly over a cloud."""

import numpy as np


# Points nearer than this to a chosen one coincide with it; squared, relative to the cloud's extent.
COINCIDENT = 1e-6


def farthest_points(points: np.ndarray, count: int) -> np.ndarray:
    """Choose up to count points that are far from each other, by farthest point sampling.

    points: (n, d). Returns their indices (k,), first that of the point farthest from the mean;
    k < count if fewer points are distinct. Raises ValueError if there are no points.
    """
    if len(points) == 0:
        raise ValueError("points: got none, expected at least one")
    chosen = [int(np.argmax(((points - points.mean(0)) ** 2).sum(1)))]
    gap = ((points - points[chosen[0]]) ** 2).sum(1)
    least = COINCIDENT * gap.max()
    while len(chosen) < count and gap.max() > least:
        chosen.append(int(gap.argmax()))
        gap = np.minimum(gap, ((points - points[chosen[-1]]) ** 2).sum(1))
    return np.array(chosen)
