"""From a motion to the material of what moves: simulate, compare, correct."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import taichi_phys as tp
from inverse.identification.bodies import gravity_of, make_simulator
from inverse.identification.config import GUESSES, START, MaterialConfig, MaterialJob
from inverse.identification.evidence import MotionEvidence, PointEvidence
from inverse.identification.inputs import MovingPoints, read_force, read_motion
from inverse.identification.report import write_report
from inverse.identification.run import FREE, MOTION, RESULTS, SEARCH, MaterialRun
from inverse.identification.search import Found, MaterialSearch
from inverse.identification.simulator import BodySimulator
from inverse.identification.unknowns import make_unknowns, values_of
from inverse.identification.verdict import value_records, verdict
from inverse.identification.videos import PictureEvidence, read_videos
from inverse.runs.clock import Clock
from inverse.runs.folder import METRICS, RunFolder


def fit_material(
    job: MaterialJob, config: MaterialConfig, *, command: list[str] | None = None
) -> MaterialRun:
    """Find the material of an object, and write the folder of the run.

    command: the command line that the report shows, by default that of this process. Raises
    ValueError for unusable input, before anything is written. An interrupted run keeps its
    checkpoint, and job.resume continues from it. In the manner of PAC-NeRF (Li et al. 2023) and
    PhysDreamer (Zhang et al. 2024), by Gauss-Newton instead of their gradient descent.
    """
    clock = Clock()
    tp.init(arch=job.device, seed=job.seed)
    evidence, points, start = _evidence(job, config)
    t = evidence.t
    force = None if job.force is None else read_force(job.force, start)
    make = functools.cache(
        lambda count: make_simulator(job, t, count, evidence.cloud, points, force)
    )
    simulator = make(config.coarse)
    size = float(np.ptp(simulator.x0, axis=0).max())
    unknowns = make_unknowns(_guesses(job, simulator, points), size, float(t[-1]))
    folder = RunFolder(job.out)
    search = MaterialSearch(
        make, evidence, unknowns, config, seed=job.seed, checkpoint=folder.checkpoint(SEARCH)
    )
    folder.begin(
        {"run": job, "search": config},
        results=RESULTS,
        checkpoints=(SEARCH,),
        resume=job.resume,
        free=FREE,
        work=search,
    )
    with clock("search"):
        found = search.solve()
    return _written(folder, job, config, search, found, make(search.finest), clock, command)


def _written(
    folder: RunFolder,
    job: MaterialJob,
    config: MaterialConfig,
    search: MaterialSearch,
    found: Found,
    simulator: BodySimulator,
    clock: Clock,
    command: list[str] | None,
) -> MaterialRun:
    evidence, unknowns = search.evidence, search.unknowns
    frames = evidence.count
    x, _ = simulator.run(values_of(unknowns, found.numbers), frames)
    evidence.bind(simulator.x0)
    evidence.trust(np.ones(frames))
    missed = {"found": evidence.missed(x)}
    guess = values_of(unknowns, np.array([u.encode(u.start) for u in unknowns]))
    try:
        missed["guess"] = evidence.missed(simulator.run(guess, frames)[0])
    except tp.SimulationError:
        missed["guess"] = [float("nan")] * frames
    values = value_records(unknowns, found)
    metrics: dict[str, Any] = {
        "verdict": verdict(values, unknowns, found, evidence),
        "values": values,
        "loss": found.loss,
        "loss_of_guess": found.first_loss,
        "loss_of_held_shape": evidence.shapeless,
        "noise": evidence.noise,
        "unit": evidence.unit,
        "missed": missed,
        "settled": found.settled,
        "particles": len(simulator.x0),
        "frames": frames,
        "gravity": gravity_of(job),
        "history": [
            {
                "stage": stage,
                "loss": loss,
                "values": [u.decode(n) for u, n in zip(unknowns, numbers, strict=True)],
            }
            for stage, numbers, loss in search.history
        ],
        "seconds": clock.seconds,
    }
    folder.write_npz(MOTION, t=evidence.t, x=x.astype(np.float32))
    metrics = folder.write_json(METRICS, metrics)
    run = MaterialRun(
        folder=folder.path, job=job, config=config, t=evidence.t, x=x, metrics=metrics
    )
    write_report(run, unknowns, command)
    return run


def _evidence(
    job: MaterialJob, config: MaterialConfig
) -> tuple[MotionEvidence, MovingPoints | None, float]:
    """The evidence, the points that it is made of, and the time of frame 0, s."""
    if job.motion is None:
        return PictureEvidence(read_videos(job, config.pixels)), None, 0.0
    points, start = read_motion(job.motion, job.frames)
    return PointEvidence(points, job.noise), points, start


def _guesses(
    job: MaterialJob, simulator: BodySimulator, points: MovingPoints | None
) -> Mapping[str, Sequence[float]]:
    """The guesses of what is to be found: one, or one for each part or axis."""
    parts = int(simulator.labels.max()) + 1
    if job.by_part and parts == 1:
        raise ValueError("by_part: there is one part, expected labels in the motion or a scene")
    guesses: dict[str, list[float]] = {}
    start = dict.fromkeys(START, np.zeros(3))
    if points is not None:
        start = dict(zip(START, points.start(simulator.center), strict=True))
    if job.velocity is not None:
        start["velocity"] = np.array(job.velocity)
    for name in job.unknowns:
        if name in START:
            guesses[name] = start[name].tolist()
            continue
        value = float(job.floor_friction if name == "friction" else getattr(job, name))
        if job.scene is not None:
            value = _of_scene(simulator, name)
        guesses[name] = [value] * (parts if name in job.by_part else 1)
    return guesses


def _of_scene(simulator: BodySimulator, name: str) -> float:
    """The guess of a scene file: that of the first body or collider which has such a value."""
    sim = simulator.sim
    if name == "density":
        return float(np.mean(np.asarray(sim.bodies[0].density)))
    if name == "friction":
        owners: Sequence[Any] = [c for c in sim.colliders if c.contact != "sticky"]
    else:
        owners = [b.material for b in sim.bodies if name in GUESSES]
    for owner in owners:
        if hasattr(owner, name):
            return float(np.mean(np.asarray(getattr(owner, name))))
    raise ValueError(f"find: got {name}, which nothing in the scene has")
