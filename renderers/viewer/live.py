"""Live physics: a body or a scene that is played, pushed and changed while it is looked at."""

import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

import taichi_phys as tp
from renderers.camera import Camera
from renderers.lines import Vector
from renderers.orbit import framing
from renderers.overlay import strength_colors
from renderers.splats.binding import bind
from renderers.splats.gaussians import Gaussians
from renderers.viewer.eye import FOV
from renderers.viewer.outlines import Outlines
from renderers.viewer.playground import Force, Playground
from renderers.viewer.snapshot import Legend, Points, Snapshot
from renderers.viewer.stage import Button, Choice, Control, Slider, Stage, bound


PIECE = 0.25  # s of computing after which the mouse is looked at again
SLIDERS = {  # field of a material -> what the slider is called, its range
    "E": ("stiffness E (Pa)", 1e2, 1e8), "bulk_modulus": ("bulk modulus (Pa)", 1e3, 1e7),
    "yield_stress": ("yield stress (Pa)", 1.0, 1e7), "viscosity": ("viscosity (Pa s)", 1e-3, 1e4),
}  # fmt: skip
COLORS = ("speed", "strain", "plastic strain", "body")
LABELS = {"speed": "speed (m/s)", "strain": "strain", "plastic strain": "plastic strain"}
BODIES = np.array([[86, 156, 214], [226, 135, 67], [120, 190, 110], [200, 110, 180],
                   [220, 200, 90], [110, 200, 200]], np.uint8)  # fmt: skip


