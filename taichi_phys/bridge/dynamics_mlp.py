"""A network for the dynamics of every point of a scene (TRACE, eq. 5)."""

from collections.abc import Sequence

import torch
from torch import nn

from taichi_phys.bridge.encodings import SpaceTimeEncoding
from taichi_phys.checks import one_of


# Number of frequencies, width, and number of hidden layers after the first. "small" was added for
# CPUs; the other two are the paper's.
SIZES = {"small": (3, 64, 3), "light": (3, 128, 6), "full": (6, 256, 8)}


class DynamicsMLP(nn.Module):
    """The network f_trd(x, t): the parameters of the particle at x at time t, in SI units.

    The parameters are (n, 3) each, in the order of the arguments of the stepping: v_bar, a_bar, w,
    eps for `rigid.advance`, or, with rigid, c, v_c, a_c, w, eps for `rigid.advance_rigid`.

    center: (3,) m, scale: m, duration: s, of the scene: the network sees (x - center) / scale and
    t / duration, and the paper's v_bar and a_bar are learned about center, so that neither the
    units nor the position of the origin matter; size: "small", "light" or "full"; rigid: whether
    particles have a center of rotation; squared: whether an acceleration is o |o| / 10 of the
    network's output o, as in the paper's code. The square makes small accelerations easy to
    represent; but its slope vanishes at zero, where training starts, so that no acceleration is
    learned within the steps that a CPU can afford. Raises ValueError.
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
        """The parameters, (n, 3) each, at positions x (n, 3) m and times t, one or (n,), s."""
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
        # From the field about center, v + w x (x - center), to the field about the origin.
        center = center.expand_as(v)
        return v - torch.linalg.cross(w, center), a - torch.linalg.cross(eps, center), w, eps
