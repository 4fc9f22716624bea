"""What the solver of intervals asks of a force, and the simplest one: a single vector."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import nn


class Field(Protocol):
    """A specific force (m/s^2) in space and time, with parameters that are fitted step by step.

    steps: number of video intervals; scale: m/s^2, size of a typical force.
    """

    steps: int
    scale: float

    def __call__(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """The field (n, 3) at positions x (n, 3) m in a step."""

    def begin_step(self, step: int) -> None:
        """Prepare the fit of a step, a number from 0."""

    def shift(self, offset: torch.Tensor) -> None:
        """Change the field so that its mean over the object grows by offset (3,)."""

    def space_variation(self) -> torch.Tensor:
        """L_space."""

    def time_variation(self) -> torch.Tensor:
        """L_time."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is fitted."""

    def state_dict(self) -> dict[str, Any]:
        """The field's state, as torch has it."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """The reverse of state_dict."""


class OneVector(nn.Module):
    """A force that is one vector in each step, on the whole object or on some of its particles.

    steps: number of video intervals; scale: m/s^2, size of a typical force; share: (n,) in 0..1,
    what of the vector acts on each particle, None for all of it on any; mass: (n,) kg, with share.
    """

    share: torch.Tensor | None

    def __init__(
        self,
        *,
        steps: int,
        scale: float = 1.0,
        share: torch.Tensor | None = None,
        mass: torch.Tensor | None = None,
    ):
        super().__init__()
        self.steps, self.scale = steps, scale
        self.vector = nn.Parameter(torch.zeros(3))  # in units of scale
        self.register_buffer("share", share)
        self._felt = 1.0  # share of the vector in the mean over the object
        if share is not None and mass is not None:
            self._felt = float((share * mass).sum() / mass.sum())

    def begin_step(self, step: int) -> None:
        """A step begins with the vector of the step before."""

    def forward(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """The field (n, 3) m/s^2 at positions x (n, 3) m, which are those of the particles where
        only some of them feel it."""
        whole = (self.scale * self.vector).expand_as(x)
        return whole if self.share is None else self.share[:, None] * whole

    def shift(self, offset: torch.Tensor) -> None:
        """Change the field so that its mean over the object grows by offset (3,) m/s^2."""
        with torch.no_grad():
            self.vector.add_(offset / (self.scale * self._felt))

    def space_variation(self) -> torch.Tensor:
        """L_space: there is none."""
        return self.vector.new_zeros(())

    def time_variation(self) -> torch.Tensor:
        """L_time: none, each step has a vector of its own."""
        return self.vector.new_zeros(())

    def states(self, vectors: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        """The states of a field of vectors (T, 3) m/s^2; it ends as the last."""
        found = []
        for vector in vectors.to(self.vector):
            with torch.no_grad():
                self.vector.copy_(vector / self.scale)
            found.append({name: value.clone() for name, value in self.state_dict().items()})
        return found
