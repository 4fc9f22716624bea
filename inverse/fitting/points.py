"""The points that a fit starts from: the data set's own, or found in the photographs."""

import warnings
from collections.abc import Sequence

import cv2
import numpy as np

from inverse.fitting.plane_sweep import plane_sweep
from inverse.fitting.region import Region
from renderers.camera import Camera
from renderers.datasets import Photograph


Cloud = tuple[np.ndarray, np.ndarray]  # points (n, 3) m and their colors (n, 3) from 0 to 1

SOLID = 0.5  # alpha from which something is there
SAMPLE = 3000  # points that are compared with the photographs
ALIKE = 0.1  # difference of colors, mean over the channels, below which they count as the same
# What a point cloud in another world reaches is 0, whatever the colors are; a right one exceeds 0.3
# even where half of its points are hidden.
BETTER = 0.1
# If this share of pairs of any point and any pixel look alike, colors tell nothing.
TELLING = 0.6


def starting_cloud(
    own: Cloud | None, photographs: Sequence[Photograph], cameras: Sequence[Camera], seed: int = 0
) -> Cloud | None:
    """The cloud to start from: the data set's own points, or points found in the photographs.

    Points of the data set that do not show the colors of the photographs belong to another world:
    they are left out with a warning. Without points, opaque photographs are searched for them.
    Returns None if there are none, as for photographs with an empty background, which `carve`
    handles.
    """
    if own is not None and not agrees(own, photographs, cameras, seed=seed):
        warnings.warn(
            f"points: the {len(own[0])} points of the data do not lie where the photographs show "
            "their colors, so their world is not that of the poses; the fit starts without them",
            stacklevel=2,
        )
        own = None
    if own is not None:
        return own
    if any((photograph.alpha < SOLID).any() for photograph in photographs):
        return None
    return plane_sweep(photographs, cameras, seed=seed)


def agrees(
    cloud: Cloud, photographs: Sequence[Photograph], cameras: Sequence[Camera], seed: int = 0
) -> bool:
    """Whether points show their colors in the photographs better than by chance.

    Chance is what the same colors reach on exchanged points. Colors that are all alike tell
    nothing, and are believed; points that hardly any photograph shows are not.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(cloud[0]))[:SAMPLE]
    points, colors = cloud[0][chosen], cloud[1][chosen]
    exchanged = colors[rng.permutation(len(colors))]
    same = chance = pairs = 0
    seen = np.zeros(len(points), dtype=int)
    for photograph, camera in zip(photographs, cameras, strict=True):
        row, column, inside = pixels_of(points, camera, photograph)
        # Points are colored by the mean of what several photographs show.
        found = cv2.blur(photograph.rgb, (3, 3))[row, column]
        same += (np.abs(found - colors[inside]).mean(axis=1) < ALIKE).sum()
        chance += (np.abs(found - exchanged[inside]).mean(axis=1) < ALIKE).sum()
        pairs += len(found)
        seen += inside
    if (seen > 0).mean() < BETTER:
        return False
    share, luck = same / max(pairs, 1), chance / max(pairs, 1)
    return bool(luck > TELLING or share - luck > BETTER * (1 - luck))


def carve(
    photographs: Sequence[Photograph],
    cameras: Sequence[Camera],
    count: int,
    *,
    region: Region,
    seed: int = 0,
) -> Cloud:
    """Draw random points in the part of a region that no photograph shows as empty.

    A photograph shows emptiness where it sees something and alpha is at most 0.5. At least half of
    the photographs that can show a point do so. Returns points (count, 3) m and their colors
    (count, 3), the means over the photographs that see them. Raises ValueError if almost no point
    is left.
    """
    rng = np.random.default_rng(seed)
    kept, found, tried = [], 0, 0
    while found < count:
        points = region.center + region.half * rng.uniform(-1, 1, (max(4 * count, 20_000), 3))
        tried += len(points)
        seen = np.zeros(len(points))
        hidden = np.zeros(len(points))
        for photograph, camera in zip(photographs, cameras, strict=True):
            row, column, inside = pixels_of(points, camera)
            filled = np.ones(len(points), dtype=bool)
            solid = photograph.alpha[row, column] > SOLID
            if photograph.seen is not None:
                shown = photograph.seen[row, column]
                solid |= ~shown
                hidden[inside] += ~shown
            filled[inside] = solid
            seen[inside] += 1
            points, seen, hidden = points[filled], seen[filled], hidden[filled]
        visible = seen - hidden
        points = points[(visible > 0) & (visible >= (len(cameras) - hidden) / 2)]
        kept.append(points)
        found += len(points)
        if found < count and found < tried / 1000:
            raise ValueError(
                f"views: no room for the object, only {found} of {tried} random points lie where "
                "no view is empty; check that poses and alpha channels belong to one scene"
            )
    points = np.concatenate(kept)[:count]
    total, seen = np.zeros((len(points), 3)), np.zeros(len(points))
    for photograph, camera in zip(photographs, cameras, strict=True):
        row, column, inside = pixels_of(points, camera, photograph)
        total[inside] += photograph.rgb[row, column]
        seen[inside] += 1
    return points, np.where(seen[:, None] > 0, total / np.maximum(seen, 1)[:, None], 0.5)


def pixels_of(
    points: np.ndarray, camera: Camera, photograph: Photograph | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column (k,) of the pixels that show points (n, 3) m, and which points (n,) they show.

    photograph: of the camera; pixels that it does not see show nothing.
    """
    local = camera.to_camera(points)
    front = local[:, 2] > 1e-9
    uv, _ = camera.project(points[front])
    column, row = np.floor(uv).astype(int).T
    within = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    if photograph is not None and photograph.seen is not None:
        within[within] = photograph.seen[row[within], column[within]]
    inside = front.copy()
    inside[front] = within
    return row[within], column[within], inside
