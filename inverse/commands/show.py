"""Film a turn around a file of Gaussians: a turntable video and a picture.

    %(prog)s scene.ply                        # or .splat, .spz, .ksplat, .sog
    %(prog)s scene.compressed.ply --front 90 --save scene.ply

The command writes video.mp4, and its first frame as picture.png, to --out.
"""

import argparse
import itertools
import math
from pathlib import Path

from inverse.commands.runner import command_parser, run_command


UPS: dict[str, tuple[int, int, int]] = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}
UPS |= {f"-{name}": (-x, -y, -z) for name, (x, y, z) in UPS.items()}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = command_parser("show", __doc__)
    add = parser.add_argument
    add("file", help=".ply (of any program), .splat, .spz, .ksplat, .sog, or the meta.json of SOG")
    add("--out", default="out/show", metavar="DIR", help="default: %(default)s")
    add("--save", metavar="FILE.ply", help="also write the Gaussians as a standard .ply")
    add(
        "--sh-degree",
        type=int,
        metavar="N",
        help="highest degree of the colors in --save; most other programs open degrees up to 3",
    )
    add(
        "--up",
        default="-y",
        choices=list(UPS),
        help="axis that points up; default: %(default)s, because y points down in most splat files "
        "(3DGS from COLMAP, PlayCanvas); z for NeRF-synthetic scenes",
    )
    add(
        "--front",
        default=0.0,
        type=float,
        metavar="DEG",
        help="side of the first view, counterclockwise as seen from above; at 0 the x axis points "
        "right (the y axis, if x points up); default: %(default)g",
    )
    add(
        "--elevation",
        default=20.0,
        type=float,
        metavar="DEG",
        help="angle of the camera above the horizon; default: %(default)g",
    )
    add(
        "--fov",
        default=40.0,
        type=float,
        metavar="DEG",
        help="vertical field of view; default: %(default)g",
    )
    add("--width", type=int, default=512, metavar="PX", help="default: %(default)s")
    add("--height", type=int, default=512, metavar="PX", help="default: %(default)s")
    add(
        "--frames",
        type=int,
        default=96,
        help="frames of the turn, 24 per second; default: %(default)s",
    )
    add(
        "--background",
        type=float,
        nargs=3,
        default=(1.0, 1.0, 1.0),
        metavar=("R", "G", "B"),
        help="0 to 1; default: white",
    )
    add(
        "--antialiased",
        action=argparse.BooleanOptionalAction,
        help="keep thin Gaussians as faint as they are; default: what the file says",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(make_parser, _show, argv)


def _show(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    import taichi_phys as tp
    from renderers.images import to_bytes, write_png
    from renderers.orbit import framing, orbit
    from renderers.splats.files import ANTIALIASED, load_splats, save_gaussians
    from renderers.splats.render import render
    from renderers.video import DEFAULT_FPS, write_video

    _check(args)
    file = load_splats(args.file)
    gaussians = file.gaussians
    antialiased = file.antialiased if args.antialiased is None else args.antialiased
    if args.save:
        comments = [ANTIALIASED] if antialiased else []
        save_gaussians(args.save, gaussians, comments=comments, degree=args.sh_degree)
    # The body must fit in width and height: the narrower field of view decides.
    slope = math.tan(math.radians(args.fov) / 2) * min(1, args.width / args.height)
    center, radius = framing(gaussians, math.degrees(2 * math.atan(slope)))
    cameras = orbit(
        center.tolist(),
        radius,
        up=UPS[args.up],
        elevation=args.elevation,
        azimuth=args.front,
        frames=args.frames,
        fov=args.fov,
        width=args.width,
        height=args.height,
    )
    device = tp.init().device
    tensors = {name: value.to(device) for name, value in gaussians.tensors().items()}
    views = (
        to_bytes(
            render(
                camera,
                **tensors,
                background=args.background,
                antialiased=antialiased,
                near=0.01 * radius,  # the file's unit of length may be anything
            ).rgb
        )
        for camera in tqdm(cameras, desc="frames", disable=None)
    )
    first = next(views)
    write_png(Path(args.out) / "picture.png", first)
    write_video(Path(args.out) / "video.mp4", itertools.chain([first], views), DEFAULT_FPS)
    print(f"{len(gaussians)} Gaussians: {Path(args.out) / 'video.mp4'}")


def _check(args: argparse.Namespace) -> None:
    for name in ("width", "height", "frames"):
        if getattr(args, name) < 1:
            raise ValueError(f"{name}: got {getattr(args, name)}, expected at least 1")
    if not 0 < args.fov < 180:
        raise ValueError(f"fov: got {args.fov}, expected degrees between 0 and 180")
    if not all(0 <= value <= 1 for value in args.background):
        raise ValueError(f"background: got {args.background}, expected values from 0 to 1")
