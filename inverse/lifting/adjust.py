"""Where late keypoints lie and how the body moves as a whole, found together.

Found in turn, each would keep the other's error: a far side that is a little too large is a little
too far away, in every frame. This is bundle adjustment (Triggs et al. 1999) on a body that bends:
the motion of a lift is corrected by a rigid motion per frame, together with the rest positions.
"""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from inverse.lifting.anchor import CAUCHY, LEAST_SIGMA, SURPRISE, carriers, reprojection
from inverse.lifting.energy import TrackedView
from inverse.lifting.rigid import MEDIAN_LENGTH
from inverse.lifting.smoothness import MAD_TO_SIGMA
from taichi_phys.geometry.repair import Triangles


ROUNDS = 12  # of Gauss-Newton
SHORTEST = 1e-5  # of the body's size: a shorter step is the last
SAMPLES = 20000  # of a surface
CLOSE = 5e-3  # of the body's size: no point is known to lie closer to a surface
STEADY = 0.05  # how much a correction usually changes in a frame: rad, and of the body's size


def adjust(
    views: Sequence[TrackedView],
    points0: np.ndarray,
    late: np.ndarray,
    motion: np.ndarray,
    surface: Triangles | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Corrected positions in frame 0, (N, 3) m, and motion, (T, N, 3) m, of all keypoints.

    views: tracks of the keypoints and the camera of each frame; points0: (N, 3) m in frame 0;
    late: (n,) indices of those that were not seen there; motion: (T, N, 3) m; surface: of the body
    in frame 0, which the late ones lie on as closely as on median they are found to: the far side
    of a body may be a guess.
    """
    X, rest = motion.copy(), points0.copy()
    frames, count = X.shape[:2]
    size = float(np.linalg.norm(points0.std(axis=0)))
    slot = np.full(count, -1)
    slot[late] = np.arange(len(late))
    own = np.arange(count)
    turn = carriers(rest, rest, X, own).turn
    moved = np.zeros((len(late), 3))  # m, from where they were at first
    D = np.diff(np.eye(frames), axis=0)
    scale = np.diag([STEADY] * 3 + [STEADY * size] * 3)
    steady = np.kron(D.T @ D, np.linalg.inv(scale**2))
    skin = None if surface is None else _samples(surface)
    shift = np.zeros((frames, 6))  # of each frame so far; its steps are what is kept small
    for _ in range(ROUNDS):
        A, a = np.zeros((frames, 6, 6)), np.zeros((frames, 6))
        B = np.zeros((frames, 6, len(late), 3))
        C = np.tile(np.eye(3) / (SURPRISE * size) ** 2, (len(late), 1, 1))
        c = moved / (SURPRISE * size) ** 2
        if skin is not None:
            near = skin[0].query(rest[late])[1]
            normal = skin[1][near]
            above = ((rest[late] - skin[0].data[near]) * normal).sum(axis=1)
            width = max(MAD_TO_SIGMA * float(np.median(np.abs(above))), CLOSE * size)
            C += normal[:, :, None] * normal[:, None] / width**2
            c = c + (above / width**2)[:, None] * normal
        center = X.mean(axis=1)
        sigma = _sigma(views, X)
        for tracks, cameras in views:
            for t in range(1, frames):
                seen = np.flatnonzero(tracks.visible[t])
                if len(seen) == 0:
                    continue
                x = X[t, seen]
                r, J = reprojection(cameras[t], x, tracks.xy[t, seen])
                root = np.sqrt(1 / (1 + (r**2).sum(1) / (CAUCHY * sigma) ** 2)) / sigma
                r, J = r * root[:, None], J * root[:, None, None]
                arm = np.cross(np.eye(3)[None], (x - center[t])[:, None])  # d x / d angle
                G = np.concatenate([J @ np.swapaxes(arm, 1, 2), J], axis=2)
                A[t] += np.einsum("nai,naj->ij", G, G)
                a[t] += np.einsum("nai,na->i", G, r)
                own_slot = slot[seen]
                is_late = own_slot >= 0
                k, P = own_slot[is_late], J[is_late] @ turn[t, seen[is_late]]
                C[k] += np.einsum("nai,naj->nij", P, P)
                c[k] += np.einsum("nai,na->ni", P, r[is_late])
                B[t, :, k] += np.einsum("nai,naj->nij", G[is_late], P)
        whole = steady.copy()
        for t in range(frames):
            whole[6 * t : 6 * t + 6, 6 * t : 6 * t + 6] += A[t]
        b = a.ravel() + steady @ shift.ravel()
        whole[:6] = whole[:, :6] = 0  # frame 0 stays
        whole[:6, :6], b[:6] = np.eye(6), 0
        inverse = np.linalg.inv(C)
        BC = np.einsum("tank,nkl->tanl", B, inverse).reshape(6 * frames, -1)
        flat = B.reshape(6 * frames, -1)
        step = -np.linalg.solve(whole - BC @ flat.T, b - BC @ c.ravel())
        along = -np.einsum("nkl,nl->nk", inverse, c + (flat.T @ step).reshape(-1, 3))
        step = step.reshape(frames, 6)
        rest[late] += along
        moved += along
        shift += step
        Q = Rotation.from_rotvec(step[:, :3]).as_matrix()
        X[:, late] += np.einsum("tnij,nj->tni", turn[:, late], along)
        X = np.einsum("tij,tnj->tni", Q, X - center[:, None]) + (center + step[:, 3:])[:, None]
        turn = Q[:, None] @ turn
        if max(np.abs(along).max(initial=0), np.abs(step[:, 3:]).max()) < SHORTEST * size:
            break
    return rest, X


def _samples(surface: Triangles) -> tuple[cKDTree, np.ndarray]:
    """Points spread over a surface, in a tree, and its normal (n, 3) at each."""
    corners = surface.vertices[surface.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    # About as many in each part of the surface, in the same places in every run.
    face = np.searchsorted(np.cumsum(area), (np.arange(SAMPLES) + 0.5) / SAMPLES * area.sum())
    a, b = np.random.default_rng(0).uniform(size=(2, SAMPLES, 1))
    a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
    p, q, r = np.moveaxis(corners[face], 1, 0)
    return cKDTree(p + a * (q - p) + b * (r - p)), cross[face] / area[face, None]


def _sigma(views: Sequence[TrackedView], X: np.ndarray) -> float:
    """Usual distance, px, of tracks from where a motion (T, N, 3) m puts their points."""
    off = []
    for tracks, cameras in views:
        for t in range(1, len(X)):
            seen = tracks.visible[t]
            off.append(
                np.linalg.norm(cameras[t].project(X[t, seen])[0] - tracks.xy[t, seen], axis=1)
            )
    return max(float(np.median(np.concatenate(off))) / MEDIAN_LENGTH, 0.1 * LEAST_SIGMA)
