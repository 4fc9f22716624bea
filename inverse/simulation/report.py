"""The results of a scene, as numbers over time and as a report."""

import math
from typing import Any

import numpy as np

from inverse.runs.folder import REPORT, VIDEO
from inverse.runs.plots import plot_lines
from inverse.runs.report import Report
from inverse.simulation.run import SceneRun
from taichi_phys.io.states import Frames


def measure(masses: np.ndarray, frames: Frames) -> dict[str, list[Any]]:
    """Measure the particles that are left in the grid, frame by frame.

    masses: (n,) kg, of the particles. Returns for each frame t in s, center_of_mass (3,) in m,
    kinetic_energy in J, top_speed in m/s, and top, the height of the highest particle, in m. Values
    that need a particle are NaN if none is left.
    """
    series: dict[str, list[Any]] = {
        key: [] for key in ("t", "center_of_mass", "kinetic_energy", "top_speed", "top")
    }
    for frame in frames:
        here = ~frame.removed
        mass, x = masses[here], frame.x[here].astype(float)
        speed = np.linalg.norm(frame.v[here].astype(float), axis=1)
        center = mass @ x / mass.sum() if len(x) else np.full(3, np.nan)
        series["t"].append(float(frame.time))
        series["center_of_mass"].append(center.tolist())
        series["kinetic_energy"].append(float(0.5 * mass @ speed**2))
        series["top_speed"].append(float(speed.max(initial=0.0)))
        series["top"].append(float(x[:, 2].max()) if len(x) else math.nan)
    return series


def write_report(run: SceneRun, command: list[str] | None) -> None:
    """Write report.html of a finished run."""
    scene, metrics = run.scene, run.metrics
    report = Report(scene.title)
    report.summary(
        f"{metrics['particles']} particles of {len(scene.bodies)} "
        f"{'body' if len(scene.bodies) == 1 else 'bodies'}, {metrics['simulated_seconds']:.2f} s "
        f"in {metrics['seconds']:.0f} s of computing."
    )
    if scene.output.video:
        report.video(run.folder / VIDEO, scene.title)
    gone = f"{metrics['removed']} left the grid" if metrics["removed"] else ""
    report.figures(
        {
            "particles": (metrics["particles"], "", gone),
            "mass": (metrics["mass"], "kg"),
            "frames": (metrics["frames"], "", f"{scene.time.fps:g} a second"),
            "speed": (metrics["frames_per_second"], "frames/s"),
        }
    )
    _plots(report, metrics["series"])
    rows = [
        (b.name, b.shape, type(b.material).__name__, b.density, n)
        for b, n in zip(scene.bodies, metrics["particles_of_bodies"], strict=True)
    ]
    report.table("Bodies", rows, ("name", "shape", "material", "density (kg/m³)", "particles"))
    report.settings(scene.settings(), "The scene, with all defaults")
    report.environment(seed=scene.simulation.seed, command=command)
    report.write(run.folder / REPORT)


def _plots(report: Report, series: dict[str, list[Any]]) -> None:
    t = series["t"]
    if len(t) < 2:
        return
    centers = [math.nan if center[2] is None else center[2] for center in series["center_of_mass"]]
    tops = [math.nan if top is None else top for top in series["top"]]  # JSON knows no NaN
    heights = {"center of mass": centers, "top": tops}
    report.plot(plot_lines(t, heights, "time (s)", "height (m)"), "Height.")
    energy = {"kinetic energy": series["kinetic_energy"]}
    report.plot(plot_lines(t, energy, "time (s)", "energy (J)"), "Kinetic energy.")
    speed = {"fastest particle": series["top_speed"]}
    report.plot(plot_lines(t, speed, "time (s)", "speed (m/s)"), "Speed.")
