"""Tracks by CoTracker (Karaev et al. 2024), where it and its weights are installed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from inverse.tracking.lucas_kanade import check_queries
from inverse.tracking.tracks import Tracks


HUB = "facebookresearch/co-tracker"
MODEL = "cotracker3_offline"


def track_cotracker(
    video: np.ndarray,
    queries: np.ndarray,
    *,
    repo_or_checkpoint: str | Path | None = None,
    device: str = "cpu",
    mask: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tracks:
    """Follow queries (N, 2) px from frame 0 through a video (T, H, W, 3) uint8 with CoTracker.

    repo_or_checkpoint: a folder with a clone, a checkpoint of the offline model (which needs the
    package `cotracker`), or None for torch.hub; device: where the model runs; mask and progress:
    every tracker takes them, but CoTracker looks at whole frames and at all of them at once, and
    does not use them. Raises ValueError for wrong shapes, and when CoTracker cannot be loaded.
    """
    video = np.asarray(video)
    if video.ndim != 4 or video.shape[3] != 3 or len(video) == 0:
        raise ValueError(f"video: got shape {video.shape}, expected (T, H, W, 3)")
    queries = check_queries(queries)
    import torch

    model = _load(repo_or_checkpoint).to(device).eval()
    frames = torch.from_numpy(np.ascontiguousarray(video)).permute(0, 3, 1, 2)[None].float()
    start = np.concatenate([np.zeros((len(queries), 1)), queries - 0.5], axis=1)
    with torch.no_grad():
        xy, visible = model(
            frames.to(device),
            queries=torch.from_numpy(start).float()[None].to(device),
            backward_tracking=False,
        )
    return Tracks(
        xy=xy[0].double().cpu().numpy() + 0.5, visible=visible[0].cpu().numpy().astype(bool)
    )


def _load(source: str | Path | None):
    import torch

    try:
        if source is None:
            return torch.hub.load(HUB, MODEL, trust_repo=True)
        if Path(source).is_dir():
            return torch.hub.load(str(source), MODEL, source="local")
        from cotracker.predictor import CoTrackerPredictor

        if not Path(source).is_file():
            raise FileNotFoundError(f"no such file or folder: {source}")
        return CoTrackerPredictor(checkpoint=str(source), offline=True)
    except Exception as error:  # torch.hub raises anything from URLError to ImportError
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"CoTracker cannot be loaded ({reason}): clone https://github.com/{HUB} and pass the "
            "folder, `pip install git+https://github.com/facebookresearch/co-tracker` and pass "
            "a checkpoint, or use the default tracker"
        ) from None
