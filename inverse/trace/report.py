"""The report of a TRACE run."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from inverse.runs.folder import REPORT, VIDEO
from inverse.runs.plots import plot_losses
from inverse.runs.report import Report
from inverse.trace.run import TraceRun


def write_report(
    run: TraceRun, losses: Sequence[tuple[int, float]], command: list[str] | None
) -> None:
    """Write report.html of a finished run; losses: (iteration, loss) of the training."""
    report, metrics, duration = Report("What happens next?"), run.metrics, run.model.duration
    seen = f"{len(run.cameras)} photographs of the first {duration:g} s"
    summary = f"Learned from {seen} in {metrics['seconds']:.0f} s."
    if metrics["extrapolation"]:
        summary += (
            f" Pictures of later times are predicted with a PSNR of "
            f"{metrics['extrapolation']['psnr']:.1f} dB."
        )
    report.summary(summary)
    figures: dict[str, object] = {}
    for name in ("interpolation", "extrapolation"):
        if metrics[name]:
            figures[f"{name} PSNR"] = (f"{metrics[name]['psnr']:.2f}", "dB")
            figures[f"{name} SSIM"] = f"{metrics[name]['ssim']:.3f}"
            if metrics[name].get("pmf") is not None:
                figures[f"{name} PMF"] = f"{metrics[name]['pmf']:.2f}"
    if metrics["segmentation"]:
        figures["parts, mIoU"] = f"{metrics['segmentation']['miou']:.3f}"
    if metrics.get("tracks"):
        for name in ("interpolation", "extrapolation"):
            if metrics["tracks"][name] is not None:
                figures[f"{name}, tracks off by"] = (f"{metrics['tracks'][name]:.3g}", "m")
    figures["Gaussians"] = (metrics["gaussians"], "", f"{metrics['moving']} of them move")
    figures["training"] = (f"{metrics['seconds']:.0f}", "s")
    report.figures(figures)
    report.video(
        run.folder / VIDEO,
        f"The scene, and its parts by color (gray stands still): up to t = {duration:g} s as "
        "observed, then as predicted.",
    )
    parts = run.motion["parts"] if run.motion else []
    if parts:
        later = duration * (1 + run.job.future)
        report.heading("How the parts move")
        report.table(
            f"At t = {duration:g} s, the last observed time, from the paths of its "
            "Gaussians; standard errors in brackets. The law of a part is the form of motion that "
            "best predicts observed frames which it was not fitted to; deviation is the standard "
            "deviation of the predicted places.",
            [
                [*row, *law_cells(run, part)]
                for row, part in zip(motion_rows(parts), parts, strict=True)
            ],
            header=[
                "part",
                "center (m)",
                "velocity (m/s)",
                "acceleration (m/s²)",
                "spin (rad/s)",
                "axis",
                "law: path, turn",
                f"deviation at {later:.3g} s (m)",
            ],
        )
    if metrics.get("sharing"):
        report.text(sharing_words(metrics["sharing"]))
    if metrics.get("light"):
        report.text(light_words(metrics["light"]))
    if losses:
        report.heading("How well it fits").plot(
            plot_losses(losses),
            "Loss on single photographs; it rises when the curriculum adds later times.",
        )
    report.settings({"run": run.job, "trace": run.config})
    report.environment(seed=run.job.seed, command=command)
    report.write(run.folder / REPORT)


def sharing_words(verdicts: Sequence[dict[str, Any]]) -> str:
    """What the photographs that were held out say of shared motions, as sentences."""
    kept = sum(v["kept"] for v in verdicts)
    words = (
        f"{kept} of {len(verdicts)} pieces of rigid parts were given one motion for each part for "
        "good, because it explains photographs that were held out at least as well as their "
        "motions before."
    )
    for v in verdicts:
        if not v["kept"]:
            before, now = (_decibels(v[name]) for name in ("error_before", "error"))
            words += (
                f" {v['gaussians']} Gaussians move again as before: their pixels had a PSNR of "
                f"{now} with the motion of their part, and of {before} before."
            )
    return words


def light_words(verdict: dict[str, Any]) -> str:
    """What the photographs that were held out say of the light, as a sentence."""
    before, now = (_decibels(verdict[name]) for name in ("error_without", "error"))
    compared = f"photographs that were held out have a PSNR of {now} with it, and of {before}"
    if verdict["kept"]:
        return f"Light that is fixed in the world shades parts that turn: {compared} without."
    return f"No light that is fixed in the world was found: {compared} without, which is used."


def _decibels(error: float) -> str:
    return f"{-10 * math.log10(max(error, 1e-10)):.1f} dB"


def motion_rows(parts: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """A row of cells for each part of motion.json; the numbers of a column have equal decimals."""
    rows = []
    for name in ("centre", "velocity", "acceleration"):
        cells = _numbers([part[name] for part in parts], 3)
        if name != "centre":
            errors = _numbers([np.atleast_1d(part["spread"][name]) for part in parts], 2)
            errors = [e.split()[0] if len(set(e.split())) == 1 else e for e in errors]
            cells = [f"{cell} ({error})" for cell, error in zip(cells, errors, strict=True)]
        rows.append(cells)
    spins = _numbers([[part["angular_speed"]] for part in parts], 3)
    axes = [None if part["axis"] is None else _fixed(part["axis"], 2) for part in parts]
    labels = [part["label"] for part in parts]
    return [list(row) for row in zip(labels, *rows, spins, axes, strict=True)]


def law_cells(run: TraceRun, part: dict[str, Any]) -> list[Any]:
    """The law of a part and the deviation of its places at the end of the film."""
    law, shared = part["law"], run.model.shared
    if law is None or shared is None or shared.laws is None:
        return ["each Gaussian its own", None]
    end = run.model.duration * (1 + run.job.future)
    deviation = float(shared.laws[part["label"] - 1].deviations([end])[0])
    return [f"{law['path']}, {law['rotation']}", f"{deviation:.2g}"]


def _numbers(vectors: Sequence[Sequence[float] | np.ndarray], digits: int) -> list[str]:
    """Vectors as text, with as many decimals as the largest number needs to show its digits."""
    largest = max(abs(float(v)) for vector in vectors for v in vector)
    power = math.floor(math.log10(largest)) if 1e-9 < largest < math.inf else 0
    return [_fixed(vector, max(digits - 1 - power, 0)) for vector in vectors]


def _fixed(vector: Sequence[float] | np.ndarray, decimals: int) -> str:
    return " ".join(f"{round(float(v), decimals) + 0.0:.{decimals}f}" for v in vector)  # no -0.00
