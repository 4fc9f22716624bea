"""What fields on planes have in common: a region, bilinear features, and a decoder to vectors."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class PlaneField(nn.Module):
    """A vector field whose features lie on planes, decoded to 3-vectors by an MLP.

    lower, upper: (3,) corners of the region, m (the field is constant beyond its faces); steps:
    number of video steps; scale: size of a typical value, in the unit of the field; sizes: other
    positive integers, by the names of the arguments that they were given as. A derived class sets
    `decoder`. Raises ValueError.
    """

    lower: torch.Tensor
    upper: torch.Tensor
    decoder: nn.Sequential

    def __init__(
        self,
        lower: Sequence[float],
        upper: Sequence[float],
        steps: int,
        scale: float,
        **sizes: int,
    ):
        super().__init__()
        low, high = torch.as_tensor(lower).float(), torch.as_tensor(upper).float()
        if low.shape != (3,) or high.shape != (3,) or not (high > low).all():
            raise ValueError(
                f"lower, upper: got {low.tolist()}, {high.tolist()}, expected 3 numbers each, "
                "upper above lower"
            )
        for name, value in {"steps": steps, **sizes}.items():
            if value < 1:
                raise ValueError(f"{name}: got {value}, expected a positive integer")
        if not scale > 0:
            raise ValueError(f"scale: got {scale}, expected a number > 0")
        self.register_buffer("lower", low)
        self.register_buffer("upper", high)
        self.steps, self.scale = steps, scale

    def normalized(self, x: torch.Tensor) -> torch.Tensor:
        """Positions x (n, 3) m in units in which the region reaches from -1 to 1."""
        return 2 * (x - self.lower) / (self.upper - self.lower) - 1

    def shift(self, offset: torch.Tensor) -> None:
        """Add the constant offset (3,) to the field, in its unit."""
        layer = self.decoder[-1]
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            layer.bias.add_(offset / self.scale)


def zero_decoder(*widths: int) -> nn.Sequential:
    """An MLP of layers of these widths to a 3-vector, which is zero at first."""
    pairs = zip(widths[:-1], widths[1:], strict=True)
    hidden = [layer for a, b in pairs for layer in (nn.Linear(a, b), nn.SiLU())]
    last = nn.Linear(widths[-1], 3)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*hidden, last)


def sample_planes(
    planes: torch.Tensor, places: torch.Tensor, axes: Sequence[tuple[int, int]]
) -> torch.Tensor:
    """Bilinear features (k, channels, n) on k planes (k, channels, rows, columns).

    places: (n, d), from -1 to 1 on the planes; axes: the two columns of places of each plane.
    """
    pairs = torch.stack([places[:, list(pair)] for pair in axes])[:, None]  # (k, 1, n, 2)
    sampled = functional.grid_sample(
        planes, pairs, mode="bilinear", padding_mode="border", align_corners=True
    )
    return sampled[:, :, 0]
