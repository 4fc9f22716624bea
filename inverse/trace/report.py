"""The report of a TRACE run."""

from inverse.plots import plot_lines
from inverse.report import Report


def write_report(done, metrics: dict, parts: list[dict] | None, command: list[str] | None) -> None:
    """Write report.html of a finished TraceRun."""
    report = Report("What happens next?")
    seen = f"{len(done.train)} photographs of the first {done.model.duration:g} s"
    summary = f"Learnt from {seen} in {metrics['seconds']:.0f} s."
    if metrics["extrapolation"]:
        summary += (
            f" Pictures of times after those are predicted with a PSNR of "
            f"{metrics['extrapolation']['psnr']:.1f} dB."
        )
    report.summary(summary)
    figures = {}
    for name in ("interpolation", "extrapolation"):
        if metrics[name]:
            figures[f"{name} PSNR"] = (f"{metrics[name]['psnr']:.2f}", "dB")
            figures[f"{name} SSIM"] = f"{metrics[name]['ssim']:.3f}"
    if metrics["segmentation"]:
        figures["parts, mIoU"] = f"{metrics['segmentation']['miou']:.3f}"
    figures["Gaussians"] = (metrics["gaussians"], "", f"{metrics['moving']} of them move")
    figures["training"] = (f"{metrics['seconds']:.0f}", "s")
    report.figures(figures)
    report.video(
        done.out / "video.mp4",
        f"The scene, and its parts by colour (grey stands still): up to t = "
        f"{done.model.duration:g} as observed, then as predicted.",
    )
    if parts:
        report.heading("How the parts move")
        report.table(
            f"At t = {done.model.duration:g}, the last observed time, from the paths of its "
            "Gaussians; standard errors in brackets.",
            [
                [
                    part["label"],
                    _vector(part["centre"]),
                    _vector(part["velocity"], part["spread"]["velocity"]),
                    _vector(part["acceleration"], part["spread"]["acceleration"]),
                    f"{part['angular_speed']:.3g}",
                    "" if part["axis"] is None else _vector(part["axis"]),
                ]
                for part in parts
            ],
            header=["part", "centre (m)", "velocity (m/s)", "acceleration (m/s²)", "spin (rad/s)",
                    "axis"],
        )  # fmt: skip
    if done.trainer.losses:
        iterations, losses = zip(*done.trainer.losses, strict=True)
        report.heading("How well it fits")
        report.plot(
            plot_lines(iterations, {"loss": losses}, "iteration", "L1 and SSIM", log=True),
            "Loss on single photographs; it rises when the curriculum adds later times.",
        )
    report.settings({"run": done.run, "trace": done.config})
    report.environment(seed=done.run.seed, command=command)
    report.write(done.out / "report.html")


def _vector(value, spread=None) -> str:
    text = " ".join(f"{v:.3g}" for v in value)
    if spread is None:
        return text
    values = spread if isinstance(spread, list | tuple) else [spread]
    return f"{text} ({' '.join(f'{v:.2g}' for v in values)})"
