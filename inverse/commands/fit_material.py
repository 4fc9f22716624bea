"""What is it made of? Find stiffness and other properties of an object from how it moves.

    %(prog)s --motion points.npz --mesh body.ply --E 1e5 --density 900 --floor 0
    %(prog)s --video a.mp4 --camera a.json --video b.mp4 --camera b.json --model body.ply

points.npz has t (T,) s and x (T, n, 3) m, the paths of points of the object; body.ply in the second
line holds its Gaussians in frame 0. The values given are guesses, which may be ten times off. The
command writes metrics.json, motion.npz and report.html to --out.
"""

import argparse

from inverse.commands.runner import command_line, command_parser, run_command


QUICK = {"particles": 600, "coarse": 200, "scan": 8, "starts": 1, "iterations": 6, "pixels": 40}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    from inverse.identification.config import MaterialConfig, MaterialJob
    from inverse.runs.settings import add_flags

    parser = command_parser("fit-material", __doc__)
    parser.add_argument("--quick", action="store_true", help="a coarse run, within seconds")
    add_flags(parser.add_argument_group("inputs, guesses and assumptions"), MaterialJob)
    add_flags(parser.add_argument_group("search"), MaterialConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    command = command_line("fit-material", argv)
    return run_command(make_parser, lambda args: _fit(args, command), argv, resumable=True)


def _fit(args: argparse.Namespace, command: list[str]) -> None:
    from inverse.identification import MaterialConfig, MaterialJob, fit_material
    from inverse.runs.settings import from_flags

    if args.quick:
        for name, value in QUICK.items():
            if name not in args:
                setattr(args, name, value)
    job, config = from_flags(MaterialJob, args), from_flags(MaterialConfig, args)
    run = fit_material(job, config, command=command)
    print(run.metrics["verdict"]["sentence"])
    print(f"report: {run.folder / 'report.html'}")
