"""Sheets that are held: what a clip shows of the force on them, and what it does not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from inverse.wind.confidence import accelerations, taut_spread
from inverse.wind.solver import WindResult
from inverse.wind.taut import edge_normals, find_taut, hidden, with_weight


G = np.array([0.0, 0.0, -9.81])
FPS, DX = 60.0, 0.04
MASS = np.full(520, 0.01)  # kg, of the particles of the sheet


def swinging(wind=0.0, frames=40, length=0.5):
    """A flat sheet that hangs from its top edge, turns about that under gravity and a force per
    mass across itself, m/s^2: x (T, n, 3), held (n,), across (T, 3), acceleration (T, 3)."""
    angle, rate, angles, step = 0.5, 0.0, [], 1e-4
    for k in range(int(frames / FPS / step) + 1):
        if k % int(1 / FPS / step) == 0:
            angles.append(angle)
        # All of it turns as one: its middle at half of its length, its moment a third.
        rate += step * 1.5 / length * (-9.81 * np.sin(angle) + wind)
        angle += step * rate
    angles = np.array(angles[:frames])
    u, s = np.meshgrid(np.arange(0, 0.4, DX / 2), np.arange(0, length + 1e-9, DX / 2))
    u, s = u.ravel(), s.ravel()
    down = np.stack([0 * angles, np.sin(angles), -np.cos(angles)], axis=1)
    across = np.stack([0 * angles, np.cos(angles), np.sin(angles)], axis=1)
    x = u[:, None] * [1.0, 0, 0] + s[:, None] * down[:, None]
    return x, s < DX / 4, across, accelerations(x.mean(axis=1), FPS)


def test_normals_are_those_of_the_sheet_where_it_leaves_what_holds_it():
    x, held, across, _ = swinging()
    cosine = np.abs(np.einsum("tei,ti->te", edge_normals(x, held, DX), across))
    np.testing.assert_allclose(cosine, 1, atol=1e-9)
    # What lies far from the edge says nothing.
    bent = x.copy()
    low = x[0, :, 2] < x[0, :, 2].min() / 2
    bent[1:, low] += np.linspace(0, 0.1, low.sum())[:, None]
    cosine = np.abs(np.einsum("tei,ti->te", edge_normals(bent, held, DX), across))
    np.testing.assert_allclose(cosine, 1, atol=1e-9)


def test_across_itself_a_sheet_shows_the_wind_and_along_itself_gravity_is_presumed():
    """What turns stiffly pushes its pivot across itself; a sheet is as masses on threads."""
    x, held, across, _ = swinging()
    along = np.cross(across, [1.0, 0, 0])
    shown = np.einsum("tj,j,ti->ti", across, G, across) + 3 * across
    found = find_taut(x, MASS, held, shown + 5 * along, G, DX)  # a pull along the sheet
    np.testing.assert_allclose(found.likeliest, G + 3 * across, atol=1e-6)
    np.testing.assert_allclose(found.pull, 0, atol=1e-9)  # it hangs


def streaming(waves=0.0, both=False, frames=12):
    """A flag in the plane of x and z, held at x = 0, or at both of its ends: x (T, n, 3), held."""
    u, z = np.meshgrid(np.arange(0, 0.5, DX / 2), np.arange(0, 0.4, DX / 2))
    u, z = u.ravel(), z.ravel()
    t = np.arange(frames)[:, None] / FPS
    y = waves * np.sin(8 * u) * np.sin(20 * u - 25 * t)
    x = np.stack([u + 0 * y, y, z + 0 * y], axis=2)
    return x, (u < DX / 4) | (both & (u > 0.5 - DX / 4 * 3))


def test_a_flag_is_held_out_beside_its_weight_by_a_pull_away_from_its_pole():
    x, held = streaming()
    mass = np.full(x.shape[1], 0.01)
    found = find_taut(x, mass, held, np.zeros((len(x), 3)), G, DX)
    np.testing.assert_allclose(found.likeliest, np.tile([9.81, 0, -9.81], (len(x), 1)), atol=1e-6)
    x, held = streaming(both=True)  # a banner between two poles is not pulled to one side
    found = find_taut(x, mass, held, np.zeros((len(x), 3)), G, DX)
    assert np.abs(found.pull).max() < 1


def test_what_is_not_parallel_to_the_edge_of_a_sheet_is_pressed_along_that():
    known = []
    for waves in (0.0, 0.01, 0.02):
        x, held = streaming(waves)
        taut = find_taut(x, np.full(x.shape[1], 0.01), held, np.zeros((len(x), 3)), G, DX)
        known.append(hidden(taut, x, held, G, FPS, DX) - 0.25 * taut.pull**2)
    np.testing.assert_allclose(known[0], 0, atol=1e-9)  # flat: air presses across it only
    assert (known[2][:, 0] > 8 * known[1][:, 0]).all() and (known[1][:, 0] > 0).all()


def spread_of(force, x, held, acceleration):
    tracked = SimpleNamespace(
        targets=x, confidence=np.ones(x.shape[:2]), noise=np.zeros(len(x)),
        sampled=np.arange(5), shifts=np.zeros((2, len(x), 5, 3)),
    )  # fmt: skip
    pushed = acceleration - force.sum(axis=1) / MASS.sum()
    supports = SimpleNamespace(held=held, impacts=())
    return taut_spread(tracked, supports, force, MASS, pushed, FPS, G, DX)


def test_what_a_sheet_carries_along_itself_is_not_known():
    x, held, across, acceleration = swinging(frames=20)
    shown = np.einsum("ti,ti,tj->tj", acceleration, across, across)
    force = MASS[:, None] * shown[:, None]  # nothing along the sheet, as of a taut one
    spread = spread_of(force, x, held, acceleration)
    along = np.cross(across, [1.0, 0, 0])
    lacks = np.abs(along @ G)  # the weight
    assert (np.linalg.norm(spread.net, axis=1) > 0.99 * lacks).all()
    assert (spread.part >= spread.net[:, None] * (1 - 1e-9)).all()
    # With the weight in the force, less is open.
    weighed = force + MASS[:, None] * ((along @ G)[:, None] * along)[:, None]
    less = spread_of(weighed, x, held, acceleration)
    assert (np.linalg.norm(less.net, axis=1) < 0.6 * np.linalg.norm(spread.net, axis=1)).all()


@pytest.mark.parametrize("bent", [0.0, 1.0])  # m/s^2, by which the sheet pushes across itself
def test_the_weight_along_a_sheet_is_added_and_its_support_carries_it(bent):
    x, held, across, _ = swinging(frames=12)
    middle = 0.5 * (across[1:] + across[:-1])
    shown = 2 * middle
    v = np.zeros_like(x)
    v[1:] = np.cumsum(shown / FPS, axis=0)[:, None]
    mass = torch.as_tensor(MASS)
    result = WindResult(
        x=torch.as_tensor(x), v=torch.as_tensor(v), F=torch.zeros(0), loss=[], fields=[],
        force=mass[:, None] * torch.as_tensor(shown + bent * middle)[:, None].expand(-1, 520, 3),
    )  # fmt: skip
    found = with_weight(result, x, mass, held, tuple(G), FPS, DX)
    along = np.cross(middle, [1.0, 0, 0])
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    added = (found.force.sum(dim=1) - result.force.sum(dim=1)).numpy() / MASS.sum()
    np.testing.assert_allclose(added, (along @ G)[:, None] * along, atol=1e-6)
    again = with_weight(found, x, mass, held, tuple(G), FPS, DX)
    np.testing.assert_allclose(again.force, found.force, atol=1e-9)
