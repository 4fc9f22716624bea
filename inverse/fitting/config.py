"""Settings of a fit."""

import dataclasses
import math

from inverse.runs.settings import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How Gaussians are fitted to photographs; lengths are in units of the scene's half side."""

    gaussians: int = option(20_000, "how many Gaussians the scene is made of")
    iterations: int = option(7_000, "optimisation steps, one photograph each")
    minutes: float | None = option(None, "end the fit after this time, on the same schedule")
    sh_degree: int = option(3, "of the colours, 0 to 4; they start at 0")
    background: str = option(
        "white", "behind what is transparent; random keeps its colour out of the object",
        choices=("white", "black", "random"),
    )  # fmt: skip
    antialiased: bool = option(False, "render for pictures of other sizes than those given")
    means_rate: float = 5e-4  # Adam's rate at the start, in half sides; falls to 1 % of that
    scales_rate: float = 5e-3
    quats_rate: float = 1e-3
    opacities_rate: float = 5e-2
    colors_rate: float = 2.5e-3  # of the constant; 20 times less for what depends on direction
    ssim_weight: float = 0.2  # of 1 - SSIM beside L1
    opacity_weight: float = 0.01  # keeps Gaussians that are not needed faint, so that they move
    scale_weight: float = 0.01  # in half sides
    noise: float = 5e5  # of the wandering, times the rate of the means, 1/m
    relocate_every: int = 100  # iterations
    relocate_until: float = 0.8  # share of the fit

    def __post_init__(self):
        for name, least in (("gaussians", 1), ("iterations", 1), ("relocate_every", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected at least {least}")
        if not 0 <= self.sh_degree <= 4:
            raise ValueError(f"sh_degree: got {self.sh_degree}, expected 0 to 4")
        if self.background not in ("white", "black", "random"):
            raise ValueError(
                f"background: got {self.background!r}, expected white, black or random"
            )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is float and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field.name}: got {value!r}, expected a number >= 0")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes: got {self.minutes!r}, expected a positive number")
