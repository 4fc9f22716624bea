"""Gradients of whole frames, in f64, against central differences and a twin in plain torch."""

import dataclasses
import threading

import pytest
import torch
import trimesh
import twin
from helpers import COLLIDERS, MATERIALS, PATIENCE

import taichi_phys as tp
from taichi_phys.geometry.signed_distance import SignedDistance
from taichi_phys.mpm import rollout
from taichi_phys.mpm.drivers import kernels
from taichi_phys.mpm.engine import Engine, _deal
from taichi_phys.mpm.grid import CONTACTS
from taichi_phys.mpm.layout import STATE_FIELDS
from taichi_phys.mpm.nodes import CHUNKS


f64 = torch.float64
N, STEPS, DT = 8, 20, 1e-3
GRID = tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=1 / 16)
FIELDS = {
    name: [f.name for f in dataclasses.fields(material)] for name, material in MATERIALS.items()
}
VALUES = {
    "E": 1e3, "nu": 0.3, "yield_stress": 20.0, "viscosity": 2.0, "hardening": 30.0,
    "exponent": 0.7, "friction_angle": 30.0, "cohesion": 5.0, "bulk_modulus": 1e3, "gamma": 7.0,
    "critical_compression": 0.05, "critical_stretch": 0.02, "hardening_coefficient": 3.0,
}  # fmt: skip
NEVER = 1e9  # a yield stress that is never reached


def random(*shape):
    return torch.randn(shape, dtype=f64)


class Problem:
    """A rollout with named inputs, all of which want gradients, and a random linear loss."""

    def __init__(
        self, *materials, count=N, yield_stress=None, at_rest=False, grid=GRID, corner=0.44,
        **options,
    ):  # fmt: skip
        self.bodies, self.inputs, n = [], {}, count * len(materials)
        for index, name in enumerate(materials):
            fields = {f: torch.full((count,), VALUES[f], dtype=f64) for f in FIELDS[name]}
            if yield_stress and "yield_stress" in fields:
                fields["yield_stress"].fill_(yield_stress)
            for field, value in fields.items():
                self.inputs[f"{field}{index or ''}"] = value.requires_grad_()
            x = torch.rand(count, 3, dtype=f64) * 0.12 + torch.as_tensor(corner, dtype=f64)
            material = tp.MATERIALS[name](**fields)
            self.bodies.append(tp.Particles(x, volume=1e-4, material=material))
        self.sim = tp.MPM(particles=self.bodies, grid=grid, precision="f64", **options)
        F = torch.eye(3, dtype=f64).repeat(n, 1, 1) + (0 if at_rest else 0.1) * random(n, 3, 3)
        self.inputs |= {
            "x": self.sim.initial_state().x.cpu().requires_grad_(),
            "v": (0.5 * random(n, 3)).requires_grad_(),
            "C": random(n, 3, 3).requires_grad_(),
            "F": F.requires_grad_(),
            "plastic": (0.01 * torch.rand(n, dtype=f64)).requires_grad_(),
            "force": (0.1 * random(n, 3)).requires_grad_(),
        }
        self.weights = [random(n, 3), 0.1 * random(n, 3), 1e-2 * random(n, 3, 3), random(n, 3, 3)]
        self.weights.append(random(n))
        self.settings = {"frame_dt": STEPS * DT, "substeps": STEPS}

    def loss(self, force=None, **changes):
        start = tp.State(**{name: self.inputs[name] for name in STATE_FIELDS})
        force = self.inputs["force"] if force is None else force
        end = self.sim.advance(start, force=force, **{**self.settings, **changes})
        outputs = (getattr(end, name) for name in STATE_FIELDS)
        return sum((w * t.cpu()).sum() for w, t in zip(self.weights, outputs, strict=True))

    def gradients(self, **changes):
        loss = self.loss(**changes)
        used = [t for t in self.inputs.values() if t.requires_grad]
        grads = torch.autograd.grad(loss, used, allow_unused=True, materialize_grads=True)
        return loss.item(), dict(zip(self.inputs, grads, strict=True))


def differences(loss, t, direction):
    """Central differences of loss in t at three step sizes."""
    start = t.detach().clone()
    with torch.no_grad():
        for h in (1e-4, 1e-5, 1e-6):
            step = h * max(1.0, start.abs().max().item())
            t.copy_(start + step * direction)
            up = loss().item()
            t.copy_(start - step * direction)
            down = loss().item()
            t.copy_(start)
            yield (up - down) / (2 * step)


def assert_agrees(loss, inputs, gradients, tolerance=1e-6):
    """Gradients and differences agree relatively, at one step size (rounding against curvature)."""
    for name, t in inputs.items():
        direction = random(*t.shape).to(t)
        got = (gradients[name] * direction).sum().item()
        errors = [
            abs(d - got) / max(abs(d), abs(got), 1e-300) for d in differences(loss, t, direction)
        ]
        assert min(errors) < tolerance, (name, got, errors)


