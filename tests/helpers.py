"""What several tests share: one list of each family of the simulator, and patience.

A new material, force field, flow of air or collider is tested by being put into its list here;
test_helpers.py fails until it is. Stages are listed in test_view.py.
"""

import contextlib
import importlib
import pkgutil
import signal
import subprocess
import time

import numpy as np
import pytest
import torch

import taichi_phys as tp
from taichi_phys.bridge.causal_triplane import CausalTriplane
from taichi_phys.geometry.signed_distance import SignedDistance
from taichi_phys.scenes.parts import During


# On a GPU particles add to the grid in any order, so that bits differ from run to run.
same_bits = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU does not repeat its bits")

PATIENCE = 900.0  # s that a process may take on the slowest and busiest machine; ends a hang only
# For programs whose kernels run for less time than the optimizations of Taichi take. Kernels that
# Taichi differentiates need these.
QUICK = {"TI_ADVANCED_OPTIMIZATION": "0"}


def wait_for(condition, process=None, pause=0.05):
    """Return what condition() gives as soon as that is true; a process must be alive till then."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert process is None or process.poll() is None, "the process has ended"
        assert time.monotonic() < end, "nothing happened"
        time.sleep(pause)
    return found


def kinds_of(base, *packages):
    """All kinds in these packages that derive from base; tests derive some of their own."""
    packages = packages or (tp,)
    for package in packages:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    inside, waiting = {package.__name__ for package in packages}, [base]
    while waiting:
        derived = waiting.pop().__subclasses__()
        waiting += derived
        yield from (kind for kind in derived if kind.__module__.split(".")[0] in inside)


def interrupt(process):
    """Press Ctrl-C until the process has ended.

    Once may not do: Python drops an interrupt that comes while it collects garbage. What is being
    put away after the first is left time for that.
    """

    def ended():
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        return process.poll() is not None

    wait_for(ended)


E, NU, YIELD, VISCOSITY = 1e4, 0.3, 150.0, 5.0
SOLID = {"E": E, "nu": NU}
PLASTIC = {**SOLID, "yield_stress": YIELD}
MATERIALS = {  # by the name under which a scene file knows them
    "elastic": tp.Elastic(**SOLID),
    "fixed_corotated": tp.FixedCorotated(**SOLID),
    "hencky": tp.Hencky(**SOLID),
    "elastoplastic": tp.Elastoplastic(**PLASTIC),
    "viscoplastic": tp.Viscoplastic(**PLASTIC, viscosity=VISCOSITY),
    "herschel_bulkley": tp.HerschelBulkley(**PLASTIC, viscosity=VISCOSITY, exponent=0.5),
    "sand": tp.Sand(**SOLID, friction_angle=30.0, cohesion=50.0),
    "fluid": tp.Fluid(bulk_modulus=E, viscosity=VISCOSITY),
    "snow": tp.Snow(**SOLID),
}

VORTEX = tp.Vortex(center=(0.1, -0.2, 0.3), axis=(1, 2, -2), strength=0.7, radius=0.25)
NOISE = tp.Noise(scale=0.5, speed=2.0, time_scale=3.0, seed=4)


def turning_air() -> tp.SampledAir:
    """Air that turns as a whole, ever faster, on a grid of 5^3 points."""
    axis = np.linspace(-3, 3, 5)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    t = np.array([0.0, 0.5, 1.0])
    values = np.multiply.outer(1 + t, np.cross((0.3, -1.0, 0.5), points))
    return tp.SampledAir(lower=np.full(3, -3.0), spacing=1.5, values=values, t=t)


AIR = {
    "vortex": VORTEX,
    "noise": NOISE,
    "sampled": turning_air(),
    "sum": VORTEX + NOISE + (1, 2, 3),
}


def ball_samples(center, radius, spacing=0.05, n=41):
    """The signed distance of a ball, sampled on a lattice around it."""
    lower = np.array(center) - spacing * (n - 1) / 2
    i = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1)
    values = np.linalg.norm(lower + spacing * i - center, axis=-1) - radius
    return SignedDistance(lower=tuple(lower), spacing=spacing, values=values)


def triplane():
    """A field of random planes, in f64."""
    field = CausalTriplane(lower=(-4, -4, -4), upper=(4, 4, 4), steps=1, resolution=4).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in field.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return field


def recorded() -> tp.RecordedForce:
    """Of 30 particles that fly apart, in three frames."""
    rng = np.random.default_rng(0)
    x, acceleration = rng.uniform(-1, 1, (2, 30, 3))
    t = np.array([0.0, 0.4, 1.0])
    return tp.RecordedForce(
        t=t, x=np.multiply.outer(1 + t, x), acceleration=np.multiply.outer(2 - t, acceleration)
    )


FORCES = {
    "uniform": tp.Uniform(acceleration=(1, 2, 3)),
    "shared": tp.Uniform(force=(1, 2, 3)),
    "drag": tp.Drag(air=(3, 0, 1), rate=0.5),
    "quadratic": tp.Drag(air=VORTEX, rate=0.2, quadratic=0.3),
    "acceleration": tp.Acceleration(field=VORTEX, scale=-2.0),
    "noise": tp.Drag(air=NOISE + (1, 0, 0), rate=0.5),
    "triplane": tp.Triplane(field=triplane()),
    "during": During(tp.Drag(air=(3, 0, 1), rate=0.5), (0.2, 0.6)),
    "recorded": recorded(),
    "total": tp.Uniform(acceleration=(1, 2, 3)) + tp.Drag(air=VORTEX, rate=0.2),
}

COLLIDERS = {  # kind and what makes it
    "plane": (tp.Plane, {"point": (0.7, 0.4, 0.6), "normal": (2, -1, 2)}),
    "box": (tp.Box, {"center": (0.6, 0.5, 0.7), "half_size": (0.2, 0.3, 0.4)}),
    "sphere": (tp.Sphere, {"center": (0.6, 0.5, 0.7), "radius": 0.4}),
    "capsule": (tp.Capsule, {"start": (0.3, 0.5, 0.4), "end": (0.9, 0.6, 0.7), "radius": 0.25}),
    "mesh": (tp.Mesh, {"mesh": ball_samples((0.6, 0.5, 0.7), 0.4)}),
}
