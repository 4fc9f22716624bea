"""Writing a take in the format that was asked for."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import taichi_phys as tp
from inverse.export.config import PARTICLES, SURFACES, ExportJob
from inverse.export.take import Actor, Take
from inverse.export.takes import open_take
from taichi_phys.geometry.surfacing import SurfaceMesh
from taichi_phys.io.files import plain_name
from taichi_phys.io.meshes import save_mesh
from taichi_phys.io.states import Frame, remove_frames
from taichi_phys.io.usd import UsdWriter
from taichi_phys.io.vtk import write_vtk


def export_run(job: ExportJob) -> list[Path]:
    """Export a run; returns the files to open, of a sequence of files the first.

    Raises ValueError, in one sentence, for a run or settings that cannot be used, and ImportError
    for a package that is not installed.
    """
    whole = open_take(job.run, skin=job.skin, until=job.until)
    if not whole.solid and job.contents == SURFACES:
        raise ValueError(f"{job.run}: its Gaussians have no surface, expected --what {PARTICLES}")
    take = dataclasses.replace(
        whole, cameras=whole.cameras[:: job.every], fps=whole.fps / job.every
    )
    if job.to == "usd":
        return [_write_stage(job, take)]
    if job.to == "vtk":
        write_vtk(_each(job, take), job.folder)
        return [job.folder / "frames.pvd"]
    return _write_points(job, take) if job.contents == PARTICLES else _write_meshes(job, take)


def _each(job: ExportJob, take: Take) -> Iterator[Frame]:
    """The frames to be written, each read when it is needed."""
    numbers = range(0, len(take.frames), job.every)
    for number in tqdm(numbers, desc="export", unit="frame", disable=None):
        yield take.frames[number]


def _surface(job: ExportJob, take: Take, actor: Actor, frame: Frame) -> SurfaceMesh:
    mesh = actor.surface(frame, voxel=job.voxel, smooth=job.smooth)
    return dataclasses.replace(mesh, colors=np.tile(actor.color, (len(mesh.vertices), 1)))


def _write_meshes(job: ExportJob, take: Take) -> list[Path]:
    """NAME_0000.obj ... for each body, as Blender and others number the files of a sequence."""
    names = [plain_name(actor.name) for actor in take.actors]
    for k, frame in enumerate(_each(job, take)):
        for name, actor in zip(names, take.actors, strict=True):
            path = job.folder / f"{name}_{k:04d}.{job.to}"
            save_mesh(path, _surface(job, take, actor, frame))
    return [job.folder / f"{name}_0000.{job.to}" for name in names]


def _write_points(job: ExportJob, take: Take) -> list[Path]:
    """Frames of `taichi_phys.write_frames`, with vectors as three numbers."""
    arrays: dict[str, np.ndarray] = {}

    def states() -> Iterator[tp.State]:
        for frame in _each(job, take):
            arrays.clear()
            arrays.update(_numbers(frame))
            x, v = (torch.as_tensor(np.array(a, dtype=np.float32)) for a in (frame.x, frame.v))
            shape = torch.zeros((len(x), 3, 3))
            yield tp.State(x=x, v=v, C=shape, F=shape, time=frame.time)

    if job.folder.is_dir():
        remove_frames(job.folder)
    tp.write_frames(states(), job.folder, fps=take.fps, scalars=lambda state: dict(arrays))
    return [job.folder / "frame_0000.ply"]


def _numbers(frame: Frame) -> dict[str, np.ndarray]:
    """The arrays (n,) of a frame by name; those of vectors, in three parts."""
    result = {}
    for name, array in frame.fields.items():
        if array.ndim == 1:
            result[name] = array
        elif array.shape[1:] == (3,):
            result |= {f"{name}_{axis}": array[:, i] for i, axis in enumerate("xyz")}
    return result


def _write_stage(job: ExportJob, take: Take) -> Path:
    path = job.folder / f"{Path(job.run).resolve().name}.usdc"
    bodies = take.solid and job.contents != PARTICLES
    points = job.contents != SURFACES
    with UsdWriter(path, fps=take.fps, up=take.up) as stage:
        for prop in take.props:
            stage.solid(
                prop.name, prop.vertices, prop.faces, color=prop.color, opacity=prop.opacity
            )
        for k, frame in enumerate(_each(job, take)):
            t = frame.time
            for prop in take.props:
                if prop.pose is not None or prop.during is not None:
                    R, T = (np.eye(3), np.zeros(3)) if prop.pose is None else prop.pose(t)
                    stage.pose(prop.name, t, R, T, visible=prop.there(t))
            for actor in take.actors:
                if bodies:
                    stage.surface(actor.name, t, _surface(job, take, actor, frame))
                if points:
                    _put_points(stage, take, actor, frame)
                if not k:
                    for name in [actor.name] * bodies + [_particles(actor)] * points:
                        stage.paint(name, actor.color)
            if take.cameras:
                view = take.cameras[k]
                stage.camera("camera", t, **vars(view))
    return path


def _particles(actor: Actor) -> str:
    return f"{actor.name} particles"


def _put_points(stage: UsdWriter, take: Take, actor: Actor, frame: Frame) -> None:
    here = ~frame.removed[actor.rows]
    rows = actor.rows[here]
    stage.points(
        _particles(actor),
        frame.time,
        frame.x[rows],
        v=frame.v[rows],
        width=actor.volume[here] ** (1 / 3),
        colors=np.array(actor.color) if take.colors is None else take.colors[rows],
        ids=rows,
        arrays={name: array[rows] for name, array in frame.fields.items()},
    )
