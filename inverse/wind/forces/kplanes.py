"""K-Planes (Fridovich-Keil et al. 2023): the field that table 2 of "Seeing the wind" compares."""

from collections.abc import Sequence

import torch
from torch import nn

from taichi_phys.bridge.causal_triplane import AXES as SPACE
from taichi_phys.bridge.planes import PlaneField, sample_planes, zero_decoder


TIME = ((0, 3), (1, 3), (2, 3))  # axes of the planes of time, which is 3
FIRST = (0.1, 0.5)  # range of the features of space at first; those of time are 1 (their sec. 4)


class KPlanes(PlaneField):
    """A vector field f(x, t) = scale Dec(product over six planes of their features).

    Three planes are of space, three of an axis of space and of time; features are bilinear on each,
    and multiplied (their eqs 1 and 2). Time planes have a sample for every two steps, as theirs
    have for every two frames. Dec is an MLP whose last layer starts at zero.

    lower, upper: (3,) corners of the region, m (the field is constant beyond its faces); steps:
    number of video steps; scale: size of a typical value, in the unit of the field; resolution:
    samples along each side of a plane of space; channels: features per sample; hidden: width of
    the MLP. Raises ValueError.
    """

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
        super().__init__(lower, upper, steps, scale, resolution=resolution, channels=channels)
        low, high = FIRST
        space = low + (high - low) * torch.rand(3, channels, resolution, resolution)
        self.space_planes = nn.Parameter(space)
        self.time_planes = nn.Parameter(torch.ones(3, channels, max(2, steps // 2), resolution))
        self.decoder = zero_decoder(channels, hidden)

    def begin_step(self, step: int) -> None:
        """Nothing is carried from step to step but what time planes share."""

    def features(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """(n, channels): the product of the features of all planes at positions x (n, 3) m."""
        u = self.normalized(x)
        t = torch.full_like(u[:, :1], 2 * step / max(self.steps - 1, 1) - 1)
        places = torch.cat([u, t], dim=1)
        space = sample_planes(self.space_planes, places, SPACE).prod(dim=0)
        return (space * sample_planes(self.time_planes, places, TIME).prod(dim=0)).T

    def forward(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """The field (n, 3) at positions x (n, 3) m and a video step from 0 to steps - 1."""
        return self.scale * self.decoder(self.features(x, step))

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
