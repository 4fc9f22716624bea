"""Pyramidal Lucas-Kanade tracks, tied to their first appearance so that they do not drift."""

import cv2
import numpy as np

from inverse.tracking.registration import Image, Patches
from inverse.tracking.tracks import Tracks


def track_lucas_kanade(
    video: np.ndarray,
    queries: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    radius: int = 10,
    levels: int = 3,
    max_forward_backward: float = 1.0,
    min_correlation: float = 0.75,
    progress=None,
) -> Tracks:
    """Follow queries (N, 2) px from frame 0 through a video (T, H, W, 3) uint8.

    Each step is pyramidal Lucas-Kanade (Bouguet 2000) checked forward and backward, then an
    affine registration to the patch's appearance in frame 0 (Shi and Tomasi 1994). A point whose
    forward-backward error exceeds max_forward_backward px, whose correlation with frame 0 falls
    below min_correlation, or that leaves the image, is lost from there on. mask: (H, W) bool
    object in frame 0, so that patches at its rim leave the background out; radius: half the patch
    size, px. progress: called with (frame, frames). Raises ValueError for wrong shapes.
    """
    video = np.asarray(video)
    if video.ndim != 4 or video.shape[3] != 3 or len(video) == 0:
        raise ValueError(f"video: got shape {video.shape}, expected (T, H, W, 3)")
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
    for t in range(1, frames):
        current = cv2.cvtColor(video[t], cv2.COLOR_RGB2GRAY)
        guess, error = forward_backward(previous, current, xy, radius=radius, levels=levels)
        # Coarse levels see far beyond a patch, and what happens there may mislead them.
        failed = alive & (error >= max_forward_backward)
        if failed.any():
            guess[failed], error[failed] = forward_backward(
                previous, current, xy[failed], radius=radius, levels=1
            )
        fit = patches.register(Image(video[t]), guess, affine)
        moved = np.linalg.norm(fit.xy - guess, axis=1)
        inside = (fit.xy > 1).all(1) & (fit.xy < [width - 1, height - 1]).all(1)
        spectrum = np.linalg.svd(np.nan_to_num(fit.affine), compute_uv=False)
        sane = (spectrum[:, 0] < 6) & (spectrum[:, 1] > 1 / 6) & np.isfinite(fit.xy).all(1)
        alive &= error < max_forward_backward
        alive &= (fit.ncc > min_correlation) & inside & sane & (moved < 0.5 * radius)
        xy = np.where(alive[:, None], fit.xy, xy)
        affine = np.where(alive[:, None, None], fit.affine, affine)
        path[t], affines[t], visible[t] = xy, affine, alive
        previous = current
        if progress is not None:
            progress(t + 1, frames)
    information = normalized_information(patches.information(affine_free=True), affines)
    return Tracks(xy=path, visible=visible, information=information)


def normalized_information(template: np.ndarray, affines: np.ndarray) -> np.ndarray:
    """Inverse covariances (T, N, 2, 2) in each frame from those of the patches (N, 2, 2).

    The typical patch gets 1; no patch counts as more than four times as certain, since beyond
    that errors are not the image noise's but the model's.
    """
    floor = 1e-9 * np.trace(template, axis1=1, axis2=2).max() + 1e-12
    covariance = np.linalg.inv(template + floor * np.eye(2))
    typical = np.median(np.trace(covariance, axis1=1, axis2=2)) / 2
    covariance = covariance / typical + 0.25 * np.eye(2)
    carried = affines @ covariance @ np.swapaxes(affines, -1, -2)
    return np.linalg.inv(carried)


def check_queries(queries: np.ndarray) -> np.ndarray:
    """Queries as (N, 2) float64; raises ValueError for anything else."""
    queries = np.asarray(queries, dtype=np.float64)
    if queries.ndim != 2 or queries.shape[1] != 2 or not np.isfinite(queries).all():
        raise ValueError(f"queries: got shape {queries.shape}, expected finite (N, 2) px")
    return queries


def forward_backward(previous, current, xy, *, radius, levels):
    """Where points (N, 2) px of one grey uint8 image are in the next, and how far tracking them
    back misses them (N,), px; inf where the tracker gave up."""
    options = {
        "winSize": (2 * radius + 1, 2 * radius + 1),
        "maxLevel": levels,
        "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01),
    }
    start = (xy - 0.5).astype(np.float32)[:, None]  # OpenCV counts from pixel centres
    ahead, found, _ = cv2.calcOpticalFlowPyrLK(previous, current, start, None, **options)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(current, previous, ahead, None, **options)
    error = np.linalg.norm(back - start, axis=2)[:, 0]
    error[(found[:, 0] == 0) | (found_back[:, 0] == 0)] = np.inf
    return ahead[:, 0].astype(np.float64) + 0.5, error
