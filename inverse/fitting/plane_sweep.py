"""Points of a scene, found by comparing the photographs: a plane sweep (Collins 1996)."""

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.spatial import cKDTree

from renderers.camera import Camera
from renderers.datasets import Photograph


SIDE = 240  # px, to which the longer side of a photograph is shrunk for the comparison
PIXELS = 8_000  # pixels whose depth is sought, in all photographs together
MOST = 600  # of them in one photograph
DEPTHS = 48  # of each pixel, evenly spaced in 1 / depth
NEIGHBORS = 4  # photographs with which each one is compared
TURN = 0.7  # cosine of the largest angle between the axes of neighbors
PATCH = 2  # px to each side of a pixel that are compared with it
NEAREST = 1.5  # least depth, in distances between neighbors
DISTINCT = 0.6  # a match is this much better than the depths of that pixel are on the average
ERROR = 0.08  # largest difference of matching patches, mean over pixels and channels


def plane_sweep(
    photographs: Sequence[Photograph], cameras: Sequence[Camera], *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray] | None:
    """Find points where neighboring photographs show the same.

    Each of some random pixels takes the depth at which its surroundings look most alike in the
    photographs nearby. Where no depth is clearly the best, as on a plain wall, a pixel takes that
    of the nearest pixel that has one, so that points lie wherever the photographs look. Returns
    points (n, 3) m and their colors (n, 3) from 0 to 1, or None if there are hardly any matches.
    """
    rng = np.random.default_rng(seed)
    small = [_shrunk(*pair) for pair in zip(photographs, cameras, strict=True)]
    each = min(-(-PIXELS // len(small)), MOST)
    points, colors, matches = [], [], 0
    for index, others in enumerate(_neighbors(cameras)):
        if others:
            found = _match(small[index], [small[k] for k in others], each, rng)
            points.append(found[0])
            colors.append(found[1])
            matches += found[2]
    if matches < PIXELS // 100:
        return None
    return np.concatenate(points), np.concatenate(colors)


Shrunk = tuple[np.ndarray, Camera]  # rgb and seen, (H, W, 4) float32, and their camera


def _shrunk(photograph: Photograph, camera: Camera) -> Shrunk:
    image = np.dstack([photograph.rgb, np.ones(camera.size[::-1], np.float32)])
    if photograph.seen is not None:
        image *= photograph.seen[..., None]
    scale = min(SIDE / max(camera.size), 1.0)
    if scale == 1:
        return image, camera
    camera = camera.resized(*(max(round(side * scale), 1) for side in camera.size))
    return cv2.resize(image, camera.size, interpolation=cv2.INTER_AREA), camera


def _neighbors(cameras: Sequence[Camera]) -> list[list[int]]:
    """For each camera the nearest others that look about the same way."""
    axes = np.array([camera.rotation[2] for camera in cameras])
    eyes = np.array([camera.position for camera in cameras])
    eyes = eyes - eyes.mean(axis=0)
    least = 1e-3 * np.abs(eyes).max()  # cameras at one place show no depth
    result = []
    for eye, axis in zip(eyes, axes, strict=True):
        distance = np.linalg.norm(eyes - eye, axis=1)
        fit = (distance > least) & (axes @ axis > TURN)
        order = np.argsort(np.where(fit, distance, np.inf), kind="stable")
        result.append(order[: min(NEIGHBORS, fit.sum())].tolist())
    return result


def _match(
    own: Shrunk, others: list[Shrunk], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, int]:
    """Points (n, 3) m at up to count pixels, their colors (n, 3), and how many of them match."""
    image, camera = own
    width, height = camera.size
    free = image[PATCH : height - PATCH, PATCH : width - PATCH, 3] > 0.999
    rows, columns = np.nonzero(free)
    chosen = rng.permutation(len(rows))[:count]
    row, column = rows[chosen] + PATCH, columns[chosen] + PATCH
    apart = np.median([np.linalg.norm(c.position - camera.position) for _, c in others])
    # Beyond the last depth, neighbors show less than a pixel of parallax.
    depths = 1 / np.linspace(1 / (NEAREST * apart), 1 / (camera.fx * apart), DEPTHS)
    offsets = np.stack(np.meshgrid(*2 * [np.arange(-PATCH, PATCH + 1)]), axis=-1).reshape(-1, 2)
    at = np.stack([column, row], axis=-1)[:, None] + offsets  # (n, patch, 2)
    wanted = image[at[..., 1], at[..., 0], :3]
    costs = np.stack([_cost(at + 0.5, wanted, depths, camera, *other) for other in others])
    costs.sort(axis=0)  # those that see the point best: elsewhere it may be hidden
    cost = costs[: max(len(others) // 2, 1)].mean(axis=0)  # (n, DEPTHS)
    best = cost.argmin(axis=1)
    finite = np.isfinite(cost)
    counted = finite.sum(axis=1)
    average = np.where(finite, cost, 0).sum(axis=1) / np.maximum(counted, 1)
    lowest = cost[np.arange(len(best)), best]
    clear = (lowest < np.minimum(DISTINCT * average, ERROR)) & (counted > DEPTHS // 4)
    if not clear.any():
        return np.zeros((0, 3)), np.zeros((0, 3)), 0
    middle = at[:, len(offsets) // 2]
    nearest = cKDTree(middle[clear]).query(middle)[1]
    places = camera.unproject(middle + 0.5, depths[best[clear][nearest]])
    return places, wanted[:, len(offsets) // 2], int(clear.sum())


def _cost(
    at: np.ndarray,
    wanted: np.ndarray,
    depths: np.ndarray,
    camera: Camera,
    image: np.ndarray,
    other: Camera,
) -> np.ndarray:
    """How much patches of a camera's picture differ from what another shows, (n, DEPTHS).

    at: (n, patch, 2) px, of patches that lie at one of depths (DEPTHS,) m; wanted: their colors
    (n, patch, 3); image: rgb and seen, (H, W, 4), of the other camera. Infinite where that does not
    see a whole patch.
    """
    # A point at depth z in the direction r lies at turn r + shift / z, up to its size.
    turn = other.K @ other.rotation @ camera.rotation.T @ np.linalg.inv(camera.K)
    shift = other.K @ other.to_camera(camera.position)
    ahead = np.concatenate([at, np.ones_like(at[..., :1])], axis=-1) @ turn.T
    rays = ahead.astype(np.float32)[:, None] + (shift / depths[:, None]).astype(np.float32)[:, None]
    front = rays[..., 2] > 1e-6
    uv = rays[..., :2] / np.where(front, rays[..., 2], 1)[..., None] - np.float32(0.5)  # OpenCV's
    uv[~front] = -1e4
    flat = uv.clip(-1e4, 3e4).reshape(len(at), -1, 2)
    found = cv2.remap(image, flat[..., 0], flat[..., 1], cv2.INTER_LINEAR)
    found = found.reshape(*front.shape, 4)
    cost = np.abs(found[..., :3] - wanted[:, None]).mean(axis=(2, 3))
    return np.where(found[..., 3].min(axis=2) > 0.999, cost, np.inf)
