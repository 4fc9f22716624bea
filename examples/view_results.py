"""Run directories for the viewer: a recovered wind, and a scene that TRACE has learnt."""

import json
import math
from pathlib import Path

import numpy as np
import torch
from view_live import LABELS, Live
from view_parts import body_simulation, splat_picture

import taichi_phys as tp
from inverse.fitting.model import GaussianModel
from inverse.runs.settings import from_record
from inverse.spread import farthest_points
from inverse.trace.config import TraceConfig
from inverse.trace.model import TraceModel
from inverse.trace.results import PALETTE, find_parts
from inverse.trace.run import PARTS
from inverse.wind.config import WindConfig
from inverse.wind.solver import make_field
from renderers.camera import load_camera
from renderers.datasets import load_views
from renderers.lines import box_lines
from renderers.overlay import draw_arrows, strength_colors
from renderers.splats.gaussians import SH_COUNTS, Gaussians
from renderers.video import read_video
from renderers.viewer.picture import draw_lines, draw_particles
from renderers.viewer.stage import Button, Choice, Slider, Stage, Switch


ARROWS = 60
ARROW_LENGTH = 0.35  # of the object's size, for the strongest
SOLID = 0.3  # opacity of Gaussians whose motion is shown
FRAME = (90, 98, 115)
TRACE_COLORS = ("picture", "parts", "speed")
SECONDS = 4.0  # in which the observed time of TRACE is played
BEYOND = 1.0  # how far past it the slider goes, share of it


def read_checkpoint(path: Path) -> dict:
    """The state in a checkpoint. Raises ValueError, in one sentence."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)["state"]
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:
        raise ValueError(f"{path}: damaged or no checkpoint ({type(error).__name__})") from None


def read_config(folder: Path, *keys: str) -> list[dict]:
    """Parts of a run's config.json. Raises ValueError."""
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return [record[key] for key in keys]
    except OSError as error:
        raise ValueError(f"{folder}/config.json: cannot be read ({error.strerror})") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{folder}/config.json: not that of a run ({error})") from None


def settings(kind: type, record: dict):
    """A config made again from JSON. Raises ValueError for keys of another version."""
    try:
        return from_record(kind, record)
    except TypeError as error:
        raise ValueError(f"config.json: made by another version ({error})") from None


def with_arrows(image, camera, x, vectors, length: float, strongest: float) -> np.ndarray:
    """The image with arrows at x (m, 3) m: vectors (m, 3) are length m long where strongest."""
    starts, front = camera.project(x)
    ends, also = camera.project(x + length / strongest * vectors)
    seen = (front > 0) & (also > 0)
    return draw_arrows(
        image, starts[seen], ends[seen], np.linalg.norm(vectors[seen], axis=1),
        limits=(0, strongest), thickness=4 * camera.height / 720,
    )  # fmt: skip


class Timed(Stage):
    """Something recorded: it has a time that a slider moves."""

    frame, last = 0, 0

    def advance(self) -> bool:
        self.frame = self.frame + 1 if self.frame < self.last else 0
        return True

    def seek(self, frames: int) -> None:
        self.frame = min(max(self.frame + frames, 0), self.last)

    def reset(self) -> None:
        self.frame = 0

    @property
    def time(self) -> float:
        return self.frame / self.fps

    def film(self, session, frame: int, frames: int) -> None:
        self.frame = round(self.last * frame / max(frames - 1, 1))


