"""How well the force of a clip is known, in the linear model that it was found with.

Two things leave it open, and their covariances add up:

1. *What the motion does not tell* beside errors of tracks, lift and simulator (evidence.py). Of the
   force's standard normal numbers z, the coordinates d = W z + e leave the covariance
   (W^T W + 1)^-1 (Laplace's approximation, exact here), and forces that vary over less than the
   functions of space resolve are as large as the prior says.
2. *A push as strong as gravity*, which begins and stays. A body that is held may hardly show
   anything of it: what the gain would miss, as far as it is in doubt whether its weight sets in,
   and how fast (linear.py).

Beside them stands how much of the error that is assumed of a simulation, of what a body bends, was
used up to explain the motion: of a material that is wrong it is far more than assumed.
"""

from collections.abc import Iterable

import numpy as np
import torch
from scipy import linalg, special

from inverse.wind.smoothing.evidence import Errors, Model
from inverse.wind.solver import at_frames
from inverse.wind.spread import Bending, Spread


# Of the standard deviation of what varies over an object. The likeliest strength of that takes up
# what the linear model lacks: fields of four clips with truth were off by 0.5 to 0.7 of it.
VARYING = 0.6
# How often a simulation that is as good as assumed is off by more than is usual: as often as a
# normal number is by three standard deviations.
RARE = 2 * special.ndtr(-3)


class Gain:
    """What coordinates say of a force.

    model: prior and noise; white: (T, kept, (T-1) 3 J + K), what standard normal numbers do to
    white coordinates; errors: of the targets; start: (K,) sqrt(kg) m/s; seen: (T, 1), square root
    of the share of the body that is.
    """

    def __init__(
        self,
        model: Model,
        white: np.ndarray,
        errors: Errors,
        start: np.ndarray,
        seen: np.ndarray,
    ):
        self.model, self.errors, self.start, self.seen = model, errors, start, seen
        self.white = white.reshape(-1, white.shape[-1])
        hessian = self.white.T @ self.white
        hessian[np.diag_indices_from(hessian)] += 1
        self._factor = linalg.cho_factor(hessian, overwrite_a=True, check_finite=False)
        self._size = len(model.time), 3, len(model.shapes.one)

    def __call__(self, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest coefficients (T-1, 3, J) m/s^2 of the force, and speeds (K,) sqrt(kg) m/s
        of the modes in frame 0, for coordinates (T, kept) sqrt(kg) m."""
        model = self.model
        z = self._numbers(self._whitened(path))
        split = int(np.prod(self._size))
        return model.coefficients(z[:split].reshape(self._size)), self.start * z[split:]

    def _whitened(self, path: np.ndarray) -> np.ndarray:
        return self.errors.whiten(path * self.seen, self.model.noise).ravel()

    def _numbers(self, seen: np.ndarray) -> np.ndarray:
        """The likeliest standard normal numbers, for white coordinates."""
        return linalg.cho_solve(self._factor, self.white.T @ seen, check_finite=False)

    def bending(self, path: np.ndarray) -> Bending | None:
        """How much of the error that a simulation may have explains coordinates (T, kept) sqrt(kg)
        m; None where nothing bends.

        In each mode that error is one standard normal number, whose likeliest value is counted in
        proportion to how far the mode bends. The sum of their squares is compared with chi-squared
        of as many degrees of freedom as have its mean and variance (Satterthwaite 1946).
        """
        bent = self.errors.bent[:, : path.shape[1]]
        weights = (bent**2).sum(axis=0)
        if not weights.any():
            return None
        seen = self._whitened(path)
        left = (seen - self.white @ self._numbers(seen)).reshape(path.shape)
        used = (self.errors.whiten(bent, self.model.noise) * left).sum(axis=0)
        degrees = weights.sum() ** 2 / (weights**2).sum()
        return Bending(
            error=float(np.sqrt(weights @ used**2 / weights.sum())),
            usual=float(np.sqrt(special.chdtri(degrees, RARE) / degrees)),
        )

    def covariance(self) -> np.ndarray:
        """(T, 3, J, J) m^2/s^4 of the coefficients at the frames, for each axis of the world."""
        steps, _, functions = self._size
        split = steps * 3 * functions
        model = self.model
        # What numbers do to coefficients in intervals, and so at frames.
        rows = np.einsum("tajbl,ts->tajsbl", model.space, model.time, optimize=True)
        rows = at_frames(torch.as_tensor(rows.reshape(steps, -1))).numpy()
        found = np.empty((len(rows), 3, functions, functions))
        for frame, row in enumerate(rows.reshape(len(rows), 3 * functions, split)):
            padded = np.zeros((self.white.shape[1], len(row)))
            padded[:split] = row.T
            lower = linalg.solve_triangular(
                self._factor[0], padded, lower=self._factor[1],
                trans="N" if self._factor[1] else "T", check_finite=False,
            )  # fmt: skip
            part = (lower.T @ lower).reshape(3, functions, 3, functions)
            found[frame] = np.stack([part[axis, :, axis] for axis in range(3)])
        return found


def force_spread(
    gain: Gain, mass: np.ndarray, open_pushes: Iterable[tuple[np.ndarray, np.ndarray]] = ()
) -> Spread:
    """How well a force per mass is known.

    mass: (n,) kg; open_pushes: (T-1, 3) m/s^2, each alike everywhere, which may be part of the
    force, with the coordinates (T, kept) sqrt(kg) m of the motion under it.
    """
    shapes, strength = gain.model.shapes, gain.model.strength
    share = mass @ shapes.values / mass.sum()
    covariance = gain.covariance()
    net = np.einsum("j,tajk,k->ta", share, covariance, share, optimize=True)
    part = np.einsum("nj,tajk,nk->tna", shapes.values, covariance, shapes.values, optimize=True)
    resolved = (shapes.values**2) @ shapes.variances
    if shapes.variances.any():  # else no other force was asked for
        part += strength.varying**2 * np.maximum(1 - resolved, 0)[:, None]
    for push, moved in open_pushes:
        told = _frames(gain(moved)[0])
        push = at_frames(torch.as_tensor(push)).numpy()
        net += (push - told @ share) ** 2
        part += (push[:, None] - np.einsum("nj,taj->tna", shapes.values, told, optimize=True)) ** 2
    net = np.maximum(net, 0)
    part = net[:, None] + VARYING**2 * np.maximum(part - net[:, None], 0)
    return Spread(net=np.sqrt(net), part=np.sqrt(part))


def _frames(coefficients: np.ndarray) -> np.ndarray:
    """(T, 3, J), at the frames, of coefficients (T-1, 3, J) in the intervals."""
    return at_frames(torch.as_tensor(coefficients)).numpy()
