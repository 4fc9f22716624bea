"""Colliders that touch, overlap, are thin or fast, and what a simulation says of them."""

import warnings

import numpy as np
import pytest

import taichi_phys as tp
from taichi_phys.mpm.solids import top_speed


DX = 0.02
THICK = 3 * DX
UPPER = (0.76, 0.6, 0.6)


def box(lower, upper, **options):
    center, half = np.add(lower, upper) / 2, np.subtract(upper, lower) / 2
    return tp.Box(center=tuple(center), half_size=tuple(half), **options)


def tank(lower, upper, thick, **options):
    """Five boxes that share faces: a floor and four walls around the room inside."""
    (x0, y0, z0), (x1, y1, z1), w = lower, upper, thick
    return [
        box((x0 - w, y0 - w, z0 - w), (x1 + w, y1 + w, z0), **options),
        box((x0 - w, y0 - w, z0), (x0, y1 + w, z1), **options),
        box((x1, y0 - w, z0), (x1 + w, y1 + w, z1), **options),
        box((x0, y0 - w, z0), (x1, y0, z1), **options),
        box((x0, y1, z0), (x1, y1 + w, z1), **options),
    ]


def lost(sim, pose, lower, upper, frames):
    """How many particles have gone through walls: sideways below the rim, or downwards."""
    gone = np.zeros(len(sim.mass), bool)
    for state in sim.run(frames=frames, fps=24):
        R, T = pose(state.time)
        x = (state.x.cpu().double().numpy() - T) @ R
        aside = ((x < lower - DX) | (x > upper + DX))[:, :2].any(axis=1)
        gone |= (aside & (x[:, 2] < upper[2] - DX)) | (x[:, 2] < lower[2] - DX)
    return gone.sum()


def still(t):
    return np.eye(3), np.zeros(3)


def shaken(t):
    """At 3 g and 5 Hz, from rest."""
    rate, size = 2 * np.pi * 5, 3 * 9.81 / (2 * np.pi * 5) ** 2
    return np.eye(3), np.array([size * (1 - np.cos(rate * t)), 0, 0])


def oblique(t):
    a, b = 0.3, 0.4
    R = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    R = R @ np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    center = np.array([0.35, 0.3, 0.25])
    return R, center - R @ center


CASES = {  # pose, where the inner faces lie between nodes (cells), thickness (cells), floor
    "between nodes": (still, 0.5, 3, "box"),
    "on nodes": (still, 0.0, 3, "box"),
    "two cells": (still, 0.3, 2, "box"),
    "shaken": (shaken, 0.5, 3, "box"),
    "oblique": (oblique, 0.5, 3, "box"),
    "on a plane": (still, 0.5, 3, "plane"),
    "on the wall of the grid": (still, 0.5, 3, "grid"),
}


@pytest.mark.parametrize("contact", ["separate", "slip"])
@pytest.mark.parametrize("case", CASES)
def test_a_tank_of_butted_boxes_holds_water(case, contact):
    pose, shift, cells, floor = CASES[case]
    lower = np.array([0.22, 0.2, 0.14]) + shift * DX
    if floor == "grid":
        lower[2] = 3 * DX
    upper = lower + [0.2, 0.16, 0.38]  # so high that no wave comes over the rim
    moves = None if pose is still else pose
    sides = tank(lower, upper, cells * DX, contact=contact, pose=moves)
    if floor == "plane":
        sides[0] = tp.Plane(point=tuple(lower), normal=(0, 0, 1), contact=contact)
    elif floor == "grid":
        sides = sides[1:]
    room = 0.1 * DX
    top = (*(upper[:2] - room), lower[2] + 0.05)
    x, volume = tp.sample_box(tuple(lower + room), top, spacing=DX / 2)
    R, T = pose(0.0)
    water = tp.Fluid(bulk_modulus=5e4, viscosity=0.01)
    body = tp.Particles(x @ R.T + T, volume=volume, material=water)
    grid = tp.Grid(lower=(0, 0, 0), upper=UPPER, dx=DX)
    sim = tp.MPM(particles=body, grid=grid, colliders=sides)
    assert lost(sim, pose, lower, upper, frames=12) == 0


def test_shells_of_one_mesh_that_overlap_or_touch_hold_water():
    trimesh = pytest.importorskip("trimesh")
    for start in (0.35, 0.45):
        slabs = [
            trimesh.creation.box(bounds=bounds)
            for bounds in (
                [(-0.1, -0.1, 0.1), (0.45, 0.7, 0.2)],
                [(start, -0.1, 0.1), (1.0, 0.7, 0.2)],
            )
        ]
        floor = tp.Mesh(mesh=trimesh.util.concatenate(slabs))
        x, volume = tp.sample_box((0.3, 0.22, 0.205), (0.6, 0.36, 0.3), spacing=DX / 2)
        water = tp.Fluid(bulk_modulus=5e4, viscosity=0.01)
        body = tp.Particles(x, volume=volume, material=water)
        grid = tp.Grid(lower=(0, 0, 0), upper=(0.9, 0.58, 0.5), dx=DX)
        sim = tp.MPM(particles=body, grid=grid, colliders=[floor])
        *_, state = sim.run(frames=12, fps=24)
        assert (state.x[:, 2] < 0.2 - DX / 2).sum() == 0


