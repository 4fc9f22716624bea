"""The dynamics of every point of a scene as a network (TRACE, eq. 5)."""

from collections.abc import Sequence

import torch
from torch import nn

from taichi_phys.bridge.encodings import SpaceTimeEncoding
from taichi_phys.checks import one_of


# frequencies, width, and hidden layers after the first one
# (small is ours, for a CPU; the others are the paper's)
SIZES = {"small": (3, 64, 3), "light": (3, 128, 6), "full": (6, 256, 8)}


class DynamicsMLP(nn.Module):
    """f_trd(x, t): the parameters of the particle that is at x at time t, in SI units.

    They come in the order in which the stepping takes them: v_bar, a_bar, w, eps for
    `rigid.advance`, or with a center of rotation c, v_c, a_c, w, eps for `rigid.advance_rigid`;
    each (n, 3). With squared, as in the paper's code, an acceleration is a signed square of what
    the network says, o |o| / 10, so that small ones are easy to say; but then none is learned from
    where it starts, near zero, within the steps that a CPU can afford.

    center (3,) m, scale m and duration s of the scene: lengths and times are measured in them, and
    v_bar and a_bar of the paper are learned about center, so neither units nor the place of the
    origin matter. size: "small", "light" or "full"; rigid: with a center of rotation. Raises
    ValueError.
    """

    def __init__(
        self,
        *,
        center: Sequence[float] = (0.0, 0.0, 0.0),
        scale: float = 1.0,
        duration: float = 1.0,
        size: str = "full",
        rigid: bool = False,
        squared: bool = True,
    ):
        super().__init__()
        frequencies, width, layers = SIZES[one_of("size", size, tuple(SIZES))]
        self.encode = SpaceTimeEncoding(
            center=center,
            scale=scale,
            duration=duration,
            frequencies=frequencies,
            time_frequencies=frequencies,
        )
        self.rigid, self.squared = rigid, squared
        widths = [sum(self.encode.widths)] + [width] * (layers + 1)
        hidden = [
            module
            for before, after in zip(widths, widths[1:], strict=False)
            for module in (nn.Linear(before, after), nn.SiLU())
        ]
        self.network = nn.Sequential(*hidden, nn.Linear(width, 15 if rigid else 12))

    def forward(self, x: torch.Tensor, t: float | torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Parameters, each (n, 3), at positions x (n, 3) m and the time t s, one or (n,)."""
        features, time = self.encode(x, t)
        out = self.network(torch.cat([features, time.expand(len(x), -1)], dim=-1))
        *rates, a, eps = out.split(3, dim=-1)
        if self.squared:
            a, eps = a * a.abs() / 10, eps * eps.abs() / 10
        center, length, second = self.encode.center, self.encode.scale, self.encode.duration
        a, eps = a * (length / second**2), eps / second**2
        v, w = rates[-2] * (length / second), rates[-1] / second
        if self.rigid:
            return center + length * rates[0], v, a, w, eps
        # from the field about center, v + w x (x - center), to that about the origin
        center = center.expand_as(v)
        return v - torch.linalg.cross(w, center), a - torch.linalg.cross(eps, center), w, eps
