"""The simulator against what mechanics says, and against bad input."""

import dataclasses
import hashlib
import math

import numpy as np
import pytest
import torch
from helpers import same_bits

import taichi_phys as tp
from taichi_phys.language import ti
from taichi_phys.mpm.grid import WALL_CELLS
from taichi_phys.mpm.transfer import gather, scatter


f64 = torch.float64
DX = 1 / 16
GRID = tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=DX)
SOFT = tp.Elastic(E=1e3, nu=0.3)
GRAVITY = (0.0, 0.0, -9.81)


def random(*shape):
    return torch.randn(shape, dtype=f64)


def cloud(n=20):
    return torch.rand(n, 3, dtype=f64) * 0.15 + 0.42


def simulation(
    x, *, v=None, density=1000.0, material=SOFT, precision="f64", volume=1e-4, **options
):
    body = tp.Particles(x, v=v, density=density, volume=volume, material=material)
    return tp.MPM(particles=body, grid=options.pop("grid", GRID), precision=precision, **options)


def block(center, cells=3):
    """A cube of eight particles per cell."""
    axis = (torch.arange(2 * cells, dtype=f64) + 0.5) * DX / 2 - cells * DX / 2
    return torch.cartesian_prod(axis, axis, axis) + torch.tensor(center, dtype=f64)


# Transfers


mat3, vec3, vec4 = (
    ti.types.matrix(3, 3, ti.f64), ti.types.vector(3, ti.f64), ti.types.vector(4, ti.f64)
)  # fmt: skip
nd = ti.types.ndarray
SHAPE = (12, 11, 10)  # nodes of a small grid


@ti.kernel
def scatter_kernel(
    nodes: nd(vec4, 1), X: nd(vec3, 1), a: nd(vec3, 1), B: nd(mat3, 1), m: nd(ti.f64, 1), dx: ti.f64
):
    shape = ti.Vector(SHAPE)
    ti.loop_config(serialize=True)
    for p in range(X.shape[0]):
        scatter(nodes, 1, X[p], shape, dx, a[p], B[p], m[p], False)


@ti.kernel
def gather_kernel(nodes: nd(vec4, 1), X: nd(vec3, 1), v: nd(vec3, 1), C: nd(mat3, 1), dx: ti.f64):
    shape = ti.Vector(SHAPE)
    for p in range(X.shape[0]):
        v[p], C[p] = gather(nodes, 0, X[p], shape, dx)


