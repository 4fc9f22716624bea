"""Parts of one object that are made of different materials."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

import taichi_phys as tp
from inverse.clips import ClipPlan
from inverse.lifting.shrink import shrink_image
from inverse.materials import Substance
from inverse.perception import ObjectModel, load_labels
from inverse.wind.config import WindJob
from inverse.wind.inputs.material import ANSWERS, job_of_part, settle_material, soften
from renderers.camera import Camera


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """What an object is made of, part by part.

    labels: (H, W) int, the number of the part, from 0, at each pixel of frame 0 of the first view,
    wherever the object is; jobs, substances: of each part, the job with the values of its material.
    """

    labels: np.ndarray
    jobs: tuple[WindJob, ...]
    substances: tuple[Substance | None, ...]

    def largest(self, mask: np.ndarray) -> int:
        """The part of most pixels; mask: (H, W) bool, of the object."""
        return int(np.bincount(self.labels[mask]).argmax())

    def reduced(self, scale: float) -> "Parts":
        """In pictures that are smaller by that."""
        masks = [shrink_image(self.labels == k, scale) for k in range(len(self.jobs))]
        return dataclasses.replace(self, labels=np.argmax(masks, axis=0))

    def softened(self, dx: float, fps: float, assumptions: list[str]) -> "Parts":
        """With parts no stiffer than a simulation can afford; all is as for `soften`."""
        jobs = []
        for number, (job, substance) in enumerate(zip(self.jobs, self.substances, strict=True), 1):
            notes: list[str] = []
            jobs.append(soften(job, substance, dx, fps, notes))
            assumptions += [f"Part {number}: {note}" for note in notes]
        return dataclasses.replace(self, jobs=tuple(jobs))

    def of_particles(self, x: np.ndarray, camera: Camera) -> np.ndarray:
        """(n,) int: the part that particles (n, 3) m belong to, that of their pixel in frame 0."""
        height, width = self.labels.shape
        cell = np.floor(camera.project(x)[0]).astype(int).clip(0, [width - 1, height - 1])
        return self.labels[cell[:, 1], cell[:, 0]]


def read_parts(
    job: WindJob, plan: ClipPlan, mask: np.ndarray, assumptions: list[str]
) -> Parts | None:
    """The parts of a job's object, each with its material, None where it says none.

    plan: of the clip of the first view; mask: (H, W) bool, of the object in its frame 0;
    assumptions: takes sentences. Raises ValueError for a file that cannot be read, for a part that
    no pixel of the object belongs to, and for another number of materials.
    """
    if job.parts is None:
        return None
    numbers = load_labels(job.parts, plan.size, notes=assumptions)
    count = int(numbers.max())
    absent = [k for k in range(1, count + 1) if not (mask & (numbers == k)).any()]
    if count < 2 or absent:
        what = f"no pixel of part {absent[0]} on the object" if absent else "one part"
        raise ValueError(f"parts {job.parts}: it has {what}, expected two parts or more on it")
    # Pixels of the object that no part has belong to the nearest.
    place = ndimage.distance_transform_edt(~(mask & (numbers > 0)), return_indices=True)[1]
    labels = numbers[tuple(place)] - 1
    jobs, substances = [], []
    for part in range(count):
        notes: list[str] = []
        own, substance = settle_material(
            job_of_part(job, part, count, "parts"), plan.first, mask & (labels == part), notes,
            answer=ANSWERS.format(part + 1),
        )  # fmt: skip
        assumptions += [f"Part {part + 1}: {note}" for note in notes]
        jobs.append(own)
        substances.append(substance)
    return Parts(labels=labels, jobs=tuple(jobs), substances=tuple(substances))


def by_part(model: ObjectModel, parts: Parts, camera: Camera, thickness: float) -> ObjectModel:
    """The model with its particles in the order of the parts, of the volume that these have.

    thickness: m, of the whole, if it is a sheet; a part of another thickness has more or less
    volume in the same place.
    """
    part = parts.of_particles(model.x, camera)
    order = np.argsort(part, kind="stable")
    share = np.ones(len(parts.jobs))
    if model.surface is None:
        share = np.array([(job.thickness or thickness) / thickness for job in parts.jobs])
    return dataclasses.replace(
        model, x=model.x[order], volume=(model.volume * share[part])[order],
        seen=model.seen[order], counts=tuple(np.bincount(part, minlength=len(parts.jobs))),
    )  # fmt: skip


def particles_of(model: ObjectModel, jobs: Sequence[WindJob]) -> list[tp.Particles]:
    """The particles of a model, part by part; jobs: of each part, or of the whole."""
    ends = np.cumsum([0, *(model.counts or (len(model.x),))])
    return [
        tp.Particles(
            model.x[first:last], density=job.density, volume=model.volume[first:last],
            material=job.make_material(),
        )
        for first, last, job in zip(ends[:-1], ends[1:], jobs, strict=True)
        if last > first
    ]  # fmt: skip
