"""Look and poke: scenes, bodies, splats, recovered winds and learned motions in a window.

    %(prog)s jelly_drop                   # a scene that comes along, or my.toml: live physics
    %(prog)s bunny.obj --material jelly   # a body: a mesh, or splats (.ply, .splat)
    %(prog)s out/wind                     # a wind run: forces beside the clip
    %(prog)s out/trace                    # a TRACE run: past its last frame
    %(prog)s out/wind --headless --frames 24 --out out/pictures

The window needs a screen and Vulkan (Debian: apt install mesa-vulkan-drivers libvulkan1); with
--headless the same views go to PNG files and neither is needed; with --web they are on a page in
a browser. In the window, h shows the keys.
"""

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inverse.commands.assets import asset, shipped_scenes
from inverse.commands.runner import CommandError, command_parser, run_command
from inverse.commands.show import UPS


if TYPE_CHECKING:
    import numpy as np

    from renderers.splats.gaussians import Gaussians
    from renderers.viewer.live import Live
    from renderers.viewer.session import Session
    from renderers.viewer.stage import Stage


OPAQUE = 0.1  # Gaussians fainter than that are no part of a body
LEAST = {"width": 320, "height": 240, "frames": 1, "particles": 8}


def make_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    from taichi_phys import PRESETS

    parser = command_parser("view", __doc__)
    add = parser.add_argument
    shown = "default: %(default)s"
    what = "a scene (.toml, or the name of one that comes along), a mesh, a .ply or .splat, or the "
    add("path", help=f"{what}folder of a run or of frames")
    add("--out", default="out/view", metavar="DIR", help=f"pictures, videos; {shown}")
    add("--headless", action="store_true", help="write pictures, open no window")
    add("--frames", type=int, default=24, metavar="N", help=f"with --headless; {shown}")
    add("--web", action="store_true", help="serve a page on this machine (pip install viser)")
    add("--port", type=int, default=8080, metavar="N", help=f"with --web; {shown}")
    add("--width", type=int, default=1280, metavar="PX", help=shown)
    add("--height", type=int, default=720, metavar="PX", help=shown)
    add("--material", choices=tuple(PRESETS), default="jelly", help=shown)
    add("--particles", type=int, default=8000, metavar="N", help=f"of a body; {shown}")
    add("--live", action="store_true", help="make splats a body at once, not at the first push")
    blow = "of a wind run: blow its wind at a ball, a cube, or the body in a file"
    add("--blow", metavar="BODY", help=blow)
    add("--show", metavar="WHAT", help="splats or particles")
    add("--color", metavar="WHAT", help="what colors show, as the panel names it")
    up = "axis that points up; default: -y for splats, as in most of their files, else z"
    add("--up", choices=list(UPS), help=up)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(make_parser, view, argv)


def view(args: argparse.Namespace) -> None:
    """Do what the flags say."""
    import torch

    import taichi_phys as tp
    from renderers.viewer import web, window
    from renderers.viewer.screen import Screen, headless
    from renderers.viewer.session import Session

    for name, least in LEAST.items():
        if getattr(args, name) < least:
            raise ValueError(f"{name}: got {getattr(args, name)}, expected at least {least}")
    try:
        if args.web:
            web.check_installed()  # before a simulation is made
        tp.init()
        with torch.no_grad(), tp.runtime.one_torch_thread():
            session = Session(open_stage(args))
            if args.web:
                serve(session, args.port)
                return
            screen = Screen(session, width=args.width, height=args.height, out=args.out)
            if args.headless:
                paths = headless(screen, args.frames, args.out)
                print(f"{len(paths)} pictures: {paths[0]} to {paths[-1].name}")
            else:
                window.show(screen)
    except (window.NoWindow, web.NoWeb) as error:
        raise CommandError(str(error)) from None


def serve(session: "Session", port: int) -> None:
    """Show a session on a page until Ctrl-C or SIGTERM."""
    from renderers.viewer.web import WebPage

    with WebPage(session, port=port) as page:
        print(f"{session.stage.title}: {page.url}, Ctrl-C ends it", flush=True)
        page.run()


def open_stage(args: argparse.Namespace) -> "Stage":
    """The stage of args.path, showing what the flags choose. Raises ValueError, in one sentence."""
    path = Path(args.path)
    if not path.exists() and args.path in shipped_scenes():
        path = asset(f"scenes/{args.path}.toml")
    if path.is_dir():
        stage = open_folder(path, args)
    elif not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    elif path.suffix.lower() == ".toml":
        stage = open_scene(path)
    else:
        stage = open_body(path, args)
    choose(stage, "show", args.show)
    choose(stage, "color", args.color)
    return stage


