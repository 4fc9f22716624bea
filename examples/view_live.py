"""Live physics for the viewer: a body or a scene that is played, pushed and changed."""

import dataclasses
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from view_parts import collider_lines, splat_picture

import taichi_phys as tp
from renderers.lines import box_lines
from renderers.orbit import framing
from renderers.overlay import draw_arrows, strength_colors
from renderers.splats.binding import bind
from renderers.splats.gaussians import Gaussians
from renderers.viewer.picture import draw_lines, draw_particles
from renderers.viewer.session import FOV
from renderers.viewer.stage import Button, Choice, Slider, Stage, Switch
from taichi_phys.mpm.forces import evaluate


FPS = 24.0
PIECE = 0.25  # s of computing after which the mouse is looked at again
SLIDERS = {  # field of a material -> what the slider is called, its range
    "E": ("stiffness E (Pa)", 1e2, 1e8), "bulk_modulus": ("bulk modulus (Pa)", 1e3, 1e7),
    "yield_stress": ("yield stress (Pa)", 1.0, 1e7), "viscosity": ("viscosity (Pa s)", 1e-3, 1e4),
}  # fmt: skip
COLORS = ("speed", "strain", "plastic strain", "body")
LABELS = {"speed": "speed (m/s)", "strain": "strain", "plastic strain": "plastic strain"}
BODIES = np.array([[86, 156, 214], [226, 135, 67], [120, 190, 110], [200, 110, 180],
                   [220, 200, 90], [110, 200, 200]], np.uint8)  # fmt: skip
WALLS, OBSTACLES = (120, 130, 150), (235, 180, 90)
GRAB = 0.35  # of the body's size: how far around the picked point a push is felt
NEAR = 14  # px from a particle at which the mouse still picks it, at 720 rows
DRAG_RATE = 2.0  # 1/s of the wind
ARROW = (0, 60)  # m/s^2: colours of the push


