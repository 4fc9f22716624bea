"""Tracks against masks of the object in every frame: what leaves the object is not it."""

import dataclasses

import cv2
import numpy as np

from inverse.clips.footage import Footage
from inverse.tracking.silhouette import carry_mask
from inverse.tracking.tracks import Tracks


# How far outside of a mask a point may lie, in px and over the object's width: masks are rough, and
# points near a rim belong to it.
MARGIN, MARGIN_SHARE = 2.0, 0.02
LEAST = 8  # points to be seen of the object, below which its silhouette is no longer carried
# Between the area of the silhouette and that which the tracks say, both over those of frame 0,
# beyond which it is no longer the object's.
APART = 2.0
MOST = 0.5  # of the points, that have to move as one to be sure of themselves


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


def carried_masks(video: Footage, mask: np.ndarray, tracks: Tracks) -> np.ndarray:
    """The object's pixels in all frames (T, H, W) bool, carried along by tracks, flow and GrabCut.

    video: (T, H, W, 3) uint8; mask: (H, W) bool, of frame 0; tracks: on the object. From the frame
    on in which too few points are seen, or in which the silhouette grows or shrinks otherwise than
    the tracks do, it is not known: all pixels are the object's. Pixels around points that move as
    most of the object does are its own, whatever flow and GrabCut make of pictures without texture.
    """
    masks = np.ones((len(video), *mask.shape), dtype=bool)
    masks[0] = now = np.asarray(mask, dtype=bool)
    before = video[0]
    for t in range(1, len(video)):
        both = tracks.visible[t - 1] & tracks.visible[t]
        since = tracks.visible[0] & tracks.visible[t]
        if min(both.sum(), since.sum()) < LEAST:
            break
        moved = np.median((tracks.xy[t] - tracks.xy[t - 1])[both], axis=0)
        image = video[t]
        now, before = carry_mask(before, image, now, moved), image
        found, fits = cv2.estimateAffine2D(tracks.xy[0, since], tracks.xy[t, since])
        if found is not None and np.mean(fits) > MOST:
            now = _with_points(now, tracks.xy[t, since][fits[:, 0] > 0])
        grown = 0.0 if found is None else abs(float(np.linalg.det(found[:, :2])))
        share = now.sum() / masks[0].sum()
        if not grown / APART < share < grown * APART:
            break
        masks[t] = now
    return masks


def _with_points(mask: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """A mask (H, W) bool and the pixels around points (N, 2) px."""
    drawn = mask.astype(np.uint8)
    for x, y in np.floor(xy).astype(int).tolist():
        cv2.circle(drawn, (x, y), int(MARGIN), 1, -1)
    return drawn > 0
