"""The common part of the physics examples, which simulate, check the physics, film and report.

Each example is a function from its flags to an Experiment; run_experiment does the rest.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import taichi_phys as tp
from inverse.commands.runner import DONE, FAILED, run_command
from inverse.runs.report import Report
from inverse.runs.settings import write_json
from renderers.particles.draw import Floor, film, view
from taichi_phys.runtime import ARCHS, one_torch_thread


BALL = 0.62  # radius of a drawn particle, in spacings: balls just overlap


class Checks:
    """Measured values beside the values that physics predicts."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def near(self, name: str, got: float, expected: float, unit: str, *, within: float) -> None:
        """Check that got differs from expected by at most within, all three in the unit."""
        self._add(name, got, abs(got - expected) <= within, unit, f"{expected:.4g} ± {within:.2g}")

    def between(self, name: str, got: float, low: float, high: float, unit: str = "") -> None:
        """Check that got lies between low and high, all three in the unit."""
        wanted = f"at most {high:.4g}" if low == -float("inf") else f"{low:.4g} to {high:.4g}"
        wanted = f"at least {low:.4g}" if high == float("inf") else wanted
        self._add(name, got, low <= got <= high, unit, wanted)

    def _add(self, name: str, got: float, passed: bool, unit: str, expected: str) -> None:
        self.rows[name] = {
            "measured": float(got),
            "unit": unit,
            "expected": expected,
            "passed": bool(passed),
        }

    def failures(self) -> list[str]:
        """A sentence for each check that failed."""
        return [
            f"{name}: measured {row['measured']:.4g} {row['unit']}".rstrip()
            + f", expected {row['expected']}"
            for name, row in self.rows.items()
            if not row["passed"]
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """The results of an example, and how to show them.

    title, summary: of the report; checks: of the physics; pictures: for each frame of the film,
    what is drawn only in that frame, as renderers.particles.draw.film takes it; room: the lower and
    the upper corner (m) of what the camera shows; side: azimuth, elevation and margin of the
    camera; drawn: what is the same in all frames, such as colors; plots: caption -> figure;
    metrics: further entries of metrics.json.
    """

    title: str
    summary: str
    checks: Checks
    pictures: list[dict[str, Any]]
    room: tuple[Sequence[float], Sequence[float]]
    side: dict[str, Any] = dataclasses.field(default_factory=dict)
    drawn: dict[str, Any] = dataclasses.field(default_factory=dict)
    plots: dict[str, Any] = dataclasses.field(default_factory=dict)
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Recording:
    """Particles over time: t (T,) s, x (T, n, 3) m, v (T, n, 3) m/s, mass (n,) kg; float64."""

    t: np.ndarray
    x: np.ndarray
    v: np.ndarray
    mass: np.ndarray

    def mean(self, values: np.ndarray, part: slice = slice(None)) -> np.ndarray:
        """The means (T, 3), weighted by mass, of values (T, n, 3) over the particles of a part."""
        mass = self.mass[part]
        return (mass[:, None] * values[:, part]).sum(axis=1) / mass.sum()


def record(sim: tp.MPM, states: Iterable[tp.State]) -> Recording:
    """Convert the states of a simulation to arrays."""
    rows = [(s.time, s.x.double().cpu().numpy(), s.v.double().cpu().numpy()) for s in states]
    t, x, v = (np.array(column) for column in zip(*rows, strict=True))
    return Recording(t, x, v, sim.mass.double().cpu().numpy())


def make_parser(
    doc: str | None, *, out: str, frames: int, spacing: float, slow: float | None = None
) -> argparse.ArgumentParser:
    """Make a parser with the flags that all physics examples have.

    doc: the description; out, frames, spacing: defaults of these flags; slow: default of --slow,
    None for no such flag.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--out", default=out, metavar="DIR", help="default: %(default)s")
    add("--frames", type=int, default=frames, help="frames of the film; default: %(default)s")
    add("--fps", type=float, default=24.0, help="frames per second; default: %(default)g")
    add(
        "--spacing",
        type=float,
        default=spacing,
        metavar="M",
        help="distance between particles, m, which is half a grid cell; twice the distance is "
        "about 16 times faster; default: %(default)g",
    )
    add("--seed", type=int, default=0, help="of the particles' positions; default: %(default)s")
    add("--device", default="auto", choices=ARCHS, help="default: a GPU if there is one")
    add(  # the former name of --device
        "--arch", dest="device", default=argparse.SUPPRESS, choices=ARCHS, help=argparse.SUPPRESS
    )
    add(
        "--size",
        type=int,
        nargs=2,
        default=(960, 540),
        metavar=("W", "H"),
        help="width and height of the film, px; default: 960 540",
    )
    if slow is not None:
        add("--slow", type=float, default=slow, help="factor of slow motion; default: %(default)g")
    return parser


def run_experiment(
    make_parser: Callable[[], argparse.ArgumentParser],
    experiment: Callable[[argparse.Namespace], Experiment],
    argv: list[str] | None,
) -> int:
    """Parse the flags, run the example, write its results, and return the exit code.

    The code is 0, 1 if a check failed, 2 after one sentence for bad input, or 130 if stopped.
    """

    def work(args: argparse.Namespace) -> int:
        _check_flags(args)
        tp.init(arch=args.device)
        with one_torch_thread():
            found = experiment(args)
            command = sys.argv if argv is None else [found.title, *argv]
            return publish(found, args, command)

    return run_command(make_parser, work, argv)


def publish(found: Experiment, args: argparse.Namespace, command: list[str]) -> int:
    """Write config.json, video.mp4, metrics.json and report.html to --out, and print the checks.

    Returns the exit code: 0, or 1 if a check failed.
    """
    out, rows = Path(args.out), found.checks.rows
    write_json(out / "config.json", vars(args))
    (lower, upper), (width, height) = found.room, args.size
    camera = view(lower, upper, width=width, height=height, **found.side)
    drawn = {"radius": BALL * args.spacing, "floors": [Floor(size=4.0)], **found.drawn}
    count = len(found.pictures)
    film(out / "video.mp4", found.pictures, camera, fps=args.fps, count=count, **drawn)
    write_json(out / "metrics.json", {"checks": rows, **found.metrics})
    report = Report(found.title).summary(found.summary)
    table = [
        (name, f"{row['measured']:.4g} {row['unit']}", row["expected"], row["passed"])
        for name, row in rows.items()
    ]
    report.table("Checks", table, ("quantity", "measured", "expected", "holds"))
    report.video(out / "video.mp4", found.title)
    for caption, figure in found.plots.items():
        report.plot(figure, caption)
    report.settings(vars(args))
    report.environment(seed=args.seed, command=command).write(out / "report.html")
    for name, row in rows.items():
        verdict = "ok" if row["passed"] else "WRONG"
        unit = f" {row['unit']}" if row["unit"] else ""
        print(f"{verdict:5} {name}: {row['measured']:.4g}{unit} (expected {row['expected']}{unit})")
    print(f"report: {out / 'report.html'}")
    for sentence in found.checks.failures():
        print(f"error: {sentence}", file=sys.stderr)
    return FAILED if found.checks.failures() else DONE


def _check_flags(args: argparse.Namespace) -> None:
    """Raise ValueError for a flag out of its range."""
    for name, low in (("frames", 2), ("seed", 0)):
        if getattr(args, name) < low:
            raise ValueError(f"{name}: got {getattr(args, name)}, expected at least {low}")
    for name in ("fps", "spacing", "slow"):
        if not 0 < getattr(args, name, 1) < float("inf"):
            raise ValueError(f"{name}: got {getattr(args, name)}, expected a positive number")
    if min(args.size) < 32:
        raise ValueError(f"size: got {tuple(args.size)}, expected at least 32 px on each side")
