"""What is known of a clip before anything in it is followed: its objects and their models."""

import dataclasses
from typing import Any

import taichi_phys as tp
from inverse.perception import ObjectModel, refine_on_image
from inverse.wind.body import make_bodies
from inverse.wind.config import WindConfig, WindJob
from inverse.wind.inputs.clip import how_long
from inverse.wind.inputs.load import Inputs, load_inputs
from inverse.wind.inputs.material import material_record
from inverse.wind.several import joined_gaussians
from renderers.splats.gaussians import Gaussians


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Shot:
    """The objects of a clip in its frame 0.

    given: the job as its user gave it, and job: with what the clip says; inputs: of all objects
    together, and each: of each of them, with a material that the grid can carry; models: of each;
    dx: m, spacing of the grid that they have in common.
    """

    given: WindJob
    job: WindJob
    inputs: Inputs
    each: list[Inputs]
    models: list[ObjectModel]
    dx: float

    @property
    def guessed(self) -> float | None:
        """The distance of the object, m, where that is a guess."""
        return self.job.distance if self.given.distance_guessed else None

    def until(self, frames: int) -> "Shot":
        """The shot of the first frames only."""
        each = [one.until(frames) for one in self.each]
        return dataclasses.replace(self, inputs=self.inputs.until(frames), each=each)

    def gaussians(self) -> Gaussians:
        """The Gaussians of all objects, fitted to frame 0 where no fit was given."""
        return joined_gaussians([
            refine_on_image(
                model.gaussians, one.videos[0][0], one.mask, one.cameras[0][0],
                iterations=self.job.splat_iterations if one.gaussians is None else 0,
                seed=self.job.seed, depth=None if model.surface is None else one.depth,
            )
            for one, model in zip(self.each, self.models, strict=True)
        ])  # fmt: skip

    def record(self, config: WindConfig) -> dict[str, Any]:
        """The settings of a run as config.json keeps them, with what they stand for."""
        record: dict[str, Any] = {"run": self.job, "solver": config}
        if self.inputs.substance is not None:
            record["substance"] = self.inputs.substance
        if self.inputs.objects:
            record["objects"] = [material_record(one.job, one.substance) for one in self.each]
        parts = self.each[0].parts
        if parts is not None:
            found = zip(parts.jobs, parts.substances, strict=True)
            record["parts"] = [material_record(*part) for part in found]
        return record


def read_shot(job: WindJob, config: WindConfig) -> Shot:
    """The objects of a job, with Taichi started; what is assumed of them is printed.

    Raises ValueError for unusable input.
    """
    inputs = load_inputs(job)
    tp.init(arch=inputs.job.device, seed=inputs.job.seed)
    models, dx = make_bodies(inputs.each)
    each = [one.softened(dx) for one in inputs.each]
    if len(models) > 1 and config.smooth:
        raise ValueError(f"smooth: got {config.smooth} for several objects, whose force is found "
                         "interval by interval; leave it out")  # fmt: skip
    for assumption in inputs.assumptions:
        print(f"assumed: {assumption}")
    duration = how_long(len(inputs.videos[0]))
    if duration is not None:
        print(duration)
    return Shot(
        given=job,
        job=each[0].job if len(models) == 1 else inputs.job,
        inputs=inputs,
        each=each,
        models=models,
        dx=dx,
    )
