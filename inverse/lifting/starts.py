"""First guesses of a motion, frame after frame: by small steps, or bridged by rigid poses."""

import numpy as np

from inverse.lifting.energy import LiftEnergy
from inverse.lifting.rigid import STAY, Pose, Sight, find_pose, motion_between


FIRST_STEP = 0.05  # of the object's size, by which the first guess may move from frame to frame
FIRST_ROUNDS = 6  # Gauss-Newton steps for each frame of the first guess


def small_steps(energy: LiftEnergy) -> np.ndarray:
    """Nodes (T, M, 3) m, each frame from where the last one ended ("Seeing the wind", eq. 11)."""
    m = len(energy.rest)
    C = np.empty((energy.frames, m, 3))
    C[0] = energy.rest
    stay = 1 / (FIRST_STEP * energy.extent) ** 2
    for t in range(1, energy.frames):
        C[t] = guess = 2 * C[t - 1] - C[t - 2] if t > 1 else C[0]
        for _ in range(FIRST_ROUNDS):
            H, g = energy.frame(t, C[t])
            H = H + stay * np.eye(3 * m)
            g = g + stay * (C[t] - guess).ravel()
            C[t] -= np.linalg.solve(H, g).reshape(m, 3)
    return C


def rigid_poses(energy: LiftEnergy) -> np.ndarray:
    """Nodes (T, M, 3) m, each frame from the last one's shape in the pose that its tracks show.

    A shape that went wrong would stay wrong: that of frame 0 is tried beside the last one's.
    """
    rest = energy.points0
    C = np.empty((energy.frames, len(energy.rest), 3))
    C[0] = energy.rest
    X, last = energy.W @ C[0], STAY
    for t in range(1, energy.frames):
        sights = _sights(energy, t)
        back = motion_between(rest, X)
        whole = Pose(rotation=last.rotation @ back.rotation, shift=last.move(back.shift))
        sigma = energy.motion.sigma_px
        chained = find_pose(X, sights, [last, STAY], sigma)
        afresh = find_pose(rest, sights, [whole, back], sigma)
        if chained is None or afresh is None:  # hardly seen: on as before
            C[t] = last.move(C[t - 1])
        else:
            if chained[1] <= afresh[1]:
                C[t] = chained[0].move(C[t - 1])
            else:
                C[t] = afresh[0].move(C[0])
            C[t] = _settle(energy, t, C[t])
        before, X = X, energy.W @ C[t]
        last = motion_between(before, X)
    return C


def _sights(energy: LiftEnergy, t: int) -> list[Sight]:
    sights = []
    for tracks, cameras in energy.views:
        index = np.flatnonzero(tracks.visible[t])
        if len(index):
            sights.append(Sight(camera=cameras[t], index=index, xy=tracks.xy[t, index]))
    return sights


def _settle(energy: LiftEnergy, t: int, guess: np.ndarray) -> np.ndarray:
    """Nodes (M, 3) m of one frame bent until they fit its tracks, from a guess."""
    C = guess.copy()
    stay = 1 / (FIRST_STEP * energy.extent) ** 2
    for _ in range(FIRST_ROUNDS):
        errors = [np.sqrt((r**2).sum(1)) for _, r, _, _ in energy.residuals(t, energy.W @ C)]
        scale = max(1.0, float(np.median(np.concatenate(errors))))
        H, g = energy.frame(t, C, scale)
        H = H + stay * np.eye(C.size)
        g = g + stay * (C - guess).ravel()
        C -= np.linalg.solve(H, g).reshape(C.shape)
    return C
