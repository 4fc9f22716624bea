"""The report of a wind run."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from inverse.lifting.quality import LOST
from inverse.runs.folder import REPORT, VIDEO
from inverse.runs.plots import plot_components, plot_lines
from inverse.runs.report import NOTICES, Report
from inverse.tracking import Tracks
from inverse.wind.inputs.load import Inputs
from inverse.wind.inputs.preview import first_look, preview_picture
from inverse.wind.results.verdict import LEVELS, Verdict
from inverse.wind.run import WindRun


ERRORS = {
    "direction_error_deg": "direction (degrees)",
    "magnitude_error_percent": "magnitude (%)",
    "vector_error_percent": "vector (%)",
}
MISSES = {"median": "median", "90 %": "90_percent"}


def told_besides(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences on what moved the object, beside the verdict of a run with these metrics."""
    return [metrics[k]["sentence"] for k in ("swing", "flight", "explained") if metrics.get(k)]


def write_report(
    run: WindRun,
    metrics: Mapping[str, Any],
    inputs: Inputs,
    verdict: Verdict,
    *,
    paths: np.ndarray,
    specific: np.ndarray,
    truth: np.ndarray | None,
    psnr: Mapping[str, np.ndarray],
    command: list[str] | None,
) -> None:
    """Write report.html of a finished run.

    paths: (F, k, 2) px of points in the first frames, NaN where they are not seen; specific: (T, 3)
    m/s^2, net force per mass; truth: as specific, from the clip, or None; psnr:
    name -> (T,) dB of pictures against the clip. Curves end where the object is lost.
    """
    t, until = run.t, verdict.until
    strength = np.linalg.norm(specific, axis=1)
    peak = int(strength[: until + 1].argmax())
    strength, known = strength.copy(), specific.copy()
    strength[until + 1 :] = known[until + 1 :] = np.nan
    mean = float(np.nanmean(strength))
    report = Report("What moved this?")
    report.notice(verdict.sentence, NOTICES[LEVELS.index(verdict.belief)])
    report.summary(
        f"The force that carries the object through {until + 1} frames is {mean:.2f} m/s² "
        f"per unit of mass on average and {strength[peak]:.2f} m/s² at its strongest, "
        f"{t[peak]:.2f} s into the clip. It is everything that acts on the object from outside, "
        "gravity included"
        + (", but for what holds it." if run.reaction.any() else ".")
        + "".join(f" {sentence}" for sentence in told_besides(metrics))
    )
    figures = {
        "mean strength": (f"{mean:.2f}", "m/s²", f"± {_usual(metrics):.2g} in a frame"),
        "peak": (f"{strength[peak]:.2f}", "m/s²", f"at {t[peak]:.2f} s"),
        "distance to targets": (f"{1e3 * metrics['target_distance_m']:.1f}", "mm"),
        "picture (PSNR)": (f"{metrics['psnr']:.1f}", "dB", f"SSIM {metrics['ssim']:.3f}"),
        "time": (f"{metrics['seconds']['total']:.0f}", "s"),
    }
    if truth is not None:
        for name, key, unit in (
            ("direction error", "direction_error_deg", "degrees"),
            ("magnitude error", "magnitude_error_percent", "%"),
        ):
            note = f"frames 1 to {len(t) - 4}; all: {metrics['errors_all_frames'][key]:.1f}"
            figures[name] = (f"{metrics['errors'][key]:.1f}", unit, note)
    report.figures(figures)
    seen = np.isfinite(paths).all(axis=-1)
    tracks = Tracks(xy=np.where(seen[..., None], paths, 0.0), visible=seen)
    report.picture(
        preview_picture(inputs, tracks),
        "What was taken to be the object in frame 0 (outlined), how its points move at first, and "
        "its depth. If this is not the object, give a mask or another box. "
        + " ".join(first_look(inputs, tracks)),
    )
    healed = [f"{count} particles in frame {k}" for k, count in metrics["healed"].items()]
    torn = [f"The object was torn; these went on undeformed: {', '.join(healed)}."]
    report.assumptions([*inputs.assumptions, *(torn if healed else [])])
    report.video(
        run.folder / VIDEO,
        "Input, re-simulation, and force per mass as arrows, drawn "
        "where the clip shows the object and where the force is above two standard deviations of "
        "what is known of it; below four they are pale.",
    )
    report.heading("The force over time")
    report.plot(
        plot_components(
            t,
            known,
            "time (s)",
            "net force per mass (m/s²)",
            reference=truth,
            band=run.net_std / run.mass.sum(),
        ),
        "Net external force per mass, by component of the world frame, gravity included. The bands "
        "are one standard deviation either way."
        + _factor_note(run, metrics)
        + (
            f" It ends at {t[until]:.2f} s, where the object is lost." if until + 1 < len(t) else ""
        ),
    )
    wind_only = known - run.gravity
    report.plot(
        plot_lines(
            t,
            {"all": strength, "less gravity": np.linalg.norm(wind_only, axis=1)},
            "time (s)", "force per mass (m/s²)",
        ),
        "Strength of the force, also less the gravity "
        f"({', '.join(f'{g:g}' for g in run.gravity)}) m/s² that was assumed.",
    )  # fmt: skip
    for number, record in enumerate(metrics.get("objects", ()), 1):
        own = np.array(record["net_m_s2"])
        own[until + 1 :] = np.nan
        report.plot(
            plot_components(t, own, "time (s)", f"object {number}: force per mass (m/s²)"),
            f"Net external force per mass on object {number}, label {number} of the mask: "
            f"{record['mean_m_s2']:.2f} m/s² on average on its {record['mass_kg']:.3g} kg.",
        )
    if run.reaction.any():
        report.plot(
            plot_components(
                t[: until + 1], run.reaction[: until + 1], "time (s)", "reaction (N)",
                band=run.net_std[: until + 1],
            ),
            "Force by which what holds the object, and the floor, push it. The forces above leave "
            "it out. It is as uncertain as their sum, which it balances.",
        )  # fmt: skip
    if truth is not None:
        report.heading("Against the truth")
        columns = [
            metrics[key] for key in ("errors", "errors_all_frames", "errors_of_first_force_held")
        ]
        inner, whole = f"frames 1 to {len(t) - 4}", f"all {len(t)} frames"
        report.table(
            "Mean errors. The ends of a clip do not determine a net force, which is a second "
            f"difference of positions: figures are those of {inner}, counted from 0, where nothing "
            "else is said.",
            [[name, *(f"{one[key]:.1f}" for one in columns)] for key, name in ERRORS.items()],
            header=["error", f"recovered, {inner}", f"recovered, {whole}",
                    "true force of frame 0, held"],
        )  # fmt: skip
        if "field_errors" in metrics:
            fields = [metrics["field_errors"], metrics["field_errors_all_frames"]]
            report.table(
                "Mean errors of the force on each node of the true object, where that exceeds 5 % "
                "of the strongest.",
                [[name, *(f"{one[key]:.1f}" for one in fields)] for key, name in ERRORS.items()],
                header=["error of the field", f"recovered, {inner}", f"recovered, {whole}"],
            )
        cosine = (known * truth).sum(1) / (strength * np.linalg.norm(truth, axis=1) + 1e-12)
        report.plot(
            plot_lines(
                t, {"direction error": np.degrees(np.arccos(np.clip(cosine, -1, 1)))},
                "time (s)", "degrees", zero=True,
            ),
            "Angle between recovered and true net force.",
        )  # fmt: skip
    report.heading("How well it fits")
    misses = metrics["lift"]["reprojection_px"]
    shown = {name: np.array(misses[key], dtype=float) for name, key in MISSES.items()}
    report.plot(
        plot_lines(t, shown, "time (s)", "px", zero=True),
        "Distance between where keypoints were tracked and where the motion in space puts them.",
    )
    report.plot(
        plot_lines(
            t, {"seen": 100 * np.asarray(metrics["seen_share"])}, "time (s)", "seen (%)",
            reference={"lost": np.full(len(t), 100 * LOST)}, zero=True,
        ),
        "Share of the object that tracks still see. Below the dashed line it is lost.",
    )  # fmt: skip
    report.plot(
        plot_lines(t[1:], {"L_motion": np.asarray(metrics["loss"])}, "time (s)", "m/s²"),
        "What is left of the motion loss at the end of each interval.",
    )
    report.plot(
        plot_lines(t, psnr, "time (s)", "PSNR (dB)"),
        "The re-simulation against the clip, over the pixels where the object is or may be: near "
        f"its particles or their targets. Mean {metrics['psnr']:.1f} dB, SSIM "
        f"{metrics['ssim']:.3f}; held as in frame 0, {metrics['psnr_of_first_frame_held']:.1f} dB.",
    )
    report.settings({"run": run.job, "solver": run.config})
    report.environment(seed=run.job.seed, command=command)
    report.write(run.folder / REPORT)


def _usual(metrics: Mapping[str, Any]) -> float:
    """m/s^2, usual standard deviation of the net force in a frame."""
    return float(np.median(np.linalg.norm(metrics["confidence"]["net_std_m_s2"], axis=1)))


def _factor_note(run: WindRun, metrics: Mapping[str, Any]) -> str:
    """What scales all forces, and stands in no band."""
    factors = metrics["confidence"]["factors"]
    if not factors:
        return ""
    return (
        f" Besides, all forces may be off by a factor of {run.factor:.2g}, since this is not known "
        f"better: {', '.join(factors)}."
    )
