"""K-Planes (Fridovich-Keil et al. 2023): the field that table 2 of "Seeing the wind" compares."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


SPACE, TIME = ((0, 1), (0, 2), (1, 2)), ((0, 3), (1, 3), (2, 3))  # axes of the planes; 3 is time
FIRST = (0.1, 0.5)  # range of the features of space at first; those of time are 1 (their sec. 4)


class KPlanes(nn.Module):
    """A vector field f(x, t) = scale Dec(product over six planes of their features).

    Three planes are of space, three of an axis of space and of time; features are bilinear on each,
    and multiplied (their eqs 1 and 2). Time planes have a sample for every two steps, as theirs
    have for every two frames. Dec is an MLP whose last layer starts at zero.

    lower, upper: (3,) corners of the region, m (the field is constant beyond its faces); steps:
    number of video steps; scale: size of a typical value, in the unit of the field; resolution:
    samples along each side of a plane of space; channels: features per sample; hidden: width of
    the MLP.
    """

    lower: torch.Tensor
    upper: torch.Tensor

    def __init__(
        self,
        *,
        lower: Sequence[float],
        upper: Sequence[float],
        steps: int,
        scale: float = 1.0,
        resolution: int = 32,
        channels: int = 16,
        hidden: int = 64,
    ):
        super().__init__()
        self.register_buffer("lower", torch.as_tensor(lower).float())
        self.register_buffer("upper", torch.as_tensor(upper).float())
        self.steps, self.scale = steps, scale
        low, high = FIRST
        space = low + (high - low) * torch.rand(3, channels, resolution, resolution)
        self.space_planes = nn.Parameter(space)
        self.time_planes = nn.Parameter(torch.ones(3, channels, max(2, steps // 2), resolution))
        self.decoder = nn.Sequential(
            nn.Linear(channels, hidden), nn.SiLU(), nn.Linear(hidden, 3)
        )  # fmt: skip
        nn.init.zeros_(self._last_layer.weight)
        nn.init.zeros_(self._last_layer.bias)

    @property
    def _last_layer(self) -> nn.Linear:
        layer = self.decoder[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def begin_step(self, step: int) -> None:
        """Nothing is carried from step to step but what time planes share."""

    def features(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """(n, channels): the product of the features of all planes at positions x (n, 3) m."""
        u = 2 * (x - self.lower) / (self.upper - self.lower) - 1
        t = torch.full_like(u[:, :1], 2 * step / max(self.steps - 1, 1) - 1)
        places = torch.cat([u, t], dim=1)
        found = torch.ones((), dtype=x.dtype, device=x.device)
        for planes, axes in ((self.space_planes, SPACE), (self.time_planes, TIME)):
            pairs = torch.stack([places[:, list(pair)] for pair in axes])[:, None]  # (3, 1, n, 2)
            sampled = functional.grid_sample(
                planes, pairs, mode="bilinear", padding_mode="border", align_corners=True
            )
            found = found * sampled.prod(dim=0)
        return found[:, 0].T

    def forward(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """The field (n, 3) at positions x (n, 3) m and a video step from 0 to steps - 1."""
        return self.scale * self.decoder(self.features(x, step))

    def shift(self, offset: torch.Tensor) -> None:
        """Add the constant offset (3,) to the field, in its unit."""
        with torch.no_grad():
            self._last_layer.bias.add_(offset / self.scale)

    def space_variation(self) -> torch.Tensor:
        """L_space: the mean squared total variation of all planes along space (their eq. 3)."""
        u, v = (self.space_planes.diff(dim=axis).square().mean() for axis in (-1, -2))
        return u + v + self.time_planes.diff(dim=-1).square().mean()

    def time_variation(self) -> torch.Tensor:
        """L_time: the mean squared second difference of the time planes along time (their eq. 4),
        0 where they have two samples."""
        if self.time_planes.shape[-2] < 3:
            return self.time_planes.new_zeros(())
        return self.time_planes.diff(n=2, dim=-2).square().mean()
