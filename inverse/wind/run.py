"""The folder of a wind run: what it holds, and how it is written and read again."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import taichi_phys as tp
from inverse.clips.footage import Footage
from inverse.runs.folder import CAMERAS, METRICS, REPORT, VIDEO, RunFolder
from inverse.wind.config import WindConfig, WindJob
from inverse.wind.forces.air import SampledAir
from inverse.wind.forces.make import stored_field
from inverse.wind.inputs.clip import plan_clips
from renderers.camera import Camera
from renderers.video import read_video
from taichi_phys.mpm.recorded import AIR, AIR_ARRAYS, FORCES


ARRAYS = {"t": "t", "x": "x", "force": "f", "mass": "mass", "gravity": "gravity"}  # of FORCES
# Of FORCES too; folders of earlier versions lack them.
SUPPORT = ("held", "reaction")
BODY = "body"
CONFIDENCE = ("std", "net_std", "factor")
WIND = ("air", "drag")  # of FORCES too, where the force is that of a wind
RESULTS = (FORCES, AIR, CAMERAS, METRICS, VIDEO, REPORT)
FORCE, SMOOTH, TARGETS = "force.pt", "smooth.pt", "targets.npz"  # checkpoints
# Settings that may differ when a run is resumed: what files hold is compared, not their names.
FREE = tuple(
    f"run.{name}"
    for name in ("video", "camera", "mask", "at_mask", "depth", "mesh", "model", "tracks",
                 "cotracker", "tapir", "splat_iterations", "gravity", "out", "resume", "device")
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WindRun:
    """A finished wind run.

    folder: where it is; job, config: its settings; t: (T,) s; x: (T, n, 3) m, the re-simulated
    particles; force: (T, n, 3) N on each of them, gravity included, averaged over a frame
    interval; mass: (n,) kg; gravity: (3,) m/s^2, as assumed; held: (n,) bool, particles that
    something holds, whose force no motion can show; reaction: (T, 3) N, by which that and the floor
    push the object; body: (n,) int, the number of the object that a particle belongs to, from 0;
    std: (T, n, 3) N and net_std: (T, 3) N, standard deviations of the force on each particle and on
    the whole, along the axes of the world, NaN where they are not known; factor: by which all
    forces may be too large or too small besides, one standard deviation either way; metrics: the
    record of metrics.json; cameras: of the first view, one for each frame; where the force is that
    of a wind: air (T, n, 3) m/s, the velocity of the air at the particles, and drag, 1/s, the rate
    at which they take it up, else None.
    """

    KEYS: ClassVar[tuple[str, ...]] = ("run", "solver")  # of config.json

    folder: Path
    job: WindJob
    config: WindConfig
    t: np.ndarray
    x: np.ndarray
    force: np.ndarray
    mass: np.ndarray
    gravity: np.ndarray
    held: np.ndarray
    reaction: np.ndarray
    body: np.ndarray
    std: np.ndarray
    net_std: np.ndarray
    factor: float
    metrics: dict[str, Any]
    cameras: list[Camera]
    air: np.ndarray | None = None
    drag: float | None = None

    @classmethod
    def load(cls, folder: str | Path) -> "WindRun":
        """The run in a folder. Raises ValueError, in one sentence, for what cannot be read."""
        files = RunFolder(folder)
        job, config = files.settings(WindJob, "run"), files.settings(WindConfig, "solver")
        arrays: dict[str, Any] = dict(
            zip(ARRAYS, files.read_npz(FORCES, *ARRAYS.values()), strict=True)
        )
        frames, particles = len(arrays["t"]), len(arrays["mass"])
        arrays |= {"held": np.zeros(particles, dtype=bool), "reaction": np.zeros((frames, 3))}
        with contextlib.suppress(ValueError):  # of a version without them: nothing was held
            arrays |= dict(zip(SUPPORT, files.read_npz(FORCES, *SUPPORT), strict=True))
        arrays["body"] = np.zeros(particles, dtype=np.int64)
        with contextlib.suppress(ValueError):
            (arrays["body"],) = files.read_npz(FORCES, BODY)
        unknown = np.full((frames, particles, 3), np.nan)
        arrays |= {"std": unknown, "net_std": unknown[:, 0], "factor": np.array(np.nan)}
        with contextlib.suppress(ValueError):
            arrays |= dict(zip(CONFIDENCE, files.read_npz(FORCES, *CONFIDENCE), strict=True))
        air, drag = None, None
        with contextlib.suppress(ValueError):  # without a wind
            air, drag = files.read_npz(FORCES, *WIND)
        shapes = {
            "t": (frames,), "x": (frames, particles, 3), "force": (frames, particles, 3),
            "mass": (particles,), "gravity": (3,), "held": (particles,), "reaction": (frames, 3),
            "std": (frames, particles, 3), "net_std": (frames, 3), "factor": (),
            "body": (particles,),
        }  # fmt: skip
        wrong = [name for name, shape in shapes.items() if arrays[name].shape != shape]
        if wrong or frames < 2:
            raise ValueError(f"{files / FORCES}: damaged, its arrays do not fit each other")
        cameras, _ = files.read_cameras()
        if len(cameras) not in (1, frames):
            raise ValueError(
                f"{files / CAMERAS}: got {len(cameras)} cameras, expected one or {frames}"
            )
        return cls(
            folder=files.path,
            job=job,
            config=config,
            factor=float(arrays.pop("factor")),
            metrics=files.read_json(METRICS) if (files / METRICS).exists() else {},
            cameras=cameras if len(cameras) == frames else cameras * frames,
            air=air,
            drag=None if drag is None else float(drag),
            **arrays,
        )

    def save(self) -> None:
        """Write the files of the run but for config.json, the checkpoints and what is only to be
        looked at."""
        files = RunFolder(self.folder)
        arrays = {key: getattr(self, name) for name, key in ARRAYS.items()}
        arrays |= {name: getattr(self, name) for name in (*SUPPORT, BODY, *CONFIDENCE)}
        wind = {} if self.air is None else {"air": self.air, "drag": np.float64(self.drag)}
        files.write_npz(FORCES, **arrays, **wind)
        still = all(camera is self.cameras[0] for camera in self.cameras)
        files.write_cameras(self.cameras[:1] if still else self.cameras)
        if self.metrics:
            files.write_json(METRICS, self.metrics)

    @property
    def fps(self) -> float:
        """Frames per second, 1/s."""
        return 1 / float(self.t[1] - self.t[0])

    def clip(self) -> Footage | None:
        """The frames (T, H, W, 3) uint8 of the first view; where the video is gone, as video.mp4
        shows them; None where that is gone too."""
        frames, camera = len(self.t), self.cameras[0]
        with contextlib.suppress(ValueError):
            plan = plan_clips(self.job, need_cameras=False)[0]
            clip = plan.read(camera.size, frames=frames)
            if clip.shape == (frames, camera.height, camera.width, 3):
                return clip
        with contextlib.suppress(ValueError):
            film = read_video(self.folder / VIDEO, max_frames=frames).frames
            return film[:, :, : film.shape[2] // 3]
        return None

    def field(self) -> tp.ForceField:
        """The recovered force field, a force per mass of which gravity is part; of a wind, what
        air and gravity do to the object itself.

        Raises ValueError where the checkpoint cannot be read, for a force that is no field, and for
        several objects, of which each has a field of its own.
        """
        if self.drag is not None:
            gravity = tp.Uniform(acceleration=tuple(self.gravity.tolist()))
            return gravity + tp.Drag(air=self.wind(), rate=self.drag)
        if self.config.force == "point":
            raise ValueError(
                f"{self.folder}: its force acts at a point of its own object, and on no other body"
            )
        if self.body.any():
            raise ValueError(
                f"{self.folder}: it has {self.body.max() + 1} objects, each with a force of its "
                "own, and so no field for other objects; give a --mask of one of them"
            )
        files = RunFolder(self.folder)
        state = files.read_checkpoint(FORCE)
        try:
            field, states = stored_field(self.config, state)
        except (KeyError, IndexError, TypeError, RuntimeError) as error:
            raise ValueError(
                f"{files.checkpoint(FORCE)}: its field is of another version ({error!r})"
            ) from None
        return tp.Triplane(field=field, states=states, fps=self.fps)

    def wind(self) -> SampledAir:
        """The air that drags the object, in the world, from frame 0 on.

        Raises ValueError where the run was not one of --force wind, and where its file cannot be
        read.
        """
        files = RunFolder(self.folder)
        if self.drag is None:
            raise ValueError(f"{files.path}: it knows no air, which a run with --force wind finds")
        lower, spacing, values, t = files.read_npz(AIR, *AIR_ARRAYS)
        if values.ndim != 5 or len(values) != len(t) or values.shape[4:] != (3,):
            raise ValueError(f"{files / AIR}: damaged, its arrays do not fit each other")
        return SampledAir(lower=lower, spacing=float(spacing), values=values, t=t)
