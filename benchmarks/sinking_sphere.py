"""Let a heavy sphere sink in a viscous tank, and compare its speed with that of Stokes.

    python benchmarks/sinking_sphere.py            # a few minutes
    python benchmarks/sinking_sphere.py --cells 4

The tank is five times as wide as the sphere; the first-order effect of its walls is that of a long
square duct (Happel and Bart 1974). The viscosity that the grid has in fact is that with which a
vortex of the size of two spheres decays.
"""

import argparse
import math

import numpy as np
import torch

import taichi_phys as tp


DX = 1 / 32  # m
G, DENSITY, HEAVY = 9.81, 1000.0, 3000.0  # m/s^2, kg/m^3
FLUID = tp.Fluid(bulk_modulus=4e5, viscosity=170.0)


def fill(*cells: int) -> np.ndarray:
    """Particles of a box from the origin on, two along the edge of a cell."""
    axes = [(np.arange(2 * n) + 0.5) * DX / 2 for n in cells]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def measured_viscosity(cells: int) -> float:
    """From the decay of a vortex in a square of cells with walls that slip, Pa s."""
    x, wave = fill(cells, 4, cells), math.pi / (cells * DX)
    a, b = wave * x[:, 0], wave * x[:, 2]
    mode = np.stack([np.sin(a) * np.cos(b), 0 * a, -np.cos(a) * np.sin(b)], axis=1)
    upper = DX * np.array([cells + 3, 7, cells + 3])
    sim = tp.MPM(
        particles=tp.Particles(x, v=0.05 * mode, volume=(DX / 2) ** 3, material=FLUID),
        grid=tp.Grid(lower=(-3 * DX,) * 3, upper=tuple(upper), dx=DX, contact="slip"),
        gravity=(0, 0, 0),
    )
    rate = 2 * FLUID.viscosity * wave**2 / DENSITY
    states = [*sim.run(frames=20, fps=20 * rate / 0.6)][4:]
    left = [(state.v.cpu().numpy() * mode).sum() for state in states]
    slope = -np.polyfit([state.time for state in states], np.log(left), 1)[0]
    return float(slope * DENSITY / (2 * wave**2))


def terminal_speed(cells: int, friction: float) -> tuple[float, float]:
    """The speed of a sphere of so many cells, m/s, and its radius, m."""
    room, wide = 5 * cells * DX, 5 * cells
    x = fill(wide, wide, wide)
    inside = ((x - room * np.array([0.5, 0.5, 0.6])) ** 2).sum(axis=1) < (cells * DX / 2) ** 2
    volume = (DX / 2) ** 3
    water = tp.Particles(x[~inside], volume=volume, density=DENSITY, material=FLUID)
    solid = tp.Elastic(E=4e5, nu=0.3)
    upper = room + DX * np.array([3, 3, 8])
    sphere = tp.Particles(x[inside], volume=volume, density=HEAVY, material=solid)
    sim = tp.MPM(
        particles=[water, sphere],
        grid=tp.Grid(lower=(-3 * DX,) * 3, upper=tuple(upper), dx=DX, contact="sticky"),
        contact=tp.BodyContact(friction=friction),
        gravity=(0, 0, -G),
    )
    start = sim.initial_state()  # under the pressure of the water above, else it swings for long
    shrunk = 1 - DENSITY * G * (room - start.x[:, 2]).clamp(min=0) / FLUID.bulk_modulus
    start = start.replace(F=start.F * shrunk[:, None, None] ** (1 / 3))
    speeds = [
        -state.v[len(water.x) :, 2].mean().item()
        for state in sim.run(frames=30, fps=100, start=start)
    ]
    radius = (3 * inside.sum() * volume / (4 * math.pi)) ** (1 / 3)
    return float(np.mean(speeds[18:])), radius


def main() -> None:
    """Print the speeds with a surface that sticks, and one that slips."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=5, help="diameter of the sphere")
    cells = parser.parse_args().cells
    tp.init()
    viscosity = measured_viscosity(2 * cells)
    print(f"viscosity on the grid: {viscosity:.0f} Pa s, given: {FLUID.viscosity:.0f}")
    with torch.no_grad():
        for name, friction, drag in (("sticks", 1e3, 6), ("slips", 0.0, 4)):
            speed, radius = terminal_speed(cells, friction)
            force = (HEAVY - DENSITY) * 4 / 3 * math.pi * radius**3 * G
            walls = 1.9033 * force / (6 * math.pi * viscosity * 2.5 * cells * DX)
            stokes = force / (drag * math.pi * viscosity * radius) - walls
            print(f"{name}: {speed:.4f} m/s, Stokes in this tank: {stokes:.4f} m/s", flush=True)


if __name__ == "__main__":
    main()
