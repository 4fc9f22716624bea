"""From a scene file to a folder of results: frames, film, metrics and report."""

import dataclasses

import taichi_phys as tp
from inverse.runs.folder import METRICS, VIDEO, RunFolder
from inverse.runs.report import environment
from inverse.simulation.film import check_look, write_film
from inverse.simulation.job import SceneJob
from inverse.simulation.report import measure, write_report
from inverse.simulation.run import FREE, RESULTS, SceneRun
from inverse.simulation.simulation import FRAMES, STATE, Simulation
from taichi_phys.io.states import remove_frames
from taichi_phys.scenes.scene import Scene


def check_scene(job: SceneJob) -> str:
    """Check a scene without simulating it, and describe it in a sentence.

    Raises ValueError if the scene cannot be used.
    """
    scene = job.load_scene()
    sim, _ = _build(job, scene)
    return describe(scene, sim)


def run_scene(job: SceneJob, *, command: list[str] | None = None) -> SceneRun:
    """Simulate a scene, and write the folder of the run.

    command: the command line that the report shows, by default that of this process. Raises
    ValueError for an unusable scene, before anything is written, and if the simulation fails. An
    interrupted run keeps its checkpoint, and job.resume continues from it.
    """
    scene = job.load_scene()
    sim, force = _build(job, scene)
    print(describe(scene, sim))
    folder = RunFolder(job.folder)
    simulation = Simulation(scene, folder)
    if job.resume:
        simulation.resume()
    folder.begin(
        {"run": job, "scene": scene.settings(), "environment": environment()},
        results=RESULTS,
        checkpoints=(STATE,),
        resume=job.resume,
        free=FREE,
    )
    state = simulation.run(sim, force)
    frames = tp.read_frames(folder / FRAMES)
    metrics = {
        "particles": len(sim.mass),
        "particles_of_bodies": [len(body) for body in sim.bodies],
        "mass": float(sim.mass.double().sum()),
        "frames": simulation.done,
        "simulated_seconds": float(state.time),
        "seconds": simulation.seconds,
        "frames_per_second": simulation.done / max(simulation.seconds, 1e-9),
        "removed": int(state.removed.sum()),
        "series": measure(sim.mass.double().cpu().numpy(), frames),
    }
    metrics = folder.write_json(METRICS, metrics)
    if scene.output.video:
        write_film(folder / VIDEO, scene, sim, frames)
    run = SceneRun(
        folder=folder.path, job=job, scene=scene, frames=frames, state=state, metrics=metrics
    )
    if scene.output.report:
        write_report(run, command)
    if scene.output.frames == "none":
        remove_frames(folder / FRAMES)
        run = dataclasses.replace(run, frames=None)
    return run


def _build(job: SceneJob, scene: Scene) -> tuple[tp.MPM, tp.ForceField | None]:
    check_look(scene)
    tp.init(arch=job.device, threads=job.threads)
    return scene.build()


def describe(scene: Scene, sim: tp.MPM) -> str:
    """Describe a scene in a sentence."""
    counts = ", ".join(f"{b.name}: {len(p)}" for b, p in zip(scene.bodies, sim.bodies, strict=True))
    x, y, z = scene.grid.shape
    return (
        f"{scene.path}: {scene.title}; particles: {counts}; grid: {x} x {y} x {z} nodes; "
        f"{scene.time.frames} frames at {scene.time.fps:g} a second, "
        f"{sim.substeps(1 / scene.time.fps)} or more substeps each"
    )