def open_folder(path: Path, args: argparse.Namespace) -> "Stage":
    """A run, or frames that `taichi_phys.write_frames` wrote."""
    from inverse.fitting.run import FitRun
    from inverse.runs import open_run
    from inverse.simulation import SceneRun
    from inverse.trace.run import TraceRun
    from inverse.trace.stage import TraceStage
    from inverse.wind.run import WindRun
    from inverse.wind.stage import WindStage
    from renderers.viewer.playback import Playback
    from taichi_phys import read_frames
    from taichi_phys.io.states import INDEX

    if (path / INDEX).is_file():
        name = path.resolve().parent.name if path.name == "frames" else path.name
        frames = read_frames(path)
        return Playback(frames, frames.fps, name)
    run = open_run(path)
    if isinstance(run, TraceRun):
        return TraceStage(run)
    if isinstance(run, FitRun):
        stage = splat_stage(run.gaussians, path.name, args)
        stage.views = run.cameras
        return stage
    if isinstance(run, SceneRun):
        if run.frames is None:
            raise ValueError(f"{path}: its scene keeps no frames that could be shown")
        return Playback(run.frames, run.frames.fps, path.name)
    assert isinstance(run, WindRun)
    stage = WindStage(run, args.material)
    if args.blow is None:
        return stage
    body = args.blow if args.blow in ("ball", "cube") else mesh_body(args.blow, args)
    blown = stage.blow(body, count=args.particles)
    if blown is None:
        raise ValueError(stage.message)
    blown.ready()
    return blown


def open_scene(path: Path) -> "Stage":
    """A scene file."""
    import numpy as np

    from renderers.orbit import look_at
    from renderers.viewer.live import Live
    from taichi_phys import load_scene

    scene = load_scene(path)
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


def open_body(path: Path, args: argparse.Namespace) -> "Stage":
    """A mesh, or splats, which become a body when they are first pushed or played."""
    from renderers.splats.files import NotGaussiansError, load_gaussians
    from renderers.viewer.live import Live
    from renderers.viewer.playground import body_simulation

    if path.suffix.lower() in (".ply", ".splat"):
        with contextlib.suppress(NotGaussiansError):  # a .ply may be a mesh
            return splat_stage(load_gaussians(path), path.name, args)
    up = UPS[args.up or "z"]

    def make():
        return body_simulation(*mesh_body(path, args), up=up, material=args.material), None

    stage = Live(make, title=path.name, material=args.material, up=up)
    stage.ready()
    return stage


def splat_stage(gaussians: "Gaussians", title: str, args: argparse.Namespace) -> "Live":
    """Splats that become a body when they are first pushed or played."""
    import taichi_phys as tp
    from renderers.viewer.live import Live
    from renderers.viewer.playground import body_simulation

    up = UPS[args.up or "-y"]

    def make():
        options: dict[str, Any] = {"weights": gaussians.opacities, "threshold": OPAQUE}
        try:
            x, volume = tp.sample_cloud(gaussians.means, **options, count=args.particles)
        except tp.NothingEnclosedError:
            x, volume = tp.sample_cloud(gaussians.means, **options, fill=False)
        return body_simulation(x, volume, up=up, material=args.material), None

    stage = Live(make, title=title, material=args.material, gaussians=gaussians, up=up)
    if args.live or args.color:
        stage.ready()
    return stage


def mesh_body(path: str | Path, args: argparse.Namespace) -> "tuple[np.ndarray, np.ndarray]":
    """Particles (n, 3) m of a mesh file and their volumes (n,) m^3."""
    import taichi_phys as tp

    return tp.sample_mesh(path, count=args.particles)


def choose(stage: "Stage", name: str, value: str | None) -> None:
    """Set what the panel's choice of that name, or its switch, would set. Raises ValueError."""
    from renderers.viewer.live import Live
    from renderers.viewer.stage import Choice

    if value is None:
        return
    if name == "show" and isinstance(stage, Live) and stage.gaussians is not None:
        if value in ("splats", "particles"):
            stage.splats = value == "splats"
            stage.ready()
            return
    options = [c for c in stage.controls() if isinstance(c, Choice) and c.name == name]
    if options and value in options[0].options:
        options[0].set(value)
        return
    expected = ", ".join(options[0].options) if options else "nothing: there is no choice here"
    raise ValueError(f"{name}: got {value!r}, expected {expected}")
