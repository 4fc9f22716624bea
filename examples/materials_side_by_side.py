"""Six materials side by side: each falls as a cube into a tray of its own.

    python examples/materials_side_by_side.py
    python examples/materials_side_by_side.py --presets jelly foam water

Writes video.mp4, metrics.json, config.json and report.html to --out. Elastic cubes must keep their
shape, sand must heap up, and water must lie flat. Each tray is a simulation of its own, so that a
stiff material does not shorten the time steps of the others.
"""

import sys

import numpy as np
from tqdm import tqdm

import taichi_phys as tp
from inverse.commands import experiment
from renderers.lines import box_lines


EDGE, DROP, TRAY, LANE = 0.12, 0.1, 0.16, 0.42  # m: cube, free fall, half a tray, between trays
COLORS = {
    "jelly": (0.36, 0.72, 0.40),
    "rubber": (0.30, 0.32, 0.38),
    "plasticine": (0.80, 0.35, 0.55),
    "toothpaste": (0.92, 0.95, 0.97),
    "sand": (0.83, 0.66, 0.40),
    "water": (0.25, 0.52, 0.85),
    "foam": (0.96, 0.90, 0.70),
    "metal": (0.62, 0.66, 0.72),
}
SOLID, LOOSE = ("jelly", "rubber", "metal"), ("sand", "water")  # some spring back, some flow apart


def make_parser():
    parser = experiment.make_parser(
        __doc__, out="out/materials", frames=48, spacing=0.012, slow=1.6
    )
    six = ("jelly", "rubber", "plasticine", "toothpaste", "sand", "water")
    names = f"of {', '.join(tp.PRESETS)}; default: {' '.join(six)}"
    parser.add_argument("--presets", nargs="+", metavar="NAME", default=six, help=names)
    return parser


def drop(args, name):
    """Places (T, n, 3) m of the particles of one cube in its tray, frame by frame."""
    material, density = tp.preset(name)
    dx, half = 2 * args.spacing, EDGE / 2
    box = (-half, -half, DROP), (half, half, DROP + EDGE)
    x, volume = tp.sample_box(*box, spacing=args.spacing, seed=args.seed)
    wall = TRAY + 3 * dx  # the walls of a grid are three cells thick
    # nodes a little below the floor: where they are above it, bodies sink in by most of a cell
    lower, upper = (-wall, -wall, -5.1 * dx), (wall, wall, DROP + 2 * EDGE + 3 * dx)
    sim = tp.MPM(
        particles=tp.Particles(x, volume=volume, density=density, material=material),
        grid=tp.Grid(lower=lower, upper=upper, dx=dx),
        colliders=[tp.Plane(point=(0, 0, 0), normal=(0, 0, 1), friction=0.5)],
    )
    states = sim.run(frames=args.frames, fps=args.fps * args.slow, progress=False)
    return np.array([x, *(s.x.double().cpu().numpy() for s in states)])


def run(args):
    for name in args.presets:
        tp.preset(name)
    runs = {name: drop(args, name) for name in tqdm(args.presets, desc="materials", disable=None)}

    checks, sizes = experiment.Checks(), {}
    for name, places in runs.items():
        # beside the standard deviation of places in a cube
        wide, deep, high = places[-1].std(axis=0) / (EDGE / np.sqrt(12))
        sizes[name] = {"width": wide, "depth": deep, "height": high}
        if name in SOLID:
            checks.near(f"height of {name}", high, 1.0, "of the cube's", within=0.12)
            checks.near(f"width of {name}", (wide + deep) / 2, 1.0, "of the cube's", within=0.12)
        elif name in LOOSE:
            checks.between(f"height of {name}", high, 0.0, 0.75, "of the cube's")
            checks.between(f"width of {name}", (wide + deep) / 2, 1.25, np.inf, "of the cube's")
    if set(LOOSE) <= set(runs):
        ratio = sizes["sand"]["height"] / sizes["water"]["height"]
        checks.between("height of sand beside water", ratio, 1.2, np.inf, "of the water's")

    count, n = len(runs), len(next(iter(runs.values()))[0])
    columns = min(count, 3)
    row, column = np.divmod(np.arange(count), columns)
    lanes = np.zeros((count, 3))
    lanes[:, 0] = (column - (columns - 1) / 2) * LANE
    lanes[:, 1] = (row.max() / 2 - row) * 1.25 * LANE
    x = np.concatenate([p + lane for p, lane in zip(runs.values(), lanes, strict=True)], axis=1)
    grain = np.random.default_rng(args.seed).uniform(0.94, 1.04, (n, 1))
    wall, end = np.array([TRAY, TRAY, 0]), np.abs(lanes).max(axis=0) + TRAY
    trays = [box_lines(lane - wall, lane + wall + [0, 0, 0.05]) for lane in lanes]
    fps = args.fps * args.slow
    return experiment.Experiment(
        title="Materials side by side",
        summary=f"Cubes of {100 * EDGE:.0f} cm of {', '.join(runs)}, after "
        f"{args.frames / fps:.1f} s.",
        checks=checks,
        pictures=[{"x": p, "caption": f"t = {k / fps:.2f} s"} for k, p in enumerate(x)],
        room=((-end[0], -end[1] - 0.08, 0), (end[0], end[1], 0.1)),
        side={"azimuth": 0, "elevation": 33, "margin": 0.03},
        drawn={
            "colors": np.concatenate([grain * COLORS.get(name, (0.6, 0.6, 0.6)) for name in runs]),
            "lines": np.concatenate(trays),
            "labels": [(k, p - [0, 1.1 * TRAY, 0]) for k, p in zip(runs, lanes, strict=True)],
        },
        metrics={"sizes": sizes, "particles": n * count},
    )


def main(argv=None):
    return experiment.run_experiment(make_parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
