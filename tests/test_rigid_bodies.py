"""Rigid bodies that the material moves: momentum, rest, spin, light bodies, floating."""

import math

import numpy as np
import pytest
import torch

import taichi_phys as tp
from taichi_phys.mpm.rigid_bodies import mass_properties


DX = 1 / 16
G = 9.81


def total(sim, state):
    """Momentum (3,) of the particles and the rigid bodies, N s."""
    mass = np.array([b.mass for b in sim.rigid_bodies])[:, None]
    particles = (sim.mass.double()[:, None] * state.v.double()).sum(0).cpu().numpy()
    return particles + (mass * state.rigid.v).sum(axis=0)


def pool(material, density, top=0.45):
    x, volume = tp.sample_box((3 * DX,) * 3, (0.625, 0.625, top), spacing=DX / 2)
    return tp.Particles(x, volume=volume, density=density, material=material)


def room(**options):
    return tp.Grid(lower=(0, 0, 0), upper=(0.8125, 0.8125, 1.0), dx=DX, **options)


@pytest.mark.parametrize("name", ["sand", "water"])
@pytest.mark.parametrize("density", [50, 3000])
def test_a_ball_dropped_into_a_pool_keeps_the_momentum_of_the_whole(name, density):
    """What gravity and the walls do not take stays; a light ball does not fly off."""
    material, of_pool = tp.preset(name)
    ball = tp.RigidBody(
        shape=tp.Sphere(center=(0.4, 0.41, 0.58), radius=0.11), density=density, friction=0.3,
        velocity=(0.2, 0, -1),
    )  # fmt: skip
    sim = tp.MPM(particles=pool(material, of_pool), grid=room(), colliders=[ball])
    weight = G * (sim.mass.double().sum().item() + ball.mass)
    before, most = total(sim, sim.initial_state()), 0.0
    for state in sim.run(frames=20, fps=60):
        taken = state.reactions.walls.sum(axis=0) / 60
        gained = total(sim, state) - before
        assert np.abs(gained + taken + [0, 0, weight / 60]).max() < 1e-4 * weight / 60
        before, most = total(sim, state), max(most, state.reactions.force[0, 2])
        assert np.abs(state.rigid.v).max() < 2
    assert most > 1.5 * ball.mass * G  # the pool has slowed it


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_a_ball_floats_with_the_share_of_its_density_under_water(share):
    """At two cells to the radius, within 5 % of its volume, in the second and third second."""
    water, density = tp.preset("water")
    radius, depths = 2 * DX, np.linspace(-1, 1, 201)  # of the middle, in radii
    depth = np.interp(share, (2 + 3 * depths - depths**3) / 4, depths)
    center = np.array([0.4, 0.4, 0.45 - depth * radius])
    body = pool(water, density)
    x = np.asarray(body.x)
    keep = np.linalg.norm(x - center, axis=1) > radius
    body = tp.Particles(
        x[keep], volume=np.asarray(body.volume)[keep], density=density, material=water
    )
    ball = tp.RigidBody(
        shape=tp.Sphere(center=tuple(center), radius=radius), density=share * density
    )
    sim = tp.MPM(particles=body, grid=room(), colliders=[ball])
    states = list(sim.run(frames=60, fps=20))
    area = (0.625 - 3 * DX) ** 2
    level = 3 * DX + (sim.volume.sum().item() + ball.mass / density) / area
    depth = (level - np.mean([s.rigid.x[0, 2] for s in states[20:]])) / radius
    assert abs((2 + 3 * depth - depth**3) / 4 - share) < 0.05
    lift = np.mean([s.reactions.force[0, 2] for s in states[20:]])
    assert abs(lift - ball.mass * G) < 0.02 * ball.mass * G


def test_the_grid_sees_bodies_a_cell_larger_beside_fluids_only():
    ball = tp.RigidBody(shape=tp.Sphere(center=(0.4, 0.4, 0.6), radius=0.1), density=500)
    speck = [[0.25, 0.25, 0.25]]
    for name, larger in (("water", DX), ("jelly", 0.0), ("sand", 0.0)):
        body = tp.Particles(speck, volume=1e-6, material=tp.preset(name)[0])
        (solid,) = tp.MPM(particles=body, grid=room(), colliders=[ball])._engine.solids
        assert solid.radius == pytest.approx(0.1 + larger)


def test_a_body_at_rest_on_the_floor_weighs_on_it():
    """A box falls flat on a plane; the plane's reaction is its weight, whatever lies elsewhere."""
    speck = tp.Particles(
        tp.sample_box((0.2, 0.2, 0.25), (0.25, 0.25, 0.3), spacing=DX / 2)[0],
        density=1e-3, material=tp.Elastic(E=1.0, nu=0.3),
    )  # fmt: skip
    floor = tp.Plane(point=(0, 0, 0.25), normal=(0, 0, 1), friction=0.5)
    box = tp.RigidBody(
        shape=tp.Box(center=(0.5, 0.5, 0.36), half_size=(0.1, 0.08, 0.1)), mass=2.0,
        velocity=(0.3, 0, 0),
    )  # fmt: skip
    sim = tp.MPM(particles=speck, grid=room(), colliders=[floor, box])
    states = list(sim.run(frames=24, fps=60))
    weights = [-s.reactions.force[0, 2] for s in states[12:]]
    assert abs(np.mean(weights) - 2 * G) < 0.02 * 2 * G
    end = states[-1].rigid
    assert abs(end.x[0, 2] - 0.35) < 1e-3
    assert np.abs(end.v).max() < 1e-3  # friction has stopped it
    assert np.abs(end.rotations[0] - np.eye(3)).max() < 0.02