def node_positions(*shape):
    axes = [torch.arange(s, dtype=f64) * DX for s in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def test_scatter_conserves_mass_and_momentum():
    n, x = 30, 0.1 + 0.4 * torch.rand(30, 3, dtype=f64)
    grids = torch.zeros(2, *SHAPE, 4, dtype=f64)
    a, B, m = random(n, 3), random(n, 3, 3), torch.rand(n, dtype=f64)
    scatter_kernel(grids.view(-1, 4), x / DX, a, B, m, DX)
    assert not grids[0].any()
    grid = grids[1]
    assert grid[..., 3].sum().item() == pytest.approx(m.sum().item(), rel=1e-13)
    # the affine part has no linear momentum, and moment dx^2/4 B about the particle
    torch.testing.assert_close(grid[..., :3].sum((0, 1, 2)), a.sum(0), rtol=0, atol=1e-12)
    moment = torch.einsum("ijka,ijkb->ab", grid[..., :3], node_positions(*SHAPE))
    expected = torch.einsum("pa,pb->ab", a, x) + DX**2 / 4 * B.sum(0)
    torch.testing.assert_close(moment, expected, rtol=0, atol=1e-12)


def test_gather_is_exact_for_affine_fields():
    x = 0.1 + 0.4 * torch.rand(30, 3, dtype=f64)
    offset, slope = random(3), random(3, 3)
    grid = torch.ones(*SHAPE, 4, dtype=f64)
    grid[..., :3] = offset + node_positions(*SHAPE) @ slope.T
    v, C = torch.empty_like(x), x.new_empty(30, 3, 3)
    gather_kernel(grid.view(-1, 4), x / DX, v, C, DX)
    torch.testing.assert_close(v, offset + x @ slope.T, rtol=0, atol=1e-13)
    torch.testing.assert_close(C, slope.expand(30, 3, 3), rtol=0, atol=1e-11)


# Mechanics


def test_free_fall_is_symplectic_euler():
    x, v, steps, dt = cloud(), torch.tensor([0.3, -0.2, 0.5], dtype=f64), 50, 1e-3
    sim = simulation(x, v=v.expand_as(x))
    state = sim.advance(sim.initial_state(), frame_dt=steps * dt, substeps=steps)
    g = torch.tensor(GRAVITY, dtype=f64)
    torch.testing.assert_close(state.v.cpu(), (v + steps * dt * g).expand_as(x), rtol=0, atol=1e-12)
    fallen = x + steps * dt * v + dt**2 * g * steps * (steps + 1) / 2
    torch.testing.assert_close(state.x.cpu(), fallen, rtol=0, atol=1e-12)
    assert state.time == pytest.approx(steps * dt)
    torch.testing.assert_close(state.F.cpu(), torch.eye(3, dtype=f64).expand_as(state.F))


@pytest.mark.parametrize("precision", ["f32", "f64"])
def test_momentum_of_a_free_body(precision):
    """Linear and angular momentum, of a body that spins, deforms and is not at rest inside."""
    x, density = cloud(), 500 + 1000 * torch.rand(20, dtype=f64)
    sim = simulation(x, density=density, gravity=(0, 0, 0), precision=precision)
    mass = sim.mass.double()
    assert mass.sum().item() == pytest.approx((density * 1e-4).sum().item(), rel=1e-6)
    spin = torch.tensor([0.0, 1.0, 3.0], dtype=f64)
    C = torch.linalg.cross(spin.expand(3, 3), torch.eye(3, dtype=f64)).T
    start = sim.initial_state()
    v = torch.linalg.cross(spin.expand_as(x), x - x.mean(0)) + 0.1 * random(20, 3)
    F = torch.linalg.matrix_exp(0.1 * random(20, 3, 3))
    start = start.replace(v=v.to(start.v), C=(C + random(20, 3, 3)).to(start.C), F=F.to(start.F))

    def momenta(state):
        x, v, C = state.x.double(), state.v.double(), state.C.double()
        own = torch.stack(  # of the affine velocity field of a particle: dx^2/4 eps : C^T
            [C[:, 2, 1] - C[:, 1, 2], C[:, 0, 2] - C[:, 2, 0], C[:, 1, 0] - C[:, 0, 1]], dim=1
        )
        angular = torch.linalg.cross(x - 0.5, v) + DX**2 / 4 * own
        return torch.cat([(mass[:, None] * v).sum(0), (mass[:, None] * angular).sum(0)])

    end = sim.advance(start, frame_dt=0.1, substeps=100)
    assert (end.F - start.F).abs().max() > 0.05
    tolerance = 1e-13 if precision == "f64" else 3e-5
    torch.testing.assert_close(momenta(end), momenta(start), rtol=0, atol=tolerance)


def test_external_force_moves_the_centre_of_mass():
    """f newtons on particles, whatever their masses: acceleration sum f / sum m + g."""
    density = 500 + 1000 * torch.rand(20, dtype=f64)
    sim = simulation(cloud(), density=density)
    force, start, dt, steps = 0.2 * random(20, 3), sim.initial_state(), 1e-3, 40
    end = sim.advance(start, frame_dt=steps * dt, substeps=steps, force=force)
    share = (sim.mass / sim.mass.sum())[:, None]
    acceleration = force.sum(0).to(sim.mass) / sim.mass.sum() + sim.gravity
    change = (share * (end.v - start.v)).sum(0)
    torch.testing.assert_close(change, acceleration * steps * dt, rtol=1e-12, atol=1e-14)
    moved = (share * (end.x - start.x)).sum(0)
    expected = acceleration * dt**2 * steps * (steps + 1) / 2
    torch.testing.assert_close(moved, expected, rtol=1e-11, atol=1e-14)


def test_a_bar_swings_with_its_own_period():
    """The first axial mode of a free bar: frequency c / (2 L), c = sqrt(E / density) at nu = 0."""
    E, density, length = 1e4, 1000.0, 16 * DX
    grid = tp.Grid(lower=(0, 0, 0), upper=(2, 1, 1), dx=DX)
    half = DX / 2
    along = torch.arange(32, dtype=f64) * half + 0.5 + half / 2
    across = torch.arange(4, dtype=f64) * half + 0.4375 + half / 2
    x = torch.cartesian_prod(along, across, across)
    phase = math.pi * (x[:, 0] - 0.5) / length
    v = torch.zeros_like(x)
    v[:, 0] = 1e-3 * phase.cos()
    sim = simulation(
        x, v=v, density=density, material=tp.Elastic(E=E, nu=0.0), grid=grid, gravity=(0, 0, 0),
        volume=None,
    )  # fmt: skip
    assert sim.volume.sum().item() == pytest.approx(length * (2 * DX) ** 2)
    frame_dt = 0.01
    amplitude = [(s.v[:, 0].cpu() * phase.cos()).mean().item() for s in sim.run(frames=70, fps=100)]
    turns = np.flatnonzero(np.diff(np.sign(amplitude)))
    assert len(turns) == 2
    crossings = [t + amplitude[t] / (amplitude[t] - amplitude[t + 1]) for t in turns]
    period = 2 * (crossings[1] - crossings[0]) * frame_dt
    assert period == pytest.approx(2 * length / math.sqrt(E / density), rel=0.03)


@pytest.mark.parametrize("contact", ["sticky", "slip", "separate"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_block_comes_to_rest_on_a_wall(contact, axis, side):
    gravity, center = [0.0, 0.0, 0.0], [0.5, 0.5, 0.5]
    gravity[axis] = side * 9.81
    center[axis] += side * (0.5 - (WALL_CELLS + 2) * DX)  # half a cell above the wall
    grid = dataclasses.replace(GRID, contact=contact)
    sim = simulation(
        block(center), material=tp.Elastic(E=2e4, nu=0.3), precision="f32", grid=grid,
        gravity=gravity, volume=DX**3 / 8,
    )  # fmt: skip
    *_, state = sim.run(frames=84, fps=24)
    wall = 0.5 + side * (0.5 - WALL_CELLS * DX)
    gap = side * (wall - state.x[:, axis])  # of every particle
    assert 0 < gap.min() < 0.75 * DX  # grid contact begins before the surfaces touch
    assert state.v.norm(dim=1).max() < 0.1
    height = (gap.max() - gap.min()).item()
    assert height == pytest.approx(2.5 * DX, abs=0.25 * DX)  # of the outermost particles


@pytest.mark.parametrize("contact", ["sticky", "slip", "separate"])
def test_walls_and_sliding(contact):
    """What a wall lets a body do: slide along it, or leave it."""
    center = (0.4, 0.5, (WALL_CELLS + 1.5) * DX)
    x = block(center)
    sim = simulation(
        x, precision="f32", grid=dataclasses.replace(GRID, contact=contact), gravity=(0, 0, 0),
        material=tp.Elastic(E=2e4, nu=0.3), volume=DX**3 / 8,
    )  # fmt: skip
    start = sim.initial_state()

    def drift(velocity):
        state = start.replace(v=start.v + start.v.new_tensor(velocity))
        for _ in range(4):
            state = sim.advance(state, frame_dt=0.02)
        return (state.x - start.x).mean(0)

    along, away = drift([1.0, 0.0, 0.0])[0].item(), drift([0.0, 0.0, 1.0])[2].item()
    free = pytest.approx(0.08, rel=1e-3)
    assert (along == free) == (contact != "sticky")
    assert (away == free) == (contact == "separate")
    assert along < 0.05 or contact != "sticky"
    assert away < 0.05 or contact == "separate"


# Running it


def three_bodies(precision="f32"):
    fields = {"E": 2e4, "nu": 0.3}
    materials = [
        tp.Elastic(**fields), tp.Elastoplastic(**fields, yield_stress=1e3),
        tp.Viscoplastic(**fields, yield_stress=1e3, viscosity=20.0),
    ]  # fmt: skip
    bodies = [
        tp.Particles(block((0.3 + 0.2 * i, 0.5, 0.35), cells=2), material=m)
        for i, m in enumerate(materials)
    ]
    return tp.MPM(particles=bodies, grid=GRID, precision=precision)


def digest(state):
    joined = torch.cat([t.flatten() for t in (state.x, state.v, state.C, state.F)])
    return hashlib.sha256(joined.cpu().numpy().tobytes()).hexdigest()


@pytest.fixture(scope="module")
def fall():
    return list(three_bodies().run(frames=30, fps=24))


@same_bits
def test_run_is_advance_repeated_and_bitwise_repeatable(fall):
    sim = three_bodies()
    state = sim.initial_state()
    for frame in fall:
        assert not frame.x.requires_grad
        state = sim.advance(state, frame_dt=1 / 24)
        assert digest(state) == digest(frame)
    assert [digest(s) for s in sim.run(frames=30, fps=24)] == [digest(s) for s in fall]
    assert fall[-1].time == pytest.approx(30 / 24)
    assert len({digest(s) for s in fall}) == 30


def test_plastic_bodies_keep_their_dents(fall):
    """After the fall only the elastic block is still a cube; all keep their volume."""
    heights = [x.reshape(3, -1, 3)[:, :, 2] for x in (three_bodies().initial_state().x, fall[-1].x)]
    before, after = (z.amax(1) - z.amin(1) for z in heights)
    elastic, *plastic = (after / before).tolist()
    assert elastic == pytest.approx(1, abs=0.05)
    assert max(plastic) < 0.8
    volume = torch.linalg.det(fall[-1].F).reshape(3, -1).mean(1)
    torch.testing.assert_close(volume.cpu(), torch.ones(3), rtol=0, atol=0.05)


def test_one_particle_and_default_volume():
    x = torch.full((1, 3), 0.5, dtype=f64)
    sim = simulation(x, volume=None)
    assert sim.volume.item() == pytest.approx(DX**3)
    assert sim.mass.item() == pytest.approx(1000 * DX**3)
    state = sim.advance(sim.initial_state(), frame_dt=0.01)
    assert torch.isfinite(state.x).all() and state.x[0, 2] < 0.5
    crowded = simulation(torch.cat([x, x, x, x - 2 * DX]), volume=None)
    expected = torch.tensor([1 / 3, 1 / 3, 1 / 3, 1], dtype=f64) * DX**3
    torch.testing.assert_close(crowded.volume.cpu(), expected)


def test_numbers_keep_double_precision():
    sim = simulation(cloud(), density=0.1, volume=0.3)
    assert sim.volume[0].item() == 0.3
    assert sim.mass[0].item() == pytest.approx(0.03, rel=1e-14)
    state = tp.MPM(
        particles=tp.Particles([[0.3, 0.4, 0.6]], material=SOFT), grid=GRID, precision="f64"
    ).initial_state()
    assert state.x[0].tolist() == [0.3, 0.4, 0.6]


def test_substeps_follow_the_cfl_condition():
    sim = simulation(cloud(), density=1000.0, cfl=0.4)
    lam, mu = 1e3 * 0.3 / (1.3 * 0.4), 1e3 / 2.6
    c = math.sqrt((lam + 2 * mu) / 1000)
    assert sim.substeps(1 / 24) == math.ceil(c / 24 / (0.4 * DX))
    assert sim.substeps(1 / 24, speed=3.0) == math.ceil((c + 3) / 24 / (0.4 * DX))
    assert sim.substeps(1e-9) == 1


def test_a_simulation_is_made_again_with_changes():
    """What is not named stays as it is, also gravity that was set since."""
    ball = tp.Sphere(center=(0.5, 0.5, 0.2), radius=0.1)
    sim = simulation(cloud(), colliders=[ball], outside="remove", cfl=0.2, precision="f32")
    sim.gravity = (0.0, 1.0, 2.0)
    same, bare = sim.replace(), sim.replace(colliders=[], gravity=GRAVITY)
    assert bare.colliders == () and bare.gravity.tolist() == pytest.approx(GRAVITY)
    for other in (same, bare):
        assert (other.outside, other.cfl, other.precision) == ("remove", 0.2, "f32")
        assert other.grid == sim.grid and other.bodies == sim.bodies
    assert same.colliders == (ball,) and torch.equal(same.gravity, sim.gravity)
    state = sim.advance(sim.initial_state(), frame_dt=0.01)
    assert torch.equal(same.advance(state, frame_dt=0.01).x, sim.advance(state, frame_dt=0.01).x)
    stiff = dataclasses.replace(sim.bodies[0], material=tp.Elastic(E=4e3, nu=0.3))
    assert sim.replace(particles=stiff).substeps(1.0) > sim.substeps(1.0)
    with pytest.raises(ValueError, match="cfl"):
        sim.replace(cfl=2.0)
    with pytest.raises(TypeError, match="wind"):
        sim.replace(wind=1.0)


def test_a_state_of_another_precision_is_converted():
    sim = simulation(cloud(), precision="f32")
    start = sim.initial_state()
    double = tp.State(
        x=start.x.double(), v=start.v.double(), C=start.C.double(), F=start.F.double()
    )
    end = sim.advance(double, frame_dt=0.01)
    assert end.x.dtype == torch.float32
    assert digest(end) == digest(sim.advance(start, frame_dt=0.01))


# Bad input: every message names the argument.


X = torch.full((4, 3), 0.5)
BODY = {"x": X, "material": SOFT}
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", None), ("x", "abc"), ("x", torch.zeros(0, 3)), ("x", torch.zeros(3)),
        ("x", torch.full((4, 3), NAN)), ("x", torch.zeros(4, 3, dtype=torch.bool)),
        ("v", torch.zeros(2, 3)), ("v", torch.full((4, 3), INF)), ("density", 0.0),
        ("density", -1.0), ("density", "a"), ("density", torch.ones(2)), ("density", INF),
        ("density", None), ("volume", 0.0), ("volume", "a"), ("volume", torch.ones(4, 1)),
        ("material", None), ("material", "elastic"),
    ],
)  # fmt: skip
def test_bad_particles(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: "):
        tp.Particles(**{**BODY, name: value})


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("lower", (0, 0), "lower"), ("lower", "abc", "lower"), ("upper", (1, 1, INF), "upper"),
        ("upper", (-1, 1, 1), "grid"), ("dx", 0, "dx"), ("dx", -1.0, "dx"), ("dx", NAN, "dx"),
        ("dx", "a", "dx"), ("dx", 0.5, "grid"), ("dx", 1e-6, "grid"),
        ("contact", "glue", "contact"),
    ],
)  # fmt: skip
def test_bad_grid(name, value, named):
    with pytest.raises(ValueError, match=rf"^{named}: "):
        tp.Grid(**{"lower": (0, 0, 0), "upper": (1, 1, 1), "dx": DX, name: value})


