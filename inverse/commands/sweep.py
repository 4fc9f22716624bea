"""Run a command many times over values of its parameters, and write one table.

    %(prog)s sweep.toml                       # all runs that are missing
    %(prog)s sweep.toml --dry                 # say what would be run
    %(prog)s sweep.toml --engine ray          # tasks of Ray; --address for a cluster
    %(prog)s sweep.toml --sbatch              # a script for SLURM

sweep.toml has the command and, in [grid], lists of values for flags, or for keys of a scene file.
Each run has a folder of its own; the same command computes what is missing. OUT/sweep.html and
OUT/sweep.csv have the parameters and the numbers of all runs.
"""

import argparse

from inverse.commands.runner import FAILED, CommandError, command_parser, run_command


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    from inverse.runs.settings import add_flags
    from inverse.sweep.config import SweepJob

    parser = command_parser("sweep", __doc__)
    parser.add_argument("sweep", metavar="SWEEP", help="a .toml file")
    add_flags(parser, SweepJob)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(make_parser, _sweep, argv)


def _sweep(args: argparse.Namespace) -> int | None:
    from inverse.runs.settings import from_flags
    from inverse.sweep import SweepJob, run_sweep

    try:
        rows = run_sweep(from_flags(SweepJob, args))
    except ImportError as error:
        raise CommandError(str(error)) from None
    return FAILED if any(row["status"] != "done" for row in rows) else None
