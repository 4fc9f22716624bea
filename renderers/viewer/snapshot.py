"""What is there at one moment, as plain data: stages say it, painters draw it."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch

from renderers.overlay import strength_colors


Legend = tuple[tuple[float, float], str]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """n balls.

    x: (n, 3) m; colors: (n, 3) uint8; radius: m.
    """

    x: np.ndarray
    colors: np.ndarray
    radius: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Lines:
    """k segments.

    ends: (k, 2, 3) m; colors: (k, 3) uint8.
    """

    ends: np.ndarray
    colors: np.ndarray

    @classmethod
    def of(cls, *groups: tuple[np.ndarray, tuple[int, int, int]]) -> "Lines":
        """The lines of several groups: each ends (k, 2, 3) m and one color (3,) 0 to 255."""
        ends, colors = zip(*groups, strict=True)
        tints = [np.tile(np.uint8(c), (len(e), 1)) for e, c in zip(ends, colors, strict=True)]
        return cls(ends=np.concatenate(ends), colors=np.concatenate(tints))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Arrows:
    """m arrows, colored by their strength.

    ends: (m, 2, 3) m, tails and tips; strengths: (m,); limits: strengths at the ends of the colors.
    """

    ends: np.ndarray
    strengths: np.ndarray
    limits: tuple[float, float]

    @classmethod
    def of(cls, x: np.ndarray, vectors: np.ndarray, length: float, strongest: float) -> "Arrows":
        """Arrows of vectors (m, 3) at x (m, 3) m; one as strong as `strongest` is length m long."""
        ends = np.stack([x, x + length / max(strongest, 1e-30) * vectors], axis=1)
        strengths = np.linalg.norm(vectors, axis=1)
        return cls(ends=ends, strengths=strengths, limits=(0.0, strongest))

    @property
    def colors(self) -> np.ndarray:
        """(m, 3) uint8."""
        return strength_colors(self.strengths, self.limits)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """What is there at one moment. A painter may take a record that it has seen before for
    unchanged.

    box: corners (2, 3) m of what a first view shows; points, lines, arrows; splats: arguments of
    `renderers.splats.render.render` by name; bodies: what can be pushed, places (n, 3) m on each;
    caption: lines of text; legend: limits of what colors show, and its name; side: (H, W, 3) uint8,
    a picture to be shown beside the view.
    """

    box: np.ndarray
    points: Points | None = None
    splats: Mapping[str, torch.Tensor] | None = None
    lines: Lines | None = None
    arrows: Arrows | None = None
    bodies: tuple[np.ndarray, ...] = ()
    caption: str = ""
    legend: Legend | None = None
    side: np.ndarray | None = None