def test_grid_around_points():
    grid = tp.Grid.around(X.cpu().numpy() + [[0, 0, 0], [0.1, 0, 0], [0, 0.2, 0], [0, 0, 0.3]],
                          dx=DX, margin=0.2)  # fmt: skip
    reach = 0.2 + WALL_CELLS * DX
    assert grid.lower == pytest.approx((0.5 - reach,) * 3)
    assert grid.upper == pytest.approx((0.6 + reach, 0.7 + reach, 0.8 + reach))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("particles", None), ("particles", []), ("particles", [1]), ("grid", None),
        ("gravity", (0, 0)), ("gravity", (0, 0, NAN)), ("gravity", None), ("gravity", "down"),
        ("cfl", 0), ("cfl", 1.5), ("cfl", NAN), ("cfl", "a"), ("precision", "f16"),
        ("particles", tp.Particles(X + 1, material=SOFT)),
        ("particles", tp.Particles(X - 0.5, material=SOFT)),
    ],
)  # fmt: skip
def test_bad_simulation(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: "):
        tp.MPM(**{"particles": tp.Particles(X, material=SOFT), "grid": GRID, name: value})


@pytest.fixture(scope="module")
def small():
    sim = tp.MPM(particles=tp.Particles(X, material=SOFT), grid=GRID)
    return sim, sim.initial_state()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frame_dt", 0), ("frame_dt", -1.0), ("frame_dt", NAN), ("frame_dt", "a"),
        ("substeps", 0), ("substeps", 1.5), ("force", torch.zeros(3)), ("force", "push"),
        ("force", torch.full((4, 3), NAN)), ("force", lambda x, t: x[0]),
        ("force", lambda x, t: x * NAN), ("state", None),
    ],
)  # fmt: skip
def test_bad_frame(small, name, value):
    sim, state = small
    arguments = {"state": state, "frame_dt": 0.01, "force": None, "substeps": 2, name: value}
    with pytest.raises(ValueError, match=rf"^{name}: "):
        sim.advance(arguments.pop("state"), **arguments)


