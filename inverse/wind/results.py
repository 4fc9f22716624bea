"""What a wind run leaves behind: forces.npz, metrics.json, video.mp4 and report.html."""

import resource
import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from inverse.metrics import image_metrics, vector_errors
from inverse.runs.settings import write_json
from inverse.spread import farthest_points
from inverse.wind.report import write_report
from renderers.images import to_bytes
from renderers.overlay import draw_arrows, side_by_side
from renderers.splats.binding import bind
from renderers.splats.render import render
from renderers.video import write_video
from taichi_phys import runtime
from taichi_phys.io.files import atomic_path


ARROWS = 48  # drawn on the object
SEEN = 0.2  # confidence below which a particle's force is a guess and not drawn
ARROW_LENGTH = 0.16  # of the picture's height, for the strongest force


def write_results(wind, clock, command: list[str] | None) -> dict:
    """Write the run directory of a finished WindRun; returns the record of metrics.json."""
    frame_forces = wind.result.frame_forces().double().cpu().numpy()
    mass = wind.sim.mass.double().cpu().numpy()
    x = wind.result.x.double().cpu().numpy()
    t = np.arange(len(x)) / wind.inputs.fps
    with atomic_path(wind.out / "forces.npz") as partial, open(partial, "wb") as file:
        np.savez_compressed(
            file, t=t, x=x, f=frame_forces, mass=mass, gravity=np.asarray(wind.run.gravity)
        )
    with clock("video"), runtime.one_torch_thread():
        video, covered = wind.inputs.videos[0], object_coverage(wind)
        behind = backgrounds(wind, covered)
        motion = render_motion(wind, behind)
        frames = result_frames(wind, motion, frame_forces, mass)
        write_video(wind.out / "video.mp4", frames, wind.inputs.fps)
        pictures = picture_metrics(motion, video, covered)
        held = picture_metrics(render_motion(wind, behind, held=True), video, covered)
    specific = frame_forces.sum(axis=1) / mass.sum()  # (T, 3) m/s^2
    # Read only now, when the solution is final.
    truth = load_truth(Path(wind.run.video[0]).parent / "ground_truth.npz", len(t))
    metrics = {
        "frames": len(t),
        "particles": len(mass),
        "loss": wind.result.loss,
        "healed": wind.result.healed,
        "target_distance_m": float(np.linalg.norm(x - wind.targets, axis=-1).mean()),
        "psnr": float(np.nanmean(pictures["psnr"])),
        "ssim": float(np.nanmean(pictures["ssim"])),
        "psnr_of_first_frame_held": float(np.nanmean(held["psnr"])),
        "seconds": {**clock.seconds, "total": sum(clock.seconds.values())},
        "peak_memory_mb": peak_memory_mb(),
    }
    if truth is not None:
        metrics["errors"] = force_errors(specific, truth)
        first = np.broadcast_to(truth[0], truth.shape)
        metrics["errors_of_first_force_held"] = force_errors(first, truth)
    write_json(wind.out / "metrics.json", metrics)
    series = {"re-simulation": pictures["psnr"], "held as in frame 0": held["psnr"]}
    write_report(wind, metrics, t, specific, truth, series, command)
    return metrics