class Wind(Timed):
    """A wind run: the re-simulation with its forces, beside the clip."""

    up = (0.0, 0.0, 1.0)

    def __init__(self, folder: str | Path, material: str = "jelly"):
        folder = Path(folder)
        self.folder, self.title, self.material = folder, f"wind: {folder.name}", material
        run, solver = read_config(folder, "run", "solver")
        self.run, self.config = run, settings(WindConfig, solver)
        try:
            with np.load(folder / "forces.npz") as record:
                t, self.x, f, self.mass = (record[k] for k in ("t", "x", "f", "mass"))
        except Exception as error:
            raise ValueError(
                f"{folder}/forces.npz: cannot be read ({type(error).__name__}); is the "
                "run finished?"
            ) from None
        self.fps, self.last = 1 / float(t[1] - t[0]), len(t) - 1
        self.specific = f / self.mass[:, None]
        self.v = np.gradient(self.x, t, axis=0)
        self.arrows, self.color = True, "force"
        self.size = float(np.ptp(self.x[0], axis=0).max())
        self.radius = 0.9 * self.size / math.sqrt(len(self.mass))
        self.some = farthest_points(self.x[0], ARROWS)
        strength = np.linalg.norm(self.specific, axis=-1)
        self.strongest = max(float(np.percentile(strength, 98)), 1e-9)
        self.fastest = max(float(np.percentile(np.linalg.norm(self.v, axis=-1), 98)), 1e-9)
        self.video, self._cameras = self._clip(), self._clip_cameras()

    def _clip(self) -> np.ndarray | None:
        """The frames of the clip; of the left panel of video.mp4 if the clip is gone."""
        frames = len(self.x)
        try:
            return read_video(self.run["video"][0], max_frames=frames).frames
        except (ValueError, IndexError):
            pass
        try:
            film = read_video(self.folder / "video.mp4", max_frames=frames).frames
        except ValueError:
            self.message = "neither the clip nor video.mp4 can be read"
            return None
        return film[:, :, : film.shape[2] // 3]

    def _clip_cameras(self) -> list:
        if self.run["moving_camera"] or not self.run["camera"]:
            return []
        try:
            return [load_camera(path)[0] for path in self.run["camera"]]
        except ValueError:
            return []

    def cameras(self):
        return self._cameras

    def box(self):
        points = self.x.reshape(-1, 3)
        return points.min(axis=0), points.max(axis=0)

    def side(self):
        return None if self.video is None else self.video[min(self.frame, len(self.video) - 1)]

    def controls(self):
        return [
            Slider("frame", lambda: self.frame, self._go, 0, self.last, whole=True),
            Switch("force arrows", lambda: self.arrows, lambda on: setattr(self, "arrows", on)),
            Choice("colour", ("force", "speed"), lambda: self.color,
                   lambda name: setattr(self, "color", name)),
            Button("blow this wind at a ball", lambda: self.blow("ball")),
            Button("blow this wind at a cube", lambda: self.blow("cube")),
            Choice("of material", list(tp.PRESETS), lambda: self.material,
                   lambda name: setattr(self, "material", name)),
        ]  # fmt: skip

    def _go(self, frame: int) -> None:
        self.frame, self.playing = int(frame), False

    def keys(self):
        return {
            "a": ("arrows", lambda: setattr(self, "arrows", not self.arrows)),
            "w": ("blow the wind at a ball", lambda: self.blow("ball")),
        }

    def legend(self):
        if self.color == "force" or self.arrows:
            return (0.0, self.strongest), "force per mass (m/s²)"
        return (0.0, self.fastest), LABELS["speed"]

    def picture(self, camera, fast):
        x, specific = self.x[self.frame], self.specific[self.frame]
        if self.color == "force":
            colors = strength_colors(np.linalg.norm(specific, axis=1), (0, self.strongest))
        else:
            colors = strength_colors(np.linalg.norm(self.v[self.frame], axis=1), (0, self.fastest))
        image, depth = draw_particles(camera, x, colors, self.radius)
        draw_lines(image, depth, camera, box_lines(*self.box()), FRAME)
        if self.arrows:
            length = ARROW_LENGTH * self.size
            image = with_arrows(
                image, camera, x[self.some], specific[self.some], length, self.strongest
            )
        return image

    def status(self):
        net = (self.mass[:, None] * self.specific[self.frame]).sum(axis=0) / self.mass.sum()
        return [
            f"t = {self.time:.3f} s, {len(self.mass):,} particles",
            f"net ({net[0]:+.2f}, {net[1]:+.2f}, {net[2]:+.2f}) m/s2",
        ]

    def wind(self) -> tp.Triplane:
        """The recovered force field; gravity is part of it. Raises ValueError."""
        saved = self.folder / "checkpoints" / "targets.npz"
        try:
            with np.load(saved) as record:
                targets = record["targets"]
        except Exception as error:
            raise ValueError(f"{saved}: cannot be read ({type(error).__name__})") from None
        progress = read_checkpoint(self.folder / "checkpoints" / "force.pt")
        field = make_field(targets, self.fps, self.config, 1.0)
        try:
            field.load_state_dict(progress["fields"][-1])
        except (RuntimeError, KeyError, IndexError) as error:
            raise ValueError(f"{self.folder}: its field is of another version ({error})") from None
        return tp.Triplane(field=field, states=progress["fields"], fps=self.fps)

    def blow(self, body, volume: np.ndarray | None = None, count: int = 4000) -> Live | None:
        """Go on to the recovered wind acting on another body, as large as the object was.

        body: ball, cube, or particles (n, 3) m with their volumes (n,) m^3.
        """
        try:
            wind = self.wind()
        except ValueError as error:
            self.message = str(error)
            return None
        middle, half = self.x[0].mean(axis=0), 0.5 * self.size
        if isinstance(body, str):
            name = body
            if body == "ball":
                x, volume = tp.sample_sphere(middle, half, count=count)
            else:
                x, volume = tp.sample_box(middle - 0.7 * half, middle + 0.7 * half, count=count)
        else:
            name, centre = "body", (body.min(axis=0) + body.max(axis=0)) / 2
            scale = self.size / float(np.ptp(body, axis=0).max())
            x, volume = middle + scale * (body - centre), scale**3 * volume
        lower, upper = self.box()
        room = np.stack([lower - self.size, upper + self.size])
        material = self.material

        def make():
            sim = body_simulation(x, volume, up=self.up, material=material, room=room, gravity=0.0)
            return sim, wind

        self.successor = Live(
            make, title=f"{self.title}, blown at a {name}", material=material, fps=self.fps,
            given="recovered wind", box=(room[0], room[1]),
        )  # fmt: skip
        return self.successor


class Trace(Timed):
    """A TRACE run: its Gaussians at any time, past the last one that was observed."""

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        self.folder, self.title = folder, f"TRACE: {folder.name}"
        self.run, config = read_config(folder, "run", "trace")
        config = settings(TraceConfig, config)
        state = read_checkpoint(folder / "checkpoints" / "trace.pt")["model"]
        self._views = self._photographs()
        times = sorted({v.time for v in self._views if v.time is not None})
        self.model = model_of(state, config, times)
        # where the photographs are gone: any times will do to tell parts apart
        self.times = times or np.linspace(0, self.model.duration, 16).tolist()
        self.model.requires_grad_(False)
        self.last = round(SECONDS * self.fps * (1 + BEYOND))
        self.show, self.color, self.arrows = "splats", "picture", False
        self._labels, self._at = None, (math.nan, {})
        x, lower, upper = self.model.gaussians.means.double().numpy(), *self.box()
        solid = self.model.gaussians.opacities.numpy() > SOLID
        solid &= ((x >= lower) & (x <= upper)).all(axis=1) & self.model.moving.numpy()
        self._solid = np.flatnonzero(solid) if solid.any() else np.arange(len(x))
        self._some = self._solid[farthest_points(x[self._solid], 4 * ARROWS)]
        self._fastest = 1e-9

    def _photographs(self) -> list:
        try:
            return load_views(self.run["data"], "train")
        except (ValueError, OSError):
            self.message = f"{self.run['data']} cannot be read: without its cameras"
            return []

    @property
    def duration(self) -> float:
        return self.model.duration

    @property
    def time(self) -> float:
        return self.duration * self.frame / (SECONDS * self.fps)

    def _go(self, t: float) -> None:
        self.frame, self.playing = round(t / self.duration * SECONDS * self.fps), False

    def box(self):
        x = self.model.gaussians.means.numpy()[self.model.gaussians.opacities.numpy() > 0.1]
        x = x if len(x) else self.model.gaussians.means.numpy()
        lower, upper = np.quantile(x, 0.01, axis=0), np.quantile(x, 0.99, axis=0)
        return lower - 1e-3, upper + 1e-3

    def cameras(self):
        return [view.camera for view in self._views]

    def labels(self) -> np.ndarray:
        """(n,) part of each Gaussian, 0: it stands still."""
        if self._labels is None:
            self._labels = self._saved_labels()
        if self._labels is None:
            labels, _ = find_parts(self.model, self.times, self.run["parts"], self.run["seed"])
            self._labels = np.zeros(len(self.model.gaussians), int) if labels is None else labels
        return self._labels

    def _saved_labels(self) -> np.ndarray | None:
        """Those that a finished run left."""
        try:
            with np.load(self.folder / PARTS) as record:
                labels = record["labels"]
        except Exception:  # not there, or one of the dozen kinds that numpy raises
            return None
        fits = labels.shape == (len(self.model.gaussians),) and labels.dtype.kind == "i"
        return labels if fits and labels.min() >= 0 else None

    def tensors(self) -> dict:
        """The Gaussians now."""
        if self._at[0] != self.time:
            self._at = (self.time, self.model.tensors_at(self.time))
        return self._at[1]

    def velocities(self) -> np.ndarray:
        """(n, 3) m/s now: slopes of the paths."""
        h = 0.02 * self.duration
        first, second = (
            self.model.tensors_at(t)["means"].numpy()
            for t in (max(self.time - h, 0.0), self.time + h)
        )
        return (second - first) / (self.time + h - max(self.time - h, 0.0))

    def controls(self):
        end = (1 + BEYOND) * self.duration
        return [
            Slider("time (s)", lambda: self.time, self._go, 0.0, end),
            Choice("show", ("splats", "particles"), lambda: self.show,
                   lambda v: setattr(self, "show", v)),
            Choice("colour", TRACE_COLORS, lambda: self.color,
                   lambda v: setattr(self, "color", v)),
            Switch("velocity arrows", lambda: self.arrows, lambda v: setattr(self, "arrows", v)),
        ]  # fmt: skip

    def keys(self):
        def next_color():
            at = TRACE_COLORS.index(self.color)
            self.color = TRACE_COLORS[(at + 1) % len(TRACE_COLORS)]

        def flip():
            self.show = "particles" if self.show == "splats" else "splats"

        return {
            "a": ("velocity arrows", lambda: setattr(self, "arrows", not self.arrows)),
            "o": ("next colouring", next_color), "x": ("splats or particles", flip),
        }  # fmt: skip

    def legend(self):
        if self.arrows or self.color == "speed":
            return (0.0, self._fastest), LABELS["speed"]
        return None

    def picture(self, camera, fast):
        now = dict(self.tensors())
        v = None
        if self.arrows or self.color == "speed":
            v = self.velocities()
            speed = np.linalg.norm(v, axis=1)
            self._fastest = max(self._fastest, float(np.quantile(speed[self._solid], 0.95)))
        if self.color == "parts":
            colors = (255 * PALETTE[self.labels() % len(PALETTE)]).astype(np.uint8)
        elif self.color == "speed":
            colors = strength_colors(speed, (0, self._fastest))
        else:
            g = Gaussians(**{k: t.detach() for k, t in now.items()})
            colors = (255 * g.colors().clamp(max=1)).byte().numpy()
        if self.show == "splats":
            if self.color != "picture":
                del now["sh"]
                now["colors"] = torch.from_numpy(colors / np.float32(255))
            image = splat_picture(camera, now)
        else:
            solid = now["opacities"].numpy() > 0.1
            radius = 0.5 * float(now["scales"].mean())
            x = now["means"].numpy()
            image, _ = draw_particles(camera, x[solid], colors[solid], radius)
        if self.arrows:
            image = self._arrows(image, camera, now["means"].numpy(), v)
        return image

    def _arrows(self, image, camera, x, v):
        some = self._some[np.linalg.norm(v[self._some], axis=1) > 0.05 * self._fastest][:ARROWS]
        lower, upper = self.box()
        length = 0.5 * ARROW_LENGTH * float((upper - lower).max())
        return with_arrows(image, camera, x[some], v[some], length, self._fastest)

    def status(self):
        seen = "observed" if self.time <= self.duration + 1e-9 else "predicted"
        lines = [f"t = {self.time:.3f} s, {seen}", f"{len(self.model.gaussians):,} Gaussians"]
        if self._labels is not None:
            lines.append(f"{self._labels.max()} moving parts")
        return lines


def model_of(state: dict, config: TraceConfig, times: list[float]) -> TraceModel:
    """A TraceModel from the numbers in a checkpoint; times: the observed ones, s, or none."""
    try:
        n, first = len(state["gaussians.means"]), state["gaussians.sh_first"]
        rest = state["gaussians.sh_rest"].shape[1]
        blank = Gaussians(
            means=torch.zeros(n, 3), quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
            scales=torch.ones(n, 3), opacities=torch.full((n,), 0.5),
            sh=torch.zeros(n, 1 + rest, 3),
        )  # fmt: skip
        assert first.shape[1] + rest in SH_COUNTS
        network = next(k for k in ("deformation", "dynamics") if f"{k}.encode.centre" in state)
        encode = {k: state[f"{network}.encode.{k}"] for k in ("centre", "scale")}
        duration = float(state[f"{network}.encode.duration"])
        model = TraceModel(
            GaussianModel(blank), config, center=encode["centre"].tolist(),
            half_side=float(encode["scale"]), duration=duration,
            frame_dt=float(np.median(np.diff(times))) if len(times) > 1 else duration / 16,
        )  # fmt: skip
        model.load_state_dict(state)
    except (KeyError, StopIteration, RuntimeError, AssertionError) as error:
        raise ValueError(f"trace.pt: of another version ({str(error).splitlines()[:1]})") from None
    return model
