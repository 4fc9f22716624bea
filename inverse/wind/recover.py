"""The main job, end to end: video -> tracks -> targets -> force -> motion -> picture."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

import taichi_phys as tp
from inverse.lifting.quality import followed_until
from inverse.perception import refine_on_image
from inverse.runs.clock import Clock
from inverse.runs.folder import METRICS, RunFolder
from inverse.wind.balls import ASSUMED
from inverse.wind.body import make_bodies, make_simulator
from inverse.wind.carried import find_carried, pulled
from inverse.wind.confidence import find_confidence
from inverse.wind.config import WindConfig, WindJob
from inverse.wind.flight import Flight, find_flight
from inverse.wind.forces import Form
from inverse.wind.forces.air import SampledAir, find_air
from inverse.wind.forces.compare import (
    Explained,
    compare_forces,
    hold_out,
    hopes_for_uniform,
    misses,
    uniform_motion,
)
from inverse.wind.forces.find import find_form
from inverse.wind.forces.make import check_force
from inverse.wind.inputs.clip import how_long
from inverse.wind.inputs.load import Inputs, load_inputs
from inverse.wind.inputs.material import material_record
from inverse.wind.results.pictures import carried_deformation
from inverse.wind.results.write import write_results
from inverse.wind.run import AIR, AIR_ARRAYS, FORCE, FREE, RESULTS, SMOOTH, TARGETS, WindRun
from inverse.wind.several import (
    body_of_particles,
    even_weights,
    find_all_supports,
    follow_objects,
    joined_gaussians,
    joined_tracks,
)
from inverse.wind.smoothing.smoother import solve_clip
from inverse.wind.solver import WindResult, WindSolver
from inverse.wind.supports import Supports, reaction
from inverse.wind.swing import Swing, find_swing
from inverse.wind.targets import Tracked
from inverse.wind.taut import is_taut, with_weight
from taichi_phys import runtime


# Runs of the smoothing pass for a solid. A sheet bends too far for the linear model, which knows
# what holds a body, but no floor below it.
SOLID_RUNS = 5


def recover_wind(job: WindJob, config: WindConfig, *, command: list[str] | None = None) -> WindRun:
    """Recover the force that moves the objects in a clip, and write the folder of the run.

    command: as it is shown in the report, default: that of this process. Raises ValueError for
    unusable input, before anything is written. Interrupted, the run keeps its checkpoint; with
    job.resume it goes on from there.
    """
    check_force(job, config)
    given, inputs = job, load_inputs(job)
    job = inputs.job
    folder = RunFolder(job.out)
    tp.init(arch=job.device, seed=job.seed)
    models, dx = make_bodies(inputs.each)
    each = [one.softened(dx) for one in inputs.each]
    if len(models) == 1:
        job = each[0].job
    elif config.smooth:
        raise ValueError(f"smooth: got {config.smooth} for several objects, whose force is found "
                         "interval by interval; leave it out")  # fmt: skip
    for assumption in inputs.assumptions:
        print(f"assumed: {assumption}")
    said = len(inputs.assumptions)
    duration = how_long(len(inputs.videos[0]))
    if duration is not None:
        print(duration)
    folder.begin(
        _record(job, config, inputs, each),
        results=RESULTS,
        checkpoints=(FORCE, SMOOTH, TARGETS),
        resume=job.resume,
        free=FREE,
    )
    clock = Clock()
    with clock("splats"), _one_thread():
        gaussians = joined_gaussians([
            refine_on_image(
                model.gaussians, one.videos[0][0], one.mask, one.cameras[0][0],
                iterations=job.splat_iterations if one.gaussians is None else 0, seed=job.seed,
                depth=None if model.surface is None else one.depth,
            )
            for one, model in zip(each, models, strict=True)
        ])  # fmt: skip
    with clock("targets"), _one_thread():
        followed = follow_objects(each, models, folder.checkpoint(TARGETS))
    tracked, body = joined_tracks(followed), body_of_particles(models)
    inputs = inputs.until(len(tracked.targets))
    each = [one.until(len(tracked.targets)) for one in each]
    guessed = job.distance if given.distance_guessed else None
    supports = find_all_supports(each, models, followed, dx, guessed=guessed)
    targets = supports.steadied(tracked.targets, inputs.cameras, body)
    tracked = dataclasses.replace(tracked, targets=targets)
    if tracked.by in ASSUMED:
        inputs.assumptions.append(ASSUMED[tracked.by])
    inputs.assumptions.extend(supports.sentences(job))
    form = find_form(job, config, inputs, models, targets)
    for assumption in inputs.assumptions[said:]:
        print(f"assumed: {assumption}")
    sim = make_simulator(each, models, targets, dx, supports)
    mass = sim.mass.double().cpu().numpy()
    weights = even_weights(np.where(supports.held, 0.0, tracked.confidence), mass, body)
    with clock("force"), _one_thread():
        torch.manual_seed(job.seed)
        solver = WindSolver(
            sim, targets, fps=inputs.fps, config=config,
            confidence=weights,  # no force moves what is held
            gaps=supports.impacts,
            body=body,
            form=form,
            checkpoint=folder.checkpoint(FORCE),
        )  # fmt: skip
        runs = _smoothing_runs(config, inputs, supports)
        weight = job.gravity if supports.held.any() else (0.0, 0.0, 0.0)
        result = solve_clip(
            solver, runs, held=supports.held, tracked=tracked, steady=weight,
            checkpoint=folder.checkpoint(SMOOTH), resume=job.resume,
        )  # fmt: skip
        if result.weight is not None:
            inputs.assumptions.append(result.weight)
            print(result.weight)
        air = _air(form, result, sim.mass, inputs.fps, supports.held)
        if len(each) == 1 and config.force != "point" and is_taut(inputs, supports.held):
            result = with_weight(
                result, targets, sim.mass, supports.held, job.gravity, inputs.fps, dx
            )  # fmt: skip
        pushed = reaction(supports, result, sim.mass, inputs.fps)
        confidence = find_confidence(given, inputs, tracked, supports, solver, result, pushed)
    with clock("compare"), _one_thread():
        explained = _explained(inputs, tracked, solver, result, supports, weight)
    run = WindRun(
        folder=folder.path,
        job=job,
        config=config,
        t=inputs.start + np.arange(len(targets)) / inputs.fps,
        x=result.x.double().cpu().numpy(),
        force=result.frame_forces().double().cpu().numpy(),
        mass=mass,
        body=body,
        gravity=np.asarray(job.gravity),
        held=supports.held,
        reaction=pushed,
        std=confidence.std,
        net_std=confidence.net,
        factor=confidence.factor,
        metrics={},
        cameras=inputs.cameras[0],
        air=None if air is None else air.along(result.x.double().cpu().numpy()),
        drag=None if form.drag is None else form.drag.rate,
    )
    carried = find_carried(run, inputs, tracked)
    run = pulled(run, carried)
    if air is not None:
        folder.write_npz(AIR, **{name: getattr(air, name) for name in AIR_ARRAYS})
    by_gravity = _by_gravity(guessed, run, tracked)
    too_large = _too_large(guessed, supports, by_gravity)
    if too_large is not None:
        confidence = confidence.scaled(too_large)
        run = dataclasses.replace(run, factor=confidence.factor)
    run.save()  # the forces, whatever becomes of the pictures
    metrics = write_results(
        run, inputs, result, gaussians, tracked=tracked, factors=confidence.factors,
        explained=explained, by_gravity=by_gravity, too_large=too_large, carried=carried,
        clock=clock, command=command,
    )  # fmt: skip
    return dataclasses.replace(run, metrics=folder.write_json(METRICS, metrics))


def _record(
    job: WindJob, config: WindConfig, inputs: Inputs, each: Sequence[Inputs]
) -> dict[str, Any]:
    """The settings of a run as config.json keeps them, with what they stand for."""
    record: dict[str, Any] = {"run": job, "solver": config}
    if inputs.substance is not None:
        record["substance"] = inputs.substance
    if inputs.objects:
        record["objects"] = [material_record(one.job, one.substance) for one in each]
    if each[0].parts is not None:
        found = zip(each[0].parts.jobs, each[0].parts.substances, strict=True)
        record["parts"] = [material_record(*part) for part in found]
    return record


def _smoothing_runs(config: WindConfig, inputs: Inputs, supports: Supports) -> int:
    """Runs of the pass over all frames: as asked, else for solids that its model can follow."""
    if config.smooth is not None:
        return config.smooth
    solid = inputs.surface is not None and not (supports.floor and supports.parts)
    return SOLID_RUNS if solid and config.force != "kplanes" else 0


def _by_gravity(guessed: float | None, run: WindRun, tracked: Tracked) -> Swing | Flight | None:
    """How the only object of a run swings or flies, None where it does neither, or where something
    that is seen holds or carries it; guessed: its distance, m, where that is a guess."""
    if run.body.any() or run.held.any() or run.reaction.any():
        return None
    until = followed_until(tracked.quality.seen_share) + 1
    share = run.mass / run.mass.sum()
    specific = run.force[:until].sum(axis=1) / run.mass.sum()
    path = np.einsum("n,tnd->td", share, run.x[:until])
    swing = find_swing(path, specific, run.gravity, guessed=guessed)
    if swing is not None or guessed is None:
        return swing
    return find_flight(specific, run.gravity, guessed)


def _too_large(
    guessed: float | None, supports: Supports, by_gravity: Swing | Flight | None
) -> float | None:
    """By which factor all forces are too large for a guessed distance, m, where a floor or gravity
    tells the true one; None where none was guessed, or nothing tells it."""
    told = supports.distance if by_gravity is None else by_gravity.distance
    return None if guessed is None or told is None else guessed / told


def _air(
    form: Form, result: WindResult, mass: torch.Tensor, fps: float, held: np.ndarray
) -> SampledAir | None:
    """The air that does the forces of a result, None where these are no drag."""
    if form.drag is None:
        return None
    specific = (result.force / mass[:, None]).double()
    air = form.drag.air(specific, result.v[:-1].double())
    return find_air(result.x.double().cpu().numpy(), air.cpu().numpy(), fps, held=held)


def _explained(
    inputs: Inputs,
    tracked: Tracked,
    solver: WindSolver,
    result: WindResult,
    supports: Supports,
    weight: Sequence[float],
) -> Explained | None:
    """Whether a uniform force explains the motion as well; None where that is the one that was
    found, where it is not asked, and where no tracks could be held out."""
    config = solver.config
    if not config.compare or config.force == "uniform":
        return None
    held_out = hold_out(inputs, tracked.keypoints, tracked.by)
    if held_out is None:
        return None

    def missed(motion: WindResult) -> np.ndarray:
        F = carried_deformation(motion, plastic=inputs.plastic)
        return misses(held_out, inputs, motion.x, F)

    own, uniform = missed(result), None
    if supports.touch or hopes_for_uniform(own, inputs, solver):
        uniform = uniform_motion(solver, supports.held, weight)
    return compare_forces(config.force, own, None if uniform is None else missed(uniform))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Torch and BLAS on one thread; it also makes sums repeatable."""
    with runtime.one_torch_thread(), threadpool_limits(1):
        yield
