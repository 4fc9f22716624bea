"""Drop an elastic block on the floor: it falls, bounces, and comes to rest under its own weight.

    python examples/drop_block.py
    python examples/drop_block.py --spacing 0.02 --E 5e4          # coarser, stiffer

Writes video.mp4, metrics.json, config.json and report.html to --out. The fall is checked against
z = z0 - g t^2 / 2, the moment of impact against sqrt(2 H / g) and the height at rest against
h (1 - rho g h / 2 E). Once it has landed, thick air brings the block to rest.
"""

import argparse
import math
import sys

import forward_common as common
import numpy as np

import taichi_phys as tp
from inverse.runs.plots import plot_lines
from renderers.particles.draw import Floor, color_map, view


EDGE, DROP, DENSITY, GRAVITY = 0.2, 0.35, 1000.0, 9.81  # m, m, kg/m^3, m/s^2
RECORDS = 5  # for each frame of the film, until the block has landed
BRAKE = 12.0  # 1/s, rate at which the air takes up the motion of the block after the landing


def make_parser() -> argparse.ArgumentParser:
    parser = common.make_parser(__doc__, out="out/drop_block", frames=42, spacing=0.0125)
    parser.add_argument("--E", type=float, default=2e4, help="Pa; default: %(default)g")
    parser.add_argument("--nu", type=float, default=0.3, help="default: %(default)g")
    return parser


def height(x: np.ndarray) -> float:
    """m: of a block whose particles are spread evenly over its height."""
    return math.sqrt(12) * x[:, 2].std()


def run(args: argparse.Namespace, argv: list[str] | None) -> int:
    common.check_flags(args)
    tp.init(arch=args.arch)
    dx = 2 * args.spacing
    half = EDGE / 2
    x, volume = tp.sample_box(
        (-half, -half, DROP), (half, half, DROP + EDGE), spacing=args.spacing, seed=args.seed
    )
    wide = EDGE + 5 * dx
    # nodes a little below the floor: where they are above it, bodies sink in by most of a cell
    sim = tp.MPM(
        particles=tp.Particles(
            x, volume=volume, density=DENSITY, material=tp.Elastic(E=args.E, nu=args.nu)
        ),
        grid=tp.Grid(
            lower=(-wide, -wide, -6.1 * dx), upper=(wide, wide, DROP + EDGE + 5 * dx), dx=dx
        ),
        gravity=(0, 0, -GRAVITY),
        colliders=[tp.Plane(point=(0, 0, 0), normal=(0, 0, 1), contact="separate")],
    )
    fall = math.sqrt(2 * DROP / GRAVITY)
    step = 1 / (args.fps * RECORDS)
    falling = min(args.frames, math.ceil((fall + 0.3) * args.fps))
    states = [sim.initial_state()]
    states += sim.run(frames=falling * RECORDS, fps=args.fps * RECORDS)
    filmed = states[::RECORDS]
    air = tp.Drag(air=(0, 0, 0), rate=BRAKE)
    braked = list(sim.run(frames=args.frames - falling, fps=args.fps, start=states[-1], force=air))
    states, filmed = states + braked, filmed + braked

    mass = sim.mass.double().cpu().numpy()
    t = np.array([s.time for s in states])
    z = np.array([mass @ s.x[:, 2].double().cpu().numpy() for s in states]) / mass.sum()
    v = np.array([mass @ s.v[:, 2].double().cpu().numpy() for s in states]) / mass.sum()
    free = np.abs(v + GRAVITY * t) <= 0.01 * GRAVITY * np.maximum(t, step)
    landed = t[np.argmin(free)] if not free.all() else math.nan
    tall = np.array([height(s.x.double().cpu().numpy()) for s in states])
    tall *= EDGE / tall[0]
    before = t < fall - 2 * dx / (GRAVITY * fall)
    rest = EDGE * (1 - DENSITY * GRAVITY * EDGE / (2 * args.E))
    last = slice(-3, None)

    checks = common.Checks()
    error = np.abs(z - z[0] + GRAVITY * t**2 / 2)[before].max()
    checks.between("error of the free fall", error / DROP, 0, 0.01, "of its height")
    # it touches a cell early, and shows in the next record
    slack = step + dx / (GRAVITY * fall)
    checks.near("moment of impact", landed, fall, "s", within=slack)
    checks.near("height at rest", tall[last].mean(), rest, "m", within=0.25 * (EDGE - rest))
    checks.between("speed at the end", np.abs(v[last]).max(), 0, 0.02, "m/s")

    tops = color_map(x[:, 2], (DROP - 0.3 * EDGE, DROP + 1.1 * EDGE), "YlGnBu_r")
    pictures = [
        {"x": s.x, "caption": f"t = {s.time:.2f} s\nheight {1000 * h:.0f} mm"}
        for s, h in ((s, tall[states.index(s)]) for s in filmed)
    ]
    camera = view(
        (-0.24, -0.2, -0.03), (0.24, 0.2, DROP + EDGE), width=args.size[0], height=args.size[1],
        elevation=12,
    )  # fmt: skip
    plots = {
        "Height of the centre of mass; broad and pale: free fall.": plot_lines(
            t, {"simulated": z}, "time (s)", "height (m)", zero=True, reference_name="free fall",
            reference={"simulated": np.where(t <= fall, z[0] - GRAVITY * t**2 / 2, np.nan)},
        ),
        "Height of the block; at rest its weight compresses it.": plot_lines(
            t, {"simulated": tall}, "time (s)", "height (m)",
            reference={"at rest": np.full(len(t), rest)},
        ),
    }  # fmt: skip
    return common.publish(
        args, argv, title="An elastic block dropped on the floor", checks=checks, plots=plots,
        summary=f"A block of {100 * EDGE:.0f} cm, E = {args.E:g} Pa, falls {DROP} m "
        f"({len(x)} particles).",
        pictures=pictures, camera=camera, colors=tops, radius=0.62 * args.spacing,
        floors=[Floor(size=4.0)], metrics={"particles": len(x), "substeps_per_s": round(
            sim.substeps(1.0, GRAVITY * fall))},
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return common.guarded(lambda: run(args, argv))


if __name__ == "__main__":
    sys.exit(main())
