"""A solid from one picture: the visible relief, closed behind by its silhouette.

A soap film over the silhouette under pressure is u with laplacian u = -4 inside and u = 0 at the
rim. Over a disc its root is a hemisphere: where the body is round, sqrt(u) is half of its
thickness. What depth shows of it, measured from the surface that spans the rim, says how round the
body is: 1 for a ball, 0 for a sheet, whatever way it is turned.
"""

import dataclasses

import cv2
import numpy as np
from scipy.sparse import coo_array, csc_array
from scipy.sparse.linalg import splu

from inverse.perception.mesh import closed_mesh
from renderers.camera import Camera
from taichi_phys.geometry.repair import Triangles


MOST_PIXELS = 12_000  # of the mask in the grid that a relief is solved on
INNER = 0.3  # of the largest half thickness, from which on a pixel says how round the body is
LEAST_THICKNESS = 1.0  # px, of a solid, at its rim
# Relief over that of a round body. A bent sheet, which bulges anywhere, stays below the first; a
# relief that a round body explains less well than the second is not one.
ROUND, EXPLAINED = 0.35, 0.5
# A silhouette that is an ellipse: pixels in both over those in either, and short over long axis. A
# square has 0.83; a ball of 10 px, or one that is smeared by a third of its radius, 0.93.
ELLIPSE, DISC = 0.91, 0.75


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Relief:
    """What depth and silhouette say of how thick an object is.

    half: (H, W) m, half of its thickness if it were round, 0 outside the mask; middle: (H, W) m,
    depth of the surface that spans its rim, for a body of that roundness; roundness: its relief
    over that of a round body; explained: share of the relief that is of that kind.
    """

    half: np.ndarray
    middle: np.ndarray
    roundness: float
    explained: float

    @property
    def solid(self) -> bool:
        """Whether the object looks solid."""
        return self.roundness > ROUND and self.explained > EXPLAINED


def measure_relief(mask: np.ndarray, depth: np.ndarray, camera: Camera) -> Relief:
    """How thick the object in a mask (H, W) bool is, from its depth (H, W) m there."""
    step = _step(mask)
    small = _coarse(mask, step)
    z = _mean_in(mask, depth, step)
    film, span = _film(small), _Span(small)
    pixel = step * np.median(depth[mask]) / np.sqrt(camera.fx * camera.fy)  # m
    half = np.sqrt(np.maximum(film, 0)) * pixel
    # z = middle - roundness half, and middle spans its own values at the rim.
    bulge, usual = span.over(z) - z[small], half[small] - span.over(half)
    inner = half[small] > INNER * half.max()
    bulge, usual = bulge[inner], usual[inner]
    roundness = float((bulge * usual).sum() / max((usual**2).sum(), 1e-300))
    rest = bulge - roundness * usual
    explained = 1 - float((rest**2).sum() / max((bulge**2).sum(), 1e-300))
    middle = np.zeros(small.shape)
    middle[small] = span.over(z + max(roundness, 0.0) * half)
    return Relief(
        half=_enlarged(half, small, mask),
        middle=_enlarged(middle, small, mask),
        roundness=roundness,
        explained=explained,
    )


def is_disc(mask: np.ndarray) -> bool:
    """Whether a silhouette (H, W) bool is that of a ball, or nearly."""
    rows, columns = np.nonzero(mask)
    if len(rows) < 9:
        return False
    points = np.stack([columns, rows], axis=1) - [columns.mean(), rows.mean()]
    moments = points.T @ points / len(points)
    low, high = np.linalg.eigvalsh(moments)
    # Of a filled ellipse, second moments are a quarter of its squared half axes.
    grid = np.stack(np.meshgrid(np.arange(mask.shape[1]), np.arange(mask.shape[0])), axis=-1)
    apart = grid - [columns.mean(), rows.mean()]
    ellipse = np.einsum("hwa,ab,hwb->hw", apart, np.linalg.inv(moments), apart) <= 4
    same = (ellipse & mask).sum() / (ellipse | mask).sum()
    return bool(same > ELLIPSE and low > (DISC**2) * high)


def relief_solid(
    mask: np.ndarray, front: np.ndarray, back: np.ndarray, camera: Camera
) -> Triangles:
    """The closed surface between two depth maps (H, W) m in a mask (H, W) bool."""
    step = _step(mask)
    small = _coarse(mask, step)
    pixel = np.median(front[mask]) / np.sqrt(camera.fx * camera.fy)
    near, far = (_corners(small, _mean_in(mask, depth, step)) for depth in (front, back))
    far = np.maximum(far, near + LEAST_THICKNESS * pixel)
    rows, columns = np.nonzero(small)
    width = small.shape[1] + 1
    # Corners of each pixel, around it.
    around = np.stack([(0, 0), (0, 1), (1, 1), (1, 0)])
    ring = (rows[:, None] + around[:, 0]) * width + columns[:, None] + around[:, 1]
    size = (small.shape[0] + 1) * width
    faces = [ring[:, [0, 1, 2]], ring[:, [0, 2, 3]]]
    faces += [size + face[:, ::-1] for face in faces]
    padded = np.pad(small, 1)
    for side, (down, right) in enumerate(((-1, 0), (0, 1), (1, 0), (0, -1))):
        rim = ~padded[rows + 1 + down, columns + 1 + right]
        a, b = ring[rim, side], ring[rim, (side + 1) % 4]
        faces += [np.stack([b, a, size + a], 1), np.stack([b, size + a, size + b], 1)]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(small.shape[0] + 1)), axis=-1) * step
    vertices = [camera.unproject(grid, np.nan_to_num(z, nan=1.0)) for z in (near, far)]
    used, index = np.unique(np.concatenate(faces), return_inverse=True)
    return closed_mesh(
        Triangles(np.concatenate([v.reshape(-1, 3) for v in vertices])[used], index.reshape(-1, 3))
    )


