"""Small finished runs for tests of the viewer: fixtures to be imported."""

import numpy as np
import pytest
import torch
from stages import FPS
from tiny_scene import cameras, figure, write_frames

import taichi_phys as tp
from inverse.runs import RunFolder
from inverse.trace import TraceConfig, TraceJob
from inverse.trace.learn import first_model
from inverse.trace.photographs import check_training, load_photographs
from inverse.trace.trainer import TraceTrainer
from inverse.wind import WindConfig, WindJob, WindRun
from inverse.wind.solver import WindSolver
from renderers.orbit import look_at
from renderers.video import write_video
from renderers.viewer.picture import draw
from renderers.viewer.snapshot import Points, Snapshot


@pytest.fixture(scope="session")
def wind_run(tmp_path_factory):
    """The folder of a wind run of a small block that accelerates to the side."""
    folder = RunFolder(tmp_path_factory.mktemp("wind") / "run")
    x, volume = tp.sample_box((0, 0, 0), (0.2, 0.1, 0.2), count=60)
    t = np.arange(5) / FPS
    targets = x + (0.5 * 6 * t**2)[:, None, None] * np.array([1.0, 0, 0])
    config = WindConfig(iterations=4, resolution=4, channels=4, hidden=8)
    camera = look_at((0.1, -1.5, 0.1), (0.1, 0, 0.1), fov=30, width=64, height=48)
    gray = np.full((60, 3), 200, np.uint8)
    clip = [
        draw(Snapshot(box=None, points=Points(x=p, colors=gray, radius=0.02)), camera)
        for p in targets
    ]
    write_video(folder / "clip.mp4", clip, FPS)
    video = (str(folder / "clip.mp4"),)
    job = WindJob(video=video, fov=30, box=(0, 0, 9, 9), distance=1.5, out=str(folder.path))
    folder.begin({"run": job, "solver": config}, results=(), checkpoints=())
    sim = tp.MPM(
        particles=tp.Particles(x, volume=volume, density=200.0, material=tp.Elastic(E=1e3, nu=0.3)),
        grid=tp.Grid.around(targets, dx=0.05, margin=0.1), gravity=(0, 0, 0),
    )  # fmt: skip
    with torch.enable_grad():
        torch.manual_seed(0)
        checkpoint = folder.checkpoint("force.pt")
        result = WindSolver(sim, targets, fps=FPS, config=config, checkpoint=checkpoint).solve(
            progress=False
        )
    WindRun(
        folder=folder.path, job=job, config=config, t=t, x=result.x.cpu().numpy(),
        force=result.frame_forces().cpu().numpy(), mass=sim.mass.cpu().numpy(), metrics={},
        gravity=np.array([0, 0, -9.81]), held=np.zeros(60, bool), reaction=np.zeros((5, 3)),
        body=np.zeros(60, int), std=np.full((5, 60, 3), 0.01), net_std=np.full((5, 3), 0.1),
        factor=1.0,
        cameras=[camera] * len(t),
    ).save()  # fmt: skip
    return folder.path


@pytest.fixture(scope="session")
def trace_run(tmp_path_factory):
    """The folder of a TRACE run whose networks were not trained, but move everything."""
    data = tmp_path_factory.mktemp("data")
    folder = RunFolder(tmp_path_factory.mktemp("trace") / "run")
    frames = [
        (f"v{k}_t{i}", camera, figure(), t)
        for k, camera in enumerate(cameras(3))
        for i, t in enumerate((0.0, 0.2, 0.4))
    ]
    write_frames(data, "train", frames)
    job = TraceJob(data=str(data), out=str(folder.path), parts=2)
    config = TraceConfig(gaussians=80, iterations=1, sh_degree=1)
    train = load_photographs(job.data, "train")
    times, frame_dt = check_training(job.data, train)
    model = first_model(job, config, train, times[-1], frame_dt)
    torch.manual_seed(0)
    for network in (model.deformation.head, model.dynamics.network[-1]):
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter.data, std=0.3)
    TraceTrainer(model, train, config, checkpoint=folder.checkpoint("trace.pt")).save()
    folder.begin({"run": job, "trace": config}, results=(), checkpoints=())
    folder.write_cameras(train.cameras, times=train.times)
    return folder.path
