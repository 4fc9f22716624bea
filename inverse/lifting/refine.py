"""A second look that knows the surface: tracks without drift from a first lift.

The lifted surface says how every patch of frame 0 is turned, foreshortened and bent in every frame
of every view. With that warp given, only a shift per patch is to be found, always against the
picture that it was chosen in, which for most is frame 0 of the first view: nothing drifts, all
views share one template, and points that were hidden or lost are found again where they show.
"""

from collections.abc import Callable, Sequence

import numpy as np

from inverse.clips.footage import Footage
from inverse.lifting.energy import camera_path
from inverse.lifting.keypoints import Keypoints
from inverse.lifting.solve import Lifted
from inverse.lifting.warp import CarriedSurface, SheetWarp, Warp
from inverse.tracking.lucas_kanade import is_inside, normalized_information
from inverse.tracking.registration import Patches, SplineImage
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera


# A patch that the warp squeezes below the first or stretches above the second shows too little of
# frame 0 to be compared with it.
STRETCH = (0.2, 5.0)
MIN_POINTS = 4  # in a picture


def refine_tracks(
    videos: Sequence[Footage],
    cameras: Sequence[Camera | Sequence[Camera]],
    points: Keypoints,
    lifted: Lifted,
    *,
    tracks: Sequence[Tracks] | None = None,
    own_frames: bool = False,
    skin: CarriedSurface | None = None,
    radius: int = 10,
    min_correlation: float = 0.75,
    max_shift: float = 3.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Tracks]:
    """Tracks of all keypoints in all views, registered through the lifted surface.

    Each keypoint is compared with the picture that it was chosen in.

    videos: (T, H, W, 3) uint8 per view; cameras: one per view, or one per frame where it moves;
    points: the keypoints; lifted: a first lift of them; tracks: that it was made from, per view,
    which say what else is seen where keypoints were chosen after frame 0; own_frames: views compare
    what they see in their own frame 0 with that, which looks more alike, and is as good where the
    keypoints' places in space are known well; skin: the surface of a solid, whose pixels follow it;
    radius: half the patch's side, px; min_correlation: below it a point counts as hidden;
    max_shift: px by which the lift may be wrong; progress: called with (done, frames in all views).
    """
    frames, count = lifted.points.shape[:2]
    paths = [camera_path(camera, frames) for camera in cameras]
    found = []
    for path in paths:
        xy = np.stack([one.project(p)[0] for one, p in zip(path, lifted.points, strict=True)])
        found.append(
            (xy, np.zeros((frames, count), bool), np.tile(np.eye(2), (frames, count, 1, 1)))
        )
    groups = points.origins.groups()
    steps = [
        (view, frame, own, list(range(len(videos))) if not own_frames else [view])
        for (view, frame), own in groups
    ]
    if own_frames:
        there = points.origins
        for v in range(len(videos)):
            others = (there.view != v) & points.usable[v] & (there.frame == 0)
            steps.append((v, 0, np.flatnonzero(others), [v]))
            for (view, frame), own in groups:
                if view != v:
                    steps.append((view, frame, own[~others[own]], [v]))
    total = sum(len(of) for *_, of in steps)
    k = 0
    for view, frame, own, of in steps:
        around = np.zeros(count, dtype=bool)
        if frame > 0 and tracks is not None:
            around = tracks[view].visible[frame].copy()
        around[own] = True
        if len(own) == 0 or around.sum() < MIN_POINTS:
            k += len(of)  # too few to say how the surface around them bends
            continue
        home = _Home(
            points, (view, frame), own, np.flatnonzero(around), videos, paths, lifted, skin,
            radius=radius,
        )  # fmt: skip
        for v in of:
            xy, visible, information = found[v]

            def report(t: int, at: int = k) -> None:
                if progress is not None:
                    progress((at * frames + t) * len(videos) // total, frames * len(videos))

            one = home.register(videos[v], paths[v], lifted, min_correlation, max_shift, report)
            xy[:, own], visible[:, own], information[:, own] = one.xy, one.visible, one.information
            k += 1
    return [Tracks(xy=xy, visible=visible, information=i) for xy, visible, i in found]


class _Home:
    """A picture that keypoints were chosen in, and the surface around them in it.

    own: (n,) indices of the keypoints; around: (m,) of all whose place in the picture is known,
    which carry the surface.
    """

    def __init__(
        self,
        points: Keypoints,
        key: tuple[int, int],
        own: np.ndarray,
        around: np.ndarray,
        videos: Sequence[Footage],
        paths: Sequence[list[Camera]],
        lifted: Lifted,
        skin: CarriedSurface | None,
        *,
        radius: int,
    ):
        view, frame = key
        origins = points.origins
        chosen_here = (origins.view[own] == view)[:, None]
        self.own, queries = own, np.where(chosen_here, origins.xy[own], points.queries[view][own])
        self.skin = skin
        self.patches = Patches(videos[view][frame], queries, radius, origins.masks.get(key))
        offsets = self.patches.offsets
        places0 = queries[:, None] + offsets
        camera = paths[view][frame]
        on_skin = None if skin is None else skin.warp(places0, camera, lifted, frame)
        self.warp: Warp
        if on_skin is None:
            # Where a keypoint was not chosen here, it is where the lift puts it.
            places = camera.project(lifted.points[frame])[0]
            places[own] = queries
            self.warp = SheetWarp(places0, places[around], around)
        else:
            self.warp = on_skin
        self.moments = np.linalg.inv(offsets.T @ offsets)
        self.sharpness = self.patches.information(affine_free=False)

    def register(
        self,
        video: Footage,
        path: list[Camera],
        lifted: Lifted,
        min_correlation: float,
        max_shift: float,
        report: Callable[[int], None],
    ) -> Tracks:
        """The keypoints in all frames of a view, near where the lift puts them."""
        own, offsets = self.own, self.patches.offsets
        expected = lifted.points[:, own]
        xy = np.stack([one.project(p)[0] for one, p in zip(path, expected, strict=True)])
        visible = np.zeros(xy.shape[:2], dtype=bool)
        affine = np.empty((*visible.shape, 2, 2))
        for t in range(len(expected)):
            warp = path[t].project(self.warp.positions(lifted, t).reshape(-1, 3))[0]
            warp = warp.reshape(len(own), len(offsets), 2)
            # What the interpolation misses at the keypoint itself is no change of the shape.
            warp += (xy[t] - warp[:, len(offsets) // 2])[:, None]
            affine[t] = np.swapaxes(self.moments @ (offsets.T @ warp), 1, 2)
            fit = self.patches.register(SplineImage(video[t]), xy[t], affine[t], warp=warp)
            shift = np.linalg.norm(fit.xy - xy[t], axis=1)
            # A mirrored patch shows the other side, and one seen edge-on shows nothing.
            stretch = np.linalg.svd(affine[t], compute_uv=False)
            facing = np.linalg.det(affine[t]) > 0
            facing &= (stretch[:, 1] > STRETCH[0]) & (stretch[:, 0] < STRETCH[1])
            inside = is_inside(fit.xy, path[0].width, path[0].height)
            visible[t] = (fit.ncc > min_correlation) & (shift < max_shift) & facing & inside
            if self.skin is not None:
                visible[t] &= self.skin.shown(expected[t], path[t], lifted, t)
            xy[t] = np.where(visible[t][:, None], fit.xy, xy[t])
            report(t + 1)
        safe = np.where(visible[..., None, None], affine, np.eye(2))
        information = normalized_information(self.sharpness, safe)
        return Tracks(xy=xy, visible=visible, information=information)
