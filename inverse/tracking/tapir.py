"""Tracks by BootsTAPIR (Doersch et al. 2024), where its package and its weights are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from inverse.clips.footage import Footage, as_footage
from inverse.tracking.lucas_kanade import check_queries
from inverse.tracking.tracks import Tracks


SIDE, STEP = 512, 8  # px: of the longer side of the pictures that it sees, and what sides are of
PACKAGE = "pip install 'tapnet[torch] @ git+https://github.com/google-deepmind/tapnet.git'"
WEIGHTS = "https://storage.googleapis.com/dm-tapnet/bootstap/bootstapir_checkpoint_v2.pt"


def track_tapir(
    video: Footage,
    queries: np.ndarray,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    mask: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tracks:
    """Follow queries (N, 2) px from frame 0 through a video (T, H, W, 3) uint8 with BootsTAPIR.

    checkpoint: file of its weights for torch; device: where the model runs; mask, progress: every
    tracker takes them, but this one looks at whole frames, all at once. Raises ValueError for wrong
    shapes, and when the package or the weights are missing.
    """
    import torch

    video, queries = as_footage(video), check_queries(queries)
    model = _load(checkpoint).to(device).eval()
    height, width = video.shape[1:3]
    by = SIDE / max(width, height)
    size = [max(STEP, STEP * round(by * side / STEP)) for side in (width, height)]
    scale = np.array(size) / [width, height]
    pictures = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in video])
    frames = torch.from_numpy(pictures).to(device)[None].float() / 127.5 - 1
    # Its queries are frame, row, column.
    start = np.concatenate([np.zeros((len(queries), 1)), (queries * scale)[:, ::-1]], axis=1)
    with torch.no_grad():
        found = model(frames, torch.from_numpy(start).float().to(device)[None])
        hidden, unsure = (torch.sigmoid(found[key][0]) for key in ("occlusion", "expected_dist"))
        seen = ((1 - hidden) * (1 - unsure) > 0.5).T.cpu().numpy()
        xy = found["tracks"][0].transpose(0, 1).double().cpu().numpy() / scale
    xy[0], seen[0] = queries, True
    return Tracks(xy=xy, visible=seen)


def _load(checkpoint: str | Path | None) -> Any:
    import torch

    if checkpoint is None or not Path(checkpoint).is_file():
        missing = "no checkpoint was given" if checkpoint is None else f"no such file: {checkpoint}"
        raise ValueError(
            f"tapir: {missing}; fetch {WEIGHTS} (Apache-2.0) and give it by --tapir, or use the "
            "default tracker"
        )
    try:
        from tapnet.torch import tapir_model  # type: ignore[import-not-found,unused-ignore]

        model = tapir_model.TAPIR(pyramid_level=1)
        model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    except ImportError as error:
        raise ValueError(f"tapir: it needs the package tapnet ({error}); {PACKAGE}") from None
    except Exception as error:  # torch raises anything for a broken file or other weights
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"tapir {checkpoint}: cannot be loaded ({reason})") from None
    return model
