"""Scenes that are cut into chunks: threads, restarts, active region; colliders in whole runs."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from helpers import PATIENCE

import taichi_phys as tp
from taichi_phys.mpm import rollout
from taichi_phys.mpm.nodes import BLOCK, CHUNKS, LISTED, MARKS, VELOCITY


DX = 1 / 32
SOFT = tp.Elastic(E=2e4, nu=0.3)


def two_bodies(material=SOFT, precision="f32", **options):
    """6,000 particles of one law, the lower body on a ball, the upper falling onto it."""
    x, volume = tp.sample_box((0.4, 0.4, 0.3), (0.6, 0.6, 0.5), count=4000)
    y, volume_y = tp.sample_box((0.3, 0.35, 0.55), (0.5, 0.55, 0.65), count=2000)
    bodies = [
        tp.Particles(x, volume=volume, material=material),
        tp.Particles(y, v=[[0.5, 0, -2.0]] * len(y), volume=volume_y, material=material),
    ]
    ball = tp.Sphere(center=(0.5, 0.5, 0.2), radius=0.12, friction=0.3)
    options = {"colliders": [ball]} | options
    grid = tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=DX)
    return tp.MPM(particles=bodies, grid=grid, precision=precision, **options)


def bits(*tensors):
    return [int(t.detach().contiguous().view(torch.int64).sum()) for t in tensors]


def elsewhere(script):
    """Run Python code in a process of its own, in the folder of the tests."""
    here = Path(__file__).parent
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, cwd=here,
        env=dict(os.environ, PYTHONPATH=str(here.parent)),
    )  # fmt: skip


def run_and_gradient():
    """Check sums of two frames and of the gradients of a third, in f64, which compiles faster."""
    sim = two_bodies(precision="f64")
    *_, state = sim.run(frames=2, fps=48, progress=False)
    force = torch.zeros_like(state.x, requires_grad=True)
    x, F = state.x.clone().requires_grad_(), state.F.clone().requires_grad_()
    end = sim.advance(state.replace(x=x, F=F), frame_dt=2e-3, force=force)
    end.x.square().sum().backward()
    return bits(state.x, state.v, state.F, state.plastic, end.x, force.grad, x.grad, F.grad)


def test_threads_and_runs_do_not_matter():
    """States and gradients are bitwise the same here, again, and with three threads elsewhere."""
    expected = run_and_gradient()
    assert run_and_gradient() == expected
    done = elsewhere(
        "import json, torch, taichi_phys as tp; torch.set_num_threads(1); "
        "tp.init(arch='cpu', precision='f32', threads=3); "
        "import test_mpm_large; print(json.dumps(test_mpm_large.run_and_gradient()))"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == expected


def test_order_of_particles_is_the_users():
    """Chunks are cut along the body; particles come back as they were given."""
    sim = two_bodies(gravity=(0, 0, 0), colliders=())
    shuffled = torch.randperm(4000)
    state = sim.initial_state()
    x = torch.cat([state.x[:4000][shuffled], state.x[4000:]])
    mixed = sim.advance(state.replace(x=x), frame_dt=1e-3)
    plain = sim.advance(state, frame_dt=1e-3)
    torch.testing.assert_close(mixed.x[:4000], plain.x[:4000][shuffled], rtol=0, atol=2e-6)
    # a particle that is given a kick of its own is the one that moves
    v = state.v.clone()
    v[1234] += torch.tensor([0.0, 3.0, 0.0])
    kicked = sim.advance(state.replace(v=v), frame_dt=1e-4, substeps=1)
    assert (kicked.v - sim.advance(state, frame_dt=1e-4, substeps=1).v).norm(dim=1).argmax() == 1234


def test_momentum_of_many_particles():
    sim = two_bodies(gravity=(0, 0, 0), colliders=())
    before = (sim.mass[:, None] * sim.initial_state().v).sum(0)
    *_, state = sim.run(frames=3, fps=48)
    after = (sim.mass[:, None] * state.v).sum(0)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4 * before.norm().item())


def test_restart_files_go_on_bit_for_bit(tmp_path):
    plastic = tp.Elastoplastic(E=2e4, nu=0.3, yield_stress=200.0)
    states = list(two_bodies(plastic).run(frames=4, fps=48))
    tp.save_state(tmp_path / "state.npz", states[1])
    start = tp.load_state(tmp_path / "state.npz")
    again = list(two_bodies(plastic).run(frames=2, fps=48, start=start))
    for name in ("x", "v", "C", "F", "plastic"):
        assert torch.equal(getattr(again[-1], name), getattr(states[-1], name)), name
    assert again[-1].time == states[-1].time


def test_nothing_is_left_on_the_grid_and_far_blocks_stay_untouched():
    sim = two_bodies()
    list(sim.run(frames=1, fps=48))
    engine = sim._engine
    layers = engine.nodes.view(-1, *sim.grid.shape, 4)
    assert not layers[CHUNKS:].any()
    touched = layers[VELOCITY, ..., 3] > 0
    assert 0 < touched.sum() < 0.2 * touched.numel()
    assert engine.lists[:, MARKS, LISTED].sum() * BLOCK**3 < 0.5 * touched.numel()


def test_a_moving_sticky_box_carries_what_it_holds():
    """Fixed regions and prescribed velocities are sticky colliders that overlap a body."""
    grip = tp.Box(
        center=(0.5, 0.5, 0.4), half_size=(0.2, 0.2, 0.2), contact="sticky",
        pose=tp.moving(velocity=(0.2, 0.0, 0.1)),
    )  # fmt: skip
    sim = two_bodies(colliders=[grip])
    start = sim.initial_state()
    state = sim.advance(start, frame_dt=0.05)
    moved = (state.x - start.x)[:4000]
    expected = torch.tensor([0.2, 0.0, 0.1]) * 0.05
    torch.testing.assert_close(moved, expected.expand_as(moved), rtol=0, atol=2e-4)


def test_an_impulse_is_shared_by_mass():
    sim = two_bodies(gravity=(0, 0, 0), colliders=())
    state = sim.initial_state()
    kicked = sim.impulse(state, (0.0, 0.3, 0.0), particles=slice(4000, None))
    gained = (sim.mass[:, None] * (kicked.v - state.v)).sum(0)
    torch.testing.assert_close(gained, torch.tensor([0, 0.3, 0]), rtol=0, atol=1e-5)
    assert torch.equal(kicked.v[:4000], state.v[:4000])
    with pytest.raises(ValueError, match="impulse"):
        sim.impulse(state, torch.zeros(7, 3))


def test_the_time_step_is_reduced_when_the_motion_demands_it():
    """A push that sets in during a frame is not foreseen when it begins."""
    x, volume = tp.sample_box((0.4, 0.4, 0.4), (0.6, 0.6, 0.6), count=500)
    body = tp.Particles(x, volume=volume, material=tp.Elastic(E=1e3, nu=0.3))
    sim = tp.MPM(particles=body, grid=tp.Grid(lower=(0, 0, 0), upper=(1, 1, 2), dx=DX))
    up = sim.mass[:, None] * torch.tensor([0.0, 0.0, 800.0])
    push = {"frame_dt": 0.02, "force": lambda x, t: up if t > 0 else 0 * up}
    with pytest.warns(UserWarning, match=r"time step was reduced to .* s, because particle"):
        state = sim.advance(sim.initial_state(), **push)
    assert torch.isfinite(state.x).all()
    with warnings.catch_warnings():  # said once
        warnings.simplefilter("error")
        sim.advance(sim.initial_state(), **push)


def test_removed_particles_are_counted_and_stay_out():
    lift = tp.Box(
        center=(0.5, 0.5, 0.5), half_size=(0.5, 0.5, 0.5), contact="sticky",
        pose=tp.moving(velocity=(0, 0, 6.0)),
    )  # fmt: skip
    x, volume = tp.sample_box((0.4, 0.4, 0.4), (0.6, 0.6, 0.8), count=500)
    body = tp.Particles(x, volume=volume, material=tp.Elastic(E=1e3, nu=0.3))
    grid = tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=DX, contact="open")
    options = {"particles": body, "grid": grid, "colliders": [lift]}
    sim = tp.MPM(outside="remove", **options)
    states = list(sim.run(frames=4, fps=48))
    counts = [int(s.removed.sum()) for s in states]
    assert counts == sorted(counts) and 0 < counts[-1] < 500
    gone = states[-2].removed
    assert torch.equal(states[-1].x[gone], states[-2].x[gone]) and not states[-1].v[gone].any()
    with pytest.raises(tp.SimulationError, match=r'particle \d+ .*left the grid.*outside="remove"'):
        list(tp.MPM(**options).run(frames=4, fps=48))


def test_stored_substeps_are_bounded_and_let_go(monkeypatch):
    sim = two_bodies(precision="f64")
    start = sim.initial_state()
    force = torch.zeros_like(start.x, requires_grad=True)
    step = {"frame_dt": 1e-3, "substeps": 5, "force": force}
    size = 6 * 25 * 8 * len(start.x)
    monkeypatch.setattr(rollout, "STORED_BYTES", 1.5 * size)
    before = rollout._Stored.bytes
    first = sim.advance(start, **step)
    assert rollout._Stored.bytes == before + size
    second = sim.advance(start, **step)  # does not fit
    assert rollout._Stored.bytes == before + size
    first.x.sum().backward()
    second.x.sum().backward()
    del first, second
    assert rollout._Stored.bytes == before
    with torch.no_grad():
        sim.advance(start, **step)
    assert rollout._Stored.bytes == before


def test_plain_callables_and_fields_are_forces():
    sim = two_bodies(gravity=(0, 0, 0), colliders=())
    start = sim.initial_state()
    step = {"frame_dt": 2e-3, "substeps": 2}
    pull = sim.mass[:, None] * torch.tensor([0.0, 0.0, 5.0])
    expected = sim.advance(start, force=pull, **step)
    for force in (lambda x, t: pull, tp.Uniform(acceleration=(0, 0, 5.0))):
        got = sim.advance(start, force=force, **step)
        torch.testing.assert_close(got.v, expected.v, rtol=0, atol=1e-5)
    drag = sim.advance(start, force=tp.Drag(air=(0, 3.0, 0), rate=2.0), **step)
    still = sim.advance(start, **step)
    gained = (sim.mass[:, None] * (drag.v - still.v)).sum(0)
    wind = torch.tensor([0, 3.0, 0]) - start.v
    torch.testing.assert_close(
        gained, (sim.mass[:, None] * wind).sum(0) * 2.0 * 2e-3, rtol=1e-2, atol=1e-4
    )


def test_colliders_are_checked():
    for bad in (3, [3], tp.Plane, [tp.Grid]):
        with pytest.raises(ValueError, match="colliders"):
            two_bodies(colliders=bad)
    with pytest.raises(ValueError, match="outside"):
        two_bodies(outside="vanish")


def resident():
    """Bytes of memory in use by this process; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


