"""A field of space and time that has given values at moving particles."""

import copy
from typing import Any

import torch

from inverse.runs.checkpoint import write_checkpoint
from inverse.wind.forces.field import Field
from inverse.wind.solver import WindSolver


PARTICLES = 1500  # of each interval, that the fit looks at
FIRST, NEXT = 300, 60  # steps of Adam in the first interval, and in each of the others
RATE, LAST_RATE = 1e-2, 5e-4


def fit_field(
    field: Field, x: torch.Tensor, values: torch.Tensor, mass: torch.Tensor
) -> list[dict[str, torch.Tensor]]:
    """The states of a field, one for each of T intervals, that has values (T, n, 3) at x (T, n, 3)
    m, in the mean over particles of mass (n,) kg exactly. The field ends as that of the last."""
    own = next(field.parameters())
    x, values, share = x.to(own), values.to(own), (mass / mass.sum()).to(own)[:, None]
    generator = torch.Generator().manual_seed(0)
    some = torch.randperm(x.shape[1], generator=generator)[:PARTICLES].to(x.device)
    states = []
    for step in range(len(x)):
        field.begin_step(step)
        count = FIRST if step == 0 else NEXT
        optimizer = torch.optim.Adam(field.parameters(), lr=RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, count, eta_min=LAST_RATE)
        for _ in range(count):
            optimizer.zero_grad()
            off = (field(x[step, some], step) - values[step, some]) / field.scale
            off.square().mean().backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            field.shift((share * (values[step] - field(x[step], step))).sum(dim=0))
        states.append(copy.deepcopy(field.state_dict()))
    return states


def keep_fields(causal: WindSolver, fields: list[Any], fingerprint: str) -> None:
    """Write the checkpoint from which a run's force is read again."""
    if causal.checkpoint is not None:
        made = {"steps": causal.field.steps, "scale": causal.field.scale}
        record = {"fields": fields, "field": made}
        write_checkpoint(causal.checkpoint, fingerprint, record)
