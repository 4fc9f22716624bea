"""Plots for reports, as matplotlib figures that are readable on light and dark pages and phones."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np


if TYPE_CHECKING:
    from matplotlib.figure import Figure

Numbers = Sequence[float] | np.ndarray


INK = "#0f1e2d"  # text and axes: the report replaces it by the page's text color
SERIES = ("#2b83d3", "#e0632a", "#2a9d62", "#b35cc0", "#c99a06", "#8a8f98")  # on white and black
WIDTH, HEIGHT, FONT = 5.4, 3.1, 12  # inch, inch, pt: small, so that phones do not shrink the text
BROAD: dict[str, Any] = {"linewidth": 6.0, "alpha": 0.35, "zorder": 2, "solid_capstyle": "butt"}


def plot_lines(
    x: Numbers,
    series: Mapping[str, Numbers],
    xlabel: str,
    ylabel: str,
    *,
    reference: Mapping[str, Numbers] | None = None,
    reference_name: str = "truth",
    log: bool = False,
    marks: bool = False,
    zero: bool = False,
) -> "Figure":
    """Draw curves over x (T,) as a matplotlib Figure.

    series: name -> (T,) values, NaN where unknown; reference: name -> (T,) values to compare with,
    drawn as a broad pale line in the color of the series of the same name, or as a dashed line if
    there is no such series; log: make the y axis logarithmic; marks: put a dot on each value; zero:
    start the y axis at zero. Raises ValueError if values and x differ in length.
    """
    figure, (axes,) = _figure(1, HEIGHT)
    reference = reference or {}
    keys = []
    for i, (name, values) in enumerate(series.items()):
        color = SERIES[i % len(SERIES)]
        keys += _curve(axes, name, x, values, color=color, zorder=3, marker="o" if marks else None)
        if name in reference:
            _curve(axes, name, x, reference[name], color=color, **BROAD)
    if any(name in series for name in reference):
        keys.append(_key(reference_name, color=INK, **BROAD))
    for name, values in reference.items():
        if name not in series:
            keys += _curve(axes, name, x, values, color=INK, linestyle=(0, (4, 2)), zorder=2)
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
    if zero:
        axes.set_ylim(bottom=0)
    if len(keys) > 1:
        _legend(figure, keys)
    return figure


def plot_losses(losses: Sequence[tuple[int, float]]) -> "Figure":
    """The photometric losses (iteration, L1 and SSIM) of a training as a matplotlib Figure."""
    iterations, values = zip(*losses, strict=True)
    return plot_lines(iterations, {"loss": values}, "iteration", "L1 and SSIM", log=True)


def plot_components(
    x: Numbers,
    values: np.ndarray,
    xlabel: str,
    ylabel: str,
    *,
    reference: np.ndarray | None = None,
    reference_name: str = "truth",
    name: str = "recovered",
    band: np.ndarray | None = None,
) -> "Figure":
    """Draw the x, y and z components of vectors (T, 3) over x (T,) in three panels.

    reference: (T, 3) to compare with, drawn as broad pale lines; band: (T, 3), what values may be
    off by, drawn as a pale area around them; ylabel: the quantity and its unit,
    such as "g (m/s²)". The panels share one scale, so that the components can be compared. Returns
    a Figure. Raises ValueError for another shape.
    """
    figure, panels = _figure(3, 1.8 * HEIGHT)
    for k, axes in enumerate(panels):
        if band is not None:
            low, high = np.asarray(values)[:, k] - band[:, k], np.asarray(values)[:, k] + band[:, k]
            axes.fill_between(x, low, high, color=SERIES[k], alpha=0.2, linewidth=0, zorder=1)
        for label, vectors in ((name, values), (reference_name, reference)):
            if vectors is None:
                continue
            if np.shape(vectors) != (len(x), 3):
                raise ValueError(f"{label}: got shape {np.shape(vectors)}, expected {(len(x), 3)}")
            style = dict(zorder=3) if vectors is values else BROAD
            _curve(axes, label, x, np.asarray(vectors)[:, k], color=SERIES[k], **style)
        axes.set_ylabel("xyz"[k], rotation=0, labelpad=10)
    panels[-1].set_xlabel(xlabel)
    panels[0].set_title(ylabel, loc="left", fontsize=FONT, color=INK)
    if reference is not None:
        _legend(figure, [_key(name, color=INK), _key(reference_name, color=INK, **BROAD)])
    return figure


def _figure(rows: int, height: float) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(rows, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes in panels:
        axes.grid(color=INK, alpha=0.15, linewidth=0.7)
        axes.tick_params(which="both", colors=INK, labelsize=FONT, length=0)
        axes.xaxis.label.set(color=INK, size=FONT)
        axes.yaxis.label.set(color=INK, size=FONT)
        for side, spine in axes.spines.items():
            spine.set(visible=side == "bottom", edgecolor=INK, alpha=0.5)
    return figure, panels


def _curve(
    axes: Any,
    name: str,
    x: Numbers,
    values: Numbers,
    *,
    linewidth: float = 2.0,
    **style: Any,
) -> list[Any]:
    if np.shape(values) != (len(x),):
        raise ValueError(f"series {name!r}: got shape {np.shape(values)}, expected {(len(x),)}")
    return axes.plot(x, values, label=name, linewidth=linewidth, markersize=4, **style)


def _key(name: str, *, linewidth: float = 2.0, **style: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=name, linewidth=linewidth, **style)


def _legend(figure: "Figure", keys: Sequence[Any]) -> None:
    figure.legend(
        handles=keys, loc="outside lower center", ncols=min(len(keys), 4),
        frameon=False, labelcolor=INK, fontsize=FONT, handlelength=1.8,
    )  # fmt: skip
