"""Which force explains the motion, by tracks that no fit saw."""

import dataclasses
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from test_smoother import FPS, block_solver, falling
from threadpoolctl import threadpool_limits

from inverse.wind.config import WindConfig
from inverse.wind.forces.compare import (
    Explained,
    HeldOut,
    compare_forces,
    hold_out,
    hopes_for_uniform,
    misses,
    misses_of_steady_spin,
    uniform_motion,
)
from renderers.orbit import look_at


FRAMES = 10
CAMERA = look_at((0.15, -1.2, 0.1), (0.15, 0.1, 0.1), width=200, height=200, fov=40)


def gust(x, t):
    turn = 8 * t
    return torch.tensor([3 * np.cos(turn), 2.0, 3 * np.sin(turn)]).to(x).expand_as(x)


def moved(field, spin=0.0):
    """A solver, and the motion of a block under a force per mass; spin: 1/s, of frame 0."""
    sim = block_solver(falling(FRAMES, (4.0, 4.0, 4.0))).sim
    start = sim.initial_state()
    arms = start.x - start.x.mean(dim=0)
    axis = torch.tensor([0.0, spin, 0.0]).to(arms).expand_as(arms)
    states, mass = [start.replace(v=torch.linalg.cross(axis, arms))], sim.mass[:, None]
    for k in range(FRAMES - 1):
        force = lambda x, t: mass * field(x, t)  # noqa: E731
        assert states[-1].time == pytest.approx(k / FPS)
        states.append(sim.advance(states[-1], frame_dt=1 / FPS, force=force))
    x, F = (torch.stack([getattr(s, name) for s in states]).detach() for name in ("x", "F"))
    return block_solver(x.double().numpy(), WindConfig(iterations=6)), x, F


def explained(field, spin=0.0, noise=0.2):
    solver, x, F = moved(field, spin)
    rng = np.random.default_rng(0)
    some = rng.permutation(96)[:24]
    inputs = SimpleNamespace(cameras=[[CAMERA] * FRAMES])
    xy = np.stack([CAMERA.project(place)[0] for place in x[:, some].double().numpy()])
    held_out = HeldOut(
        points=x[0, some].double().numpy(), xy=xy + noise * rng.normal(size=xy.shape),
        seen=np.ones(xy.shape[:2], dtype=bool),
    )  # fmt: skip
    with threadpool_limits(1):
        uniform = uniform_motion(solver, np.zeros(96, dtype=bool))
    own = misses(held_out, inputs, x, F)
    other = None if uniform is None else misses(held_out, inputs, uniform.x, uniform.F)
    return compare_forces("free", own, other)


@pytest.mark.parametrize("spin", [0.0, 3.0])
def test_a_uniform_force_is_enough_where_it_was_one(spin):
    """A gust that turns; also on a body that spins all the time."""
    found = explained(gust, spin)
    assert found.enough and found.uniform_px < 0.5
    assert "explains the motion as well" in found.sentence


def test_a_uniform_force_is_not_enough_where_it_was_none():
    """A twist that sets the body spinning, which no uniform force does."""

    def twist(x, t):
        arms = x - torch.tensor([0.15, 0.1, 0.1]).to(x)
        return torch.linalg.cross(torch.tensor([0.0, 4.0, 0.0]).to(x).expand_as(x), arms)

    found = explained(twist)
    assert not found.enough
    assert "does not explain the motion" in found.sentence


