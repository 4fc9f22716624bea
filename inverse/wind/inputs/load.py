"""Everything a wind run reads, checked before any work is done."""

import dataclasses
from typing import Any

import numpy as np

from inverse.clips import ClipPlan
from inverse.clips.footage import Footage
from inverse.lifting.shrink import shrink_camera, shrink_image
from inverse.materials import Substance
from inverse.perception.networks import NetworkDepth
from inverse.perception.relief import is_disc
from inverse.tracking import Tracks
from inverse.wind.config import WindJob
from inverse.wind.forces.marks import read_marks
from inverse.wind.inputs.camera import (
    background_depth,
    camera_paths,
    first_camera,
    read_cameras,
    settled,
)
from inverse.wind.inputs.clip import plan_clips, read_tracks, sensible_scale
from inverse.wind.inputs.material import ANSWER, ANSWERS, job_of_part, settle_material, soften
from inverse.wind.inputs.motion import Watched, shape_from_motion
from inverse.wind.inputs.object import (
    check_size,
    read_hold,
    read_mask,
    read_network,
    settle_distance,
)
from inverse.wind.inputs.overridden import overridden
from inverse.wind.inputs.parts import Parts, read_parts
from inverse.wind.inputs.shape import Shape, read_shape
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
    it shifts although the camera is taken to stand still, and as_one: whether it does so together,
    as before a camera that moves; parts: of other materials, None where it has none; objects: of
    each of several objects, as if it were the only one, none where there is one. Mask and depth are
    then those of all; left: frames of the clip after these, which were left out because the object
    is lost.
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
    as_one: bool = False
    parts: Parts | None = None
    objects: tuple["Inputs", ...] = ()
    left: int = 0

    def until(self, frames: int) -> "Inputs":
        """The first frames only."""
        left = len(self.videos[0]) - frames
        if left == 0:
            return self
        return dataclasses.replace(
            self,
            videos=[video[:frames] for video in self.videos],
            cameras=[path[:frames] for path in self.cameras],
            taken=[at[:frames] for at in self.taken],
            tracks=self.tracks and [one.until(frames) for one in self.tracks],
            masks=None if self.masks is None else self.masks[:frames],
            objects=tuple(one.until(frames) for one in self.objects),
            left=self.left + left,
        )

    @property
    def each(self) -> tuple["Inputs", ...]:
        """The inputs of each object, also where there is only one."""
        return self.objects or (self,)

    @property
    def materials(self) -> tuple[WindJob, ...]:
        """The job of each part of an object, which says its material; of the whole without any."""
        return (self.job,) if self.parts is None else self.parts.jobs

    @property
    def plastic(self) -> bool:
        """Whether anything of it keeps a shape that it was pressed into."""
        return any(job.material != "elastic" for one in self.each for job in one.materials)

    def softened(self, dx: float) -> "Inputs":
        """The inputs of an object with materials no stiffer than a simulation on a grid of spacing
        dx, m, can afford, which is said where it counts."""
        if self.parts is None:
            job = soften(self.job, self.substance, dx, self.fps, self.assumptions)
            return dataclasses.replace(self, job=job)
        parts = self.parts.softened(dx, self.fps, self.assumptions)
        return dataclasses.replace(self, job=parts.jobs[parts.largest(self.mask)], parts=parts)


@dataclasses.dataclass(kw_only=True, eq=False)
class _Object:
    """What is known of one of the objects: its job, material and parts, its shape in frame 0."""

    job: WindJob
    substance: Substance | None
    shape: Shape
    parts: Parts | None = None

    def reduced(self, scale: float) -> "_Object":
        """In pictures that are smaller by that."""
        parts = None if self.parts is None else self.parts.reduced(scale)
        return dataclasses.replace(self, shape=self.shape.reduced(scale), parts=parts)