@pytest.mark.parametrize("name", ["x", "v", "C", "F"])
@pytest.mark.parametrize("substeps", [None, 2])
def test_bad_state(small, name, substeps):
    sim, state = small
    broken = state.replace(**{name: getattr(state, name)[:2]})
    with pytest.raises(ValueError, match=rf"^state\.{name}: "):
        sim.advance(broken, frame_dt=0.01, substeps=substeps)


@pytest.mark.parametrize(
    ("name", "value"),
    [("frames", -1), ("frames", 1.5), ("fps", 0), ("fps", NAN), ("fps", "a")],
)
def test_bad_run(small, name, value):
    with pytest.raises(ValueError, match=rf"^{name}: "):
        list(small[0].run(**{"frames": 1, "fps": 24.0, name: value}))


# Frames that go wrong


def push(v=None, F=None, x=None, **options):
    """One frame of four particles from a state with some entries replaced; then a good frame."""
    sim = tp.MPM(particles=tp.Particles(X, material=SOFT), grid=GRID, gravity=(0, 0, 0))
    good = sim.initial_state()
    changes = {name: t for name, t in (("v", v), ("F", F), ("x", x)) if t is not None}
    try:
        return sim.advance(good.replace(**changes), **{"frame_dt": 0.01, **options})
    finally:  # a rejected frame leaves nothing behind
        assert torch.equal(sim.advance(good, frame_dt=0.01).x, good.x)