def test_a_fast_paddle_of_two_cells_carries_what_it_meets():
    """At 20 m/s, in cells of 2 cm: one substep is short for the speed of the paddle, too."""
    x, volume = tp.sample_box((0.24, 0.25, 0.25), (0.34, 0.35, 0.35), spacing=DX / 2)
    body = tp.Particles(x, volume=volume, material=tp.Elastic(E=2e4, nu=0.3))
    paddle = tp.Box(
        center=(0.2, 0.3, 0.3),
        half_size=(DX, 0.1, 0.1),
        pose=tp.moving(velocity=(20, 0, 0)),
    )
    grid = tp.Grid(lower=(0, 0, 0), upper=UPPER, dx=DX)
    sim = tp.MPM(particles=body, grid=grid, gravity=(0, 0, 0), colliders=[paddle])
    *_, state = sim.run(frames=6, fps=400)
    assert (state.x[:, 0] < 0.2 + 20 * state.time - DX).sum() == 0
    assert state.v[:, 0].mean() > 19


def test_the_time_step_is_short_for_fast_colliders_only():
    """Not for those at rest, out of their time, or put from one place to another."""
    x, volume = tp.sample_box((0.3, 0.25, 0.25), (0.34, 0.35, 0.35), spacing=DX / 2)
    body = tp.Particles(x, volume=volume, material=tp.Elastic(E=2e4, nu=0.3))
    grid = tp.Grid(lower=(0, 0, 0), upper=UPPER, dx=DX)
    shape = {"center": (0.15, 0.3, 0.3), "half_size": (DX, 0.1, 0.1)}
    fast = tp.moving(velocity=(20, 0, 0))
    spin = tp.moving(angular_velocity=(0, 0, 100.0), center=shape["center"])

    def jump(t):
        return np.eye(3), np.array([0.0, 0, 0 if t < 0.002 else 1e3])

    speeds = {
        "still": ({}, 0.0),
        "fast": ({"pose": fast}, 20.0),
        "later": ({"pose": fast, "during": (1, 2)}, 0.0),
        "spin": ({"pose": spin}, 100 * np.hypot(DX, 0.1)),
        "jump": ({"pose": jump}, 0.0),
    }
    for name, (options, speed) in speeds.items():
        sim = tp.MPM(particles=body, grid=grid, colliders=[tp.Box(**shape, **options)])
        got = top_speed(sim.colliders, 0.0, 1 / 200, 0.8)
        assert got == pytest.approx(speed, rel=1e-6), name


def warned(colliders, x=((0.3, 0.3, 0.3),)):
    body = tp.Particles(np.array(x), volume=1e-6, material=tp.Elastic(E=1e4, nu=0.3))
    grid = tp.Grid(lower=(0, 0, 0), upper=UPPER, dx=DX)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        tp.MPM(particles=body, grid=grid, colliders=colliders)
    return [str(w.message) for w in found]


def test_thin_colliders_are_named_with_the_thickness_needed():
    flat = {"lower": (0.1, 0.1, 0.1), "upper": (0.6, 0.5, 0.12)}
    (message,) = warned([tp.Plane(point=(0, 0, 0.08), normal=(0, 0, 1)), box(**flat)])
    assert message.startswith("colliders[1]: the Box is 0.02 m thick")
    assert "at least 0.04 m" in message
    assert not warned([box(**flat, contact="sticky")])  # a clamp of one layer of nodes holds
    assert "at least 0.02 m" in warned([tp.Sphere(center=(0.1, 0.1, 0.1), radius=0.004,
                                                  contact="sticky")])[0]  # fmt: skip
    below = box((0.1, 0.1, 0.08), (0.6, 0.5, 0.1))
    assert not warned([box(**flat), below])  # together they are two cells thick
    assert warned([box(**flat, pose=tp.moving(velocity=(1, 0, 0))), below])


def test_a_mesh_that_is_thinner_than_its_samples_says_how_many_it_needs():
    trimesh = pytest.importorskip("trimesh")
    tray = trimesh.creation.box((0.356, 0.356, 0.0032))
    with pytest.warns(
        UserWarning, match=r"^cells: got 48, .* about 0\.003\d* m thick.*cells=2\d\d"
    ):
        tp.Mesh(mesh=tray)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tp.Mesh(mesh=trimesh.creation.box((0.356, 0.356, 0.04)))
        tp.Mesh(mesh=trimesh.creation.cone(0.1, 0.2))  # thin at its tip only


def test_particles_that_start_inside_a_collider_are_counted():
    x = [(0.3 + 0.01 * i, 0.3, 0.3) for i in range(20)]
    ball = {"center": (0.3, 0.3, 0.3), "radius": 0.055}
    (message,) = warned([tp.Sphere(**ball, contact="slip")], x)
    assert message.startswith("particles: 6 of 20 start inside colliders[0], a Sphere")
    assert not warned([tp.Sphere(**ball, contact="sticky")], x)
    assert not warned([tp.Sphere(**ball, during=(1, 2))], x)
    assert not warned([tp.Sphere(**ball, pose=lambda t: (np.eye(3), (0, 0.1, 0)))], x)
    assert not warned([tp.Plane(point=(0, 0, 0.301), normal=(0, 0, 1))], x)  # at its surface
