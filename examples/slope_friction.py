"""Blocks of different friction on a slope: some stay, others slide with a = g (sin - mu cos).

    python examples/slope_friction.py
    python examples/slope_friction.py --angle 35 --friction 0 0.3 0.9

Writes video.mp4, metrics.json, config.json and report.html to --out. Each block is a simulation
of its own, on a tp.Plane with its friction, which lies oblique in the grid.
"""

import math
import sys

import numpy as np

import taichi_phys as tp
from inverse.commands import experiment
from inverse.runs.plots import plot_lines
from renderers.particles.draw import Floor, color_map


EDGE, THICK, GRAVITY = 0.15, 0.075, 9.81  # m, m, m/s^2: flat, so that they do not tumble
LANE = 0.2  # m, between the blocks


def make_parser():
    parser = experiment.make_parser(
        __doc__, out="out/slope_friction", frames=32, spacing=0.0125, slow=2.0
    )
    add = parser.add_argument
    add("--angle", type=float, default=30.0, help="degrees; default: %(default)g")
    each = {"type": float, "nargs": "+", "default": (0.1, 0.3, 0.45, 0.8), "metavar": "MU"}
    add("--friction", **each, help="one for each block; default: 0.1 0.3 0.45 0.8")
    add("--E", type=float, default=2e5, help="Pa; default: %(default)g")
    return parser


def slide(args, friction, down, up, length):
    """Motion of one block that is set down at rest, its lower edge at the origin."""
    dx, half, across = 2 * args.spacing, EDGE / 2, np.array([0.0, 1.0, 0.0])
    box = (-half, -half, 0), (half, half, THICK)
    x, volume = tp.sample_box(*box, spacing=args.spacing, seed=args.seed)
    x = x @ np.stack([down, across, up])
    path = np.array([-EDGE * (down + across), length * down + EDGE * across, 1.5 * EDGE * up])
    room = np.concatenate([path, path + 1.5 * EDGE * up])
    sim = tp.MPM(
        particles=tp.Particles(x, volume=volume, material=tp.Elastic(E=args.E, nu=0.2)),
        grid=tp.Grid.around(room, dx=dx, margin=2 * dx),
        gravity=(0, 0, -GRAVITY),
        colliders=[tp.Plane(point=(0, 0, 0), normal=tuple(up), friction=friction)],
    )
    frames = sim.run(frames=args.frames, fps=args.fps * args.slow)
    return experiment.record(sim, [sim.initial_state(), *frames])


def run(args):
    if not 0 < args.angle < 60 or min(args.friction) < 0:
        raise ValueError("angle, friction: expected degrees between 0 and 60, and friction >= 0")
    tilt = math.radians(args.angle)
    down = np.array([math.cos(tilt), 0.0, -math.sin(tilt)])
    up = np.array([math.sin(tilt), 0.0, math.cos(tilt)])
    duration = args.frames / (args.fps * args.slow)
    theory = [max(0.0, GRAVITY * (math.sin(tilt) - mu * math.cos(tilt))) for mu in args.friction]
    lengths = [a * duration**2 / 2 + 2 * EDGE for a in theory]
    blocks = [slide(args, mu, down, up, s) for mu, s in zip(args.friction, lengths, strict=True)]
    t = blocks[0].t

    checks, speeds = experiment.Checks(), {}
    for mu, a, block in zip(args.friction, theory, blocks, strict=True):
        v, x = (block.v @ down).mean(axis=1), (block.x @ down).mean(axis=1)
        speeds[f"{mu:g}"] = v
        if a > 0:
            late = t >= 0.3 * t[-1]  # it settles first
            got = np.polyfit(t[late], v[late], 1)[0]
            # the friction of a block that hops or rocks is not mu N at every moment
            within = 0.05 * GRAVITY * up[2]
            checks.near(f"acceleration, friction {mu:g}", got, a, "m/s²", within=within)
        else:
            checks.between(f"distance slid, friction {mu:g}", x[-1] - x[0], -0.01, 0.01, "m")

    count, n = len(blocks), blocks[0].x.shape[1]
    lanes = np.array([0.0, LANE, 0.0]) * (np.arange(count) - (count - 1) / 2)[:, None]
    x = np.concatenate([block.x + lane for block, lane in zip(blocks, lanes, strict=True)], axis=1)
    places = lanes - 1.05 * EDGE * down
    labels = [(f"{mu:g}", place) for mu, place in zip(args.friction, places, strict=True)]
    says = f"slope {args.angle:g}°, friction of each uphill of it"
    end, side = max(lengths) * down, np.array([0.0, 0.5 * LANE * count, 0.0])
    rules = [[d * EDGE * down - side, d * EDGE * down + side] for d in (-0.6, 0.6)]
    plane = Floor(point=tuple(end / 2), normal=tuple(up), size=3.0, along=tuple(down))
    lines = {f"{mu:g}": a * t for mu, a in zip(args.friction, theory, strict=True)}
    caption = "Speed down the slope, by friction; broad and pale: g (sin - mu cos) t."
    compared = {"reference": lines, "reference_name": "theory", "zero": True}
    return experiment.Experiment(
        title="Friction on a slope",
        summary=f"{count} elastic blocks on a slope of {args.angle:g} degrees, whose tangent is "
        f"{math.tan(tilt):.2f}: those with more friction than that stay.",
        checks=checks,
        pictures=[
            {"x": x[k], "labels": labels, "caption": f"t = {t[k]:.2f} s\n{says}"}
            for k in range(len(t))
        ],
        room=((-EDGE, -side[1], end[2]), (end[0], side[1], EDGE)),
        side={"azimuth": 40, "elevation": 22},
        drawn={
            "colors": color_map(np.arange(count), (-0.4, count - 0.4), "viridis").repeat(n, axis=0),
            "lines": np.array(rules) + 0.002 * up,
            "floors": [plane],
        },
        plots={caption: plot_lines(t, speeds, "time (s)", "speed (m/s)", **compared)},
        metrics={"particles": n * count},
    )


def main(argv=None):
    return experiment.run_experiment(make_parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
