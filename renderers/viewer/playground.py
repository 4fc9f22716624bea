"""A simulation that is changed while it runs: pushed, blown at, made of another material."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch

import taichi_phys as tp
from renderers.camera import Camera
from renderers.lines import Vector
from renderers.orbit import outward
from renderers.viewer.snapshot import Arrows


GRAB = 0.35  # of the body's size: how far around the picked point a push is felt
NEAR = 14  # px from a particle at which the mouse still picks it, at 720 rows
DRAG_RATE = 2.0  # 1/s of the breeze
ARROW = (0.0, 60.0)  # m/s^2: colors of the push
NOTHING = tp.Uniform(acceleration=(0.0, 0.0, 0.0))  # makes a force field of what is added to it
Force = tp.ForceField | Callable[[torch.Tensor, float], torch.Tensor]


class Pull(tp.ForceField):
    """The push of a mouse: a body is held around a place, and pulled to where the mouse is.

    weight: (n,) from 0 to 1, how firmly each particle is held; size: m, of the body; strength:
    m/s^2 that the whole body would get if it was pulled by its own size; camera, pixel: where the
    mouse is; x: (n, 3) m.
    """

    def __init__(
        self, weight: torch.Tensor, size: float, strength: float, camera: Camera,
        pixel: Vector, x: torch.Tensor,
    ):  # fmt: skip
        self.weight, self.size, self.strength = weight, size, strength
        held = self.held(x)
        uv, depth = camera.project(held)
        self._depth = np.float64(depth)
        self._offset = uv - pixel  # nothing is pushed before the mouse moves
        self.follow(camera, pixel)

    def follow(self, camera: Camera, pixel: Vector) -> None:
        """The mouse moved to a pixel (2,)."""
        self.target = camera.unproject(np.add(pixel, self._offset), self._depth)

    def held(self, x: torch.Tensor) -> np.ndarray:
        """(3,) m: the middle of what is held."""
        return (self.weight / self.weight.sum() @ x).double().cpu().numpy()

    def reach(self, x: torch.Tensor) -> np.ndarray:
        """(3,) m: from there to where the mouse is, at most twice the size of the body."""
        arm = self.target - self.held(x)
        return arm * min(1.0, 2 * self.size / max(float(np.linalg.norm(arm)), 1e-12))

    def arrow(self, x: torch.Tensor) -> Arrows | None:
        """What shows it."""
        held, reach = self.held(x), self.reach(x)
        ends = np.stack([held, held + reach])[None]
        strengths = self.strength / self.size * np.linalg.norm(reach[None], axis=1)
        return Arrows(ends=ends, strengths=strengths, limits=ARROW) if strengths.any() else None

    def __call__(
        self, x: torch.Tensor, t: float, v: torch.Tensor, mass: torch.Tensor
    ) -> torch.Tensor:
        """(n, 3) N, shared out by the mass that is held."""
        share = self.weight * mass
        force = mass.sum() * self.strength * torch.as_tensor(self.reach(x)).to(x) / self.size
        return (share / share.sum())[:, None] * force


class Playground:
    """A simulation and all that acts on it.

    sim: what is simulated; given: a force on it, or None; up: (3,), where it has no gravity;
    material: name of the preset it is made of.
    """

    def __init__(self, sim: tp.MPM, given: Force | None, *, up: Vector, material: str):
        self.sim, self.given, self.material = sim, given, material
        self.state = self.start = sim.initial_state()
        x = self.state.x
        self.size = float((x.amax(0) - x.amin(0)).max())
        volume = float(sim.volume.double().mean())
        self.radius = 1.1 * (3 * volume / (4 * math.pi)) ** (1 / 3)
        counts = torch.tensor([len(b) for b in sim.bodies])
        self.owner = torch.repeat_interleave(torch.arange(len(counts)), counts).numpy()
        strong = self.gravity()
        self.down = sim.gravity.cpu().numpy() / strong if strong else -np.asarray(up, float)
        self.body, self.gain, self.push = 0, 1.0, 20.0
        self.wind_speed, self.wind_azimuth, self.wind_elevation = 0.0, 0.0, 0.0
        self.pull: Pull | None = None

    def advance(self, dt: float) -> None:
        """Go on by dt s. Raises tp.SimulationError, and stays where it was."""
        self.state = self.sim.advance(self.state, frame_dt=dt, force=self.forces()).detach()

    def reset(self) -> None:
        """Back to the start."""
        self.state, self.pull = self.start, None

    def present(self) -> np.ndarray:
        """(n,) bool: the particles that did not leave the grid."""
        return ~self.state.removed.cpu().numpy()

    # Forces

    def forces(self) -> torch.Tensor:
        """(n, 3) N on the particles now, beside gravity."""
        state = self.state
        now = state.x, state.time, state.v, self.sim.mass
        force = torch.zeros_like(state.x)
        if self.given is not None and self.gain:
            force = force + self.gain * (NOTHING + self.given)(*now)
        if self.wind_speed:
            force = force + tp.Drag(air=tuple(self.wind().tolist()), rate=DRAG_RATE)(*now)
        if self.pull is not None:
            self.pull.strength = self.push
            force = force + self.pull(*now)
        return force

    def wind(self) -> np.ndarray:
        """(3,) m/s: velocity of the wind of the sliders."""
        # at 0 degrees it blows along -x, where z is up
        return self.wind_speed * outward(self.wind_azimuth - 90, self.wind_elevation, -self.down)

    def grab(self, camera: Camera, pixel: Vector) -> bool:
        """Hold the body at a pixel (2,); whether there is one."""
        x, here = self.state.x.double().cpu().numpy(), self.present()
        uv, depth = camera.project(x)
        off = np.where((depth > 0) & here, np.linalg.norm(uv - pixel, axis=1), np.inf)
        near = np.maximum(NEAR * camera.height / 720, camera.fy * self.radius / depth.clip(1e-9))
        hit = np.flatnonzero(off < near)
        if not len(hit):
            return False
        picked = hit[depth[hit].argmin()]
        far = np.linalg.norm(x - x[picked], axis=1) / (GRAB * self.size)
        weight = np.where(far < 1, (1 - far**2) ** 2, 0)
        weight[(self.owner != self.owner[picked]) | ~here] = 0
        held = torch.as_tensor(weight).to(self.state.x)
        self.pull = Pull(held, self.size, self.push, camera, pixel, self.state.x)
        return True

    # What can be changed

    def gravity(self) -> float:
        """m/s^2."""
        return float(torch.linalg.vector_norm(self.sim.gravity.double()))

    def set_gravity(self, value: float) -> None:
        """Change its strength, m/s^2."""
        self.sim.gravity = tuple(float(value) * self.down)

    def parameter(self, name: str) -> float:
        """Mean value of a parameter of the chosen body's material."""
        value = getattr(self.sim.bodies[self.body].material, name)
        return float(torch.as_tensor(value).double().mean())

    def set_parameter(self, name: str, value: float | torch.Tensor) -> None:
        """Change a parameter; what differs from particle to particle keeps its proportions.

        Raises ValueError.
        """
        body = self.sim.bodies[self.body]
        old = getattr(body.material, name)
        if isinstance(old, torch.Tensor):
            value = old * (value / self.parameter(name)) if self.parameter(name) else old + value
        material = dataclasses.replace(body.material, **{name: value})
        self.sim.bodies[self.body] = dataclasses.replace(body, material=material)

    def set_material(self, name: str) -> None:
        """Make the chosen body of a preset material where it is, as it is."""
        material, density = tp.preset(name)
        bodies = list(self.sim.bodies)
        body = dataclasses.replace(bodies[self.body], material=material, density=density)
        bodies[self.body] = body
        self.sim = self.sim.replace(particles=bodies)
        assert self.state.plastic is not None
        plastic = self.state.plastic.clone()
        plastic[torch.as_tensor(self.owner == self.body)] = 0
        self.state, self.start = self.state.replace(plastic=plastic), self.sim.initial_state()
        self.material = name


