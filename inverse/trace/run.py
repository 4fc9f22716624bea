"""From multi-view video to a run directory: learn how things move, and show what happens next."""

import dataclasses
from pathlib import Path

import numpy as np
import torch

import taichi_phys as tp
from inverse.fitting.model import GaussianModel, carve, gaussians_at, scene_box
from inverse.runs.settings import option, write_json
from inverse.trace.config import TraceConfig
from inverse.trace.frames import Frames, check_training, load_frames
from inverse.trace.model import TraceModel
from inverse.trace.ranks import Ranks
from inverse.trace.results import PARTS, write_results
from inverse.trace.trainer import TraceTrainer


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Inputs and outputs of a TRACE run."""

    data: str | None = option(None, "folder with transforms_train.json, _val, _test and times")
    out: str = option("out/trace", "folder of the results")
    downscale: int = option(1, "use the images at a fraction of their size; 2: half resolution")
    parts: int | None = option(None, "how many moving parts there are, default: found out")
    future: float = option(0.333, "how far the video goes on after the last frame, share of it")
    resume: bool = option(False, "go on from the checkpoint in --out")
    seed: int = option(0, "of the networks and of all that is random")
    device: str = option("auto", "where to compute", choices=("auto", "cpu", "cuda"))

    def __post_init__(self):
        if self.data is None:
            raise ValueError("data: none given, expected a folder of photographs with times")
        if self.downscale < 1:
            raise ValueError(f"downscale: got {self.downscale}, expected at least 1")
        if self.parts is not None and self.parts < 1:
            raise ValueError(f"parts: got {self.parts}, expected at least 1")
        if not 0 <= self.future < 100:
            raise ValueError(f"future: got {self.future}, expected a number from 0 on")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TraceRun:
    """All that a finished run knows; what results.py writes and shows."""

    run: RunConfig
    config: TraceConfig
    trainer: TraceTrainer
    train: Frames
    centre: np.ndarray

    @property
    def out(self) -> Path:
        return Path(self.run.out)

    @property
    def model(self) -> TraceModel:
        return self.trainer.model


def learn_motion(
    run: RunConfig, config: TraceConfig, *, command: list[str] | None = None
) -> dict | None:
    """Learn how the things in a video move, and write the run directory.

    Returns the record of metrics.json; None in all processes but the first. The splits val and
    test are read only after the training. Raises ValueError for unusable input, before anything
    is written. Interrupted, it keeps its checkpoint; with run.resume it goes on from there.
    """
    train = load_frames(run.data, "train", downscale=run.downscale)
    times, frame_dt = check_training(run.data, train)
    device = tp.init(arch=run.device, seed=run.seed).device
    ranks = Ranks.from_environment(device)
    model, centre = first_model(run, config, train, times[-1], frame_dt)
    out = Path(run.out)
    checkpoint = out / "checkpoints" / "trace.pt"
    trainer = TraceTrainer(
        model, train, config, seed=run.seed, checkpoint=checkpoint, ranks=ranks
    )  # fmt: skip
    if ranks.rank == 0:
        # Written first: an unwritable folder should fail now, not after the work.
        write_json(out / "config.json", {"run": run, "trace": config})
        (out / PARTS).unlink(missing_ok=True)  # of Gaussians that are about to change
        if not run.resume:
            checkpoint.unlink(missing_ok=True)
    ranks.agree(0.0)  # nobody reads a checkpoint that the first process is about to remove
    if run.resume:
        trainer.resume()
    trainer.run()
    if ranks.rank:
        return None
    finished = TraceRun(run=run, config=config, trainer=trainer, train=train, centre=centre)
    return write_results(finished, command)


def first_model(
    run: RunConfig, config: TraceConfig, train: Frames, duration: float, frame_dt: float
) -> tuple[TraceModel, np.ndarray]:
    """The model before training, from the photographs of t = 0; and the scene's centre (3,) m."""
    first = [k for k, time in enumerate(train.times) if abs(time) < 1e-6]
    cameras = [train.cameras[k] for k in first]
    centre, half = scene_box(cameras)
    images = [(train.rgb[k].numpy(), train.alpha[k].numpy()) for k in first]
    points = carve(images, cameras, config.gaussians, centre=centre, half=half, seed=run.seed)
    torch.manual_seed(run.seed)  # the networks' first weights
    model = TraceModel(
        GaussianModel(gaussians_at(*points, config.sh_degree)), config,
        centre=centre, half=half, duration=duration, frame_dt=frame_dt,
    )  # fmt: skip
    return model, centre
