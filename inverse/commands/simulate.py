"""Run a scene file: simulate, film, export.

    %(prog)s jelly_drop                       # an included scene
    %(prog)s my.toml --frames 12 --coarsen 2  # a quick look
    %(prog)s my.toml --resume                 # continue a stopped run

The command writes video.mp4, config.json, metrics.json, report.html, frames/ and
checkpoints/state.npz to --out. From the checkpoint, --resume continues bit for bit.
"""

import argparse
import difflib
from pathlib import Path

from inverse.commands.assets import asset, shipped_scenes
from inverse.commands.runner import command_line, command_parser, run_command


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    from inverse.runs.settings import add_flags
    from inverse.simulation import SceneJob

    parser = command_parser("simulate", __doc__)
    names = ", ".join(shipped_scenes())
    about = f"a .toml file, or the name of an included scene: {names}"
    parser.add_argument("scene", help=about)
    parser.add_argument(
        "--check", action="store_true", help="only check the scene and say what is in it"
    )
    add_flags(parser, SceneJob)
    parser.add_argument(  # the former name of --device
        "--arch",
        dest="device",
        choices=("auto", "cpu", "cuda"),
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    command = command_line("simulate", argv)
    return run_command(make_parser, lambda args: _simulate(args, command), argv, resumable=True)


def scene_path(word: str) -> str:
    """The path of a scene file; word: the path, or the name of an included scene."""
    if Path(word).exists() or Path(word).name != word or Path(word).suffix:
        return word
    names = shipped_scenes()
    if word not in names:
        close = difflib.get_close_matches(word, names, 1)
        hint = f"did you mean {close[0]}?" if close else f"the scenes are {', '.join(names)}"
        raise ValueError(f"{word}: neither a file nor the name of an included scene; {hint}")
    return str(asset(f"scenes/{word}.toml"))


def _simulate(args: argparse.Namespace, command: list[str]) -> None:
    from inverse.runs.settings import from_flags
    from inverse.simulation import SceneJob, check_scene, run_scene

    args.scene = scene_path(args.scene)
    job = from_flags(SceneJob, args)
    if args.check:
        print(check_scene(job))
        return
    run = run_scene(job, command=command)
    print(f"{run.metrics['frames']} frames in {run.metrics['seconds']:.1f} s: {run.folder}")
