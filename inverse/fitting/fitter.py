"""The optimisation: one photograph at a time, L1 + SSIM, Gaussians that move where needed."""

import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from inverse.fitting.checkpoint import load_checkpoint, save_checkpoint
from inverse.fitting.config import FitConfig
from inverse.fitting.model import GaussianModel
from inverse.fitting.relocation import relocate, wander
from inverse.metrics import ssim
from renderers.splat import Render, render
from taichi_phys import runtime


BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}
CHECKPOINT_EVERY = 500  # iterations


class Fitter:
    """Fits a GaussianModel to photographs.

    images: rgb (H, W, 3) and alpha (H, W), float in 0..1, of each camera; half: half the side of
    the scene, m, which lengths in the configuration are relative to; checkpoint: written every
    500 iterations and when the fit is interrupted. All that is random depends on the seed and the
    iteration only, so that a resumed fit goes on as if nothing had happened.
    """

    def __init__(
        self,
        model: GaussianModel,
        cameras,
        images: list[tuple[np.ndarray, np.ndarray]],
        config: FitConfig,
        *,
        half: float,
        seed: int = 0,
        checkpoint: str | Path | None = None,
    ):
        if not len(cameras) or len(cameras) != len(images):
            raise ValueError(
                f"images: got {len(images)} for {len(cameras)} cameras, expected one each"
            )
        device = runtime.ensure_initialized().device
        self.model = model.to(device)
        self.cameras, self.config, self.half, self.seed = list(cameras), config, half, seed
        self.images = [
            tuple(torch.as_tensor(a, dtype=torch.float32).to(device) for a in pair)
            for pair in images
        ]
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.iteration, self.seconds, self.losses = 0, 0.0, []
        rates = {
            "means": config.means_rate * half,
            "log_scales": config.scales_rate,
            "quats": config.quats_rate,
            "opacity_logits": config.opacities_rate,
            "sh_first": config.colors_rate,
            "sh_rest": config.colors_rate / 20,
        }
        self.optimizer = torch.optim.Adam(
            [
                {"params": [getattr(model, name)], "lr": lr, "name": name}
                for name, lr in rates.items()
            ],
            eps=1e-15,
            fused=True,
        )

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one. Raises ValueError if it cannot be used."""
        if self.checkpoint is not None and self.checkpoint.exists():
            load_checkpoint(self.checkpoint, self)

    @property
    def progress(self) -> float:
        """How much of the fit is done, 0 to 1: of the iterations, or of the time if that ends
        first."""
        done = self.iteration / self.config.iterations
        if self.config.minutes is not None:
            done = max(done, self.seconds / (60 * self.config.minutes))
        return min(done, 1.0)

    def fit(self) -> None:
        """Run to the end. Interrupted, it writes its checkpoint before it lets go."""
        with tqdm(total=self.config.iterations, initial=self.iteration, disable=None) as bar:
            try:
                with runtime.one_torch_thread():
                    while self.progress < 1:
                        start = time.perf_counter()
                        loss = self.step()
                        self.seconds += time.perf_counter() - start
                        if self.iteration % 50 == 0:
                            self.losses.append((self.iteration, loss))
                            bar.set_postfix_str(f"PSNR {self._psnr:.1f} dB")
                        bar.update()
                        if self.iteration % CHECKPOINT_EVERY == 0:
                            self.save()
            finally:
                self.save()

    def save(self) -> None:
        """Write the checkpoint, if one was asked for."""
        if self.checkpoint is not None:
            save_checkpoint(self.checkpoint, self)

    def step(self) -> float:
        """One iteration on one photograph; returns its loss."""
        config, progress = self.config, self.progress
        generator = torch.Generator().manual_seed(hash_of(self.seed, self.iteration))
        rate = config.means_rate * self.half * 0.01**progress
        self.optimizer.param_groups[0]["lr"] = rate
        # A degree of colour more in each of the first steps of a tenth of the fit.
        degree = min(config.sh_degree, int(10 * progress))
        index = self._view()
        rgb, alpha = self.images[index]
        background = self._background(generator)
        image = self.render(index, background, degree)
        target = rgb * alpha[..., None] + (1 - alpha[..., None]) * background
        loss = photometric_loss(image.rgb, target, config.ssim_weight)
        self._psnr = -10 * float((image.rgb.detach() - target).square().mean().log10())
        if config.opacity_weight:
            loss = loss + config.opacity_weight * self.model.opacities.mean()
        if config.scale_weight:
            loss = loss + config.scale_weight * self.model.scales.mean() / self.half
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.iteration += 1
        if progress < config.relocate_until:
            if self.iteration % config.relocate_every == 0:
                relocate(self.model, self.optimizer, generator)
            wander(self.model, config.noise * rate, generator)
        return loss.item()

    def render(self, index: int, background, degree: int | None = None) -> Render:
        """What the model looks like from camera `index`."""
        return render(
            self.cameras[index],
            **self.model.tensors(degree),
            background=background,
            antialiased=self.config.antialiased,
        )

    def _view(self) -> int:
        """The photographs in random order, all of them before one comes again."""
        count = len(self.cameras)
        round_, place = divmod(self.iteration, count)
        generator = torch.Generator().manual_seed(hash_of(self.seed, -1 - round_))
        return int(torch.randperm(count, generator=generator)[place])

    def _background(self, generator) -> torch.Tensor:
        if self.config.background == "random":
            return torch.rand(3, generator=generator).to(self.model.means)
        return torch.tensor(BACKGROUNDS[self.config.background]).to(self.model.means)


def photometric_loss(image: torch.Tensor, target: torch.Tensor, ssim_weight: float) -> torch.Tensor:
    """(1 - w) L1 + w (1 - SSIM), as 3DGS; image, target: (H, W, 3)."""
    loss = (1 - ssim_weight) * (image - target).abs().mean()
    if ssim_weight:
        loss = loss + ssim_weight * (1 - ssim(image, target, padding="same"))
    return loss


def hash_of(seed: int, number: int) -> int:
    """A seed of its own for each number."""
    return int(np.random.SeedSequence([seed, number % 2**63]).generate_state(1, np.uint64)[0] >> 1)
