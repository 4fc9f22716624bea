"""Everything a wind run reads, checked before any work is done."""

import dataclasses

import numpy as np

from inverse.clips.footage import Footage
from inverse.lifting.shrink import shrink_camera, shrink_image
from inverse.materials import Substance
from inverse.tracking import Tracks
from inverse.wind.config import WindJob
from inverse.wind.forces.marks import read_marks
from inverse.wind.inputs.camera import background_depth, camera_paths, given_paths, read_cameras
from inverse.wind.inputs.clip import plan_clips, read_tracks, sensible_scale
from inverse.wind.inputs.material import job_of_object, settle_material
from inverse.wind.inputs.motion import shape_from_motion
from inverse.wind.inputs.object import (
    check_size,
    read_hold,
    read_mask,
    read_network,
    settle_distance,
)
from inverse.wind.inputs.overridden import overridden
from inverse.wind.inputs.shape import read_shape
from renderers.camera import Camera
from renderers.splats.gaussians import Gaussians
from taichi_phys.geometry.repair import Triangles


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """What a wind run reads.

    videos: (T, H, W, 3) uint8 of each view, from a file where they are many; cameras: of each view,
    one for each frame; mask: (H, W) bool and depth: (H, W) m, of frame 0 of the first view; hold,
    at: (H, W) bool, where the object is held in that frame, and where a point force acts, or None;
    fps: 1/s; start: s, when frame 0 is shown in the clip; taken: (T,) s after frame 0 of each view,
    when its pictures were taken, NaN where a frame has none of its own and shows the one before;
    tracks: of each view, or None; assumptions: sentences about what was not given; job: with the
    values of its material; masks: (T, h, w) bool, of all frames of the first view, at any scale, or
    None; surface: closed, of the object in frame 0, None for a sheet; gaussians: of a fit of it, or
    None; substance: where the material comes from, None for the job itself; flat: whether the
    object was taken to face the camera, for want of its depth; adrift: px, by which what is behind
    it shifts although the camera is taken to stand still; objects: of each of several objects, as
    if it were the only one, none where there is one. Mask and depth are then those of all.
    """

    videos: list[Footage]
    cameras: list[list[Camera]]
    mask: np.ndarray
    depth: np.ndarray
    hold: np.ndarray | None
    at: np.ndarray | None
    fps: float
    start: float
    taken: list[np.ndarray]
    tracks: list[Tracks] | None
    assumptions: list[str]
    job: WindJob
    masks: np.ndarray | None = None
    surface: Triangles | None = None
    gaussians: Gaussians | None = None
    substance: Substance | None = None
    flat: bool = False
    adrift: float = 0.0
    objects: tuple["Inputs", ...] = ()

    @property
    def each(self) -> tuple["Inputs", ...]:
        """The inputs of each object, also where there is only one."""
        return self.objects or (self,)


def load_inputs(job: WindJob) -> Inputs:
    """Read all inputs of a job. Raises ValueError, in one sentence, for what cannot be used."""
    assumptions = [
        *overridden(job),
        "A video shows accelerations, not forces: the forces are those of the assumed mass.",
    ]
    plans = plan_clips(job, assumptions)
    network = read_network(job, plans[0])
    cameras, extra = read_cameras(job, [plan.size for plan in plans], assumptions, network)
    given = given_paths(job, plans)
    cameras = [path[0] if path else one for path, one in zip(given, cameras, strict=True)]
    labels, masks = (None, None) if not job.object_given else read_mask(job, plans[0], assumptions)
    count = 1 if labels is None else max(int(labels.max()), 1)
    if count > 1 and job.solid_given:
        raise ValueError(
            f"mask {job.mask}: it has labels of {count} objects, and a mesh or a model is that of "
            "one; leave it out, or give a mask of that object"
        )
    found, said = [], []
    for number in range(count):
        mask = None if labels is None else labels == number + 1
        notes: list[str] = assumptions if count == 1 else []
        own = job_of_object(job, number, count)
        own, substance = settle_material(own, plans[0].first, mask, notes)
        own = own if job.depth_given else settle_distance(own, notes)
        shape = read_shape(own, cameras[0], extra, notes, mask=mask, masks=masks, network=network)
        if not job.tracks:
            check_size(shape.mask)
        found.append((own, substance, shape))
        said.append(notes)
    if count > 1:
        assumptions[:0] = _of_objects(said)
    hold, at = read_hold(job, found[0][2].mask.shape), read_marks(job, found[0][2].mask)
    tracks = read_tracks(job, plans)
    whole, first = np.any([shape.mask for _, _, shape in found], axis=0), cameras[0]
    scale = max(sensible_scale(plans[0].size, shape.mask) for _, _, shape in found)
    if scale < 1:
        small = [shrink_camera(camera, scale) for camera in cameras]
        tracks = tracks and [
            dataclasses.replace(one, xy=one.xy * (after.width / before.width))
            for one, before, after in zip(tracks, cameras, small, strict=True)
        ]
        found = [(own, substance, shape.reduced(scale)) for own, substance, shape in found]
        cameras = small
        hold, at = (m if m is None else shrink_image(m, scale) for m in (hold, at))
        sizes = [f"{width}x{height}" for width, height in (plans[0].size, cameras[0].size)]
        assumptions.append(f"Pictures of {sizes[0]} were reduced to {sizes[1]}: trackers see "
                           "nothing finer.")  # fmt: skip
    videos: list[Footage] = [
        plan.read(camera.size) for plan, camera in zip(plans, cameras, strict=True)
    ]

    def behind() -> np.ndarray | None:
        depth = background_depth(job, whole, first, extra, network)
        return depth if depth is None or scale == 1 else shrink_image(depth, scale)

    timing = plans[0].timing
    anything = np.any([shape.mask for _, _, shape in found], axis=0)
    paths, adrift = camera_paths(
        job, videos, cameras, anything, assumptions,
        given=[path and [shrink_camera(one, scale) for one in path] for path in given],
        depth=behind,
    )  # fmt: skip
    for number, (own, substance, shape) in enumerate(found, 1):
        if shape.flat:
            notes = assumptions if count == 1 else []
            shape = shape_from_motion(
                own, shape, videos[0], paths[0], tracks=None if tracks is None else tracks[0],
                taken=timing.taken, fps=timing.fps, assumptions=notes,
            )  # fmt: skip
            found[number - 1] = own, substance, shape
            assumptions += [f"Object {number}: {note}" for note in notes if count > 1]
    each = [
        Inputs(
            videos=videos, cameras=paths, mask=shape.mask, depth=shape.depth,
            hold=hold, at=at, fps=timing.fps, start=timing.start,
            taken=[plan.timing.taken for plan in plans],
            tracks=tracks, assumptions=assumptions, job=own, masks=shape.masks,
            surface=shape.surface, gaussians=shape.gaussians, substance=substance,
            flat=shape.flat, adrift=adrift,
        )
        for own, substance, shape in found
    ]  # fmt: skip
    if count == 1:
        return each[0]
    return dataclasses.replace(
        each[0], mask=anything, job=dataclasses.replace(job, distance=each[0].job.distance),
        depth=np.select([one.mask for one in each], [one.depth for one in each], np.nan),
        surface=None, substance=None, flat=any(one.flat for one in each), objects=tuple(each),
    )  # fmt: skip


def _of_objects(said: list[list[str]]) -> list[str]:
    """Sentences about each of several objects; what holds for all is said once."""
    every = [note for note in said[0] if all(note in notes for notes in said)]
    own = [
        f"Object {number}: {note}"
        for number, notes in enumerate(said, 1)
        for note in notes
        if note not in every
    ]
    return [*own, *every]