def test_a_spinning_body_keeps_its_angular_momentum_and_energy():
    speck = tp.Particles([[0.25, 0.25, 0.25]], volume=1e-6, material=tp.Elastic(E=1.0, nu=0.3))
    body = tp.RigidBody(
        shape=tp.Box(center=(0.5, 0.5, 0.5), half_size=(0.16, 0.11, 0.07)), density=800,
        angular_velocity=(0.3, 4.0, 0.2), velocity=(0.1, 0, 0),
    )  # fmt: skip
    grid = room(contact="open")
    sim = tp.MPM(particles=speck, grid=grid, colliders=[body], gravity=(0, 0, 0))
    *_, state = sim.run(frames=30, fps=30)
    start, end = body.inertia @ body.angular_velocity, state.rigid
    R = end.rotations[0]
    now = R @ body.inertia @ R.T @ end.w[0]
    np.testing.assert_allclose(now, start, rtol=0, atol=1e-9 * np.abs(start).max())
    assert abs(now @ end.w[0] / (start @ body.angular_velocity) - 1) < 1e-2
    np.testing.assert_allclose(end.x[0], [0.6, 0.5, 0.5], atol=1e-9)
    assert np.abs(end.w[0] - body.angular_velocity).max() > 0.1  # it tumbles


def test_the_mass_properties_of_shapes_agree_with_their_meshes():
    import trimesh

    shapes = {
        tp.Box: (trimesh.creation.box((0.4, 0.2, 0.6)), {"half_size": (0.2, 0.1, 0.3)}),
        tp.Sphere: (trimesh.creation.icosphere(4, radius=0.2), {"radius": 0.2}),
    }
    for cls, (mesh, size) in shapes.items():
        mesh.apply_translation((0.1, 0.2, 0.3))
        mine = mass_properties(cls(center=(0.1, 0.2, 0.3), **size))
        theirs = mass_properties(tp.Mesh(mesh=mesh, cells=12))
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=0.01, atol=1e-5)
    mesh = trimesh.creation.capsule(height=0.3, radius=0.1, count=(64, 64))
    volume, _, inertia = mass_properties(tp.Capsule(start=(0, 0, 0), end=(0, 0, 0.3), radius=0.1))
    assert math.isclose(volume, mesh.volume, rel_tol=0.01)
    np.testing.assert_allclose(inertia, mesh.moment_inertia, rtol=0.01, atol=1e-6)


def test_a_state_with_rigid_bodies_is_saved_and_continued(tmp_path):
    ball = tp.RigidBody(shape=tp.Sphere(center=(0.4, 0.4, 0.6), radius=0.1), density=500)
    sim = tp.MPM(particles=pool(*tp.preset("jelly"), top=0.3), grid=room(), colliders=[ball])
    *_, middle = sim.run(frames=2, fps=60)
    tp.save_state(tmp_path / "state.npz", middle)
    *_, one = sim.run(frames=1, fps=60, start=middle)
    *_, two = sim.run(frames=1, fps=60, start=tp.load_state(tmp_path / "state.npz"))
    for name in ("x", "q", "v", "w"):
        np.testing.assert_array_equal(getattr(one.rigid, name), getattr(two.rigid, name))


def test_gradients_and_wrong_arguments_are_refused_in_a_sentence():
    sphere = tp.Sphere(center=(0.4, 0.4, 0.6), radius=0.1)
    for wrong in ({"density": 1, "mass": 1}, {}, {"density": -1}, {"mass": math.nan}):
        with pytest.raises(ValueError, match="density|mass"):
            tp.RigidBody(shape=sphere, **wrong)
    driven = tp.Sphere(center=(0, 0, 0), radius=1, pose=tp.moving(velocity=(1, 0, 0)))
    for shape in (driven, tp.Plane(point=(0, 0, 0), normal=(0, 0, 1)), "ball"):
        with pytest.raises(ValueError, match="shape: got"):
            tp.RigidBody(shape=shape, density=1)
    x, volume = tp.sample_box((0.3, 0.3, 0.2), (0.5, 0.5, 0.3), spacing=DX / 2)
    body = tp.Particles(x, volume=volume, material=tp.Elastic(E=1e4, nu=0.3))
    ball = tp.RigidBody(shape=sphere, density=500)
    sim = tp.MPM(particles=body, grid=room(), colliders=[ball])
    state = sim.initial_state()
    with pytest.raises(ValueError, match="rigid bodies that the material moves"):
        sim.advance(state.replace(x=state.x.requires_grad_()), frame_dt=0.01)
    with pytest.raises(ValueError, match="state.rigid: got None, expected the state of 1"):
        sim.advance(state.replace(rigid=None), frame_dt=0.01)
    assert torch.isfinite(sim.advance(state.detach(), frame_dt=0.01).x).all()