class Live(Stage):
    """A simulation that runs while it is looked at.

    make: returns the simulation and its force, called when it is first needed; gaussians: carried
    by it; box: what the first view shows, default the grid; given: name of the force.
    """

    def __init__(
        self, make: Callable[[], tuple[tp.MPM, object]], *, title: str, material: str = "as given",
        gaussians: Gaussians | None = None, box=None, up=(0.0, 0.0, 1.0), fps: float = FPS,
        given: str = "given force", color: str = "speed", outside: str = "error",
    ):  # fmt: skip
        self._outside = outside
        self._make, self.title, self.material, self.given = make, title, material, given
        self.gaussians, self._box, self.up, self.fps, self.color = gaussians, box, up, fps, color
        self.sim: tp.MPM | None = None
        self.state = self.force = self._binding = None
        self.show = "particles" if gaussians is None else "splats"
        self.body, self.gain, self.views = 0, 1.0, []
        self.wind_speed, self.wind_azimuth, self.wind_elevation = 0.0, 0.0, 0.0
        self.push = 20.0  # m/s^2 of the whole body for a drag as long as the body
        self.grabbed = self._target = None
        self._cost, self._done, self._pieces, self._peak = 0.1, 0, 1, {}
        self.rate = 0.0  # scene frames per second of computing
        self._told, self._first_frame = False, True

    def ready(self) -> tp.MPM:
        """The simulation, made if it was not yet."""
        if self.sim is None:
            self.sim, self.force = self._make()
            self.state = self._first = self.sim.initial_state()
            x = self.state.x
            self.size = float((x.amax(0) - x.amin(0)).max())
            volume = float(self.sim.volume.double().mean())
            self.radius = 1.1 * (3 * volume / (4 * math.pi)) ** (1 / 3)
            counts = torch.tensor([len(b) for b in self.sim.bodies])
            self.owner = torch.repeat_interleave(torch.arange(len(counts)), counts).numpy()
            strong = float(torch.linalg.vector_norm(self.sim.gravity))
            down = self.sim.gravity.cpu().numpy() / strong if strong else -np.asarray(self.up)
            self.down = down
            if self.gaussians is not None:
                g = self.gaussians
                self._binding = bind(g.means, g.covariances(), x.cpu().float())
        return self.sim

    def try_ready(self) -> bool:
        """Make the simulation; False, with a message, if that cannot be done."""
        try:
            self.ready()
        except ValueError as error:
            self.sim, self.playing, self.message = None, False, str(error)
        return self.sim is not None

    # Time

    def advance(self) -> bool:
        """A piece of a scene frame: large simulations take several."""
        if not self.try_ready():
            return True
        sim = self.sim
        if not self._told:  # first a picture that says why nothing moves yet
            self._told, self.message = True, "compiling the simulation ..."
            return False
        start = time.perf_counter()
        if self._done == 0:
            self._pieces = min(max(math.ceil(self._cost / PIECE), 1), 12)
        dt = 1 / (self.fps * self._pieces)
        try:
            self.state = sim.advance(self.state, frame_dt=dt, force=self.forces()).detach()
        except tp.SimulationError as error:
            self.playing, self.message, self._done = False, str(error), 0
            return True
        if self._first_frame:  # it was compiled: its time says nothing
            self._first_frame, self.message = False, ""
        else:
            spent = (time.perf_counter() - start) * self._pieces
            self._cost += 0.3 * (spent - self._cost)
            self.rate = 1 / self._cost
        self._done = (self._done + 1) % self._pieces
        return self._done == 0

    def seek(self, frames: int) -> None:
        self.message = "" if frames > 0 else "time runs forwards only; r goes to the start"
        super().seek(frames)

    def reset(self) -> None:
        self.release()
        self._done, self.message, self._peak = 0, "", {}
        if self.sim is not None:
            self.state = self._first

    # Forces

    def forces(self) -> torch.Tensor:
        """(n, 3) N on the particles now, beside gravity."""
        state, mass = self.state, self.sim.mass
        now = (state.x, state.time, state.v, mass)
        force = torch.zeros_like(state.x)
        if self.force is not None and self.gain:
            force = force + self.gain * evaluate(self.force, *now)
        if self.wind_speed:
            force = force + tp.Drag(air=tuple(self.wind().tolist()), rate=DRAG_RATE)(*now)
        if self.grabbed is not None:
            force = force + self.pull()
        return force

    def wind(self) -> np.ndarray:
        """(3,) m/s: velocity of the wind of the sliders."""
        up = -self.down
        first = np.cross(up, [0, 1, 0] if abs(up[1]) < 0.9 else [0, 0, 1])
        first /= np.linalg.norm(first)
        turn, tilt = math.radians(self.wind_azimuth), math.radians(self.wind_elevation)
        level = math.cos(turn) * first + math.sin(turn) * np.cross(up, first)
        return self.wind_speed * (math.cos(tilt) * level + math.sin(tilt) * up)

    def pull(self) -> torch.Tensor:
        """(n, 3) N: the push of the mouse, shared out among the particles near the picked one."""
        share = self.grabbed * self.sim.mass
        reach = torch.as_tensor(self.reach()).to(share)
        force = self.sim.mass.sum() * self.push * reach / self.size
        return (share / share.sum())[:, None] * force

    def reach(self) -> np.ndarray:
        """(3,) m: from where the body is held to where the mouse is, at most twice its size."""
        arm = self._target - self.held_at()
        return arm * min(1.0, 2 * self.size / max(float(np.linalg.norm(arm)), 1e-12))

    def held_at(self) -> np.ndarray:
        """(3,) m: the middle of what the mouse holds."""
        weight = self.grabbed / self.grabbed.sum()
        return (weight @ self.state.x).double().cpu().numpy()

    def grab(self, camera, pixel) -> bool:
        if not self.try_ready():
            return False
        x = self.state.x.double().cpu().numpy()
        uv, depth = camera.project(x)
        off = np.where((depth > 0) & self.present(), np.linalg.norm(uv - pixel, axis=1), np.inf)
        near = np.maximum(NEAR * camera.height / 720, camera.fy * self.radius / depth.clip(1e-9))
        hit = np.flatnonzero(off < near)
        if not len(hit):
            return False
        picked = hit[depth[hit].argmin()]
        far = np.linalg.norm(x - x[picked], axis=1) / (GRAB * self.size)
        weight = np.where(far < 1, (1 - far**2) ** 2, 0)
        weight[(self.owner != self.owner[picked]) | ~self.present()] = 0
        self.grabbed = torch.as_tensor(weight).to(self.state.x)
        self._depth = float(camera.to_camera(self.held_at())[2])
        held, _ = camera.project(self.held_at())
        self._offset = held - pixel  # nothing is pushed before the mouse moves
        self.drag(camera, pixel)
        return True

    def drag(self, camera, pixel) -> None:
        self._target = camera.unproject(np.add(pixel, self._offset), np.float64(self._depth))

    def release(self) -> None:
        self.grabbed = self._target = None

    # What can be changed

    def cameras(self):
        return self.views

    def controls(self) -> list:
        if self.sim is None:
            return [Button("make it a body (or press space)", self.try_ready)]
        attribute, result = self._attribute, []
        if len(self.sim.bodies) > 1:
            last = len(self.sim.bodies) - 1
            result.append(attribute("body", "body", 0, last, whole=True))
        material = self.sim.bodies[self.body].material
        for name, (text, low, high) in SLIDERS.items():
            if hasattr(material, name):
                result.append(Slider(
                    text, lambda k=name: self.parameter(k),
                    lambda v, k=name: self.set_parameter(k, v), low, high, log=True,
                ))  # fmt: skip
        result += [
            Slider("gravity (m/s2)", self.gravity, self.set_gravity, 0.0, 25.0),
            attribute("wind speed (m/s)", "wind_speed", 0.0, 20.0),
            attribute("wind from the side (deg)", "wind_azimuth", 0.0, 360.0),
            attribute("wind upwards (deg)", "wind_elevation", -90.0, 90.0),
            attribute("push (m/s2)", "push", 0.0, 100.0),
        ]
        if self.force is not None:
            result.append(attribute(f"{self.given} (times)", "gain", 0.0, 5.0))
        names = list(tp.PRESETS)
        result.append(Choice("material", names, lambda: self.material, self.set_material))
        result.append(Choice("colour", COLORS, lambda: self.color, self._setter("color")))
        if self.gaussians is not None:
            result.append(Switch("splats", lambda: self.show == "splats", self.show_splats))
        return result

    def _setter(self, name: str):
        return lambda value: setattr(self, name, value)

    def _attribute(self, text: str, name: str, low, high, **options) -> Slider:
        get = lambda: getattr(self, name)  # noqa: E731
        return Slider(text, get, self._setter(name), low, high, **options)

    def keys(self):
        def next_color():
            self.color = COLORS[(COLORS.index(self.color) + 1) % len(COLORS)]

        def next_material():
            names = list(tp.PRESETS)
            at = names.index(self.material) if self.material in names else -1
            self.set_material(names[(at + 1) % len(names)])

        result = {"o": ("next colouring", next_color), "m": ("next material", next_material)}
        if self.gaussians is not None:
            flip = lambda: self.show_splats(self.show != "splats")  # noqa: E731
            result["x"] = ("splats or particles", flip)
        return result

    def show_splats(self, on: bool) -> None:
        """Splats or particles."""
        self.show = "splats" if on or not self.try_ready() else "particles"

    def gravity(self) -> float:
        """m/s^2."""
        return float(torch.linalg.vector_norm(self.sim.gravity.double()))

    def set_gravity(self, value: float) -> None:
        self.sim.gravity = tuple(float(value) * self.down)

    def parameter(self, name: str) -> float:
        """Mean value of a parameter of the chosen body's material."""
        value = getattr(self.sim.bodies[self.body].material, name)
        return float(torch.as_tensor(value).double().mean())

    def set_parameter(self, name: str, value: float) -> None:
        """Change a parameter; what differs from particle to particle keeps its proportions."""
        body = self.sim.bodies[self.body]
        old = getattr(body.material, name)
        if isinstance(old, torch.Tensor):
            value = old * (value / self.parameter(name)) if self.parameter(name) else old + value
        try:
            material = dataclasses.replace(body.material, **{name: value})
        except ValueError as error:
            self.message = str(error)
            return
        self.sim.bodies[self.body] = dataclasses.replace(body, material=material)

    def set_material(self, name: str) -> None:
        """Make the chosen body of another material where it is, as it is."""
        if not self.try_ready():
            return
        sim, state = self.sim, self.state
        material, density = tp.preset(name)
        volumes = sim.volume.double().cpu().split([len(b) for b in sim.bodies])
        bodies = [dataclasses.replace(b, volume=v.numpy()) for b, v in
                  zip(sim.bodies, volumes, strict=True)]  # fmt: skip
        bodies[self.body] = dataclasses.replace(
            bodies[self.body], material=material, density=density
        )
        self.sim = tp.MPM(
            particles=bodies, grid=sim.grid, gravity=tuple(sim.gravity.tolist()),
            colliders=sim.colliders, outside=self._outside, cfl=sim.cfl,
            precision="f64" if sim.dtype == torch.float64 else "f32",
        )  # fmt: skip
        plastic = state.plastic.clone()
        plastic[torch.as_tensor(self.owner == self.body)] = 0
        self.state, self._first = state.replace(plastic=plastic), self.sim.initial_state()
        self.material, self._done, self._peak, self.message = name, 0, {}, ""
        self._told, self._first_frame = False, True

    # Pictures

    def box(self):
        if self._box is not None:
            return self._box
        if self.sim is None and self.gaussians is not None:
            centre, distance = framing(self.gaussians, FOV)
            reach = distance * math.sin(math.radians(FOV) / 2) / math.sqrt(3)
            return centre - reach, centre + reach
        grid = self.ready().grid
        return np.array(grid.lower), np.array(grid.upper)

    def present(self) -> np.ndarray:
        """(n,) bool: the particles that did not leave the grid."""
        return ~self.state.removed.cpu().numpy()

    def values_of(self, color: str) -> torch.Tensor:
        """(n,) of what colours show: speed, strain or plastic strain."""
        state = self.state
        if color == "speed":
            return torch.linalg.vector_norm(state.v, dim=1)
        if color == "strain":  # of Green and Lagrange
            strain = state.F.mT @ state.F - torch.eye(3, dtype=state.F.dtype)
            return 0.5 * torch.linalg.matrix_norm(strain)
        return state.plastic.abs()

    def _limits(self) -> tuple[float, float]:
        return 0.0, self._peak.get(self.color, 1e-3)

    def colors(self) -> np.ndarray:
        """(n, 3) uint8."""
        if self.color == "body":
            return BODIES[self.owner % len(BODIES)]
        values = self.values_of(self.color).cpu().numpy()
        shown = values[self.present()]
        high = float(np.quantile(shown, 0.99)) if len(shown) else 0.0
        # the colours keep their meaning for a while: the limit falls slowly
        self._peak[self.color] = max(high, 0.99 * self._peak.get(self.color, 0.0), 1e-3)
        return strength_colors(values, self._limits())

    def legend(self):
        shown = self.color in LABELS and self.show == "particles" and self.sim is not None
        return (self._limits(), LABELS[self.color]) if shown else None

    def lines(self) -> list[tuple[np.ndarray, tuple]]:
        """Lines (m, 2, 3) m and their colours: the walls of the grid, the colliders."""
        grid, at = self.sim.grid, self.state.time
        lower, upper = np.array(grid.lower), np.array(grid.upper)
        result = [(box_lines(lower, upper), tuple(c // 2 for c in WALLS))]
        result.append((box_lines(*np.array(grid.room)), WALLS))
        for collider in self.sim.colliders:
            if collider.during is None or collider.during[0] <= at < collider.during[1]:
                result.append((collider_lines(collider, at, lower, upper), OBSTACLES))
        return result

    def picture(self, camera, fast: bool) -> np.ndarray:
        if self.show == "splats":
            image = self._splats(camera, fast)
            depth = None
        else:
            self.ready()
            x, colors, here = self.state.x.cpu().numpy(), self.colors(), self.present()
            image, depth = draw_particles(camera, x[here], colors[here], self.radius)
        if self.sim is not None:
            for lines, color in self.lines() if depth is not None else ():
                draw_lines(image, depth, camera, lines, color)
        if self.grabbed is not None and np.linalg.norm(self.reach()) > 0:
            ends = np.stack([self.held_at(), self.held_at() + self.reach()])
            uv, _ = camera.project(ends)
            strength = self.push * np.linalg.norm(self.reach()) / self.size
            image = draw_arrows(
                image, uv[:1], uv[1:], np.array([strength]), limits=ARROW,
                thickness=6 * camera.height / 720,
            )  # fmt: skip
        return image

    def _splats(self, camera, fast: bool) -> np.ndarray:
        g = self.gaussians
        if self._binding is None or self.state is self._first:
            tensors = g.tensors()
        else:
            x, F = self.state.x.cpu().float(), self.state.F.cpu().float()
            means, covariances = self._binding.deform(x, F)
            tensors = {"means": means, "covariances": covariances, "opacities": g.opacities}
            tensors |= {"colors": g.colors()} if fast else {
                "sh": g.sh, "sh_axes": self._binding.rotations(F)
            }  # fmt: skip
        return splat_picture(camera, tensors)

    def status(self) -> list[str]:
        if self.sim is None:
            return [f"{len(self.gaussians):,} Gaussians"]
        lines = [f"t = {self.state.time:.3f} s, {self.present().sum():,} particles"]
        if self.rate:
            lines.append(f"{self.rate:.1f} frames of {1 / self.fps:.3f} s per second")
        return lines

    def film(self, session, frame: int, frames: int) -> None:
        if self.sim is None:  # nothing moves: walk round it
            session.azimuth += 360 / frames if frame else 0
        else:
            super().film(session, frame, frames)