class Live(Stage):
    """A simulation that runs while it is looked at.

    make: returns the simulation and a force on it or None, called when it is first needed;
    gaussians: carried by it; box: corners (2, 3) m of the first view, default: the grid; given:
    name of the force.
    """

    def __init__(
        self, make: Callable[[], tuple[tp.MPM, Force | None]], *, title: str,
        material: str = "as given", gaussians: Gaussians | None = None,
        box: np.ndarray | None = None, up: Vector = (0.0, 0.0, 1.0), fps: float = 24.0,
        given: str = "given force", color: str = "speed",
    ):  # fmt: skip
        self.make, self.title, self.up, self.fps, self.given = make, title, up, fps, given
        self.gaussians, self.color, self._box = gaussians, color, box
        self.show = "particles" if gaussians is None else "splats"
        self.playground: Playground | None = None
        self._material = material
        if gaussians is not None:
            center, distance = framing(gaussians, FOV)
            reach = distance * math.sin(math.radians(FOV) / 2) / math.sqrt(3)
            self._around = np.stack([center - reach, center + reach])
        self._cost, self._done, self._pieces = 0.1, 0, 1
        self._peak: dict[str, float] = {}
        self._compiled, self._told = False, False
        self.rate = 0.0  # scene frames per second of computing

    @property
    def still(self) -> bool:
        return self.playground is None

    def ready(self) -> Playground:
        """The simulation, made if it was not yet. Raises ValueError."""
        if self.playground is None:
            sim, force = self.make()
            made = Playground(sim, force, up=self.up, material=self._material)
            self._outlines = Outlines(sim)
            if self.gaussians is not None:
                g, x = self.gaussians, made.state.x.cpu().float()
                self._binding = bind(g.means, g.covariances(), x)
            self.playground = made
        return self.playground

    # Time

    def advance(self) -> bool:
        """A piece of a scene frame: large simulations take several."""
        e = self.ready()
        if not self._told:  # first a picture that says why nothing moves yet
            self._told, self.message = True, "compiling the simulation ..."
            return False
        start = time.perf_counter()
        if self._done == 0:
            self._pieces = min(max(math.ceil(self._cost / PIECE), 1), 12)
        e.advance(1 / (self.fps * self._pieces))
        if self._compiled:
            spent = (time.perf_counter() - start) * self._pieces
            self._cost += 0.3 * (spent - self._cost)
            self.rate = 1 / self._cost
        else:  # its time says nothing
            self._compiled, self.message = True, ""
        self._done = (self._done + 1) % self._pieces
        return self._done == 0

    def seek(self, frames: int) -> None:
        self.message = "" if frames > 0 else "time runs forwards only; r goes to the start"
        super().seek(frames)

    def reset(self) -> None:
        self._done, self.message, self._peak = 0, "", {}
        if self.playground is not None:
            self.playground.reset()

    # Mouse

    def grab(self, camera: Camera, pixel: Vector) -> bool:
        return self.ready().grab(camera, pixel)

    def drag(self, camera: Camera, pixel: Vector) -> None:
        pull = self.ready().pull
        if pull is not None:
            pull.follow(camera, pixel)

    def release(self) -> None:
        if self.playground is not None:
            self.playground.pull = None

    # What can be changed

    def controls(self) -> list[Control]:
        e = self.playground
        if e is None:
            return [Button("make it a body (or press space)", self.ready)]
        result: list[Control] = []
        if len(e.sim.bodies) > 1:
            result.append(Slider("body", *bound(e, "body"), 0, len(e.sim.bodies) - 1, whole=True))
        material = e.sim.bodies[e.body].material
        for name, (text, low, high) in SLIDERS.items():
            if hasattr(material, name):
                get, change = partial(e.parameter, name), partial(e.set_parameter, name)
                result.append(Slider(text, get, change, low, high, log=True))
        result += [
            Slider("gravity (m/s2)", e.gravity, e.set_gravity, 0.0, 25.0),
            Slider("wind speed (m/s)", *bound(e, "wind_speed"), 0.0, 20.0),
            Slider("wind from the side (deg)", *bound(e, "wind_azimuth"), 0.0, 360.0),
            Slider("wind upwards (deg)", *bound(e, "wind_elevation"), -90.0, 90.0),
            Slider("push (m/s2)", *bound(e, "push"), 0.0, 100.0),
        ]
        if e.given is not None:
            result.append(Slider(f"{self.given} (times)", *bound(e, "gain"), 0.0, 5.0))
        names = list(tp.PRESETS)
        result.append(Choice("material", names, lambda: e.material, self.set_material, "m"))
        result.append(Choice("color", COLORS, *bound(self, "color"), "o"))
        if self.gaussians is not None:
            result.append(Choice("show", ("splats", "particles"), *bound(self, "show"), "x"))
        return result

    def set_material(self, name: str) -> None:
        """Make the chosen body of another material where it is, as it is."""
        self.ready().set_material(name)
        self._done, self._peak, self.message = 0, {}, ""
        self._told = self._compiled = False

    # What is there

    def box(self) -> np.ndarray:
        """Corners (2, 3) m of what the first view shows."""
        if self._box is not None:
            return self._box
        if self.playground is not None or self.gaussians is None:
            grid = self.ready().sim.grid
            return np.array([grid.lower, grid.upper])
        return self._around

    def values_of(self, color: str) -> torch.Tensor:
        """(n,) of what colors show: speed, strain or plastic strain."""
        state = self.ready().state
        if color == "speed":
            return torch.linalg.vector_norm(state.v, dim=1)
        if color == "strain":  # of Green and Lagrange
            strain = state.F.mT @ state.F - torch.eye(3, dtype=state.F.dtype, device=state.F.device)
            return 0.5 * torch.linalg.matrix_norm(strain)
        assert state.plastic is not None
        return state.plastic.abs()

    def colors(self) -> tuple[np.ndarray, Legend | None]:
        """(n, 3) uint8, and what they mean."""
        e = self.ready()
        if self.color == "body":
            return BODIES[e.owner % len(BODIES)], None
        values = self.values_of(self.color).cpu().numpy()
        shown = values[e.present()]
        high = float(np.quantile(shown, 0.99)) if len(shown) else 0.0
        # the colors keep their meaning for a while: the limit falls slowly
        high = max(high, 0.99 * self._peak.get(self.color, 0.0), 1e-3)
        self._peak[self.color] = high
        return strength_colors(values, (0.0, high)), ((0.0, high), LABELS[self.color])

    def snapshot(self, fast: bool = False) -> Snapshot:
        if self.playground is None and self.gaussians is not None:
            caption = f"{len(self.gaussians):,} Gaussians"
            return Snapshot(box=self.box(), splats=self.gaussians.tensors(), caption=caption)
        e = self.ready()
        x, here = e.state.x.cpu().numpy(), e.present()
        points, legend = None, None
        if self.show == "particles":
            colors, legend = self.colors()
            points = Points(x=x[here], colors=colors[here], radius=e.radius)
        caption = f"t = {e.state.time:.3f} s, {here.sum():,} particles"
        if self.rate:
            caption += f"\n{self.rate:.1f} frames of {1 / self.fps:.3f} s per second"
        return Snapshot(
            box=self.box(), points=points, legend=legend, caption=caption,
            splats=self._carried(fast) if self.show == "splats" else None,
            lines=self._outlines.at(e.state),
            arrows=None if e.pull is None else e.pull.arrow(e.state.x),
            bodies=tuple(x[here & (e.owner == k)] for k in range(len(e.sim.bodies))),
        )  # fmt: skip

    def _carried(self, fast: bool) -> dict[str, torch.Tensor]:
        """The Gaussians where the particles have carried them."""
        g, e = self.gaussians, self.ready()
        assert g is not None
        if e.state is e.start:
            return g.tensors()
        x, F = e.state.x.cpu().float(), e.state.F.cpu().float()
        means, covariances = self._binding.deform(x, F)
        tensors = {"means": means, "covariances": covariances, "opacities": g.opacities}
        if fast:
            return tensors | {"colors": g.colors()}
        return tensors | {"sh": g.sh, "sh_axes": self._binding.rotations(F)}
