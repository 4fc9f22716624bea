"""A material of your own: Ogden rubber, which stiffens as it is stretched, in thirty lines.

    python examples/custom_material.py
    python examples/custom_material.py --alpha 3 15 30

Two strips hang from a clamp and stretch under their own weight; the stiffer law must stretch less,
though both are the same at small strain. Then the slope of a small simulation's result with
respect to the material, through sim.advance, is compared with a central difference.
Writes video.mp4, metrics.json, config.json and report.html to --out.
"""

import dataclasses
import sys

import numpy as np
import taichi as ti
import torch

import taichi_phys as tp
from inverse.commands import experiment
from inverse.runs.plots import plot_lines
from renderers.particles.draw import Floor, Surface, box_mesh, color_map


# The material: one function of the principal log strains, and a record of its parameters


@ti.func
def ogden(eps, plastic, params, dt):
    """One-term compressible Ogden: psi = 2 mu / alpha^2 sum (l_i^alpha - 1) + K / 2 ln^2 J."""
    mu, lam, alpha = params[0], params[1], params[2]
    m = eps.sum() / 3
    power = ti.exp(alpha * (eps - m))
    tau = 2 * mu / alpha * (power - power.sum() / 3) + (3 * lam + 2 * mu) * m
    return eps, tau, plastic


@tp.register
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Ogden(tp.Solid):
    """E: Pa, nu: as of all solids; alpha: > 0, 2 is neo-Hookean, more stiffens sooner."""

    law = tp.spectral_law("ogden", ("mu", "lam", "alpha"), ogden)
    positive = ("E", "alpha")

    alpha: float | torch.Tensor


# Forward


LENGTH, SIDE, CLAMP, LANE, DENSITY = 0.3, 0.06, 0.04, 0.2, 1000.0  # m and kg/m^3
BRAKE = 6.0  # 1/s, drag of the air that brings the strips to rest


def make_parser():
    parser = experiment.make_parser(__doc__, out="out/custom_material", frames=48, spacing=0.01)
    parser.add_argument("--E", type=float, default=1.2e4, help="Pa; default: %(default)g")
    each = "of each strip, in rising order; default: 2 20"
    parser.add_argument("--alpha", type=float, nargs="+", default=(2.0, 20.0), help=each)
    return parser


def hang(args, lanes):
    """Motion of strips in one scene, and the strip of each particle."""
    dx, half, wide = 2 * args.spacing, SIDE / 2, LANE * len(lanes) / 2
    box = (-half, -half, -LENGTH), (half, half, CLAMP)
    x, volume = tp.sample_box(*box, spacing=args.spacing, seed=args.seed)
    bodies = []
    for alpha, lane in zip(args.alpha, lanes, strict=True):
        material = Ogden(E=args.E, nu=0.35, alpha=alpha)
        strip = {"volume": volume, "density": DENSITY, "material": material}
        bodies.append(tp.Particles(x + [lane, 0, 0], **strip))
    room = [[-wide, -2 * half, -2.2 * LENGTH], [wide, 2 * half, CLAMP]]
    clamp = tp.Box(center=(0, 0, CLAMP), half_size=(2 * wide, 1, CLAMP), contact="sticky")
    sim = tp.MPM(particles=bodies, grid=tp.Grid.around(room, dx=dx, margin=dx), colliders=[clamp])
    air = tp.Drag(air=(0, 0, 0), rate=BRAKE)
    frames = sim.run(frames=args.frames, fps=args.fps, force=air)
    strips = np.repeat(np.arange(len(lanes)), len(x))
    return experiment.record(sim, [sim.initial_state(), *frames]), strips


# Gradient


