"""What the command `view` shows: the stage of a path."""

import argparse
import contextlib
from functools import partial
from pathlib import Path

import numpy as np

import taichi_phys as tp
from inverse.commands.assets import asset, shipped_scenes
from inverse.commands.show import UPS
from inverse.fitting import FitRun
from inverse.identification import MaterialRun
from inverse.opening import open_run
from inverse.simulation import SceneRun
from inverse.trace import TraceRun
from inverse.trace.stage import TraceStage
from inverse.wind.stage import WindStage
from renderers.orbit import look_at
from renderers.splats.files import SUFFIXES as SPLATS
from renderers.splats.files import NotGaussiansError, load_gaussians
from renderers.splats.gaussians import Gaussians
from renderers.viewer.live import Live
from renderers.viewer.playback import Playback
from renderers.viewer.playground import body_simulation
from renderers.viewer.stage import Choice, Stage
from taichi_phys.io.states import INDEX


OPAQUE = 0.1  # Gaussians fainter than that are no part of a body


def open_stage(args: argparse.Namespace) -> Stage:
    """The stage of args.path, showing what the other flags choose.

    args: of `inverse.commands.view.make_parser`. Raises ValueError, in one sentence.
    """
    path, stage = Path(args.path), None
    if not path.exists() and args.path in shipped_scenes():
        path = asset(f"scenes/{args.path}.toml")
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    if path.is_dir():
        stage = _folder(path, args)
    elif path.suffix.lower() == ".toml":
        stage = _scene(path)
    elif path.suffix.lower() in SPLATS or path.name == "meta.json":
        with contextlib.suppress(NotGaussiansError):  # a .ply may be a mesh
            stage = _body(path, args, load_gaussians(path))
    if stage is None:
        stage = _body(path, args)
    _choose(stage, "show", args.show)
    _choose(stage, "color", args.color)
    return stage


def _folder(path: Path, args: argparse.Namespace) -> Stage:
    """A run, or frames that `taichi_phys.write_frames` wrote."""
    if (path / INDEX).is_file():
        name = path.resolve().parent.name if path.name == "frames" else path.name
        frames = tp.read_frames(path)
        return Playback(frames, frames.fps, name)
    run = open_run(path)
    if isinstance(run, TraceRun):
        return TraceStage(run)
    if isinstance(run, FitRun):
        stage = _body(path, args, run.gaussians)
        stage.views = run.cameras
        return stage
    if isinstance(run, MaterialRun):
        raise ValueError(f"{path}: the run of fit-material is shown by its report.html")
    if isinstance(run, SceneRun):
        if run.frames is None:
            raise ValueError(f"{path}: its scene keeps no frames that could be shown")
        return Playback(run.frames, run.frames.fps, path.name)
    wind = WindStage(run, args.material)
    if args.blow is None:
        return wind
    own = args.blow in ("ball", "cube")
    body = args.blow if own else tp.sample_mesh(args.blow, count=args.particles)
    blown = wind.blow(body, count=args.particles, drag=args.drag)
    blown.ready()
    return blown


def _scene(path: Path) -> Live:
    """A scene file."""
    scene = tp.load_scene(path)
    stage = Live(scene.build, title=scene.title, fps=scene.time.fps)
    stage.ready()
    camera = scene.camera
    stage.azimuth, stage.elevation = camera.azimuth, camera.elevation
    if camera.eye is not None:
        target = np.mean(stage.box(), axis=0) if camera.target is None else camera.target
        stage.start = look_at(
            camera.eye, target, width=camera.width, height=camera.height, fov=camera.fov
        )
        stage.views = [stage.start]
    return stage


def _body(path: Path, args: argparse.Namespace, gaussians: Gaussians | None = None) -> Live:
    """A mesh, or splats, which become a body when they are first pushed or played."""
    up = UPS[args.up or ("z" if gaussians is None else "-y")]

    def make() -> tuple[tp.MPM, None]:
        if gaussians is None:
            x, volume = tp.sample_mesh(path, count=args.particles)
        else:
            points, weights = gaussians.means, gaussians.opacities
            sample = partial(tp.sample_cloud, points, weights=weights, threshold=OPAQUE)
            try:
                x, volume = sample(count=args.particles)
            except tp.NothingEnclosedError:
                x, volume = sample(fill=False)
        return body_simulation(x, volume, up=up, material=args.material), None

    stage = Live(make, title=path.name, material=args.material, gaussians=gaussians, up=up)
    if gaussians is None or args.live or args.color or args.show:
        stage.ready()
    return stage


def _choose(stage: Stage, name: str, value: str | None) -> None:
    """Set what the panel's choice of that name would set."""
    if value is None:
        return
    choices = [c for c in stage.controls() if isinstance(c, Choice) and c.name == name]
    options = list(choices[0].options) if choices else ["nothing: there is no choice here"]
    if not choices or value not in options:
        raise ValueError(f"{name}: got {value!r}, expected {', '.join(options)}")
    choices[0].set(value)
