"""A network for the deformation of a scene's canonical state (Yang et al. 2024, sec. 3.2)."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from taichi_phys.bridge.encodings import SpaceTimeEncoding


TIME_FEATURES = 30


class DeformationHead(nn.Linear):
    """The last layer of a deformation field, which starts at zero.

    width: of the layer before; shaded: as in `DeformationMLP`.
    """

    def __init__(self, width: int, shaded: bool):
        super().__init__(width, 3 + 4 + 3 + shaded)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def moves(self, h: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What `DeformationMLP` gives, from the features h (n, width); scale: of shifts, m."""
        shift, turn, log_scales, shade = self(h).tensor_split([3, 7, 10], dim=-1)
        turn = turn + turn.new_tensor([1.0, 0.0, 0.0, 0.0])
        moves = scale * shift, functional.normalize(turn, dim=-1), log_scales
        return (*moves, torch.tanh(shade)) if shade.shape[-1] else moves


class DeformationMLP(nn.Module):
    """The network f_defo(x, t): shift, rotation and growth of the canonical point x at time t.

    The encoding of the time passes through a small network of its own. The encodings of space and
    time enter the first layer and again the layer after the middle (TRACE uses 8 layers of width
    256). The head starts at zero, so that the network starts without deformation.

    center: (3,) m, scale: m, duration: s, of the scene: the network sees (x - center) / scale and
    t / duration; depth: number of layers; width: of each layer; frequencies, time_frequencies: as
    in `SpaceTimeEncoding`; shaded: whether it also says how bright points are, which is not of that
    paper: where light is fixed in the world, what turns becomes brighter and darker, and would
    otherwise be moved to look so. Raises ValueError.
    """

    def __init__(
        self,
        *,
        center: Sequence[float] = (0.0, 0.0, 0.0),
        scale: float = 1.0,
        duration: float = 1.0,
        depth: int = 8,
        width: int = 256,
        frequencies: int = 8,
        time_frequencies: int = 6,
        shaded: bool = False,
    ):
        super().__init__()
        for name, value, least in (("depth", depth, 2), ("width", width, 1)):
            if value < least:
                raise ValueError(f"{name}: got {value}, expected at least {least}")
        self.encode = SpaceTimeEncoding(
            center=center,
            scale=scale,
            duration=duration,
            frequencies=frequencies,
            time_frequencies=time_frequencies,
        )
        space, time = self.encode.widths
        self.time_network = nn.Sequential(
            nn.Linear(time, width), nn.ReLU(), nn.Linear(width, TIME_FEATURES)
        )
        inputs = space + TIME_FEATURES
        self.skip = depth // 2 + 1  # the layer that sees the inputs again
        extra = {0: inputs - width, self.skip: inputs}
        self.layers = nn.ModuleList(nn.Linear(width + extra.get(i, 0), width) for i in range(depth))
        self.shaded = shaded
        self.head = DeformationHead(width, shaded)

    def forward(self, x: torch.Tensor, t: float | torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Shifts (n, 3) m, unit quaternions wxyz (n, 4) and changes of the log sizes (n, 3).

        With shaded also the logs (n, 1), within -1 and 1, of how bright points are.
        x: (n, 3) canonical positions, m; t: one time or (n,), s.
        """
        features, time = self.encode(x, t)
        inputs = torch.cat([features, self.time_network(time).expand(len(x), -1)], dim=-1)
        h = inputs
        for i, layer in enumerate(self.layers):
            if i == self.skip:
                h = torch.cat([inputs, h], dim=-1)
            h = torch.relu(layer(h))
        return self.head.moves(h, self.encode.scale)
