"""Look and poke: scenes, bodies, splats, recovered winds and learned motions in a window.

    %(prog)s jelly_drop                   # a scene that comes along, or my.toml: live physics
    %(prog)s bunny.obj --material jelly   # a body: a mesh, or splats (.ply, .spz ...)
    %(prog)s out/wind                     # a wind run: forces beside the clip
    %(prog)s out/trace                    # a TRACE run: past its last frame
    %(prog)s out/wind --headless --frames 24 --out out/pictures

The window needs a screen and Vulkan (Debian: apt install mesa-vulkan-drivers libvulkan1); with
--headless the same views go to PNG files and neither is needed; with --web they are on a page in
a browser. In the window, h shows the keys.
"""

import argparse

from inverse.commands.runner import CommandError, command_parser, run_command
from inverse.commands.show import UPS


LEAST = {"width": 320, "height": 240, "frames": 1, "particles": 8}


def make_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    from taichi_phys import PRESETS

    parser = command_parser("view", __doc__)
    add = parser.add_argument
    shown = "default: %(default)s"
    what = "a scene (.toml, or the name of one that comes along), a mesh, a file of splats, or the "
    add("path", help=f"{what}folder of a run or of frames")
    add("--out", default="out/view", metavar="DIR", help=f"pictures, videos; {shown}")
    add("--headless", action="store_true", help="write pictures, open no window")
    add("--frames", type=int, default=24, metavar="N", help=f"with --headless; {shown}")
    ply = "with --headless: also write the Gaussians of each frame to OUT/splats/frame_0000.ply ..."
    add("--ply", action="store_true", help=f"{ply}, a folder that SuperSplat plays")
    add("--web", action="store_true", help="serve a page on this machine (pip install viser)")
    add("--port", type=int, default=8080, metavar="N", help=f"with --web; {shown}")
    add("--width", type=int, default=1280, metavar="PX", help=shown)
    add("--height", type=int, default=720, metavar="PX", help=shown)
    add("--material", choices=tuple(PRESETS), default="jelly", help=shown)
    add("--particles", type=int, default=8000, metavar="N", help=f"of a body; {shown}")
    add("--live", action="store_true", help="make splats a body at once, not at the first push")
    blow = "of a wind run: blow its wind at a ball, a cube, or the body in a file"
    add("--blow", metavar="BODY", help=blow)
    drag = "of the body of --blow in the air of a run with --force wind: rate at which it takes up "
    add("--drag", type=float, metavar="RATE", help=f"{drag}its velocity, 1/s; default: by its size")
    add("--show", metavar="WHAT", help="splats or particles")
    add("--color", metavar="WHAT", help="what colors show, as the panel names it")
    up = "axis that points up; default: -y for splats, as in most of their files, else z"
    add("--up", choices=list(UPS), help=up)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(make_parser, _view, argv)


def _view(args: argparse.Namespace) -> None:
    import torch

    import taichi_phys as tp
    from inverse.commands.stages import open_stage
    from renderers.viewer import web, window
    from renderers.viewer.screen import Screen, headless
    from renderers.viewer.session import Session
    from taichi_phys.checks import whole_number
    from taichi_phys.runtime import one_torch_thread

    for name, least in LEAST.items():
        whole_number(name, getattr(args, name), f"at least {least}", low=least)
    try:
        if args.web:
            web.check_installed()  # before a simulation is made
        tp.init()
        with torch.no_grad(), one_torch_thread():
            session = Session(open_stage(args))
            if args.web:
                with web.WebPage(session, port=args.port) as page:
                    print(f"{session.stage.title}: {page.url}, Ctrl-C ends it", flush=True)
                    page.run()
                return
            size = {"width": args.width, "height": args.height}
            screen = Screen(session, **size, out=args.out, panel=not args.headless)
            if args.headless:
                paths = headless(screen, args.frames, args.out, splats=args.ply)
                print(f"{len(paths)} pictures: {paths[0]} to {paths[-1].name}")
            else:
                window.show(screen)
    except (window.NoWindow, web.NoWeb) as error:
        raise CommandError(str(error)) from None