@dataclasses.dataclass(kw_only=True, eq=False)
class _Scene:
    """Frame 0, at a size that trackers can use: its objects and cameras, and marks in it.

    cameras: of each view; hold, at, tracks: as in Inputs; scale: by which pictures were reduced.
    """

    objects: list[_Object]
    cameras: list[Camera]
    hold: np.ndarray | None
    at: np.ndarray | None
    tracks: list[Tracks] | None
    scale: float = 1.0

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool, of all objects."""
        return np.any([one.shape.mask for one in self.objects], axis=0)

    def fitted(self, image: np.ndarray | None) -> np.ndarray | None:
        """A map of the given pictures (H, W) at the size of these."""
        return image if image is None or self.scale == 1 else shrink_image(image, self.scale)

    def reduced(self, size: tuple[int, int], assumptions: list[str]) -> "_Scene":
        """The scene in pictures of a sensible size; size: (width, height) px of those of now."""
        scale = max(sensible_scale(size, one.shape.mask) for one in self.objects)
        if scale == 1:
            return self
        cameras = [shrink_camera(camera, scale) for camera in self.cameras]
        assumptions.append(
            f"Pictures of {size[0]}x{size[1]} were reduced to "
            f"{cameras[0].width}x{cameras[0].height}: trackers see nothing finer."
        )
        tracks = self.tracks and [
            dataclasses.replace(one, xy=one.xy * (after.width / before.width))
            for one, before, after in zip(self.tracks, self.cameras, cameras, strict=True)
        ]
        hold, at = (m if m is None else shrink_image(m, scale) for m in (self.hold, self.at))
        return _Scene(
            objects=[one.reduced(scale) for one in self.objects], cameras=cameras, hold=hold,
            at=at, tracks=tracks, scale=scale,
        )  # fmt: skip


def load_inputs(job: WindJob) -> Inputs:
    """Read all inputs of a job. Raises ValueError, in one sentence, for what cannot be used."""
    assumptions = [
        *overridden(job),
        "A video shows accelerations, not forces: the forces are those of the assumed mass.",
    ]
    plans = plan_clips(job, assumptions)
    network = read_network(job, plans[0])
    files = read_cameras(job, plans, assumptions, network)
    cameras = [first_camera(file, plan) for file, plan in zip(files, plans, strict=True)]
    extra = files[0].extra
    objects = _find_objects(job, plans[0], cameras[0], extra, network, assumptions)
    whole = _Scene(
        objects=objects, cameras=cameras, hold=read_hold(job, objects[0].shape.mask.shape),
        at=read_marks(job, objects[0].shape.mask), tracks=read_tracks(job, plans),
    )  # fmt: skip
    scene = whole.reduced(plans[0].size, assumptions)
    videos: list[Footage] = [
        plan.read(camera.size) for plan, camera in zip(plans, scene.cameras, strict=True)
    ]

    def behind() -> np.ndarray | None:
        return background_depth(job, whole.mask, cameras[0], extra, network)

    files[0] = settled(job, files[0], whole.mask, behind, assumptions)
    paths, adrift, as_one = camera_paths(
        job, videos, scene.cameras, scene.mask, assumptions,
        given=[
            [shrink_camera(file.cameras[k], scene.scale) for k in plan.filled]
            if file.moves else None
            for file, plan in zip(files, plans, strict=True)
        ],
        depth=lambda: scene.fitted(behind()),
    )  # fmt: skip
    timing = plans[0].timing
    _settle_shapes(
        scene.objects,
        Watched(
            video=videos[0], cameras=paths[0], taken=timing.taken, fps=timing.fps,
            tracks=None if scene.tracks is None else scene.tracks[0],
        ),
        assumptions,
    )  # fmt: skip
    each = [
        Inputs(
            videos=videos, cameras=paths, mask=one.shape.mask, depth=one.shape.depth,
            hold=scene.hold, at=scene.at, fps=timing.fps, start=timing.start,
            taken=[plan.timing.taken for plan in plans],
            tracks=scene.tracks, assumptions=assumptions, job=one.job, masks=one.shape.masks,
            surface=one.shape.surface, gaussians=one.shape.gaussians, substance=one.substance,
            flat=one.shape.flat, adrift=adrift, as_one=as_one, parts=one.parts,
        )
        for one in scene.objects
    ]  # fmt: skip
    if len(each) == 1:
        return each[0]
    return dataclasses.replace(
        each[0], mask=scene.mask, job=dataclasses.replace(job, distance=each[0].job.distance),
        depth=np.select([one.mask for one in each], [one.depth for one in each], np.nan),
        surface=None, substance=None, flat=any(one.flat for one in each), objects=tuple(each),
    )  # fmt: skip


def _find_objects(
    job: WindJob,
    plan: ClipPlan,
    camera: Camera,
    extra: dict[str, Any],
    network: NetworkDepth | None,
    assumptions: list[str],
) -> list[_Object]:
    """The objects of a job in frame 0, each with its material and its shape there.

    plan, camera: of the first view; extra: other keys of the camera's file; network: what a network
    says of frame 0; assumptions: takes sentences about what was not given.
    """
    labels, masks = None, None
    if job.object_given:
        labels, masks = read_mask(job, plan, camera, assumptions)
    count = 1 if labels is None else max(int(labels.max()), 1)
    if count > 1 and job.solid_given:
        raise ValueError(
            f"mask {job.mask}: it has labels of {count} objects, and a mesh or a model is that of "
            "one; leave it out, or give a mask of that object"
        )
    if count > 1 and job.parts is not None:
        raise ValueError(
            f"mask {job.mask}: it has labels of {count} objects, and --parts are those of one"
        )
    found, said = [], []
    for number in range(count):
        mask = None if labels is None else labels == number + 1
        notes: list[str] = assumptions if count == 1 else []
        own = job if count == 1 else job_of_part(job, number, count)
        whole = np.ones(plan.first.shape[:2], bool) if mask is None else mask
        parts = read_parts(own, plan, whole, notes)
        if parts is None:
            answer = ANSWER if count == 1 else ANSWERS.format(number + 1)
            own, substance = settle_material(own, plan.first, mask, notes, answer=answer)
        else:
            largest = parts.largest(whole)
            own, substance = parts.jobs[largest], parts.substances[largest]
        own = own if job.depth_given else settle_distance(own, notes)
        shape = read_shape(own, camera, extra, notes, mask=mask, masks=masks, network=network)
        if not job.tracks:
            check_size(shape.mask, ball=shape.surface is not None and is_disc(shape.mask))
        found.append(_Object(job=own, substance=substance, shape=shape, parts=parts))
        said.append(notes)
    if count > 1:
        assumptions[:0] = _of_objects(said)
    return found


def _settle_shapes(objects: list[_Object], watched: Watched, assumptions: list[str]) -> None:
    """Give those objects whose depth nothing says the depth that their motion shows."""
    for number, one in enumerate(objects, 1):
        if one.shape.flat:
            notes: list[str] = assumptions if len(objects) == 1 else []
            one.shape = shape_from_motion(one.job, one.shape, watched, notes)
            if len(objects) > 1:
                assumptions += [f"Object {number}: {note}" for note in notes]


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
