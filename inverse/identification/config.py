"""Settings of a search for the material of an object."""

import dataclasses

from inverse.runs.settings import check_settings, option, setting
from taichi_phys import MATERIALS, Material


GUESSES = (
    "E", "nu", "yield_stress", "viscosity", "hardening", "friction_angle", "cohesion",
    "bulk_modulus", "exponent",
)  # fmt: skip
FINDABLE = (*GUESSES, "density", "friction", "velocity", "spin", "floor")
START = ("velocity", "spin")
PLACES = (*START, "floor")  # what belongs to the motion, not to the material
# What a search finds of each law unless the job says otherwise, beside how the motion begins.
OF_LAW = {
    "elastoplastic": ("E", "nu", "yield_stress"),
    "viscoplastic": ("E", "nu", "yield_stress", "viscosity"),
    "herschel_bulkley": ("E", "nu", "yield_stress", "viscosity"),
    "sand": ("friction_angle",),
    "fluid": ("viscosity",),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaterialJob:
    """What moved, what is known about it, and what is to be found."""

    motion: str | None = option(
        None, "npz of points that move with the object: t (T,) s, x (T, n, 3) m, NaN where unseen; "
        "maybe weights (T, n) and labels (n,), the parts of the object",
    )  # fmt: skip
    video: tuple[str, ...] = option((), "clip of the object; again for more views", metavar="FILE")
    camera: tuple[str, ...] = option((), "camera.json of each clip", metavar="FILE")
    masks: tuple[str, ...] = option(
        (), "masks of all frames of each clip: folder, film or npy", metavar="PATH"
    )
    model: str | None = option(None, "Gaussians of the object in frame 0, for videos")
    background: tuple[float, float, float] | None = option(
        None, "color behind the object, 0..1; default: found from the clip"
    )
    mesh: str | None = option(
        None, "surface of the object in frame 0; default: around the points or the Gaussians"
    )
    scene: str | None = option(
        None, "scene file of the whole set-up, instead of --mesh, --floor, --force and a material"
    )
    material: str = option("elastic", "law of the material", choices=tuple(MATERIALS))
    E: float = option(1e5, "guess of Young's modulus, Pa; ten times off is near enough", above=0)
    nu: float = option(0.3, "guess of Poisson's ratio", above=0, high=0.485)
    density: float = option(1000.0, "kg/m^3; motion shows E / density, not both", above=0)
    yield_stress: float = option(1e3, "guess, Pa", above=0)
    viscosity: float = option(10.0, "guess, Pa s", above=0)
    hardening: float = option(0.0, "Pa per plastic strain", low=0)
    friction_angle: float = option(30.0, "guess, of sand, degrees", low=2, high=74)
    cohesion: float = option(0.0, "of sand, Pa", low=0)
    bulk_modulus: float = option(1e5, "of fluids, Pa", above=0)
    exponent: float = option(0.5, "flow index of herschel_bulkley", low=0.06, high=0.99)
    find: tuple[str, ...] = option(
        (), "what to find; again for more: " + ", ".join(FINDABLE) + "; default: what the law has, "
        "velocity and spin, the initial ones, and floor, its height", metavar="NAME",
    )  # fmt: skip
    by_part: tuple[str, ...] = option(
        (), "of these, a value for each part, by the labels of --motion", metavar="NAME"
    )
    gravity: tuple[float, float, float] | None = option(
        None, "m/s^2; default: 9.81 down along z, and none beside a --force, which includes it"
    )
    force: str | None = option(
        None, "known force, gravity included: the folder of a wind run, or an npz with t (F,) s, "
        "x (m, 3) or (F, m, 3) m, and acceleration (F, m, 3) m/s^2 or f (F, m, 3) N and mass (m,)",
    )  # fmt: skip
    floor: float | None = option(None, "height of a floor, m, against gravity; default: none")
    floor_friction: float = option(0.5, "Coulomb coefficient of the floor", low=0)
    hold_box: tuple[float, float, float, float, float, float] | None = option(
        None, "x0 y0 z0 x1 y1 z1 m: what of the object is in there is held"
    )
    velocity: tuple[float, float, float] | None = option(
        None, "initial velocity, m/s; default: from the points, and zero for videos"
    )
    frames: int | None = option(None, "use only the first so many frames", low=4)
    noise: float | None = option(
        None, "of the points, m, one standard deviation; default: from the points", above=0
    )
    out: str = option("out/material", "folder of the results")
    resume: bool = option(False, "go on from the checkpoint in --out")
    seed: int = option(0, "of the particles and of the values that are tried first")
    device: str = option("auto", "where to compute", choices=("auto", "cpu", "cuda"))

    def __post_init__(self) -> None:
        check_settings(self)
        if (self.motion is None) == (not self.video):
            raise ValueError(
                "motion, video: got neither or both, expected points that move or at least one clip"
            )
        if self.video and self.model is None:
            raise ValueError("model: none given, expected the Gaussians of the object in frame 0")
        for name in ("camera", "masks"):
            count = len(getattr(self, name))
            if count != len(self.video) and (name == "camera" or count):
                raise ValueError(
                    f"{name}: got {count} for {len(self.video)} videos, expected one each"
                )
        for name in ("find", "by_part"):
            for value in getattr(self, name):
                if value not in FINDABLE:
                    raise ValueError(
                        f"{name}: got {value!r}, expected one of {', '.join(FINDABLE)}"
                    )
        for value in self.by_part:
            if value not in self.unknowns or value in (*PLACES, "friction"):
                raise ValueError(
                    f"by_part: got {value!r}, expected a value of the material that is to be found"
                )
        if self.scene is not None and "floor" in self.find:
            raise ValueError("find: got floor, which is that of the scene file")
        if self.scene is None:
            self.make_material()
            for name in {"friction", "floor"} & set(self.unknowns):
                if self.floor is None:
                    raise ValueError(f"find: got {name}, which needs a --floor")
            own = {field.name for field in dataclasses.fields(MATERIALS[self.material])}
            other = set(self.unknowns) & set(GUESSES) - own
            if other:
                raise ValueError(
                    f"find: got {', '.join(sorted(other))}, which {self.material} does not have"
                )
            for name in set(self.unknowns) & {"hardening", "cohesion"}:
                if getattr(self, name) == 0:
                    raise ValueError(f"{name}: a guess of 0 tells no size, expected one above 0")

    @property
    def unknowns(self) -> tuple[str, ...]:
        """Names of what is to be found, in the order of FINDABLE."""
        wanted = set(self.find)
        if not wanted:
            wanted = set(OF_LAW.get(self.material, ("E", "nu")))
            if self.hold_box is None and self.scene is None:
                wanted |= set(START)
            if self.floor is not None:
                wanted.add("floor")
        return tuple(name for name in FINDABLE if name in wanted)

    def make_material(self) -> Material:
        """The material of the guesses. Raises ValueError for impossible ones."""
        kind = MATERIALS[self.material]
        names = [f.name for f in dataclasses.fields(kind) if hasattr(self, f.name)]
        return kind(**{name: getattr(self, name) for name in names})


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaterialConfig:
    """How the material is searched for."""

    particles: int = option(2500, "in the object, for the result", low=64)
    coarse: int = option(
        600, "in the object, for the search", low=64,
    )  # fmt: skip
    finer: float = option(
        4.0, "times the particles, with which the result is corrected for the grid; 1: not at all",
        low=1,
    )  # fmt: skip
    scan: int = option(12, "values that are tried first, of each unknown of the material", low=1)
    starts: int = option(2, "of these, from which the search goes on", low=1)
    iterations: int = option(12, "Gauss-Newton steps at most, of each stage", low=1)
    decades: float = option(1.5, "how far from the guess values are tried, powers of ten", above=0)
    pixels: int = option(64, "longer side of the pictures that are compared", low=16)
    # A step of Gauss-Newton that moves nothing by more than this (logarithms) is the last.
    tolerance: float = setting(3e-3, above=0)

    def __post_init__(self) -> None:
        check_settings(self)
