"""Things that stay in their place though nothing was found that carries them.

A net force says what acts on a free object. But an object that stays where it is, while its weight
would take it far away, is hardly free: a wind would have to cancel the weight from the first frame
to the last. Then something out of sight holds it, or something that the clip does not tell from it,
and its pull is part of the net force.
"""

from collections.abc import Sequence

import numpy as np


STAYS = 0.5  # of an object's radius of gyration: what leaves its place moves by more
CANCELED = 10.0  # times the way that it moves, that its weight would take it: within a tenth of it


def canceled_fall(
    x: np.ndarray, mass: np.ndarray, gravity: Sequence[float], duration: float
) -> float | None:
    """How far, m, its weight would have moved an object that stays in its place; None where it does
    not.

    It is no fall where the object is seen for so short that it would not have left its place.

    x: (T, n, 3) m; mass: (n,) kg; gravity: (3,) m/s^2; duration: s, of these frames.
    """
    share = mass / mass.sum()
    center = np.einsum("n,tnd->td", share, x)
    radius = float(np.sqrt(share @ ((x[0] - center[0]) ** 2).sum(axis=1)))
    moved = float(np.linalg.norm(center - center[0], axis=1).max())
    fall = 0.5 * float(np.linalg.norm(gravity)) * duration**2
    stays = moved <= STAYS * radius and fall >= CANCELED * max(moved, STAYS * radius)
    return fall if stays else None
