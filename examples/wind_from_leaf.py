"""See the wind in a falling leaf: recover the unseen force that moves an object in a video.

    python examples/wind_from_leaf.py                      # the clip in assets/leaf
    python examples/wind_from_leaf.py --video clip.mp4 --box 100 40 300 260 --distance 2 --fov 50

Writes forces.npz, metrics.json, video.mp4 and report.html to --out.
"""

import argparse
import sys
from pathlib import Path

from inverse.runs.settings import add_flags, from_flags, plain_warnings
from inverse.wind.config import RunConfig, WindConfig
from inverse.wind.run import recover_wind
from taichi_phys import SimulationError


LEAF = Path(__file__).resolve().parent.parent / "assets" / "leaf"
QUICK = {"iterations": 12, "cells": 16, "keypoints": 100, "splat_iterations": 40}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--quick", action="store_true", help="lower quality, within a minute")
    add_flags(parser.add_argument_group("inputs and assumptions"), RunConfig)
    add_flags(parser.add_argument_group("solver"), WindConfig)
    return parser


def parse(argv: list[str] | None) -> tuple[RunConfig, WindConfig]:
    """Settings from the command line; without --video, those of the clip in assets/leaf."""
    args = make_parser().parse_args(argv)
    defaults = {}
    if "video" not in args:
        defaults |= {"video": [str(LEAF / "video.mp4")], "camera": [str(LEAF / "camera.json")]}
        defaults |= {"mask": str(LEAF / "mask_000.png"), "depth": str(LEAF / "depth_000.png")}
    if args.quick:
        defaults |= QUICK
    for name, value in defaults.items():
        if name not in args:
            setattr(args, name, value)
    return from_flags(RunConfig, args), from_flags(WindConfig, args)


@plain_warnings()
def main(argv: list[str] | None = None) -> int:
    try:
        run, config = parse(argv)
        command = ["examples/wind_from_leaf.py", *(sys.argv[1:] if argv is None else argv)]
        metrics = recover_wind(run, config, command=command)
    except (ValueError, SimulationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command with --resume goes on from here", file=sys.stderr)
        return 130
    for name in ("errors", "errors_of_first_force_held"):
        if name in metrics:
            e = metrics[name]
            print(
                f"{name.replace('_', ' ')}: direction {e['direction_error_deg']:.1f} degrees, "
                f"magnitude {e['magnitude_error_percent']:.1f} %, "
                f"vector {e['vector_error_percent']:.1f} %"
            )
    print(
        f"re-simulation against the clip: PSNR {metrics['psnr']:.1f} dB, SSIM "
        f"{metrics['ssim']:.3f}; object held as in frame 0: PSNR "
        f"{metrics['psnr_of_first_frame_held']:.1f} dB"
    )
    print(f"report: {Path(run.out) / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
