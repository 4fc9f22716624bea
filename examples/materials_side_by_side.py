"""Six materials side by side: each falls as a cube into a tray of its own.

    python examples/materials_side_by_side.py
    python examples/materials_side_by_side.py --presets jelly foam water

Writes video.mp4, metrics.json, config.json and report.html to --out. Elastic cubes must keep their
shape, sand must heap up, and water must lie flat. Each tray is a simulation of its own, so that a
stiff material does not shorten the time steps of the others.
"""

import argparse
import sys

import forward_common as common
import numpy as np
from tqdm import tqdm

import taichi_phys as tp
from renderers.lines import box_lines
from renderers.particles.draw import Floor, view


EDGE, DROP, TRAY, LANE = 0.12, 0.1, 0.16, 0.42  # m: cube, free fall, half a tray, between trays
COLORS = {
    "jelly": (0.36, 0.72, 0.40), "rubber": (0.30, 0.32, 0.38), "plasticine": (0.80, 0.35, 0.55),
    "toothpaste": (0.92, 0.95, 0.97), "sand": (0.83, 0.66, 0.40), "water": (0.25, 0.52, 0.85),
    "foam": (0.96, 0.90, 0.70), "metal": (0.62, 0.66, 0.72),
}  # fmt: skip
SOLID = ("jelly", "rubber", "metal")  # those that spring back


def make_parser() -> argparse.ArgumentParser:
    parser = common.make_parser(__doc__, out="out/materials", frames=48, spacing=0.012)
    parser.add_argument(
        "--presets", nargs="+", metavar="NAME",
        default=("jelly", "rubber", "plasticine", "toothpaste", "sand", "water"),
        help=f"of {', '.join(tp.PRESETS)}; default: jelly rubber plasticine toothpaste sand water",
    )  # fmt: skip
    parser.add_argument("--slow", type=float, default=1.6,
                        help="slow motion of the film; default: %(default)g")  # fmt: skip
    return parser


def drop(args: argparse.Namespace, name: str) -> list[np.ndarray]:
    """Places (n, 3) m of the particles of one cube in its tray, frame by frame."""
    material, density = tp.preset(name)
    dx, half = 2 * args.spacing, EDGE / 2
    x, volume = tp.sample_box(
        (-half, -half, DROP), (half, half, DROP + EDGE), spacing=args.spacing, seed=args.seed
    )
    wall = TRAY + 3 * dx  # the walls of a grid are three cells thick
    # nodes a little below the floor: where they are above it, bodies sink in by most of a cell
    sim = tp.MPM(
        particles=tp.Particles(x, volume=volume, density=density, material=material),
        grid=tp.Grid(
            lower=(-wall, -wall, -5.1 * dx), upper=(wall, wall, DROP + 2 * EDGE + 3 * dx), dx=dx
        ),
        colliders=[tp.Plane(point=(0, 0, 0), normal=(0, 0, 1), friction=0.5)],
    )
    states = sim.run(frames=args.frames, fps=args.fps * args.slow, progress=False)
    return [x, *(s.x.double().cpu().numpy() for s in states)]


def run(args: argparse.Namespace, argv: list[str] | None) -> int:
    common.check_flags(args)
    for name in args.presets:
        tp.preset(name)
    if not args.slow > 0:
        raise ValueError(f"slow: got {args.slow}, expected a positive number")
    tp.init(arch=args.arch)
    bar = tqdm(args.presets, desc="materials", disable=None)
    runs = {name: drop(args, name) for name in bar}

    checks, sizes = common.Checks(), {}
    cube = EDGE / np.sqrt(12)  # standard deviation of places in a cube
    for name, places in runs.items():
        wide, deep, high = places[-1].std(axis=0) / cube
        sizes[name] = {"width": wide, "depth": deep, "height": high}
        if name in SOLID:
            checks.near(f"height of {name}", high, 1.0, "of the cube's", within=0.12)
            checks.near(f"width of {name}", (wide + deep) / 2, 1.0, "of the cube's", within=0.12)
        elif name in ("sand", "water"):
            checks.between(f"height of {name}", high, 0.0, 0.75, "of the cube's")
            checks.between(f"width of {name}", (wide + deep) / 2, 1.25, np.inf, "of the cube's")
    if {"sand", "water"} <= set(runs):
        ratio = sizes["sand"]["height"] / sizes["water"]["height"]
        checks.between("height of sand beside water", ratio, 1.2, np.inf, "of the water's")

    count = len(runs)
    columns = min(count, 3)
    rows = -(-count // columns)
    lanes = np.array([
        [(k % columns - (columns - 1) / 2) * LANE, ((rows - 1) / 2 - k // columns) * 1.25 * LANE, 0]
        for k in range(count)
    ])  # fmt: skip
    colors = np.concatenate([
        np.tile(COLORS.get(name, (0.6, 0.6, 0.6)), (len(places[0]), 1))
        * np.random.default_rng(args.seed).uniform(0.94, 1.04, (len(places[0]), 1))
        for name, places in runs.items()
    ])  # fmt: skip
    pictures = []
    for k in range(args.frames + 1):
        x = np.concatenate([
            places[k] + lane for lane, places in zip(lanes, runs.values(), strict=True)
        ])  # fmt: skip
        pictures.append({"x": x, "caption": f"t = {k / (args.fps * args.slow):.2f} s"})
    wall = np.array([TRAY, TRAY, 0])
    trays = np.concatenate([box_lines(lane - wall, lane + wall + [0, 0, 0.05]) for lane in lanes])
    labels = [(name, lane - [0, 1.1 * TRAY, 0]) for name, lane in zip(runs, lanes, strict=True)]
    end = np.abs(lanes).max(axis=0) + TRAY
    camera = view(
        (-end[0], -end[1] - 0.08, 0), (end[0], end[1], 0.1), width=args.size[0],
        height=args.size[1], azimuth=0, elevation=33, margin=0.03,
    )  # fmt: skip
    return common.publish(
        args, argv, title="Materials side by side", checks=checks, pictures=pictures,
        summary=f"Cubes of {100 * EDGE:.0f} cm of {', '.join(runs)}, after "
        f"{args.frames / (args.fps * args.slow):.1f} s.",
        camera=camera, colors=colors, radius=0.62 * args.spacing, lines=trays, labels=labels,
        floors=[Floor(size=4.0)], metrics={"sizes": sizes, "particles": len(colors)},
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return common.guarded(lambda: run(args, argv))


if __name__ == "__main__":
    sys.exit(main())
