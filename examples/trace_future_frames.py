"""Learn how the things in a multi-view video move, and show what happens next.

    python examples/trace_future_frames.py                 # the clip in assets/rotor_puck
    python examples/trace_future_frames.py --data DIR --preset laptop --out out/trace
    torchrun --nproc-per-node 2 examples/trace_future_frames.py ...

DIR holds D-NeRF style data: transforms_train.json, _val and _test with times. Writes predicted
images to renders/val and renders/test, masks, motion.json, parts.npz, metrics.json, video.mp4 and
report.html to --out.
"""

import argparse
import os
import sys
from pathlib import Path

from inverse.runs.settings import add_flags, from_flags, plain_warnings
from inverse.trace.config import PRESETS, TraceConfig
from inverse.trace.ranks import own_gpu
from inverse.trace.run import RunConfig, learn_motion


CLIP = Path(__file__).resolve().parent.parent / "assets" / "rotor_puck"
SMALL_CLIP = {"iterations": 4_000, "gaussians": 3_000}  # enough for its 100 px


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), help="laptop, or the sizes of the paper for a GPU; "
        "default: laptop on a CPU, paper on a GPU",
    )  # fmt: skip
    add_flags(parser.add_argument_group("inputs and outputs"), RunConfig)
    add_flags(parser.add_argument_group("training"), TraceConfig)
    return parser


def parse(argv: list[str] | None) -> tuple[RunConfig, TraceConfig]:
    """Settings from the command line; without --data, those of the clip in assets/rotor_puck."""
    args = make_parser().parse_args(argv)
    preset = args.preset
    defaults = {}
    if "data" not in args:
        defaults = {"data": str(CLIP)} | SMALL_CLIP
        preset = preset or "laptop"
    if preset is None:
        preset = "paper" if on_gpu(getattr(args, "device", "auto")) else "laptop"
    for name, value in {**PRESETS[preset], **defaults}.items():
        if name not in args:
            setattr(args, name, value)
    return from_flags(RunConfig, args), from_flags(TraceConfig, args)


def on_gpu(device: str) -> bool:
    import torch

    return device == "cuda" or (device == "auto" and torch.cuda.is_available())


@plain_warnings()
def main(argv: list[str] | None = None) -> int:
    own_gpu()
    try:
        run, config = parse(argv)
        command = ["examples/trace_future_frames.py", *(sys.argv[1:] if argv is None else argv)]
        metrics = learn_motion(run, config, command=command)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command with --resume goes on from here", file=sys.stderr)
        return 130
    except RuntimeError as error:
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            raise
        print(
            f"error: another process of this training has ended ({str(error).splitlines()[0]}); "
            "the last checkpoint is kept, the same command with --resume goes on from there",
            file=sys.stderr,
        )
        return 1
    if metrics is None:
        return 0
    for name in ("interpolation", "extrapolation"):
        if metrics[name]:
            print(f"{name}: PSNR {metrics[name]['psnr']:.2f} dB, SSIM {metrics[name]['ssim']:.4f}")
    if metrics["segmentation"]:
        print(f"parts: {metrics['parts']}, mIoU {metrics['segmentation']['miou']:.3f}")
    print(f"report: {Path(run.out) / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
