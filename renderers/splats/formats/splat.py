"""antimatter15's .splat: 32 bytes per Gaussian, without a header."""

from pathlib import Path

import numpy as np

from renderers.splats.formats.contents import Contents, first_sh


RECORD = np.dtype(
    [("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quats", "u1", 4)]
)


def read(path: Path, data: bytes) -> Contents:
    """Read a file. Raises ValueError, which names it, if its length is impossible."""
    if not data or len(data) % RECORD.itemsize:
        raise ValueError(
            f"{path}: got {len(data)} bytes, expected a positive multiple of {RECORD.itemsize}"
        )
    record = np.frombuffer(data, RECORD)
    rgba = record["rgba"] / 255
    return Contents(
        means=record["means"],
        quats=(record["quats"] - 128.0) / 128,
        scales=record["scales"],
        opacities=rgba[:, 3],
        sh=first_sh(rgba[:, None, :3]),
    )
