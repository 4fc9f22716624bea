"""The form of force that a run asks for, as far as inputs and targets tell it."""

from collections.abc import Sequence

import numpy as np

from inverse.perception import ObjectModel
from inverse.wind.config import WindConfig, WindJob
from inverse.wind.forces.drag import AirDrag, quadratic_drag, settled_rate
from inverse.wind.forces.make import Form
from inverse.wind.forces.marks import find_marked
from inverse.wind.inputs.load import Inputs


def find_form(
    job: WindJob,
    config: WindConfig,
    inputs: Inputs,
    models: Sequence[ObjectModel],
    targets: np.ndarray,
) -> tuple[Form, list[str]]:
    """The form of a run's force, and sentences about what is assumed of it.

    targets: (T, n, 3) m, of the particles of its objects' models. Raises ValueError where a point
    force would act on no particle, and for a point force and a wind on several objects.
    """
    model = models[0]
    if len(models) > 1 and config.force in ("point", "wind"):
        raise ValueError(
            f"force: got {config.force} for several objects, expected free, uniform or kplanes; a "
            "mask of one of them goes"
        )
    if config.force == "point" and inputs.at is not None:
        return Form(marked=find_marked(inputs.at, inputs.cameras[0][0], model.x)), []
    if config.force != "wind":
        return Form(), []
    rate, gravity, assumed = job.drag, np.asarray(job.gravity), []
    if rate is None:
        quadratic = quadratic_drag(model.x, job.density * float(model.volume.sum()))
        rate = settled_rate(quadratic, targets, gravity, inputs.fps)
        assumed.append(
            f"The object takes up the velocity of the air at a rate of {rate:.3g} 1/s, as its "
            f"density, size and shape say for a slip of {rate / quadratic:.3g} m/s, which explains "
            "a typical force; --drag gives another."
        )
    down = ", ".join(f"{g:g}" for g in job.gravity)
    assumed.append(
        f"Gravity is ({down}) m/s² in the axes of the first camera's file; what it leaves of the "
        "force is the drag of the air."
    )
    return Form(drag=AirDrag(rate=rate, gravity=job.gravity, frame_dt=1 / inputs.fps)), assumed
