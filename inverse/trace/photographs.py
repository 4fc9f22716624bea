"""The data of TRACE: photographs with their cameras and times, checked."""

import dataclasses
import warnings

import numpy as np

from renderers.camera import Camera
from renderers.datasets import Photograph, View, load_views


PLACES = 2  # from which the first moment must be seen to be carved from its own photographs
# If one camera moves through the scene, the first moment is what this many of its places show.
MOVING_PLACES = 8
MEMORY, PIXEL_BYTES = 4_000_000_000, 16  # for the photographs of a split: rgb and alpha, float32
LONGEST = 800  # px, to which larger photographs are shrunk by default


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Photographs:
    """The photographs of one split.

    views: the camera and the time of each, from the first moment of the training on; images: their
    pixels; start: that moment in the data, in its unit of time.
    """

    views: list[View]
    images: list[Photograph]
    start: float = 0.0

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

    @property
    def frame_dt(self) -> float:
        """The time between the photographs of one camera, s; cameras need not be synchronous."""
        own: dict[tuple, set[float]] = {}
        for camera, t in zip(self.cameras, self.times, strict=True):
            own.setdefault(_place(camera), set()).add(t)
        several = [sorted(times) for times in own.values() if len(times) > 1]
        steps = [np.diff(times) for times in several] or [np.diff(sorted(set(self.times)))]
        return float(np.median(np.concatenate(steps)))

    def first(self) -> list[int]:
        """The indices of the photographs that show the first moment.

        These are the photographs of less than half a frame interval after the start, or, if they
        are taken from one place only, the earliest that show the scene from eight places.
        """
        early = [k for k, t in enumerate(self.times) if t <= 0.5 * self.frame_dt]
        if len({_place(self.cameras[k]) for k in early}) >= PLACES:
            return early
        order = np.argsort(self.times, kind="stable").tolist()
        places: set[tuple] = set()
        for count, k in enumerate(order, start=1):
            places.add(_place(self.cameras[k]))
            if len(places) >= MOVING_PLACES:
                return order[:count]
        return order

    def videos(self) -> list[list[int]]:
        """The indices of the photographs of each camera, in the order of time."""
        own: dict[tuple, list[int]] = {}
        for k in np.argsort(self.times, kind="stable").tolist():
            own.setdefault(_place(self.cameras[k]), []).append(k)
        return list(own.values())

    def relative_to(self, origin: np.ndarray | None) -> "Photographs":
        """The same photographs in a world whose origin is at origin (3,) m of this one."""
        if origin is None:
            return self
        views = [dataclasses.replace(v, camera=v.camera.relative_to(origin)) for v in self.views]
        return dataclasses.replace(self, views=views)


def load_photographs(
    folder: str,
    split: str,
    *,
    downscale: int | None = None,
    start: float | None = None,
    fps: float | None = None,
) -> Photographs:
    """Read all photographs of a split.

    downscale: the sizes of the photographs are divided by this number, None to shrink them to a
    longer side of at most 800 px; start: the time from which times count, in the data's unit, None
    for that of the first photograph; fps: the times of the data are numbers of frames at this rate.
    Raises ValueError, in one sentence, if a photograph has no time, sizes differ, or the data
    cannot be read.
    """
    views = load_views(folder, split, downscale=downscale or 1)
    smaller = max(-(-max(views[0].camera.size) // LONGEST), 1)
    if downscale is None and smaller > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said above
            views = load_views(folder, split, downscale=smaller)
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
    times = [view.time for view in views if view.time is not None]
    if start is None:
        start = min(times)
    unit = 1.0 if fps is None else 1.0 / fps
    views = [
        dataclasses.replace(view, time=(t - start) * unit)
        for view, t in zip(views, times, strict=True)
    ]
    views = _thinned(folder, views)
    return Photographs(views=views, images=[view.load() for view in views], start=start)


def _thinned(folder: str, views: list[View]) -> list[View]:
    """The views, or every so many moments of them, so that they fit into memory."""
    pixels = sum(view.camera.width * view.camera.height for view in views)
    every = -(-PIXEL_BYTES * pixels // MEMORY)
    if every <= 1:
        return views
    own: dict[tuple, list[View]] = {}
    for view in views:
        own.setdefault(_place(view.camera), []).append(view)
    if max(map(len, own.values())) < every:  # a camera that moves
        kept = sorted(views, key=lambda view: view.time or 0.0)[::every]
    else:
        kept = [view for some in own.values() for view in some[::every]]
    warnings.warn(
        f"{folder}: {len(views)} photographs of {views[0].camera.width} x "
        f"{views[0].camera.height} px do not fit into {MEMORY / 1e9:g} GB; one of {every} "
        "moments is used, and a larger --downscale uses more",
        stacklevel=3,
    )
    return kept


def check_training(folder: str, train: Photographs) -> tuple[list[float], float]:
    """Check the training photographs; returns the observed times, ascending, and their interval, s.

    The interval is that of the photographs of one camera. Warns about times that look like numbers
    of frames. Raises ValueError unless there are three times or more, and two places or more.
    """
    times = sorted(set(train.times))
    if len(times) < 3:
        raise ValueError(f"{folder}: train has {len(times)} times, expected at least 3")
    if len({_place(camera) for camera in train.cameras}) < PLACES:
        raise ValueError(
            f"{folder}: train shows the scene from one place only, expected views from several "
            "places"
        )
    if times[-1] > 2 and all(float(t).is_integer() for t in times):
        warnings.warn(
            f"{folder}: the times are whole numbers up to {times[-1]:g}, such as numbers of "
            "frames; give their rate with --fps, or motion.json counts in frames",
            stacklevel=2,
        )
    return times, train.frame_dt


def _place(camera: Camera) -> tuple:
    return tuple(np.round(camera.position, 6))
