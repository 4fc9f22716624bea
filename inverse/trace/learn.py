"""From multi-view video to a run: learn how things move, and show what happens next."""

import dataclasses
import warnings
from collections.abc import Sequence

import torch

import taichi_phys as tp
from inverse.fitting.model import GaussianModel, gaussians_at
from inverse.fitting.points import carve
from inverse.fitting.region import find_region
from inverse.runs.folder import METRICS, RunFolder
from inverse.runs.settings import as_plain
from inverse.runs.training import BACKGROUNDS
from inverse.trace.awakening import awakened
from inverse.trace.config import TraceConfig, TraceJob
from inverse.trace.model import TraceModel
from inverse.trace.parts import knots_of
from inverse.trace.photographs import Photographs, check_training, load_photographs
from inverse.trace.ranks import Ranks
from inverse.trace.report import write_report
from inverse.trace.results import find_parts, write_results
from inverse.trace.run import FREE, RESULTS, TRACE, TraceRun
from inverse.trace.trainer import TraceTrainer


EFFORT = 0.8  # of an update, for each new moment, relative to a training from the beginning


def learn_motion(
    job: TraceJob, config: TraceConfig, *, command: list[str] | None = None
) -> TraceRun | None:
    """Learn how the things in a video move, and write the folder of the run.

    command: the command line that the report shows, by default that of this process. Returns None
    in all processes but the first. The splits val and test are read only after the training. Raises
    ValueError for unusable input, before anything is written. An interrupted run keeps its
    checkpoint, and job.resume continues from it.
    """
    before = TraceRun.load(job.out) if job.update else None
    train = load_photographs(
        job.data, "train", downscale=job.downscale, fps=job.fps,
        start=None if before is None else before.start,
    )  # fmt: skip
    folder, since, steps = RunFolder(job.out), None, config.iterations
    resume = job.resume
    if before is None:
        times, frame_dt = check_training(job.data, train)
        origin = find_region([train.cameras[k] for k in train.first()]).origin()
    else:
        origin = before.origin
        times = sorted({*before.times, *train.times})
    train = train.relative_to(origin)
    device = tp.init(arch=job.device, seed=job.seed).device
    ranks = Ranks.from_environment(device)
    if before is None:
        model = first_model(job, config, train, times[-1], frame_dt)
    else:
        model, since, resume = updated_model(before, train, resume=job.resume)
        steps = update_steps(config, times, since)
    trainer = TraceTrainer(
        model, train, dataclasses.replace(config, iterations=steps), seed=job.seed,
        checkpoint=folder.checkpoint(TRACE), ranks=ranks, parts=job.parts, since=since,
    )  # fmt: skip
    if ranks.rank == 0:
        fresh = before is not None and not resume
        if fresh:
            trainer.save()  # over the checkpoint of the run so far, which is never missing
        folder.begin(
            {"run": job, "trace": config},
            results=RESULTS,
            checkpoints=() if fresh else (TRACE,),
            resume=resume,
            free=FREE,
            work=trainer,
        )
        more = {} if origin is None else {"origin": origin.tolist()}
        folder.write_cameras(train.cameras, times=times, start=train.start, **more)
    elif resume:
        trainer.resume()
    ranks.agree(0.0)  # all have read the checkpoint before one of them writes it
    trainer.run()
    if ranks.rank:
        return None
    labels, motion = find_parts(model, times, job.parts, job.seed)
    run = TraceRun(
        folder=folder.path,
        job=job,
        config=config,
        model=model,
        times=times,
        cameras=train.cameras,
        start=train.start,
        origin=origin,
        labels=labels,
        motion=as_plain(motion),
    )
    run.save()  # the motion, whatever becomes of the pictures
    metrics = write_results(
        run, trainer.background, iterations=trainer.iteration, seconds=trainer.seconds
    )
    metrics["sharing"], metrics["light"] = trainer.verdicts, trainer.light
    run = dataclasses.replace(run, metrics=folder.write_json(METRICS, metrics))
    write_report(run, trainer.losses, command)
    return run


def updated_model(
    before: TraceRun, train: Photographs, *, resume: bool
) -> tuple[TraceModel, float, bool]:
    """Make the model of a finished run go on to later photographs.

    train: all that is known now, or only what is new; resume: whether the run may be an update that
    was interrupted, which is then continued. Returns the model, the last time, s, that the run has
    learned, and whether it is such an update. Raises ValueError if there are no later photographs,
    or the run has not finished.
    """
    model = before.model.requires_grad_(True)
    begun = RunFolder(before.folder).read_checkpoint(TRACE).get("since") if resume else None
    if begun is not None and not before.metrics:
        return model, begun, True
    since = model.duration
    later = [t for t in train.times if t > since + 1e-6]
    if not later:
        raise ValueError(
            f"update: the photographs end at {max(train.times):g} s, expected some after "
            f"{since:g} s, the last time that the run in {before.folder} has learned"
        )
    if not before.metrics:
        raise ValueError(f"update: the run in {before.folder} has not finished; --resume goes on")
    background = BACKGROUNDS["white" if model.config.white_background else "black"]
    begins = awakened(model, train, since, background)
    if begins.any():
        model.moving |= torch.as_tensor(begins).to(model.moving.device)
        warnings.warn(
            f"update: {begins.sum()} Gaussians that stood still until {since:g} s do so no longer; "
            "they move by themselves from now on, and a training from the beginning may find parts "
            "among them",
            stacklevel=2,
        )
    times = sorted(set(later))
    model.extend(times, knots_of(times, len(later)))
    return model, since, False


def update_steps(config: TraceConfig, times: Sequence[float], since: float) -> int:
    """How many steps an update takes: by the share of new moments, with EFFORT for each.

    times: all observed ones, s, without repetition; since: the last one that was known before, s.
    """
    new = sum(t > since + 1e-6 for t in times) / len(times)
    return max(round(EFFORT * new * config.iterations), 1)


def first_model(
    job: TraceJob, config: TraceConfig, train: Photographs, duration: float, frame_dt: float
) -> TraceModel:
    """Make the untrained model from the photographs of the first moment.

    duration: the last observed time, s; frame_dt: the time between observed times, s.
    """
    first = train.first()
    cameras = [train.cameras[k] for k in first]
    region = find_region(cameras)
    images = [train.images[k] for k in first]
    points = carve(images, cameras, config.gaussians, region=region, seed=job.seed)
    torch.manual_seed(job.seed)  # the networks' first weights
    return TraceModel(
        GaussianModel(gaussians_at(*points, config.sh_degree)),
        config,
        center=region.center.tolist(),
        half_side=region.half,
        duration=duration,
        frame_dt=frame_dt,
    )
