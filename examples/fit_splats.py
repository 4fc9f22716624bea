"""Fit Gaussians to photographs of a scene, and look at it from anywhere.

    python examples/fit_splats.py --data DIR --out out/splats

DIR holds NeRF-synthetic, nerfstudio, instant-ngp or COLMAP data. Writes gaussians.ply (which
examples/show_splats.py and other viewers open), renders/test, video.mp4, metrics.json and
report.html to --out.
"""

import argparse
import sys
from pathlib import Path

from inverse.fitting.config import FitConfig
from inverse.fitting.run import RunConfig, fit_splats
from inverse.runs.settings import add_flags, from_flags, plain_warnings


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_flags(parser.add_argument_group("inputs and outputs"), RunConfig)
    add_flags(parser.add_argument_group("fit"), FitConfig)
    return parser


@plain_warnings()
def main(argv: list[str] | None = None) -> int:
    try:
        args = make_parser().parse_args(argv)
        run, config = from_flags(RunConfig, args), from_flags(FitConfig, args)
        command = ["examples/fit_splats.py", *(sys.argv[1:] if argv is None else argv)]
        metrics = fit_splats(run, config, command=command)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command with --resume goes on from here", file=sys.stderr)
        return 130
    print(
        f"test views: PSNR {metrics['psnr']:.2f} dB, SSIM {metrics['ssim']:.4f}, "
        f"{metrics['gaussians']} Gaussians, {metrics['seconds']:.0f} s"
    )
    print(f"report: {Path(run.out) / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
