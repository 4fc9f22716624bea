"""Forces and torques on colliders and walls, and their balance with the material."""

import csv

import numpy as np
import pytest
import torch

import taichi_phys as tp


DX = 1 / 20
G = 9.81
GRID = {"lower": (0, 0, 0), "upper": (1, 1, 1), "dx": DX}


def block(spacing=DX / 2, lower=(0.4, 0.35, 0.22), upper=(0.6, 0.6, 0.37), **options):
    x, volume = tp.sample_box(lower, upper, spacing=spacing, pattern="lattice")
    return tp.Particles(x, volume=volume, material=tp.Elastic(E=2e4, nu=0.3), **options)


def momentum(sim, state):
    """Momentum (3,) and its moment about the origin (3,), without gravity's and APIC's parts."""
    m = sim.mass.double()[:, None]
    p = m * state.v.double()
    turning = torch.linalg.cross(state.x.double(), p)
    return p.sum(0).cpu().numpy(), turning.sum(0).cpu().numpy()


@pytest.mark.parametrize("spacing", [DX / 2, DX / 4])  # the serial and the pooled driver
@pytest.mark.parametrize("recompute", [True, False])
def test_forces_on_colliders_are_the_change_of_momentum(spacing, recompute):
    """A block falls on a sphere between a moving box and a tilted plane, with friction."""
    colliders = [
        tp.Plane(point=(0.5, 0.5, 0.15), normal=(0.2, 0, 1), friction=0.4),
        tp.Box(
            center=(0.75, 0.5, 0.3), half_size=(0.1, 0.3, 0.2), friction=0.2,
            pose=tp.moving(velocity=(-2, 0, 0)),
        ),
        tp.Sphere(center=(0.45, 0.45, 0.11), radius=0.1, contact="slip"),
    ]  # fmt: skip
    body = block(spacing, v=torch.tensor([[0.0, 0.1, -1.0]]).expand(len(block(spacing).x), 3))
    sim = tp.MPM(particles=body, grid=tp.Grid(**GRID), colliders=colliders, reactions=True)
    state = sim.initial_state()
    seen = np.zeros(3)
    for _ in range(4):
        before = momentum(sim, state)[0]
        state = sim.advance(state, frame_dt=0.01, recompute=recompute)
        weight = np.array([0, 0, -G]) * sim.mass.double().sum().item()
        gained = (momentum(sim, state)[0] - before) / 0.01
        total = state.reactions.force.sum(axis=0)
        assert np.abs(total - (weight - gained)).max() < 1e-4 * np.abs(weight).max()
        seen = np.maximum(seen, np.abs(state.reactions.force[:3]).max(axis=1))
    assert (seen > 1).all()  # N: each of them is hit
    assert state.reactions.force.shape == (3 + 6, 3)


def test_torques_are_the_change_of_angular_momentum():
    """A weightless block thrown against a small off-center ball begins to turn."""
    body = block(v=torch.tensor([[0.0, 0.0, -1.0]]).expand(len(block().x), 3))
    ball = tp.Sphere(center=(0.6, 0.5, 0.11), radius=0.1)
    sim = tp.MPM(
        particles=body, grid=tp.Grid(**GRID, contact="open"), colliders=[ball], gravity=(0, 0, 0),
        reactions=True, precision="f64",
    )  # fmt: skip
    state = sim.initial_state()
    taken, start = np.zeros(3), momentum(sim, state)[1]
    for _ in range(6):
        state = sim.advance(state, frame_dt=0.01)
        taken += 0.01 * state.reactions.about((0, 0, 0)).torque[0]
    lost = start - momentum(sim, state)[1]
    # The moment of the particles lacks that of the APIC matrices.
    spin = (sim.mass[:, None, None] * DX**2 / 4 * state.C).sum(0).cpu().numpy()
    lost -= [spin[2, 1] - spin[1, 2], spin[0, 2] - spin[2, 0], spin[1, 0] - spin[0, 1]]
    assert np.abs(taken).max() > 0.1
    assert np.abs(taken - lost).max() < 1e-3 * np.abs(taken).max()
    np.testing.assert_allclose(state.reactions.point[0], (0.6, 0.5, 0.11))


@pytest.mark.parametrize("walls", [True, False])
def test_a_floor_carries_the_weight_of_a_body_at_rest(walls):
    """The mean over the last of two thirds of a second, on a wall of the grid and on a plane."""
    body = block(lower=(0.4, 0.4, 0.15), upper=(0.6, 0.6, 0.25))
    floor = [] if walls else [tp.Plane(point=(0, 0, 0.15), normal=(0, 0, 1), contact="separate")]
    grid = tp.Grid(**GRID, contact="separate" if walls else "open")
    sim = tp.MPM(particles=body, grid=grid, colliders=floor, reactions=True)
    row = 4 if walls else 0  # lower z of the walls
    rows = [s.reactions.force[row, 2] for s in sim.run(frames=40, fps=60)]
    weight = sim.mass.sum().item() * G
    assert abs(np.mean(rows[20:]) + weight) < 0.02 * weight


def test_reactions_need_to_be_asked_for_and_change_no_state():
    plain = tp.MPM(particles=block(), grid=tp.Grid(**GRID))
    measured = plain.replace(reactions=True)
    (a,), (b,) = plain.run(frames=1), measured.run(frames=1)
    assert a.reactions is None and b.reactions is not None
    torch.testing.assert_close(a.x, b.x, rtol=1e-6, atol=1e-6)  # other code rounds otherwise
    assert measured.replace().parameters().shape == plain.parameters().shape
    assert next(measured.replace().run(frames=1)).reactions is not None


def test_reactions_are_saved_with_states_and_beside_frames(tmp_path):
    sim = tp.MPM(
        particles=block(lower=(0.4, 0.4, 0.15), upper=(0.5, 0.5, 0.25)), grid=tp.Grid(**GRID),
        colliders=[tp.Sphere(center=(0.3, 0.3, 0.3), radius=0.1)], reactions=True,
    )  # fmt: skip
    states = list(sim.run(frames=3))
    tp.save_state(tmp_path / "state.npz", states[-1])
    loaded = tp.load_state(tmp_path / "state.npz").reactions
    for name in ("force", "torque", "point"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(states[-1].reactions, name))
    for format in ("ply", "npz"):
        folder = tmp_path / format
        tp.write_frames(states, folder, format=format)
        tp.write_frames(states[1:2], folder, format=format, start=1)
        with (folder / "reactions.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        assert [int(r["frame"]) for r in rows] == [0] * 7 + [1] * 7
        floor = next(r for r in rows if r["frame"] == "1" and r["name"] == "wall lower z")
        assert float(floor["force_z"]) == states[1].reactions.force[1 + 4, 2]
        assert len(tp.read_frames(folder)) == 2
    assert tp.write_vtk(states, tmp_path / "vtk") == 3
    assert 'Name="reactions_force"' in (tmp_path / "vtk" / "frame_0000.vtp").read_text()