def test_points_are_held_out_between_the_keypoints():
    """A textured square that goes to the right by a pixel a frame."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.normal(size=(80, 80, 3)), (0, 0), 1.5)
    texture = np.clip(128 + 300 * texture, 0, 255).astype(np.uint8)
    video = np.full((5, 120, 120, 3), 90, dtype=np.uint8)
    for k in range(5):
        video[k, 20:100, 15 + k : 95 + k] = texture
    mask = np.zeros((120, 120), dtype=bool)
    mask[20:100, 15:95] = True
    camera = look_at((0, 0, -2), (0, 0, 0), up=(0, -1, 0), width=120, height=120, fov=40)
    inputs = SimpleNamespace(
        mask=mask, depth=np.where(mask, 2.0, np.nan), videos=[video], cameras=[[camera] * 5]
    )
    keypoints = np.stack(np.meshgrid(np.arange(20, 95, 8.0), np.arange(24, 100, 8.0)), -1)
    keypoints = keypoints.reshape(-1, 2)
    held_out = hold_out(inputs, keypoints)
    assert len(held_out.points) >= 8
    assert hold_out(inputs, keypoints, by="outline") is None  # points lead elsewhere
    apart = np.linalg.norm(held_out.xy[0][:, None] - keypoints, axis=-1).min(axis=1)
    assert apart.min() > 2.0
    went = held_out.xy[4] - held_out.xy[0]
    np.testing.assert_allclose(np.median(went, axis=0), [4, 0], atol=0.05)
    again = camera.project(held_out.points)[0]
    np.testing.assert_allclose(again, held_out.xy[0], atol=1e-6)
    still = torch.as_tensor(held_out.points).float()[None].expand(5, -1, -1)
    F = torch.eye(3).expand(5, still.shape[1], 3, 3)
    assert np.median(misses(held_out, inputs, still, F)) == pytest.approx(2.5, abs=0.1)


def test_what_differs_by_chance_alone_is_the_same():
    rng = np.random.default_rng(1)
    own = 0.6 + 0.2 * rng.random(30)
    same = compare_forces("free", own, own + 0.3 * rng.normal(size=30))
    assert same.enough
    assert not compare_forces("free", own, own + 0.4).enough
    none = compare_forces("wind", own, None)
    assert not none.enough and "none moves the object so" in none.sentence
    assert dataclasses.asdict(none).items() <= none.record().items()
    assert isinstance(none, Explained)


@pytest.mark.parametrize("spin", [0.0, 2.0])
def test_a_uniform_force_is_hoped_for_where_it_was_one(spin):
    solver, x, _ = moved(gust, spin)
    inputs = SimpleNamespace(cameras=[[CAMERA] * FRAMES])
    mass = solver.sim.mass.double().numpy()
    assert misses_of_steady_spin(inputs, x.double().numpy(), mass) < 0.3
    assert hopes_for_uniform(np.full(8, 0.1), inputs, solver)


def test_no_uniform_force_is_hoped_for_where_a_torque_turns_the_object():
    """It is wanted for a point that misses little, and not for one that misses all."""

    def torque(x, t):
        arms = x - x.mean(dim=0)
        axis = torch.tensor([0.0, 90.0 * np.cos(9 * t), 0.0]).to(x).expand_as(x)
        return torch.linalg.cross(axis, arms)

    solver, x, _ = moved(torque)
    inputs = SimpleNamespace(cameras=[[CAMERA] * FRAMES])
    mass = solver.sim.mass.double().numpy()
    missed = misses_of_steady_spin(inputs, x.double().numpy(), mass)
    # The turn of the targets, as seen: the rotation that takes frame 0 to each frame.
    arms = x.double().numpy() - x.double().numpy().mean(axis=1, keepdims=True)
    angle = np.unwrap([np.arctan2(*turn) for turn in _turns(arms)])
    steady = np.polyval(np.polyfit(np.arange(FRAMES), angle, 1), np.arange(FRAMES))
    radius = np.sqrt((arms[0][:, [0, 2]] ** 2).sum(axis=1).mean())
    pixels = np.sqrt(((angle - steady) ** 2).mean()) * radius * CAMERA.fx / 1.3
    assert missed == pytest.approx(pixels, rel=0.3)
    assert not hopes_for_uniform(np.full(8, missed / 4), inputs, solver)
    assert hopes_for_uniform(np.full(8, missed), inputs, solver)


def _turns(arms):
    """Sine and cosine of the turn about y of each frame."""
    first, later = arms[0][:, [0, 2]], arms[:, :, [0, 2]]
    sine = (first[:, 1] * later[..., 0] - first[:, 0] * later[..., 1]).sum(axis=1)
    return np.stack([sine, (first * later).sum(axis=(1, 2))], axis=1)
