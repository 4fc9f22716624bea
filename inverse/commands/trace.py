"""Learn how the things in a multi-view video move, and show what happens next.

    %(prog)s                                  # the included clip of a fan, a box and a ball
    %(prog)s --data DIR --preset laptop --out out/trace

DIR holds data in the style of D-NeRF: transforms_train.json with times and, to compare with,
transforms_val.json and transforms_test.json. The command writes predicted images (renders/val,
renders/test), masks, motion.json, parts.npz, metrics.json, video.mp4 and report.html to --out.
Several processes train together if torchrun starts them.
"""

import argparse
import dataclasses
import os
from typing import TYPE_CHECKING

from inverse.commands.assets import asset
from inverse.commands.runner import (
    FAILED,
    CommandError,
    command_line,
    command_parser,
    run_command,
)


if TYPE_CHECKING:
    from inverse.trace.config import TraceConfig, TraceJob

CLIP = "rotor_puck"
SMALL_CLIP: dict[str, object] = {"iterations": 4_000, "gaussians": 3_000}  # enough for its 100 px


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    from inverse.runs.settings import add_flags
    from inverse.trace.config import PRESETS, TraceConfig, TraceJob

    parser = command_parser("trace", __doc__)
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="laptop, or the sizes of the paper for a GPU; default: laptop on a CPU, paper on a "
        "GPU",
    )
    add_flags(parser.add_argument_group("inputs and outputs"), TraceJob)
    add_flags(parser.add_argument_group("training"), TraceConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    command = command_line("trace", argv)
    return run_command(make_parser, lambda args: _learn(args, command), argv, resumable=True)


def _learn(args: argparse.Namespace, command: list[str]) -> None:
    from inverse.trace.learn import learn_motion
    from inverse.trace.ranks import own_gpu
    from inverse.trace.report import light_words

    own_gpu()
    job, config = settings(args)
    try:
        run = learn_motion(job, config, command=command)
    except RuntimeError as error:
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            raise
        raise CommandError(
            f"another process of this training has ended ({str(error).splitlines()[0]}); the last "
            "checkpoint is kept, and the same command with --resume goes on from there",
            code=FAILED,
        ) from None
    if run is None:  # not the first process
        return
    metrics = run.metrics
    for name in ("interpolation", "extrapolation"):
        if metrics[name]:
            print(f"{name}: PSNR {metrics[name]['psnr']:.2f} dB, SSIM {metrics[name]['ssim']:.4f}")
    if metrics["segmentation"]:
        print(f"parts: {metrics['parts']}, mIoU {metrics['segmentation']['miou']:.3f}")
    if metrics["light"]:
        print(light_words(metrics["light"]))
    if metrics["tracks"]:
        found = (metrics["tracks"][name] for name in ("interpolation", "extrapolation"))
        words = " and ".join("none" if error is None else f"{error:.3g} m" for error in found)
        print(f"tracks: median errors {words}, at observed and later times")
    print(f"report: {run.folder / 'report.html'}")


def settings(args: argparse.Namespace) -> tuple["TraceJob", "TraceConfig"]:
    """The settings: from the flags, then from the preset, or from the run that is to be updated.

    Without --data, they are those of the included clip.
    """
    from inverse.runs.settings import from_flags
    from inverse.trace.config import PRESETS, TraceConfig, TraceJob

    if getattr(args, "update", False):
        return _settings_of_update(args)
    defaults: dict[str, object] = {}
    preset = args.preset
    if "data" not in args:
        defaults = {"data": str(asset(CLIP)), **SMALL_CLIP}
        preset = preset or "laptop"
    if preset is None:
        preset = "paper" if _on_gpu(getattr(args, "device", "auto")) else "laptop"
    for name, value in {**PRESETS[preset], **defaults}.items():
        if name not in args:
            setattr(args, name, value)
    return from_flags(TraceJob, args), from_flags(TraceConfig, args)


def _settings_of_update(args: argparse.Namespace) -> tuple["TraceJob", "TraceConfig"]:
    """The settings of the run in --out, in which flags that are given take precedence."""
    from inverse.runs.folder import RunFolder
    from inverse.runs.settings import from_flags
    from inverse.trace.config import TraceConfig, TraceJob

    folder = RunFolder(getattr(args, "out", TraceJob.out))
    before = folder.settings(TraceJob, "run"), folder.settings(TraceConfig, "trace")
    for settings in before:
        for field in dataclasses.fields(settings):
            if field.name not in args and field.name not in ("minutes", "resume"):
                setattr(args, field.name, getattr(settings, field.name))
    return from_flags(TraceJob, args), from_flags(TraceConfig, args)


def _on_gpu(device: str) -> bool:
    import torch

    return device == "cuda" or (device == "auto" and torch.cuda.is_available())
