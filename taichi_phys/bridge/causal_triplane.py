"""The causal triplane: a force field in space and time ("Seeing the wind", eq. 3)."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from taichi_phys.bridge.encodings import fourier_features


TIME_FREQUENCIES = 4


class CausalTriplane(nn.Module):
    """A vector field f(x, t) = scale Dec(gamma(x) + phi_t(t)), with a time encoder per video step.

    gamma is the sum of bilinear features of three axis-aligned planes (XY, XZ, YZ). phi_t is a
    small MLP of the time that starts from the weights of phi_{t-1} (`begin_step`). Dec is an MLP
    to a 3-vector; its last layer starts at zero, so that the field is zero at first.

    lower, upper: (3,) corners of the region, m (the field is constant beyond its faces); steps:
    number of video steps; scale: size of a typical value, in the unit of the field; resolution:
    samples along each side of a plane; channels: features per sample; hidden: width of the MLPs.
    Raises ValueError.
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
        low, high = torch.as_tensor(lower).float(), torch.as_tensor(upper).float()
        if low.shape != (3,) or high.shape != (3,) or not (high > low).all():
            raise ValueError(
                f"lower, upper: got {low.tolist()}, {high.tolist()}, expected 3 numbers each, "
                "upper above lower"
            )
        for name, value in {"steps": steps, "resolution": resolution, "channels": channels}.items():
            if value < 1:
                raise ValueError(f"{name}: got {value}, expected a positive integer")
        if not scale > 0:
            raise ValueError(f"scale: got {scale}, expected a number > 0")
        self.register_buffer("lower", low)
        self.register_buffer("upper", high)
        self.steps, self.scale = steps, scale
        self.planes = nn.Parameter(0.1 * torch.randn(3, channels, resolution, resolution))
        self.time_encoder = nn.Sequential(
            nn.Linear(1 + 2 * TIME_FREQUENCIES, hidden), nn.SiLU(), nn.Linear(hidden, channels)
        )
        self._previous: list[torch.Tensor] = []  # phi_{t-1}, frozen; empty at the first step
        self.decoder = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 3),
        )
        nn.init.zeros_(self._last_layer.weight)
        nn.init.zeros_(self._last_layer.bias)

    @property
    def _last_layer(self) -> nn.Linear:
        layer = self.decoder[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def begin_step(self, step: int) -> None:
        """Prepare the fit of a video step, a number from 0; call it before each step.

        The time encoder goes on from the weights of the step before, which are kept as the
        reference of `time_variation`. Step 0 has no reference.
        """
        if step > 0:
            self._previous = [p.detach().clone() for p in self.time_encoder.parameters()]

    def space_features(self, x: torch.Tensor) -> torch.Tensor:
        """The features gamma(x), (n, channels), at positions x (n, 3) m."""
        u = 2 * (x - self.lower) / (self.upper - self.lower) - 1
        pairs = torch.stack([u[:, [0, 1]], u[:, [0, 2]], u[:, [1, 2]]])[:, None]  # (3, 1, n, 2)
        sampled = functional.grid_sample(
            self.planes, pairs, mode="bilinear", padding_mode="border", align_corners=True
        )
        return sampled.sum(dim=0)[:, 0].T

    def forward(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """The field (n, 3) at positions x (n, 3) m and a video step from 0 to steps - 1."""
        t = torch.full((1, 1), step / self.steps, dtype=x.dtype, device=x.device)
        phi = self.time_encoder(fourier_features(t, TIME_FREQUENCIES))
        return self.scale * self.decoder(self.space_features(x) + phi)

    def shift(self, offset: torch.Tensor) -> None:
        """Add the constant offset (3,) to the field, in its unit."""
        with torch.no_grad():
            self._last_layer.bias.add_(offset / self.scale)

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
