"""Pictures as files."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from taichi_phys.io.files import atomic_path


def to_bytes(image: torch.Tensor) -> np.ndarray:
    """(H, W, 3) float in 0..1, cut off outside, to uint8."""
    return (image.detach().clamp(0, 1) * 255).round().byte().cpu().numpy()


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write a picture (H, W), (H, W, 3) or (H, W, 4) uint8, at once or not at all.

    Raises ValueError if the file cannot be written.
    """
    with atomic_path(path) as partial:
        Image.fromarray(image).save(partial, format="png")
