"""Settings of TRACE: the networks, the schedule, and what is learnt when."""

import dataclasses
import math

from inverse.runs.settings import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class TraceConfig:
    """How moving Gaussians are learnt; rates and times without a unit are shares of the training,
    lengths are in half sides of the scene."""

    gaussians: int = option(6_000, "how many Gaussians the scene is made of")
    iterations: int = option(20_000, "optimisation steps")
    minutes: float | None = option(None, "end the training after this time, on the same schedule")
    batch: int | None = option(None, "images in each step, default: one for each process")
    dynamics: str = option(
        "trd", "law of motion", choices=("trd", "rigid", "velocity", "none")
    )  # fmt: skip
    deformation: bool = option(True, "the auxiliary deformation field")
    rk: int = option(2, "order of the stepping", choices=(1, 2))
    sh_degree: int = option(1, "of the colours, 0 to 4")
    white_background: bool = option(True, "behind what is transparent: white, else black")
    dynamics_size: str = "small"
    squared_accelerations: bool = False
    deformation_depth: int = 4
    deformation_width: int = 64
    deformation_frequencies: int = 6
    time_frequencies: int = 4
    step: float = 0.5  # of the integration at most, in frame intervals
    warm_up: float = 0.08  # the Gaussians of t = 0 alone
    curriculum: float = 0.3  # by then all observed times are seen
    freeze: float = 0.5  # when what stands still is frozen
    direct: float = 0.3  # share of steps that show the deformation without the dynamics
    long_hops: float = 0.5  # share of steps in which the dynamics span more than one interval
    hop_ramp: float = 0.5  # from the curriculum's end to here they come in and grow
    from_last: float = 0.6  # share of them that go back from as late as they can
    means_rate: float = 5e-4  # Adam's rate at the start, in half sides; falls to 1 % of that
    scales_rate: float = 5e-3
    quats_rate: float = 1e-3
    opacities_rate: float = 5e-2
    colors_rate: float = 2.5e-3
    deformation_rate: float = 2e-3  # of the networks, they fall to 1 %
    dynamics_rate: float = 6e-3
    ssim_weight: float = 0.2
    opacity_weight: float = 0.01
    scale_weight: float = 0.01
    noise: float = 5e5
    relocate_every: int = 100
    relocate_until: float = 0.6

    def __post_init__(self):
        for name in ("gaussians", "iterations", "batch", "relocate_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected at least 1")
        for field in dataclasses.fields(self):
            choices, value = field.metadata.get("choices"), getattr(self, field.name)
            if choices and value not in choices:
                expected = ", ".join(map(str, choices))
                raise ValueError(f"{field.name}: got {value!r}, expected one of {expected}")
            if field.type is float and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field.name}: got {value!r}, expected a number >= 0")
        if not 0 <= self.sh_degree <= 4:
            raise ValueError(f"sh_degree: got {self.sh_degree}, expected 0 to 4")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes: got {self.minutes!r}, expected a positive number")
        if not self.deformation and self.dynamics == "none":
            raise ValueError("dynamics: 'none' without a deformation would stand still")


PRESETS = {
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
