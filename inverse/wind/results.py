"""What a wind run shows: its pictures, the metrics of both, and the report."""

import resource
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from inverse.metrics import image_metrics, vector_errors
from inverse.runs.clock import Clock
from inverse.runs.folder import VIDEO, read_npz
from inverse.spread import farthest_points
from inverse.wind.inputs import Inputs
from inverse.wind.report import write_report
from inverse.wind.solver import WindResult
from renderers.camera import Camera
from renderers.images import to_bytes
from renderers.overlay import draw_arrows, side_by_side
from renderers.splats.binding import bind
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import render
from renderers.video import write_video
from taichi_phys import runtime


if TYPE_CHECKING:
    from inverse.wind.run import WindRun

TRUTH = "ground_truth.npz"  # beside the first video, where there is one
ARROWS = 48  # drawn on the object
SEEN = 0.2  # confidence below which a particle's force is a guess and not drawn
ARROW_LENGTH = 0.16  # of the picture's height, for the strongest force
INNER = slice(1, -3)  # frames whose net force counts: the ends of a clip do not determine it


def write_results(
    run: "WindRun",
    inputs: Inputs,
    result: WindResult,
    gaussians: Gaussians,
    *,
    targets: np.ndarray,
    confidence: np.ndarray,
    clock: Clock,
    command: list[str] | None,
) -> dict[str, Any]:
    """Write the video and the report of a run; returns the record of its metrics.

    run: without metrics yet; result: of the solver; gaussians: of the object in frame 0; targets:
    (T, n, 3) m; confidence: (T, n) in 0..1; clock: has timed the stages before; command: as in the
    report.
    """
    video, cameras = inputs.videos[0], run.cameras
    with clock("video"), runtime.one_torch_thread():
        covered = object_coverage(
            video.shape[:3], cameras, (targets, run.x),
            spacing=np.sqrt(inputs.mask.sum() / (run.x.shape[1] / 2)),
        )  # fmt: skip
        behind = backgrounds(video, covered, moving_camera=run.job.moving_camera)
        motion = render_motion(gaussians, result.x, result.F, cameras, behind)
        frames = result_frames(run, video, motion, confidence)
        write_video(run.folder / VIDEO, frames, inputs.fps)
        pictures = picture_metrics(motion, video, covered)
        still = render_motion(gaussians, result.x, result.F, cameras, behind, held=True)
        held = picture_metrics(still, video, covered)
    metrics = {
        "frames": len(run.t),
        "particles": len(run.mass),
        "loss": result.loss,
        "healed": result.healed,
        "target_distance_m": float(np.linalg.norm(run.x - targets, axis=-1).mean()),
        "psnr": float(np.nanmean(pictures["psnr"])),
        "ssim": float(np.nanmean(pictures["ssim"])),
        "psnr_of_first_frame_held": float(np.nanmean(held["psnr"])),
        "seconds": {**clock.seconds, "total": sum(clock.seconds.values())},
        "peak_memory_mb": peak_memory_mb(),
    }
    specific = net_force(run.force, run.mass)
    # Read only now, when the solution is final.
    truth = load_truth(Path(run.job.video[0]).parent / TRUTH, len(run.t))
    if truth is not None:
        metrics["errors"] = force_errors(specific, truth)
        first = np.broadcast_to(truth[0], truth.shape)
        metrics["errors_of_first_force_held"] = force_errors(first, truth)
    write_report(
        run, metrics, inputs.assumptions, truth=truth, specific=specific, command=command,
        psnr={"re-simulation": pictures["psnr"], "held as in frame 0": held["psnr"]},
    )  # fmt: skip
    return metrics


