"""A wind run in the viewer: the re-simulation with its forces beside the clip, and its wind on
other bodies."""

import math

import numpy as np

import taichi_phys as tp
from inverse.spread import farthest_points
from inverse.wind.forces.drag import BodyDrag, quadratic_drag
from inverse.wind.results.verdict import surely
from inverse.wind.run import WindRun
from renderers.lines import box_lines
from renderers.overlay import strength_colors
from renderers.viewer.live import LABELS, Live
from renderers.viewer.playback import FRAME
from renderers.viewer.playground import body_simulation
from renderers.viewer.snapshot import Arrows, Legend, Lines, Points, Snapshot
from renderers.viewer.stage import Button, Choice, Control, Recorded, Switch, bound


ARROWS = 60
ARROW_LENGTH = 0.35  # of the object's size, for the strongest
HIGHEST = 98  # percentile that colors end at
FORCE = "force per mass (m/s²)"


class WindStage(Recorded):
    """A finished wind run; material: preset of the bodies that its wind is blown at."""

    def __init__(self, run: WindRun, material: str = "jelly"):
        self.run, self.title, self.material = run, f"wind: {run.folder.name}", material
        self.fps, self.last = run.fps, len(run.t) - 1
        self.specific = run.force / run.mass[:, None]
        self.v = np.gradient(run.x, run.t, axis=0)
        self.arrows, self.color = True, "force"
        verdict = run.metrics.get("verdict", {})
        self.until, self.calm = verdict.get("until", self.last), verdict.get("still", False)
        self.size = float(np.ptp(run.x[0], axis=0).max())
        some = farthest_points(run.x[0], ARROWS)
        self._some = some[~run.held[some]]
        strength, speed = (np.linalg.norm(a, axis=-1) for a in (self.specific, self.v))
        self.strongest = max(float(np.percentile(strength, HIGHEST)), 1e-9)
        fastest = max(float(np.percentile(speed, HIGHEST)), 1e-9)
        self._limits = {"force": (0.0, self.strongest), "speed": (0.0, fastest)}
        points = run.x.reshape(-1, 3)
        self.box = np.stack([points.min(axis=0), points.max(axis=0)])
        self._lines = Lines.of((box_lines(*self.box), FRAME))
        if all(camera is run.cameras[0] for camera in run.cameras):  # it stood still
            self.views = run.cameras[:1]
        self._clip = run.clip()
        if self._clip is None:
            self.message = "neither the clip nor the run's video can be read"

    def controls(self) -> list[Control]:
        return [
            *super().controls(),
            Switch("force arrows", *bound(self, "arrows"), "a"),
            Choice("color", ("force", "speed"), *bound(self, "color")),
            Button("blow this wind at a ball", lambda: self.blow("ball"), "w"),
            Button("blow this wind at a cube", lambda: self.blow("cube")),
            Choice("of material", list(tp.PRESETS), *bound(self, "material")),
        ]

    def snapshot(self, fast: bool = False) -> Snapshot:
        x, specific = self.run.x[self.frame], self.specific[self.frame]
        values = specific if self.color == "force" else self.v[self.frame]
        colors = strength_colors(np.linalg.norm(values, axis=1), self._limits[self.color])
        arrows = None
        if self.arrows and self.frame <= self.until and not self.calm:
            some = self._some
            some = some[
                surely(self.run.force[self.frame, some], self.run.std[self.frame, some]) > 0
            ]
            arrows = Arrows.of(x[some], specific[some], ARROW_LENGTH * self.size, self.strongest)
        shown = "force" if self.arrows else self.color
        legend: Legend = self._limits[shown], FORCE if shown == "force" else LABELS["speed"]
        net = (self.run.mass[:, None] * specific).sum(axis=0) / self.run.mass.sum()
        force = f"net ({net[0]:+.2f}, {net[1]:+.2f}, {net[2]:+.2f}) m/s2"
        if self.frame > self.until:
            force = "the object is lost here"
        return Snapshot(
            box=self.box, lines=self._lines, arrows=arrows, legend=legend,
            points=Points(x=x, colors=colors, radius=0.9 * self.size / math.sqrt(len(x))),
            side=None if self._clip is None else self._clip[min(self.frame, len(self._clip) - 1)],
            caption=f"t = {self.time:.3f} s, {len(x):,} particles\n{force}",
        )  # fmt: skip

    def blow(
        self,
        body: str | tuple[np.ndarray, np.ndarray],
        count: int = 4000,
        drag: float | None = None,
    ) -> Live:
        """Go on to the recovered wind acting on another body, as large as the object was.

        Where the run knows the air, the body answers with its own drag and falls as its weight
        says; else the recovered force acts on it as it did on the object.

        body: "ball", "cube", or particles (n, 3) m and their volumes (n,) m^3; count: particles of
        a ball or cube; drag: rate at which it takes up the velocity of the air, 1/s, default: from
        its shape and mass. Raises ValueError where the wind cannot be read, and for a drag in a
        force that is no air's.
        """
        if drag is not None and self.run.drag is None:
            raise ValueError("drag: the run knows no air, which one with --force wind finds")
        middle, half = self.run.x[0].mean(axis=0), 0.5 * self.size
        if isinstance(body, str):
            name = body
            if body == "ball":
                x, volume = tp.sample_sphere(middle, half, count=count)
            else:
                x, volume = tp.sample_box(middle - 0.7 * half, middle + 0.7 * half, count=count)
        else:
            name, (given, volume) = "body", body
            center, scale = np.mean([given.min(axis=0), given.max(axis=0)], axis=0), self.size
            scale /= float(np.ptp(given, axis=0).max())
            x, volume = middle + scale * (given - center), scale**3 * volume
        room = self.box + self.size * np.array([[-1], [1]])
        material, run = self.material, self.run
        wind, weight = (run.field(), 0.0) if run.drag is None else self._own(x, drag)
        up = -run.gravity / weight if weight else np.asarray(self.up, dtype=float)

        def make() -> tuple[tp.MPM, tp.ForceField]:
            sim = body_simulation(x, volume, up=up, material=material, room=room, gravity=weight)
            return sim, wind

        self.successor = Live(
            make, title=f"{self.title}, blown at a {name}", material=material, fps=self.fps,
            given="recovered wind", box=room,
        )  # fmt: skip
        return self.successor

    def _own(self, x: np.ndarray, drag: float | None) -> tuple[tp.ForceField, float]:
        """The force of the run's air on a body x (n, 3) m, and gravity, m/s^2."""
        run, air = self.run, self.run.wind()
        weight = float(np.linalg.norm(run.gravity))
        if drag is not None:
            return tp.Drag(air=air, rate=drag), weight
        assert run.drag is not None
        mass = float(run.mass.sum())
        wider = quadratic_drag(x, mass) / quadratic_drag(run.x[0], mass)
        return BodyDrag(air=air, strength=run.drag * mass * wider), weight
