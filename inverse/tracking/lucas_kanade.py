"""Pyramidal Lucas-Kanade tracks, tied to their first appearance so that they do not drift."""

from collections.abc import Callable

import cv2
import numpy as np

from inverse.clips.footage import Footage, as_footage
from inverse.tracking.dense_flow import forward_backward_dense
from inverse.tracking.jump import common_shift
from inverse.tracking.registration import Fit, Patches, SplineImage
from inverse.tracking.tracks import Tracks


# A patch of frame 0 that is stretched or squeezed more than this has been lost, or is seen edge-on.
MAX_STRETCH = 6.0
# A registration may move a point by this share of the patch's radius: farther, hardly any of the
# patch is where the pyramid found it, and what it locks on to is something else.
MAX_CORRECTION = 0.5
MANY = 0.3  # of the points, lost in one step: the object as a whole has moved too far for them
BORDER = 1.0  # px, within which of the image's edge a point counts as having left
LK_ITERATIONS, LK_TOLERANCE = 30, 0.01  # at each level of the pyramid; the tolerance in px
LK_STOP = cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT
# Image noise alone would make the sharpest patches far too certain: this share of a typical
# patch's covariance is added, so that none counts as more than four times as certain.
MODEL_COVARIANCE = 0.25
SINGULAR = 1e-9  # of the sharpest patch's information: a patch without texture can be inverted


def track_lucas_kanade(
    video: Footage,
    queries: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    radius: int = 10,
    levels: int = 3,
    max_forward_backward: float = 1.0,
    min_correlation: float = 0.75,
    progress: Callable[[int, int], None] | None = None,
) -> Tracks:
    """Follow queries (N, 2) px from frame 0 through a video (T, H, W, 3) uint8.

    Each step is pyramidal Lucas-Kanade (Bouguet 2000) checked forward and backward, or dense flow
    where that fails, or the shift of the whole object where much of it is lost. Then follows an
    affine registration to the patch's appearance in frame 0 (Shi and Tomasi 1994). A point is lost
    from the frame on in which its forward-backward error exceeds max_forward_backward px, its
    correlation with frame 0 falls below min_correlation, or it leaves the image.

    mask: (H, W) bool, the object in frame 0, so that patches at its rim leave the background out;
    radius: half the patch's side, px; levels: of the pyramid above the image itself; progress:
    called with (frame, frames). Raises ValueError for wrong shapes.
    """
    video = as_footage(video)
    queries = check_queries(queries)
    frames, height, width = video.shape[:3]
    n = len(queries)
    patches = Patches(video[0], queries, radius, mask)
    xy, affine = queries.copy(), np.tile(np.eye(2), (n, 1, 1))
    alive = np.ones(n, dtype=bool)
    path, affines = np.empty((frames, n, 2)), np.empty((frames, n, 2, 2))
    visible = np.zeros((frames, n), dtype=bool)
    path[0], affines[0], visible[0] = queries, affine, True
    previous = cv2.cvtColor(video[0], cv2.COLOR_RGB2GRAY)

    def look(
        image: SplineImage, guess: np.ndarray, affine: np.ndarray, error: np.ndarray
    ) -> tuple[Fit, np.ndarray]:
        """Patches registered in an image, and which of them (N,) bool are found again."""
        fit = patches.register(image, guess, affine)
        moved = np.linalg.norm(fit.xy - guess, axis=1)
        stretch = np.linalg.svd(np.nan_to_num(fit.affine), compute_uv=False)
        good = (stretch[:, 0] < MAX_STRETCH) & (stretch[:, 1] > 1 / MAX_STRETCH)
        good &= np.isfinite(fit.xy).all(1) & is_inside(fit.xy, width, height)
        good &= (error < max_forward_backward) & (fit.ncc > min_correlation)
        return fit, good & (moved < MAX_CORRECTION * radius)

    for t in range(1, frames):
        if not alive.any():
            path[t:], affines[t:] = xy, affine
            break
        current = cv2.cvtColor(video[t], cv2.COLOR_RGB2GRAY)
        guess, error = forward_backward(previous, current, xy, radius=radius, levels=levels)
        # Coarse levels see far beyond a patch and may follow something else: try without them.
        failed = alive & (error >= max_forward_backward)
        if failed.any():
            guess[failed], error[failed] = forward_backward(
                previous, current, xy[failed], radius=radius, levels=1
            )
            failed &= error >= max_forward_backward
        if failed.any():
            guess[failed], error[failed] = forward_backward_dense(previous, current, xy[failed])
        found, good = look(image := SplineImage(video[t]), guess, affine, error)
        lost = alive & ~good
        if lost.sum() > MANY * alive.sum():
            # What stands still behind the object may have been followed in its place.
            shift = common_shift(previous, current, xy[alive], radius=radius)
            guess[lost], error[lost] = forward_backward(
                previous, current, xy[lost], radius=radius, levels=1, shift=shift
            )
            found, good = look(image, guess, affine, error)
        alive &= good
        xy = np.where(alive[:, None], found.xy, xy)
        affine = np.where(alive[:, None, None], found.affine, affine)
        path[t], affines[t], visible[t] = xy, affine, alive
        previous = current
        if progress is not None:
            progress(t + 1, frames)
    information = normalized_information(patches.information(affine_free=True), affines)
    return Tracks(xy=path, visible=visible, information=information, compared=True)


