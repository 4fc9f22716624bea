"""What a wind run shows: its pictures, the metrics of both, and the report."""

import dataclasses
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from inverse.metrics import image_metrics
from inverse.runs.clock import Clock
from inverse.runs.folder import VIDEO
from inverse.spread import farthest_points
from inverse.wind.inputs.load import Inputs
from inverse.wind.noise import solver_noise
from inverse.wind.results.report import write_report
from inverse.wind.results.truth import ALL, Truth, field_errors, force_errors, load_truth, roughness
from inverse.wind.results.verdict import ABOVE_NOISE, SEEN, Facts, Verdict, followed_until, judge
from inverse.wind.run import WindRun
from inverse.wind.solver import WindResult
from inverse.wind.targets import Tracked
from renderers.camera import Camera
from renderers.images import to_bytes
from renderers.overlay import draw_arrows, side_by_side
from renderers.splats.binding import bind, total_deformation
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import render
from renderers.video import write_video
from taichi_phys import runtime


TRUTH = "ground_truth.npz"  # beside the first video, where there is one
ARROWS = 48  # drawn on the object
ARROW_LENGTH = 0.16  # of the picture's height, for the strongest force


def write_results(
    run: WindRun,
    inputs: Inputs,
    result: WindResult,
    gaussians: Gaussians,
    *,
    tracked: Tracked,
    clock: Clock,
    command: list[str] | None,
) -> dict[str, Any]:
    """Write the video and the report of a run; returns the record of its metrics.

    run: without metrics yet; result: of the solver; gaussians: of the object in frame 0; tracked:
    what the tracks say; clock: has timed the stages before; command: as in the report.
    """
    video, cameras, targets = inputs.videos[0], run.cameras, tracked.targets
    seen_share = tracked.quality.seen_share
    followed = slice(0, followed_until(seen_share) + 1)
    missed = solver_noise(run.x[followed], targets[followed], run.mass, run.fps)
    tracked = dataclasses.replace(
        tracked, net_noise=np.hypot(tracked.net_noise, missed[0]),
        noise=np.hypot(tracked.noise, missed[1]),
    )  # fmt: skip
    with clock("video"), runtime.one_torch_thread():
        covered = object_coverage(
            video.shape[:3], cameras, (targets, run.x),
            spacing=np.sqrt(inputs.mask.sum() / (run.x.shape[1] / 2)),
        )  # fmt: skip
        moving = any(camera is not cameras[0] for camera in cameras)
        behind = backgrounds(video, covered, moving_camera=moving)
        F = carried_deformation(
            result, plastic=any(one.job.material != "elastic" for one in inputs.each)
        )  # fmt: skip
        motion = render_motion(gaussians, result.x, F, cameras, behind)
        pictures = picture_metrics(motion, video, covered)
        still = render_motion(gaussians, result.x, F, cameras, behind, held=True)
        held = picture_metrics(still, video, covered)
        specific = net_force(run.force, run.mass)
        facts = find_facts(
            run, inputs, tracked, specific, torn=sum(result.healed.values()),
            psnr=pictures["psnr"], psnr_held=held["psnr"],
        )  # fmt: skip
        verdict = judge(facts)
        frames = result_frames(run, video, motion, tracked, verdict)
        write_video(run.folder / VIDEO, frames, inputs.fps)
    metrics = {
        "frames": len(run.t),
        "particles": len(run.mass),
        "loss": result.loss,
        "healed": result.healed,
        "nudged": result.nudged,
        "roughness": roughness(run.x, run.force / run.mass[:, None]),
        "held_share": float(run.held.mean()),
        "reaction_n": reaction_record(run.reaction),
        "target_distance_m": float(np.linalg.norm(run.x - targets, axis=-1).mean()),
        "psnr": float(np.nanmean(pictures["psnr"])),
        "ssim": float(np.nanmean(pictures["ssim"])),
        "psnr_of_first_frame_held": float(np.nanmean(held["psnr"])),
        "seconds": {**clock.seconds, "total": sum(clock.seconds.values())},
        "peak_memory_mb": peak_memory_mb(),
    }
    metrics = {
        "verdict": verdict.record(),
        "seen_share": seen_share.tolist(),
        "lift": tracked.quality.to_record(),
        "noise": {"net_m_s2": tracked.net_noise.tolist(), "part_m_s2": tracked.noise.tolist()},
        **metrics,
    }
    if inputs.objects:
        metrics["objects"] = object_records(run)
    # Read only now, when the solution is final.
    truth = load_truth(Path(run.job.video[0]).parent / TRUTH, len(run.t), run.t)
    if truth is not None:
        metrics.update(compare(run, specific, truth))
    write_report(
        run, metrics, inputs, verdict,
        truth=None if truth is None else truth.net, specific=specific, command=command,
        keypoints=tracked.keypoints,
        psnr={"re-simulation": pictures["psnr"], "held as in frame 0": held["psnr"]},
    )  # fmt: skip
    return metrics


def reaction_record(reaction: np.ndarray) -> dict[str, Any] | None:
    """Mean and largest size, N, of a reaction (T, 3) N, and the frame of that; None for none."""
    size = np.linalg.norm(reaction, axis=1)
    if not size.any():
        return None
    return {"mean": float(size.mean()), "peak": float(size.max()), "frame": int(size.argmax())}


