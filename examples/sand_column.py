"""Lift the tube off a column of sand: it collapses into a heap.

    python examples/sand_column.py
    python examples/sand_column.py --aspect 1.5

Writes video.mp4, metrics.json, config.json and report.html to --out. The radius of the heap is
checked against what Lube et al. (2004) measured for all kinds of grains:
r = r0 (1 + 1.24 a), where a = h / r0 < 1.7 is the aspect of the column. The run-out r - r0 must
come within 15 %; it ends short, the more so the coarser the grid (36 % at --spacing 0.0075).
"""

import argparse
import sys

import forward_common as common
import numpy as np

import taichi_phys as tp
from inverse.runs.plots import plot_lines
from renderers.particles.draw import Floor, view


RADIUS = 0.1  # m


def make_parser() -> argparse.ArgumentParser:
    parser = common.make_parser(__doc__, out="out/sand_column", frames=48, spacing=0.0032)
    add = parser.add_argument
    add("--aspect", type=float, default=0.8, help="height / radius; default: %(default)g")
    add(
        "--friction-angle",
        type=float,
        default=26.3,
        help="degrees, in triaxial compression: 26.3 rests at 31 on a slope; default: %(default)g",
    )
    add("--E", type=float, default=5e4, help="Pa, softer than grains; default: %(default)g")
    add(
        "--within", type=float, default=0.15,
        help="share of the run-out by which it may miss; default: %(default)g",
    )  # fmt: skip
    add("--slow", type=float, default=3.0, help="slow motion of the film; default: %(default)g")
    return parser


def column(args: argparse.Namespace, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Particles of a cylinder that stands on z = 0, and their volumes."""
    x, volume = tp.sample_box(
        (-RADIUS, -RADIUS, 0), (RADIUS, RADIUS, height), spacing=args.spacing, seed=args.seed
    )
    inside = np.hypot(x[:, 0], x[:, 1]) <= RADIUS
    whole = np.pi * RADIUS**2 * height
    return x[inside], np.full(inside.sum(), whole / inside.sum())


def edge(x: np.ndarray, spacing: float) -> float:
    """m: end of the outermost ring, half a cell wide, in which a grain (RADIUS / 100) of sand lies
    on average."""
    r = np.hypot(x[:, 0], x[:, 1])
    ring = np.arange(0, r.max() + 2 * spacing, spacing)
    depth = np.histogram(r, ring)[0] * spacing**3 / (np.pi * np.diff(ring**2))
    return ring[1:][depth > RADIUS / 100].max(initial=0.0)


def run(args: argparse.Namespace, argv: list[str] | None) -> int:
    common.check_flags(args)
    if not 0 < args.aspect < 1.7 or not args.slow > 0:
        raise ValueError("aspect, slow: expected an aspect between 0 and 1.7, and slow > 0")
    tp.init(arch=args.arch)
    dx, height = 2 * args.spacing, args.aspect * RADIUS
    expected = RADIUS * (1 + 1.24 * args.aspect)
    x, volume = column(args, height)
    wide = 1.5 * expected + 4 * dx
    # nodes a little below the floor: where they are above it, bodies sink in by most of a cell
    sim = tp.MPM(
        particles=tp.Particles(
            x, volume=volume, density=1600.0,
            material=tp.Sand(E=args.E, nu=0.3, friction_angle=args.friction_angle),
        ),
        grid=tp.Grid(lower=(-wide, -wide, -5.1 * dx), upper=(wide, wide, height + 5 * dx), dx=dx),
        colliders=[tp.Plane(point=(0, 0, 0), normal=(0, 0, 1), friction=0.6)],
        cfl=0.8,  # long steps: each takes a little from the motion
    )  # fmt: skip
    states = [sim.initial_state(), *sim.run(frames=args.frames, fps=args.fps * args.slow)]
    places = [s.x.double().cpu().numpy() for s in states]
    t = np.array([s.time for s in states])
    radii = np.array([edge(x, args.spacing) for x in places])
    tops = np.array([np.quantile(x[np.hypot(x[:, 0], x[:, 1]) < 0.3 * RADIUS, 2], 0.98)
                     for x in places])  # fmt: skip
    middle = np.linalg.norm(places[-1][:, :2].mean(axis=0))

    checks = common.Checks()
    run_out = expected - RADIUS
    checks.near("run-out", radii[-1] - RADIUS, run_out, "m", within=args.within * run_out)
    checks.near("off the middle", middle, 0.0, "m", within=0.02 * RADIUS)
    checks.between("height of the heap", tops[-1] / height, 0.4, 1.05, "of the column's")
    late = (radii[-1] - radii[2 * len(radii) // 3]) / expected
    checks.between("growth in the last third", late, -0.05, 0.05, "of the radius")

    layer = np.floor(6 * x[:, 2] / height).astype(int) % 2
    grain = np.random.default_rng(args.seed).uniform(0.9, 1.08, (len(x), 1))
    colors = np.where(layer[:, None] == 0, (0.83, 0.66, 0.40), (0.62, 0.42, 0.26)) * grain
    turn = np.linspace(0, 2 * np.pi, 97)
    ring = expected * np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    ring[:, 2] = 0.002
    pictures = [
        {"x": p, "caption": f"t = {s.time:.2f} s\nradius {100 * r:.1f} cm (ring: "
         f"{100 * expected:.1f} cm, Lube et al.)"}
        for p, s, r in zip(places, states, radii, strict=True)
    ]  # fmt: skip
    camera = view(
        (-1.25 * expected, -1.0 * expected, 0), (1.25 * expected, 1.0 * expected, height),
        width=args.size[0], height=args.size[1], elevation=24,
    )  # fmt: skip
    plots = {
        "Radius of the heap.": plot_lines(
            t, {"simulated": radii}, "time (s)", "radius (m)", zero=True,
            reference={"Lube et al.": np.full(len(t), expected)},
        )
    }  # fmt: skip
    return common.publish(
        args, argv, title="The collapse of a column of sand", checks=checks, plots=plots,
        summary=f"A column of {100 * RADIUS:.0f} cm radius and {100 * height:.0f} cm height "
        f"({len(x)} particles) becomes a heap of {100 * radii[-1]:.1f} cm radius.",
        pictures=pictures, camera=camera, colors=colors, radius=0.62 * args.spacing,
        lines=np.stack([ring[:-1], ring[1:]], axis=1), floors=[Floor(size=3.0, cell=0.05)],
        metrics={"particles": len(x), "final_height": tops[-1]},
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return common.guarded(lambda: run(args, argv))


if __name__ == "__main__":
    sys.exit(main())
