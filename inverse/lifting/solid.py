"""What is known of the shape of a solid: its deformation costs elastic energy.

Of principal strains e it is sum e^2 + nu / (1 - 2 nu) (sum e)^2, per volume, as of a Hookean solid
with Poisson's ratio nu: as rigid as possible over the volume, and what is pressed from one side
gives way to the others. The side of a body that no view sees follows from that.
"""

import numpy as np

from inverse.lifting.rigid import motion_between
from inverse.lifting.volume import VolumeNodes


FAITHFUL = 1e-2  # how little keypoints weigh the shape of a first guess against where they are


class SolidShape:
    """N keypoints points0 (N, 3) m in or on a solid, carried by nodes in its volume.

    strain: principal, expected; poisson: Poisson's ratio. rest, W, mean, extent: as of a
    `SheetShape`.
    """

    def __init__(self, volume: VolumeNodes, points0: np.ndarray, *, strain: float, poisson: float):
        self.volume, self.points0 = volume, points0
        self.extent, self.rest = volume.extent, volume.rest
        self.W = volume.weights_at(points0)
        self.mean = volume.weights.mean(axis=0)
        # Were each of the M nodes strained like this on its own, the energy would be that of its
        # three axes: M nodes, 3 M observations.
        self.weight = len(self.rest) / strain**2
        self.matrix = np.kron(self.weight * volume.stiffness, np.eye(3))
        self.bulk = self.weight * poisson / (1 - 2 * poisson)

    def terms(self, C: np.ndarray) -> tuple[np.ndarray, ...]:
        """As of a `SheetShape`: how parts swell has residuals with a Jacobian of their own."""
        turned = self.volume.turned(C)
        _, pull = self.volume.energy(C, turned)
        swelling, slope = self.volume.swelling(C, turned)
        root = np.sqrt(self.bulk / len(swelling))
        return root * swelling, root * slope, self.matrix, self.weight * pull.ravel()

    def cost(self, C: np.ndarray) -> float:
        """The energy of nodes C (M, 3) m."""
        turned = self.volume.turned(C)
        energy, swelling = self.volume.energy(C, turned)[0], self.volume.swelling(C, turned)[0]
        return self.weight * energy + self.bulk * float((swelling**2).mean())

    def fit(self, X: np.ndarray) -> np.ndarray:
        """Nodes (T, M, 3) m that carry keypoints to about (T, N, 3) m: turned as they are, and bent
        as little as brings them there, also where there are none."""
        W = self.W
        soft = FAITHFUL * np.trace(W.T @ W) / np.trace(self.volume.stiffness)
        solve = np.linalg.solve(W.T @ W + soft * self.volume.stiffness, W.T)
        C = []
        for now in X:
            pose = motion_between(self.points0, now)
            C.append(pose.move(self.rest) + solve @ (now - pose.move(self.points0)))
        return np.stack(C)

    def strain(self, C: np.ndarray) -> float:
        """Root mean square principal strain of nodes (T, M, 3) m."""
        return self.volume.strain(C)
