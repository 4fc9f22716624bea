"""Relocation: 3D Gaussian Splatting as Markov Chain Monte Carlo (Kheradmand et al. 2024).

The number of Gaussians stays fixed. Gaussians that have faded are moved onto others, which are
drawn by opacity; both then share the opacity and scales, so that the picture does not change. Faint
Gaussians wander at random, so that they find where something is missing.
"""

import functools
import math

import torch

from inverse.fitting.model import GaussianModel
from renderers.splats.projection import covariances_of


DEAD = 0.005  # opacity up to which a Gaussian is relocated; one above 1 / 255 can be seen
MOST = 51  # largest number of Gaussians that share one place


@functools.cache
def _binomials() -> torch.Tensor:
    """(MOST, MOST) of (-1)^k C(i, k) / sqrt(k + 1)."""
    rows = [
        [math.comb(i, k) * (-1) ** k / math.sqrt(k + 1) for k in range(MOST)] for i in range(MOST)
    ]
    return torch.tensor(rows, dtype=torch.float64)


def shared(
    opacities: torch.Tensor, scales: torch.Tensor, count: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Opacity and scales of each of count Gaussians that together look like one (eq. 9).

    opacities: (n,), and scales: (n, 3) m, of the one; count: (n,), how many replace it.
    """
    count = count.clamp(1, MOST)
    opacity = opacities.double()
    # 1 - (1 - o)^(1 / N): N layers together let through as much light as the one did.
    single = -torch.expm1(torch.log1p(-opacity) / count)
    powers = single[:, None] ** torch.arange(1, MOST + 1, device=opacity.device)
    terms = powers @ _binomials().to(opacity.device).T  # (n, MOST): the sum over k for each i
    upto = torch.arange(MOST, device=count.device) < count[:, None]
    factor = opacity / (terms * upto).sum(1)
    return single.to(opacities.dtype), (scales * factor[:, None]).to(scales.dtype)


@torch.no_grad()
def relocate(
    model: GaussianModel, optimizer: torch.optim.Optimizer, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move faded Gaussians onto others, and reset the optimizer's moments of both.

    Returns the indices (k,) of the Gaussians that were moved, and of those onto which they were
    moved.
    """
    opacities = model.opacities
    dead = (opacities <= DEAD).nonzero()[:, 0]
    alive = (opacities > DEAD).nonzero()[:, 0]
    if not len(dead) or not len(alive):
        return dead[:0], alive[:0]
    weights = opacities[alive].cpu()
    drawn = torch.multinomial(weights, len(dead), replacement=True, generator=generator)
    target = alive[drawn.to(alive.device)]
    count = torch.bincount(target, minlength=len(model)) + 1
    opacity, scales = shared(opacities[target], model.scales[target], count[target])
    opacity = opacity.clamp(DEAD + 1e-4, 1 - 1e-4)  # above DEAD, or they would be moved again
    model.opacity_logits[target] = torch.logit(opacity)
    model.log_scales[target] = scales.log()
    for parameter in model.parameters():
        parameter[dead] = parameter[target]
        state = optimizer.state.get(parameter, {})
        for name in ("exp_avg", "exp_avg_sq"):
            if name in state:
                state[name][target] = 0
                state[name][dead] = 0
    return dead, target


@torch.no_grad()
def wander(model: GaussianModel, size: float, generator: torch.Generator) -> None:
    """Shift each mean by noise of its Gaussian's shape times size (1/m); only faint ones move."""
    tensors = model.tensors(0)
    gate = torch.sigmoid(-100 * (tensors["opacities"] - DEAD))
    noise = torch.randn(len(model), 3, generator=generator).to(model.means)
    noise = noise * gate[:, None] * size
    covariances = covariances_of(tensors["quats"], tensors["scales"])
    model.means.add_((covariances @ noise[..., None])[..., 0])
