"""The report of a wind run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from inverse.runs.folder import REPORT, VIDEO
from inverse.runs.plots import plot_components, plot_lines
from inverse.runs.report import Report


if TYPE_CHECKING:
    from inverse.wind.run import WindRun


def write_report(
    run: "WindRun",
    metrics: Mapping[str, Any],
    assumptions: Sequence[str],
    *,
    specific: np.ndarray,
    truth: np.ndarray | None,
    psnr: Mapping[str, np.ndarray],
    command: list[str] | None,
) -> None:
    """Write report.html of a finished run.

    specific: (T, 3) m/s^2, net force per mass; truth: the same from the clip, or None; psnr: name
    -> (T,) dB of pictures against the clip.
    """
    t = run.t
    strength = np.linalg.norm(specific, axis=1)
    peak = int(strength.argmax())
    report = Report("What moved this?").summary(
        f"The force that carries the object through {len(t)} frames is {strength.mean():.2f} m/s² "
        f"per unit of mass on average and {strength[peak]:.2f} m/s² at its strongest, "
        f"{t[peak]:.2f} s into the clip. It is everything that acts on the object from outside, "
        "gravity included."
    )
    figures = {
        "mean strength": (f"{strength.mean():.2f}", "m/s²"),
        "peak": (f"{strength[peak]:.2f}", "m/s²", f"at {t[peak]:.2f} s"),
        "distance to targets": (f"{1e3 * metrics['target_distance_m']:.1f}", "mm"),
        "picture (PSNR)": (f"{metrics['psnr']:.1f}", "dB", f"SSIM {metrics['ssim']:.3f}"),
        "time": (f"{metrics['seconds']['total']:.0f}", "s"),
    }
    if truth is not None:
        errors = metrics["errors"]
        figures["direction error"] = (f"{errors['direction_error_deg']:.1f}", "degrees")
        figures["magnitude error"] = (f"{errors['magnitude_error_percent']:.1f}", "%")
    report.figures(figures)
    report.video(
        run.folder / VIDEO,
        "Input, re-simulation, and force per mass as arrows, drawn "
        "where the clip shows the object.",
    )
    report.heading("The force over time")
    report.plot(
        plot_components(t, specific, "time (s)", "net force per mass (m/s²)", reference=truth),
        "Net external force per mass, by component of the world frame, gravity included.",
    )
    wind_only = specific - run.gravity
    report.plot(
        plot_lines(
            t,
            {"all": strength, "less gravity": np.linalg.norm(wind_only, axis=1)},
            "time (s)", "force per mass (m/s²)",
        ),
        "Strength of the force, also less the gravity "
        f"({', '.join(f'{g:g}' for g in run.gravity)}) m/s² that was assumed.",
    )  # fmt: skip
    if truth is not None:
        report.heading("Against the truth")
        names = {
            "direction_error_deg": "direction (degrees)",
            "magnitude_error_percent": "magnitude (%)",
            "vector_error_percent": "vector (%)",
        }
        held = metrics["errors_of_first_force_held"]
        report.table(
            "Mean errors over the frames 1 to T - 4, counted from 0.",
            [[names[k], f"{metrics['errors'][k]:.1f}", f"{held[k]:.1f}"] for k in names],
            header=["error", "recovered", "true force of frame 0, held"],
        )
        cosine = (specific * truth).sum(1) / (strength * np.linalg.norm(truth, axis=1) + 1e-12)
        report.plot(
            plot_lines(
                t, {"direction error": np.degrees(np.arccos(np.clip(cosine, -1, 1)))},
                "time (s)", "degrees", zero=True,
            ),
            "Angle between recovered and true net force.",
        )  # fmt: skip
    report.heading("How well it fits")
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
    healed = [f"{count} particles in frame {k}" for k, count in metrics["healed"].items()]
    torn = [f"The object was torn; these went on undeformed: {', '.join(healed)}."]
    report.assumptions([*assumptions, *(torn if healed else [])])
    report.settings({"run": run.job, "solver": run.config})
    report.environment(seed=run.job.seed, command=command)
    report.write(run.folder / REPORT)
