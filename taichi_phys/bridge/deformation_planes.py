"""The deformation of a scene's canonical state, from features on planes (Wu et al. 2024)."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from taichi_phys.bridge.causal_triplane import AXES as SPACE
from taichi_phys.bridge.deformation_mlp import DeformationHead
from taichi_phys.bridge.encodings import SpaceTimeEncoding
from taichi_phys.bridge.planes import sample_planes


TIME = ((0, 3), (1, 3), (2, 3))  # axes of the planes of time, which is 3
LEVELS = (1, 2)  # samples along space of the finer planes for each one of the coarsest
FIRST = (0.1, 0.5)  # range of the features of space at first (K-Planes, sec. 4)


class DeformationPlanes(nn.Module):
    """The field f_defo(x, t) of 4D Gaussian Splatting: shift, rotation and growth of x at time t.

    At each of two resolutions there are three planes of space and three of an axis of space and of
    time. Features are bilinear on each and multiplied, and those of the resolutions go into one
    small network (Wu et al. 2024, eq. 6; K-Planes, Fridovich-Keil et al. 2023, eqs 1 and 2). Planes
    of time start at one, and the head at zero, so that there is no deformation at first.

    center: (3,) m, scale: m, of the scene: planes reach from center - scale to center + scale, and
    features do not change beyond; duration: s, which planes reach to; interval: s, between their
    samples in time; resolution: samples along a side of the coarser planes; channels: features of
    each resolution; width: of the network; shaded: as in `DeformationMLP`. Raises ValueError.
    """

    def __init__(
        self,
        *,
        center: Sequence[float] = (0.0, 0.0, 0.0),
        scale: float = 1.0,
        duration: float = 1.0,
        interval: float = 0.1,
        resolution: int = 64,
        channels: int = 32,
        width: int = 64,
        shaded: bool = False,
    ):
        super().__init__()
        sizes = {"resolution": (resolution, 2), "channels": (channels, 1), "width": (width, 1)}
        for name, (value, least) in sizes.items():
            if value < least:
                raise ValueError(f"{name}: got {value}, expected at least {least}")
        for name, time in {"duration": duration, "interval": interval}.items():
            if not 0 < time < math.inf:
                raise ValueError(f"{name}: got {time}, expected a finite number > 0")
        self.encode = SpaceTimeEncoding(
            center=center, scale=scale, duration=interval, frequencies=0, time_frequencies=0
        )
        sides, rows = [level * resolution for level in LEVELS], self._rows(duration)
        low, high = FIRST
        space = [low + (high - low) * torch.rand(3, channels, side, side) for side in sides]
        self.space_planes = nn.ParameterList(space)
        self.time_planes = nn.ParameterList(torch.ones(3, channels, rows, side) for side in sides)
        self.network = nn.Sequential(
            nn.Linear(len(LEVELS) * channels, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.shaded = shaded
        self.head = DeformationHead(width, shaded)

    def _rows(self, duration: float) -> int:
        """How many samples in time reach to a duration, s, two at least."""
        return 1 + max(math.ceil(duration / self.encode.duration.item() - 1e-4), 1)

    def forward(self, x: torch.Tensor, t: float | torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The deformation of x (n, 3) m at t, one time or (n,), s, as `DeformationMLP` gives it."""
        u, row = self.encode(x, t)
        features = []
        for space, time in zip(self.space_planes, self.time_planes, strict=True):
            places = torch.cat([u, (2 * row / (time.shape[2] - 1) - 1).expand(len(u), 1)], dim=1)
            product = sample_planes(space, places, SPACE).prod(dim=0)
            features.append(product * sample_planes(time, places, TIME).prod(dim=0))
        return self.head.moves(self.network(torch.cat(features).T), self.encode.scale)

    @torch.no_grad()
    def extend(self, duration: float) -> None:
        """Let the planes of time reach to a later duration, s, with what they say at their end."""
        for k, planes in enumerate(self.time_planes):
            more = self._rows(duration) - planes.shape[2]
            if more > 0:
                later = planes[:, :, -1:].expand(-1, -1, more, -1)
                self.time_planes[k] = nn.Parameter(torch.cat([planes, later], dim=2))

    def variation(self) -> torch.Tensor:
        """How rough the planes are, to be kept small (K-Planes, eqs 3 and 4).

        The mean squared differences along space, and the mean squared second differences in time.
        """
        total = self.time_planes[0].new_zeros(())
        for space, time in zip(self.space_planes, self.time_planes, strict=True):
            for planes, axis in ((space, -1), (space, -2), (time, -1)):
                total = total + planes.diff(dim=axis).square().mean()
            if time.shape[2] > 2:
                total = total + time.diff(n=2, dim=2).square().mean()
        return total
