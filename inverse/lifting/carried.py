"""What is known of keypoints that are out of sight, from those that are seen."""

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.spatial import cKDTree

from inverse.lifting.energy import MIN_TRACKS
from inverse.lifting.quality import SEEN
from inverse.lifting.rigid import motion_between
from inverse.lifting.solve import Lifted
from renderers.camera import Camera


# Confidence of a keypoint on the far side of a rigid body, and by how much a body may bend, of its
# size, until it is half of that.
CARRIED, BEND = 0.5, 0.02
# Of the object's width, and px: how far outside of its silhouette a hidden keypoint may be.
RIM, RIM_PX = 0.04, 3


def carried(points0: np.ndarray, lifted: Lifted, pixel: float) -> np.ndarray:
    """How well hidden keypoints are known from those that are seen: (T, N) in 0..1/2.

    A body that hardly bends carries its far side along. By how much it bends over its whole size is
    measured where it is seen, with what its motion misses there, and is the less the nearer
    something is that is seen. A frame in which fewer than 8 keypoints are seen carries nothing.

    points0: (N, 3) m, in frame 0; pixel: m, the size of a pixel on the body.
    """
    seen = lifted.confidence >= SEEN
    size = float(np.linalg.norm(points0.std(axis=0)))
    known = np.zeros(seen.shape)
    off, gaps = [], []
    for t in np.flatnonzero(seen.sum(axis=1) >= MIN_TRACKS):
        x, rest = lifted.points[t, seen[t]], points0[seen[t]]
        off.append(np.linalg.norm(motion_between(rest, x).move(rest) - x, axis=1))
        gaps.append((t, cKDTree(rest).query(points0)[0]))
    if off:
        missed = np.nan_to_num(lifted.reprojection_px[:, 0]) * pixel
        square = np.mean(np.concatenate(off) ** 2) + np.mean(missed**2)
        bends = float(np.sqrt(square)) / size
        for t, gap in gaps:
            known[t] = CARRIED / (1 + (bends * gap / (BEND * size)) ** 2)
    return known


def covered(points: np.ndarray, path: Sequence[Camera], masks: Sequence[np.ndarray]) -> np.ndarray:
    """Whether points (T, N, 3) m are where a view shows the object: (T, N) bool.

    masks: (H, W) bool, its pixels in the first frames; later on it is not known, so that nothing is
    there; without any, all may be.
    """
    inside = np.full(points.shape[:2], len(masks) == 0)
    for t, (mask, camera) in enumerate(zip(masks, path, strict=False)):
        gap = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
        xy, z = camera.project(points[t])
        cell = np.clip(np.floor(xy), 0, [camera.width - 1, camera.height - 1]).astype(int)
        out = ((xy < 0) | (xy >= [camera.width, camera.height])).any(axis=1)
        rows, columns = np.nonzero(mask)
        width = max(np.ptp(rows), np.ptp(columns)) if len(rows) else 0
        near = gap[cell[:, 1], cell[:, 0]] <= max(RIM_PX, RIM * width)
        inside[t] = (z > 0) & (near | out)  # the picture says nothing of what has left it
    return inside
