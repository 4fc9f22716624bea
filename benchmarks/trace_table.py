"""Measure what each part of TRACE contributes: the table of its ablations on one data set.

    python benchmarks/trace_table.py --data DIR --out out/trace_table --iterations 6000

Trains one model after another (each an ordinary run directory in --out, which is not trained again
when it is complete) and prints PSNR of interpolation, PSNR and PMF of extrapolation, and mIoU of
the parts.
"""

import argparse
import json
import sys
from pathlib import Path

from inverse.commands import trace


ROWS = {
    "parts": ["--motion", "parts"],
    "trd": [],
    "rigid": ["--dynamics", "rigid"],
    "velocity": ["--dynamics", "velocity"],
    "none": ["--dynamics", "none"],
    "trd, rk 1": ["--rk", "1"],
    "trd, planes": ["--deformation", "planes"],
    "trd, no deformation": ["--deformation", "none"],
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="out/trace_table", help="folder of the runs")
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=tuple(ROWS))
    args, flags = parser.parse_known_args(argv)
    lines = []
    for name in args.rows:
        out = Path(args.out) / name.replace(", ", "-").replace(" ", "-")
        if not (out / "metrics.json").exists():
            motion = [] if "--motion" in ROWS[name] else ["--motion", "particles"]
            status = trace.main([*flags, *motion, *ROWS[name], "--out", str(out), "--resume"])
            if status:
                return status
        metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        lines.append((name, *figures(metrics)))
    header = ("model", "interpolation", "extrapolation", "its PMF", "mIoU", "seconds")
    print(("{:<22}" + "{:>15}" * 5).format(*header))
    for line in lines:
        print(("{:<22}" + "{:>15}" * 5).format(*line))
    return 0


def figures(metrics: dict) -> tuple[str, ...]:
    """PSNR of observed and future times, PMF of these, mIoU and seconds, as they are printed."""
    psnr = [
        f"{metrics[name]['psnr']:.2f} dB" if metrics[name] else "-"
        for name in ("interpolation", "extrapolation")
    ]
    pmf, parts = (metrics["extrapolation"] or {}).get("pmf"), metrics["segmentation"]
    return (
        *psnr,
        "-" if pmf is None else f"{pmf:.2f}",
        f"{parts['miou']:.3f}" if parts else "-",
        f"{metrics['seconds']:.0f}",
    )


if __name__ == "__main__":
    sys.exit(main())