def _step(mask: np.ndarray) -> int:
    """By how many pixels a grid is coarser than a mask, so that it is solved fast."""
    return max(1, int(np.ceil(np.sqrt(mask.sum() / MOST_PIXELS))))


def _reduced(image: np.ndarray, step: int) -> np.ndarray:
    """Means over step x step pixels; outside of the image it is 0."""
    if step == 1:
        return image
    height, width = (-(-n // step) * step for n in image.shape)
    padded = np.zeros((height, width))
    padded[: image.shape[0], : image.shape[1]] = image
    return padded.reshape(height // step, step, width // step, step).mean(axis=(1, 3))


def _coarse(mask: np.ndarray, step: int) -> np.ndarray:
    """The mask in a grid that is coarser by step; thin ones stay, too."""
    share = _reduced(mask.astype(np.float64), step)
    return share > 0.5 * share.max()


def _mean_in(mask: np.ndarray, values: np.ndarray, step: int) -> np.ndarray:
    """Means of values over those of step x step pixels that are in the mask; 0 where none is."""
    total = _reduced(np.where(mask, values, 0.0), step)
    return total / np.maximum(_reduced(mask.astype(np.float64), step), 1e-12)


def _enlarged(image: np.ndarray, small: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An image over the reduced mask, at the pixels of the mask; 0 outside."""
    step = _step(mask)
    if step == 1:
        return np.where(mask, image, 0.0)
    weight = small.astype(np.float64)
    height, width = mask.shape
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    at = (np.stack([columns, rows]) + 0.5) / step - 0.5
    maps = at.astype(np.float32)

    def sampled(values: np.ndarray) -> np.ndarray:
        return cv2.remap(
            values, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )

    inside = sampled(weight)
    mean = sampled(np.where(small, image, 0.0)) / np.maximum(inside, 1e-9)
    # A pixel of the mask beside the reduced one takes the nearest value.
    spread = cv2.dilate(np.where(small, image, 0.0), np.ones((3, 3)))
    return np.where(mask, np.where(inside > 1e-3, mean, sampled(spread)), 0.0)


def _neighbors(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of each pixel of the mask, -1 outside; and the pairs (m, 2) of neighboring pixels."""
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(mask.sum())
    pairs = [
        np.stack([first[both], second[both]], axis=1)
        for first, second in ((number[:, :-1], number[:, 1:]), (number[:-1], number[1:]))
        for both in [(first >= 0) & (second >= 0)]
    ]
    return number, np.concatenate(pairs)


def _film(mask: np.ndarray) -> np.ndarray:
    """u (H, W) px^2 with laplacian -4 in the mask, and 0 at its outline, half a pixel outside the
    centers of its outer pixels."""
    _, pairs = _neighbors(mask)
    count = int(mask.sum())
    degree = np.bincount(pairs.ravel(), minlength=count)
    # The outline is half a pixel away: a flux twice as steep.
    diagonal = degree + 2.0 * (4 - degree)
    u = np.zeros(mask.shape)
    u[mask] = _solve(pairs, diagonal, np.full(count, 4.0))
    return u


class _Span:
    """The smoothest surface through values at the rim of a mask (harmonic inside)."""

    def __init__(self, mask: np.ndarray):
        self.mask = mask
        _, self.pairs = _neighbors(mask)
        self.degree = np.bincount(self.pairs.ravel(), minlength=int(mask.sum()))
        self.rim = self.degree < 4

    def over(self, values: np.ndarray) -> np.ndarray:
        """The surface (k,) in the pixels of the mask, of values (H, W)."""
        held = np.where(self.rim, values[self.mask], 0.0)
        # Pixels at the rim are held softly by their own value, with the stiffness of a neighbor:
        # single noisy ones decide nothing.
        return _solve(self.pairs, self.degree + self.rim.astype(float), held)


def _solve(pairs: np.ndarray, diagonal: np.ndarray, right: np.ndarray) -> np.ndarray:
    n = len(diagonal)
    row = np.concatenate([np.arange(n), pairs[:, 0], pairs[:, 1]])
    column = np.concatenate([np.arange(n), pairs[:, 1], pairs[:, 0]])
    value = np.concatenate([diagonal, -np.ones(2 * len(pairs))])
    return splu(csc_array(coo_array((value, (row, column)), shape=(n, n)))).solve(right)


def _corners(mask: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (H + 1, W + 1) at the corners of pixels, means over those of the mask around."""
    weight = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1))
    total = np.zeros(weight.shape)
    for down in (0, 1):
        for right in (0, 1):
            part = (slice(down, down + mask.shape[0]), slice(right, right + mask.shape[1]))
            weight[part] += mask
            total[part] += np.where(mask, values, 0.0)
    return np.where(weight > 0, total / np.maximum(weight, 1), np.nan)
