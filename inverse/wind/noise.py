"""How well single tracks know the force on a part of an object, from two sources.

*Tracks.* The lift takes positions x to be smooth (differences D x of some order are white, of
standard deviation q) and tracks y = x + e to have white noise of standard deviation s; both are
measured on the tracks. Then the covariance of x, given y, is

    P = (I / s^2 + D^T D / q^2)^-1,

and that of its second differences, which are the accelerations, follows. It is large at the ends
of a clip. Only directions across the camera's axis are meant: with one view, depth is worse.

*Stiffness.* A part that noise displaces by p, against others at a distance l, is held there by a
force of c^2 p / l^2 per mass, where c^2 = E / density is the square of the speed of sound. l is the
distance between keypoints. It sums to nothing over the object.
"""

import numpy as np

from inverse.lifting.smoothness import Smoothness, differences


MOST = 1e5  # noise over amplitude, beyond which a motion is stiff whatever the tracks say


def track_noise(
    smooth: Smoothness, noise: float, frames: int, fps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations along an axis of positions, m, and accelerations, m/s^2, at T frames.

    smooth: of the motion, with amplitude in m; noise: s, m; fps: frames per second. In the first
    and last frame accelerations have those of their neighbors.
    """
    D = differences(frames, smooth.order)
    ratio = min(noise / max(smooth.amplitude, 1e-300), MOST)
    covariance = np.linalg.inv(np.eye(frames) + (ratio * D).T @ (ratio * D))  # P / s^2
    position = noise * np.sqrt(np.diagonal(covariance))
    if frames < 3:
        return position, np.zeros(frames)
    second = differences(frames, 2)
    variance = np.einsum("ta,ab,tb->t", second, covariance, second)
    inner = noise * fps**2 * np.sqrt(np.maximum(variance, 0))
    return position, np.concatenate([inner[:1], inner, inner[-1:]])
