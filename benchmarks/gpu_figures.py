"""What gpu_check.py measures, on a CPU or on a GPU, in processes of their own.

Each part returns numbers by name.
"""

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from gpu_parts import Device
from gpu_storage import storage


MPM_SIZES = (10_000, 200_000, 1_000_000)
SHEAR = [[0.0, 5.0, 0.0], [3.0, 0.0, 0.0], [0.0, 2.0, -4.0]]  # 1/s


def mpm_rates(part: Device) -> dict[str, float]:
    """Million particle-substeps a second, forward and with backward."""
    from mpm import DT as MPM_DT
    from mpm import make

    found = {}
    for count in (500,) if part.quick else MPM_SIZES:
        sim, state = make("neo-Hookean", count)
        steps = 20
        settings = {"frame_dt": steps * MPM_DT, "substeps": steps}

        def forward(sim=sim, state=state, settings=settings):
            with torch.no_grad():
                sim.advance(state, **settings)

        rate = count * steps / part.seconds(forward) / 1e6
        found[f"forward_{count}"] = rate
        print(f"  {count:,} particles forward: {rate:.1f} M/s", flush=True)
        if count <= 200_000:
            force = torch.zeros_like(state.x, requires_grad=True)

            def both(sim=sim, state=state, settings=settings, force=force):
                sim.advance(state, force=force, **settings).x.sum().backward()

            rate = count * steps / part.seconds(both, 3) / 1e6
            found[f"forward_backward_{count}"] = rate
            print(f"  {count:,} particles forward and backward: {rate:.1f} M/s", flush=True)
    return found


def arrangements(part: Device) -> dict[str, float]:
    """Million particle-substeps a second, forward, for each order of the particles in memory."""
    from mpm import DT as MPM_DT
    from mpm import make

    found, steps = {}, 20
    for count in (500,) if part.quick else MPM_SIZES[1:]:
        sim, state = make("neo-Hookean", count)
        for name in ("given", "sorted", "dealt"):
            sim._engine.arrangement = name

            def forward(sim=sim, state=state):
                with torch.no_grad():
                    sim.advance(state, frame_dt=steps * MPM_DT, substeps=steps)

            rate = count * steps / part.seconds(forward) / 1e6
            found[f"{name}_{count}"] = rate
            print(f"  {count:,} particles {name}: {rate:.1f} M/s", flush=True)
    return found


def launches(part: Device) -> dict[str, float]:
    """Million particle-substeps a second with several substeps per launch; first calls in s."""
    from mpm import DT as MPM_DT
    from mpm import make

    from taichi_phys.mpm import drivers

    found, steps, before = {}, 40, drivers.GPU_BATCH
    for batch in (1, 2, 4, 8):
        drivers.GPU_BATCH = batch
        for count in (500,) if part.quick else (3_000, 200_000):
            sim, state = make("neo-Hookean", count)
            force = torch.zeros_like(state.x, requires_grad=True)
            settings = {"frame_dt": steps * MPM_DT, "substeps": steps}

            def forward(sim=sim, state=state, settings=settings):
                with torch.no_grad():
                    sim.advance(state, **settings)

            def both(sim=sim, state=state, settings=settings, force=force):
                sim.advance(state, force=force, **settings).x.sum().backward()

            for name, work in (("forward", forward), ("both", both)):
                start = time.perf_counter()
                work()
                part.wait()
                found[f"{name}_first_s_{batch}_{count}"] = time.perf_counter() - start
                rate = count * steps / part.seconds(work, 3) / 1e6
                found[f"{name}_{batch}_{count}"] = rate
                print(f"  {count:,} particles {name}, {batch} a launch: {rate:.2f} M/s", flush=True)
    drivers.GPU_BATCH = before
    return found


def warp(part: Device) -> dict[str, float]:
    """Million particle-substeps a second of a plain MLS-MPM in Warp, forward, where installed.

    gap: the largest difference of positions after some substeps from ours, in cells.
    """
    from mpm import DT as MPM_DT
    from mpm import SOLID, make

    try:
        from warp_mpm import WarpMPM
    except ModuleNotFoundError:
        print("  warp is not installed: pip install warp-lang")
        return {}
    found, steps = {}, 20
    for count in (500,) if part.quick else MPM_SIZES:
        sim, state = make("neo-Hookean", count)
        sheared = (state.x - state.x.mean(dim=0)) @ state.x.new_tensor(SHEAR)
        state = state.replace(v=sheared)
        theirs = WarpMPM(
            state.x.cpu().numpy(), sheared.cpu().numpy(), **SOLID, gravity=(0, 0, -9.8),
            device="cuda:0" if part.device.type == "cuda" else "cpu", cells=sim.grid.shape[0],
            dx=sim.grid.dx, mass=float(sim.mass[0]), volume=float(sim.volume[0]),
        )  # fmt: skip
        theirs.run(steps, MPM_DT)
        ours = sim.advance(state, frame_dt=steps * MPM_DT, substeps=steps)
        gap = (ours.x.cpu() - torch.as_tensor(theirs.x.numpy())).abs().max().item() / sim.grid.dx
        work = theirs.captured(steps, MPM_DT)
        rate = count * steps / part.seconds(work) / 1e6
        found |= {f"forward_{count}": rate, f"gap_{count}": gap}
        print(f"  {count:,} particles in Warp: {rate:.1f} M/s, {gap:.1e} cells off", flush=True)
    return found