def net_force(force: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """(T, 3) m/s^2: the sum of the forces (T, n, 3) N on particles of mass (n,) kg, per mass."""
    return force.sum(axis=1) / mass.sum()


def force_errors(specific: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Errors of net specific force (T, 3) m/s^2 over the frames 1 <= t < T - 3.

    A net force is a second difference of positions: the ends of a clip do not determine it.
    """
    return vector_errors(specific[INNER], truth[INNER])


def load_truth(path: Path, frames: int) -> np.ndarray | None:
    """(T, 3) m/s^2 true acceleration of the object in so many frames.

    None where the clip does not come with it, and, with a warning, where it cannot be used: that
    is no reason to lose the results of a run.
    """
    if not path.exists():
        return None
    try:
        truth = read_npz(path, "acceleration")[0].astype(np.float64)
        if truth.ndim != 2 or truth.shape[1] != 3 or len(truth) < frames:
            shape = truth.shape
            raise ValueError(f"{path}: acceleration has shape {shape}, expected ({frames}, 3)")
        if not np.isfinite(truth[:frames]).all():
            raise ValueError(f"{path}: acceleration has values that are not finite")
        if not truth[:frames][INNER].any():
            raise ValueError(f"{path}: no true force in the {len(range(frames)[INNER])} frames "
                             "that count, so errors have no meaning")  # fmt: skip
    except (ValueError, TypeError) as error:
        warnings.warn(f"{error}; the forces are not compared with it", stacklevel=2)
        return None
    return truth[:frames]


def peak_memory_mb() -> float:
    """Peak resident memory of this process, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def render_motion(
    gaussians: Gaussians,
    x: torch.Tensor,
    F: torch.Tensor,
    cameras: Sequence[Camera],
    backgrounds: Sequence[np.ndarray],
    *,
    held: bool = False,
) -> list[np.ndarray]:
    """A moving object over backgrounds, one picture (H, W, 3) uint8 for each frame.

    gaussians: the object in frame 0; x: (T, n, 3) m and F: (T, n, 3, 3), its particles; cameras
    and backgrounds (H, W, 3) uint8: of each frame; held: as it is in frame 0, in all frames.
    """
    x, F = x.float().cpu(), F.float().cpu()
    binding = bind(gaussians.means, gaussians.covariances(), x[0])
    pictures = []
    for frame in range(len(x)):
        shown = 0 if held else frame
        means, covariances = binding.deform(x[shown], F[shown])
        behind = torch.as_tensor(backgrounds[frame], dtype=torch.float32) / 255
        image = render(
            cameras[frame],
            means=means,
            covariances=covariances,
            opacities=gaussians.opacities,
            colors=gaussians.colors(),
            background=behind,
        )
        pictures.append(to_bytes(image.rgb))
    return pictures


def picture_metrics(
    pictures: list[np.ndarray], video: np.ndarray, covered: np.ndarray
) -> dict[str, np.ndarray]:
    """psnr (T,) dB and ssim (T,) of pictures against a video, both (T, H, W, 3) uint8, over the
    pixels of covered (T, H, W) bool; NaN in frames in which no pixel is."""
    found = {"psnr": np.full(len(video), np.nan), "ssim": np.full(len(video), np.nan)}
    for frame in np.flatnonzero(covered.any(axis=(1, 2))):
        image, clip = (torch.as_tensor(p[frame]).float() / 255 for p in (pictures, video))
        record = image_metrics(image, clip, torch.as_tensor(covered[frame]))
        for name, values in found.items():
            values[frame] = record[name]
    return found


def static_background(video: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """The scene without the object: per pixel the median of the frames that do not show it.

    video: (T, H, W, 3) uint8; covered: (T, H, W) bool, true where the object is or may be. Pixels
    covered in all frames are filled in from their surroundings.
    """
    shown = np.ma.masked_array(video, np.repeat(covered[..., None], 3, axis=-1))
    median: Any = np.ma.median(shown, axis=0)
    background: np.ndarray = median.filled(0).round().astype(np.uint8)
    always = np.asarray(covered.all(axis=0), dtype=np.uint8)
    return cv2.inpaint(background, always, 5, cv2.INPAINT_TELEA) if always.any() else background


def backgrounds(video: np.ndarray, covered: np.ndarray, *, moving_camera: bool) -> list[np.ndarray]:
    """The scene without the object, per frame; one picture for all where the camera stands.

    video: (T, H, W, 3) uint8; covered: (T, H, W) bool, true where the object is or may be.
    """
    if moving_camera:
        pairs = zip(video, covered.astype(np.uint8), strict=True)
        return [cv2.inpaint(image, hidden, 5, cv2.INPAINT_TELEA) for image, hidden in pairs]
    return [static_background(video, covered)] * len(video)


def object_coverage(
    shape: tuple[int, int, int],
    cameras: Sequence[Camera],
    points: Sequence[np.ndarray],
    *,
    spacing: float,
) -> np.ndarray:
    """(T, H, W) bool: pixels near any of the points.

    shape: (T, H, W); cameras: of each frame; points: arrays (T, n, 3) m; spacing: between
    neighboring points in the picture, px.
    """
    frames, height, width = shape
    covered = np.zeros((frames, height, width), dtype=np.uint8)
    for moving in points:
        for frame, camera in enumerate(cameras):
            u, v = np.floor(camera.project(moving[frame])[0]).astype(int).T
            inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
            covered[frame, v[inside], u[inside]] = 1
    size = 2 * int(2 * spacing + 4) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.stack([cv2.dilate(image, kernel) for image in covered]) > 0


def result_frames(
    run: "WindRun", video: np.ndarray, motion: list[np.ndarray], confidence: np.ndarray
) -> Iterator[np.ndarray]:
    """Pictures: input | re-simulation | force arrows colored by strength.

    video: (T, H, W, 3) uint8; motion: the re-simulation, a picture (H, W, 3) uint8 for each frame;
    confidence: (T, n) in 0..1.
    """
    cameras, x = run.cameras, run.x
    specific = run.force / run.mass[:, None]
    shown = farthest_points(x[0], ARROWS)
    strength = np.linalg.norm(specific[:, shown], axis=-1)
    counted = strength[confidence[:, shown] >= SEEN]
    strongest = max(float(np.percentile(counted, 98)), 1e-9) if counted.size else 1.0
    distance = float(np.median(cameras[0].project(x[0])[1]))
    pixel = distance / cameras[0].fy  # m
    length = ARROW_LENGTH * cameras[0].height * pixel / strongest  # m per m/s^2
    for frame in range(len(video)):
        seen = confidence[frame, shown] >= SEEN
        camera, start = cameras[frame], x[frame, shown[seen]]
        starts = camera.project(start)[0]
        ends = camera.project(start + length * specific[frame, shown[seen]])[0]
        faded = (0.55 * video[frame].astype(np.float32) + 0.45 * 255).astype(np.uint8)
        arrows = draw_arrows(
            faded, starts, ends, strength[frame, seen], limits=(0, strongest), legend="m/s²"
        )
        yield side_by_side(
            [video[frame], motion[frame], arrows],
            ["input", "re-simulation", "force per mass"],
        )
