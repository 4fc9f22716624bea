"""Two elastic balls meet in empty space, a little off center, and part again, turning.

    python examples/two_bodies_collide.py
    python examples/two_bodies_collide.py --offset 0 --speed 2

Writes video.mp4, metrics.json, config.json and report.html to --out. Momentum and angular
momentum must be conserved, and the balls must part as mirror images, no faster than they met.
"""

import math
import sys

import numpy as np

import taichi_phys as tp
from inverse.commands import experiment
from inverse.runs.plots import plot_lines
from renderers.particles.draw import Floor


RADIUS, GAP = 0.1, 0.2  # m
BLUE, PALE_BLUE = (0.22, 0.50, 0.82), (0.75, 0.85, 0.95)
RED, PALE_RED = (0.84, 0.36, 0.27), (0.98, 0.85, 0.78)


def make_parser():
    parser = experiment.make_parser(
        __doc__, out="out/two_bodies_collide", frames=48, spacing=0.0085, slow=3.0
    )
    add = parser.add_argument
    add("--speed", type=float, default=1.0, help="of each, m/s; default: %(default)g")
    about = "of the centers across the motion, in radii; default: %(default)g"
    add("--offset", type=float, default=0.3, help=about)
    add("--E", type=float, default=3e4, help="Pa; default: %(default)g")
    add("--nu", type=float, default=0.3, help="default: %(default)g")
    return parser


def simulate(args, ball, volume):
    """The simulator of two balls that fly at each other along x, and its states."""
    dx, fps = 2 * args.spacing, args.fps * args.slow
    center = np.array([RADIUS + GAP / 2, 0.0, -args.offset * RADIUS / 2])
    material = tp.Elastic(E=args.E, nu=args.nu)
    bodies = []
    for side in (1, -1):  # the second is the first turned by half a turn about y
        x = np.array([side, 1, side]) * ball - side * center
        v = np.tile([side * args.speed, 0.0, 0.0], (len(ball), 1))
        bodies.append(tp.Particles(x, v=v, volume=volume, density=1000.0, material=material))
    reach = args.speed * args.frames / fps + 0.3 + 4 * dx
    high = np.array([reach, 0.16 + 4 * dx, reach])
    grid = tp.Grid(lower=tuple(-high), upper=tuple(high), dx=dx)
    sim = tp.MPM(particles=bodies, grid=grid, gravity=(0, 0, 0))
    return sim, [sim.initial_state(), *sim.run(frames=args.frames, fps=fps)]


def run(args):
    if not args.speed > 0 or not 0 <= args.offset < 1.5:
        raise ValueError("speed, offset: expected speed > 0 and offset from 0 to 1.5")
    ball, volume = tp.sample_sphere((0, 0, 0), RADIUS, spacing=args.spacing, seed=args.seed)
    sim, states = simulate(args, ball, volume)
    record = experiment.record(sim, states)
    t, x, v, mass = record.t, record.x, record.v, record.mass[:, None]
    blue, red = slice(0, len(ball)), slice(len(ball), None)
    momentum = (mass * v).sum(axis=1)
    # of the particles' own rotation too, which their affine velocities carry: D = dx^2 / 4
    C = np.array([s.C.double().cpu().numpy() for s in states])
    spin = [C[..., i, j] - C[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))]
    turning = np.cross(x, v) + (2 * args.spacing) ** 2 / 4 * np.stack(spin, axis=-1)
    turning = (mass * turning).sum(axis=1)
    velocity = np.stack([record.mean(v, part) for part in (blue, red)], axis=1)
    apart = velocity[:, 1] - velocity[:, 0]
    normal = x[:, red].mean(axis=1) - x[:, blue].mean(axis=1)
    distance = np.linalg.norm(normal, axis=1)
    approach = normal[distance.argmin()]
    restitution = -(apart[-1] @ approach) / (apart[0] @ approach)

    checks = experiment.Checks()
    change = np.abs(momentum - momentum[0]).max() / (mass[blue].sum() * args.speed)
    checks.between("change of momentum", change, 0, 1e-3, "of one ball's")
    if args.offset:
        drift = np.linalg.norm(turning - turning[0], axis=1).max() / np.linalg.norm(turning[0])
        checks.between("change of angular momentum", drift, 0, 0.01, "of itself")
    mirror = np.linalg.norm(velocity[-1].sum(axis=0)) / args.speed
    checks.between("difference of the final speeds", mirror, 0, 1e-3, "of the speed")
    checks.between("restitution along the line of centers", restitution, 0.6, 1.0)
    checks.between("distance at the end", distance[-1] / RADIUS, 2.0, math.inf, "radii")

    upper = ball[:, 2:] > 0
    span, rise = np.abs(x[..., 0]).max(), np.abs(x[..., 2]).max()
    along = {"blue": velocity[:, 0, 0], "red": velocity[:, 1, 0]}
    radii = {"two radii": np.full(len(t), 2 * RADIUS)}
    return experiment.Experiment(
        title="Two elastic balls collide",
        summary=f"Two balls of {len(ball)} particles each meet at {2 * args.speed:g} m/s and part "
        f"at {np.linalg.norm(apart[-1]):.2f} m/s: restitution {restitution:.2f}.",
        checks=checks,
        pictures=[
            {"x": x[k], "caption": f"t = {t[k]:.2f} s\nmomentum {momentum[k, 0]:+.4f} kg m/s"}
            for k in range(len(t))
        ],
        room=((-span, -0.1, -rise - 0.03), (span, 0.1, rise)),
        side={"elevation": 10, "azimuth": 12},
        drawn={
            "colors": np.concatenate(
                [np.where(upper, BLUE, PALE_BLUE), np.where(upper, PALE_RED, RED)]
            ),
            "floors": [Floor(point=(0, 0, -rise - 0.03), size=4.0)],
        },
        plots={
            "Mean velocity of each ball along x.": plot_lines(
                t, along, "time (s)", "velocity (m/s)"
            ),
            "Distance of the centers.": plot_lines(
                t, {"distance": distance}, "time (s)", "distance (m)", reference=radii
            ),
        },
        metrics={"particles": 2 * len(ball)},
    )


def main(argv=None):
    return experiment.run_experiment(make_parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
