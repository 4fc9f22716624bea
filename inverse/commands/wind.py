"""See the wind in a falling leaf: recover the unseen force that moves an object in a video.

    %(prog)s                                  # the included clip of a falling leaf
    %(prog)s --video clip.mp4 --box 100 40 300 260 --distance 2 --fov 50

The command writes forces.npz, metrics.json, video.mp4 and report.html to --out.
"""

import argparse
from typing import TYPE_CHECKING

from inverse.commands.assets import asset
from inverse.commands.runner import command_line, command_parser, run_command


if TYPE_CHECKING:
    from inverse.wind.config import WindConfig, WindJob

QUICK = {"iterations": 12, "most_cells": 16, "keypoints": 100, "splat_iterations": 40}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    from inverse.runs.settings import add_flags
    from inverse.wind.config import WindConfig, WindJob

    parser = command_parser("wind", __doc__)
    parser.add_argument("--quick", action="store_true", help="a coarse run, within a minute")
    parser.add_argument(
        "--preview", action="store_true", help="only write preview.png: the object, its depth, its "
        "points in the first frames, and what is assumed",
    )  # fmt: skip
    add_flags(parser.add_argument_group("inputs and assumptions"), WindJob)
    add_flags(parser.add_argument_group("solver"), WindConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    command = command_line("wind", argv)
    return run_command(make_parser, lambda args: _recover(args, command), argv, resumable=True)


def _recover(args: argparse.Namespace, command: list[str]) -> None:
    job, config = settings(args)
    if args.preview:
        from inverse.wind.inputs.preview import size_sentence, write_preview

        path, inputs = write_preview(job)
        for assumption in inputs.assumptions:
            print(f"assumed: {assumption}")
        print(size_sentence(inputs))
        print(f"preview: {path}")
        return

    from inverse.wind.recover import recover_wind
    from inverse.wind.results.report import told_besides

    run = recover_wind(job, config, command=command)
    metrics = run.metrics
    print(metrics["verdict"]["sentence"])
    for sentence in told_besides(metrics):
        print(sentence)
    inner = f"in frames 1 to {metrics['frames'] - 4}"
    for key, name in (
        ("errors", f"errors {inner}"),
        ("errors_all_frames", "errors in all frames"),
        ("errors_of_first_force_held", f"errors {inner} of the true force of frame 0, held"),
        ("field_errors", f"errors of the field {inner}, where it is strong"),
        ("field_errors_all_frames", "errors of the field in all frames, where it is strong"),
        ("reaction_errors", f"errors of the reaction {inner}"),
        ("reaction_errors_all_frames", "errors of the reaction in all frames"),
    ):
        if key in metrics:
            errors = metrics[key]
            print(
                f"{name}: direction {errors['direction_error_deg']:.1f} degrees, "
                f"magnitude {errors['magnitude_error_percent']:.1f} %, "
                f"vector {errors['vector_error_percent']:.1f} %"
            )
    pushed = metrics["reaction_n"]
    if pushed is not None:
        print(
            f"what holds or carries the object pushes it with {pushed['mean']:.3g} N on average "
            f"and {pushed['peak']:.3g} N at most, in frame {pushed['frame']}"
        )
    print(
        f"re-simulation against the clip: PSNR {metrics['psnr']:.1f} dB, SSIM "
        f"{metrics['ssim']:.3f}; object held as in frame 0: PSNR "
        f"{metrics['psnr_of_first_frame_held']:.1f} dB"
    )
    print(f"report: {run.folder / 'report.html'}")


def settings(args: argparse.Namespace) -> tuple["WindJob", "WindConfig"]:
    """The settings: from the flags, then from --quick.

    Without --video, they are those of the included clip of a leaf.
    """
    from inverse.runs.settings import from_flags
    from inverse.wind.config import WindConfig, WindJob

    defaults: dict[str, object] = dict(QUICK) if args.quick else {}
    if "video" not in args:
        leaf = asset("leaf")
        defaults |= {"video": [str(leaf / "video.mp4")], "camera": [str(leaf / "camera.json")]}
        defaults |= {"mask": str(leaf / "mask_000.png"), "depth": str(leaf / "depth_000.png")}
    for name, value in defaults.items():
        if name not in args:
            setattr(args, name, value)
    return from_flags(WindJob, args), from_flags(WindConfig, args)
