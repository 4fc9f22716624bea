"""Errors of recovered forces, as the papers measure them."""

import numpy as np


def vector_errors(found, truth, *, threshold: float = 1e-6) -> dict[str, float]:
    """Mean direction, magnitude and vector error of found against truth, both (..., 3).

    Only vectors whose true size exceeds threshold x the largest count (papers/wind.md, sec. 7).
    Returns direction_error_deg, magnitude_error_percent, vector_error_percent. Raises ValueError.
    """
    found, truth = np.asarray(found, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if found.shape != truth.shape or found.shape[-1:] != (3,):
        raise ValueError(f"found: got shape {found.shape}, expected that of truth {truth.shape}")
    size = np.linalg.norm(truth, axis=-1)
    counted = size > threshold * size.max(initial=0.0)
    if not counted.any():
        raise ValueError("truth: all vectors are zero, errors have no meaning")
    f, g, size = found[counted], truth[counted], size[counted]
    found_size = np.linalg.norm(f, axis=-1)
    cosine = (f * g).sum(axis=-1) / np.maximum(found_size * size, 1e-300)
    return {
        "direction_error_deg": float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean()),
        "magnitude_error_percent": float(100 * (np.abs(found_size - size) / size).mean()),
        "vector_error_percent": float(100 * (np.linalg.norm(f - g, axis=-1) / size).mean()),
    }