def splat_rates(part: Device) -> dict[str, float]:
    """Milliseconds of a picture, forward and with backward."""
    from splats import make_scene, milliseconds

    from renderers.camera import camera_from_fov
    from renderers.splats.render import render

    count, size = (300, 64) if part.quick else (100_000, 800)
    camera = camera_from_fov(size, size, 60)
    leaves = {k: v.requires_grad_() for k, v in make_scene(count, camera, 8.6).items()}
    detached = {k: v.detach() for k, v in leaves.items()}
    forward = milliseconds(lambda: render(camera, **detached), 10)
    both = milliseconds(lambda: render(camera, **leaves).rgb.sum().backward(), 10)
    return {"forward_ms": forward["median"], "forward_backward_ms": both["median"]}


def profile(part: Device) -> dict[str, float]:
    """Milliseconds of each GPU kernel, from torch's profiler: of a substep, and of a picture."""
    from mpm import DT as MPM_DT
    from mpm import make
    from splats import make_scene

    from renderers.camera import camera_from_fov
    from renderers.splats.render import render

    if part.device.type != "cuda":
        return {}
    sim, state = make("neo-Hookean", 200_000)
    steps, camera = 20, camera_from_fov(800, 800, 60)
    leaves = {k: v.requires_grad_() for k, v in make_scene(100_000, camera, 8.6).items()}

    def substeps():
        force = torch.zeros_like(state.x, requires_grad=True)
        end = sim.advance(state, frame_dt=steps * MPM_DT, substeps=steps, force=force)
        end.x.sum().backward()

    def picture():
        render(camera, **leaves).rgb.sum().backward()

    found = {}
    for work, count in ((substeps, steps), (picture, 1)):
        work()
        activities = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profiler:
            work()
            part.wait()
        rows = sorted(profiler.key_averages(), key=lambda e: -e.device_time_total)[:16]
        found |= {f"{e.key[:60]} x{e.count}": e.device_time_total / 1e3 / count for e in rows}
    for name, ms in found.items():
        print(f"  {ms:8.4f} ms  {name}")
    return found


@contextlib.contextmanager
def without_films():
    """Take the frames of films, but write none: ffmpeg may be missing here."""
    import inverse.trace.results
    import inverse.wind.results.write

    def write_video(path, frames, fps, **options):
        for _ in frames:
            pass
        Path(path).touch()  # for the report

    modules = (inverse.trace.results, inverse.wind.results.write)
    before = [module.write_video for module in modules]
    try:
        for module in modules:
            module.write_video = write_video
        yield
    finally:
        for module, function in zip(modules, before, strict=True):
            module.write_video = function


def frames_of(video: Path, folder: Path) -> None:
    """The frames of a video as PNG files, read by OpenCV."""
    import cv2

    folder.mkdir(parents=True)
    film, k = cv2.VideoCapture(str(video)), 0
    while True:
        more, frame = film.read()
        if not more:
            break
        cv2.imwrite(str(folder / f"{k:03d}.png"), frame)
        k += 1


def wind(part: Device) -> dict[str, float]:
    """The main job on the included clip: its errors and seconds."""
    import shutil

    from inverse.commands.assets import asset
    from inverse.wind import WindConfig, WindJob, recover_wind

    small = {"frames": 8, "cells": 16, "keypoints": 60} if part.quick else {}
    with tempfile.TemporaryDirectory() as folder, without_films():
        clip = Path(folder) / "clip"
        shutil.copytree(asset("leaf"), clip)
        frames_of(clip / "video.mp4", clip / "frames")
        job = WindJob(
            video=(str(clip / "frames"),), camera=(str(clip / "camera.json"),),
            mask=str(clip / "mask_000.png"), depth=str(clip / "depth_000.png"), fps=24.0,
            out=str(Path(folder) / "run"), device=part.runtime.arch, **small,
        )  # fmt: skip
        start = time.perf_counter()
        run = recover_wind(job, WindConfig(iterations=4) if part.quick else WindConfig())
        found = {"seconds": time.perf_counter() - start}
        found |= {f"seconds_{k}": s for k, s in run.metrics["seconds"].items()}
        errors = run.metrics.get("errors") or {}
    return found | {k: v for k, v in errors.items() if isinstance(v, float)}


def trace(part: Device, minutes: float, preset: str, data: str | None) -> dict[str, float]:
    """TRACE for so many minutes: PSNR of interpolated and future pictures."""
    from inverse.commands import trace as command
    from inverse.trace.learn import learn_motion

    with tempfile.TemporaryDirectory() as folder, without_films():
        argv = ["--minutes", str(minutes), "--preset", preset, "--out", str(Path(folder) / "run")]
        argv += ["--data", data] if data else []
        argv += ["--device", part.runtime.arch]
        job, config = command.settings(command.make_parser().parse_args(argv))
        if part.quick:
            config = dataclasses.replace(config, iterations=4, gaussians=200)
        run = learn_motion(job, config)
    kinds = ("interpolation", "extrapolation")
    return {k: run.metrics[k]["psnr"] for k in kinds if run and run.metrics[k]}


FIGURES: dict[str, Callable[..., dict]] = {
    "mpm rates": mpm_rates,
    "splat rates": splat_rates,
    "profile": profile,
    "wind": wind,
    "trace": trace,
}
COMPARISONS: dict[str, Callable[..., dict]] = {  # run only where --only names them
    "arrangements": arrangements,
    "launches": launches,
    "storage": storage,
    "warp": warp,
}
