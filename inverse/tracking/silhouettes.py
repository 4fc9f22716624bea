"""Tracks against masks of the object in every frame: what leaves the object is not it."""

import dataclasses

import cv2
import numpy as np

from inverse.tracking.tracks import Tracks


# How far outside of a mask a point may lie, in px and over the object's width: masks are rough, and
# points near a rim belong to it.
MARGIN, MARGIN_SHARE = 2.0, 0.02


def inside_masks(tracks: Tracks, masks: np.ndarray, size: tuple[int, int]) -> Tracks:
    """Tracks that count as seen only where masks show the object.

    masks: (T, h, w) bool, of each frame, at any scale; empty where the object is out of sight;
    size: (width, height) px of the pictures that the tracks are of.
    """
    frames, rows, columns = masks.shape
    scale = np.array([columns / size[0], rows / size[1]])
    width = np.sqrt(max(masks.sum(axis=(1, 2)).max(), 1)) / scale.mean()
    # in pixels of the masks, which are as rough as these are large
    reach = max(MARGIN, MARGIN * scale.mean(), MARGIN_SHARE * width * scale.mean())
    visible = tracks.visible.copy()
    for frame in range(min(frames, tracks.frames)):
        seen = np.flatnonzero(visible[frame])
        if not masks[frame].any():
            visible[frame] = False
        if not len(seen) or not masks[frame].any():
            continue
        away = cv2.distanceTransform((~masks[frame]).astype(np.uint8), cv2.DIST_L2, 5)
        cell = np.floor(tracks.xy[frame, seen] * scale).astype(int)
        cell = np.clip(cell, 0, [columns - 1, rows - 1])
        visible[frame, seen] = away[cell[:, 1], cell[:, 0]] <= reach
    return dataclasses.replace(tracks, visible=visible)
