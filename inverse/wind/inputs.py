"""Everything a wind run reads, checked before any work is done."""

import dataclasses

import numpy as np

from inverse.materials import Substance
from inverse.runs.settings import positive
from inverse.tracking import Tracks, load_tracks
from inverse.wind.config import WindJob
from inverse.wind.input_camera import camera_paths, read_cameras
from inverse.wind.input_clip import read_clips
from inverse.wind.input_object import read_hold
from inverse.wind.input_shape import read_shape
from inverse.wind.material import settle_material
from renderers.camera import Camera
from taichi_phys.geometry.repair import Triangles


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """What a wind run reads.

    videos: (T, H, W, 3) uint8 of each view; cameras: of each view, one for each frame; mask:
    (H, W) bool and depth: (H, W) m, of frame 0 of the first view; hold: (H, W) bool, where the
    object is held in that frame, or None; fps: 1/s; tracks: of each view, or None; assumptions:
    sentences about what was not given; job: with the values of its material; masks: (T, H, W)
    bool, of all frames of the first view, or None; surface: closed, of the object in frame 0, None
    for a sheet; substance: where the material comes from, None for the job itself.
    """

    videos: list[np.ndarray]
    cameras: list[list[Camera]]
    mask: np.ndarray
    depth: np.ndarray
    hold: np.ndarray | None
    fps: float
    tracks: list[Tracks] | None
    assumptions: list[str]
    job: WindJob
    masks: np.ndarray | None = None
    surface: Triangles | None = None
    substance: Substance | None = None


def load_inputs(job: WindJob) -> Inputs:
    """Read all inputs of a job. Raises ValueError, in one sentence, for what cannot be used."""
    said: list[str] = []
    job, substance = settle_material(job, said)
    assumptions = [
        *said,
        "A video shows accelerations, not forces: the forces are those of the assumed mass.",
    ]
    videos, fps = read_clips(job)
    cameras, extra = read_cameras(job, videos, assumptions)
    if "fps" in extra:
        fps = positive(f"{job.camera[0]}: fps", extra["fps"])
    shape = read_shape(job, videos[0], cameras[0], extra, assumptions)
    tracks = [load_tracks(path) for path in job.tracks] or None
    paths = camera_paths(job, videos, cameras, shape.mask, assumptions)
    return Inputs(
        videos=videos, cameras=paths, mask=shape.mask, depth=shape.depth,
        hold=read_hold(job, shape.mask.shape), fps=fps, tracks=tracks, assumptions=assumptions,
        job=job, masks=shape.masks, surface=shape.surface, substance=substance,
    )  # fmt: skip
