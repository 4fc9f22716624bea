"""Tracks by CoTracker (Karaev et al. 2024), where it and its weights are installed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from inverse.clips.footage import Footage, as_footage
from inverse.tracking.lucas_kanade import check_queries
from inverse.tracking.tracks import Tracks


HUB = "facebookresearch/co-tracker"
MODELS = {False: "cotracker3_offline", True: "cotracker3_online"}


def track_cotracker(
    video: Footage,
    queries: np.ndarray,
    *,
    repo_or_checkpoint: str | Path | None = None,
    online: bool = False,
    device: str = "cpu",
    mask: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tracks:
    """Follow queries (N, 2) px from frame 0 through a video (T, H, W, 3) uint8 with CoTracker.

    repo_or_checkpoint: a folder with a clone, a checkpoint of the model (which needs the package
    `cotracker`), or None for torch.hub; online: whether the video is looked at in windows, so that
    memory does not grow with it, by the model for that; device: where the model runs; mask: every
    tracker takes it, but CoTracker looks at whole frames; progress: called with (frame, frames), in
    windows only. Raises ValueError for wrong shapes, and when CoTracker cannot be loaded.
    """
    video = as_footage(video)
    queries = check_queries(queries)
    import torch

    model = _load(repo_or_checkpoint, online).to(device).eval()
    start = np.concatenate([np.zeros((len(queries), 1)), queries - 0.5], axis=1)
    points = torch.from_numpy(start).float()[None].to(device)
    with torch.no_grad():
        if online:
            xy, visible = _in_windows(model, video, points, progress)
        else:
            xy, visible = model(_chunk(video, points), queries=points, backward_tracking=False)
    tracks = xy[0, : len(video)].double().cpu().numpy() + 0.5
    seen = visible[0, : len(video)].cpu().numpy().astype(bool)
    if online:  # it does not know that queries are seen where they were chosen
        tracks[0], seen[0] = queries, True
    return Tracks(xy=tracks, visible=seen)


def _in_windows(
    model: Any, video: Footage, points: Any, progress: Callable[[int, int], None] | None
) -> tuple[Any, Any]:
    """Tracks and visibility of the online model, which is given windows that overlap by half."""
    frames, step = len(video), int(model.step)
    model(_chunk(video[: 2 * step], points), is_first_step=True, queries=points)
    for first in range(0, max(frames - step, 1), step):
        found = model(_chunk(video[first : first + 2 * step], points))
        if progress is not None:
            progress(min(first + 2 * step, frames), frames)
    return found


def _chunk(video: Footage, points: Any) -> Any:
    """Pictures as CoTracker takes them, (1, T, 3, H, W) float32 from 0 to 255, where points are."""
    import torch

    frames = torch.from_numpy(np.stack(list(video)))
    return frames.permute(0, 3, 1, 2)[None].float().to(points.device)


def _load(source: str | Path | None, online: bool) -> Any:
    import torch

    try:
        if source is None:
            return torch.hub.load(HUB, MODELS[online], trust_repo=True)
        if Path(source).is_dir():
            return torch.hub.load(str(source), MODELS[online], source="local")
        from cotracker.predictor import CoTrackerOnlinePredictor, CoTrackerPredictor

        if not Path(source).is_file():
            raise FileNotFoundError(f"no such file or folder: {source}")
        if online:
            return CoTrackerOnlinePredictor(checkpoint=str(source))
        return CoTrackerPredictor(checkpoint=str(source), offline=True)
    except Exception as error:  # torch.hub raises anything from URLError to ImportError
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"CoTracker cannot be loaded ({reason}): clone https://github.com/{HUB} and pass the "
            "folder, `pip install git+https://github.com/facebookresearch/co-tracker` and pass "
            "a checkpoint, or use the default tracker"
        ) from None