ONE = torch.zeros(4, 3)
ONE[2, 0] = 1.0


def test_a_particle_that_leaves_the_grid_is_named():
    with pytest.raises(tp.SimulationError, match=r"^particle 2 at \(.*left the grid from \(0"):
        push(x=X + 7.5 * DX * ONE)


def test_a_particle_that_is_too_fast_is_named():
    with pytest.raises(
        tp.SimulationError, match=r"^particle \d at .* moves 10 m/s.*\(limit 6.25 m/s\).*substeps"
    ):
        push(v=torch.full_like(X, 10.0), substeps=1)


@pytest.mark.parametrize("name", ["x", "v", "F"])
@pytest.mark.parametrize("value", [NAN, INF, -1e30])
@pytest.mark.parametrize("substeps", [None, 2])
def test_broken_states_are_rejected(name, value, substeps):
    start = {"x": X, "v": torch.zeros_like(X), "F": torch.eye(3).repeat(4, 1, 1)}[name].clone()
    start[2] = value
    with pytest.raises((tp.SimulationError, ValueError), match="particle|state"):
        push(**{name: start}, substeps=substeps)


def test_an_inverted_particle_is_rejected():
    F = torch.eye(3).repeat(4, 1, 1)
    F[3, 0, 0] = -1.0
    with pytest.raises(tp.SimulationError, match="crushed"):
        push(F=F, substeps=1)


