"""Blocks of different friction on a slope: some stay, others slide with a = g (sin - mu cos).

    python examples/slope_friction.py
    python examples/slope_friction.py --angle 35 --friction 0 0.3 0.9

Writes video.mp4, metrics.json, config.json and report.html to --out. Each block is a simulation
of its own, on a tp.Plane with its friction, which lies oblique in the grid.
"""

import argparse
import math
import sys

import forward_common as common
import numpy as np

import taichi_phys as tp
from inverse.runs.plots import plot_lines
from renderers.particles.draw import Floor, color_map, view


EDGE, THICK, GRAVITY = 0.15, 0.075, 9.81  # m, m, m/s^2: flat, so that they do not tumble
LANE = 0.2  # m, between the blocks


def make_parser() -> argparse.ArgumentParser:
    parser = common.make_parser(__doc__, out="out/slope_friction", frames=32, spacing=0.0125)
    add = parser.add_argument
    add("--angle", type=float, default=30.0, help="degrees; default: %(default)g")
    add(
        "--friction", type=float, nargs="+", default=(0.1, 0.3, 0.45, 0.8), metavar="MU",
        help="one for each block; default: 0.1 0.3 0.45 0.8",
    )  # fmt: skip
    add("--slow", type=float, default=2.0, help="slow motion of the film; default: %(default)g")
    add("--E", type=float, default=2e5, help="Pa; default: %(default)g")
    return parser


def slide(args: argparse.Namespace, friction: float, down, up, length: float):
    """States of one block that is set down at rest, its lower edge at the origin."""
    dx = 2 * args.spacing
    across = np.array([0.0, 1.0, 0.0])
    half = EDGE / 2
    x, volume = tp.sample_box((-half, -half, 0), (half, half, THICK), spacing=args.spacing,
                              seed=args.seed)  # fmt: skip
    x = x @ np.stack([down, across, up])
    path = np.array([-EDGE * (down + across), length * down + EDGE * across, 1.5 * EDGE * up])
    grid = tp.Grid.around(np.concatenate([path, path + 1.5 * EDGE * up]), dx=dx, margin=2 * dx)
    sim = tp.MPM(
        particles=tp.Particles(x, volume=volume, material=tp.Elastic(E=args.E, nu=0.2)),
        grid=grid,
        gravity=(0, 0, -GRAVITY),
        colliders=[tp.Plane(point=(0, 0, 0), normal=tuple(up), friction=friction)],
    )
    return [sim.initial_state(), *sim.run(frames=args.frames, fps=args.fps * args.slow)]


def run(args: argparse.Namespace, argv: list[str] | None) -> int:
    common.check_flags(args)
    if not 0 < args.angle < 60 or min(args.friction) < 0:
        raise ValueError("angle, friction: expected degrees between 0 and 60, and friction >= 0")
    tp.init(arch=args.arch)
    tilt = math.radians(args.angle)
    down = np.array([math.cos(tilt), 0.0, -math.sin(tilt)])
    up = np.array([math.sin(tilt), 0.0, math.cos(tilt)])
    duration = args.frames / (args.fps * args.slow)
    wanted = [max(0.0, GRAVITY * (math.sin(tilt) - mu * math.cos(tilt))) for mu in args.friction]
    lengths = [a * duration**2 / 2 + 2 * EDGE for a in wanted]
    runs = [
        slide(args, mu, down, up, length) for mu, length in zip(args.friction, lengths, strict=True)
    ]

    t = np.array([s.time for s in runs[0]])
    checks = common.Checks()
    speeds, moved = {}, {}
    for mu, a, states in zip(args.friction, wanted, runs, strict=True):
        v = np.array([(s.v.double().cpu().numpy() @ down).mean() for s in states])
        x = np.array([(s.x.double().cpu().numpy() @ down).mean() for s in states])
        name = f"friction {mu:g}"
        speeds[name], moved[name] = v, x - x[0]
        if a > 0:
            late = t >= 0.3 * t[-1]  # it settles first
            got = np.polyfit(t[late], v[late], 1)[0]
            # the friction of a block that hops or rocks is not mu N at every moment
            checks.near(f"acceleration, {name}", got, a, "m/s²", within=0.05 * GRAVITY * up[2])
        else:
            checks.between(f"distance slid, {name}", moved[name][-1], -0.01, 0.01, "m")

    n, count = len(runs[0][0].x), len(runs)
    lanes = (np.arange(count) - (count - 1) / 2) * LANE
    shift = np.repeat(np.stack([0 * lanes, lanes, 0 * lanes], axis=1), n, axis=0)
    colors = np.repeat(color_map(np.arange(count), (-0.4, count - 0.4), "viridis"), n, axis=0)
    pictures = []
    for k, time in enumerate(t):
        x = np.concatenate([states[k].x.double().cpu().numpy() for states in runs]) + shift
        labels = [
            (f"{mu:g}", (lane * np.array([0, 1.0, 0]) - 1.05 * EDGE * down))
            for mu, lane in zip(args.friction, lanes, strict=True)
        ]
        pictures.append({"x": x, "labels": labels, "caption": f"t = {time:.2f} s\n"
                         f"slope {args.angle:g}°, friction of each uphill of it"})  # fmt: skip
    end = max(lengths) * down
    side = 0.5 * LANE * count
    camera = view(
        (-EDGE, -side, end[2]), (end[0], side, EDGE), width=args.size[0], height=args.size[1],
        azimuth=40, elevation=22,
    )  # fmt: skip
    rules = np.array([
        [[d * down[0], y0, d * down[2]], [d * down[0], y1, d * down[2]]]
        for d in (-0.6 * EDGE, 0.6 * EDGE) for y0, y1 in [(-side, side)]
    ]) + 0.002 * up  # fmt: skip
    plots = {
        "Speed down the slope, by friction; broad and pale: g (sin - mu cos) t.": plot_lines(
            t, {name.split()[-1]: v for name, v in speeds.items()}, "time (s)", "speed (m/s)",
            reference={f"{mu:g}": a * t for mu, a in zip(args.friction, wanted, strict=True)},
            zero=True, reference_name="theory",
        )
    }  # fmt: skip
    return common.publish(
        args, argv, title="Friction on a slope", checks=checks, plots=plots,
        summary=f"{count} elastic blocks on a slope of {args.angle:g} degrees, whose tangent is "
        f"{math.tan(tilt):.2f}: those with more friction than that stay.",
        pictures=pictures, camera=camera, colors=colors, radius=0.62 * args.spacing, lines=rules,
        floors=[Floor(point=tuple(end / 2), normal=tuple(up), size=3.0, along=tuple(down))],
        metrics={"particles": n * count},
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return common.guarded(lambda: run(args, argv))


if __name__ == "__main__":
    sys.exit(main())
