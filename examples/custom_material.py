"""A material of one's own: Ogden rubber, which stiffens as it is stretched, in thirty lines.

    python examples/custom_material.py
    python examples/custom_material.py --alpha 3 15 30

Two strips hang from a clamp and stretch under their own weight; the stiffer law must stretch less,
though both are the same at small strain. Then the slope of a small simulation's result with
respect to the material, through sim.advance, is compared with a central difference.
Writes video.mp4, metrics.json, config.json and report.html to --out.
"""

import argparse
import dataclasses
import sys

import forward_common as common
import numpy as np
import taichi as ti
import torch

import taichi_phys as tp
from inverse.runs.plots import plot_lines
from renderers.particles.draw import Floor, Surface, box_mesh, color_map, view


# ---- the material: one function of the principal log strains, and a record of its parameters


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


# ---- forward


LENGTH, SIDE, CLAMP, LANE, DENSITY = 0.3, 0.06, 0.04, 0.2, 1000.0  # m and kg/m^3
BRAKE = 6.0  # 1/s, drag of the air that brings the strips to rest


def make_parser() -> argparse.ArgumentParser:
    parser = common.make_parser(__doc__, out="out/custom_material", frames=48, spacing=0.01)
    add = parser.add_argument
    add("--E", type=float, default=1.2e4, help="Pa; default: %(default)g")
    add(
        "--alpha", type=float, nargs="+", default=(2.0, 20.0),
        help="of each strip, in rising order; default: 2 20",
    )  # fmt: skip
    return parser


def hang(args: argparse.Namespace) -> tuple[list, np.ndarray]:
    """States of strips in one scene, and the strip of each particle."""
    dx, half = 2 * args.spacing, SIDE / 2
    bodies, strip = [], []
    count = len(args.alpha)
    for k, alpha in enumerate(args.alpha):
        x, volume = tp.sample_box(
            (-half, -half, -LENGTH), (half, half, CLAMP), spacing=args.spacing, seed=args.seed
        )
        x += [LANE * (k - (count - 1) / 2), 0, 0]
        material = Ogden(E=args.E, nu=0.35, alpha=alpha)
        bodies.append(tp.Particles(x, volume=volume, density=DENSITY, material=material))
        strip += [k] * len(x)
    wide = LANE * count / 2
    sim = tp.MPM(
        particles=bodies,
        grid=tp.Grid.around(
            [[-wide, -2 * half, -2.2 * LENGTH], [wide, 2 * half, CLAMP]], dx=dx, margin=dx
        ),
        colliders=[tp.Box(center=(0, 0, CLAMP), half_size=(2 * wide, 1, CLAMP), contact="sticky")],
    )
    air = tp.Drag(air=(0, 0, 0), rate=BRAKE)
    run = sim.run(frames=args.frames, fps=args.fps, force=air)
    return [sim.initial_state(), *run], np.array(strip)


# ---- gradient


def slopes() -> list[tuple[str, float, float]]:
    """For each parameter of the law: its name, its slope by backward and by a central difference.

    Of the mean squared distance that a stretched cube moves in two frames.
    """
    x, volume = tp.sample_box((0.3, 0.3, 0.3), (0.6, 0.6, 0.6), spacing=0.05)
    pull = torch.as_tensor(x - x.mean(axis=0)) * torch.tensor([4.0, -1.0, -1.0])

    def moved(E, nu, alpha):
        body = tp.Particles(x, v=pull, volume=volume, material=Ogden(E=E, nu=nu, alpha=alpha))
        sim = tp.MPM(
            particles=body, grid=tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=0.1), precision="f64"
        )
        state = start = sim.initial_state()
        for _ in range(2):
            state = sim.advance(state, frame_dt=0.02, substeps=10)
        return (state.x - start.x).square().sum(dim=1).mean()

    values = {"E": 1e4, "nu": 0.3, "alpha": 5.0}
    leaves = {
        k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in values.items()
    }
    moved(**leaves).backward()
    rows = []
    for name, value in values.items():
        step = 1e-4 * value
        high, low = (moved(**{**values, name: value + s * step}).item() for s in (1, -1))
        rows.append((name, leaves[name].grad.item(), (high - low) / (2 * step)))
    return rows


def run(args: argparse.Namespace, argv: list[str] | None) -> int:
    common.check_flags(args)
    if sorted(args.alpha) != list(args.alpha) or len(set(args.alpha)) < 2:
        raise ValueError(f"alpha: got {tuple(args.alpha)}, expected two numbers or more, rising")
    tp.init(arch=args.arch)
    states, strip = hang(args)
    t = np.array([s.time for s in states])
    places = [s.x.double().cpu().numpy() for s in states]
    stretch = {
        f"alpha {alpha:g}": np.array([
            1 - (p[strip == k, 2].min() - places[0][strip == k, 2].min()) / LENGTH for p in places
        ])
        for k, alpha in enumerate(args.alpha)
    }  # fmt: skip
    gradients = slopes()

    checks = common.Checks()
    late = slice(2 * len(t) // 3, None)
    final = {name: values[late].mean() for name, values in stretch.items()}
    first, *others = final.values()
    checks.between("stretch of the softest strip", first, 1.05, np.inf)
    for name, value in list(final.items())[1:]:
        checks.between(f"stretch, {name}, beside the softest", value / first, 0.5, 0.995)
    for name, got, wanted in gradients:
        checks.near(f"slope with respect to {name}", got, wanted, "m² per unit",
                    within=1e-5 * abs(wanted))  # fmt: skip

    count = len(args.alpha)
    colors = color_map(strip, (-0.5, count - 0.2), "viridis")
    lanes = LANE * (np.arange(count) - (count - 1) / 2)
    pictures = []
    for p, s in zip(places, states, strict=True):
        ends = [p[strip == k, 2].min() - 0.02 for k in range(count)]
        labels = [
            (f"alpha {alpha:g}", (lane, 0, end))
            for alpha, lane, end in zip(args.alpha, lanes, ends, strict=True)
        ]
        pictures.append({"x": p, "labels": labels, "caption": f"t = {s.time:.2f} s"})
    low = min(p[:, 2].min() for p in places)
    camera = view(
        (-LANE * count / 2 - 0.05, -0.05, low - 0.08), (LANE * count / 2 + 0.05, 0.05, CLAMP),
        width=args.size[0], height=args.size[1], azimuth=15, elevation=8,
    )  # fmt: skip
    clamp = box_mesh((0, 0, CLAMP / 2 + 0.01), (LANE * count / 2, 0.045, CLAMP / 2))
    return common.publish(
        args, argv, title="A material of one's own: Ogden rubber", checks=checks,
        summary="Strips of Ogden rubber stretch under their own weight to "
        + ", ".join(f"{value:.2f} ({name})" for name, value in final.items())
        + " of their length. The gradients of the law were not written by hand.",
        pictures=pictures, camera=camera, colors=colors, radius=0.62 * args.spacing,
        surfaces=[Surface(**clamp, color=(0.45, 0.48, 0.55), opacity=0.55)],
        floors=[Floor(point=(0, 0, low - 0.1), size=4.0)],
        plots={"Length of the strips.": plot_lines(t, stretch, "time (s)", "length / rest length")},
        metrics={"particles": len(strip), "gradients": [
            {"parameter": n, "backward": g, "central_difference": d} for n, g, d in gradients
        ]},
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    return common.guarded(lambda: run(args, argv))


if __name__ == "__main__":
    sys.exit(main())
