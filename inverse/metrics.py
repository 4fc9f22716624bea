"""Errors of recovered forces, rendered images and videos, as the papers measure them."""

import functools
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.nn import functional

from taichi_phys.checks import one_of


SSIM_RADIUS, SSIM_SIGMA = 5, 1.5  # px, of the window (Wang et al. 2004)
C1, C2 = 0.01**2, 0.03**2  # keep quotients finite where a window is flat (the same)
VGG16 = "vgg16-397923af.pth"  # the weights of LPIPS's network
LEAST_DISTANCE = 1e-8  # of two spectra (the code of Zhou et al. 2026)
OF_VIDEOS = ("pmf",)  # numbers that a picture lacks if it is the only one of its camera


def vector_errors(
    found: ArrayLike, truth: ArrayLike, *, threshold: float = 1e-6
) -> dict[str, float]:
    """Mean errors of direction, magnitude and vector of found against truth, both (..., 3).

    A vector counts if its true size exceeds threshold times the largest true size: a zero vector
    has no direction, and the papers do not say how they average (docs/papers.md). Returns
    direction_error_deg, magnitude_error_percent and vector_error_percent. Raises ValueError for
    other shapes, and if truth is zero everywhere.
    """
    found, truth = np.asarray(found, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if found.shape != truth.shape or found.shape[-1:] != (3,):
        raise ValueError(f"found: got shape {found.shape}, expected that of truth {truth.shape}")
    size = np.linalg.norm(truth, axis=-1)
    counted = size > threshold * size.max(initial=0.0)
    if not counted.any():
        raise ValueError("truth: all vectors are zero, expected at least one that is not")
    f, g, size = found[counted], truth[counted], size[counted]
    found_size = np.linalg.norm(f, axis=-1)
    cosine = (f * g).sum(axis=-1) / np.maximum(found_size * size, 1e-300)
    return {
        "direction_error_deg": float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean()),
        "magnitude_error_percent": float(100 * (np.abs(found_size - size) / size).mean()),
        "vector_error_percent": float(100 * (np.linalg.norm(f - g, axis=-1) / size).mean()),
    }


