"""Settings of a wind run: what is given, what is assumed, and how the force is fitted."""

import dataclasses
import math

from inverse.runs.settings import option
from taichi_phys import MATERIALS, Material


OBJECTS = ("elastic", "elastoplastic", "viscoplastic")  # whose parameters the settings have


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindConfig:
    """Settings of the force recovery; every one has a default that fits most clips."""

    iterations: int = option(60, "optimisation steps per video interval")
    learning_rate: float = 1e-2  # of planes, decoder and time encoder, decayed in each interval
    velocity_weight: float = 1.0  # of target velocities beside positions; 0: positions alone
    space_weight: float = option(1e-3, "l1, weight of the field's variation in space")
    time_weight: float = option(1e-1, "l2, weight of the time encoder's change per interval")
    gradient_limit: float = 1.0  # norm to which a gradient is clipped
    pulse: float = option(1.0, "share of an interval in which the force acts: 1 holds it")
    resolution: int = 16  # of the planes
    channels: int = 16  # of the planes
    hidden: int = 64  # width of decoder and time encoder

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is int and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{field.name}: got {value!r}, expected a positive integer")
            if field.type is float and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field.name}: got {value!r}, expected a number >= 0")
        if not self.learning_rate > 0 or not self.gradient_limit > 0:
            raise ValueError("learning_rate, gradient_limit: expected > 0")
        if not 0 < self.pulse <= 1:
            raise ValueError(f"pulse: got {self.pulse!r}, expected a number in (0, 1]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Inputs and assumptions of a wind run."""

    video: tuple[str, ...] = option((), "the clip; repeat for synchronised views")
    camera: tuple[str, ...] = option((), "camera.json of each view, in the order of the videos")
    mask: str | None = option(None, "image of the object's pixels in frame 0 of the first view")
    depth: str | None = option(None, "depth of frame 0 of the first view: 16 bit png or npy")
    tracks: tuple[str, ...] = option((), "tracks.npz per view, instead of tracking")
    tracker: str = option(
        "lucas-kanade", "how points are followed", choices=("lucas-kanade", "cotracker")
    )
    cotracker: str | None = option(None, "local clone or checkpoint of CoTracker, default: hub")
    box: tuple[float, float, float, float] | None = option(
        None, "x0 y0 x1 y1 px around the object in frame 0, when there is no mask"
    )
    distance: float | None = option(None, "distance of the object, m, when there is no depth")
    fov: float | None = option(None, "vertical field of view, degrees, when there is no camera")
    moving_camera: bool = option(
        False, "the camera turns: find its rotation from the background; --camera is frame 0"
    )
    frames: int | None = option(None, "use only the first frames of the clip")
    material: str = option("elastic", "law of the object", choices=OBJECTS)
    E: float = option(1e3, "Young's modulus, Pa")
    nu: float = option(0.3, "Poisson's ratio")
    yield_stress: float = option(100.0, "of the plastic materials, Pa")
    viscosity: float = option(10.0, "of the viscoplastic material, Pa s")
    density: float = option(200.0, "kg/m^3")
    thickness: float | None = option(None, "of the sheet, m, default: one grid cell")
    gravity: tuple[float, float, float] = option(
        (0.0, 0.0, -9.81), "listed beside the force it is part of, m/s^2"
    )
    cells: int = option(24, "grid cells along the object's longest side")
    keypoints: int = option(200, "points to follow")
    splat_iterations: int = option(150, "steps that refine the Gaussians on frame 0, 0 for none")
    out: str = option("out/wind", "folder of the results")
    resume: bool = option(False, "go on from the checkpoint in --out")
    seed: int = option(0, "of the field's first weights")
    device: str = option("auto", "where to compute", choices=("auto", "cpu", "cuda"))

    def __post_init__(self):
        for field in dataclasses.fields(self):
            choices, value = field.metadata.get("choices"), getattr(self, field.name)
            if choices and value not in choices:
                expected = ", ".join(choices)
                raise ValueError(f"{field.name}: got {value!r}, expected one of {expected}")
        if not self.video:
            raise ValueError("video: none given, expected at least one")
        if len(self.camera) not in (0, len(self.video)):
            raise ValueError(
                f"camera: got {len(self.camera)} for {len(self.video)} videos, expected one each"
            )
        if len(self.tracks) not in (0, len(self.video)):
            raise ValueError(
                f"tracks: got {len(self.tracks)} for {len(self.video)} videos, expected one each"
            )
        if not self.camera and self.fov is None:
            raise ValueError("camera: none given, expected --camera or --fov")
        if not self.camera and len(self.video) > 1:
            raise ValueError("camera: several views need a --camera each")
        if self.mask is None and self.box is None:
            raise ValueError("mask: none given, expected --mask or --box")
        if self.depth is None and self.distance is None:
            raise ValueError("depth: none given, expected --depth or --distance")
        for name in ("density", "thickness", "distance"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}: got {value!r}, expected a positive number")
        if self.moving_camera and len(self.video) > 1:
            raise ValueError("moving_camera: works with one view, synchronised views stand still")
        for name, least in (("cells", 4), ("keypoints", 8), ("frames", 4), ("splat_iterations", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}: got {value}, expected at least {least}")
        self.make_material()

    def make_material(self) -> Material:
        """The material of the settings. Raises ValueError for impossible parameters."""
        kind = MATERIALS[self.material]
        names = [f.name for f in dataclasses.fields(kind) if hasattr(self, f.name)]
        return kind(**{name: getattr(self, name) for name in names})
