"""Settings of TRACE: the networks, the schedule, and what is learned when."""

import dataclasses
from typing import Any

from inverse.fitting.config import PhotometricConfig
from inverse.runs.settings import check_settings, option, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class TraceConfig(PhotometricConfig):
    """How moving Gaussians are learned; rates and times without a unit are shares of the training,
    lengths are in half sides of the scene."""

    gaussians: int = option(6_000, "how many Gaussians the scene is made of", low=1)
    iterations: int = option(20_000, "optimization steps", low=1)
    minutes: float | None = option(
        None, "end the training after this time, on the same schedule", above=0
    )
    sh_degree: int = option(1, "of the colors, 0 to 4", low=0, high=4)
    relocate_until: float = setting(0.6, low=0)
    batch: int | None = option(None, "images in each step, default: one for each process", low=1)
    dynamics: str = option("trd", "law of motion", choices=("trd", "rigid", "velocity", "none"))
    deformation: bool = option(True, "the auxiliary deformation field")
    rk: int = option(2, "order of the stepping", choices=(1, 2))
    white_background: bool = option(True, "behind what is transparent: white, else black")
    dynamics_size: str = setting("small")
    squared_accelerations: bool = setting(False)
    deformation_depth: int = setting(4, low=2)
    deformation_width: int = setting(64, low=1)
    deformation_frequencies: int = setting(6, low=0)
    time_frequencies: int = setting(4, low=0)
    step: float = setting(0.5, low=0)  # of the integration at most, in frame intervals
    warm_up: float = setting(0.08, low=0)  # until then the Gaussians of t = 0 learn alone
    curriculum: float = setting(0.3, low=0)  # by then all observed times are seen
    freeze: float = setting(0.5, low=0)  # when what stands still is frozen
    # Share of the steps that show the deformation without the dynamics.
    direct: float = setting(0.3, low=0)
    # Share of the steps in which the dynamics span more than one interval. These steps come in
    # and grow from the end of the curriculum to hop_ramp.
    long_hops: float = setting(0.5, low=0)
    hop_ramp: float = setting(0.5, low=0)
    from_last: float = setting(0.6, low=0)  # share of those that start as late as they can
    # Adam's rates for the networks; they fall to 1 %.
    deformation_rate: float = setting(2e-3, low=0)
    dynamics_rate: float = setting(6e-3, low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.deformation and self.dynamics == "none":
            raise ValueError("dynamics: 'none' without a deformation would stand still")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TraceJob:
    """Inputs and outputs of a TRACE run."""

    data: str = option("", "folder with transforms_train.json, _val, _test and times")
    out: str = option("out/trace", "folder of the results")
    downscale: int = option(
        1, "use the images at a fraction of their size; 2: half resolution", low=1
    )
    parts: int | None = option(None, "how many moving parts there are, default: found out", low=1)
    future: float = option(
        0.333, "how far the video goes on after the last frame, share of it", low=0, high=100
    )
    resume: bool = option(False, "go on from the checkpoint in --out")
    seed: int = option(0, "of the networks and of all that is random")
    device: str = option("auto", "where to compute", choices=("auto", "cpu", "cuda"))

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.data:
            raise ValueError("data: none given, expected a folder of photographs with times")


PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {},
    # The sizes and the schedule of the paper and its code, for a GPU.
    "paper": {
        "gaussians": 100_000,
        "iterations": 40_000,
        "sh_degree": 3,
        "dynamics_size": "full",
        "squared_accelerations": True,
        "deformation_depth": 8,
        "deformation_width": 256,
        "deformation_frequencies": 8,
        "time_frequencies": 6,
        "step": 1.0,
        "deformation_rate": 8e-4,
        "dynamics_rate": 8e-4,
        "direct": 0.0,
        "long_hops": 0.0,
        "curriculum": 0.25,
    },
}
