"""Settings of a fit."""

import dataclasses

from inverse.runs.settings import check_settings, option, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotometricConfig:
    """The settings that every fit of Gaussians to photographs has.

    Lengths are in units of the scene's half side; relocate_until is a share of the fit.
    """

    gaussians: int = option(20_000, "how many Gaussians the scene is made of", low=1)
    iterations: int = option(7_000, "optimization steps, one photograph each", low=1)
    minutes: float | None = option(
        None, "end the fit after this time, with the whole schedule shortened to it", above=0
    )
    sh_degree: int = option(
        3, "highest degree of the spherical harmonics of the colors, 0 to 4", low=0, high=4
    )
    # Adam's learning rate for the means at the start, in half sides; it falls to 1 % of this.
    means_rate: float = setting(5e-4, low=0)
    scales_rate: float = setting(5e-3, low=0)
    quats_rate: float = setting(1e-3, low=0)
    opacities_rate: float = setting(5e-2, low=0)
    # Rate of the constant color; the colors that depend on the direction learn at 1/20 of it.
    colors_rate: float = setting(2.5e-3, low=0)
    ssim_weight: float = setting(0.2, low=0)  # weight of 1 - SSIM; the weight of L1 is 1 minus this
    # Weight of the mean opacity: keeps unneeded Gaussians faint, so that they are relocated.
    opacity_weight: float = setting(0.01, low=0)
    scale_weight: float = setting(0.01, low=0)  # weight of the mean scale in half sides
    # Size of the wandering over the rate of the means, 1/m^2: a step shifts a mean by its
    # covariance (m^2) times noise times the rate (m). So the size depends on the unit of length;
    # the default suits scenes that are a few meters wide.
    noise: float = setting(5e5, low=0)
    relocate_every: int = setting(100, low=1)  # iterations
    relocate_until: float = setting(0.8, low=0)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig(PhotometricConfig):
    """How Gaussians are fitted to photographs of a scene that stands still."""

    background: str = option(
        "white",
        "color behind transparent pixels; random keeps the background's color out of the object",
        choices=("white", "black", "random"),
    )
    antialiased: bool = option(
        False, "keep thin Gaussians faint, for pictures of other sizes than the photographs"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitJob:
    """Inputs and outputs of a fit."""

    data: str = option(
        "", "folder of the photographs: NeRF-synthetic, nerfstudio, instant-ngp or COLMAP data"
    )
    out: str = option("out/splats", "folder of the results")
    downscale: int | None = option(
        None,
        "divide the size of the photographs by this number; default: such that the longer side is "
        "at most 1600 px, and that --minutes are enough for half of the steps, as long as the "
        "shorter side has 200 px",
        low=1,
    )
    turntable: int = option(120, "number of frames of the video, 0 for no video", low=0)
    resume: bool = option(False, "continue from the checkpoint in --out")
    seed: int = option(0, "seed of the first Gaussians and of all random numbers")
    device: str = option(
        "auto", "where to compute; auto: a GPU if there is one", choices=("auto", "cpu", "cuda")
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.data:
            raise ValueError(
                "data: none given, expected a folder of photographs with their camera poses"
            )
