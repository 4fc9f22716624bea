"""Frames of a simulation, as `taichi_phys.read_frames` reads them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from renderers.lines import box_lines
from renderers.overlay import strength_colors
from renderers.viewer.live import LABELS
from renderers.viewer.snapshot import Lines, Points, Snapshot
from renderers.viewer.stage import Recorded


SAMPLES = 24  # frames that are looked at before the first is shown
FRAME = (90, 98, 115)  # color of the box around a recording


class Playback(Recorded):
    """Simulated frames.

    frames: as `taichi_phys.read_frames` gives them; fps: 1/s; title: of the window. Raises
    ValueError, in one sentence, where there are none.
    """

    def __init__(self, frames: Sequence[Any], fps: float, title: str):
        if not len(frames):
            raise ValueError(f"{title}: holds no frames")
        self.frames, self.fps, self.title, self.last = frames, fps, title, len(frames) - 1
        some = [frames[i] for i in range(0, len(frames), -(-len(frames) // SAMPLES))]
        points = [x for f in some if len(x := f.x[~f.removed])] or [some[0].x]
        lower = np.min([x.min(axis=0) for x in points], axis=0).astype(float)
        upper = np.max([x.max(axis=0) for x in points], axis=0).astype(float)
        self._box = np.stack([lower, upper])
        self._lines = Lines.of((box_lines(lower, upper), FRAME))
        speeds = [np.linalg.norm(f.v[~f.removed], axis=1) for f in some]
        # 99 % of each frame's stay below
        fastest = max([1e-3, *(float(np.quantile(v, 0.99)) for v in speeds if len(v))])
        self._limits = 0.0, fastest
        first = some[0].x
        filled = np.prod(np.maximum(np.ptp(first, axis=0), 1e-9)) / len(first)
        self._radius = 0.55 * float(filled) ** (1 / 3)

    def snapshot(self, fast: bool = False) -> Snapshot:
        frame = self.frames[self.frame]
        here = ~frame.removed
        x, speed = frame.x[here], np.linalg.norm(frame.v[here], axis=1)
        colors = strength_colors(speed, self._limits)
        return Snapshot(
            box=self._box, lines=self._lines, legend=(self._limits, LABELS["speed"]),
            points=Points(x=x, colors=colors, radius=self._radius),
            caption=f"t = {frame.time:.3f} s, {len(x):,} particles",
        )  # fmt: skip
