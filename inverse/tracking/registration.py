"""Register patches of a first image in later ones: the cure for the drift of a tracker.

Every patch is compared with its *first* appearance, never with the previous frame, so errors do
not add up. Inverse compositional Lucas-Kanade (Baker and Matthews 2004) over an affine warp, with
gain and offset of the brightness eliminated, for all patches of a frame at once.
"""

import dataclasses

import cv2
import numpy as np
from scipy import ndimage

from inverse.tracking.keypoints import to_gray


WINDOW = 0.6  # of the radius: standard deviation of the weights of a patch's pixels
GRADIENT_STEP = 0.5  # px, to both sides of a pixel, of the differences that make its gradient
# Levenberg damping of a step, of the trace of the position's Hessian: directions without texture
# stay where they were put.
DAMPING = 1e-3
# The same of the warp's Hessian, where a position's certainty is asked for with the warp unknown.
WARP_DAMPING = 1e-3
CONVERGED = 2e-3  # px: a step shorter than this ends the search


class SplineImage:
    """A gray image with the coefficients of its cubic spline (pixel-corner coordinates)."""

    def __init__(self, image: np.ndarray):
        self.gray = to_gray(image)
        self.coefficients = ndimage.spline_filter(self.gray, order=3, output=np.float32)

    def sample(self, xy: np.ndarray) -> np.ndarray:
        """Values (...,) at xy (..., 2) px; outside the image, those at its border."""
        where = np.stack([xy[..., 1] - 0.5, xy[..., 0] - 0.5])
        return ndimage.map_coordinates(
            self.coefficients, where, order=3, mode="nearest", prefilter=False
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """Where patches were found.

    xy: (N, 2) px; affine: (N, 2, 2), the warp of each patch; ncc: (N,) normalized correlation with
    frame 0, -1 to 1; residual: (N,) root mean square difference, gray levels; step: (N,) length of
    the last step, px.
    """

    xy: np.ndarray
    affine: np.ndarray
    ncc: np.ndarray
    residual: np.ndarray
    step: np.ndarray


class Patches:
    """Square patches of an image around queries (N, 2) px, weighted by a mask and a window.

    image: (H, W, 3) or (H, W) uint8; radius: half a patch's side, px; mask: (H, W) bool, pixels
    that count; all, if it is None.
    """

    def __init__(
        self,
        image: np.ndarray,
        queries: np.ndarray,
        radius: int,
        mask: np.ndarray | None = None,
    ):
        source = SplineImage(image)
        self.queries = np.asarray(queries, dtype=np.float64)
        span = np.arange(-radius, radius + 1, dtype=np.float64)
        self.offsets = np.stack(np.meshgrid(span, span, indexing="xy"), axis=-1).reshape(-1, 2)
        where = self.queries[:, None] + self.offsets
        self.values = source.sample(where)
        step = GRADIENT_STEP
        self.gradient = np.stack(
            [
                (source.sample(where + axis) - source.sample(where - axis)) / (2 * step)
                for axis in step * np.eye(2)
            ],
            axis=-1,
        )  # (N, P, 2)
        window = np.exp(-0.5 * (self.offsets**2).sum(-1) / (WINDOW * radius) ** 2)
        self.weight = np.broadcast_to(window, self.values.shape).copy()
        if mask is not None:
            # A spline reaches over two pixels, and compression blurs the rim: stay inside it.
            inner = cv2.erode(np.asarray(mask, np.uint8), np.ones((3, 3), np.uint8))
            cell = np.floor(where).astype(int)
            height, width = inner.shape
            within = (cell >= 0).all(-1) & (cell[..., 0] < width) & (cell[..., 1] < height)
            cell = np.clip(cell, 0, [width - 1, height - 1])
            self.weight *= within & (inner[cell[..., 1], cell[..., 0]] > 0)
        self.weight /= np.maximum(self.weight.sum(1, keepdims=True), 1e-12)
        gx, gy = self.gradient[..., 0], self.gradient[..., 1]
        dx, dy = self.offsets[:, 0], self.offsets[:, 1]
        jacobian = np.stack([gx, gy, gx * dx, gx * dy, gy * dx, gy * dy], axis=-1)
        # Gain and offset are eliminated by removing from the Jacobian what they explain.
        shade = np.stack([np.ones_like(self.values), self.values], axis=-1)
        weighted = shade * self.weight[..., None]
        normal = np.einsum("npa,npb->nab", weighted, shade) + 1e-6 * np.eye(2)
        coupling = np.einsum("npa,npb->nab", weighted, jacobian)
        self.jacobian = jacobian - shade @ np.linalg.solve(normal, coupling)
        self.hessian = np.einsum(
            "npa,npb->nab", self.jacobian * self.weight[..., None], self.jacobian
        )

    def information(self, affine_free: bool) -> np.ndarray:
        """(N, 2, 2) inverse covariance of the position, (gray level)^2 / px^2.

        affine_free: with the warp unknown, which makes the position less certain.
        """
        H = self.hessian
        if not affine_free:
            return H[:, :2, :2]
        inner = H[:, 2:, 2:] + WARP_DAMPING * np.trace(H[:, 2:, 2:], axis1=1, axis2=2)[
            :, None, None
        ] * np.eye(4)
        return H[:, :2, :2] - H[:, :2, 2:] @ np.linalg.solve(inner, H[:, 2:, :2])

    def register(
        self,
        image: SplineImage,
        xy: np.ndarray,
        affine: np.ndarray,
        *,
        iterations: int = 15,
        affine_free: bool = True,
        warp: np.ndarray | None = None,
    ) -> Fit:
        """Find the patches in an image, starting at xy (N, 2) px with affine (N, 2, 2).

        iterations: at most; affine_free: whether the affine warp is sought beside the position.
        With warp (N, P, 2) px, the place of each pixel of a patch, only a shift is sought, and
        affine only carries the shift over.
        """
        xy, affine = np.array(xy, dtype=np.float64), np.array(affine, dtype=np.float64)
        start = xy.copy()
        size = 6 if affine_free and warp is None else 2
        H = self.hessian[:, :size, :size]
        damping = DAMPING * np.trace(H[:, :2, :2], axis1=1, axis2=2)[:, None, None]
        scale = np.eye(size)
        scale[2:, 2:] *= (self.offsets**2).mean()
        inverse = np.linalg.inv(H + (damping + 1e-6) * scale)
        steer = inverse @ np.swapaxes(self.jacobian[..., :size] * self.weight[..., None], 1, 2)
        step = np.full(len(xy), np.inf)
        for _ in range(iterations):
            error, _ = self._compare(image, self._places(xy, affine, start, warp))
            delta = np.einsum("nap,np->na", steer, error)
            if size == 6:
                change = np.eye(2) + delta[:, 2:].reshape(-1, 2, 2)
                back = np.linalg.inv(change)
                xy -= np.einsum("nab,nbc,nc->na", affine, back, delta[:, :2])
                affine = affine @ back
            else:
                xy -= np.einsum("nab,nb->na", affine, delta)
            step = np.linalg.norm(delta[:, :2], axis=1)
            if (step < CONVERGED).all():
                break
        error, ncc = self._compare(image, self._places(xy, affine, start, warp))
        residual = np.sqrt((self.weight * error**2).sum(1))
        return Fit(xy=xy, affine=affine, ncc=ncc, residual=residual, step=step)

    def _places(self, xy, affine, start, warp) -> np.ndarray:
        """Where the pixels of each patch are now, (N, P, 2) px."""
        if warp is not None:
            return warp + (xy - start)[:, None]
        return xy[:, None] + self.offsets @ np.swapaxes(affine, 1, 2)

    def _compare(self, image, places):
        """Difference from frame 0 after the best gain and offset, and correlation with it."""
        seen, w = image.sample(places).astype(np.float64), self.weight
        a = seen - (w * seen).sum(1, keepdims=True)
        b = self.values - (w * self.values).sum(1, keepdims=True)
        aa, ab, bb = (w * a * a).sum(1), (w * a * b).sum(1), (w * b * b).sum(1)
        gain = ab / np.maximum(aa, 1e-9)
        return gain[:, None] * a - b, ab / np.sqrt(np.maximum(aa * bb, 1e-12))
