"""Settings of TRACE: the networks, the schedule, and what is learned when."""

import dataclasses
from typing import Any

from inverse.fitting.config import PhotometricConfig
from inverse.runs.settings import check_settings, option, setting
from taichi_phys.checks import set_fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class TraceConfig(PhotometricConfig):
    """How moving Gaussians are learned.

    Times without a unit are shares of the training; lengths are in half sides of the scene.
    """

    gaussians: int = option(6_000, "how many Gaussians the scene is made of", low=1)
    iterations: int = option(20_000, "optimization steps", low=1)
    minutes: float | None = option(
        None, "end the training after this time, with the whole schedule shortened to it", above=0
    )
    sh_degree: int = option(
        1, "highest degree of the spherical harmonics of the colors, 0 to 4", low=0, high=4
    )
    relocate_until: float = setting(0.8, low=0)
    batch: int | None = option(None, "images in each step; default: one for each process", low=1)
    dynamics: str = option(
        "trd",
        "law of motion: trd is the paper's, rigid gives each Gaussian a center of rotation, "
        "velocity has no accelerations, none has no dynamics",
        choices=("trd", "rigid", "velocity", "none"),
    )
    motion: str = option(
        "parts",
        "what moves: parts gives all Gaussians of a rigid part one motion, whose law is found from "
        "the observed times; particles lets each Gaussian move by itself, as in the paper",
        choices=("parts", "particles"),
    )
    light: str = option(
        "auto",
        "with parts, whether light that is fixed in the world shades parts that turn: auto finds "
        "out by photographs that are held out",
        choices=("auto", "on", "off"),
    )
    deformation: str = option(
        "mlp",
        "the auxiliary deformation field: a network, as in the paper; features on planes, as in 4D "
        "Gaussian Splatting; or none",
        choices=("mlp", "planes", "none"),
    )
    rk: int = option(2, "order of the time integration", choices=(1, 2))
    white_background: bool = option(True, "put white behind transparent pixels, else black")
    dynamics_size: str = setting("small")
    squared_accelerations: bool = setting(False)
    deformation_depth: int = setting(4, low=2)
    deformation_width: int = setting(64, low=1)
    deformation_frequencies: int = setting(6, low=0)
    time_frequencies: int = setting(4, low=0)
    planes_resolution: int = setting(32, low=2)
    planes_channels: int = setting(16, low=1)
    planes_weight: float = setting(0.01, low=0)  # of how rough they are, in the loss
    step: float = setting(0.5, low=0)  # longest step of the integration, in frame intervals
    warm_up: float = setting(0.08, low=0)  # until then, only the Gaussians of t = 0 learn
    curriculum: float = setting(0.3, low=0)  # from then on, all observed times are used
    freeze: float = setting(0.5, low=0)  # then, Gaussians that stand still are frozen
    share: float = setting(0.55, low=0, high=0.65)  # then, Gaussians of a part share one motion
    trial: float = setting(0.08, low=0)  # long, before shared motions are judged by pixels
    poses_rate: float = setting(2e-3, low=0)  # of the poses of parts, in half sides; falls as well
    light_rate: float = setting(0.03, low=0)  # of the light and of where Gaussians face
    # Of the squared logs of the brightness of what moves by itself, in the loss: light changes
    # brightness by tens of percent, and motion that is not learned yet looks like a little of it.
    shade_weight: float = setting(0.01, low=0)
    # Share of the steps that train the deformation without the dynamics.
    direct: float = setting(0.3, low=0)
    # Share of the steps in which the dynamics span more than one interval. These steps come in
    # and grow from the end of the curriculum to hop_ramp.
    long_hops: float = setting(0.5, low=0)
    hop_ramp: float = setting(0.5, low=0)
    from_last: float = setting(0.6, low=0)  # share of these that start at the latest possible time
    # Adam's rates for the networks; they fall to 1 % of these values.
    deformation_rate: float = setting(2e-3, low=0)
    dynamics_rate: float = setting(6e-3, low=0)

    def __post_init__(self) -> None:
        if isinstance(self.deformation, bool):  # as runs have it from before there were planes
            set_fields(self, deformation="mlp" if self.deformation else "none")
        super().__post_init__()
        if self.deformation == self.dynamics == "none":
            raise ValueError(
                "dynamics: got 'none' without a deformation, so that nothing would move; expected "
                "dynamics, a deformation, or both"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TraceJob:
    """Inputs and outputs of a TRACE run."""

    data: str = option(
        "",
        "folder of photographs with poses and times: D-NeRF, NVFi, nerfstudio, N3DV, HyperNeRF or "
        "Panoptic data",
    )
    out: str = option("out/trace", "folder of the results")
    downscale: int | None = option(
        None,
        "divide the size of the images by this number; 2: half the resolution; default: such that "
        "the longer side is at most 800 px",
        low=1,
    )
    fps: float | None = option(
        None, "the times of the data are numbers of frames at this rate", above=0
    )
    parts: int | None = option(None, "number of moving parts; default: found by the command", low=1)
    future: float = option(
        0.333,
        "how far the video goes past the last frame, as a share of the observed time",
        low=0,
        high=100,
    )
    resume: bool = option(False, "continue from the checkpoint in --out")
    update: bool = option(
        False,
        "the finished run in --out goes on with the photographs of --data, which has later times; "
        "settings that are not given are those of the run",
    )
    seed: int = option(0, "seed of the networks and of all random numbers")
    device: str = option(
        "auto", "where to compute; auto: a GPU if there is one", choices=("auto", "cpu", "cuda")
    )

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
        "planes_resolution": 64,
        "planes_channels": 32,
        "step": 1.0,
        "deformation_rate": 8e-4,
        "dynamics_rate": 8e-4,
        "direct": 0.0,
        "long_hops": 0.0,
        "curriculum": 0.25,
    },
}
