"""Settings of a fit."""

import dataclasses

from inverse.runs.settings import check_settings, option, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotometricConfig:
    """What every fit of Gaussians to photographs has; lengths are in units of the scene's half
    side, relocate_until is a share of the fit."""

    gaussians: int = option(20_000, "how many Gaussians the scene is made of", low=1)
    iterations: int = option(7_000, "optimization steps, one photograph each", low=1)
    minutes: float | None = option(
        None, "end the fit after this time, on the same schedule", above=0
    )
    sh_degree: int = option(3, "of the colors, 0 to 4; they start at 0", low=0, high=4)
    # Adam's rate for the means at the start, in half sides; it falls to 1 % of that.
    means_rate: float = setting(5e-4, low=0)
    scales_rate: float = setting(5e-3, low=0)
    quats_rate: float = setting(1e-3, low=0)
    opacities_rate: float = setting(5e-2, low=0)
    # Of the constant color; what depends on the direction learns at a twentieth of it.
    colors_rate: float = setting(2.5e-3, low=0)
    ssim_weight: float = setting(0.2, low=0)  # of 1 - SSIM beside L1
    # Keeps Gaussians that are not needed faint, so that they are relocated.
    opacity_weight: float = setting(0.01, low=0)
    scale_weight: float = setting(0.01, low=0)  # of the mean scale in half sides
    # Size of the wandering over the rate of the means, 1/m^2: it shifts a mean by its covariance
    # (m^2) times noise times the rate (m). So it depends on the unit of length; the default suits
    # scenes that are a few meters wide.
    noise: float = setting(5e5, low=0)
    relocate_every: int = setting(100, low=1)  # iterations
    relocate_until: float = setting(0.8, low=0)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig(PhotometricConfig):
    """How Gaussians are fitted to photographs of a scene that stands still."""

    background: str = option(
        "white", "behind what is transparent; random keeps its color out of the object",
        choices=("white", "black", "random"),
    )  # fmt: skip
    antialiased: bool = option(False, "render for pictures of other sizes than those given")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitJob:
    """Inputs and outputs of a fit."""

    data: str = option("", "folder of the photographs: NeRF-synthetic, nerfstudio, COLMAP")
    out: str = option("out/splats", "folder of the results")
    downscale: int = option(1, "use the photographs at a fraction of their size", low=1)
    turntable: int = option(120, "frames of the video, 0 for none", low=0)
    resume: bool = option(False, "go on from the checkpoint in --out")
    seed: int = option(0, "of the first Gaussians and of all that is random")
    device: str = option("auto", "where to compute", choices=("auto", "cpu", "cuda"))

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.data:
            raise ValueError("data: none given, expected a folder of photographs with their poses")
