"""The optimization: one photograph per step, L1 + SSIM, and Gaussians that are relocated."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from inverse.fitting.config import FitConfig, PhotometricConfig
from inverse.fitting.model import GaussianModel
from inverse.fitting.photometric import PhotoLoss
from inverse.fitting.relocation import relocate, wander
from inverse.runs.checkpoint import fingerprint_of
from inverse.runs.training import BACKGROUNDS, Training
from renderers.camera import Camera
from renderers.datasets import Photograph
from renderers.splats.render import Render, render


class Fitter(Training):
    """Fits a GaussianModel to photographs.

    photographs: one for each camera; half: half the side of the scene, m, the unit of the lengths
    in config; checkpoint: a file that is written every 500 iterations and when the fit ends or is
    interrupted. Raises ValueError for another number of photographs, or one that sees nothing.
    """

    def __init__(
        self,
        model: GaussianModel,
        cameras: Sequence[Camera],
        photographs: Sequence[Photograph],
        config: FitConfig,
        *,
        half: float,
        seed: int = 0,
        checkpoint: str | Path | None = None,
    ):
        super().__init__(config, seed=seed, checkpoint=checkpoint)
        if not len(cameras) or len(cameras) != len(photographs):
            raise ValueError(
                f"photographs: got {len(photographs)} for {len(cameras)} cameras, expected one for "
                "each"
            )
        self.model = model.to(self.device)
        self.cameras, self.half = list(cameras), half
        self.photographs = PhotoLoss(photographs, self.device)
        self.optimizer = torch.optim.Adam(gaussian_groups(model, config, half), **ADAM)

    def step(self) -> float:
        """One iteration; returns its loss."""
        config, progress = self.config, self.progress
        generator = self.generator()
        rate = config.means_rate * self.half * 0.01**progress
        self.optimizer.param_groups[0]["lr"] = rate
        # Each tenth of the fit adds a degree of the spherical harmonics.
        degree = min(config.sh_degree, int(10 * progress))
        index = self.permutation(len(self.cameras), self.iteration)
        background = self._background(generator)
        image = self.render(index, background, degree).rgb
        loss, self.note = self.photographs.loss(index, image, background, config.ssim_weight)
        loss = loss + regularization(self.model, config, self.half)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if progress < config.relocate_until:
            if (self.iteration + 1) % config.relocate_every == 0:
                relocate(self.model, self.optimizer, generator)
            wander(self.model, config.noise * rate, generator)
        return loss.item()

    def render(self, index: int, background: torch.Tensor, degree: int | None = None) -> Render:
        """Render the model from camera `index`.

        background: (3,) color in 0..1; degree: of the colors, None for the highest.
        """
        return render(
            self.cameras[index],
            **self.model.tensors(degree),
            background=background,
            antialiased=self.config.antialiased,
        )

    def fingerprint(self) -> str:
        """Return a digest of the settings and the photographs."""
        settings = dataclasses.asdict(self.config) | {"seed": self.seed, "half": self.half}
        cameras = [dataclasses.asdict(camera) for camera in self.cameras]
        return fingerprint_of((settings, cameras), self.photographs.arrays())

    def own_state(self) -> dict[str, Any]:
        """Return what a checkpoint holds besides the state of the loop."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Restore what own_state() returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _background(self, generator: torch.Generator) -> torch.Tensor:
        if self.config.background == "random":
            return torch.rand(3, generator=generator).to(self.model.means)
        return torch.tensor(BACKGROUNDS[self.config.background]).to(self.model.means)


# eps as in 3DGS: the gradients of single Gaussians are tiny.
ADAM: dict[str, Any] = {"eps": 1e-15, "fused": True}


def gaussian_groups(
    model: GaussianModel, config: PhotometricConfig, half: float
) -> list[dict[str, Any]]:
    """Adam's parameter groups, that of the means first; half: half the side of the scene, m."""
    rates = {
        "means": config.means_rate * half,
        "log_scales": config.scales_rate,
        "quats": config.quats_rate,
        "opacity_logits": config.opacities_rate,
        "sh_first": config.colors_rate,
        "sh_rest": config.colors_rate / 20,
    }
    return [{"params": [getattr(model, name)], "lr": rate} for name, rate in rates.items()]


def regularization(model: GaussianModel, config: PhotometricConfig, half: float) -> torch.Tensor:
    """The loss that keeps unneeded Gaussians faint and small, so that relocation can use them."""
    return (
        config.opacity_weight * model.opacities.mean()
        + config.scale_weight * model.scales.mean() / half
    )
