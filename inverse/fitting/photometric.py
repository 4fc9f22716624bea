"""Comparing rendered pictures with photographs, in the pixels that the photographs see."""

from collections.abc import Sequence

import torch

from inverse.metrics import image_metrics, motion_fidelity, ssim
from renderers.datasets import Photograph


class PhotoLoss:
    """The photographs of a training, on its device.

    Pixels that a photograph does not see count nowhere. Raises ValueError for a photograph that
    sees nothing.
    """

    def __init__(self, photographs: Sequence[Photograph], device: torch.device):
        self.rgb = [torch.as_tensor(p.rgb, dtype=torch.float32).to(device) for p in photographs]
        self.alpha = [torch.as_tensor(p.alpha, dtype=torch.float32).to(device) for p in photographs]
        self.seen = [None if p.seen is None else torch.as_tensor(p.seen) for p in photographs]
        blind = [k for k, seen in enumerate(self.seen) if seen is not None and not seen.any()]
        if blind:
            raise ValueError(
                f"photographs: {len(blind)} of {len(photographs)} see nothing (first number "
                f"{blind[0]}), expected at least one pixel outside the mask in each"
            )
        self.seen = [None if seen is None else seen.to(device) for seen in self.seen]

    def __len__(self) -> int:
        return len(self.rgb)

    def over(self, index: int, background: torch.Tensor) -> torch.Tensor:
        """Photograph `index` (H, W, 3) composited over a background color (3,)."""
        alpha = self.alpha[index][..., None]
        return self.rgb[index] * alpha + (1 - alpha) * background

    def loss(
        self, index: int, image: torch.Tensor, background: torch.Tensor, ssim_weight: float
    ) -> tuple[torch.Tensor, str]:
        """The loss of an image (H, W, 3) of photograph `index`, and its PSNR as a note to show."""
        target = self.over(index, background)
        seen = self.seen[index]
        if seen is not None:
            target = torch.where(seen[..., None], target, image.detach())
        return photometric_loss(image, target, ssim_weight, seen), psnr_note(image, target, seen)

    def arrays(self) -> list[torch.Tensor]:
        """All numbers of the photographs, for a fingerprint."""
        seen = [mask for mask in self.seen if mask is not None]
        return [tensor for pair in zip(self.rgb, self.alpha, strict=True) for tensor in pair] + seen


def compare(
    image: torch.Tensor, photograph: Photograph, background: Sequence[float]
) -> dict[str, float | None]:
    """The metrics of a rendered image (H, W, 3), over the pixels that the photograph sees.

    background: (3,) color behind transparent pixels. Returns the record of `image_metrics`.
    """
    truth = torch.as_tensor(photograph.over(background))
    seen = None if photograph.seen is None else torch.as_tensor(photograph.seen)
    return image_metrics(image.cpu(), truth, seen)


def compare_videos(
    pairs: Sequence[tuple[torch.Tensor, Photograph]], background: Sequence[float]
) -> float | None:
    """The physical motion fidelity of rendered images (H, W, 3) and the photographs beside them.

    pairs: of one camera, in the order of time; background: as in `compare`. None unless there are
    two or more, and the photographs see all their pixels.
    """
    if len(pairs) < 2 or any(photograph.seen is not None for _, photograph in pairs):
        return None
    truth = torch.stack([torch.as_tensor(photo.over(background)) for _, photo in pairs])
    return motion_fidelity(torch.stack([image.cpu() for image, _ in pairs]), truth)


def psnr_note(image: torch.Tensor, target: torch.Tensor, seen: torch.Tensor | None = None) -> str:
    """The PSNR of an image and its photograph, both (H, W, 3), as the progress bar shows it.

    seen: (H, W) bool, the pixels that count, None for all.
    """
    square = (image.detach() - target).square()
    error = (square if seen is None else square[seen]).mean().clamp_min(1e-10)
    return f"PSNR {-10 * error.log10().item():.1f} dB"


def photometric_loss(
    image: torch.Tensor,
    target: torch.Tensor,
    ssim_weight: float,
    seen: torch.Tensor | None = None,
) -> torch.Tensor:
    """The loss of 3DGS: (1 - w) L1 + w (1 - SSIM), w = ssim_weight; image, target: (H, W, 3).

    seen: (H, W) bool, the pixels that count, None for all. The windows of SSIM that reach beyond
    them take the pixels outside as if image and target agreed there.
    """
    if seen is None:
        difference = (image - target).abs().mean()
    else:
        inside = seen[..., None]
        image = torch.where(inside, image, image.detach())  # nothing is learned outside
        target = torch.where(inside, target, image.detach())
        difference = (image - target).abs().sum() / (3 * seen.sum())
    loss = (1 - ssim_weight) * difference
    if ssim_weight:
        loss = loss + ssim_weight * (1 - ssim(image, target, seen, padding="same"))
    return loss
