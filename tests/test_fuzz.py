"""Constructors of the simulator under bad input: only ValueErrors that name the argument."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import taichi_phys as tp
from taichi_phys.mpm.engine import SimulationError


TALL = settings(
    max_examples=150, deadline=None, database=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
SHORT = settings(TALL, max_examples=25)

numbers = st.one_of(
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 0, -1, 1e-300, 1e300, 10**400]),
    st.floats(-10, 10),
)
vectors = st.lists(numbers, min_size=0, max_size=4)
arrays = st.builds(
    lambda shape, value, kind: np.full(shape, value, dtype=kind),
    st.sampled_from([(), (0,), (3,), (2, 3), (0, 3), (3, 3), (2, 2), (1, 2, 3)]),
    st.sampled_from([0.5, float("nan"), 1.0]),
    st.sampled_from(["f4", "f8", "c8", "U3"]),
)
junk = st.one_of(
    numbers, vectors, arrays, st.none(), st.booleans(), st.text(max_size=4),
    st.just({}), st.just(object()), arrays.filter(lambda a: a.dtype.kind == "f").map(torch.tensor),
)  # fmt: skip
STATE = tp.State(
    x=torch.zeros(1, 3), v=torch.zeros(1, 3), C=torch.zeros(1, 3, 3), F=torch.zeros(1, 3, 3)
)
GOOD = {
    tp.Elastic: {"E": 1e4, "nu": 0.3},
    tp.FixedCorotated: {"E": 1e4, "nu": 0.3},
    tp.Hencky: {"E": 1e4, "nu": 0.3},
    tp.Elastoplastic: {"E": 1e4, "nu": 0.3, "yield_stress": 10.0, "hardening": 0.0},
    tp.Viscoplastic: {"E": 1e4, "nu": 0.3, "yield_stress": 10.0, "viscosity": 1.0},
    tp.HerschelBulkley: {
        "E": 1e4, "nu": 0.3, "yield_stress": 10.0, "viscosity": 1.0, "exponent": 0.5,
    },
    tp.Sand: {"E": 1e4, "nu": 0.3, "friction_angle": 30.0, "cohesion": 0.0},
    tp.Fluid: {"bulk_modulus": 1e4, "viscosity": 0.0, "gamma": 7.0},
    tp.Grid: {
        "lower": (0, 0, 0), "upper": (1, 1, 1), "dx": 0.1, "contact": "slip", "friction": 0.1,
    },
    tp.Particles: {
        "x": [[0.5, 0.5, 0.5]], "v": [[0, 0, 0]], "density": 1.0, "volume": 1.0,
        "material": tp.Elastic(E=1.0, nu=0.3),
    },
    tp.Plane: {"point": (0, 0, 0), "normal": (0, 0, 1), "contact": "slip", "friction": 0.1},
    tp.Box: {"center": (0, 0, 0), "half_size": (1, 1, 1), "pose": None, "during": (0, 1)},
    tp.Sphere: {"center": (0, 0, 0), "radius": 1.0, "contact": "sticky"},
    tp.Capsule: {"start": (0, 0, 0), "end": (0, 0, 1), "radius": 1.0},
    tp.Mesh: {"mesh": "nowhere.stl", "cells": 8},
    tp.moving: {"velocity": (0, 0, 1), "angular_velocity": (0, 0, 1), "center": (0, 0, 0)},
    tp.Uniform: {"acceleration": (0, 0, 1)},
    tp.Drag: {"air": (0, 0, 1), "rate": 1.0, "quadratic": 0.0},
    tp.Vortex: {"center": (0, 0, 0), "axis": (0, 0, 1), "strength": 1.0, "radius": 1.0},
    tp.Noise: {"scale": 1.0, "speed": 1.0, "time_scale": 1.0, "seed": 0, "modes": 4},
    tp.sample_box: {"lower": (0, 0, 0), "upper": (1, 1, 1), "count": 50, "seed": 0},
    tp.sample_sphere: {"center": (0, 0, 0), "radius": 1.0, "spacing": 0.4, "pattern": "lattice"},
    tp.sample_cloud: {"points": np.random.default_rng(0).random((200, 3)), "spacing": 0.3},
    tp.sample_mesh: {"mesh": "nowhere.stl", "spacing": 0.1, "thickness": None},
    tp.preset: {"name": "jelly"},
    tp.save_state: {"path": "state.npz", "state": STATE},
    tp.load_state: {"path": "nowhere.npz"},
    tp.read_frames: {"folder": "nowhere"},
}  # fmt: skip


def names_in(call, wrong):
    """What the error may call the wrong argument: it, or a field that depends on it."""
    related = {"lower": ("upper", "grid"), "upper": ("grid", "lower"), "dx": ("grid",),
               "start": ("end",), "spacing": ("count",), "count": ("spacing",)}  # fmt: skip
    names = {wrong, *related.get(wrong, ())}
    return names | ({"spacing", "count"} & set(inspect.signature(call).parameters))


@pytest.mark.filterwarnings("error:Casting complex")
@pytest.mark.parametrize("call", GOOD, ids=lambda c: c.__name__)
def test_one_bad_argument(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = GOOD[call]

    @TALL
    @given(wrong=st.sampled_from(sorted(good)), value=junk)
    def check(wrong, value):
        try:
            call(**{**good, wrong: value})
        except ValueError as error:
            text = str(error)
            files = {"file", "mesh", "path", "folder", "No such", "a name ending in", "frames.json"}
            fields = names_in(call, wrong) | files
            assert any(name in text for name in fields), (wrong, value, text)

    check()


def test_unknown_arguments():
    for call, good in GOOD.items():
        if call is tp.save_state:  # what else it is given it saves
            continue
        with pytest.raises(TypeError, match="elasticity_of_cheese"):
            call(**good, elasticity_of_cheese=1)


@pytest.fixture(scope="module")
def small():
    x, volume = tp.sample_box((0.4, 0.4, 0.4), (0.6, 0.6, 0.6), count=60)
    body = tp.Particles(x, volume=volume, material=tp.Elastic(E=1e3, nu=0.3))
    grid = tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=1 / 12)
    return tp.MPM(particles=body, grid=grid)


OPTIONS = ("particles", "grid", "gravity", "colliders", "outside", "cfl", "precision")


@SHORT
@given(wrong=st.sampled_from(OPTIONS), value=junk)
def test_simulators(small, wrong, value):
    good = {"particles": small.bodies, "grid": small.grid}
    try:
        tp.MPM(**{**good, wrong: value})
    except ValueError as error:
        assert wrong in str(error), (wrong, value, error)


@SHORT
@given(
    wrong=st.sampled_from(["frame_dt", "substeps", "force", "x", "v", "C", "F", "plastic"]),
    value=junk,
)
def test_frames(small, wrong, value):
    """Huge steps and states that are no numbers end in a sentence too."""
    state, options = small.initial_state(), {"frame_dt": 1e-3, "substeps": 2}
    try:
        if wrong in ("frame_dt", "substeps", "force"):
            small.advance(state, **{**options, wrong: value})
        else:
            small.advance(state.replace(**{wrong: value}), **options)
    except ValueError as error:
        assert wrong in str(error), (wrong, value, error)
    except SimulationError as error:
        assert "particle" in str(error)