def object_records(run: WindRun) -> list[dict[str, Any]]:
    """Of each of several objects the number of its particles, its mass, kg, and its net force per
    mass, m/s^2: mean and largest size, and the vector (T, 3)."""
    records = []
    for number in range(run.body.max() + 1):
        own = run.body == number
        net = net_force(run.force[:, own], run.mass[own])
        size = np.linalg.norm(net, axis=1)
        records.append(
            {
                "particles": int(own.sum()), "mass_kg": float(run.mass[own].sum()),
                "mean_m_s2": float(size.mean()), "peak_m_s2": float(size.max()),
                "net_m_s2": net.tolist(),
            }
        )  # fmt: skip
    return records


def net_force(force: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """(T, 3) m/s^2: the sum of the forces (T, n, 3) N on particles of mass (n,) kg, per mass."""
    return force.sum(axis=1) / mass.sum()


def compare(run: WindRun, specific: np.ndarray, truth: Truth) -> dict[str, Any]:
    """The errors of a run against the truth; specific: (T, 3) m/s^2, its net force per mass."""
    first = np.broadcast_to(truth.net[0], truth.net.shape)
    record = {
        "errors": force_errors(specific, truth.net),
        "errors_all_frames": force_errors(specific, truth.net, ALL),
        "errors_of_first_force_held": force_errors(first, truth.net),
    }
    if truth.nodes is not None:
        field = run.force / run.mass[:, None]
        record["field_errors"] = field_errors(run.x, field, truth)
        record["field_errors_all_frames"] = field_errors(run.x, field, truth, ALL)
    if truth.reaction is not None:
        record["reaction_errors"] = force_errors(run.reaction, truth.reaction)
        record["reaction_errors_all_frames"] = force_errors(run.reaction, truth.reaction, ALL)
    return record


def find_facts(
    run: WindRun,
    inputs: Inputs,
    tracked: Tracked,
    specific: np.ndarray,
    *,
    torn: int,
    psnr: np.ndarray,
    psnr_held: np.ndarray,
) -> Facts:
    """What the verdict on a run is made of; torn: particles that were; the rest: as in Facts."""
    seen_share = tracked.quality.seen_share
    followed = slice(0, followed_until(seen_share) + 1)
    # Where particles are in the picture, also where the camera turns: as frame 0 saw it.
    first = run.cameras[0]
    x = run.x[followed]
    pixels = np.stack([first.project(place)[0] for place in x])
    moved = first.to_camera(x.mean(axis=1))
    moved = ((moved - moved[0]) ** 2).mean(axis=0)
    return Facts(
        seen_share=seen_share,
        psnr=psnr,
        psnr_held=psnr_held,
        moved_px=float(np.linalg.norm(pixels - pixels[0], axis=-1).mean(axis=1).max()),
        along_axis=float(moved[2] / max(moved.sum(), 1e-300)),
        views=len(inputs.videos),
        torn_share=torn / len(run.mass),
        tracks=tracked.count,
        size_px=float(np.sqrt(inputs.mask.sum())),
        flat=inputs.flat,
        strength=np.linalg.norm(specific, axis=1),
        noise=tracked.net_noise,
        reprojection_px=tracked.quality.reprojection_px[:, 0],
        converged=tracked.quality.fits,
        at_rest=tracked.quality.converged,
    )


def carried_deformation(result: WindResult, *, plastic: bool) -> torch.Tensor:
    """(T, n, 3, 3) by which Gaussians are carried: F, and for plastic bodies also what flowed."""
    if not plastic:
        return result.F
    pairs = zip(result.x, result.F, strict=True)
    return torch.stack([total_deformation(result.x[0], x, F) for x, F in pairs])


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
    run: WindRun,
    video: np.ndarray,
    motion: list[np.ndarray],
    tracked: Tracked,
    verdict: Verdict,
) -> Iterator[np.ndarray]:
    """Pictures: input | re-simulation | force arrows colored by strength.

    video: (T, H, W, 3) uint8; motion: the re-simulation, a picture (H, W, 3) uint8 for each frame;
    tracked: says where particles are seen, and how noisy their forces are. Arrows stand where the
    object is seen, not held, and the force stands out of the noise, up to where the object is lost,
    and nowhere if it is still: slow changes of light move tracks, too.
    """
    cameras, x = run.cameras, run.x
    specific = run.force / run.mass[:, None]
    shown = farthest_points(x[0], ARROWS)
    strength = np.linalg.norm(specific[:, shown], axis=-1)
    least = ABOVE_NOISE * tracked.noise
    drawn = (tracked.confidence[:, shown] >= SEEN) & (strength >= least[:, None])
    drawn &= ~run.held[shown]
    drawn[0 if verdict.still else verdict.until + 1 :] = False
    strongest = float(np.percentile(strength[drawn], 98)) if drawn.any() else float(least.max())
    strongest = max(strongest, 1e-9)
    distance = float(np.median(cameras[0].project(x[0])[1]))
    pixel = distance / cameras[0].fy  # m
    length = ARROW_LENGTH * cameras[0].height * pixel / strongest  # m per m/s^2
    for frame in range(len(video)):
        some = drawn[frame]
        camera, start = cameras[frame], x[frame, shown[some]]
        starts = camera.project(start)[0]
        ends = camera.project(start + length * specific[frame, shown[some]])[0]
        faded = (0.55 * video[frame].astype(np.float32) + 0.45 * 255).astype(np.uint8)
        arrows = draw_arrows(
            faded, starts, ends, strength[frame, some], limits=(0, strongest), legend="m/s²"
        )
        label = "force per mass: none" if verdict.still else "force per mass"
        if frame > verdict.until:
            label = "object lost"
        panels = [video[frame], motion[frame], arrows]
        yield side_by_side(panels, ["input", "re-simulation", label])
