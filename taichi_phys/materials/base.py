"""The parts of a material: parameters (torch), a constitutive law (Taichi) and a name."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch

from taichi_phys.checks import is_complex


@dataclasses.dataclass(frozen=True, eq=True)
class Law:
    """A constitutive law of one particle as Taichi functions.

    respond(F, C, plastic, params, dt) -> F_elastic, tau, plastic: the return map of the trial
    deformation gradient F, followed by the Kirchhoff stress tau, Pa. C: velocity gradient, 1/s;
    plastic: the internal variable, which is 0 at the start; params: vector whose first entries
    belong to columns (in a simulation with several laws, zeros may follow); dt: s.
    respond_adjoint(F, C, plastic, params, dt, gF_elastic, gtau, gplastic)
    -> gF, gC, gplastic, gparams: the exact derivative of respond. If it is None, `pull` derives it
    from principal, which is described in spectral.py.
    """

    name: str
    columns: tuple[str, ...]
    respond: Callable
    respond_adjoint: Callable | None = None
    principal: Callable | None = None


def lame(E: torch.Tensor, nu: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lame parameters mu and lam, Pa, from Young's modulus E, Pa, and Poisson's ratio nu."""
    return E / (2 * (1 + nu)), E * nu / ((1 + nu) * (1 - 2 * nu))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """Base of all materials, whose fields are numbers or torch tensors, scalar or one per particle.

    A subclass sets law, and lists the fields that must be positive, non_negative or within an
    interval, for example {"nu": "(-1, 0.5)"}; fixed: columns of the law that are constants of the
    class. Raises ValueError for a field outside its range.
    """

    law: ClassVar[Law]
    positive: ClassVar[tuple[str, ...]] = ()
    non_negative: ClassVar[tuple[str, ...]] = ()
    within: ClassVar[Mapping[str, str]] = {}
    fixed: ClassVar[Mapping[str, float]] = {}

    def __post_init__(self):
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            try:
                if is_complex(value):
                    raise TypeError("complex numbers")
                tensor = torch.as_tensor(value, dtype=torch.float64).detach()
            except (TypeError, ValueError, RuntimeError, OverflowError):
                raise ValueError(f"{name}: got {value!r}, expected a number or a tensor") from None
            if tensor.ndim > 1 or not torch.isfinite(tensor).all():
                raise ValueError(
                    f"{name}: got {value!r}, expected a finite number or an (n,) tensor"
                )
            if name in self.positive and not (tensor > 0).all():
                raise ValueError(f"{name}: got {tensor.min().item():g}, expected > 0")
            if name in self.non_negative and not (tensor >= 0).all():
                raise ValueError(f"{name}: got {tensor.min().item():g}, expected >= 0")
            if name in self.within and not _inside(tensor, self.within[name]).all():
                raise ValueError(f"{name}: got {value}, expected a value in {self.within[name]}")

    def columns(self, n: int, dtype: torch.dtype, device: torch.device) -> dict[str, torch.Tensor]:
        """Fields and fixed constants by name as (n,) tensors, of a dtype and on a device.

        Subclasses add columns that they derive from these. Raises ValueError for a field with
        another number of values than 1 or n.
        """
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        result = {}
        for name, value in {**values, **self.fixed}.items():
            # With dtype: otherwise a Python number would become a tensor of torch's default, f32.
            value = value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=dtype)
            value = value.to(dtype=dtype, device=device)
            if value.ndim == 1 and len(value) != n:
                raise ValueError(f"{name}: got {len(value)} values, expected 1 or {n} (particles)")
            result[name] = value.expand(n)
        return result

    def params(self, n: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """(n, len(law.columns)) parameters of the law; gradients reach the fields.

        Raises ValueError if the material lacks a column of the law.
        """
        columns = self.columns(n, dtype, device)
        missing = [name for name in self.law.columns if name not in columns]
        if missing:
            raise ValueError(
                f"{type(self).__name__}: the law {self.law.name} needs {', '.join(missing)}, but "
                f"the material has only {', '.join(columns)}"
            )
        return torch.stack([columns[name] for name in self.law.columns], dim=-1)

    def stiffness(self, n: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """(n,) P-wave modulus at rest, Pa, which sets the speed of sound."""
        raise NotImplementedError(f"{type(self).__name__}.stiffness(n, dtype, device) -> (n,) Pa")

    def stiffening(self, plastic: torch.Tensor) -> torch.Tensor:
        """(n,) factors on `stiffness` by the internal variables plastic (n,), 1 by default."""
        return torch.ones_like(plastic)

    def explicit_viscosity(self, n: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """(n,) shear viscosity, Pa s, of a stress proportional to C, which limits the time step."""
        return torch.zeros(n, dtype=dtype, device=device)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Solid(Material):
    """Base of the isotropic solids with two elastic constants.

    E: Young's modulus, Pa, > 0; nu: Poisson's ratio, in (-1, 0.5). Raises ValueError.
    """

    positive: ClassVar[tuple[str, ...]] = ("E",)
    within: ClassVar[Mapping[str, str]] = {"nu": "(-1, 0.5)"}

    E: float | torch.Tensor
    nu: float | torch.Tensor

    def columns(self, n: int, dtype: torch.dtype, device: torch.device) -> dict[str, torch.Tensor]:
        """The columns of `Material.columns` and the Lame parameters mu and lam, Pa."""
        columns = super().columns(n, dtype, device)
        mu, lam = lame(columns["E"], columns["nu"])
        return {**columns, "mu": mu, "lam": lam}

    def stiffness(self, n: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """(n,) P-wave modulus lam + 2 mu, Pa."""
        columns = self.columns(n, dtype, device)
        return columns["lam"] + 2 * columns["mu"]


MATERIALS: dict[str, type[Material]] = {}


def register(cls: type[Material] | None = None, *, name: str | None = None) -> Any:
    """Class decorator that adds a material to MATERIALS under a name.

    name: by default the name of the class in snake case. Raises ValueError if the name is taken, or
    if the class is not a Material or has no law.
    """
    if cls is None:
        return lambda cls: register(cls, name=name)
    if not (isinstance(cls, type) and issubclass(cls, Material)):
        raise ValueError(f"register: got {cls!r}, expected a subclass of Material")
    if not isinstance(getattr(cls, "law", None), Law):
        raise ValueError(f"register: {cls.__name__} has no law; set law = Law(...) in the class")
    name = name or re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
    if name in MATERIALS:
        raise ValueError(
            f"register: the name {name!r} is taken by {MATERIALS[name].__name__}, expected "
            "an unused name"
        )
    MATERIALS[name] = cls
    return cls


def _inside(values: torch.Tensor, interval: str) -> torch.Tensor:
    """Whether values lie in an interval in mathematical notation, for example (0, 1]."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = values >= low if interval[0] == "[" else values > low
    below = values <= high if interval[-1] == "]" else values < high
    return above & below
