"""The form of force that a run asks for."""

import dataclasses
from typing import Any

import numpy as np
import torch

from inverse.wind.config import WindConfig, WindJob
from inverse.wind.forces.drag import AirDrag
from inverse.wind.forces.field import Field, OneVector
from inverse.wind.forces.kplanes import KPlanes
from taichi_phys.bridge.causal_triplane import CausalTriplane


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Form:
    """What is known of a force beforehand.

    marked: (n,) bool, the particles on which it acts alone, None for all; drag: how it depends on
    the velocity of what it moves, None where it does not.
    """

    marked: np.ndarray | None = None
    drag: AirDrag | None = None

    @property
    def slope(self) -> float:
        """How much a specific force grows with the field."""
        return 1.0 if self.drag is None else self.drag.share

    def specific(self, field: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """(n, 3) m/s^2, held in an interval, of a field (n, 3) on particles that begin it with
        velocities v (n, 3) m/s."""
        return field if self.drag is None else self.drag.held(field, v)

    def record(self) -> tuple:
        """What tells forms apart."""
        marked = None if self.marked is None else np.flatnonzero(self.marked).tolist()
        return marked, self.drag

    def only_shape(self, config: WindConfig, particles: int) -> np.ndarray | None:
        """(n,) the only function of space that the force has, None where it has many."""
        if config.force == "point":
            assert self.marked is not None
            return self.marked.astype(np.float64)
        return np.ones(particles) if config.force == "uniform" else None


def check_force(job: WindJob, config: WindConfig) -> None:
    """Raises ValueError where a job lacks what its form of force needs, or has what no form uses,
    and where that cannot be solved for as the settings say."""
    if (config.force == "point") != (job.at is not None or job.at_mask is not None):
        given = "none given" if config.force == "point" else "given"
        raise ValueError(f"at: {given} with force {config.force}, expected for force point alone")
    if job.drag is not None and config.force != "wind":
        raise ValueError(f"drag: given with force {config.force}, expected for force wind alone")
    if config.force == "kplanes" and config.smooth:
        raise ValueError(
            f"smooth: got {config.smooth} with force kplanes, whose product of planes no linear "
            "model has; expected 0, interval by interval"
        )
    if config.force == "wind" and config.pulse < 1:
        raise ValueError(f"pulse: got {config.pulse} with force wind, which drags all the time")


def make_field(
    targets: np.ndarray,
    fps: float,
    config: WindConfig,
    dx: float,
    form: Form | None = None,
    mass: np.ndarray | None = None,
) -> Field:
    """A zero field of specific force (m/s^2) over the region that the targets (T, n, 3) m visit.

    fps: frames per second; dx: grid spacing, m; form: of the force; mass: (n,) kg.
    """
    form = form or Form()
    center = targets.mean(axis=1)
    second = np.diff(center, n=2, axis=0) * fps**2
    if form.drag is not None:
        second = second - form.drag.gravity
    scale = max(float(np.linalg.norm(second, axis=1).mean()) if len(second) else 0.0, 1e-3)
    steps = len(targets) - 1
    if config.force == "uniform":
        return OneVector(steps=steps, scale=scale)
    if config.force == "point":
        assert form.marked is not None and mass is not None
        share, weight = torch.as_tensor(form.marked).double(), torch.as_tensor(mass).double()
        return OneVector(steps=steps, scale=scale, share=share, mass=weight)
    points = targets.reshape(-1, 3)
    return planes(config)(
        lower=points.min(axis=0) - dx,
        upper=points.max(axis=0) + dx,
        steps=steps,
        scale=scale,
        resolution=config.resolution,
        channels=config.channels,
        hidden=config.hidden,
    )


def stored_field(config: WindConfig, state: dict[str, Any]) -> tuple[torch.nn.Module, list[dict]]:
    """The field of a run's checkpoint and its states, one for each interval.

    Raises KeyError, IndexError, TypeError or RuntimeError for a checkpoint of another version.
    """
    states, size = state["fields"], state["field"]
    if config.force == "uniform":
        field: torch.nn.Module = OneVector(**size)
    else:
        field = planes(config)(
            lower=states[-1]["lower"].tolist(),
            upper=states[-1]["upper"].tolist(),
            resolution=config.resolution,
            channels=config.channels,
            hidden=config.hidden,
            **size,
        )
    field.load_state_dict(states[-1])
    return field, states


def planes(config: WindConfig) -> type[CausalTriplane] | type[KPlanes]:
    """The class of a field made of planes."""
    return KPlanes if config.force == "kplanes" else CausalTriplane
