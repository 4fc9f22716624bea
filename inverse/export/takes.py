"""Takes of all kinds of runs."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import taichi_phys as tp
from inverse.export.take import Actor, Prop, Skin, Take
from inverse.fitting.run import FitRun
from inverse.identification.run import MaterialRun
from inverse.opening import open_run
from inverse.simulation.film import bodies_colors
from inverse.simulation.looks import moved_by, surfaces_of
from inverse.simulation.run import SceneRun
from inverse.trace.run import TraceRun
from inverse.wind.run import WindRun
from renderers.splats.gaussians import Gaussians
from taichi_phys.geometry.repair import triangles
from taichi_phys.geometry.surfacing import particle_volume
from taichi_phys.io.files import plain_name
from taichi_phys.io.states import INDEX, Frame


ELASTIC = (tp.Elastic, tp.FixedCorotated, tp.Hencky)
BODY = "body"  # array that tells the bodies apart, by number from 0
COLORS = ((0.24, 0.52, 0.78), (0.89, 0.51, 0.23), (0.29, 0.66, 0.42), (0.70, 0.37, 0.75))
GRAY = (0.72, 0.74, 0.77)


def open_take(folder: str | Path, *, skin: bool = True, until: float | None = None) -> Take:
    """The take of a run of any kind, or of a folder of frames that `write_frames` wrote.

    skin: whether elastic bodies take the mesh of which they were made, if it is there; until: last
    time of a TRACE run, s. Raises ValueError, in one sentence, for what cannot be exported.
    """
    take = _any_take(Path(folder), skin, until)
    taken: set[str] = set()
    named = [_distinct(part, taken) for part in (*take.actors, *take.props)]
    count = len(take.actors)
    return dataclasses.replace(take, actors=tuple(named[:count]), props=tuple(named[count:]))


def _distinct(part: Any, taken: set[str]) -> Any:
    """The actor or prop with a name that no part before it has, where files are named."""
    name, number = part.name, 1
    while plain_name(name) in taken:
        number += 1
        name = f"{part.name} {number}"
    taken.add(plain_name(name))
    return dataclasses.replace(part, name=name)


def _any_take(folder: Path, skin: bool, until: float | None) -> Take:
    if (folder / INDEX).is_file():
        return _frames_take(tp.read_frames(folder))
    run = open_run(folder)
    if isinstance(run, FitRun):
        raise ValueError(f"{folder}: a fit stands still; its Gaussians are already a .ply file")
    if isinstance(run, MaterialRun):
        raise ValueError(f"{folder}: the particles of a fit-material run are in its motion.npz")
    if isinstance(run, TraceRun):
        return _trace_take(run, until)
    if until is not None:
        raise ValueError("until: only a TRACE run goes on after its last frame")
    return _scene_take(run, skin) if isinstance(run, SceneRun) else _wind_take(run, skin)


def _frames_take(frames: Sequence[Frame]) -> Take:
    if not len(frames):
        raise ValueError("run: its folder holds no frames")
    n = len(frames[0].x)
    volume = np.full(n, particle_volume(frames[0].x.astype(np.float64)))
    body = Actor(name="body", rows=np.arange(n), volume=volume, color=COLORS[0])
    return Take(frames=frames, fps=getattr(frames, "fps", 24.0), actors=(body,))


def _scene_take(run: SceneRun, skin: bool) -> Take:
    scene, folder = run.scene, run.scene.path.parent
    if run.frames is None or not len(run.frames):
        raise ValueError(f"{run.folder}: its scene keeps no frames that could be exported")
    first, actors, begin = run.frames[0].x, [], 0
    colors = bodies_colors(scene, [1] * len(scene.bodies))
    for body, color in zip(scene.bodies, colors, strict=True):
        volume = torch.as_tensor(body.particles(folder, scene.grid).volume)
        rows = np.arange(begin, begin + len(volume))
        begin += len(volume)
        mesh = body.mesh(folder) if skin and type(body.material) in ELASTIC else None
        actors.append(
            Actor(
                name=body.name,
                rows=rows,
                volume=volume.double().cpu().numpy(),
                color=tuple(color.tolist()),
                skin=None if mesh is None else Skin(mesh, first[rows[rows < len(first)]]),
            )
        )
    if begin != len(first):
        raise ValueError(
            f"{run.folder}: its frames hold {len(first)} particles and its scene makes {begin}; a "
            "file of the scene changed"
        )
    solids = moved_by(run.frames, [part.make(folder) for part in scene.solids])
    shown = surfaces_of(scene, solids)
    props = [
        Prop(
            name=f"collider {i}",
            vertices=surface.vertices,
            faces=surface.faces,
            color=(r, g, b),
            opacity=surface.opacity,
            pose=collider.pose,
            during=collider.during,
        )
        for i, (collider, surface) in enumerate(shown, 1)
        for r, g, b in [surface.color]
    ]
    return Take(
        frames=run.frames,
        fps=run.frames.fps,
        actors=tuple(actors),
        props=tuple(props),
        up=_against(scene.gravity),
    )


def _wind_take(run: WindRun, skin: bool) -> Take:
    v = np.gradient(run.x, run.t, axis=0)
    count = int(run.body.max()) + 1
    frames = [
        Frame(x=run.x[k], v=v[k], time=float(run.t[k]), fields=_wind_arrays(run, k))
        for k in range(len(run.t))
    ]
    mesh = _mesh_of(run) if skin and count == 1 and run.job.material == "elastic" else None
    actors = []
    for number in range(count):
        rows = np.flatnonzero(run.body == number)
        actors.append(
            Actor(
                name="object" if count == 1 else f"object {number + 1}",
                rows=rows,
                volume=run.mass[rows].astype(np.float64) / run.job.density,
                color=COLORS[number % len(COLORS)],
                skin=mesh,
            )
        )
    return Take(
        frames=frames,
        fps=run.fps,
        actors=tuple(actors),
        cameras=tuple(run.cameras),
        up=_against(run.gravity),
    )


def _wind_arrays(run: WindRun, k: int) -> dict[str, np.ndarray]:
    """The arrays of a frame: force and its uncertainty, N, acceleration, m/s^2, mass, kg ..."""
    arrays = {
        "force": run.force[k],
        "acceleration": run.force[k] / run.mass[:, None],
        "force_std": run.std[k],
        "mass": run.mass,
        "held": run.held.astype(np.uint8),
        BODY: run.body.astype(np.int32),
    }
    return arrays if run.air is None else arrays | {"air": run.air[k]}


def _mesh_of(run: WindRun) -> Skin | None:
    """The mesh that the run was given, None if it was given none or its file is gone."""
    if run.job.mesh is None:
        return None
    if not Path(run.job.mesh).is_file():
        print(f"{run.job.mesh}: is gone; the surface comes from the particles")
        return None
    return Skin(triangles(run.job.mesh), run.x[0])


@torch.no_grad()
def _trace_take(run: TraceRun, until: float | None) -> Take:
    model = run.model
    fps = 1 / model.frame_dt
    count = round((model.duration if until is None else until) * fps) + 1
    times = np.arange(max(count, 2)) / fps
    states = [model.tensors_at(float(t)) for t in times]
    x = np.stack([state["means"].double().cpu().numpy() for state in states])
    v = np.gradient(x, times, axis=0)
    n = x.shape[1]
    labels = np.zeros(n, dtype=np.int64) if run.labels is None else run.labels
    fixed = {"opacity": states[0]["opacities"].cpu().numpy(), BODY: labels.astype(np.int32)}
    radius = [state["scales"].mean(dim=1).cpu().numpy() for state in states]
    frames = [
        Frame(x=x[k], v=v[k], time=float(t), fields=fixed | {"radius": radius[k]})
        for k, t in enumerate(times)
    ]
    seen = Gaussians(**{key: tensor.detach() for key, tensor in states[0].items()}).colors()
    actors = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        name = "scene" if run.labels is None else "still" if label == 0 else f"part {label}"
        color = COLORS[int(label) % len(COLORS)] if label else GRAY
        # balls as large as the Gaussians; they overlap, and fill no body
        volume = (2 * radius[0][rows].astype(np.float64)) ** 3
        actors.append(Actor(name=name, rows=rows, volume=volume, color=color))
    colors = seen.clamp(0, 1).cpu().numpy()
    cameras = tuple(run.cameras[:1]) * len(frames)
    return Take(
        frames=frames, fps=fps, actors=tuple(actors), colors=colors, cameras=cameras, solid=False
    )


def _against(gravity: np.ndarray | Sequence[float]) -> tuple[float, float, float]:
    """The direction against gravity; z without gravity."""
    x, y, z = (-float(g) for g in gravity)
    return (x, y, z) if any((x, y, z)) else (0.0, 0.0, 1.0)