def slopes():
    """For each parameter of the law: its name, its slope by backward and by a central difference.

    Of the mean squared distance that a stretched cube moves in two frames.
    """
    x, volume = tp.sample_box((0.3, 0.3, 0.3), (0.6, 0.6, 0.6), spacing=0.05)
    pull = torch.as_tensor(x - x.mean(axis=0)) * torch.tensor([4.0, -1.0, -1.0])
    grid = tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=0.1)

    def moved(**parameters):
        body = tp.Particles(x, v=pull, volume=volume, material=Ogden(**parameters))
        sim = tp.MPM(particles=body, grid=grid, precision="f64")
        state = start = sim.initial_state()
        for _ in range(2):
            state = sim.advance(state, frame_dt=0.02, substeps=10)
        return (state.x - start.x).square().sum(dim=1).mean()

    values = {"E": 1e4, "nu": 0.3, "alpha": 5.0}
    leaves = {k: torch.tensor(v, dtype=torch.float64).requires_grad_() for k, v in values.items()}
    moved(**leaves).backward()
    rows = []
    for name, value in values.items():
        step = 1e-4 * value
        high, low = (moved(**{**values, name: value + s * step}).item() for s in (1, -1))
        rows.append((name, leaves[name].grad.item(), (high - low) / (2 * step)))
    return rows


def run(args):
    if sorted(args.alpha) != list(args.alpha) or len(set(args.alpha)) < 2:
        raise ValueError(f"alpha: got {tuple(args.alpha)}, expected two numbers or more, rising")
    count, names = len(args.alpha), [f"alpha {alpha:g}" for alpha in args.alpha]
    lanes = LANE * (np.arange(count) - (count - 1) / 2)
    record, strips = hang(args, lanes)
    t, z = record.t, record.x[..., 2]
    ends = np.stack([z[:, strips == k].min(axis=1) for k in range(count)], axis=1)
    stretch = 1 - (ends - ends[0]) / LENGTH
    final = stretch[2 * len(t) // 3 :].mean(axis=0)
    gradients = slopes()

    checks = experiment.Checks()
    checks.between("stretch of the softest strip", final[0], 1.05, np.inf)
    for name, value in zip(names[1:], final[1:], strict=True):
        checks.between(f"stretch, {name}, beside the softest", value / final[0], 0.5, 0.995)
    for name, got, wanted in gradients:
        within = 1e-5 * abs(wanted)
        checks.near(f"slope with respect to {name}", got, wanted, "m² per unit", within=within)

    pictures = []
    for k, x in enumerate(record.x):
        places = zip(names, lanes, ends[k], strict=True)
        labels = [(name, (lane, 0, end - 0.02)) for name, lane, end in places]
        pictures.append({"x": x, "labels": labels, "caption": f"t = {t[k]:.2f} s"})
    low, wide = z.min(), LANE * count / 2
    clamp = box_mesh((0, 0, CLAMP / 2 + 0.01), (wide, 0.045, CLAMP / 2))
    curves = dict(zip(names, stretch.T, strict=True))
    keys = ("parameter", "backward", "central_difference")
    return experiment.Experiment(
        title="A material of one's own: Ogden rubber",
        summary="Strips of Ogden rubber stretch under their own weight to "
        + ", ".join(f"{value:.2f} ({name})" for name, value in zip(names, final, strict=True))
        + " of their length. The gradients of the law were not written by hand.",
        checks=checks,
        pictures=pictures,
        room=((-wide - 0.05, -0.05, low - 0.08), (wide + 0.05, 0.05, CLAMP)),
        side={"azimuth": 15, "elevation": 8},
        drawn={
            "colors": color_map(strips, (-0.5, count - 0.2), "viridis"),
            "surfaces": [Surface(**clamp, color=(0.45, 0.48, 0.55), opacity=0.55)],
            "floors": [Floor(point=(0, 0, low - 0.1), size=4.0)],
        },
        plots={"Length of the strips.": plot_lines(t, curves, "time (s)", "length / rest length")},
        metrics={
            "particles": len(strips),
            "gradients": [dict(zip(keys, row, strict=True)) for row in gradients],
        },
    )


def main(argv=None):
    return experiment.run_experiment(make_parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