@pytest.mark.parametrize("count", [100, 70_000])
def test_free_fall_in_the_last_corner_of_the_largest_grid(count):
    """No index of a kernel leaves int32, however many chunks there are; 6 GB stay unused."""
    grid = tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=1 / 511)
    x = 0.99 - 0.02 * torch.rand(count, 3)
    body = tp.Particles(x, volume=1e-9, material=tp.Elastic(E=1e4, nu=0.2))
    before = resident()
    sim = tp.MPM(particles=body, grid=grid, precision="f32")
    state = sim.advance(sim.initial_state(), frame_dt=1e-3, substeps=2)
    assert resident() - before < 1e9 < 4 * sim._engine.nodes.numel()
    torch.testing.assert_close(state.v[:, 2], torch.full((count,), -9.81e-3), rtol=0, atol=1e-7)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited and counted as on Linux")
def test_a_grid_that_does_not_fit_into_memory():
    script = """
import resource, taichi_phys as tp
tp.init(arch="cpu", precision="f32")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 10**9,) * 2)
body = tp.Particles([[0.5, 0.5, 0.5]], material=tp.Elastic(E=1e4, nu=0.2))
tp.MPM(particles=body, grid=tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=1 / 511))
"""
    done = elsewhere(script)
    assert done.returncode == 1
    assert "ValueError: grid: got (512, 512, 512) nodes, whose" in done.stderr
    assert "expected less than the free memory" in done.stderr
