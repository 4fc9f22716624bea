"""Settings of a wind run: what is given, what is assumed, and how the force is fitted."""

import dataclasses

from inverse.runs.settings import check_settings, option, setting
from taichi_phys import MATERIALS, Material
from taichi_phys.checks import set_fields


TRACKERS = ("lucas-kanade", "cotracker", "cotracker-online", "tapir")

OBJECTS = ("elastic", "elastoplastic", "viscoplastic")  # materials whose parameters a job has

FORCES = ("free", "uniform", "point", "kplanes", "wind")

HOLDS = ("auto", "none")  # values of `hold` that are no file


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindConfig:
    """How the force is fitted; every setting has a default that fits most clips."""

    force: str = option(
        "free", "what is looked for; free: any field, uniform: one vector a frame, point: one "
        "vector a frame that acts at --at, kplanes: K-Planes, wind: an air that drags the object",
        choices=FORCES,
    )  # fmt: skip
    compare: bool = option(
        True, "say by tracks that no fit saw whether a uniform force explains the motion as well"
    )
    iterations: int = option(60, "optimization steps per video interval", low=1)
    smooth: int | None = option(
        None, "runs over the clip that find the force of all frames at once; 0: the paper's way, "
        "interval by interval; default: 3 for solids, else 0", low=0,
    )  # fmt: skip
    # Adam's rate for planes, decoder and time encoder; it decays within each interval.
    learning_rate: float = setting(1e-2, above=0)
    # Weight of the target velocities beside the positions; 0 fits positions alone.
    velocity_weight: float = setting(1.0, low=0)
    space_weight: float = option(1e-3, "l1, weight of the field's variation in space", low=0)
    time_weight: float = option(1e-1, "l2, weight of the time encoder's change per interval", low=0)
    gradient_limit: float = setting(1.0, above=0)  # norm to which a gradient is clipped
    pulse: float = option(
        1.0, "share of an interval in which the force acts: 1 holds it", above=0, high=1
    )
    resolution: int = setting(16, low=1)  # of the planes
    channels: int = setting(16, low=1)  # of the planes
    hidden: int = setting(64, low=1)  # width of decoder and time encoder

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindJob:
    """Inputs, assumptions and outputs of a wind run."""

    video: tuple[str, ...] = option((), "the clip; repeat for synchronized views")
    camera: tuple[str, ...] = option(
        (), "camera.json of each view, in the order of the videos; of one view also a folder of "
        "COLMAP, a transforms.json, an npz of MegaSaM, VGGT or Depth Anything 3, MoGe's fov.json",
    )  # fmt: skip
    camera_scale: float | None = option(
        None, "units of the poses in --camera that are a meter, default: of camera.json 1, of "
        "others what their points or depth say beside --depth, --depth-model or --distance",
        above=0,
    )  # fmt: skip
    mask: str | None = option(
        None, "the object's pixels in frame 0 of the first view: an image, a cut-out, npy or npz; "
        "an image of labels 1, 2, ... of several objects; or in all frames: a folder of images, a "
        "film, an array",
    )  # fmt: skip
    parts: str | None = option(
        None, "image of labels 1, 2, ... of parts of the object in frame 0 of the first view; "
        "--made-of says what each is made of",
    )  # fmt: skip
    depth: str | None = option(
        None, "depth of frame 0 of the first view: 16 bit png, tiff, npy, npz, exr, pfm, COLMAP bin"
    )
    depth_scale: float | None = option(
        None, "what the numbers of --depth are divided by to be meters, default: of integers what "
        "the camera file says or 1000, of floats 1", above=0,
    )  # fmt: skip
    inverse_depth: bool = option(
        False, "the numbers of --depth, divided by --depth-scale, are 1/m, larger where nearer"
    )
    mesh: str | None = option(
        None, "closed surface of the object in frame 0, world coordinates, m: a solid"
    )
    model: str | None = option(
        None, "3D Gaussians of the object in frame 0, world coordinates, m: a solid"
    )
    shape: str = option(
        "auto", "what the object is, where neither mesh nor model is given; auto: what its depth "
        "and silhouette say", choices=("auto", "sheet", "solid"),
    )  # fmt: skip
    tracks: tuple[str, ...] = option(
        (), "tracks per view, instead of tracking: npz of ours, CoTracker or TAP-Vid"
    )
    tracker: str = option("lucas-kanade", "how points are followed", choices=TRACKERS)
    cotracker: str | None = option(None, "local clone or checkpoint of CoTracker, default: hub")
    tapir: str | None = option(None, "checkpoint of BootsTAPIR for --tracker tapir")
    box: tuple[float, float, float, float] | None = option(
        None, "x0 y0 x1 y1 px around the object in frame 0, when there is no mask"
    )
    object: str | None = option(
        None, 'what the object is, such as "the leaf", to find it in frame 0 by --detector'
    )
    point: tuple[float, float] | None = option(
        None, "x y px on the object in frame 0, which --segmenter finds there"
    )
    detector: str | None = option(
        None, "Grounding DINO by name or folder, default: IDEA-Research/grounding-dino-tiny"
    )
    segmenter: str | None = option(
        None,
        "SAM or SAM 2 by name or folder, default: facebook/sam-vit-base, for a --box GrabCut; "
        "SAM 2 for videos, such as facebook/sam2-hiera-tiny, also finds the object in later frames",
    )
    depth_model: str | None = option(
        None, "network for metric depth, by name or folder, when there is no depth"
    )
    distance: float | None = option(
        None, "distance of the object, m, when there is no depth, default: a guess", above=0
    )
    fov: float | None = option(
        None, "vertical field of view, degrees, when there is no camera, default: what the file or "
        "the depth network says, or a guess",
    )  # fmt: skip
    vlm: str | None = option(
        None, "address of an OpenAI-compatible server whose vision-language model names the "
        "material, such as http://127.0.0.1:8000/v1; its key, if any, in VLM_API_KEY",
    )  # fmt: skip
    vlm_model: str | None = option(None, "name of the model at --vlm")
    moving_camera: bool = option(
        False,
        "the camera turns or travels: find its pose from the background, for which travel "
        "needs the depth; --camera is frame 0",
    )
    start: int = option(0, "first frame of the clip to use, counted from 0", low=0)
    every: int | None = option(
        None, "use every so many frames, default: all, or about 60 per second of fast clips", low=1
    )
    frames: int | None = option(None, "use so many frames and no more, default: 90", low=4)
    fps: float | None = option(
        None, "frames per second that the camera took, when the file shows them at another rate",
        above=0,
    )  # fmt: skip
    made_of: tuple[str, ...] = option(
        (), 'what the object is made of, such as "dry leaf": density, E, nu, law and thickness '
        "of the table of common materials, where they are not given; or with values, as in "
        '"paper, E=2e4"; of several objects repeat it, in the order of their labels',
    )  # fmt: skip
    material: str = option("elastic", "law of the object", choices=OBJECTS)
    E: float = option(1e3, "Young's modulus, Pa")
    nu: float = option(0.3, "Poisson's ratio")
    yield_stress: float = option(100.0, "of the plastic materials, Pa")
    viscosity: float = option(10.0, "of the viscoplastic material, Pa s")
    density: float = option(200.0, "kg/m^3", above=0)
    thickness: float | None = option(None, "of the sheet, m, default: one grid cell", above=0)
    hold: str = option(
        "auto", "what holds the object: auto finds parts that stay where they are, none holds "
        "nothing, or an image of the pixels of frame 0 of the first view whose particles are held"
    )  # fmt: skip
    hold_box: tuple[float, ...] | None = option(
        None, "x0 y0 x1 y1 px of frame 0 of the first view, in which the object is held; repeat it "
        "for several places, such as the corners of a cloth", each=4,
    )  # fmt: skip
    floor: float | None = option(None, "height of a floor, m, against gravity; default: none")
    floor_friction: float = option(0.5, "Coulomb coefficient of the floor", low=0)
    gravity: tuple[float, float, float] = option(
        (0.0, 0.0, -9.81), "listed beside the force it is part of, m/s^2"
    )
    at: tuple[float, float] | None = option(
        None, "x y px on the object in frame 0 of the first view, where --force point acts"
    )
    at_mask: str | None = option(
        None, "the same, as an image of the pixels of frame 0 whose particles it acts on"
    )
    drag: float | None = option(
        None, "rate at which the object takes up the velocity of the air, 1/s, for --force wind; "
        "default: from its density, size and shape", above=0,
    )  # fmt: skip
    cells: int | None = option(
        None, "grid cells along the object's longest side, default: 24, and in solids as many as "
        "leave 5,000 particles", low=4,
    )  # fmt: skip
    most_cells: int = setting(24, low=4)  # where cells is not given
    keypoints: int = option(200, "points to follow", low=8)
    splat_iterations: int = option(
        150, "steps that refine the Gaussians on frame 0, 0 for none", low=0
    )
    out: str = option("out/wind", "folder of the results")
    resume: bool = option(False, "go on from the checkpoint in --out")
    seed: int = option(0, "of the field's first weights")
    device: str = option("auto", "where to compute", choices=("auto", "cpu", "cuda"))

    def __post_init__(self) -> None:
        if self.made_of is None or isinstance(self.made_of, str):  # of one object
            set_fields(self, made_of=() if self.made_of is None else (self.made_of,))
        check_settings(self)
        if not self.video:
            raise ValueError("video: none given, expected at least one")
        for name in ("camera", "tracks"):
            count = len(getattr(self, name))
            if count not in (0, len(self.video)):
                raise ValueError(
                    f"{name}: got {count} for {len(self.video)} videos, expected one each"
                )
        if not self.camera and len(self.video) > 1:
            raise ValueError("camera: several views need a --camera each")
        whole = "mesh" if self.mesh is not None else "model" if self.model is not None else None
        if not self.object_given and whole is None:
            raise ValueError(
                "mask: none given, expected --mask, --box, --point or --object, or a --mesh or "
                "--model"
            )
        if self.tracker == "tapir" and self.tapir is None and not self.tracks:
            raise ValueError("tapir: none given, expected the checkpoint for --tracker tapir")
        if (self.vlm is None) != (self.vlm_model is None):
            raise ValueError("vlm: expected both --vlm and --vlm-model, the server and its model")
        if whole is not None and not self.camera:
            raise ValueError(f"{whole}: it needs a --camera, which says where it stands")
        if whole is not None and self.shape == "sheet":
            raise ValueError(f"shape: got sheet and a --{whole}, which is a solid; leave one out")
        if self.hold_box is not None and self.hold != "auto":
            raise ValueError(f"hold: got {self.hold!r} beside hold_box, expected only one of them")
        if self.at is not None and self.at_mask is not None:
            raise ValueError("at: got both at and at_mask, expected only one of them")
        if self.floor is not None and not any(self.gravity):
            raise ValueError("floor: gravity is zero, expected one that says where down is")
        if self.moving_camera and len(self.video) > 1:
            raise ValueError("moving_camera: works with one view, synchronized views stand still")
        self.make_material()

    @property
    def object_given(self) -> bool:
        """Whether the job says which pixels the object has in frame 0."""
        return any(v is not None for v in (self.mask, self.box, self.point, self.object))

    @property
    def solid_given(self) -> bool:
        """Whether the job has the whole object, as a mesh or a model."""
        return self.mesh is not None or self.model is not None

    @property
    def depth_given(self) -> bool:
        """Whether the job says how deep the object is in frame 0, or names a network that does."""
        return self.solid_given or self.depth is not None or self.depth_model is not None

    @property
    def distance_guessed(self) -> bool:
        """Whether nothing says how far away the object is."""
        return self.distance is None and not self.depth_given

    def make_material(self) -> Material:
        """The material of the settings. Raises ValueError for impossible parameters."""
        kind = MATERIALS[self.material]
        names = [f.name for f in dataclasses.fields(kind) if hasattr(self, f.name)]
        return kind(**{name: getattr(self, name) for name in names})