def force_errors(specific: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Errors of net specific force (T, 3) m/s^2 over the frames 1 <= t < T - 3.

    A net force is a second difference of positions: the ends of a clip do not determine it.
    """
    return vector_errors(specific[1:-3], truth[1:-3])


def load_truth(path: Path, frames: int) -> np.ndarray | None:
    """(T, 3) m/s^2 true acceleration of the object, where the clip comes with it."""
    if not path.exists():
        return None
    try:
        with np.load(path) as record:
            truth = np.asarray(record["acceleration"], dtype=np.float64)
    except Exception as error:
        raise ValueError(f"{path}: cannot be read ({type(error).__name__})") from None
    if truth.ndim != 2 or truth.shape[1] != 3 or len(truth) < frames:
        raise ValueError(f"{path}: acceleration has shape {truth.shape}, expected ({frames}, 3)")
    return truth[:frames]


def peak_memory_mb() -> float:
    """Peak resident memory of this process, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def render_motion(wind, backgrounds: list[np.ndarray], *, held: bool = False) -> list[np.ndarray]:
    """The re-simulated object over backgrounds (H, W, 3) uint8, as the first view sees it; held:
    as it is in frame 0, in all frames."""
    gaussians, result = wind.gaussians, wind.result
    x, F = result.x.float().cpu(), result.F.float().cpu()
    binding = bind(gaussians.means, gaussians.covariances(), x[0])
    pictures = []
    for frame in range(len(x)):
        shown = 0 if held else frame
        means, covariances = binding.deform(x[shown], F[shown])
        behind = torch.as_tensor(backgrounds[frame], dtype=torch.float32) / 255
        image = render(
            wind.inputs.cameras[0][frame],
            means=means, covariances=covariances, opacities=gaussians.opacities,
            colors=gaussians.colors(), background=behind,
        )  # fmt: skip
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
    background = np.ma.median(shown, axis=0).filled(0).round().astype(np.uint8)
    always = covered.all(axis=0).astype(np.uint8)
    return cv2.inpaint(background, always, 5, cv2.INPAINT_TELEA) if always.any() else background


def backgrounds(wind, covered: np.ndarray) -> list[np.ndarray]:
    """The scene without the object, per frame; one picture for all where the camera stands.

    covered: (T, H, W) bool, true where the object is or may be.
    """
    video = wind.inputs.videos[0]
    if wind.run.moving_camera:
        pairs = zip(video, covered.astype(np.uint8), strict=True)
        return [cv2.inpaint(image, hidden, 5, cv2.INPAINT_TELEA) for image, hidden in pairs]
    return [static_background(video, covered)] * len(video)


def object_coverage(wind) -> np.ndarray:
    """(T, H, W) bool: pixels near the object's particles or their targets."""
    frames, height, width = wind.inputs.videos[0].shape[:3]
    covered = np.zeros((frames, height, width), dtype=np.uint8)
    for points in (wind.targets, wind.result.x.double().cpu().numpy()):
        for frame, camera in enumerate(wind.inputs.cameras[0]):
            u, v = np.floor(camera.project(points[frame])[0]).astype(int).T
            inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
            covered[frame, v[inside], u[inside]] = 1
    distance = np.sqrt(wind.inputs.mask.sum() / (len(wind.model.x) / 2))  # px between particles
    size = 2 * int(2 * distance + 4) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.stack([cv2.dilate(image, kernel) for image in covered]) > 0


def result_frames(wind, motion: list[np.ndarray], frame_forces: np.ndarray, mass: np.ndarray):
    """Pictures: input | re-simulation | force arrows coloured by strength."""
    video, cameras = wind.inputs.videos[0], wind.inputs.cameras[0]
    x = wind.result.x.double().cpu().numpy()
    specific = frame_forces / mass[:, None]
    shown = farthest_points(x[0], ARROWS)
    strength = np.linalg.norm(specific[:, shown], axis=-1)
    counted = strength[wind.confidence[:, shown] >= SEEN]
    strongest = max(float(np.percentile(counted, 98)), 1e-9) if counted.size else 1.0
    distance = float(np.median(cameras[0].project(x[0])[1]))
    pixel = distance / cameras[0].fy  # m
    metres = ARROW_LENGTH * cameras[0].height * pixel / strongest
    for frame in range(len(video)):
        seen = wind.confidence[frame, shown] >= SEEN
        camera, start = cameras[frame], x[frame, shown[seen]]
        starts = camera.project(start)[0]
        ends = camera.project(start + metres * specific[frame, shown[seen]])[0]
        faded = (0.55 * video[frame].astype(np.float32) + 0.45 * 255).astype(np.uint8)
        arrows = draw_arrows(
            faded, starts, ends, strength[frame, seen], limits=(0, strongest), legend="m/s²"
        )
        yield side_by_side(
            [video[frame], motion[frame], arrows],
            ["input", "re-simulation", "force per mass"],
        )
