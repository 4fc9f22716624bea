"""The main job, end to end: video -> tracks -> targets -> force -> motion -> picture."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from inverse.lifting.quality import followed_frames
from inverse.runs.clock import Clock
from inverse.runs.folder import METRICS, RunFolder
from inverse.wind.balls import ASSUMED
from inverse.wind.body import make_simulator
from inverse.wind.carried import find_carried, pulled
from inverse.wind.confidence import Confidence, find_confidence
from inverse.wind.config import WindConfig, WindJob
from inverse.wind.findings import Findings, find_explained, moved_by_gravity
from inverse.wind.forces import Form
from inverse.wind.forces.air import SampledAir, find_air
from inverse.wind.forces.compare import Explained
from inverse.wind.forces.find import find_form
from inverse.wind.forces.make import check_force
from inverse.wind.inputs.load import Inputs
from inverse.wind.results.write import write_results
from inverse.wind.run import AIR, AIR_ARRAYS, FORCE, FREE, RESULTS, SMOOTH, TARGETS, WindRun
from inverse.wind.several import (
    body_of_particles,
    even_weights,
    find_all_supports,
    follow_objects,
    joined_tracks,
)
from inverse.wind.shot import Shot, read_shot
from inverse.wind.smoothing.smoother import solve_clip
from inverse.wind.solver import WindResult, WindSolver
from inverse.wind.supports import Supports, reaction
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
    shot = read_shot(job, config)
    folder, clock = RunFolder(job.out), Clock()
    folder.begin(
        shot.record(config),
        results=RESULTS,
        checkpoints=(FORCE, SMOOTH, TARGETS),
        resume=job.resume,
        free=FREE,
    )
    with clock("splats"), _one_thread():
        gaussians = shot.gaussians()
    with clock("targets"), _one_thread():
        shot, followed = _follow(shot, folder)
    with clock("force"), _one_thread():
        solved = _solve(shot, followed, config, folder)
    with clock("compare"), _one_thread():
        explained = find_explained(
            shot.inputs, followed.tracked, solved.solver, solved.result, followed.supports,
            solved.weight,
        )  # fmt: skip
    run, findings = _as_run(shot, followed, solved, explained, folder)
    if solved.air is not None:
        folder.write_npz(AIR, **{name: getattr(solved.air, name) for name in AIR_ARRAYS})
    run.save()  # the forces, whatever becomes of the pictures
    metrics = write_results(
        run, shot.inputs, solved.result, gaussians, tracked=followed.tracked, findings=findings,
        clock=clock, command=command,
    )  # fmt: skip
    return dataclasses.replace(run, metrics=folder.write_json(METRICS, metrics))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Followed:
    """How the n particles of all objects move.

    tracked: what tracks say of them; body: (n,) number of the object of each; supports: what holds
    them, and what they stand on.
    """

    tracked: Tracked
    body: np.ndarray
    supports: Supports


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Solved:
    """The force that was found.

    solver: with which; result: the force and its motion; weight: (3,) m/s^2, that what is held may
    begin to carry; reaction: (T, 3) N, of supports; confidence: how well the force is known; air:
    that does the force, and drag: 1/s, at which rate, None for a force of another form.
    """

    solver: WindSolver
    result: WindResult
    weight: Sequence[float]
    reaction: np.ndarray
    confidence: Confidence
    air: SampledAir | None
    drag: float | None


def _follow(shot: Shot, folder: RunFolder) -> tuple[Shot, _Followed]:
    """Follow the objects up to where one of them is lost; the shot up to there, and the motion."""
    each = follow_objects(shot.each, shot.models, folder.checkpoint(TARGETS))
    tracked, body = joined_tracks(each), body_of_particles(shot.models)
    shot = shot.until(len(tracked.targets))
    supports = find_all_supports(shot.each, shot.models, each, shot.dx, guessed=shot.guessed)
    targets = supports.steadied(tracked.targets, shot.inputs.cameras, body)
    _assume(shot.inputs, [ASSUMED[tracked.by]] if tracked.by in ASSUMED else [])
    _assume(shot.inputs, supports.sentences(shot.job))
    tracked = dataclasses.replace(tracked, targets=targets)
    return shot, _Followed(tracked=tracked, body=body, supports=supports)


def _solve(shot: Shot, followed: _Followed, config: WindConfig, folder: RunFolder) -> _Solved:
    """Find the force that moves particles along their targets, and how well it is known."""
    job, inputs, supports, tracked = shot.job, shot.inputs, followed.supports, followed.tracked
    targets, held = tracked.targets, supports.held
    form, assumed = find_form(job, config, inputs, shot.models, targets)
    _assume(inputs, assumed)
    sim = make_simulator(shot.each, shot.models, targets, shot.dx, supports)
    # No force moves what is held.
    confidence = np.where(held, 0.0, tracked.confidence)
    torch.manual_seed(job.seed)
    solver = WindSolver(
        sim, targets, fps=inputs.fps, config=config,
        confidence=even_weights(confidence, sim.mass.double().cpu().numpy(), followed.body),
        gaps=supports.impacts,
        body=followed.body,
        form=form,
        checkpoint=folder.checkpoint(FORCE),
    )  # fmt: skip
    weight = job.gravity if held.any() else (0.0, 0.0, 0.0)
    result = solve_clip(
        solver, _smoothing_runs(config, inputs, supports), held=held, tracked=tracked,
        steady=weight, checkpoint=folder.checkpoint(SMOOTH), resume=job.resume,
    )  # fmt: skip
    if result.weight is not None:
        inputs.assumptions.append(result.weight)
        print(result.weight)
    air = _air(form, result, sim.mass, inputs.fps, held)
    if len(shot.each) == 1 and config.force != "point" and is_taut(inputs, held):
        result = with_weight(result, targets, sim.mass, held, job.gravity, inputs.fps, shot.dx)
    pushed = reaction(supports, result, sim.mass, inputs.fps)
    return _Solved(
        solver=solver,
        result=result,
        weight=weight,
        reaction=pushed,
        confidence=find_confidence(shot.given, inputs, tracked, supports, solver, result, pushed),
        air=air,
        drag=None if form.drag is None else form.drag.rate,
    )


def _as_run(
    shot: Shot,
    followed: _Followed,
    solved: _Solved,
    explained: Explained | None,
    folder: RunFolder,
) -> tuple[WindRun, Findings]:
    """The run as its folder keeps it, and what it knows beside the force."""
    inputs, tracked, supports = shot.inputs, followed.tracked, followed.supports
    x, confidence = solved.result.x.double().cpu().numpy(), solved.confidence
    run = WindRun(
        folder=folder.path,
        job=shot.job,
        config=solved.solver.config,
        t=inputs.start + np.arange(len(x)) / inputs.fps,
        x=x,
        force=solved.result.frame_forces().double().cpu().numpy(),
        mass=solved.solver.sim.mass.double().cpu().numpy(),
        body=followed.body,
        gravity=np.asarray(shot.job.gravity),
        held=supports.held,
        reaction=solved.reaction,
        std=confidence.std,
        net_std=confidence.net,
        factor=confidence.factor,
        metrics={},
        cameras=inputs.cameras[0],
        air=None if solved.air is None else solved.air.along(x),
        drag=solved.drag,
    )
    carried = find_carried(run, inputs, tracked)
    run = pulled(run, carried)
    frames = followed_frames(tracked.quality.seen_share)
    by_gravity = moved_by_gravity(run, frames, guessed=shot.guessed)
    told = supports.distance if by_gravity is None else by_gravity.distance
    too_large = None
    if shot.guessed is not None and told is not None:
        too_large = shot.guessed / told
        confidence = confidence.scaled(too_large)
    return dataclasses.replace(run, factor=confidence.factor), Findings(
        explained=explained,
        carried=carried,
        by_gravity=by_gravity,
        too_large=too_large,
        factors=confidence.factors,
    )


def _assume(inputs: Inputs, sentences: Sequence[str]) -> None:
    """Keep and print what is assumed."""
    inputs.assumptions.extend(sentences)
    for sentence in sentences:
        print(f"assumed: {sentence}")


def _smoothing_runs(config: WindConfig, inputs: Inputs, supports: Supports) -> int:
    """Runs of the pass over all frames: as asked, else for solids that its model can follow."""
    if config.smooth is not None:
        return config.smooth
    solid = inputs.surface is not None and not (supports.floor and supports.parts)
    return SOLID_RUNS if solid and config.force != "kplanes" else 0


def _air(
    form: Form, result: WindResult, mass: torch.Tensor, fps: float, held: np.ndarray
) -> SampledAir | None:
    """The air that does the forces of a result, None where these are no drag."""
    if form.drag is None:
        return None
    specific = (result.force / mass[:, None]).double()
    air = form.drag.air(specific, result.v[:-1].double())
    return find_air(result.x.double().cpu().numpy(), air.cpu().numpy(), fps, held=held)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Torch and BLAS on one thread; it also makes sums repeatable."""
    with runtime.one_torch_thread(), threadpool_limits(1):
        yield