YIELDING = ("elastoplastic", "viscoplastic", "herschel_bulkley")
CASES = [(name, value) for name in YIELDING for value in (20.0, NEVER)]
CASES += [(name, None) for name in FIELDS if name not in YIELDING]
OF_FLOW = ("yield_stress", "viscosity", "hardening", "exponent")


@pytest.mark.parametrize("at_rest", [False, True], ids=["F", "F=I"])
@pytest.mark.parametrize(("material", "yield_stress"), CASES)
def test_rollout(material, yield_stress, at_rest):
    """20 substeps: every material, on both sides of yield, and from F = I exactly."""
    problem = Problem(material, yield_stress=yield_stress, at_rest=at_rest)
    _, gradients = problem.gradients()
    assert_agrees(problem.loss, problem.inputs, gradients)
    for name, gradient in gradients.items():
        assert (gradient.abs().max() > 0) == (yield_stress != NEVER or name not in OF_FLOW)
        assert torch.isfinite(gradient).all()


@pytest.fixture(scope="module")
def mixed():
    """Bodies of the three materials that share grid nodes."""
    problem = Problem("elastic", "elastoplastic", "viscoplastic")
    return problem, *problem.gradients()


def test_mixed_materials(mixed):
    problem, _, gradients = mixed
    assert len(problem.inputs) == 2 + 4 + 5 + 6
    assert_agrees(problem.loss, problem.inputs, gradients)


def assert_same(got, expected):
    for name in expected:
        scale = expected[name].abs().max().item()
        torch.testing.assert_close(got[name], expected[name], rtol=0, atol=1e-10 * scale)


def test_stored_or_recomputed_substeps(mixed):
    problem, loss, gradients = mixed
    stored_loss, stored = problem.gradients(recompute=False)
    assert stored_loss == pytest.approx(loss, rel=1e-10)
    assert_same(stored, gradients)


@pytest.mark.parametrize("recompute", [True, False])
def test_frame_in_pieces(mixed, monkeypatch, recompute):
    """When the substeps of a frame do not fit into memory it is split: 7 + 7 + 6."""
    problem, loss, gradients = mixed
    calls, forward = [], Engine.forward

    def spy(self, states, given, count, *rest):
        calls.append(count)
        forward(self, states, given, count, *rest)

    monkeypatch.setattr(Engine, "forward", spy)
    monkeypatch.setattr(rollout, "HISTORY_BYTES", 7.5 * 25 * 8 * 3 * N)
    split_loss, split = problem.gradients(recompute=recompute)
    assert calls[:3] == [7, 7, 6]
    assert len(calls) == (6 if recompute else 3)
    assert split_loss == pytest.approx(loss, rel=1e-10)
    assert_same(split, gradients)


