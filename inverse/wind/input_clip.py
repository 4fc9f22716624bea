"""The clips of a wind run."""

import numpy as np

from inverse.wind.config import WindJob
from renderers.video import read_video


def read_clips(job: WindJob) -> tuple[list[np.ndarray], float]:
    """The frames (T, H, W, 3) uint8 of each view, and frames per second, 1/s.

    Raises ValueError for clips that cannot be read, differ in their numbers of frames, or have
    fewer than 4.
    """
    loaded = [read_video(path, max_frames=job.frames) for path in job.video]
    shapes = {video.frames.shape[0] for video in loaded}
    if len(shapes) > 1:
        raise ValueError(f"video: the views have {sorted(shapes)} frames, expected as many in each")
    if min(shapes) < 4:
        raise ValueError(f"video {job.video[0]}: has {min(shapes)} frames, expected at least 4")
    return [video.frames for video in loaded], loaded[0].fps
