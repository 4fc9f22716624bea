"""Write a run as files for other programs: ParaView, Blender, mesh editors.

    %(prog)s out/dam_break --to usd           # particles and surfaces, one file for Blender
    %(prog)s out/dam_break --to obj           # surfaces, a file for each body and frame
    %(prog)s out/wind --to vtk                # particles with all arrays, for ParaView

RUN is the folder of a run of simulate, wind or trace, or a folder of frames. The files go to
RUN/export unless --out says otherwise.
"""

import argparse

from inverse.commands.runner import CommandError, command_parser, run_command


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    from inverse.export import ExportJob
    from inverse.runs.settings import add_flags

    parser = command_parser("export", __doc__)
    parser.add_argument("run", metavar="RUN", help="folder of a run, or of frames")
    add_flags(parser, ExportJob)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(make_parser, _export, argv)


def _export(args: argparse.Namespace) -> None:
    from inverse.export import ExportJob, export_run
    from inverse.runs.settings import from_flags

    try:
        paths = export_run(from_flags(ExportJob, args))
    except ImportError as error:
        raise CommandError(str(error)) from None
    print(f"open {', '.join(map(str, paths))}")
