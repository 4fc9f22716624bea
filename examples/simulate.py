"""Run a scene file: simulate, film, export.

    python examples/simulate.py assets/scenes/dam_break.toml
    python examples/simulate.py my.toml --frames 12 --coarsen 2      # a quick look
    python examples/simulate.py my.toml --resume                     # go on with a stopped run

Writes video.mp4, config.json, metrics.json, report.html, frames/ and checkpoints/state.npz, from
which --resume goes on bit for bit, to --out.
"""

import argparse
import sys

from inverse.commands.runner import run_command
from inverse.runs.settings import add_flags, from_flags
from inverse.simulation import SceneJob, check_scene, run_scene


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("scene", help="a .toml file, such as those in assets/scenes")
    parser.add_argument(
        "--check", action="store_true", help="only check the scene and say what is in it"
    )
    add_flags(parser, SceneJob)
    parser.add_argument(  # what --device was called once
        "--arch", dest="device", choices=("auto", "cpu", "cuda"), default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )  # fmt: skip
    return parser


def work(args: argparse.Namespace) -> None:
    job = from_flags(SceneJob, args)
    if args.check:
        print(check_scene(job))
        return
    run = run_scene(job)
    print(f"{run.metrics['frames']} frames in {run.metrics['seconds']:.1f} s: {run.folder}")


def main(argv: list[str] | None = None) -> int:
    return run_command(make_parser, work, argv, resumable=True)


if __name__ == "__main__":
    sys.exit(main())