def test_frames_in_a_row(mixed):
    """Two frames of ten substeps are one of twenty, and so are their gradients."""
    problem, loss, gradients = mixed
    start = tp.State(**{name: problem.inputs[name] for name in STATE_FIELDS})
    half = {"frame_dt": DT * STEPS / 2, "substeps": STEPS // 2, "force": problem.inputs["force"]}
    end = problem.sim.advance(problem.sim.advance(start, **half), **half)
    assert end.time == pytest.approx(DT * STEPS)
    outputs = (getattr(end, name) for name in STATE_FIELDS)
    total = sum((w * t).sum() for w, t in zip(problem.weights, outputs, strict=True))
    assert total.item() == pytest.approx(loss, rel=1e-10)
    grads = torch.autograd.grad(total, list(problem.inputs.values()))
    assert_same(dict(zip(problem.inputs, grads, strict=True)), gradients)


def test_backward_in_another_thread(mixed):
    problem, _, gradients = mixed
    result = {}
    thread = threading.Thread(target=lambda: result.update(problem.gradients()[1]))
    thread.start()
    thread.join(PATIENCE)
    assert_same(result, gradients)
    loss = problem.loss()  # forward here, backward there, as torch does on a GPU
    grads = []
    thread = threading.Thread(
        target=lambda: grads.extend(torch.autograd.grad(loss, list(problem.inputs.values())))
    )
    thread.start()
    thread.join(PATIENCE)
    assert_same(dict(zip(problem.inputs, grads, strict=True)), gradients)


def test_initial_state_and_backward_twice():
    """Gradients reach the tensors that a body was made of, and add up over two backward calls."""
    x = (torch.rand(N, 3, dtype=f64) * 0.12 + 0.44).requires_grad_()
    v = random(N, 3).requires_grad_()
    body = tp.Particles(x, v=v, volume=1e-4, material=tp.Elastic(E=1e3, nu=0.3))
    sim = tp.MPM(particles=body, grid=GRID, precision="f64")
    weights = random(N, 3)

    def loss():
        end = sim.advance(sim.initial_state(), frame_dt=STEPS * DT, substeps=STEPS)
        return (weights * end.v.cpu()).sum()

    total = loss()
    total.backward(retain_graph=True)
    once = {"x": x.grad.clone(), "v": v.grad.clone()}
    assert_agrees(loss, {"x": x, "v": v}, once)
    total.backward()
    assert_same({"x": x.grad, "v": v.grad}, {name: 2 * g for name, g in once.items()})


@pytest.mark.parametrize("contact", ["sticky", "slip", "separate"])
@pytest.mark.parametrize("corner", [0.21, 0.67], ids=["low", "high"])
def test_walls(contact, corner):
    """Particles within reach of three walls at once."""
    grid = dataclasses.replace(GRID, contact=contact)
    problem = Problem("elastic", grid=grid, corner=corner)
    loss, gradients = problem.gradients()
    assert_agrees(problem.loss, problem.inputs, gradients)
    other = CONTACTS[CONTACTS.index(contact) - 1]
    problem.sim = problem.sim.replace(grid=dataclasses.replace(grid, contact=other))
    assert abs(problem.loss().item() - loss) > 1e-3 * abs(loss)  # the walls do act


def test_force_field():
    """A callable f(x, t) sees every substep; gradients flow through it in x and its parameters."""
    problem = Problem("elastic")
    stiffness = torch.tensor(3.0, dtype=f64, requires_grad=True)
    problem.inputs["stiffness"] = stiffness
    problem.inputs.pop("force")
    times = []

    def field(x, t):
        times.append(t)
        return stiffness * (0.5 - x) * (1 + 50 * t)

    _, gradients = problem.gradients(force=field)
    assert sorted(set(times)) == pytest.approx([DT * s for s in range(STEPS)])
    assert_agrees(lambda: problem.loss(force=field), problem.inputs, gradients)


def test_constant_force_field_is_the_constant_force():
    problem = Problem("elastic")
    loss, gradients = problem.gradients()
    force = problem.inputs["force"]
    field_loss, field = problem.gradients(force=lambda x, t: force)
    assert field_loss == pytest.approx(loss, rel=1e-10)
    assert_same(field, gradients)


@pytest.mark.parametrize(("material", "yield_stress"), [("elastic", None), ("viscoplastic", 20.0)])
def test_twin(material, yield_stress):
    """Five substeps in plain torch: the same state and the same gradients."""
    problem, steps = Problem(material, yield_stress=yield_stress), 5
    sim, inputs = problem.sim, problem.inputs
    start = tp.State(**{name: inputs[name] for name in STATE_FIELDS})
    end = sim.advance(start, frame_dt=steps * DT, substeps=steps, force=inputs["force"])
    outputs = twin.rollout(
        tuple(inputs[name] for name in STATE_FIELDS), inputs["force"], sim.mass.cpu(),
        sim.volume.cpu(), sim.parameters().cpu(),
        twin.neo_hookean if material == "elastic" else twin.von_mises, steps=steps, dt=DT,
        dx=GRID.dx, lower=GRID.lower, shape=GRID.shape, gravity=(0, 0, -9.81),
    )  # fmt: skip
    ours = tuple(getattr(end, name) for name in STATE_FIELDS)
    for got, expected in zip(ours, outputs, strict=True):
        torch.testing.assert_close(got.cpu(), expected, rtol=1e-9, atol=1e-9)

    def gradients(outputs):
        loss = sum((w * t.cpu()).sum() for w, t in zip(problem.weights, outputs, strict=True))
        return torch.autograd.grad(loss, list(inputs.values()))

    for name, got, expected in zip(inputs, gradients(ours), gradients(outputs), strict=True):
        atol = 1e-7 * expected.abs().max().item()
        torch.testing.assert_close(got, expected, rtol=0, atol=atol, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize(
    "material, contact, driver, arrangement, batch",
    [
        ("viscoplastic", "sticky", "gpu", "given", 1),
        ("viscoplastic", "separate", "gpu", "sorted", 1),
        ("elastic", "slip", "gpu", "dealt", 2),
        ("viscoplastic", "sticky", "pooled", "sorted", 1),
        ("viscoplastic", "separate", "pooled", "sorted", 1),
    ],
)
def test_other_drivers(material, contact, driver, arrangement, batch):
    """The kernels for GPUs, and those for many particles, agree with the serial ones.

    Taichi gives a thread 512 particles at once: 2000, still few enough for the serial driver, are
    shared by up to four. The grid is visited 21 times for 20 substeps: of launches of 2, the last
    has fewer.
    """
    grid = dataclasses.replace(GRID, contact=contact)
    problem = Problem(material, count=2000, grid=grid, corner=(0.22, 0.44, 0.44))
    assert problem.sim._engine.kernels.driver in ("serial", "gpu")
    loss, gradients = problem.gradients()
    others = kernels("f64", (tp.MATERIALS[material].law,), driver, False, False, batch=batch)
    other = Engine(
        kernels=others,
        body=problem.sim._engine.body,
        grid=grid,
        gravity=problem.sim._engine.gravity,
        chunks=1 if driver == "gpu" else 3,
    )
    other.arrangement = arrangement
    problem.sim._engine = other
    other_loss, other_gradients = problem.gradients()
    assert other_loss == pytest.approx(loss, rel=1e-10)
    assert_same(other_gradients, gradients)
    assert not other.nodes.view(-1, *grid.shape, 4)[CHUNKS:].any()


def test_dealing_sends_neighbors_to_different_warps():
    dealt = _deal(torch.arange(70)).tolist()
    assert sorted(dealt) == list(range(70))
    assert dealt[:4] == [0, 3, 6, 9]  # runs of ceil(70 / 32) = 3
    assert [dealt.index(i) for i in range(3)] == [0, 24, 47]


def shapes():
    moved = tp.moving(velocity=(0.3, 0, -0.1), angular_velocity=(0, 2.0, 0), center=(0.2, 0.5, 0.2))
    ball = trimesh.creation.icosphere(radius=0.3).apply_translation((0.5, 0.5, 0.2))
    return {
        "plane": tp.Plane(point=(0.5, 0.5, 0.5), normal=(0.1, 0.2, 1), friction=0.4),
        "box": tp.Box(center=(0.5, 0.5, 0.4), half_size=(0.1, 0.2, 0.1), contact="slip"),
        "sphere": tp.Sphere(center=(0.5, 0.5, 0.4), radius=0.1, friction=0.4, pose=moved),
        "capsule": tp.Capsule(start=(0.4, 0.4, 0.4), end=(0.6, 0.6, 0.4), radius=0.1),
        "mesh": tp.Mesh(mesh=ball, cells=16, friction=2.0),
    }


@pytest.mark.parametrize("kind", COLLIDERS)
def test_colliders(kind):
    """Contact with each kind of collider, still and moving, with and without friction."""
    collider = shapes()[kind]
    problem = Problem("elastic", colliders=[collider])
    loss, gradients = problem.gradients()
    assert_agrees(problem.loss, problem.inputs, gradients)
    problem.sim = problem.sim.replace(colliders=[])
    assert abs(problem.loss().item() - loss) > 1e-3 * abs(loss)  # the collider does act


@pytest.mark.parametrize("pose", ["still", "moving"])
def test_what_holds_a_part(pose):
    """A sticky region on the grid's nodes, around a part of the body."""
    spots = torch.cartesian_prod(*3 * [torch.arange(-2, 3)]) / 16
    values = (spots.norm(dim=1) - 0.06).reshape(5, 5, 5).numpy()
    region = SignedDistance(lower=(0.3125, 0.3125, 0.3125), spacing=1 / 16, values=values)
    moved = tp.moving(velocity=(0.3, 0, -0.1), angular_velocity=(0, 2.0, 0), center=(0.4, 0.4, 0.4))
    support = tp.Mesh(mesh=region, contact="sticky", pose=moved if pose == "moving" else None)
    problem = Problem("elastic", colliders=[support])
    loss, gradients = problem.gradients()
    assert_agrees(problem.loss, problem.inputs, gradients, tolerance=1e-5)
    problem.sim = problem.sim.replace(colliders=[])
    assert abs(problem.loss().item() - loss) > 1e-3 * abs(loss)  # the support does act


def test_removed_particles():
    """Gradients agree where particles leave the grid on the way."""
    lift = {"contact": "sticky", "pose": tp.moving(velocity=(0, 0, 5.0))}
    box = tp.Box(center=(0.5, 0.5, 0.9), half_size=(0.5, 0.5, 0.2), **lift)
    problem = Problem("elastic", corner=(0.44, 0.44, 0.77), outside="remove", colliders=[box],
                      grid=dataclasses.replace(GRID, contact="open"))  # fmt: skip
    end = problem.sim.advance(
        tp.State(**{name: problem.inputs[name] for name in STATE_FIELDS}), **problem.settings
    )
    assert 0 < end.removed.sum() < N
    assert not end.v[end.removed].any()
    _, gradients = problem.gradients()
    inputs = {name: problem.inputs[name] for name in ("x", "v", "C", "F", "force", "plastic")}
    # the box drives most nodes, so what is left of some gradients is near rounding
    assert_agrees(problem.loss, inputs, gradients, tolerance=1e-5)
