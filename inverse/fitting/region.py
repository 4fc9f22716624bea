"""Where the scene of a set of photographs lies, and how the cameras stand to it."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from renderers.camera import Camera


FRONT = 0.8  # share of the cameras that must have the scene in front of them
# Cameras look at one place if their axes miss it by less than this share of what they lie apart.
# Axes that point anywhere miss any place by about as much as the cameras lie apart.
MISS = 0.5
ONE_WAY = 0.8  # length of the mean viewing direction from which cameras look the same way: 37 deg
WITHIN = 90.0  # percentage of points that lie in the cube of the scene
FAR = 100.0  # half sides from the origin beyond which float32 blurs means: 1e-5 half sides


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """The cube that holds what the photographs show.

    center: (3,) m; half: half the side, m, the unit of lengths of a fit; cameras: "around" if the
    cameras look at the scene from several sides, "ahead" if they all look the same way, such as
    straight down, "inside" if they stand in the scene and look out.
    """

    center: np.ndarray
    half: float
    cameras: str

    def origin(self) -> np.ndarray | None:
        """The origin (3,) m that means need so that float32 holds them; None if they need none.

        Coordinates of maps are some 1e6 m, where float32 has steps of half a meter. The origin is
        rounded to the power of ten below half.
        """
        if np.abs(self.center).max() < FAR * self.half:
            return None
        step = 10.0 ** np.floor(np.log10(self.half))
        return np.round(self.center / step) * step

    def relative_to(self, origin: np.ndarray) -> "Region":
        """The same region in a world whose origin is at origin (3,) m of this one."""
        return dataclasses.replace(self, center=self.center - origin)


def looked_at(cameras: Sequence[Camera]) -> Region | None:
    """Find the cube at which the cameras look, None if they do not look at one place.

    The center is the point nearest to all optical axes, half is what the pictures show of it.
    """
    axes = np.array([camera.rotation[2] for camera in cameras])
    eyes = np.array([camera.position for camera in cameras])
    middle = eyes.mean(axis=0)  # far from the origin, products would lose digits
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    total = across.sum(axis=0)
    if np.linalg.cond(total) > 1e6:
        return None
    center = middle + np.linalg.solve(total, np.einsum("nij,nj->i", across, eyes - middle))
    toward = center - eyes
    ahead = (toward * axes).sum(axis=1) > 0
    missed = np.sqrt((np.einsum("nij,nj->ni", across, toward) ** 2).sum(axis=1).mean())
    apart = np.sqrt(((eyes - middle) ** 2).sum(axis=1).mean())
    if ahead.mean() < FRONT or missed > MISS * apart:
        return None
    reach = [
        np.linalg.norm(eye - center) * min(camera.width / camera.fx, camera.height / camera.fy) / 2
        for eye, camera in zip(eyes, cameras, strict=True)
    ]
    return Region(center=center, half=float(np.median(reach)), cameras="around")


def find_region(cameras: Sequence[Camera], points: np.ndarray | None = None) -> Region:
    """Find the cube that holds the scene.

    points: (n, 3) m of the scene, None if there are none. They are used only if the cameras do not
    look at one place. Raises ValueError if nothing tells where the scene is.
    """
    region = looked_at(cameras)
    if region is not None:
        return region
    if points is None or not len(points):
        raise ValueError(
            "views: the cameras do not look at one place, and there are no points that tell where "
            "the scene is; expected points, or views of one thing from several sides"
        )
    center = np.median(points, axis=0)
    half = float(np.percentile(np.abs(points - center).max(axis=1), WITHIN))
    direction = np.mean([camera.rotation[2] for camera in cameras], axis=0)
    kind = "ahead" if np.linalg.norm(direction) > ONE_WAY else "inside"
    return Region(center=center, half=max(half, 1e-6), cameras=kind)
