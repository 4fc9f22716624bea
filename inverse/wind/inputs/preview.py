"""A first look at what a wind run would take for its object, in seconds: one picture."""

import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from inverse.perception import visible_surface
from inverse.tracking import Tracks
from inverse.wind.config import WindJob
from inverse.wind.inputs.load import Inputs, load_inputs
from inverse.wind.inputs.motion import LOOKED, follow_points
from inverse.wind.targets import SHOWN
from taichi_phys.io.files import atomic_path


if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREVIEW = "preview.png"
OUTLINE, LOST = "#ffd200", "#e0632a"
TRACK = "#00a0ff"
WIDTH, PANELS, LINE = 12.0, 5.0, 0.19  # inch: of the picture, height of its panels and a line
COLUMNS = 150  # characters in a line


def write_preview(job: WindJob) -> tuple[Path, Inputs]:
    """Write preview.png to the folder of a job: the object, its depth, how it is followed through
    the first frames, and what was assumed.

    Returns the path and the inputs. Raises ValueError for unusable input.
    """
    # Where depth is sought in the motion, the preview sees of it what the run does.
    frames = SHOWN if job.depth_given else LOOKED
    inputs = load_inputs(dataclasses.replace(job, frames=min(job.frames or frames, frames)))
    path = Path(job.out) / PREVIEW
    tracks = follow(inputs)
    sentences = [*first_look(inputs, tracks), *inputs.assumptions]
    if inputs.tracks is None and job.tracker != "lucas-kanade":
        sentences.insert(2, f"Here that was done by Lucas-Kanade; the run uses {job.tracker}.")
    figure = preview_figure(inputs, tracks, sentences)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png")
    return path, inputs


def follow(inputs: Inputs) -> Tracks:
    """Tracks of keypoints on the object in the first frames of the first view; ready ones as they
    are."""
    if inputs.tracks is not None:
        return inputs.tracks[0].until(SHOWN)
    return follow_points(
        inputs.videos[0][:SHOWN], inputs.mask, inputs.depth, inputs.cameras[0][0],
        inputs.job.keypoints, inputs.surface,
    )  # fmt: skip


def size_sentence(inputs: Inputs) -> str:
    """How large and how far away the object is taken to be."""
    surface = visible_surface(inputs.mask, inputs.depth, inputs.cameras[0][0])
    local = inputs.cameras[0][0].to_camera(surface.points)
    width, height, deep = np.ptp(local, axis=0)
    return (
        f"The object is {width:.3g} m wide, {height:.3g} m high and {deep:.3g} m deep as far as it "
        f"is seen, {np.median(local[:, 2]):.3g} m away. If that is wrong, so is the force, in "
        "proportion."
    )


def first_look(inputs: Inputs, tracks: Tracks) -> list[str]:
    """Sentences about the size of the object, and how many points on it are followed; tracks: as
    `follow` gives them."""
    kept = int(tracks.visible[-1].sum())
    return [
        size_sentence(inputs),
        f"{kept} of {tracks.count} points on it are followed through the first {tracks.frames} "
        "frames.",
    ]


def preview_picture(inputs: Inputs, tracks: Tracks) -> np.ndarray:
    """The panels of the first look, (H, W, 3) uint8; tracks: of the first view."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(preview_figure(inputs, tracks))
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def preview_figure(inputs: Inputs, tracks: Tracks, sentences: Sequence[str] = ()) -> "Figure":
    """The first look as a matplotlib Figure; tracks: of the first view; sentences: below it."""
    from matplotlib.figure import Figure

    lines = [
        line
        for sentence in sentences
        for line in textwrap.wrap(sentence, COLUMNS, initial_indent="• ", subsequent_indent="  ")
    ]
    height = PANELS + LINE * (len(lines) + 1)
    figure = Figure(figsize=(WIDTH, height), dpi=100)
    low = 1 - (PANELS - 0.4) / height
    left = figure.add_axes((0.01, low, 0.48, (PANELS - 0.7) / height))
    right = figure.add_axes((0.51, low, 0.40, (PANELS - 0.7) / height))
    _draw_object(left, inputs, tracks)
    _draw_depth(right, figure, inputs)
    figure.text(
        0.015, low - 0.25 / height, "\n".join(lines), va="top", fontsize=10, linespacing=1.3
    )
    return figure


def _draw_object(axes: Any, inputs: Inputs, tracks: Tracks) -> None:
    axes.imshow(inputs.videos[0][0], extent=_extent(inputs))
    _outline(axes, inputs.mask)
    seen = tracks.visible
    for k in range(tracks.count):
        path = tracks.xy[seen[:, k], k]
        if len(path):
            color = TRACK if seen[-1, k] else LOST
            axes.plot(*path.T, color=color, linewidth=1)
            axes.plot(*path[0], ".", color=color, markersize=3)
    axes.set_title(
        f"frame 0: the object, and its points through {len(seen)} frames (orange: lost)",
        fontsize=10,
    )
    _zoom(axes, inputs.mask)


def _draw_depth(axes: Any, figure: "Figure", inputs: Inputs) -> None:
    gray = cv2.cvtColor(inputs.videos[0][0], cv2.COLOR_RGB2GRAY)
    axes.imshow(gray, cmap="gray", extent=_extent(inputs), alpha=0.35)
    shown = axes.imshow(
        np.where(inputs.mask, inputs.depth, np.nan), cmap="viridis_r", extent=_extent(inputs)
    )
    figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.02)
    axes.set_title("depth along the optical axis (m)", fontsize=10)
    _zoom(axes, inputs.mask)


def _extent(inputs: Inputs) -> tuple[float, float, float, float]:
    height, width = inputs.mask.shape
    return 0.0, float(width), float(height), 0.0


def _outline(axes: Any, mask: np.ndarray) -> None:
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for outline in outlines:
        ring = np.concatenate([outline[:, 0], outline[:1, 0]]) + 0.5
        axes.plot(*ring.T, color=OUTLINE, linewidth=1.5)


def _zoom(axes: Any, mask: np.ndarray) -> None:
    """To the object and as much around it, within the picture."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    margin = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 16
    axes.set_xlim(max(columns[0] - margin, 0), min(columns[-1] + margin, width))
    axes.set_ylim(min(rows[-1] + margin, height), max(rows[0] - margin, 0))
    axes.set_axis_off()
