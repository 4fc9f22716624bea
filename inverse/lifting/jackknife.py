"""How uncertain a lift is: how it moves when a block of its tracks is left out.

Tracks err in ways that last for many frames and that neighbors share, by shading, slant and edges,
so that their jitter says little of how wrong a motion is. The block jackknife (Kuensch 1989) needs
no model of these errors: keypoints are parted into blocks of neighbors, and the motion is found
again without each of them in each view. Its covariance over B blocks is

    (B - 1) / B  sum_b (C_b - mean C) (C_b - mean C)^T.

Depth that one view hardly sees, parts that few tracks cover and frames in which many are lost move
most. What all blocks have in common does not show and is taken to be as large, so that the
covariance is twice that. Each motion is one Gauss-Newton step from that of all tracks.
"""

import copy
import dataclasses

import numpy as np
from scipy.spatial import cKDTree

from inverse.lifting.energy import LiftEnergy
from inverse.spread import farthest_points


BLOCKS = 6  # of keypoints
COMMON = 2.0  # of the variance: errors that all blocks share beside those that differ


def block_shifts(energy: LiftEnergy, nodes: np.ndarray) -> np.ndarray:
    """(B, T, M, 3) m: by how much a solution, nodes (T, M, 3) m, moves without each block of
    tracks, scaled so that the sum of their squares is its variance."""
    views = len(energy.views)
    points = energy.points0
    centers = points[farthest_points(points, min(BLOCKS, len(points)))]
    label = cKDTree(centers).query(points)[1]
    shifts = []
    for view in range(views):
        for block in range(len(centers)):
            rest = _without(energy, view, label == block)
            blocks, gradient = rest.linearize(nodes)
            try:
                shifts.append(energy.solve(blocks, gradient, 1e-6))
            except np.linalg.LinAlgError:  # what is left does not fix the motion
                continue
    if len(shifts) < 2:
        return np.zeros((0, *nodes.shape))
    found = np.stack(shifts)
    return (found - found.mean(axis=0)) * np.sqrt(COMMON * (len(found) - 1) / len(found))


def _without(energy: LiftEnergy, view: int, block: np.ndarray) -> LiftEnergy:
    """The same energy without the tracks of keypoints block (N,) bool in a view."""
    views = list(energy.views)
    tracks, cameras = views[view]
    views[view] = (dataclasses.replace(tracks, visible=tracks.visible & ~block), cameras)
    rest = copy.copy(energy)
    rest.views = views
    return rest