@pytest.mark.parametrize("size", [1e6, 1e12, 1e30, 3e38])
@pytest.mark.parametrize("substeps", [None, 5])
@pytest.mark.parametrize("everywhere", [True, False])
def test_huge_forces_are_rejected(size, substeps, everywhere):
    """At once, and without a crash: not with as many substeps as the speed would ask for."""
    force = torch.full((4, 3), size) if everywhere else size * ONE
    with pytest.raises(tp.SimulationError, match="particle"):
        push(force=force, substeps=substeps)


@pytest.mark.parametrize("stops", [False, True])
def test_a_particle_that_is_too_fast_for_a_substep_is_named_with_its_speed(stops):
    apart = torch.tensor([[0.3, 0.5, 0.5], [0.7, 0.5, 0.5]], dtype=f64)
    sim = simulation(apart, v=torch.tensor([[0, 0, 0], [0, 4.0, 0]], dtype=f64))
    state, dt = sim.initial_state(), DX / 3
    force = torch.zeros(2, 3, dtype=f64)
    force[1, 1] = -0.8 * stops * sim.mass[1] / dt  # to 3.2 m/s, then to 2.4 m/s
    with pytest.raises(tp.SimulationError, match="particle 1") as error:
        sim.advance(state, frame_dt=2 * dt, substeps=2, force=force)
    said = str(error.value)
    assert "more than one cell per substep (limit 3 m/s)" in said
    assert ("moved more" if stops else "moves 4 m/s, more") in said
