"""The data of TRACE: photographs with their cameras and times, checked."""

import dataclasses

import numpy as np

from renderers.camera import Camera
from renderers.datasets import Photograph, View, load_views


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Photographs:
    """The photographs of one split.

    views: the camera and the time of each; images: their pixels.
    """

    views: list[View]
    images: list[Photograph]

    @property
    def cameras(self) -> list[Camera]:
        """The camera of each photograph."""
        return [view.camera for view in self.views]

    @property
    def times(self) -> list[float]:
        """The time of each photograph, s."""
        return [view.time for view in self.views if view.time is not None]

    def __len__(self) -> int:
        return len(self.views)


def load_photographs(folder: str, split: str, *, downscale: int = 1) -> Photographs:
    """Read all photographs of a split.

    downscale: the sizes of the photographs are divided by this number. Raises ValueError, in one
    sentence, if a photograph has no time, sizes differ, or the data cannot be read.
    """
    views = load_views(folder, split, downscale=downscale)
    untimed = [view.name for view in views if view.time is None]
    if untimed:
        raise ValueError(
            f"{folder}: {len(untimed)} frames of {split} have no time (first {untimed[0]}), "
            'expected a time for each; add "time" in seconds to the frames of '
            f"transforms_{split}.json"
        )
    sizes = {(view.camera.width, view.camera.height) for view in views}
    if len(sizes) > 1:
        raise ValueError(
            f"{folder}: {split} has images of sizes {sorted(sizes)}, expected one size"
        )
    return Photographs(views=views, images=[view.load() for view in views])


def check_training(folder: str, train: Photographs) -> tuple[list[float], float]:
    """Check the training photographs; returns the observed times, ascending, and their interval, s.

    Raises ValueError unless there are three times or more, the first of which is 0 and is seen from
    two places or more.
    """
    times = sorted(set(train.times))
    if times[0] < 0 or abs(times[0]) > 1e-6:
        raise ValueError(
            f"{folder}: the first frame of train is at t = {times[0]:g}, expected one at t = 0"
        )
    if len(times) < 3:
        raise ValueError(f"{folder}: train has {len(times)} times, expected at least 3")
    first = [camera for camera, t in zip(train.cameras, train.times, strict=True) if abs(t) < 1e-6]
    eyes = {tuple(np.round(camera.position, 6)) for camera in first}
    if len(eyes) < 2:
        raise ValueError(
            f"{folder}: train shows t = 0 from {len(eyes)} place only, expected views from several "
            "places"
        )
    return times, float(np.median(np.diff(times)))
