"""Points that follow the nearest of a cloud of points, exactly for affine motions."""

import numpy as np
from scipy.spatial import cKDTree


AROUND = 12  # points of the cloud that a point between them follows
RIDGE = 1e-9  # of the moments of neighbors, which may lie in a plane


def affine_weights(cloud: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbors (N, k) of points (N, 3) m in a cloud (n, 3) m, and their weights (N, k).

    Weights are smooth in the points and exact for affine functions where the neighbors extend in
    all directions (moving least squares).
    """
    near, terms, moment = _moments(cloud, points)
    first = np.linalg.solve(moment, np.tile(np.eye(4)[:, :1], (len(points), 1, 1)))[..., 0]
    return near, np.einsum("nka,na->nk", terms[0], first) * terms[1]


def affine_slopes(cloud: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, k, 3) 1/m: the slopes of affine_weights by the point, its neighbors and bumps held.

    With x (n, 3) m, the cloud after a motion, sum_k x[near_k] slopes_k^T is the deformation
    gradient at each point.
    """
    near, (A, bump, reach), moment = _moments(cloud, points)
    rest = np.linalg.solve(moment, np.tile(np.eye(4)[:, 1:], (len(points), 1, 1)))
    return np.einsum("nka,nab->nkb", A, rest) * bump[..., None] / reach[..., None]


def _moments(
    cloud: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    gap, near = cKDTree(cloud).query(points, min(AROUND, len(cloud)))
    reach = 1.1 * np.maximum(gap[:, -1:], 1e-300)
    bump = (1 - (gap / reach) ** 2) ** 2
    A = np.concatenate(
        [np.ones((*near.shape, 1)), (cloud[near] - points[:, None]) / reach[..., None]], 2
    )
    moment = np.einsum("nka,nk,nkb->nab", A, bump, A)
    moment += RIDGE * np.trace(moment, axis1=1, axis2=2)[:, None, None] * np.diag([0, 1, 1, 1])
    return near, (A, bump, reach), moment
