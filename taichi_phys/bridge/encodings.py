"""Positional encodings."""

import math

import torch


def fourier_features(x: torch.Tensor, frequencies: int) -> torch.Tensor:
    """x (..., d), then sin and cos of 2^k pi x for k < frequencies: (..., d (1 + 2 frequencies)).

    (Mildenhall et al. 2020, eq. 4, with the raw input kept.)
    """
    scales = math.pi * 2.0 ** torch.arange(frequencies, dtype=x.dtype, device=x.device)
    angles = (x[..., None] * scales).flatten(-2)
    return torch.cat([x, angles.sin(), angles.cos()], dim=-1)
