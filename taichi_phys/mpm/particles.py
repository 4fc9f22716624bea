"""Bodies made of particles, and the state of a simulation at a frame boundary."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from taichi_phys.checks import set_fields
from taichi_phys.materials import Material
from taichi_phys.mpm.layout import STATE_FIELDS, STATE_SIZES
from taichi_phys.mpm.reactions import Reactions
from taichi_phys.mpm.rigid_bodies import RigidState


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """The state of n particles at a frame boundary.

    x: (n, 3) position, m, in f64 if the grid is far from the origin; v: (n, 3) velocity, m/s;
    C: (n, 3, 3) APIC velocity gradient, 1/s; F: (n, 3, 3) deformation gradient, which for a plastic
    material is the elastic part before the return map of the next substep, and which is 0 for
    removed particles; plastic: (n,) internal variable of the material, 0 by default, for von Mises
    laws the accumulated plastic strain; time: s; reactions: the mean forces and torques on
    colliders and walls in the frame that ended in this state, if the simulation measures them;
    rigid: the rigid bodies, if the simulation has any.
    """

    x: torch.Tensor
    v: torch.Tensor
    C: torch.Tensor
    F: torch.Tensor
    plastic: torch.Tensor | None = None
    time: float = 0.0
    reactions: Reactions | None = None
    rigid: RigidState | None = None

    def __post_init__(self):
        if self.plastic is None:
            set_fields(self, plastic=torch.zeros_like(self.v.detach()[:, 0]))

    def detach(self) -> "State":
        """The same state, detached from the graph that computed it."""
        return self.replace(**{name: getattr(self, name).detach() for name in STATE_FIELDS})

    def replace(self, **changes: Any) -> "State":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    @property
    def removed(self) -> torch.Tensor:
        """(n,) bool: particles that left the grid where MPM(outside="remove") allows it."""
        return (self.F == 0).all(dim=2).all(dim=1)

    def pack(self) -> torch.Tensor:
        """The packed state (n, 25) of layout.py: the fields of each particle in a row."""
        n = len(self.x)
        return torch.cat([getattr(self, name).reshape(n, -1) for name in STATE_FIELDS], dim=1)

    @classmethod
    def unpack(cls, packed: torch.Tensor, time: float) -> "State":
        """The State of a packed state (n, 25) at a time, s."""
        columns = zip(STATE_FIELDS.items(), packed.split(STATE_SIZES, dim=1), strict=True)
        fields = {name: column.reshape(-1, *shape) for (name, shape), column in columns}
        return cls(**fields, time=time)


def _tensor(name: str, value, shape: tuple, like: int | None = None) -> torch.Tensor:
    """Return value as a finite floating-point tensor of a shape, in which -1 fits any size.

    A tensor keeps its gradient. Raises ValueError.
    """
    try:
        tensor = value if isinstance(value, torch.Tensor) else torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name}: got {type(value).__name__}, expected numbers") from None
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"{name}: got dtype {tensor.dtype}, expected real numbers")
    fits = tensor.ndim == len(shape) and all(
        want in (-1, got) for want, got in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        wanted = tuple("n" if size == -1 else size for size in shape)
        raise ValueError(f"{name}: got shape {tuple(tensor.shape)}, expected {wanted}")
    if not torch.isfinite(tensor).all():
        count = int((~torch.isfinite(tensor)).sum())

        raise ValueError(
            f"{name}: got {count} of {tensor.numel()} values that are NaN or infinite, expected "
            "finite ones"
        )
    return tensor if tensor.is_floating_point() else tensor.double()


@dataclasses.dataclass(frozen=True, eq=False)
class Particles:
    """A body: the positions, velocities and densities of its particles, and their material.

    x: (n, 3) m; v: (n, 3) m/s, by default zero; density: kg/m^3, a number or (n,); volume: of each
    particle, m^3, a number or (n,), by default the volume of a grid cell divided by the number of
    particles in it; material: its parameters may be numbers or (n,). Arrays may be numpy or torch,
    and become tensors. Raises ValueError.
    """

    x: np.ndarray | torch.Tensor
    _: dataclasses.KW_ONLY
    v: np.ndarray | torch.Tensor | Sequence[Any] | None = None
    density: float | np.ndarray | torch.Tensor = 1000.0
    volume: float | np.ndarray | torch.Tensor | None = None
    material: Material

    def __post_init__(self):
        x = _tensor("x", self.x, (-1, 3))
        n = len(x)
        if n == 0:
            raise ValueError("x: got no particles, expected at least one")
        v = torch.zeros_like(x.detach()) if self.v is None else self.v
        set_fields(self, x=x, v=_tensor("v", v, (n, 3)))
        if not isinstance(self.material, Material):
            raise ValueError(
                f"material: got {type(self.material).__name__}, expected a material, "
                "for example Elastic(E=1e5, nu=0.3)"
            )
        for name in ("density", "volume"):
            value = getattr(self, name)
            if name == "volume" and value is None:
                continue
            value = _tensor(name, value, (n,) if np.ndim(value) else ()).double().expand(n)
            if not (value > 0).all():
                raise ValueError(f"{name}: got {value.min().item():g}, expected > 0")
            set_fields(self, **{name: value})

    def __len__(self) -> int:
        return len(self.x)


def cell_volumes(x: torch.Tensor, lower: torch.Tensor, dx: float) -> torch.Tensor:
    """Volumes (n,) m^3 of particles x (n, 3) m that share the volume of their grid cell equally.

    lower: (3,) corner of the grid, m; dx: edge of a cell, m.
    """
    cells = torch.floor((x - lower) / dx).long()
    _, inverse, counts = torch.unique(cells, dim=0, return_inverse=True, return_counts=True)
    return dx**3 / counts[inverse].to(x.dtype)
