"""Everything a wind run reads, checked before any work is done."""

import dataclasses

import numpy as np

from inverse.runs.settings import positive
from inverse.tracking import Tracks, load_tracks
from inverse.wind.config import WindJob
from inverse.wind.input_camera import camera_paths, read_cameras
from inverse.wind.input_clip import read_clips
from inverse.wind.input_object import read_depth, read_mask
from renderers.camera import Camera


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """What a wind run reads.

    videos: (T, H, W, 3) uint8 of each view; cameras: of each view, one for each frame; mask:
    (H, W) bool and depth: (H, W) m, of frame 0 of the first view; fps: 1/s; tracks: of each view,
    or None; assumptions: sentences about what was not given; masks: (T, H, W) bool, of all frames
    of the first view, or None.
    """

    videos: list[np.ndarray]
    cameras: list[list[Camera]]
    mask: np.ndarray
    depth: np.ndarray
    fps: float
    tracks: list[Tracks] | None
    assumptions: list[str]
    masks: np.ndarray | None = None


def load_inputs(job: WindJob) -> Inputs:
    """Read all inputs of a job. Raises ValueError, in one sentence, for what cannot be used."""
    assumptions = [
        f"The object is a sheet of {job.material} material: {_material_text(job)}.",
        "A video shows accelerations, not forces: the forces are those of the assumed mass.",
    ]
    videos, fps = read_clips(job)
    cameras, extra = read_cameras(job, videos, assumptions)
    if "fps" in extra:
        fps = positive(f"{job.camera[0]}: fps", extra["fps"])
    mask, masks = read_mask(job, videos[0], assumptions)
    depth = read_depth(job, mask, cameras[0], extra, assumptions)
    tracks = [load_tracks(path) for path in job.tracks] or None
    paths = camera_paths(job, videos, cameras, mask, assumptions)
    return Inputs(
        videos=videos, cameras=paths, mask=mask, depth=depth, fps=fps,
        tracks=tracks, assumptions=assumptions, masks=masks,
    )  # fmt: skip


def _material_text(job: WindJob) -> str:
    text = f"E = {job.E:g} Pa, nu = {job.nu:g}, density = {job.density:g} kg/m³"
    if job.material != "elastic":
        text += f", yield stress = {job.yield_stress:g} Pa"
    if job.material == "viscoplastic":
        text += f", viscosity = {job.viscosity:g} Pa s"
    return text
