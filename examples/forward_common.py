"""What the forward examples share: flags, checks of the physics, and the files they write."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from inverse.commands.runner import FAILED, stoppable
from inverse.runs.report import Report
from inverse.runs.settings import write_json
from renderers.particles.draw import film
from taichi_phys.runtime import one_torch_thread


ELASTIC, RED = (0.22, 0.50, 0.82), (0.84, 0.36, 0.27)


def make_parser(doc: str, *, out: str, frames: int, spacing: float) -> argparse.ArgumentParser:
    """The flags that all forward examples have, with their defaults."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--out", default=out, metavar="DIR", help="default: %(default)s")
    add("--frames", type=int, default=frames, help="of the film; default: %(default)s")
    add("--fps", type=float, default=24.0, help="frames per second; default: %(default)g")
    add(
        "--spacing", type=float, default=spacing, metavar="M",
        help="between particles, m, half a grid cell: twice as much is about 16 times faster; "
        "default: %(default)g",
    )  # fmt: skip
    add("--seed", type=int, default=0, help="of the places of particles; default: %(default)s")
    add("--arch", default="auto", help="auto, cpu or cuda; default: %(default)s")
    add(
        "--size", type=int, nargs=2, default=(960, 540), metavar=("W", "H"),
        help="of the film, px; default: 960 540",
    )  # fmt: skip
    return parser


def check_flags(args: argparse.Namespace) -> None:
    """Raises ValueError for a flag out of its range."""
    for name, low in (("frames", 2), ("seed", 0)):
        if getattr(args, name) < low:
            raise ValueError(f"{name}: got {getattr(args, name)}, expected at least {low}")
    for name in ("fps", "spacing"):
        if not 0 < getattr(args, name) < float("inf"):
            raise ValueError(f"{name}: got {getattr(args, name)}, expected a positive number")
    if min(args.size) < 32:
        raise ValueError(f"size: got {tuple(args.size)}, expected at least 32 px a side")


class Checks:
    """Measured values against what physics asks for."""

    def __init__(self):
        self.rows = {}

    def near(self, name: str, got: float, expected: float, unit: str, *, within: float) -> None:
        """got must be within so much of expected, both in the unit."""
        self._add(name, got, abs(got - expected) <= within, unit, f"{expected:.4g} ± {within:.2g}")

    def between(self, name: str, got: float, low: float, high: float, unit: str = "") -> None:
        """got must lie from low to high."""
        wanted = f"at most {high:.4g}" if low == -float("inf") else f"{low:.4g} to {high:.4g}"
        wanted = f"at least {low:.4g}" if high == float("inf") else wanted
        self._add(name, got, low <= got <= high, unit, wanted)

    def _add(self, name, got, passed, unit, expected):
        self.rows[name] = {
            "measured": float(got), "unit": unit, "expected": expected, "passed": bool(passed)
        }  # fmt: skip

    def failures(self) -> list[str]:
        """A sentence for each check that failed."""
        return [
            f"{name}: measured {row['measured']:.4g} {row['unit']}".rstrip()
            + f", expected {row['expected']}"
            for name, row in self.rows.items()
            if not row["passed"]
        ]


def publish(
    args: argparse.Namespace,
    argv: list[str] | None,
    *,
    title: str,
    summary: str,
    checks: Checks,
    pictures: list[dict],
    camera,
    metrics: dict | None = None,
    plots: dict | None = None,
    **common,
) -> int:
    """Write config.json, video.mp4, metrics.json and report.html to --out, print the checks.

    pictures, camera, common: as renderers.particles.draw.film takes them; plots: caption -> figure.
    Returns the exit code: 0, or 1 if a check failed.
    """
    out = Path(args.out)
    write_json(out / "config.json", vars(args))
    film(out / "video.mp4", pictures, camera, fps=args.fps, count=len(pictures), **common)
    write_json(out / "metrics.json", {"checks": checks.rows, **(metrics or {})})
    report = Report(title).summary(summary)
    report.table(
        "Checks",
        [(name, f"{r['measured']:.4g} {r['unit']}", r["expected"], r["passed"])
         for name, r in checks.rows.items()],
        ("quantity", "measured", "expected", "holds"),
    )  # fmt: skip
    report.video(out / "video.mp4", title)
    for caption, figure in (plots or {}).items():
        report.plot(figure, caption)
    report.settings(vars(args))
    command = [sys.argv[0] if argv is None else title, *(sys.argv[1:] if argv is None else argv)]
    report.environment(seed=args.seed, command=command).write(out / "report.html")
    for name, row in checks.rows.items():
        verdict = "ok" if row["passed"] else "WRONG"
        unit = f" {row['unit']}" if row["unit"] else ""
        print(f"{verdict:5} {name}: {row['measured']:.4g}{unit} (expected {row['expected']}{unit})")
    print(f"report: {out / 'report.html'}")
    for sentence in checks.failures():
        print(f"error: {sentence}", file=sys.stderr)
    return FAILED if checks.failures() else 0


def guarded(run: Callable[[], int]) -> int:
    """run's exit code; one sentence and 2 for bad input, 130 when stopped."""
    with one_torch_thread():
        return stoppable(run)
