"""Drop an elastic block on the floor: it falls, bounces, and comes to rest under its own weight.

    python examples/drop_block.py
    python examples/drop_block.py --spacing 0.02 --E 5e4          # coarser, stiffer

Writes video.mp4, metrics.json, config.json and report.html to --out. The fall is checked against
z = z0 - g t^2 / 2, the moment of impact against sqrt(2 H / g) and the height at rest against
h (1 - rho g h / 2 E). Once it has landed, thick air brings the block to rest.
"""

import math
import sys

import numpy as np

import taichi_phys as tp
from inverse.commands import experiment
from inverse.runs.plots import plot_lines
from renderers.particles.draw import color_map


EDGE, DROP, DENSITY, GRAVITY = 0.2, 0.35, 1000.0, 9.81  # m, m, kg/m^3, m/s^2
FALL = math.sqrt(2 * DROP / GRAVITY)  # s
RECORDS = 5  # for each frame of the film, until the block has landed
BRAKE = 12.0  # 1/s, rate at which the air takes up the motion of the block after the landing


def make_parser():
    parser = experiment.make_parser(__doc__, out="out/drop_block", frames=42, spacing=0.0125)
    parser.add_argument("--E", type=float, default=2e4, help="Pa; default: %(default)g")
    parser.add_argument("--nu", type=float, default=0.3, help="default: %(default)g")
    return parser


def simulate(args, x, volume):
    """The simulator, its states, and the numbers of those that are filmed."""
    dx = 2 * args.spacing
    wide = EDGE + 5 * dx
    material = tp.Elastic(E=args.E, nu=args.nu)
    # nodes a little below the floor: where they are above it, bodies sink in by most of a cell
    lower, upper = (-wide, -wide, -6.1 * dx), (wide, wide, DROP + EDGE + 5 * dx)
    sim = tp.MPM(
        particles=tp.Particles(x, volume=volume, density=DENSITY, material=material),
        grid=tp.Grid(lower=lower, upper=upper, dx=dx),
        gravity=(0, 0, -GRAVITY),
        colliders=[tp.Plane(point=(0, 0, 0), normal=(0, 0, 1), contact="separate")],
    )
    falling = min(args.frames, math.ceil((FALL + 0.3) * args.fps))
    states = [sim.initial_state(), *sim.run(frames=falling * RECORDS, fps=args.fps * RECORDS)]
    filmed = list(range(0, len(states), RECORDS))
    air, rest = tp.Drag(air=(0, 0, 0), rate=BRAKE), args.frames - falling
    states += sim.run(frames=rest, fps=args.fps, start=states[-1], force=air)
    return sim, states, filmed + list(range(filmed[-1] + 1, len(states)))


def run(args):
    half, dx = EDGE / 2, 2 * args.spacing
    box = (-half, -half, DROP), (half, half, DROP + EDGE)
    x, volume = tp.sample_box(*box, spacing=args.spacing, seed=args.seed)
    sim, states, filmed = simulate(args, x, volume)
    record = experiment.record(sim, states)
    t, z, v = record.t, record.mean(record.x)[:, 2], record.mean(record.v)[:, 2]
    tall = record.x[..., 2].std(axis=1)  # of particles that are spread evenly over the height
    tall *= EDGE / tall[0]
    step = 1 / (args.fps * RECORDS)
    free = np.abs(v + GRAVITY * t) <= 0.01 * GRAVITY * np.maximum(t, step)
    landed = t[np.argmin(free)] if not free.all() else math.nan
    before = t < FALL - 2 * dx / (GRAVITY * FALL)
    error = np.abs(z - z[0] + GRAVITY * t**2 / 2)[before].max()
    rest = EDGE * (1 - DENSITY * GRAVITY * EDGE / (2 * args.E))
    late = slice(-3, None)

    checks = experiment.Checks()
    checks.between("error of the free fall", error / DROP, 0, 0.01, "of its height")
    # it touches a cell early, and shows in the next record
    checks.near("moment of impact", landed, FALL, "s", within=step + dx / (GRAVITY * FALL))
    checks.near("height at rest", tall[late].mean(), rest, "m", within=0.25 * (EDGE - rest))
    checks.between("speed at the end", np.abs(v[late]).max(), 0, 0.02, "m/s")

    theory = np.where(t <= FALL, z[0] - GRAVITY * t**2 / 2, np.nan)
    fall = {"reference": {"simulated": theory}, "reference_name": "free fall", "zero": True}
    squeezed = {"reference": {"at rest": np.full(len(t), rest)}}
    axes = "time (s)", "height (m)"
    return experiment.Experiment(
        title="An elastic block dropped on the floor",
        summary=f"A block of {100 * EDGE:.0f} cm, E = {args.E:g} Pa, falls {DROP} m "
        f"({len(x)} particles).",
        checks=checks,
        pictures=[
            {"x": record.x[k], "caption": f"t = {t[k]:.2f} s\nheight {1000 * tall[k]:.0f} mm"}
            for k in filmed
        ],
        room=((-0.24, -0.2, -0.03), (0.24, 0.2, DROP + EDGE)),
        side={"elevation": 12},
        drawn={"colors": color_map(x[:, 2], (DROP - 0.3 * EDGE, DROP + 1.1 * EDGE), "YlGnBu_r")},
        plots={
            "Height of the center of mass; broad and pale: free fall.": plot_lines(
                t, {"simulated": z}, *axes, **fall
            ),
            "Height of the block; at rest its weight compresses it.": plot_lines(
                t, {"simulated": tall}, *axes, **squeezed
            ),
        },
        metrics={
            "particles": len(x),
            "substeps_per_s": round(sim.substeps(1.0, GRAVITY * FALL)),
        },
    )


def main(argv=None):
    return experiment.run_experiment(make_parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
