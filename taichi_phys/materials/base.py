"""What a material is: named parameters (torch) and a constitutive law (Taichi)."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import torch


@dataclasses.dataclass(frozen=True)
class Law:
    """A constitutive law as two Taichi functions of one particle.

    respond(F, params, dt) -> F_elastic, tau: return map of the trial deformation gradient F,
    then the Kirchhoff stress tau in Pa of the result.
    respond_adjoint(F, params, dt, gF_elastic, gtau) -> gF, gparams: its exact derivative.
    params: 4-vector (mu Pa, lam Pa, yield_stress Pa, viscosity Pa s).
    """

    name: str
    respond: Callable
    respond_adjoint: Callable


def lame(E: torch.Tensor, nu: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lame parameters mu and lam (Pa) from Young's modulus E (Pa) and Poisson's ratio nu."""
    return E / (2 * (1 + nu)), E * nu / ((1 + nu) * (1 - 2 * nu))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """Base of all materials: fields are numbers or torch tensors, scalar or one per particle."""

    law: ClassVar[Law]
    positive: ClassVar[tuple[str, ...]] = ("E",)
    non_negative: ClassVar[tuple[str, ...]] = ()

    E: float | torch.Tensor
    nu: float | torch.Tensor

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            try:
                tensor = torch.as_tensor(value, dtype=torch.float64).detach()
            except (TypeError, ValueError, RuntimeError):
                raise ValueError(
                    f"{field.name}: got {value!r}, expected a number or a tensor"
                ) from None
            if tensor.ndim > 1 or not torch.isfinite(tensor).all():
                raise ValueError(
                    f"{field.name}: got {value!r}, expected a finite number or an (n,) tensor"
                )
            if field.name in self.positive and not (tensor > 0).all():
                raise ValueError(f"{field.name}: got {tensor.min().item():g}, expected > 0")
            if field.name in self.non_negative and not (tensor >= 0).all():
                raise ValueError(f"{field.name}: got {tensor.min().item():g}, expected >= 0")
            if field.name == "nu" and not ((tensor > -1) & (tensor < 0.5)).all():
                raise ValueError(f"nu: got {value}, expected a value in (-1, 0.5)")

    def params(self, n: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """(n, 4) tensor of mu, lam, yield_stress, viscosity; gradients reach the fields."""

        def column(name: str) -> torch.Tensor:
            value = getattr(self, name, 0.0)
            # a tensor first: a Python number would become one of torch's default dtype, f32
            value = value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=dtype)
            value = value.to(dtype=dtype, device=device)
            if value.ndim == 1 and len(value) != n:
                raise ValueError(f"{name}: got {len(value)} values, expected 1 or {n} (particles)")
            return value.expand(n)

        mu, lam = lame(column("E"), column("nu"))
        return torch.stack([mu, lam, column("yield_stress"), column("viscosity")], dim=-1)
