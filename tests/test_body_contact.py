"""Contact between bodies: gradients, a twin in plain torch, and what mechanics says."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
import twin
from test_gradients import DT, GRID, Problem, assert_agrees, assert_same

import taichi_phys as tp
from taichi_phys.mpm.drivers import kernels
from taichi_phys.mpm.engine import Engine
from taichi_phys.mpm.layout import STATE_FIELDS
from taichi_phys.mpm.nodes import FIELD_LAYERS


f64 = torch.float64


# Gradients


@pytest.mark.parametrize("friction", [0.0, 0.3, 1e3])
def test_twin(friction):
    """Three substeps of three bodies in plain torch: the same state and the same gradients."""
    contact = tp.BodyContact(friction=friction, pairs={(0, 2): 2 * friction})
    problem, steps = Problem("elastic", "elastic", "elastic", count=20, contact=contact), 3
    sim, inputs = problem.sim, problem.inputs
    start = tp.State(**{name: inputs[name] for name in STATE_FIELDS})
    end = sim.advance(start, frame_dt=steps * DT, substeps=steps, force=inputs["force"])
    twin.TOUCHES.clear()
    fields, frictions = contact.fields(3)
    outputs = twin.rollout(
        tuple(inputs[name] for name in STATE_FIELDS), inputs["force"], sim.mass.cpu(),
        sim.volume.cpu(), sim.parameters().cpu(), twin.neo_hookean, steps=steps, dt=DT,
        dx=GRID.dx, lower=GRID.lower,
        shape=GRID.shape, gravity=(0, 0, -9.81), frictions=frictions,
        fields=torch.as_tensor(fields).repeat_interleave(len(sim.mass) // 3),
    )  # fmt: skip
    assert 10 < sum(twin.TOUCHES) < len(twin.TOUCHES) / 2
    ours = tuple(getattr(end, name) for name in STATE_FIELDS)
    for got, expected in zip(ours, outputs, strict=True):
        torch.testing.assert_close(got.cpu(), expected, rtol=1e-9, atol=1e-9)

    def gradients(outputs):
        loss = sum((w * t.cpu()).sum() for w, t in zip(problem.weights, outputs, strict=True))
        return torch.autograd.grad(loss, list(inputs.values()))

    for name, got, expected in zip(inputs, gradients(ours), gradients(outputs), strict=True):
        atol = 1e-7 * expected.abs().max().item()
        torch.testing.assert_close(got, expected, rtol=0, atol=atol, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("friction", [0.0, 0.3])
def test_central_differences(friction):
    problem = Problem("elastic", "fluid", count=20, contact=tp.BodyContact(friction=friction))
    problem.settings = {"frame_dt": 5 * DT, "substeps": 5}
    _, gradients = problem.gradients()
    assert_agrees(problem.loss, problem.inputs, gradients, tolerance=1e-5)


def test_gradient_of_bodies_larger_than_a_block():
    """Particles that show their surfaces to nodes which no other body reaches, too."""
    sim = pair(-0.3, 0.2, tp.BodyContact(friction=0.3), shift=0.3)
    start, generator = sim.initial_state(), torch.Generator().manual_seed(0)
    shape = start.x.shape
    weights, turn, v = (torch.randn(shape, generator=generator, dtype=f64) for _ in range(3))
    start = start.replace(v=start.v + 0.01 * v.to(start.v))  # no node on the edge of touching

    def loss(x):
        return (weights * sim.advance(start.replace(x=x), frame_dt=4e-3, substeps=4).x.cpu()).sum()

    x = start.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x), x)
    step = 1e-7 * turn.to(x)
    with torch.no_grad():
        expected = (loss(x + step) - loss(x - step)) / 2e-7
    assert (gradient.cpu() * turn).sum().item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("driver", ["gpu", "pooled"])
def test_other_drivers(driver):
    """The kernels for GPUs, and those for many particles, agree with the serial ones."""
    grid = dataclasses.replace(GRID, contact="separate")
    contact = tp.BodyContact(friction=0.3)
    names, corner = ("elastic", "elastic"), (0.22, 0.44, 0.44)
    problem = Problem(*names, count=800, grid=grid, corner=corner, contact=contact)
    loss, gradients = problem.gradients()
    engine = problem.sim._engine
    other = Engine(
        kernels=kernels("f64", (tp.Elastic.law,), driver, False, False, several=True),
        body=engine.body,
        grid=grid,
        gravity=engine.gravity,
        chunks=1 if driver == "gpu" else 3,
        frictions=contact.fields(2)[1],
    )
    problem.sim._engine = other
    other_loss, other_gradients = problem.gradients()
    assert other_loss == pytest.approx(loss, rel=1e-10)
    assert_same(other_gradients, gradients)
    chunk_layers = other.nodes.view(-1, *grid.shape, 4)[2 * FIELD_LAYERS :]
    assert not chunk_layers.any()  # nothing is left between substeps


# Mechanics


DX = 1 / 16
H = DX / 2
SOFT = tp.Elastic(E=2e5, nu=0.3)
ROOM = tp.Grid(lower=(-0.5, 0, 0), upper=(1.5, 1, 1), dx=DX, contact="open")


def box(lower, cells):
    """Particles that fill a box, two along the edge of a cell; lower: m; cells: along each axis."""
    axes = [low + (np.arange(2 * n) + 0.5) * H for low, n in zip(lower, cells, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def body(x, *, v=(0.0, 0.0, 0.0), material=SOFT, density=1000.0):
    velocities = np.tile(v, (len(x), 1))
    return tp.Particles(x, v=velocities, volume=H**3, density=density, material=material)


def pair(gap, speed, contact, shift=0.0):
    """Two cubes of 4 cells, `gap` cells apart, that fly towards each other, each at a speed."""
    left = 0.5 - DX * (4 + gap / 2) + shift * DX
    one = body(box((left, 0.375, 0.375), (4, 4, 4)), v=(speed, 0, 0))
    other = body(box((left + (4 + gap) * DX, 0.375, 0.375), (4, 4, 4)), v=(-speed, 0, 0))
    return tp.MPM(
        particles=[one, other], grid=ROOM, gravity=(0, 0, 0), contact=contact, precision="f64"
    )


def velocities(sim, state):
    """Mean velocity (3,) of each of two bodies."""
    return [v.mean(0) for v in state.v.split([len(b) for b in sim.bodies])]


@pytest.mark.parametrize("speed", [0.1, -0.1], ids=["approach", "part"])
def test_faces_one_and_a_half_cells_apart_neither_pull_nor_push(speed):
    sim = pair(1.5, speed, tp.BodyContact(friction=0.5))
    *_, end = sim.run(frames=6, fps=24)  # 0.8 cells nearer or farther
    one, other = velocities(sim, end)
    assert one[0].item() == pytest.approx(speed, rel=1e-9)
    assert other[0].item() == pytest.approx(-speed, rel=1e-9)
    stuck = pair(1.5, speed, None)
    *_, end = stuck.run(frames=6, fps=24)
    assert abs(velocities(stuck, end)[0][0].item()) < 0.9 * abs(speed)  # what contact is for


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_bodies_meet_and_part(shift):
    """Momentum to rounding; equal bodies exchange what velocity their vibrations leave."""
    sim = pair(0.3, 0.5, tp.BodyContact(), shift)
    start = sim.initial_state()
    v = start.v + torch.tensor([1.0, 0.0, 0.0]).to(start.v)  # the second stands still before
    total = (sim.mass[:, None] * v).sum(0)
    for state in sim.run(frames=12, fps=120, start=start.replace(v=v)):
        momentum = (sim.mass[:, None] * state.v).sum(0)
        assert ((momentum - total).abs() < 1e-10 * total.norm()).all()
    one, other = velocities(sim, state)
    gap = state.x[len(sim.bodies[0]) :, 0].min() - state.x[: len(sim.bodies[0]), 0].max()
    assert gap > 0.5 * DX  # no glue
    assert 0.5 < (other - one)[0] < 1.0  # of 1 m/s; the rest is in their vibrations


def test_bodies_part_after_they_were_pressed():
    sim = pair(0.0, 0.2, tp.BodyContact(friction=1.0))
    *_, pressed = sim.run(frames=1, fps=100)
    n = len(sim.bodies[0])
    away = torch.zeros_like(pressed.v)
    away[:n, 0], away[n:, 0] = -1.0, 1.0
    free = torch.eye(3).to(pressed.F).expand_as(pressed.F).contiguous()
    state = pressed.replace(v=away, C=torch.zeros_like(pressed.C), F=free)
    *_, end = sim.run(frames=1, fps=20, start=state)
    one, other = velocities(sim, end)
    assert one[0].item() == pytest.approx(-1, rel=1e-9)
    assert other[0].item() == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("ratio", [0.95, 1.05])
def test_angle_of_friction(ratio):
    """A block on a slab slides above its angle of friction and sticks below."""
    mu, cells = 0.4, 3 * DX
    grid = tp.Grid(lower=(0, 0, 0), upper=(1.5, 1.375, 0.75), dx=DX, contact="sticky")
    slab = body(box((0.3125, 0.3125, cells), (16, 12, 2)))
    block = body(box((0.375, 0.4375, cells + 1.87 * DX), (8, 8, 3)))  # about where it rests
    sim = tp.MPM(
        particles=[slab, block], grid=grid, contact=tp.BodyContact(friction=mu), precision="f32"
    )
    *_, state = sim.run(frames=8, fps=40)
    angle = math.atan(mu * ratio)
    sim.gravity = (9.81 * math.sin(angle), 0, -9.81 * math.cos(angle))
    *_, early = sim.run(frames=12, fps=40, start=state)  # it settles: the face shears
    *_, late = sim.run(frames=10, fps=40, start=early)
    moved = (late.x - early.x)[len(slab) :, 0].mean().item() / DX
    speed = velocities(sim, late)[1][0].item()
    free = 9.81 * math.sin(angle) * 0.55
    if ratio < 1:
        assert abs(speed) < 0.01 * free and abs(moved) < 0.2
    else:
        assert speed > 0.05 * free and moved > 0.5


@pytest.mark.parametrize("turn", [0, 17])
def test_a_block_that_slides_is_braked_by_its_friction(turn):
    """Pressed on a slab with its weight; turned against the grid, by degrees, too."""
    mu, c, s = 0.2, math.cos(math.radians(turn)), math.sin(math.radians(turn))
    turned = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    along, up = turned[:, 0], turned[:, 2]
    middle = np.array([9, 4, 1]) * DX
    slab, block = (
        (x - middle) @ turned.T + 0.5
        for x in (box((0, 0, 0), (18, 8, 2)), box((2 * DX, 2 * DX, 1.87 * DX), (8, 4, 3)))
    )
    bodies = [body(slab, density=1e5), body(block)]
    sim = tp.MPM(
        particles=bodies, grid=ROOM, gravity=(0, 0, 0), contact=tp.BodyContact(friction=mu),
        precision="f32",
    )  # fmt: skip
    n = len(slab)
    weight = (sim.mass.cpu()[:, None] * torch.as_tensor(-9.81 * up)).float()
    weight[:n] = -weight[n:].sum(0) / n
    *_, state = sim.run(frames=8, fps=40, force=weight)
    v = torch.zeros_like(state.v)
    v[n:] = torch.as_tensor(along)
    start = state.replace(v=v, C=torch.zeros_like(state.C))
    speeds = [
        (velocities(sim, state)[1].cpu().numpy() - velocities(sim, state)[0].cpu().numpy()) @ along
        for state in sim.run(frames=20, fps=100, start=start, force=weight)
    ]
    braked = -np.polyfit(np.arange(20) / 100, speeds, 1)[0]
    assert braked == pytest.approx(9.81 * mu, rel=0.05)


def test_reactions_of_bodies_in_contact():
    """The floor carries the weight of a block and of the block that lies on it."""
    lower, upper = box((0.375, 0.375, 0.1875), (4, 4, 4)), box((0.375, 0.375, 0.4375), (4, 4, 2))
    sim = tp.MPM(
        particles=[body(lower), body(upper)], grid=GRID, contact=tp.BodyContact(friction=0.3),
        reactions=True, precision="f32",
    )  # fmt: skip
    forces = [state.reactions.walls for state in sim.run(frames=60, fps=40)]
    weight = 9.81 * sim.mass.sum().item()
    assert np.mean(forces[20:], axis=0)[4] == pytest.approx([0, 0, -weight], abs=0.03 * weight)


@pytest.mark.parametrize("density", [500.0, 3000.0])
def test_buoyancy(density):
    """Half the density floats half out of the water; three times the density sinks."""
    side, depth, room = 6 * DX, 0.4375, 0.875
    grid = tp.Grid(
        lower=(-3 * DX,) * 3, upper=(room + 3 * DX, room + 3 * DX, 0.9), dx=DX, contact="slip"
    )
    corner = np.array([(room - side) / 2] * 2 + [depth - side / 2])
    water = box((0, 0, 0), (14, 14, 7))
    water = water[~((water > corner) & (water < corner + side)).all(1)]
    fluid = tp.Fluid(bulk_modulus=4e5, viscosity=5.0)
    cube = body(box(corner, (6, 6, 6)), material=tp.Elastic(E=1e5, nu=0.3), density=density)
    sim = tp.MPM(
        particles=[body(water, material=fluid), cube], grid=grid, contact=tp.BodyContact(),
        precision="f32",
    )  # fmt: skip
    below = []
    for state in sim.run(frames=14, fps=20):
        x, z = state.x[: len(water)], state.x[len(water) :, 2]
        far = ((x[:, :2] - room / 2).abs() > 0.7 * side).any(dim=1)
        level = 2 * x[far, 2].mean().item()
        below.append((level - (z.mean().item() - side / 2)) / side)
    if density < 1000:
        assert 0.45 < np.mean(below[6:]) < 0.55
    else:
        assert max(below) > 1.2 and z.min() < 1.5 * DX  # at the bottom


# Many bodies, and what is refused


def test_one_field_is_as_without_contact():
    bodies = [body(box((0.3, 0.4, 0.4), (2, 2, 2))), body(box((0.45, 0.4, 0.4), (2, 2, 2)))]
    ends = []
    for contact in (None, tp.BodyContact(groups=(1, 1))):
        sim = tp.MPM(particles=bodies, grid=GRID, contact=contact)
        *_, end = sim.run(frames=1, fps=24)
        ends.append(end.x)
    assert torch.equal(*ends)


def test_groups_and_pairs():
    """Five bodies in three groups, in contact all at once: momentum, and no group is torn."""
    corners = list(itertools.product((0.3, 0.425), (0.4, 0.525), (0.4,)))
    bodies = [body(box(c, (2, 2, 2)), v=np.subtract(0.425, c)) for c in corners]
    bodies.append(body(box((0.3625, 0.4625, 0.525), (2, 2, 2)), v=(0, 0, -1.0)))
    contact = tp.BodyContact(groups=(0, 0, 5, 5, 9), friction=0.2, pairs={(0, 4): 0.7})
    fields, frictions = contact.fields(5)
    assert fields.tolist() == [0, 0, 1, 1, 2]
    assert frictions[0, 2] == frictions[2, 0] == 0.7 and frictions[0, 1] == 0.2
    sim = tp.MPM(particles=bodies, grid=GRID, gravity=(0, 0, 0), contact=contact, precision="f64")
    start = sim.initial_state()
    *_, end = sim.run(frames=4, fps=100)
    before, after = ((sim.mass[:, None] * s.v).sum(0) for s in (start, end))
    assert ((after - before).abs() < 1e-12).all()
    assert (end.v - start.v).abs().max() > 0.1
    assert sim.replace(cfl=0.3).contact is contact


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"friction": -1}, "friction: got -1, expected a number >= 0"),
        ({"pairs": {(0, 0): 1}}, r"pairs: got \(0, 0\), expected two different bodies"),
        ({"pairs": {(0, 7): 1}}, "pairs: got body 7, expected less than 2"),
        ({"groups": (1, 1), "pairs": {(0, 1): 1}}, r"pairs: got \(0, 1\), which are in one group"),
        ({"groups": (1,)}, "groups: got 1, expected one for each of 2 bodies"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tp.BodyContact(**options).fields(2)


def test_a_rigid_ball_hits_one_of_two_bodies_and_not_the_other():
    """It drives one block along, past the other one, 1.2 cells away; momentum to rounding."""
    one = body(box((0.4, 0.375, 0.375), (3, 3, 3)))
    other = body(box((0.4, 0.375 + 4.2 * DX, 0.375), (3, 3, 3)))
    ball = tp.RigidBody(
        shape=tp.Sphere(center=(0.25, 0.375 + 1.5 * DX, 0.46), radius=2 * DX), density=1000.0,
        velocity=(1.0, 0, 0),
    )  # fmt: skip
    sim = tp.MPM(
        particles=[one, other], grid=ROOM, gravity=(0, 0, 0), colliders=[ball], precision="f64",
        contact=tp.BodyContact(),
    )  # fmt: skip
    for state in sim.run(frames=6, fps=40):
        total = (sim.mass[:, None] * state.v).sum(0).cpu().numpy() + ball.mass * state.rigid.v[0]
        np.testing.assert_allclose(total, [ball.mass, 0, 0], atol=1e-9 * ball.mass)
    hit, spared = velocities(sim, state)
    assert hit[0] > 0.3 and state.rigid.v[0, 0] < 0.8
    assert (spared.abs() < 1e-3).all()
    stuck = sim.replace(contact=None)
    *_, state = stuck.run(frames=6, fps=40)
    assert velocities(stuck, state)[1][0] > 0.02  # what contact is for


def test_contact_must_be_a_record():
    with pytest.raises(ValueError, match="contact: got float, expected a BodyContact"):
        tp.MPM(particles=body(box((0.4,) * 3, (1, 1, 1))), grid=GRID, contact=0.3)
