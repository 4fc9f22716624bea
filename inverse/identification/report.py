"""The report of a search for a material."""

import numpy as np

from inverse.identification.run import MaterialRun
from inverse.identification.unknowns import Unknown
from inverse.runs.folder import REPORT
from inverse.runs.plots import plot_lines
from inverse.runs.report import Report


def write_report(run: MaterialRun, unknowns: list[Unknown], command: list[str] | None) -> None:
    """Write report.html of a finished search."""
    metrics = run.metrics
    values = metrics["values"]
    report = Report("What is it made of?")
    report.notice(metrics["verdict"]["sentence"], metrics["verdict"]["belief"])
    report.summary(
        f"{metrics['particles']} particles that move as seen in {metrics['frames']} frames, found "
        f"in {metrics['seconds']['search']:.0f} s."
    )
    scale = 1000.0 if metrics["unit"] == "m" else 1.0
    unit = "mm" if metrics["unit"] == "m" else metrics["unit"]
    cards: dict[str, object] = {}
    for unknown in unknowns:
        record = values[unknown.label]
        if unknown.moves:
            continue
        if record["told"]:
            note = f"95 %: {record['low']:.3g} to {record['high']:.3g}"
            cards[unknown.label] = (f"{record['value']:.3g}", record["unit"], note)
        else:
            cards[unknown.label] = ("not told", "", "by this motion")
    cards["misses the motion by"] = (f"{scale * metrics['loss']:.2g}", unit)
    report.figures(cards)
    report.heading("How well it moves")
    before, now = (
        scale * np.array([np.nan if v is None else v for v in metrics["missed"][key]])
        for key in ("guess", "found")
    )
    label = f"missed ({unit})" if unit else "missed"
    report.plot(
        plot_lines(run.t, {"guess": before, "found": now}, "time (s)", label),
        "What the simulation misses of the motion, root mean square, with the guess and with what "
        "was found.",
    )  # fmt: skip
    report.heading("The search")
    steps = [h for h in metrics["history"] if h["stage"] != "trying" and h["loss"] is not None]
    if steps:
        report.plot(
            plot_lines(
                range(len(steps)), {"missed": [scale * h["loss"] for h in steps]}, "step", unit,
                log=True, marks=True,
            ),
            "What is missed after each step: of how the motion begins, of the first half, of the "
            "clip on a coarse grid, and on the fine one.",
        )  # fmt: skip
        sought = {
            u.label: [h["values"][k] / (values[u.label]["value"] or 1.0) for h in steps]
            for k, u in enumerate(unknowns)
            if not u.moves
        }
        report.plot(
            plot_lines(range(len(steps)), sought, "step", "value / found", log=True, marks=True),
            "The values on the way, over those that were found.",
        )
    rows = [
        (
            u.label, r["value"], r["low"], r["high"], r["unit"], "yes" if r["told"] else "no",
            round(r["samples"]), f"{100 * r['grid_share']:.0f} %",
        )
        for u in unknowns
        for r in [values[u.label]]
    ]  # fmt: skip
    report.table(
        "What was found; samples: to how many independent measurements all of them amount; grid: "
        "share of the spread that comes from the resolution",
        rows,
        ("quantity", "value", "low", "high", "unit", "told", "samples", "grid"),
    )
    report.assumptions(_assumed(run))
    report.settings({"run": run.job, "search": run.config})
    report.environment(seed=run.job.seed, command=command)
    report.write(run.folder / REPORT)


def _assumed(run: MaterialRun) -> list[str]:
    job = run.job
    gravity = ", ".join(f"{g:g}" for g in run.metrics["gravity"])
    lines = ["The object is free of stress in frame 0."]
    if job.scene is not None:
        lines.append("Shape, forces and colliders are those of the scene file.")
        return lines
    lines.append(f"Gravity is ({gravity}) m/s².")
    lines.append(
        "No other force acts." if job.force is None else "The force is that of the file, no other."
    )
    lines.append(f"The law of the material is {job.material}.")
    if "density" not in job.unknowns:
        lines.append(
            f"The density is {job.density:g} kg/m³; stresses are proportional to it: with twice "
            "the density all of them are twice as large, for the same motion."
        )
    if "velocity" not in job.unknowns and job.hold_box is None:
        v = (0.0, 0.0, 0.0) if job.velocity is None else job.velocity
        speed = "at rest" if not any(v) else f"with ({', '.join(f'{c:g}' for c in v)}) m/s"
        lines.append(f"The object starts {speed}.")
    if job.floor is not None:
        lines.append(f"There is a floor at {job.floor:g} m.")
    return lines
