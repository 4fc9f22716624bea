"""Conversion of pictures to bytes and PNG files."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from taichi_phys.io.files import atomic_path


def to_bytes(image: torch.Tensor) -> np.ndarray:
    """Convert a picture (H, W, 3), float in 0..1, to uint8; values outside are clamped."""
    return (image.detach().clamp(0, 1) * 255).round().byte().cpu().numpy()


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write a picture (H, W), (H, W, 3) or (H, W, 4) uint8 as a PNG file, whole or not at all.

    Raises ValueError if the file cannot be written.
    """
    with atomic_path(path) as partial:
        Image.fromarray(image).save(partial, format="png")
