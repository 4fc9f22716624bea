"""A force field for each of several objects: what moves one says nothing of its neighbor."""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from torch import nn

from inverse.wind.forces.field import Field


class OwnFields(nn.Module):
    """Fields of K objects as one, which a solver fits as it does one field.

    fields: one for each object; body: (n,) the number of the object that each particle belongs to.
    Its regularization is the mean of theirs.
    """

    body: torch.Tensor

    def __init__(self, fields: Sequence[Field], body: torch.Tensor):
        super().__init__()
        self.fields = nn.ModuleList(cast(Sequence[nn.Module], fields))
        self.register_buffer("body", body)

    @property
    def steps(self) -> int:
        """Number of video steps."""
        return self._all[0].steps

    @property
    def scale(self) -> list[float]:
        """Size of a typical value of each field."""
        return [field.scale for field in self._all]

    @property
    def _all(self) -> list[Field]:
        return [cast(Field, field) for field in self.fields]

    def begin_step(self, step: int) -> None:
        """Prepare the fit of a video step, as that of each field."""
        for field in self._all:
            field.begin_step(step)

    def forward(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """The fields (n, 3) of all objects at positions x (n, 3) m of their particles."""
        found = torch.zeros_like(x)
        for number, field in enumerate(self._all):
            own = self.body == number
            found = found.masked_scatter(own[:, None], field(x[own], step))
        return found

    def shift(self, offsets: torch.Tensor) -> None:
        """Add constant offsets (K, 3), one to each field, in their unit."""
        for field, offset in zip(self._all, offsets, strict=True):
            field.shift(offset)

    def space_variation(self) -> torch.Tensor:
        """The mean of that of all fields."""
        return torch.stack([field.space_variation() for field in self._all]).mean()

    def time_variation(self) -> torch.Tensor:
        """The mean of that of all fields."""
        return torch.stack([field.time_variation() for field in self._all]).mean()


def own_fields(
    make: Callable[[np.ndarray], Field], targets: np.ndarray, body: np.ndarray
) -> Field | OwnFields:
    """The field of one object, or the fields of several.

    make: the field of an object that moves along targets (T, k, 3) m; targets: (T, n, 3) m, of all
    particles; body: (n,) the number of the object that each belongs to.
    """
    fields = [make(targets[:, body == number]) for number in range(body.max() + 1)]
    return fields[0] if len(fields) == 1 else OwnFields(fields, torch.as_tensor(body))


def choose_objects(body: torch.Tensor) -> list[slice | torch.Tensor]:
    """What chooses the particles of each object; body: (n,) the number of the object of each."""
    count = int(body.max()) + 1
    return [slice(None)] if count == 1 else [body == number for number in range(count)]
