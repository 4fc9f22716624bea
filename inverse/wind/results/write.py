"""What a wind run shows: its pictures, the metrics of both, and the report."""

import dataclasses
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inverse.clips.footage import keep_pictures
from inverse.lifting.quality import followed_frames
from inverse.runs.clock import Clock
from inverse.runs.folder import VIDEO
from inverse.wind.findings import Findings
from inverse.wind.flight import Flight
from inverse.wind.inputs.load import Inputs
from inverse.wind.results.pictures import (
    Coverage,
    backgrounds,
    carried_deformation,
    picture_metrics,
    render_motion,
    result_frames,
)
from inverse.wind.results.report import write_report
from inverse.wind.results.truth import (
    ALL,
    Truth,
    field_errors,
    force_errors,
    load_truth,
    roughness,
    within,
)
from inverse.wind.results.verdict import Facts, judge
from inverse.wind.run import WindRun
from inverse.wind.solver import WindResult
from inverse.wind.spread import Bending
from inverse.wind.swing import Swing
from inverse.wind.targets import Tracked
from inverse.wind.taut import is_taut
from renderers.splats.gaussians import Gaussians
from renderers.video import write_video
from taichi_phys import runtime


TRUTH = "ground_truth.npz"  # beside the first video, where there is one


def write_results(
    run: WindRun,
    inputs: Inputs,
    result: WindResult,
    gaussians: Gaussians,
    *,
    tracked: Tracked,
    findings: Findings,
    clock: Clock,
    command: list[str] | None,
) -> dict[str, Any]:
    """Write the video and the report of a run; returns the record of its metrics.

    run: without metrics yet; result: of the solver; gaussians: of the object in frame 0; tracked:
    what the tracks say; findings: what is known beside the force; clock: has timed the stages
    before; command: as in the report.
    """
    video, cameras, targets = inputs.videos[0], run.cameras, tracked.targets
    seen_share = tracked.quality.seen_share
    with clock("video"), runtime.one_torch_thread():
        covered = Coverage(
            cameras, (targets, run.x),
            spacing=np.sqrt(inputs.mask.sum() / (run.x.shape[1] / 2)),
        )  # fmt: skip
        moving = any(camera is not cameras[0] for camera in cameras)
        behind = backgrounds(video, covered, moving_camera=moving)
        F = carried_deformation(result, plastic=inputs.plastic)
        motion = keep_pictures(render_motion(gaussians, result.x, F, cameras, behind), len(video))
        pictures = picture_metrics(motion, video, covered)
        still = render_motion(gaussians, result.x, F, cameras, behind, held=True)
        held = picture_metrics(still, video, covered)
        specific = net_force(run.force, run.mass)
        facts = find_facts(
            run, inputs, tracked, findings, specific, torn=sum(result.healed.values()),
            psnr=pictures["psnr"], psnr_held=held["psnr"], bending=result.bending,
        )  # fmt: skip
        verdict = judge(facts)
        frames = result_frames(run, video, motion, tracked, verdict)
        write_video(run.folder / VIDEO, frames, inputs.fps)
    explained, by_gravity = findings.explained, findings.by_gravity
    metrics: dict[str, Any] = {
        "frames": len(run.t),
        "particles": len(run.mass),
        "loss": result.loss,
        "healed": result.healed,
        "nudged": result.nudged,
        "explained": None if explained is None else explained.record(),
        **{
            name: by_gravity.record() if isinstance(by_gravity, kind) else None
            for name, kind in (("swing", Swing), ("flight", Flight))
        },
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
        "confidence": confidence_record(run, facts, findings.factors),
        **metrics,
    }
    if inputs.objects:
        metrics["objects"] = object_records(run)
    # Read only now, when the solution is final.
    truth = load_truth(Path(run.job.video[0]).parent / TRUTH, len(run.t), run.t)
    if truth is not None:
        metrics.update(compare(run, specific, truth))
    write_report(
        run, metrics, inputs, verdict, paths=tracked.paths,
        truth=None if truth is None else truth.net, specific=specific, command=command,
        psnr={"re-simulation": pictures["psnr"], "held as in frame 0": held["psnr"]},
    )  # fmt: skip
    return metrics


def confidence_record(run: WindRun, facts: Facts, factors: Mapping[str, float]) -> dict[str, Any]:
    """How well the forces of a run are known, for metrics.json."""
    return {
        "net_std_m_s2": (run.net_std / run.mass.sum()).tolist(),
        "net_share": facts.known_to,
        "factor": run.factor,
        "factors": dict(factors),
        "bending": None if facts.bending is None else dataclasses.asdict(facts.bending),
    }


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
    record["net_within_std"] = within(specific - truth.net, run.net_std / run.mass.sum())
    return record


def find_facts(
    run: WindRun,
    inputs: Inputs,
    tracked: Tracked,
    findings: Findings,
    specific: np.ndarray,
    *,
    torn: int,
    psnr: np.ndarray,
    psnr_held: np.ndarray,
    bending: Bending | None,
) -> Facts:
    """What the verdict on a run is made of; torn: particles that were; the rest: as in Facts."""
    seen_share = tracked.quality.seen_share
    followed = slice(0, followed_frames(seen_share))
    # Where particles are in the picture, also where the camera turns: as frame 0 saw it.
    first = run.cameras[0]
    middles = [first.project(a[followed].mean(axis=1))[0] for a in (run.x, tracked.targets)]
    x = run.x[followed]
    pixels = np.stack([first.project(place)[0] for place in x])
    moved = first.to_camera(x.mean(axis=1))
    moved = ((moved - moved[0]) ** 2).mean(axis=0)
    return Facts(
        seen_share=np.pad(seen_share, (0, inputs.left)),
        ends=len(seen_share) if inputs.left else None,
        psnr=psnr,
        psnr_held=psnr_held,
        moved_px=float(np.linalg.norm(pixels - pixels[0], axis=-1).mean(axis=1).max()),
        along_axis=float(moved[2] / max(moved.sum(), 1e-300)),
        views=len(inputs.videos),
        torn_share=min(torn / len(run.mass), 1.0),
        tracks=tracked.count,
        size_px=float(np.sqrt(inputs.mask.sum())),
        flat=inputs.flat,
        adrift=inputs.adrift,
        as_one=inputs.as_one,
        strength=np.linalg.norm(specific, axis=1),
        noise=np.linalg.norm(run.net_std, axis=1) / run.mass.sum(),
        held=bool(run.held.any()),
        taut=is_taut(inputs, run.held),
        factors=tuple(findings.factors.items()),
        too_large=findings.too_large,
        reprojection_px=tracked.quality.reprojection_px[:, 0],
        converged=tracked.quality.fits,
        at_rest=tracked.quality.converged,
        by=tracked.by,
        missed_px=float(np.median(np.linalg.norm(middles[0] - middles[1], axis=1))),
        falls=max((one.fall for one in findings.carried), default=None),
        sheet=any(one.sheet for one in findings.carried),
        bending=bending,
    )


def peak_memory_mb() -> float:
    """Peak resident memory of this process, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
