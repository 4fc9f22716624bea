"""2D point tracks from a video."""

from inverse.tracking.camera_motion import camera_rotation as camera_rotation
from inverse.tracking.cotracker import track_cotracker as track_cotracker
from inverse.tracking.formats import load_tracks as load_tracks
from inverse.tracking.keypoints import select_keypoints as select_keypoints
from inverse.tracking.lucas_kanade import track_lucas_kanade as track_lucas_kanade
from inverse.tracking.tracks import Tracks as Tracks


__all__ = [
    "Tracks",
    "camera_rotation",
    "load_tracks",
    "select_keypoints",
    "track_cotracker",
    "track_lucas_kanade",
]
