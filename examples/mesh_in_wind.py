"""A banner, made of a triangle mesh, hangs from a bar and flutters in gusty wind.

    python examples/mesh_in_wind.py
    python examples/mesh_in_wind.py --mesh body.stl --wind 5       # a closed mesh of your own

Writes video.mp4, metrics.json, config.json and report.html to --out. A sticky collider holds the
upper edge; the wind is a mean wind with gusts (tp.Noise) and a vortex (tp.Vortex), which tp.Drag
makes a force of. The body must end up downwind of where it hung.
"""

import sys

import numpy as np
import torch

import taichi_phys as tp
from inverse.commands import experiment
from inverse.runs.plots import plot_lines
from renderers.particles.draw import Floor, Surface, capsule_mesh


WIDTH, LENGTH, TOP, BAR = 0.4, 0.55, 0.8, 0.025  # m: of the banner; its upper edge; bar's radius
DENSITY, RATE = 300.0, 1.5  # kg/m^3; 1/s, of the drag
RED, CREAM = (0.84, 0.36, 0.27), (0.96, 0.93, 0.86)


def make_parser():
    parser = experiment.make_parser(__doc__, out="out/mesh_in_wind", frames=60, spacing=0.009)
    add = parser.add_argument
    add("--mesh", metavar="FILE", help="a closed mesh that trimesh reads, m; default: a banner")
    add("--wind", type=float, default=4.0, help="mean speed along x, m/s; default: %(default)g")
    add("--gusts", type=float, default=1.5, help="root mean square, m/s; default: %(default)g")
    add("--E", type=float, default=1.5e4, help="Pa; default: %(default)g")
    return parser


def banner():
    """A pennant of one layer of triangles, its lower edge cut out, as a trimesh."""
    import trimesh

    u, v = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(0, 1, 41), indexing="ij")
    length = LENGTH * (0.75 + 0.25 * np.abs(u))
    vertices = np.stack([0 * u, 0.5 * WIDTH * u, TOP - v * length], axis=-1).reshape(-1, 3)
    a = (41 * np.arange(40)[:, None] + np.arange(40)).ravel()
    faces = [np.stack([a, a + 41, a + 1], -1), np.stack([a + 1, a + 41, a + 42], -1)]
    return trimesh.Trimesh(vertices, np.concatenate(faces), process=False)


def body(args):
    """Particles that hang below z = TOP, and their volumes."""
    options = {"spacing": args.spacing, "seed": args.seed}
    if args.mesh is None:
        return tp.sample_mesh(banner(), thickness=2.4 * args.spacing, **options)
    x, volume = tp.sample_mesh(args.mesh, **options)
    low, high = x.min(axis=0), x.max(axis=0)
    return x - [*(low + high)[:2] / 2, high[2] - TOP], volume


def run(args):
    dx = 2 * args.spacing
    x, volume = body(args)
    half, reach, radius = np.abs(x[:, 1]).max(), TOP - x[:, 2].min(), max(BAR, 1.2 * dx)
    bar = tp.Capsule(contact="sticky", start=(0, -half, TOP), end=(0, half, TOP), radius=radius)
    lower = -1.2 * reach, -1.6 * half, TOP - 1.3 * reach
    upper = 1.3 * reach, 1.6 * half, TOP + 0.8 * reach
    material = tp.Elastic(E=args.E, nu=0.3)
    sim = tp.MPM(
        particles=tp.Particles(x, volume=volume, density=DENSITY, material=material),
        grid=tp.Grid.around([lower, upper], dx=dx, margin=2 * dx),
        colliders=[bar],
    )
    around = {"center": (0, 0.3 * half, 0), "axis": (0, 0, 1)}
    vortex = tp.Vortex(**around, strength=0.5 * args.wind * half, radius=half)
    gusts = tp.Noise(scale=0.5, speed=args.gusts, time_scale=0.4, seed=args.seed, modes=12)
    air = gusts + vortex + (args.wind, 0, 0)
    frames = sim.run(frames=args.frames, fps=args.fps, force=tp.Drag(air=air, rate=RATE))
    record = experiment.record(sim, [sim.initial_state(), *frames])
    t, moved = record.t, record.x - x
    low, held = x[:, 2] < TOP - 0.6 * reach, x[:, 2] > TOP - 0.3 * radius
    drift, across = moved[:, low, 0].mean(axis=1), moved[:, low, 1].mean(axis=1)
    slip = np.sqrt((moved[:, held] ** 2).sum(axis=2).mean(axis=1)).max()

    checks, late = experiment.Checks(), slice(len(t) // 2, None)
    # a free pendulum in this drag would hang at that angle
    expected = 0.8 * reach * np.sin(np.arctan(RATE * args.wind / 9.81))
    downwind = drift[late].mean() / expected
    checks.between("mean drift of the lower part downwind", downwind, 0.3, 1.5, "of a pendulum's")
    sideways = np.abs(across[late].mean() / drift[late].mean())
    checks.between("drift across the wind", sideways, 0, 0.5, "of that downwind")
    # Held particles lie 0.7 to 1.4 cells deep in the bar. Splines reach 1.5 cells: free nodes have
    # up to 0.32 of the weight of the outermost, which follow the sheet by half a cell at times; the
    # root of the mean square is 0.12 cells. In a bar that lets go all move by more than one.
    most = np.abs(moved[:, held]).max()
    checks.between("motion of what the bar holds", most, 0, 0.5 * dx, "m")
    checks.between("the same, RMS", slip, 0, 0.25 * dx, "m")

    stripes = np.floor((x[:, 2] - TOP) / reach * 5 - 1e-9).astype(int) % 2
    heights = TOP - np.linspace(0.15, 0.85, 4) * reach
    posts = np.array([[-0.75 * reach, y, z] for z in heights for y in (-0.7 * half, 0.7 * half)])
    pictures = []
    for time, places in zip(t, record.x, strict=True):
        wind = air(torch.as_tensor(posts), time).numpy()
        speed = np.linalg.norm(wind, axis=1)
        arrows = (posts, posts + 0.06 * reach * wind, speed, 1.8 * args.wind + 1e-9)
        caption = f"t = {time:.2f} s\nwind {args.wind:g} m/s and gusts"
        pictures.append({"x": places, "arrows": arrows, "caption": caption})
    rod = capsule_mesh((0, -1.15 * half, TOP), (0, 1.15 * half, TOP), 0.6 * radius)
    curves = {"downwind": drift, "across": across}
    return experiment.Experiment(
        title="A banner in the wind",
        summary=f"{len(x)} particles of a mesh in a wind of {args.wind:g} m/s with gusts of "
        f"{args.gusts:g} m/s.",
        checks=checks,
        pictures=pictures,
        room=((-0.9 * reach, -half, TOP - 1.1 * reach), (0.9 * reach, half, TOP + 0.04)),
        side={"azimuth": 35, "elevation": 10},
        drawn={
            "colors": np.where(stripes[:, None] == 0, RED, CREAM),
            "radius": 0.7 * args.spacing,
            "surfaces": [Surface(**rod, color=(0.35, 0.37, 0.42))],
            "floors": [Floor(point=(0, 0, TOP - 1.25 * reach), size=4.0)],
        },
        plots={"Mean motion of the lower part.": plot_lines(t, curves, "time (s)", "motion (m)")},
        metrics={"particles": len(x)},
    )


def main(argv=None):
    return experiment.run_experiment(make_parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