def body_simulation(
    x: np.ndarray, volume: np.ndarray, *, up: Vector, material: str,
    room: np.ndarray | None = None, gravity: float = 9.81,
) -> tp.MPM:  # fmt: skip
    """A body of a preset material in a box.

    x: (n, 3) m; volume: (n,) m^3; up: (3,); room: corners (2, 3) m of the box, default: free on
    all sides, with a short fall to the floor; gravity: m/s^2.
    """
    law, density = tp.preset(material)
    dx = 2 * float(volume.mean()) ** (1 / 3)
    lower, upper, up = x.min(axis=0), x.max(axis=0), np.asarray(up, float)
    if room is None:
        size = float((upper - lower).max())
        lower = lower - size * np.select([up > 0.5, up < -0.5], [0.15, 0.8], 1.0)
        upper = upper + size * np.select([up < -0.5, up > 0.5], [0.15, 0.8], 1.0)
    else:
        lower, upper = np.minimum(lower, room[0]), np.maximum(upper, room[1])
    grid = tp.Grid.around(np.stack([lower, upper]), dx=dx, margin=dx)
    return tp.MPM(
        particles=tp.Particles(x, density=density, volume=volume, material=law),
        grid=dataclasses.replace(grid, friction=0.4),
        gravity=tuple(-gravity * up),
    )
