"""Lift the tube off a column of sand: it collapses into a heap.

    python examples/sand_column.py
    python examples/sand_column.py --aspect 1.5

Writes video.mp4, metrics.json, config.json and report.html to --out. The radius of the heap is
checked against what Lube et al. (2004) measured for all kinds of grains:
r = r0 (1 + 1.24 a), where a = h / r0 < 1.7 is the aspect of the column. The run-out r - r0 must
come within 15 %; it ends short, the more so the coarser the grid (36 % at --spacing 0.0075).
"""

import sys

import numpy as np

import taichi_phys as tp
from inverse.commands import experiment
from inverse.runs.plots import plot_lines
from renderers.particles.draw import Floor


RADIUS = 0.1  # m
LIGHT, DARK = (0.83, 0.66, 0.40), (0.62, 0.42, 0.26)


def make_parser():
    parser = experiment.make_parser(
        __doc__, out="out/sand_column", frames=48, spacing=0.0032, slow=3.0
    )
    add = parser.add_argument
    add("--aspect", type=float, default=0.8, help="height / radius; default: %(default)g")
    rests = "degrees, in triaxial compression: 26.3 rests at 31 on a slope; default: %(default)g"
    add("--friction-angle", type=float, default=26.3, help=rests)
    add("--E", type=float, default=5e4, help="Pa, softer than grains; default: %(default)g")
    share = "largest error of the run-out, as a share of it; default: %(default)g"
    add("--within", type=float, default=0.15, help=share)
    return parser


def column(args, height):
    """Particles of a cylinder that stands on z = 0, and their volumes."""
    box = (-RADIUS, -RADIUS, 0), (RADIUS, RADIUS, height)
    x, _ = tp.sample_box(*box, spacing=args.spacing, seed=args.seed)
    x = x[np.hypot(x[:, 0], x[:, 1]) <= RADIUS]
    return x, np.full(len(x), np.pi * RADIUS**2 * height / len(x))


def edge(x, spacing):
    """m: end of the outermost ring, half a cell wide, in which a grain (RADIUS / 100) of sand lies
    on average."""
    r = np.hypot(x[:, 0], x[:, 1])
    ring = np.arange(0, r.max() + 2 * spacing, spacing)
    depth = np.histogram(r, ring)[0] * spacing**3 / (np.pi * np.diff(ring**2))
    return ring[1:][depth > RADIUS / 100].max(initial=0.0)


def top(x):
    """m: height of the middle of the heap."""
    return np.quantile(x[np.hypot(x[:, 0], x[:, 1]) < 0.3 * RADIUS, 2], 0.98)


def run(args):
    if not 0 < args.aspect < 1.7:
        raise ValueError(f"aspect: got {args.aspect}, expected between 0 and 1.7")
    dx, height = 2 * args.spacing, args.aspect * RADIUS
    expected = RADIUS * (1 + 1.24 * args.aspect)
    x, volume = column(args, height)
    wide = 1.5 * expected + 4 * dx
    sand = tp.Sand(E=args.E, nu=0.3, friction_angle=args.friction_angle)
    # nodes a little below the floor: where they are above it, bodies sink in by most of a cell
    lower, upper = (-wide, -wide, -5.1 * dx), (wide, wide, height + 5 * dx)
    sim = tp.MPM(
        particles=tp.Particles(x, volume=volume, density=1600.0, material=sand),
        grid=tp.Grid(lower=lower, upper=upper, dx=dx),
        colliders=[tp.Plane(point=(0, 0, 0), normal=(0, 0, 1), friction=0.6)],
        cfl=0.8,  # long steps: each takes a little from the motion
    )
    states = [sim.initial_state(), *sim.run(frames=args.frames, fps=args.fps * args.slow)]
    record = experiment.record(sim, states)
    t, places = record.t, record.x
    radii = np.array([edge(p, args.spacing) for p in places])
    tops = np.array([top(p) for p in places])

    checks, run_out = experiment.Checks(), expected - RADIUS
    checks.near("run-out", radii[-1] - RADIUS, run_out, "m", within=args.within * run_out)
    middle = np.linalg.norm(places[-1][:, :2].mean(axis=0))
    checks.near("off the middle", middle, 0.0, "m", within=0.02 * RADIUS)
    checks.between("height of the heap", tops[-1] / height, 0.4, 1.05, "of the column's")
    late = (radii[-1] - radii[2 * len(radii) // 3]) / expected
    checks.between("growth in the last third", late, -0.05, 0.05, "of the radius")

    layer = np.floor(6 * x[:, 2] / height).astype(int) % 2
    grain = np.random.default_rng(args.seed).uniform(0.9, 1.08, (len(x), 1))
    turn = np.linspace(0, 2 * np.pi, 97)
    ring = expected * np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1) + [0, 0, 0.002]
    measured = f"(ring: {100 * expected:.1f} cm, Lube et al.)"
    theory = {"Lube et al.": np.full(len(t), expected)}
    axes = {"xlabel": "time (s)", "ylabel": "radius (m)", "zero": True}
    return experiment.Experiment(
        title="The collapse of a column of sand",
        summary=f"A column of {100 * RADIUS:.0f} cm radius and {100 * height:.0f} cm height "
        f"({len(x)} particles) becomes a heap of {100 * radii[-1]:.1f} cm radius.",
        checks=checks,
        pictures=[
            {"x": p, "caption": f"t = {s:.2f} s\nradius {100 * r:.1f} cm {measured}"}
            for p, s, r in zip(places, t, radii, strict=True)
        ],
        room=((-1.25 * expected, -expected, 0), (1.25 * expected, expected, height)),
        side={"elevation": 24},
        drawn={
            "colors": np.where(layer[:, None] == 0, LIGHT, DARK) * grain,
            "lines": np.stack([ring[:-1], ring[1:]], axis=1),
            "floors": [Floor(size=3.0, cell=0.05)],
        },
        plots={
            "Radius of the heap.": plot_lines(t, {"simulated": radii}, reference=theory, **axes)
        },
        metrics={"particles": len(x), "final_height": tops[-1]},
    )


def main(argv=None):
    return experiment.run_experiment(make_parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
