"""The causal triplane: a force field in space and time ("Seeing the wind", eq. 3)."""

from collections.abc import Sequence

import torch
from torch import nn

from taichi_phys.bridge.encodings import fourier_features
from taichi_phys.bridge.planes import PlaneField, sample_planes, zero_decoder


TIME_FREQUENCIES = 4
AXES = ((0, 1), (0, 2), (1, 2))  # of the planes XY, XZ and YZ


class CausalTriplane(PlaneField):
    """A vector field f(x, t) = scale Dec(gamma(x) + phi_t(t)), with a time encoder per video step.

    gamma is the sum of bilinear features of three axis-aligned planes (XY, XZ, YZ). phi_t is a
    small MLP of the time that starts from the weights of phi_{t-1} (`begin_step`). Dec is an MLP
    to a 3-vector; its last layer starts at zero, so that the field is zero at first.

    lower, upper: (3,) corners of the region, m (the field is constant beyond its faces); steps:
    number of video steps; scale: size of a typical value, in the unit of the field; resolution:
    samples along each side of a plane; channels: features per sample; hidden: width of the MLPs.
    Raises ValueError.
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
        self.planes = nn.Parameter(0.1 * torch.randn(3, channels, resolution, resolution))
        self.time_encoder = nn.Sequential(
            nn.Linear(1 + 2 * TIME_FREQUENCIES, hidden), nn.SiLU(), nn.Linear(hidden, channels)
        )
        self._previous: list[torch.Tensor] = []  # phi_{t-1}, frozen; empty at the first step
        self.decoder = zero_decoder(channels, hidden, hidden)

    def begin_step(self, step: int) -> None:
        """Prepare the fit of a video step, a number from 0; call it before each step.

        The time encoder goes on from the weights of the step before, which are kept as the
        reference of `time_variation`. Step 0 has no reference.
        """
        if step > 0:
            self._previous = [p.detach().clone() for p in self.time_encoder.parameters()]

    def space_features(self, x: torch.Tensor) -> torch.Tensor:
        """The features gamma(x), (n, channels), at positions x (n, 3) m."""
        return sample_planes(self.planes, self.normalized(x), AXES).sum(dim=0).T

    def forward(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """The field (n, 3) at positions x (n, 3) m and a video step from 0 to steps - 1."""
        t = torch.full((1, 1), step / self.steps, dtype=x.dtype, device=x.device)
        phi = self.time_encoder(fourier_features(t, TIME_FREQUENCIES))
        return self.scale * self.decoder(self.space_features(x) + phi)

    def space_variation(self) -> torch.Tensor:
        """L_space: the mean squared total variation of the planes (K-Planes, eq. 5)."""
        du = self.planes.diff(dim=-1).square().mean()
        dv = self.planes.diff(dim=-2).square().mean()
        return du + dv

    def time_variation(self) -> torch.Tensor:
        """L_time: mean |theta_t - theta_{t-1}| of the time encoder (eq. 15); 0 in step 0."""
        if not self._previous:
            return self.planes.new_zeros(())
        pairs = zip(self.time_encoder.parameters(), self._previous, strict=True)
        moves = ((now - before).abs().sum() for now, before in pairs)
        return sum(moves, self.planes.new_zeros(())) / sum(p.numel() for p in self._previous)
