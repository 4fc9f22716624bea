"""A TRACE run in the viewer: its Gaussians at any time, also after the last observed one."""

import math

import numpy as np
import torch

from inverse.spread import farthest_points
from inverse.trace.results import PALETTE, find_parts
from inverse.trace.run import TraceRun
from renderers.overlay import strength_colors
from renderers.splats.gaussians import Gaussians
from renderers.viewer.live import LABELS
from renderers.viewer.snapshot import Arrows, Points, Snapshot
from renderers.viewer.stage import Choice, Control, Recorded, Slider, Switch, bound


ARROWS = 60
ARROW_LENGTH = 0.175  # of the scene's size, for the strongest
SOLID = 0.3  # opacity of Gaussians whose motion is shown
DRAWN = 0.1  # opacity from which a Gaussian is shown as a ball
SLOW = 0.05  # of the fastest: slower Gaussians get no arrow
COLORS = ("picture", "parts", "speed")
SECONDS = 4.0  # s, in which the observed time is played
BEYOND = 1.0  # how far past the observed time the slider goes, as a share of it
SLOPE = 0.02  # share of the observed time over which velocities are measured


class TraceStage(Recorded):
    """A finished TRACE run."""

    def __init__(self, run: TraceRun):
        self.run, self.model, self.title = run, run.model, f"TRACE: {run.folder.name}"
        self.last = round(SECONDS * self.fps * (1 + BEYOND))
        self.show, self.color, self.arrows = "splats", "picture", False
        self._labels, self.views = run.labels, run.cameras
        self._at: tuple[float, dict[str, torch.Tensor]] = (math.nan, {})
        gaussians = self.model.gaussians
        x, opacities = gaussians.means.double().numpy(), gaussians.opacities.numpy()
        shown = x[opacities > DRAWN] if (opacities > DRAWN).any() else x
        lower, upper = np.quantile(shown, 0.01, axis=0), np.quantile(shown, 0.99, axis=0)
        self.box = np.stack([lower - 1e-3, upper + 1e-3])
        inside = ((x >= self.box[0]) & (x <= self.box[1])).all(axis=1)
        solid = inside & (opacities > SOLID) & torch.as_tensor(self.model.moving).numpy()
        self._solid = np.flatnonzero(solid) if solid.any() else np.arange(len(x))
        self._some = self._solid[farthest_points(x[self._solid], 4 * ARROWS)]
        self._fastest = 1e-9

    @property
    def time(self) -> float:
        return self.model.duration * self.frame / (SECONDS * self.fps)

    def labels(self) -> np.ndarray:
        """The part (n,) of each Gaussian, 0 if it stands still; found now if the run has none."""
        if self._labels is None:
            job = self.run.job
            labels, _ = find_parts(self.model, self.run.times, job.parts, job.seed)
            self._labels = np.zeros(len(self.model.gaussians), int) if labels is None else labels
        return self._labels

    def tensors(self) -> dict[str, torch.Tensor]:
        """The Gaussians at the present time of the stage."""
        if self._at[0] != self.time:
            self._at = (self.time, self.model.tensors_at(self.time))
        return self._at[1]

    def velocities(self) -> np.ndarray:
        """The velocities (n, 3) m/s at the present time, from the slopes of the paths."""
        h = SLOPE * self.model.duration
        times = max(self.time - h, 0.0), self.time + h
        first, second = (self.model.tensors_at(t)["means"].numpy() for t in times)
        return (second - first) / (times[1] - times[0])

    def controls(self) -> list[Control]:
        frames = SECONDS * self.fps / self.model.duration
        return [
            Slider(
                "time (s)", lambda: self.time, lambda t: self.go(t * frames), 0.0,
                (1 + BEYOND) * self.model.duration,
            ),
            Choice("show", ("splats", "particles"), *bound(self, "show"), "x"),
            Choice("color", COLORS, *bound(self, "color"), "o"),
            Switch("velocity arrows", *bound(self, "arrows"), "a"),
        ]  # fmt: skip

    def snapshot(self, fast: bool = False) -> Snapshot:
        now = dict(self.tensors())
        arrows, legend = None, None
        if self.arrows or self.color == "speed":
            v = self.velocities()
            speed = np.linalg.norm(v, axis=1)
            usual = float(np.quantile(speed[self._solid], 0.95))
            self._fastest = max(self._fastest, usual)
            legend = (0.0, self._fastest), LABELS["speed"]
        if self.arrows:
            some = self._some[speed[self._some] > SLOW * self._fastest][:ARROWS]
            length = ARROW_LENGTH * float((self.box[1] - self.box[0]).max())
            x = now["means"].numpy()
            arrows = Arrows.of(x[some], v[some], length, self._fastest)
        if self.color == "parts":
            colors = (255 * PALETTE[self.labels() % len(PALETTE)]).astype(np.uint8)
        elif self.color == "speed":
            colors = strength_colors(speed, (0, self._fastest))
        else:
            plain = {k: t.detach() for k, t in now.items() if k != "sh_axes"}
            seen = Gaussians(**plain).colors()
            colors = (255 * seen.clamp(max=1)).byte().numpy()
        points, splats = None, None
        if self.show == "particles":
            solid = now["opacities"].numpy() > DRAWN
            radius = 0.5 * float(now["scales"].mean())
            x = now["means"].numpy()[solid]
            points = Points(x=x, colors=colors[solid], radius=radius)
        elif self.color == "picture":
            splats = now
        else:
            splats = {k: t for k, t in now.items() if not k.startswith("sh")}
            splats |= {"colors": torch.from_numpy(colors / np.float32(255))}
        observed = "observed" if self.time <= self.model.duration + 1e-9 else "predicted"
        caption = f"t = {self.time:.3f} s, {observed}\n{len(colors):,} Gaussians"
        if self._labels is not None:
            caption += f"\n{self._labels.max()} moving parts"
        return Snapshot(
            box=self.box, arrows=arrows, legend=legend, caption=caption, points=points,
            splats=splats,
        )  # fmt: skip