def psnr(image: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB, infinite for equal images.

    image, reference: (H, W, 3) in 0..1; mask: (H, W), the pixels that count (bool) or their
    weights. Raises ValueError for other shapes or values.
    """
    weights = _weights(image, reference, mask)
    square = (image.detach() - reference.detach()).square().mean(dim=-1)
    error = ((square * weights).sum() / weights.sum()).item()
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim(
    image: torch.Tensor,
    reference: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    padding: str = "valid",
) -> torch.Tensor:
    """Mean structural similarity, a scalar with gradients (Wang et al. 2004, eq. 13).

    image, reference: (H, W, 3) in 0..1; padding: "valid" uses the windows that lie inside the
    image (as published numbers do), "same" uses a window around each pixel of the image padded
    with zeros (as the training of 3DGS does); mask: (H, W), bool or weights of the pixels whose
    windows count, padded as in "same". Raises ValueError for other shapes or values.
    """
    weights = _weights(image, reference, mask)
    one_of("padding", padding, ("valid", "same"))
    inner = slice(SSIM_RADIUS, -SSIM_RADIUS)
    if mask is None and padding == "valid":
        if min(weights.shape) <= 2 * SSIM_RADIUS:
            raise ValueError(f"image: got {tuple(image.shape)}, expected at least 11 x 11 pixels")
        selected = torch.zeros_like(weights)
        selected[inner, inner] = 1
        weights = selected
    x, y = image, reference
    x_mean, xy, xx_yy = _Blur.apply(torch.stack([x, x * y, x * x + y * y])).unbind()
    y_mean = _Blur.apply(y[None])[0]  # apart, since it seldom needs a gradient
    product, squares = x_mean * y_mean, x_mean * x_mean + y_mean * y_mean
    similarity = ((2 * product + C1) * (2 * (xy - product) + C2)) / (
        (squares + C1) * (xx_yy - squares + C2)
    )
    return (similarity.mean(dim=-1) * weights).sum() / weights.sum()


def lpips(image: torch.Tensor, reference: torch.Tensor) -> float | None:
    """Learned perceptual distance (Zhang et al. 2018, VGG), or None if its weights are missing.

    image, reference: (H, W, 3) in 0..1, not rescaled to -1..1, as in the papers' tables. Nothing is
    downloaded: if the package or its weights are missing, one warning says how to get them. Raises
    ValueError for other shapes or values.
    """
    _weights(image, reference, None)
    network = _lpips_network()
    if network is None:
        return None
    pair = (t.detach().float().cpu().permute(2, 0, 1)[None] for t in (image, reference))
    with torch.no_grad():
        return network(*pair).item()


@functools.cache
def _lpips_network() -> Callable[..., torch.Tensor] | None:
    """The network, or None if the package or its weights are missing."""
    weights = Path(torch.hub.get_dir()) / "checkpoints" / VGG16
    try:
        # not a dependency: the package needs torchvision, which must fit the build of torch
        import lpips as package
    except (ImportError, RuntimeError):
        package = None
    if package is None or not weights.is_file():
        warnings.warn(
            "LPIPS is not computed: its package or its weights are missing; run pip install lpips "
            f"torchvision, and save https://download.pytorch.org/models/{VGG16} as {weights}",
            stacklevel=3,
        )
        return None
    return package.LPIPS(net="vgg", verbose=False).eval()


def motion_fidelity(video: torch.Tensor, reference: torch.Tensor) -> float:
    """Physical motion fidelity (PMF): how alike the spectra of two videos are, higher is better.

    Each spectrum is the energy of the Fourier transform along time, rows and columns, summed over
    the colors and divided by its total. PMF is minus the natural logarithm of half the sum of
    their absolute differences: 0 if no frequency is in both, 18.4 at most (Zhou et al. 2026, eq. 1,
    as in their code). Spectra do not say where and when something is, only how it moves.

    video, reference: (T, H, W, 3) in 0..1, frames in the order of time. Raises ValueError for other
    shapes or values.
    """
    if video.ndim != 4 or video.shape != reference.shape:
        raise ValueError(
            f"video: got {tuple(video.shape)}, expected (T, H, W, 3), as reference has "
            f"({tuple(reference.shape)})"
        )
    for one, other in zip(video, reference, strict=True):
        _weights(one, other, None)
    apart = 0.5 * (_spectrum(video.detach()) - _spectrum(reference.detach())).abs().sum().item()
    return -math.log(max(apart, LEAST_DISTANCE))


def _spectrum(video: torch.Tensor) -> torch.Tensor:
    """Shares of the energy of a video (T, H, W, 3) in its frequencies, which are (T, H, W // 2 + 1)
    because those of real numbers come in pairs."""
    colors = (torch.fft.rfftn(color).abs().square() for color in video.unbind(-1))
    energy = functools.reduce(torch.add, colors)
    energy[..., 1 : (video.shape[2] + 1) // 2] *= 2
    return energy / energy.sum().clamp_min(torch.finfo(energy.dtype).tiny)


def image_metrics(
    image: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor | None = None
) -> dict[str, float | None]:
    """Compute psnr (dB), ssim and lpips of one picture, under these names.

    image, reference, mask: as in psnr. lpips is None if a mask is given, because it compares whole
    pictures only. Raises ValueError as psnr does.
    """
    return {
        "psnr": psnr(image, reference, mask),
        "ssim": ssim(image, reference, mask).item(),
        "lpips": None if mask is not None else lpips(image, reference),
    }


def mean_metrics(records: list[dict[str, float | None]]) -> dict[str, float | None]:
    """The means over pictures of the numbers of image_metrics; None if a picture lacks one. Those
    of videos are means over the pictures whose video has one; None if none has."""
    means: dict[str, float | None] = {}
    for name in records[0]:
        values = [value for record in records if (value := record[name]) is not None]
        enough = len(values) > 0 if name in OF_VIDEOS else len(values) == len(records)
        means[name] = float(np.mean(values)) if enough else None
    return means


class _Blur(torch.autograd.Function):
    """Blurs maps (k, H, W, 3), zero outside, with the window of SSIM; the blur is its own adjoint.

    It adds eleven shifted copies along each axis, which on a CPU is 3 times faster than a depthwise
    convolution.
    """

    @staticmethod
    def forward(ctx, maps):
        d = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, dtype=torch.float64)
        taps = (-0.5 * (d / SSIM_SIGMA) ** 2).exp()
        taps = (taps / taps.sum()).tolist()
        padded = functional.pad(maps, (0, 0, *4 * (SSIM_RADIUS,)))
        for axis in (1, 2):
            size = maps.shape[axis]
            total = padded.narrow(axis, 0, size) * taps[0]
            for shift, tap in enumerate(taps[1:], start=1):
                total.add_(padded.narrow(axis, shift, size), alpha=tap)
            padded = total
        return total

    @staticmethod
    def backward(ctx, grad):
        return _Blur.apply(grad)


def _weights(
    image: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Check two images and a mask; returns the weights of the pixels, all 1 without a mask."""
    if image.ndim != 3 or image.shape[-1] != 3 or not image.is_floating_point():
        raise ValueError(
            f"image: got {tuple(image.shape)} {image.dtype}, expected (H, W, 3) floats"
        )
    if reference.shape != image.shape or reference.dtype != image.dtype:
        raise ValueError(
            f"reference: got {tuple(reference.shape)} {reference.dtype}, "
            f"expected {tuple(image.shape)} {image.dtype}, as image has"
        )
    for name, t in {"image": image, "reference": reference}.items():
        if not torch.isfinite(t.detach().sum()):  # one pass, no array: this is in training loops
            raise ValueError(f"{name}: got NaN or infinite values, expected finite ones")
    if mask is None:
        return image.new_ones(image.shape[:2])
    if mask.shape != image.shape[:2]:
        raise ValueError(f"mask: got {tuple(mask.shape)}, expected {tuple(image.shape[:2])}")
    mask = mask.to(image)
    if not ((mask >= 0).all() and mask.sum() > 0):
        raise ValueError(
            "mask: got negative, NaN or only zero weights, expected weights from 0 on, some above 0"
        )
    return mask
