"""The main job, end to end: video -> tracks -> targets -> force -> motion -> picture."""

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from threadpoolctl import threadpool_limits

import taichi_phys as tp
from inverse.perception import refine_on_image
from inverse.runs.clock import Clock
from inverse.runs.folder import METRICS, RunFolder
from inverse.wind.body import make_body, make_simulator
from inverse.wind.config import WindConfig, WindJob
from inverse.wind.inputs.load import load_inputs
from inverse.wind.inputs.material import soften
from inverse.wind.results.write import write_results
from inverse.wind.run import FORCE, FREE, RESULTS, SMOOTH, TARGETS, WindRun
from inverse.wind.smoothing.smoother import solve_clip
from inverse.wind.solver import WindSolver
from inverse.wind.supports import find_supports, reaction
from inverse.wind.targets import find_targets
from taichi_phys import runtime


# Runs of the smoothing pass for a solid. A sheet bends too far for the linear model, which knows
# what holds a body, but no floor.
SOLID_RUNS = 3


def recover_wind(job: WindJob, config: WindConfig, *, command: list[str] | None = None) -> WindRun:
    """Recover the force that moves the object in a clip, and write the folder of the run.

    command: as it is shown in the report, default: that of this process. Raises ValueError for
    unusable input, before anything is written. Interrupted, the run keeps its checkpoint; with
    job.resume it goes on from there.
    """
    inputs = load_inputs(job)
    job = inputs.job
    folder = RunFolder(job.out)
    tp.init(arch=job.device, seed=job.seed)
    model, dx = make_body(job, inputs)
    job = soften(job, inputs.substance, dx, inputs.fps, inputs.assumptions)
    for assumption in inputs.assumptions:
        print(f"assumed: {assumption}")
    record = {"run": job, "solver": config}
    if inputs.substance is not None:
        record["substance"] = inputs.substance
    folder.begin(
        record,
        results=RESULTS,
        checkpoints=(FORCE, SMOOTH, TARGETS),
        resume=job.resume,
        free=FREE,
    )
    clock = Clock()
    with clock("splats"), _one_thread():
        gaussians = refine_on_image(
            model.gaussians, inputs.videos[0][0], inputs.mask, inputs.cameras[0][0],
            iterations=job.splat_iterations if inputs.gaussians is None else 0, seed=job.seed,
            depth=None if model.surface is None else inputs.depth,
        )  # fmt: skip
    with clock("targets"), _one_thread():
        tracked = find_targets(job, inputs, model, folder.checkpoint(TARGETS))
    targets, confidence = tracked.targets, tracked.confidence
    supports = find_supports(job, inputs, model.x, tracked, dx)
    for assumption in supports.sentences(job):
        print(f"assumed: {assumption}")
        inputs.assumptions.append(assumption)
    sim = make_simulator(job, model, targets, dx, supports)
    with clock("force"), _one_thread():
        torch.manual_seed(job.seed)
        solver = WindSolver(
            sim, targets, fps=inputs.fps, config=config,
            confidence=np.where(supports.held, 0.0, confidence),  # no force moves them
            gaps=supports.impacts,
            checkpoint=folder.checkpoint(FORCE),
        )  # fmt: skip
        runs = config.smooth
        if runs is None:
            solid = model.surface is not None and supports.floor is None
            runs = SOLID_RUNS if solid else 0
        result = solve_clip(
            solver, runs, held=supports.held, checkpoint=folder.checkpoint(SMOOTH),
            resume=job.resume,
        )  # fmt: skip
    run = WindRun(
        folder=folder.path,
        job=job,
        config=config,
        t=inputs.start + np.arange(len(targets)) / inputs.fps,
        x=result.x.double().cpu().numpy(),
        force=result.frame_forces().double().cpu().numpy(),
        mass=sim.mass.double().cpu().numpy(),
        gravity=np.asarray(job.gravity),
        held=supports.held,
        reaction=reaction(supports, result, sim.mass, inputs.fps),
        metrics={},
        cameras=inputs.cameras[0],
    )
    run.save()  # the forces, whatever becomes of the pictures
    metrics = write_results(
        run, inputs, result, gaussians, tracked=tracked, clock=clock, command=command
    )
    return dataclasses.replace(run, metrics=folder.write_json(METRICS, metrics))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Torch and BLAS on one thread; it also makes sums repeatable."""
    with runtime.one_torch_thread(), threadpool_limits(1):
        yield
