"""Look and poke: scenes, bodies, splats, recovered winds and learnt motions in a window.

    python examples/view.py assets/scenes/jelly_drop.toml  # a scene file: live physics
    python examples/view.py bunny.obj --material jelly   # a body: a mesh, or splats (.ply, .splat)
    python examples/view.py out/wind                     # a wind run: forces beside the clip
    python examples/view.py out/trace                    # a TRACE run: past its last frame
    python examples/view.py out/wind --headless --frames 24 --out out/pictures

The window needs a screen and Vulkan (Debian: apt install mesa-vulkan-drivers libvulkan1); with
--headless the same views go to PNG files and neither is needed. In the window, h shows the keys.
"""

import argparse
import contextlib
import sys
from pathlib import Path

import torch

import taichi_phys as tp
from inverse.commands.runner import joined, plain_warnings
from inverse.commands.show import UPS
from renderers.orbit import look_at
from renderers.splats.files import NotGaussiansError, load_gaussians
from renderers.viewer import window as ggui
from renderers.viewer.session import Session, headless
from renderers.viewer.stage import Choice, Stage
from taichi_phys import runtime


OPAQUE = 0.1  # Gaussians fainter than that are no part of a body


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("path", help="scene.toml, a mesh, a .ply or .splat, or a run directory")
    add("--out", default="out/view", metavar="DIR", help="pictures, videos; default: %(default)s")
    add("--headless", action="store_true", help="write pictures, open no window")
    add(
        "--frames", type=int, default=24, metavar="N",
        help="with --headless or --web; default: %(default)s",
    )  # fmt: skip
    add("--web", action="store_true", help="serve a page on this machine (pip install viser)")
    add("--port", type=int, default=8080, metavar="N", help="with --web; default: %(default)s")
    add("--width", type=int, default=1280, metavar="PX", help="default: %(default)s")
    add("--height", type=int, default=720, metavar="PX", help="default: %(default)s")
    add("--material", choices=tuple(tp.PRESETS), default="jelly", help="default: %(default)s")
    add(
        "--particles", type=int, default=8000, metavar="N",
        help="of a body; default: %(default)s",
    )  # fmt: skip
    add("--live", action="store_true", help="make splats a body at once, not at the first push")
    add(
        "--blow", metavar="BODY",
        help="of a wind run: blow its wind at a ball, a cube, or the body in a file",
    )  # fmt: skip
    add("--show", metavar="WHAT", help="splats or particles")
    add("--color", metavar="WHAT", help="what colours show, as the panel names it")
    add(
        "--up", choices=list(UPS),
        help="axis that points up; default: -y for splats, as in most of their files, else z",
    )  # fmt: skip
    return parser


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = make_parser()
    args = parser.parse_args(joined(parser, sys.argv[1:] if argv is None else argv))
    for name, least in (("width", 320), ("height", 240), ("frames", 1), ("particles", 8)):
        if getattr(args, name) < least:
            raise ValueError(f"{name}: got {getattr(args, name)}, expected at least {least}")
    return args


def open_stage(args: argparse.Namespace) -> Stage:
    """What lies at args.path. Raises ValueError, in one sentence, for anything unknown."""
    path = Path(args.path)
    if path.is_dir():
        return open_run(path, args)
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    if path.suffix.lower() == ".toml":
        return open_scene(path)
    return open_body(path, args)


def open_run(path: Path, args: argparse.Namespace) -> Stage:
    """A run directory."""
    from view_results import Trace, Wind

    if (path / "forces.npz").exists():
        stage = Wind(path, args.material)
        if args.blow is None:
            return stage
        body = (args.blow,) if args.blow in ("ball", "cube") else mesh_body(args.blow, args)
        blown = stage.blow(*body, count=args.particles)
        if blown is None:
            raise ValueError(stage.message)
        blown.ready()
        return blown
    if (path / "checkpoints" / "trace.pt").exists():
        return Trace(path)
    raise ValueError(
        f"{path}: neither a wind run (forces.npz) nor a TRACE run (checkpoints/trace.pt)"
    )


def open_scene(path: Path) -> Stage:
    """A scene file."""
    from view_live import Live

    from taichi_phys.scenes.scene import load_scene

    scene = load_scene(path)
    stage = Live(
        scene.build, title=scene.title, fps=scene.time.fps,
        outside=scene.simulation.outside,
    )  # fmt: skip
    stage.ready()
    view = scene.camera
    stage.azimuth, stage.elevation = view.azimuth, view.elevation
    if view.eye is not None:
        lower, upper = stage.box()
        target = tuple((lower + upper) / 2) if view.target is None else view.target
        size = {"width": view.width, "height": view.height, "fov": view.fov}
        stage.views = [look_at(view.eye, target, **size)]
    return stage


def open_body(path: Path, args: argparse.Namespace) -> Stage:
    """A mesh, or splats, which become a body when they are first pushed or played."""
    from view_live import Live
    from view_parts import body_simulation

    gaussians = None
    if path.suffix.lower() in (".ply", ".splat"):
        with contextlib.suppress(NotGaussiansError):  # a .ply may be a mesh
            gaussians = load_gaussians(path)
    up = UPS[args.up or ("z" if gaussians is None else "-y")]

    def make():
        if gaussians is None:
            x, volume = mesh_body(path, args)
        else:
            options = {"weights": gaussians.opacities, "threshold": OPAQUE}
            try:
                x, volume = tp.sample_cloud(gaussians.means, **options, count=args.particles)
            except tp.NothingEnclosedError:
                x, volume = tp.sample_cloud(gaussians.means, **options, fill=False)
        return body_simulation(x, volume, up=up, material=args.material), None

    stage = Live(make, title=path.name, material=args.material, gaussians=gaussians, up=up)
    if gaussians is None or args.live or args.color:
        stage.ready()
    return stage


def mesh_body(path: str | Path, args: argparse.Namespace):
    """Particles of a mesh file and their volumes."""
    return tp.sample_mesh(path, count=args.particles)


def choose(stage: Stage, name: str, value: str | None) -> None:
    """Set what the panel's choice of that name, or its switch, would set."""
    if value is None:
        return
    options: tuple = ()
    for control in stage.controls():
        if isinstance(control, Choice) and control.name == name:
            options = tuple(control.options)
            if value in options:
                control.set(value)
                return
    if name == "show" and hasattr(stage, "show_splats") and value in ("splats", "particles"):
        stage.show_splats(value == "splats")
        return
    expected = ", ".join(options) or "nothing: there is no choice here"
    raise ValueError(f"{name}: got {value!r}, expected {expected}")


def opened(args: argparse.Namespace) -> Stage:
    """The stage of the path, showing what the flags choose."""
    stage = open_stage(args)
    choose(stage, "show", args.show)
    choose(stage, "colour", args.color)
    return stage


@plain_warnings()
def main(argv: list[str] | None = None) -> int:
    try:
        args = parse(argv)
        tp.init()
        with torch.no_grad(), runtime.one_torch_thread():
            if args.web:
                from view_web import share

                return share(args.path, lambda: opened(args), frames=args.frames, port=args.port)
            stage = opened(args)
            session = Session(stage, width=args.width, height=args.height, out=args.out)
            if args.headless:
                paths = headless(session, args.frames, args.out)
                print(f"{len(paths)} pictures: {paths[0]} to {paths[-1].name}")
            else:
                ggui.show(session)
    except (ValueError, ggui.NoWindow, tp.SimulationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
