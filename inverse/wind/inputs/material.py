"""The material of a wind run: what was given, what a word means, and what can be afforded."""

import contextlib
import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from inverse.materials import Substance, find_substance
from inverse.materials.language import NoAnswer, ask_material
from inverse.wind.config import WindJob


ANSWER = "vlm.json"  # in the folder of the run: the answer of the vision-language model
ANSWERS = "vlm_{}.json"  # the same about one of several objects or parts, counted from 1
GIVEN = ("E", "nu", "density", "thickness", "yield_stress", "viscosity")  # in words, as E=2e4
STEPS = 20  # of the simulation in a frame, the most that stiffness alone may ask for
CFL = 0.4  # cells that a wave may cross in a step


def settle_material(
    job: WindJob,
    image: np.ndarray,
    mask: np.ndarray | None,
    assumptions: list[str],
    *,
    answer: str = ANSWER,
) -> tuple[WindJob, Substance | None]:
    """The job with all values of its material, and what they come from, None for the job itself.

    A value that the job gives holds; one at its default is that of the vision-language model, or
    else of the table, by the words of job.made_of or of job.object. image: (H, W, 3) uint8, frame
    0; mask: (H, W) bool, of the object in it, None for all of it; assumptions: takes a sentence;
    answer: file of the run's folder in which that of the model is kept.
    Raises ValueError for words of job.made_of that the table does not know, unless the model does,
    and for made_of of several objects.
    """
    words, values = _spoken(job)
    job = dataclasses.replace(job, **values)
    substance = None
    if job.vlm is not None and job.vlm_model is not None:
        substance = _ask(job, words, image, mask, assumptions, Path(job.out) / answer)
    if substance is None and words:
        substance = find_substance(words)
    if substance is None and job.object is not None:
        with contextlib.suppress(ValueError):  # a word for an object need not name a material
            substance = find_substance(job.object)
    if substance is None:
        return job, None
    assumptions.append(substance.sentence())
    return dataclasses.replace(_with(job, substance), **values), substance


def job_of_part(job: WindJob, number: int, count: int, what: str = "objects") -> WindJob:
    """The job of one of several objects or parts of one, as if it were the only one: with its own
    job.made_of.

    number: of the object, from 0; count: of the objects; what: their name in errors. Raises
    ValueError if the job says what another number of them is made of; one holds for all.
    """
    if len(job.made_of) not in (0, 1, count):
        raise ValueError(
            f"made_of: got {len(job.made_of)} for {count} {what}, expected one each, in the order "
            "of their labels, or one for all"
        )
    if len(job.made_of) != count:
        return job
    return dataclasses.replace(job, made_of=job.made_of[number : number + 1])


def _spoken(job: WindJob) -> tuple[str, dict[str, Any]]:
    """Words of job.made_of and the values that are given among them."""
    if len(job.made_of) > 1:
        raise ValueError(
            f"made_of: got {len(job.made_of)} for one object; several need a --mask with a label "
            "for each, or --parts"
        )
    words, values = [], dict[str, Any]()
    for part in ",".join(job.made_of).split(","):
        name, sign, value = (text.strip() for text in part.partition("="))
        if not sign:
            words.append(name)
        elif name == "material":
            values[name] = value
        elif name in GIVEN:
            values[name] = _number(name, value)
        else:
            raise ValueError(
                f"made_of: got {part.strip()!r}, expected a material or one of "
                f"{', '.join(('material', *GIVEN))} with a value"
            )
    return " ".join(words).strip(), values


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"made_of: {name} is {text!r}, expected a number") from None


def _ask(
    job: WindJob,
    words: str,
    image: np.ndarray,
    mask: np.ndarray | None,
    assumptions: list[str],
    cache: Path,
) -> Substance | None:
    """The answer of the vision-language model; without a usable one a warning, and None."""
    shown = np.ones(image.shape[:2], bool) if mask is None else mask
    words = words or job.object or ""
    try:
        return ask_material(image, shown, words, job.vlm or "", job.vlm_model or "", cache=cache)
    except NoAnswer as error:
        warnings.warn(f"{error}; going on without it", stacklevel=2)
        assumptions.append(f"The vision-language model was asked in vain: {error}.")
        return None


def _with(job: WindJob, substance: Substance) -> WindJob:
    defaults = {field.name: field.default for field in dataclasses.fields(WindJob)}
    values: dict[str, Any] = {
        name: value
        for name, value in substance.typical().items()
        if getattr(job, name) == defaults[name]
    }
    if values.get("material", job.material) != substance.law:
        values = {name: values[name] for name in ("density", "thickness") if name in values}
    return dataclasses.replace(job, **values)


def material_record(job: WindJob, substance: Substance | None) -> dict[str, Any]:
    """What an object or a part is made of, as config.json keeps it."""
    return {"material": job.make_material(), "density": job.density, "substance": substance}


def soften(
    job: WindJob, substance: Substance | None, dx: float, fps: float, assumptions: list[str]
) -> WindJob:
    """The job with the stiffness of a substance limited to what STEPS steps per frame can carry.

    dx: grid spacing, m; fps: frames per second; assumptions: takes a sentence where the limit
    counts. Stiff things keep their shape, and so do those at the limit: the force per mass depends
    little on how stiff a thing is that keeps its shape. A stiffness that the job gives holds.
    """
    if substance is None or job.E != substance.E.typical:
        return job
    wave = CFL * dx * fps * STEPS  # m/s
    modulus = (1 - job.nu) / ((1 + job.nu) * (1 - 2 * job.nu))  # of pressure waves, over E
    most = job.density * wave**2 / modulus
    if job.E <= most:
        return job
    assumptions.append(
        f"The object was simulated with E = {most:.2g} Pa in place of {job.E:.2g} Pa, which would "
        f"need more than {STEPS} steps per frame; both keep their shape in the wind."
    )
    stress = job.yield_stress * most / job.E
    return dataclasses.replace(job, E=most, yield_stress=stress)
