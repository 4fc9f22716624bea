"""Recover a known force field from true 3D trajectories of bodies of the three materials.

    python benchmarks/force_recovery.py [--frames 12] [--iterations 60] [--material elastic ...]

A block flies through a field that varies in space and time; the solver sees its particles'
positions at 24 fps and nothing else (with --true-velocity also their first velocities). Errors are
over all particles at which the true force exceeds 5 % of its maximum, in all frames but the first
and the last, which see half an interval only; over all frames they stand beside.
"""

import argparse
import math
import sys
import time

import numpy as np
import torch

import taichi_phys as tp
from inverse.commands.runner import stoppable
from inverse.metrics import vector_errors
from inverse.wind.config import WindConfig
from inverse.wind.solver import WindSolver


MATERIALS = {
    "elastic": tp.Elastic(E=2e4, nu=0.3),
    "elastoplastic": tp.Elastoplastic(E=2e4, nu=0.3, yield_stress=50.0),
    "viscoplastic": tp.Viscoplastic(E=2e4, nu=0.3, yield_stress=50.0, viscosity=200.0),
}
DX, FPS, DENSITY = 0.05, 24.0, 1000.0


def gusts(x: torch.Tensor, t: float) -> torch.Tensor:
    """Specific force (n, 3) m/s^2 at x (n, 3) m and t s: swirling, and turning with time."""
    px, py, pz = x.unbind(dim=1)
    turn = 2 * math.pi * t / 0.6
    return torch.stack(
        [
            4 * math.cos(turn) + 2 * torch.sin(4 * py),
            3 * math.sin(turn) + 2 * torch.cos(3 * pz + turn),
            2 + 2 * torch.sin(4 * px - turn),
        ],
        dim=1,
    )


def block(spacing: float) -> np.ndarray:
    """Particles (n, 3) m on a lattice that fills a block of 0.3 x 0.2 x 0.2 m."""
    axes = [np.arange(spacing / 2, size, spacing) for size in (0.3, 0.2, 0.2)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def simulator(material: tp.Material, spacing: float) -> tp.MPM:
    x = block(spacing)
    grid = tp.Grid(lower=(-1, -1, -1), upper=(1.5, 1.5, 1.5), dx=DX)
    body = tp.Particles(x, density=DENSITY, volume=spacing**3, material=material)
    return tp.MPM(particles=body, grid=grid, gravity=(0, 0, 0))


def recover(
    material: tp.Material,
    *,
    frames: int,
    iterations: int,
    spacing: float = DX / 2,
    true_velocity: bool = False,
):
    """Errors of the recovered forces (a dict), for a body of the material.

    true_velocity: give the solver the velocities of frame 0 beside the positions of all frames.
    """
    sim = simulator(material, spacing)
    mass = sim.mass[:, None]
    states = [sim.initial_state()]
    states += sim.run(frames=frames, fps=FPS, force=lambda x, t: mass * gusts(x, t), progress=False)
    targets = torch.stack([s.x for s in states])
    truth = torch.stack([mass * gusts(s.x, s.time) for s in states])
    solver = WindSolver(
        sim, targets.double().numpy(), fps=FPS,
        velocity=states[0].v.numpy() if true_velocity else None,
        config=WindConfig(iterations=iterations),
    )  # fmt: skip
    start = time.perf_counter()
    found = solver.solve().frame_forces()
    seconds = time.perf_counter() - start
    yield_stress = getattr(material, "yield_stress", math.inf)
    stress = torch.stack([von_mises_stress(s.F, sim.parameters()) for s in states[1:]])
    yielded = float((stress > 0.99 * yield_stress).any(dim=0).double().mean())
    return {
        **vector_errors(found[1:-1], truth[1:-1], threshold=0.05),
        "all_frames": vector_errors(found, truth, threshold=0.05),
        "yielded_percent": 100 * yielded,
        "seconds": seconds,
    }


def von_mises_stress(F: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
    """(n,) Pa: von Mises equivalent sqrt(3/2) |dev tau| of the Kirchhoff stress."""
    strain = 0.5 * torch.linalg.eigvalsh((F @ F.mT).double()).log()
    deviator = strain - strain.mean(dim=1, keepdim=True)
    return math.sqrt(1.5) * 2 * params[:, 0].double() * deviator.norm(dim=1)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--material", nargs="*", default=list(MATERIALS), choices=list(MATERIALS))
    parser.add_argument(
        "--true-velocity", action="store_true", help="give the first velocities beside positions"
    )
    args = parser.parse_args(argv)
    tp.init()
    results = {}
    print("                 frames 1 to T - 2               all frames")
    print(f"{'material':15s}" + 2 * " direction deg  magnitude %  vector %" + " yielded %  seconds")
    for name in args.material:
        r = recover(
            MATERIALS[name], frames=args.frames, iterations=args.iterations,
            true_velocity=args.true_velocity,
        )  # fmt: skip
        results[name] = r
        yielded = r["yielded_percent"]
        errors = " ".join(
            f"{e['direction_error_deg']:13.2f} {e['magnitude_error_percent']:12.2f} "
            f"{e['vector_error_percent']:9.2f}"
            for e in (r, r["all_frames"])
        )
        print(f"{name:15s} {errors} {yielded:9.0f} {r['seconds']:8.0f}")
    return results


if __name__ == "__main__":
    sys.exit(stoppable(main))
