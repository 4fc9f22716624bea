"""Positional encodings."""

import math
from collections.abc import Sequence

import torch
from torch import nn


def fourier_features(x: torch.Tensor, frequencies: int, base: float = math.pi) -> torch.Tensor:
    """Features (..., d (1 + 2 frequencies)): x itself, then sin and cos of 2^k base x.

    x: (..., d); k runs from 0 to frequencies - 1; base: rad per unit of x. (Mildenhall et al. 2020,
    eq. 4, with x itself kept.)
    """
    scales = base * 2.0 ** torch.arange(frequencies, dtype=x.dtype, device=x.device)
    angles = (x[..., None] * scales).flatten(-2)
    return torch.cat([x, angles.sin(), angles.cos()], dim=-1)


class SpaceTimeEncoding(nn.Module):
    """Fourier features of (x - center) / scale and t / duration, for scenes of any size and speed.

    center: (3,) m; scale: m; duration: s; frequencies, time_frequencies: number of frequencies,
    which are 1, 2, 4, ... rad per unit. Raises ValueError.
    """

    center: torch.Tensor
    scale: torch.Tensor
    duration: torch.Tensor

    def __init__(
        self,
        *,
        center: Sequence[float],
        scale: float,
        duration: float,
        frequencies: int,
        time_frequencies: int,
    ):
        super().__init__()
        middle = torch.as_tensor(center).float()
        if middle.shape != (3,) or not middle.isfinite().all():
            raise ValueError(f"center: got {middle.tolist()}, expected 3 finite numbers")
        for name, value in {"scale": scale, "duration": duration}.items():
            if not 0 < value < math.inf:
                raise ValueError(f"{name}: got {value}, expected a finite number > 0")
        self.register_buffer("center", middle)
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.register_buffer("duration", torch.tensor(float(duration)))
        self.frequencies, self.time_frequencies = frequencies, time_frequencies
        self.widths = 3 * (1 + 2 * frequencies), 1 + 2 * time_frequencies

    def _load_from_state_dict(self, state_dict, prefix, *rest):
        old = f"{prefix}centre"  # the name in older checkpoints
        if old in state_dict:
            state_dict[f"{prefix}center"] = state_dict.pop(old)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(
        self, x: torch.Tensor, t: float | torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of x, (n, widths[0]), and of t, (n or 1, widths[1]).

        x: (n, 3) m; t: one time or (n,), s. Raises ValueError.
        """
        if x.ndim != 2 or x.shape[1] != 3:
            raise ValueError(f"x: got {tuple(x.shape)}, expected (n, 3)")
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
        if t.shape not in ((), (len(x),)):
            raise ValueError(f"t: got {tuple(t.shape)}, expected one time or ({len(x)},)")
        x, t = (x - self.center) / self.scale, t.reshape(-1, 1) / self.duration
        return (
            fourier_features(x, self.frequencies, base=1.0),
            fourier_features(t, self.time_frequencies, base=1.0),
        )
