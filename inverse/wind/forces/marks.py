"""Where a point force acts: the particles that the job marks in frame 0."""

import numpy as np

from inverse.perception import load_mask
from inverse.wind.config import WindJob
from renderers.camera import Camera


REACH = 0.08  # of the object's size: radius of the spot that is pushed. One particle would be torn.


def read_marks(job: WindJob, mask: np.ndarray) -> np.ndarray | None:
    """Pixels (H, W) bool of frame 0 of the first view in which a point force acts, None where the
    job does not say.

    mask: (H, W) bool, of the object. Raises ValueError for an image that cannot be read, and for a
    pixel that does not show the object.
    """
    height, width = mask.shape
    if job.at_mask is not None:
        return load_mask(job.at_mask, (width, height))
    if job.at is None:
        return None
    u, v = job.at
    rows, columns = np.nonzero(mask)
    radius = REACH * max(int(np.ptp(rows)), int(np.ptp(columns)), 1)
    y, x = np.ogrid[:height, :width]
    spot = (x + 0.5 - u) ** 2 + (y + 0.5 - v) ** 2 <= max(radius, 1.0) ** 2
    if not (spot & mask).any():
        raise ValueError(f"at: got {u:g} {v:g}, expected a pixel that shows the object in frame 0")
    return spot


def find_marked(pixels: np.ndarray, camera: Camera, x: np.ndarray) -> np.ndarray:
    """Which of particles x (n, 3) m a force marked in pixels (H, W) bool acts on: those there that
    are not deep behind what the camera sees of them.

    camera: of frame 0 of the first view. Raises ValueError where there are none.
    """
    uv, depth = camera.project(x)
    u, v = np.floor(uv).astype(int).T
    there = (u >= 0) & (u < pixels.shape[1]) & (v >= 0) & (v < pixels.shape[0]) & (depth > 0)
    there[there] = pixels[v[there], u[there]]
    if not there.any():
        raise ValueError("at: no part of the object lies in it, expected one that does")
    reach = 2 * REACH * float(np.ptp(x, axis=0).max())
    return there & (depth < depth[there].min() + reach)