def is_inside(xy: np.ndarray, width: int, height: int) -> np.ndarray:
    """Whether points (N, 2) px lie in an image, more than BORDER px from its edges: (N,) bool."""
    return np.all((xy > BORDER) & (xy < [width - BORDER, height - BORDER]), axis=1)


def normalized_information(template: np.ndarray, affines: np.ndarray) -> np.ndarray:
    """Inverse covariances (T, N, 2, 2) of positions in each frame, in units of a typical patch's.

    template: (N, 2, 2), inverse covariances of the patches in frame 0; affines: (T, N, 2, 2), how
    each patch is warped in each frame. No patch counts as more than four times as certain as the
    typical one, since beyond that the errors are the model's and not the image noise's.
    """
    floor = SINGULAR * np.trace(template, axis1=1, axis2=2).max() + 1e-12
    covariance = np.linalg.inv(template + floor * np.eye(2))
    typical = np.median(np.trace(covariance, axis1=1, axis2=2)) / 2
    covariance = covariance / typical + MODEL_COVARIANCE * np.eye(2)
    carried = affines @ covariance @ np.swapaxes(affines, -1, -2)
    return np.linalg.inv(carried)


def check_queries(queries: np.ndarray) -> np.ndarray:
    """Queries as (N, 2) float64; raises ValueError for anything else."""
    queries = np.asarray(queries, dtype=np.float64)
    if queries.ndim != 2 or queries.shape[1] != 2 or not np.isfinite(queries).all():
        raise ValueError(f"queries: got shape {queries.shape}, expected finite (N, 2) px")
    return queries


def forward_backward(
    previous: np.ndarray,
    current: np.ndarray,
    xy: np.ndarray,
    *,
    radius: int,
    levels: int,
    shift: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Follow points (N, 2) px from one gray uint8 image to the next, and back.

    Returns where they are in the next image (N, 2) px, and by how much tracking them back misses
    them (N,) px; inf where the tracker gave up. radius: half the side of the window, px; levels: of
    the pyramid above the image itself; shift: (2,) px, where to start, default: where they were.
    """
    options: dict = {
        "winSize": (2 * radius + 1, 2 * radius + 1),
        "maxLevel": levels,
        "criteria": (LK_STOP, LK_ITERATIONS, LK_TOLERANCE),
    }
    start = (xy - 0.5).astype(np.float32)[:, None]  # OpenCV counts from the centers of pixels
    flow: Callable = cv2.calcOpticalFlowPyrLK  # the stub refuses None for nextPts
    there = back_there = None
    if shift is not None:
        options["flags"] = cv2.OPTFLOW_USE_INITIAL_FLOW
        there = start + shift.astype(np.float32)
    ahead, found, _ = flow(previous, current, start, there, **options)
    if shift is not None:
        back_there = ahead - shift.astype(np.float32)
    back, found_back, _ = flow(current, previous, ahead, back_there, **options)
    error = np.linalg.norm(back - start, axis=2)[:, 0]
    error[(found[:, 0] == 0) | (found_back[:, 0] == 0)] = np.inf
    return ahead[:, 0].astype(np.float64) + 0.5, error
