"""Fit Gaussians to photographs of a scene, to look at the scene from anywhere.

    %(prog)s --data DIR --out out/splats

DIR holds NeRF-synthetic, nerfstudio, instant-ngp or COLMAP data. The command writes gaussians.ply
(which taichi-phys show, taichi-phys view and other viewers open), renders/test, video.mp4,
metrics.json and report.html to --out.
"""

import argparse

from inverse.commands.runner import command_line, command_parser, run_command


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    from inverse.fitting.config import FitConfig, FitJob
    from inverse.runs.settings import add_flags

    parser = command_parser("fit", __doc__)
    add_flags(parser.add_argument_group("inputs and outputs"), FitJob)
    add_flags(parser.add_argument_group("fit"), FitConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    command = command_line("fit", argv)
    return run_command(make_parser, lambda args: _fit(args, command), argv, resumable=True)


def _fit(args: argparse.Namespace, command: list[str]) -> None:
    from inverse.fitting.config import FitConfig, FitJob
    from inverse.fitting.fit import fit_splats
    from inverse.runs.settings import from_flags

    job, config = from_flags(FitJob, args), from_flags(FitConfig, args)
    run = fit_splats(job, config, command=command)
    metrics = run.metrics
    if metrics["psnr"] is not None:
        print(f"test views: PSNR {metrics['psnr']:.2f} dB, SSIM {metrics['ssim']:.4f}")
    print(
        f"{metrics['gaussians']} Gaussians, {metrics['iterations']} of "
        f"{metrics['planned_iterations']} steps in {metrics['seconds']:.0f} s, photographs of "
        f"{metrics['size'][0]} x {metrics['size'][1]} px"
    )
    print(f"report: {run.folder / 'report.html'}")
