"""The main job, end to end: video -> tracks -> targets -> force -> motion -> picture."""

import contextlib
import dataclasses
import functools
import hashlib
import time
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import taichi_phys as tp
from inverse.lifting import targets_from_video
from inverse.perception import ObjectModel, object_model, refine_on_image
from inverse.runs.settings import write_json
from inverse.tracking import track_cotracker, track_lucas_kanade
from inverse.wind.config import RunConfig, WindConfig
from inverse.wind.inputs import Inputs, load_inputs
from inverse.wind.results import write_results
from inverse.wind.solver import WindResult, WindSolver
from renderers.splats.gaussians import Gaussians
from taichi_phys import runtime
from taichi_phys.io.files import atomic_path


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WindRun:
    """All that a finished run knows; what results.py writes and shows."""

    run: RunConfig
    config: WindConfig
    inputs: Inputs
    model: ObjectModel
    gaussians: Gaussians
    sim: tp.MPM
    targets: np.ndarray
    confidence: np.ndarray
    result: WindResult

    @property
    def out(self) -> Path:
        return Path(self.run.out)


def recover_wind(run: RunConfig, config: WindConfig, *, command: list[str] | None = None) -> dict:
    """Recover the force that moves the object in a clip, and write the run directory.

    Returns the record of metrics.json. Raises ValueError for unusable input, before anything is
    written. Interrupted, it keeps its checkpoint; with run.resume it goes on from there.
    """
    inputs = load_inputs(run)
    for assumption in inputs.assumptions:
        print(f"assumed: {assumption}")
    out = Path(run.out)
    tp.init(arch=run.device, seed=run.seed)
    model, dx = _object(run, inputs)
    seconds = _Clock()
    # Written first: an unwritable folder should fail now, not after the work.
    write_json(out / "config.json", {"run": run, "solver": config})
    with seconds("splats"), _one_thread():
        gaussians = refine_on_image(
            model.splats.gaussians(), inputs.videos[0][0], inputs.mask, inputs.cameras[0][0],
            iterations=run.splat_iterations, seed=run.seed,
        )  # fmt: skip
    with seconds("targets"), _one_thread():
        targets, confidence = _targets(run, inputs, model)
    sim = _simulator(run, model, targets, dx)
    with seconds("force"), _one_thread():
        torch.manual_seed(run.seed)
        checkpoint = out / "checkpoints" / "force.pt"
        solver = WindSolver(
            sim, targets, fps=inputs.fps, config=config, confidence=confidence,
            checkpoint=checkpoint,
        )  # fmt: skip
        if run.resume:
            solver.resume()
        else:
            checkpoint.unlink(missing_ok=True)
        result = solver.solve()
    finished = WindRun(
        run=run, config=config, inputs=inputs, model=model, gaussians=gaussians, sim=sim,
        targets=targets, confidence=confidence, result=result,
    )  # fmt: skip
    return write_results(finished, seconds, command)


def _object(run: RunConfig, inputs: Inputs) -> tuple[ObjectModel, float]:
    """The object in frame 0, and the grid spacing (m) that gives its longest side run.cells."""
    camera = inputs.cameras[0][0]
    rows, columns = np.nonzero(inputs.mask)
    pixels = np.stack([columns + 0.5, rows + 0.5], axis=1)
    points = camera.unproject(pixels, inputs.depth[rows, columns])
    dx = float(np.ptp(points, axis=0).max()) / run.cells
    thickness = dx if run.thickness is None else run.thickness
    model = object_model(
        inputs.videos[0][0], inputs.mask, inputs.depth, camera,
        thickness=thickness, spacing=0.5 * dx,
    )  # fmt: skip
    return model, dx


def _targets(run: RunConfig, inputs: Inputs, model: ObjectModel) -> tuple[np.ndarray, np.ndarray]:
    """Particle targets (T, n, 3) m and confidence (T, n); kept in the run directory."""
    path = Path(run.out) / "checkpoints" / "targets.npz"
    stamp = _stamp(run, inputs, model)
    if run.resume and path.exists():
        with contextlib.suppress(Exception):  # damaged or of other inputs: made again
            with np.load(path) as saved:
                if str(saved["stamp"]) == stamp:
                    return saved["targets"], saved["confidence"]
    tracker = track_lucas_kanade
    if run.tracker == "cotracker":
        device = str(runtime.ensure_initialized().device)
        tracker = functools.partial(
            track_cotracker, repo_or_checkpoint=run.cotracker, device=device
        )

    with _StageBar() as bar:
        found = targets_from_video(
            inputs.videos, inputs.cameras, inputs.mask, inputs.depth, inputs.fps, model.x,
            tracks=inputs.tracks, tracker=tracker, max_count=run.keypoints, progress=bar,
        )  # fmt: skip
    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, targets=found.targets, confidence=found.confidence, stamp=stamp)
    return found.targets, found.confidence


def _stamp(run: RunConfig, inputs: Inputs, model: ObjectModel) -> str:
    """What targets depend on."""
    digest = hashlib.sha256()
    for array in (*inputs.videos, inputs.mask, inputs.depth, model.x):
        digest.update(np.ascontiguousarray(array).tobytes())
    for camera in (camera for path in inputs.cameras for camera in path):
        digest.update(repr(dataclasses.asdict(camera)).encode())
    for tracks in inputs.tracks or ():
        digest.update(tracks.xy.tobytes() + tracks.visible.tobytes())
    digest.update(repr((inputs.fps, run.tracker, run.cotracker, run.keypoints)).encode())
    return digest.hexdigest()


def _simulator(run: RunConfig, model: ObjectModel, targets: np.ndarray, dx: float) -> tp.MPM:
    """The object's simulator, without gravity: that is part of the force to be found."""
    size = float(np.ptp(model.x, axis=0).max())
    particles = tp.Particles(
        model.x, density=run.density, volume=model.volume, material=run.make_material()
    )
    grid = tp.Grid.around(targets, dx=dx, margin=0.25 * size)
    return tp.MPM(particles=particles, grid=grid, gravity=(0.0, 0.0, 0.0))


class _Clock:
    """Seconds spent in named stages."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str):
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


class _StageBar:
    """A progress bar for stages that report (stage, done, total); quiet without a terminal."""

    def __enter__(self):
        self._bar, self._stage = None, None
        return self

    def __call__(self, stage: str, done: int, total: int):
        if stage != self._stage:
            self.__exit__()
            self._bar, self._stage = tqdm(desc=stage, total=total, disable=None), stage
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()


@contextlib.contextmanager
def _one_thread():
    """Torch and BLAS on one thread; it also makes sums repeatable."""
    with runtime.one_torch_thread(), threadpool_limits(1):
        yield
