"""What stood still while a run learned its scene, and moves in photographs that came later."""

from collections.abc import Sequence

import numpy as np
import torch

from inverse.fitting.photometric import PhotoLoss
from inverse.trace.model import TraceModel
from inverse.trace.photographs import Photographs
from renderers.splats.render import render


LATEST = 8  # photographs, the last ones before and after, that are compared
WRONG = 0.1  # root mean square error of a pixel's color, in 0..1, from which it is wrong
MOST, FEW = 0.5, 0.25  # shares of a Gaussian's pixels that are wrong where it has left, or not
SEEN = 1.0  # px of a picture, by opacity, from which it shows a Gaussian


def awakened(
    model: TraceModel, train: Photographs, since: float, background: tuple[float, float, float]
) -> np.ndarray:
    """Find the Gaussians (n,) bool that stood still until `since` s and do not stay there later.

    The model is as it was learned until then. A Gaussian has left if, in half of the pictures that
    show it, most of the pixels that it gives are wrong in the last photographs, and few were in the
    last ones before. train: photographs of times before and after; where either is missing, nothing
    is found. background: the color behind transparent pixels, in 0..1.
    """
    order = np.argsort(train.times, kind="stable")
    times = np.array(train.times)[order]
    before, after = order[times <= since + 1e-6][-LATEST:], order[times > since + 1e-6][-LATEST:]
    still = ~model.moving.cpu().numpy()
    if not still.any() or not len(before) or not len(after):
        return np.zeros(len(still), dtype=bool)
    first, last = (wrong_shares(model, train, k.tolist(), background) for k in (before, after))
    return still & (first < FEW) & (last > MOST)


def wrong_shares(
    model: TraceModel, train: Photographs, some: Sequence[int], background: tuple[float, ...]
) -> np.ndarray:
    """The share (n,) of what a Gaussian gives that is in wrong pixels, the median of some pictures.

    some: indices of photographs. NaN for Gaussians that no picture shows.
    """
    device = model.moving.device
    photographs = PhotoLoss([train.images[k] for k in some], device)
    color = torch.tensor(background).to(device)
    shares = []
    for k, index in enumerate(some):
        with torch.no_grad():
            tensors = model.tensors_at(train.times[index])
        ones = torch.ones(len(model.gaussians), 2, device=device, requires_grad=True)
        image = render(train.cameras[index], **tensors, features=ones, background=color)
        assert image.features is not None
        target = photographs.over(k, color)
        wrong = (image.rgb.detach() - target).square().mean(dim=-1) > WRONG**2
        weight, seen = torch.ones_like(image.alpha.detach()), photographs.seen[k]
        if seen is not None:
            weight = seen.to(weight)
        # How much a Gaussian gives to a pixel is the derivative of what the pixel shows of it.
        (image.features * torch.stack([weight * wrong, weight], dim=-1)).sum().backward()
        assert ones.grad is not None
        total, pixels = ones.grad.double().cpu().numpy().T
        shares.append(np.where(pixels > SEEN, total / np.maximum(pixels, 1e-12), np.nan))
    shown = np.stack(shares)
    middle = np.full(shown.shape[1], np.nan)
    known = ~np.isnan(shown).all(axis=0)
    middle[known] = np.nanmedian(shown[:, known], axis=0)
    return middle
