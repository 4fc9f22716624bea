"""Stages for tests of the viewer, and hands on them."""

import time
from pathlib import Path

import numpy as np

import taichi_phys as tp
from renderers.viewer.live import Live
from renderers.viewer.screen import Screen
from renderers.viewer.session import Session
from renderers.viewer.stage import Stage


SIZE = {"width": 640, "height": 360}
FPS = 24.0
SCENE = """
title = "A box above a ball"
[grid]
lower = [0, 0, 0]
upper = [1, 1, 1]
dx = 0.05
[[body]]
shape = "box"
lower = [0.4, 0.4, 0.5]
upper = [0.6, 0.6, 0.7]
spacing = 0.03
material = "jelly"
[[collider]]
shape = "sphere"
center = [0.5, 0.5, 0.1]
radius = 0.1
"""


def block(material=None, count=400, gravity=(0, 0, 0), **options) -> Live:
    """A cube of jelly in the middle of a room."""
    material = material or tp.Elastoplastic(E=2e4, nu=0.3, yield_stress=1e6)

    def make():
        x, volume = tp.sample_box((0.35, 0.35, 0.35), (0.65, 0.65, 0.65), count=count)
        return tp.MPM(
            particles=tp.Particles(x, volume=volume, material=material),
            grid=tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=1 / 16),
            gravity=gravity, colliders=[tp.Plane(point=(0, 0, 0.2), normal=(0, 0, 1))],
        ), None  # fmt: skip

    stage = Live(make, title="block", **options)
    stage.ready()
    return stage


def on_screen(stage: Stage, out: str | Path, clock=time.monotonic, **size) -> Screen:
    """The stage under mouse and keys."""
    return Screen(Session(stage, clock=clock), out=out, **(SIZE | size))


def control(stage: Stage, name: str):
    """The control whose name begins so."""
    found = [c for c in stage.controls() if c.name.startswith(name)]
    assert found, [c.name for c in stage.controls()]
    return found[0]


def center(stage: Live) -> np.ndarray:
    """(3,) m: the middle of the particles."""
    return stage.playground.state.x.mean(0).double().cpu().numpy()


def pixel(screen: Screen, point) -> np.ndarray:
    """(2,) px of a point (3,) m."""
    return screen.camera().project(np.asarray(point, float))[0]
