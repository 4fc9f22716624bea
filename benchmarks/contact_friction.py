"""Measure the friction between two bodies by how fast a block that slides on a slab slows down.

    python benchmarks/contact_friction.py                        # blocks 4 and 8 cells long
    python benchmarks/contact_friction.py --turn 0 17 30 --friction 0.1

Block and slab are turned together against the grid, by degrees.
"""

import argparse
import itertools
import math

import numpy as np
import torch

import taichi_phys as tp


DX = 1 / 16  # m
G = 9.81  # m/s^2
SPEED, FPS, FRAMES = 1.0, 200, 48  # m/s, of the block at first


def fill(lower: tuple[float, ...], cells: tuple[int, ...]) -> np.ndarray:
    """Particles of a box, two along the edge of a cell; lower: its corner, in cells."""
    axes = [DX * (low + (np.arange(2 * n) + 0.5) / 2) for low, n in zip(lower, cells, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def measured_friction(friction: float, length: int, turn: float) -> float:
    """The deceleration of a block, length x 4 x 3 cells, over that of gravity."""
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    turned = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    along, up = turned[:, 0], turned[:, 2]
    center = DX * np.array([(length + 10) / 2, 4, 1])
    slab, block = (
        (x - center) @ turned.T
        for x in (fill((0, 0, 0), (length + 10, 8, 2)), fill((2, 2, 1.87), (length, 4, 3)))
    )
    both = np.concatenate([slab, block])
    lower, upper = np.floor(both.min(0) / DX - 5) * DX, np.ceil(both.max(0) / DX + 5) * DX
    material = tp.Elastic(E=2e5, nu=0.3)
    sim = tp.MPM(
        particles=[tp.Particles(x, volume=(DX / 2) ** 3, material=material) for x in (slab, block)],
        grid=tp.Grid(lower=tuple(lower), upper=tuple(upper), dx=DX, contact="open"),
        colliders=[tp.Plane(point=tuple(-DX / 2 * up), normal=tuple(up), contact="sticky")],
        gravity=tuple(-G * up),
        contact=tp.BodyContact(friction=friction),
    )
    *_, state = sim.run(frames=8, fps=40)  # it comes to rest
    v = torch.zeros_like(state.v)
    v[len(slab) :] = torch.as_tensor(SPEED * along)
    state = state.replace(v=v, C=torch.zeros_like(state.C))
    speeds = np.array([
        state.v[len(slab) :].mean(0).cpu().numpy() @ along
        for state in sim.run(frames=FRAMES, fps=FPS, start=state)
    ])  # fmt: skip
    t = np.arange(FRAMES) / FPS
    used = (speeds > 0.15 * SPEED) & (t >= 0.03)  # until it almost stands; the start shakes it
    return -np.polyfit(t[used], speeds[used], 1)[0] / G


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--friction", type=float, nargs="+", default=[0.1, 0.2, 0.4])
    parser.add_argument("--length", type=int, nargs="+", default=[4, 8], help="cells")
    parser.add_argument("--turn", type=float, nargs="+", default=[0.0, 17.0], help="degrees")
    args = parser.parse_args()
    tp.init()
    print("| cells | degrees | friction | measured |\n| --- | --- | --- | --- |")
    for length, turn, friction in itertools.product(args.length, args.turn, args.friction):
        measured = measured_friction(friction, length, turn)
        print(f"| {length} | {turn:g} | {friction:g} | {measured:.4f} |", flush=True)


if __name__ == "__main__":
    main()
