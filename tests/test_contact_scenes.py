"""Bodies on slopes and plates and in tanks against closed formulas of mechanics."""

import math

import numpy as np
import pytest
import torch

import taichi_phys as tp


G = 9.81
DX = 1 / 32


def flat_block(foot, axes, cells=(6, 6, 3), gap=0.25, **options):
    """A stiff block that stands with its sides along axes, gap cells above the point foot."""
    size = np.array(cells) * DX
    lower = [-size[0] / 2, -size[1] / 2, gap * DX]
    x, volume = tp.sample_box(lower, lower + size, spacing=DX / 2, pattern="lattice")
    x = np.asarray(foot) + x @ np.asarray(axes)
    return tp.Particles(x, volume=volume, material=tp.Elastic(E=1e6, nu=0.2), **options)


# A block on a slope


HELD = 0.1  # s, in which the block comes to rest


def slide(angle, friction, oblique):
    """Times after the block is let go, speeds down the slope and distances gone, (30,) each.

    The block is held against sliding while its bounces die away. oblique: a tilted plane under
    vertical gravity, or a plane along the grid, amid two rows of nodes, under tilted gravity.
    """
    t = math.radians(angle)
    down, up = np.array([math.cos(t), 0, -math.sin(t)]), np.array([math.sin(t), 0, math.cos(t)])
    foot = np.array([0.4, 0.5, 0.5])
    if not oblique:
        down, up, foot = np.array([1.0, 0, 0]), np.array([0.0, 0, 1]), foot + [0, 0, DX / 2]
    body = flat_block(foot, [down, [0, 1, 0], up])
    floor = tp.Plane(point=tuple(foot), normal=tuple(up), contact="separate", friction=friction)
    sim = tp.MPM(
        particles=body, grid=tp.Grid(lower=(0, 0, 0), upper=(1.25, 1, 1), dx=DX),
        gravity=tuple(G * (math.sin(t) * down - math.cos(t) * up)), colliders=[floor],
    )  # fmt: skip
    axis = sim.mass.new_tensor(down)
    hold = -sim.mass[:, None] * G * math.sin(t) * axis
    *_, start = sim.run(frames=10, fps=10 / HELD, force=hold)
    states = list(sim.run(frames=30, fps=100, start=start))
    speeds = [(s.v @ axis).mean().item() for s in states]
    gone = [((s.x - start.x) @ axis).mean().item() for s in states]
    return np.array([s.time - HELD for s in states]), np.array(speeds), np.array(gone)


@pytest.mark.parametrize("oblique", [False, True])
def test_a_block_sticks_below_the_friction_angle(oblique):
    """22 degrees, where friction 0.5 holds up to 26.6: it gives by less than a quarter cell."""
    times, speeds, gone = slide(22, 0.5, oblique)
    assert np.abs(gone).max() < 0.25 * DX
    assert np.abs(speeds[-5:]).max() < 0.01 * G * math.sin(math.radians(22)) * times[-1]


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize(("angle", "friction"), [(30, 0.0), (32, 0.5), (35, 0.3)])
def test_a_block_slides_above_the_friction_angle(angle, friction, oblique):
    """Acceleration g (sin - friction cos), within 4 %."""
    times, speeds, gone = slide(angle, friction, oblique)
    t = math.radians(angle)
    steady = times > 0.06  # the block first gives, elastically
    acceleration, _ = np.polyfit(times[steady], speeds[steady], 1)
    assert acceleration == pytest.approx(G * (math.sin(t) - friction * math.cos(t)), rel=0.04)


# A body on a moving plate


def carried(contact, friction, acceleration, duration=0.3):
    """Speeds of a plate that starts to move, and of a block on it, at the end, m/s."""
    top, start = 0.5 - DX / 2, 0.1

    def pose(t):
        return np.eye(3), np.array([acceleration * max(0.0, t - start) ** 2 / 2, 0.0, 0.0])

    plate = tp.Box(
        center=(0.5, 0.5, top - 0.1), half_size=(0.4, 0.4, 0.1), pose=pose,
        contact=contact, friction=friction,
    )  # fmt: skip
    sim = tp.MPM(
        particles=flat_block((0.4, 0.5, top), np.eye(3)), colliders=[plate],
        grid=tp.Grid(lower=(0, 0, 0), upper=(1.25, 1, 1), dx=DX),
    )  # fmt: skip
    *_, end = sim.run(frames=40, fps=40 / (start + duration))
    return acceleration * duration, end.v[:, 0].mean().item()


def test_a_sticky_plate_carries_a_block():
    plate, block = carried("sticky", 0.0, 3.0)
    assert block == pytest.approx(plate, rel=0.03)


@pytest.mark.parametrize(("acceleration", "follows"), [(3.0, True), (8.0, False)])
def test_a_rough_plate_carries_a_block_as_far_as_friction_goes(acceleration, follows):
    """Friction 0.5: up to 0.5 g; beyond, the block falls behind with that acceleration."""
    plate, block = carried("separate", 0.5, acceleration)
    assert block == pytest.approx(plate if follows else 0.5 * G * 0.3, rel=0.04)


# Water in a tank


def test_hydrostatic_pressure():
    """rho g depth: its slope within 2 %, layers of cells within 3 % of the pressure at the floor.

    Single particles scatter by 16 % of that about their layer. Gravity grows slowly, to spare
    waves.
    """
    dx, layers = 1 / 32, 16
    wall, side, height = 3 * dx, 4 * dx, layers * dx
    density, bulk, gamma = 1000.0, 2e5, 7.0
    upper = (side + 2 * wall, side + 2 * wall, height + 8 * dx)
    grid = tp.Grid(lower=(0, 0, 0), upper=upper, dx=dx, contact="slip")
    tank = (wall,) * 3, (wall + side, wall + side, wall + height)
    x, volume = tp.sample_box(*tank, spacing=dx / 2)
    water = tp.Fluid(bulk_modulus=bulk, viscosity=1.0, gamma=gamma)
    body = tp.Particles(x, volume=volume, density=density, material=water)
    sim = tp.MPM(particles=body, grid=grid)
    period = 4 * height / math.sqrt(bulk / density)  # of the slowest wave
    state, up = sim.initial_state(), sim.mass.new_tensor([0.0, 0.0, G])
    with torch.no_grad():
        for i in range(90):
            lift = max(0.0, 1 - (i + 1) / 80) * sim.mass[:, None] * up
            state = sim.advance(state, frame_dt=period / 10, force=lift)
    J = torch.linalg.det(state.F.double())
    pressure = bulk / gamma * (J**-gamma - 1)
    depth = wall + height - state.x[:, 2].double()
    layer = (torch.as_tensor(height + wall - x[:, 2]) / dx).long()
    p, d = (torch.stack([a[layer == k].mean() for k in range(layers)]) for a in (pressure, depth))
    inner = slice(1, layers - 1)  # away from surface and floor
    slope, offset = np.polyfit(d[inner].cpu().numpy(), p[inner].cpu().numpy(), 1)
    errors = (p - density * G * d)[inner] / (density * G * height)
    assert slope == pytest.approx(density * G, rel=0.02)
    assert errors.abs().max() < 0.03
