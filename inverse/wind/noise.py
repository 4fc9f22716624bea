"""How much of a recovered force is noise of the tracks.

The lift takes positions x to be smooth (differences D x of some order are white, of standard
deviation q) and tracks y = x + e to have white noise of standard deviation s; both are measured on
the tracks. Then the covariance of x, given y, is

    P = (I / s^2 + D^T D / q^2)^-1,

and that of its second differences, which are the accelerations, follows. It is large at the ends
of a clip. Only the directions across the camera's axis are meant: with one view, depth is worse.
"""

import numpy as np

from inverse.lifting.smoothness import Smoothness, differences


MOST = 1e5  # noise over amplitude, beyond which a motion is stiff whatever the tracks say


def acceleration_noise(smooth: Smoothness, noise: float, frames: int, fps: float) -> np.ndarray:
    """(T,) m/s^2: standard deviation of accelerations along an axis, at each of T frames.

    smooth: of the motion, with amplitude in m; noise: s, m; fps: frames per second. The first and
    last frame have that of their neighbors.
    """
    if frames < 3:
        return np.zeros(frames)
    D = differences(frames, smooth.order)
    # Scaled by s: P / s^2.
    ratio = min(noise / max(smooth.amplitude, 1e-300), MOST)
    covariance = np.linalg.inv(np.eye(frames) + (ratio * D).T @ (ratio * D))
    second = differences(frames, 2)
    variance = np.einsum("ta,ab,tb->t", second, covariance, second)
    inner = noise * fps**2 * np.sqrt(np.maximum(variance, 0))
    return np.concatenate([inner[:1], inner, inner[-1:]])
