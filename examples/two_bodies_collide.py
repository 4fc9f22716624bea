"""Two elastic balls meet in empty space, a little off centre, and part again, turning.

    python examples/two_bodies_collide.py
    python examples/two_bodies_collide.py --offset 0 --speed 2

Writes video.mp4, metrics.json, config.json and report.html to --out. Momentum and angular
momentum must stay what they were, the two must part as mirror images, and no faster than they met.
"""

import argparse
import math
import sys

import forward_common as common
import numpy as np

import taichi_phys as tp
from inverse.runs.plots import plot_lines
from renderers.particles.draw import Floor, view


RADIUS, GAP, DENSITY = 0.1, 0.2, 1000.0  # m, m, kg/m^3


def make_parser() -> argparse.ArgumentParser:
    parser = common.make_parser(__doc__, out="out/two_bodies_collide", frames=48, spacing=0.0085)
    add = parser.add_argument
    add("--speed", type=float, default=1.0, help="of each, m/s; default: %(default)g")
    add(
        "--offset", type=float, default=0.3,
        help="of the centres across the motion, in radii; default: %(default)g",
    )  # fmt: skip
    add("--slow", type=float, default=3.0, help="slow motion of the film; default: %(default)g")
    add("--E", type=float, default=3e4, help="Pa; default: %(default)g")
    add("--nu", type=float, default=0.3, help="default: %(default)g")
    return parser


def run(args: argparse.Namespace, argv: list[str] | None) -> int:
    common.check_flags(args)
    if not args.speed > 0 or not args.slow > 0 or not 0 <= args.offset < 1.5:
        raise ValueError("speed, slow, offset: expected speed, slow > 0 and offset from 0 to 1.5")
    tp.init(arch=args.arch)
    dx = 2 * args.spacing
    center = np.array([RADIUS + GAP / 2, 0.0, -args.offset * RADIUS / 2])
    ball, volume = tp.sample_sphere((0, 0, 0), RADIUS, spacing=args.spacing, seed=args.seed)
    material = tp.Elastic(E=args.E, nu=args.nu)
    bodies = [
        tp.Particles(
            # the second is the first turned by half a turn about y
            np.array([side, 1, side]) * ball - side * center,
            v=np.tile([side * args.speed, 0.0, 0.0], (len(ball), 1)),
            volume=volume, density=DENSITY, material=material,
        )
        for side in (1, -1)
    ]  # fmt: skip
    n = len(ball)
    fps = args.fps * args.slow
    reach = args.speed * args.frames / fps
    low = -np.array([reach + 0.3, 0.16, reach + 0.3])
    pad = 4 * dx
    grid = tp.Grid(lower=tuple(low - pad), upper=tuple(pad - low), dx=dx)
    sim = tp.MPM(particles=bodies, grid=grid, gravity=(0, 0, 0))
    states = [sim.initial_state(), *sim.run(frames=args.frames, fps=fps)]

    mass = sim.mass.double().cpu().numpy()[:, None]
    t = np.array([s.time for s in states])
    x = np.array([s.x.double().cpu().numpy() for s in states])
    v = np.array([s.v.double().cpu().numpy() for s in states])
    C = np.array([s.C.double().cpu().numpy() for s in states])
    velocity = np.stack(
        [(mass[part] * v[:, part]).sum(axis=1) / mass[part].sum() for part in _halves(n)], axis=1
    )
    momentum = (mass * v).sum(axis=1)
    # of the particles' own rotation too, which their affine velocities carry: D = dx^2 / 4
    spin = np.stack([C[..., 2, 1] - C[..., 1, 2], C[..., 0, 2] - C[..., 2, 0],
                     C[..., 1, 0] - C[..., 0, 1]], axis=-1)  # fmt: skip
    turning = (mass * (np.cross(x, v) + dx**2 / 4 * spin)).sum(axis=1)
    unit = mass[:n].sum() * args.speed
    apart = velocity[:, 1] - velocity[:, 0]
    normal = np.array([x[k, n:].mean(axis=0) - x[k, :n].mean(axis=0) for k in range(len(x))])
    distance = np.linalg.norm(normal, axis=1)
    meeting = distance.argmin()
    approach = normal[meeting] / distance[meeting]
    restitution = -(apart[-1] @ approach) / (apart[0] @ approach)

    checks = common.Checks()
    checks.between("change of momentum", np.abs(momentum - momentum[0]).max() / unit, 0, 1e-3,
                   "of one ball's")  # fmt: skip
    if args.offset:
        drift = np.linalg.norm(turning - turning[0], axis=1).max() / np.linalg.norm(turning[0])
        checks.between("change of angular momentum", drift, 0, 0.01, "of itself")
    mirror = np.linalg.norm(velocity[-1].sum(axis=0)) / args.speed
    checks.between("difference of the final speeds", mirror, 0, 1e-3, "of the speed")
    checks.between("restitution along the line of centres", restitution, 0.6, 1.0)
    checks.between("distance at the end", distance[-1] / RADIUS, 2.0, math.inf, "radii")

    upper = ball[:, 2:] > 0
    colors = np.concatenate([
        np.where(upper, common.ELASTIC, (0.75, 0.85, 0.95)),
        np.where(upper, (0.98, 0.85, 0.78), common.RED),
    ])  # fmt: skip
    pictures = [
        {"x": s.x, "caption": f"t = {s.time:.2f} s\nmomentum {p[0]:+.4f} kg m/s"}
        for s, p in zip(states, momentum, strict=True)
    ]
    span, rise = np.abs(x[..., 0]).max(), np.abs(x[..., 2]).max()
    camera = view(
        (-span, -0.1, -rise - 0.03), (span, 0.1, rise), width=args.size[0], height=args.size[1],
        elevation=10, azimuth=12,
    )  # fmt: skip
    plots = {
        "Mean velocity of each ball along x.": plot_lines(
            t, {"blue": velocity[:, 0, 0], "red": velocity[:, 1, 0]}, "time (s)", "velocity (m/s)"
        ),
        "Distance of the centres.": plot_lines(
            t, {"distance": distance}, "time (s)", "distance (m)",
            reference={"two radii": np.full(len(t), 2 * RADIUS)},
        ),
    }  # fmt: skip
    return common.publish(
        args, argv, title="Two elastic balls collide", checks=checks, plots=plots,
        summary=f"Two balls of {n} particles each meet at {2 * args.speed:g} m/s and part at "
        f"{np.linalg.norm(apart[-1]):.2f} m/s: restitution {restitution:.2f}.",
        pictures=pictures, camera=camera, colors=colors, radius=0.62 * args.spacing,
        floors=[Floor(point=(0, 0, -rise - 0.03), size=4.0)], metrics={"particles": 2 * n},
    )  # fmt: skip


def _halves(n: int) -> tuple[slice, slice]:
    return slice(0, n), slice(n, 2 * n)


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return common.guarded(lambda: run(args, argv))


if __name__ == "__main__":
    sys.exit(main())
