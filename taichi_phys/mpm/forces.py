"""Force fields: uniform, wind with drag, vortices, noise, recovered winds, and their sums.

A force field is called as f(x, t, v, mass) -> (n, 3) N, and + adds it to other forces. An air
velocity is called as u(x, t) -> (n, 3) m/s, and + adds it to other air velocities; `Drag` turns it
into a force. All compute in torch, in the dtype of x, and are differentiable in x, v, mass and in
the vectors and numbers that are given as tensors.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from taichi_phys.checks import finite_vector, set_fields, whole_number


MAX_MODES = 10_000  # most waves in a Noise
Vector = Sequence[float] | torch.Tensor


def _vector(name: str, value) -> Vector:
    """Return value if it is 3 finite numbers; a tensor stays a tensor, to keep its gradient."""
    if not isinstance(value, torch.Tensor):
        return finite_vector(name, value)
    if value.shape != (3,) or value.is_complex() or not torch.isfinite(value).all():
        raise ValueError(f"{name}: got {value!r}, expected 3 finite numbers")
    return value


def _number(name: str, value, unit: str, *, zero: bool = False, sign: bool = False):
    """Return value if it is a finite number > 0; a tensor stays a tensor, to keep its gradient.

    zero: allow 0 too; sign: allow any sign.
    """
    tensor = isinstance(value, torch.Tensor) and value.ndim == 0 and not value.is_complex()
    number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        plain = float(value.detach()) if tensor else float(value) if number else math.nan
    except OverflowError:
        plain = math.inf
    if not math.isfinite(plain):
        raise ValueError(f"{name}: got {value!r}, expected a finite number ({unit})")
    if not sign and (plain < 0 or (plain == 0 and not zero)):
        raise ValueError(f"{name}: got {value!r}, expected >{'=' * zero} 0 ({unit})")
    return value


def _as(value, x: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(value, dtype=x.dtype, device=x.device)


def _check(name: str, value, x: torch.Tensor, unit: str) -> torch.Tensor:
    if not isinstance(value, torch.Tensor) or value.shape != x.shape:
        got = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise ValueError(f"{name}: got {got}, expected a tensor {tuple(x.shape)}, {unit}")
    return value.to(x)


# Force fields


class ForceField:
    """Base of force fields that depend on velocity and mass too; subclasses define __call__."""

    def __call__(
        self, x: torch.Tensor, t: float, v: torch.Tensor, mass: torch.Tensor
    ) -> torch.Tensor:
        """Forces (n, 3) N on particles: x (n, 3) m, t s, v (n, 3) m/s, mass (n,) kg."""
        raise NotImplementedError

    def __add__(self, other: Any) -> "ForceField":
        return total([self, other])

    def __radd__(self, other: Any) -> "ForceField":  # 0: the start of sum()
        return self if isinstance(other, int) and other == 0 else total([other, self])


@dataclasses.dataclass(frozen=True, eq=False)
class Total(ForceField):
    """The sum of several forces, made by `total`."""

    parts: tuple

    def __call__(
        self, x: torch.Tensor, t: float, v: torch.Tensor, mass: torch.Tensor
    ) -> torch.Tensor:
        """Forces (n, 3) N on particles."""
        return sum((evaluate(part, x, t, v, mass) for part in self.parts), torch.zeros_like(x))


def total(forces: Sequence[Any]) -> Total:
    """The sum of forces.

    forces: a sequence of force fields, functions f(x, t) -> (n, 3) N and tensors (n, 3) N. Raises
    ValueError.
    """
    if not isinstance(forces, Sequence):
        raise ValueError(f"forces: got {type(forces).__name__}, expected a sequence of forces")
    parts: list[Any] = []
    for force in forces:
        parts += force.parts if isinstance(force, Total) else [_force(force)]
    return Total(tuple(parts))


def _force(force):
    if isinstance(force, AirVelocity):
        raise ValueError(
            f"force: got {type(force).__name__}, an air velocity in m/s, expected a force: "
            "Drag(air=..., rate=...) makes a force of an air velocity"
        )
    if not isinstance(force, torch.Tensor) and not callable(force):
        raise ValueError(
            f"force: got {type(force).__name__}, expected a force field, a function f(x, t), a "
            "tensor (n, 3) in newtons, or a sequence of such forces"
        )
    return force


def evaluate(
    force: Any, x: torch.Tensor, t: float, v: torch.Tensor, mass: torch.Tensor
) -> torch.Tensor:
    """The forces (n, 3) N on particles of a force of any kind, in the dtype of x.

    force: a ForceField, a function f(x, t) -> (n, 3) N, a tensor (n, 3) N, a sequence of such
    forces, which are added up, or None for no force; x: (n, 3) m; t: s; v: (n, 3) m/s; mass: (n,)
    kg. Raises ValueError.
    """
    if force is None:
        return torch.zeros_like(x)
    if isinstance(force, list | tuple):
        force = total(force)
    force = _force(force)
    if isinstance(force, ForceField):
        force = force(x, t, v, mass)
    elif not isinstance(force, torch.Tensor):
        force = force(x, t)
    return _check("force", force, x, "in newtons")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Uniform(ForceField):
    """The same acceleration everywhere, or a total force that the particles share by mass.

    acceleration: (3,) m/s^2; force: (3,) on all particles together, N, instead of acceleration.
    Raises ValueError.
    """

    acceleration: Vector | None = None
    force: Vector | None = None

    def __post_init__(self):
        if (self.acceleration is None) == (self.force is None):
            got = "neither" if self.force is None else "both"
            raise ValueError(f"acceleration, force: got {got}, expected exactly one")
        name = "force" if self.acceleration is None else "acceleration"
        set_fields(self, **{name: _vector(name, getattr(self, name))})

    def __call__(
        self, x: torch.Tensor, t: float, v: torch.Tensor, mass: torch.Tensor
    ) -> torch.Tensor:
        """Forces (n, 3) N on particles."""
        if self.force is not None:
            return (mass / mass.sum())[:, None] * _as(self.force, x)
        return mass[:, None] * _as(self.acceleration, x)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Drag(ForceField):
    """Wind: the drag mass (rate + quadratic |u - v|) (u - v) of air with the velocity u(x, t).

    air: (3,) m/s, an AirVelocity, or a function u(x, t) -> (n, 3) m/s; rate: 1/s, the inverse of
    the time in which particles take up the velocity of the air; quadratic: 1/m. The force is
    integrated explicitly, which is stable while rate dt < 2. Raises ValueError.
    """

    air: Vector | Callable
    rate: float | torch.Tensor = 0.0
    quadratic: float | torch.Tensor = 0.0

    def __post_init__(self):
        if not callable(self.air):
            set_fields(self, air=_vector("air", self.air))
        elif isinstance(self.air, ForceField):
            raise ValueError(
                f"air: got {type(self.air).__name__}, a force, expected an air velocity"
            )
        _number("rate", self.rate, "1/s", zero=True)
        _number("quadratic", self.quadratic, "1/m", zero=True)
        tensor = isinstance(self.rate, torch.Tensor) or isinstance(self.quadratic, torch.Tensor)
        if not tensor and self.rate == 0 == self.quadratic:
            raise ValueError("rate: got 0, expected > 0 (1/s) unless quadratic is > 0 (1/m)")

    def __call__(
        self, x: torch.Tensor, t: float, v: torch.Tensor, mass: torch.Tensor
    ) -> torch.Tensor:
        """Forces (n, 3) N on particles."""
        air = self.air(x, t) if callable(self.air) else _as(self.air, x).expand_as(x)
        slip = _check("air", air, x, "in m/s") - v
        square = slip.square().sum(dim=1, keepdim=True)
        # |u - v| with a gradient of 0 at 0, as the force has; a plain sqrt would give NaN
        speed = torch.where(square > 0, square, 1.0).sqrt() * (square > 0)
        return mass[:, None] * (_as(self.rate, x) + _as(self.quadratic, x) * speed) * slip


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Acceleration(ForceField):
    """The force mass x scale x field(x, t), which takes any vector field as an acceleration.

    field: a function (x, t) -> (n, 3), for example an AirVelocity; scale: factor that turns the
    field into m/s^2. Raises ValueError.
    """

    field: Callable
    scale: float | torch.Tensor = 1.0

    def __post_init__(self):
        if not callable(self.field) or isinstance(self.field, ForceField):
            raise ValueError(f"field: got {type(self.field).__name__}, expected a function (x, t)")
        _number("scale", self.scale, "to m/s^2", sign=True)

    def __call__(
        self, x: torch.Tensor, t: float, v: torch.Tensor, mass: torch.Tensor
    ) -> torch.Tensor:
        """Forces (n, 3) N on particles."""
        field = _check("field", self.field(x, t), x, "in m/s^2 after scale")
        return mass[:, None] * _as(self.scale, x) * field


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Triplane(ForceField):
    """A recovered wind: the force mass x field(x), where the field is a specific force in m/s^2.

    field: a CausalTriplane; states: the state_dict of the field for each video interval
    (`WindResult.fields`), of which the force takes the one at time t, and after the last interval
    the last; fps: intervals per second; step: without states, the video step at which the field is
    evaluated with its present weights. Raises ValueError.
    """

    field: torch.nn.Module
    states: Sequence[dict] | None = None
    fps: float = 24.0
    step: int = 0

    def __post_init__(self):
        if not isinstance(self.field, torch.nn.Module):
            raise ValueError(f"field: got {type(self.field).__name__}, expected a CausalTriplane")
        if self.states is not None and (
            not isinstance(self.states, Sequence)
            or not self.states
            or not all(isinstance(s, dict) for s in self.states)
        ):
            raise ValueError(
                f"states: got {type(self.states).__name__}, expected a sequence of at least one "
                "state_dict, or None"
            )
        _number("fps", self.fps, "1/s")
        whole_number("step", self.step, "an integer >= 0", low=0)

    def __call__(
        self, x: torch.Tensor, t: float, v: torch.Tensor, mass: torch.Tensor
    ) -> torch.Tensor:
        """Forces (n, 3) N on particles."""
        own = next(self.field.parameters(), x)
        near = x.to(own)
        if self.states is None:
            value = self.field(near, self.step)
        else:  # 1e-6: at a frame boundary, rounding must not select the interval before it
            step = min(max(0, math.floor(t * self.fps + 1e-6)), len(self.states) - 1)
            state = {k: w.to(own) for k, w in self.states[step].items()}
            value = torch.func.functional_call(self.field, state, (near, step))
        return mass[:, None] * _check("field", value, x, "in m/s^2")


# Air velocities


class AirVelocity:
    """Base of velocity fields u(x, t) of the air; subclasses define __call__."""

    def __call__(self, x: torch.Tensor, t: float) -> torch.Tensor:
        """Velocities (n, 3) m/s at positions x (n, 3) m and time t s."""
        raise NotImplementedError

    def __add__(self, other: Any) -> "AirVelocity":
        """The sum with other: an air velocity, a function u(x, t) -> (n, 3) m/s, or (3,) m/s."""
        if not callable(other):
            other = _vector("air", other)
        elif isinstance(other, ForceField):
            raise ValueError(f"air: got {type(other).__name__}, a force, expected an air velocity")
        return AirSum((self, other))

    __radd__ = __add__


@dataclasses.dataclass(frozen=True, eq=False)
class AirSum(AirVelocity):
    """The sum of air velocities, made by +."""

    parts: tuple

    def __call__(self, x: torch.Tensor, t: float) -> torch.Tensor:
        """Velocities (n, 3) m/s of the air."""
        u = torch.zeros_like(x)
        for part in self.parts:
            one = part(x, t) if callable(part) else _as(part, x).expand_as(x)
            u = u + _check("air", one, x, "in m/s")
        return u


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Vortex(AirVelocity):
    """A Lamb-Oseen vortex: u = strength / (2 pi r) (1 - exp(-r^2 / radius^2)) round its axis.

    center: (3,) a point of the axis, m; axis: (3,) of any length; the air turns about it by the
    right-hand rule; strength: circulation far from the axis, m^2/s; radius: of the core, m. The air
    is fastest at 1.121 radius, with the speed 0.638 strength / (2 pi radius). Raises ValueError.
    """

    center: Vector
    axis: Vector = (0.0, 0.0, 1.0)
    strength: float | torch.Tensor
    radius: float | torch.Tensor

    def __post_init__(self):
        set_fields(self, center=_vector("center", self.center), axis=_vector("axis", self.axis))
        if not any(float(c) for c in self.axis):
            raise ValueError("axis: got (0, 0, 0), expected a vector other than zero")
        _number("strength", self.strength, "m^2/s", sign=True)
        _number("radius", self.radius, "m")

    def __call__(self, x: torch.Tensor, t: float) -> torch.Tensor:
        """Velocities (n, 3) m/s of the air, which are the same at all times."""
        axis, radius = _as(self.axis, x), _as(self.radius, x)
        axis = (axis / axis.norm()).expand_as(x)
        arm = x - _as(self.center, x)
        turn = torch.linalg.cross(axis, arm)
        s = turn.square().sum(dim=1, keepdim=True) / radius**2
        # (1 - exp(-s)) / s, near the axis by its series, since the quotient there is 0 / 0
        small = s < 1e-3
        wide = torch.where(small, 1.0, s)
        near = torch.where(small, s, 0.0)
        profile = torch.where(
            small, 1 - near / 2 + near**2 / 6 - near**3 / 24, -torch.expm1(-wide) / wide
        )
        return _as(self.strength, x) / (2 * math.pi * radius**2) * profile * turn


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Noise(AirVelocity):
    """Gusts: a smooth, divergence-free sum of waves of random direction and phase.

    scale: typical length of the waves, m; speed: root mean square of the velocity, m/s; time_scale:
    shortest period of the waves, s, None for a field that does not change in time; seed: the same
    seed gives the same field on every machine; modes: number of waves. Raises ValueError.
    """

    scale: float
    speed: float | torch.Tensor
    time_scale: float | None = None
    seed: int = 0
    modes: int = 32
    _waves: tuple = dataclasses.field(default=(), init=False, repr=False)

    def __post_init__(self):
        _number("scale", self.scale, "m")
        _number("speed", self.speed, "m/s", zero=True)
        if self.time_scale is not None:
            _number("time_scale", self.time_scale, "s")
        whole_number("seed", self.seed, "an integer >= 0", low=0)
        whole_number(
            "modes", self.modes, f"an integer from 1 to {MAX_MODES}", low=1, high=MAX_MODES
        )
        draws = np.random.default_rng(self.seed).random((self.modes, 6))
        height, turn, length, spin, phase, beat = draws.T
        height, turn = 2 * height - 1, 2 * np.pi * turn
        across = np.sqrt(1 - height**2)
        along = np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=1)
        # Wavelengths from scale / sqrt 2 to scale sqrt 2. Each velocity is perpendicular to its
        # wave vector, so that the field has no divergence.
        k = (2 * np.pi / float(self.scale) * 2 ** (length - 0.5))[:, None] * along
        first = np.stack([-np.sin(turn), np.cos(turn), np.zeros_like(turn)], axis=1)
        second = np.cross(along, first)
        spin = 2 * np.pi * spin[:, None]
        sway = (np.cos(spin) * first + np.sin(spin) * second) * math.sqrt(2 / self.modes)
        period = math.inf if self.time_scale is None else float(self.time_scale)
        omega = 2 * np.pi * (2 * beat - 1) / period
        waves = (k, sway, 2 * np.pi * phase, omega)
        set_fields(self, _waves=tuple(torch.from_numpy(w) for w in waves))

    def __call__(self, x: torch.Tensor, t: float) -> torch.Tensor:
        """Velocities (n, 3) m/s of the air."""
        k, sway, phase, omega = self._waves
        # In double precision and modulo 2 pi: in float32 the phase would be coarse after an hour.
        phase = torch.remainder(phase + omega * float(t), 2 * math.pi)
        return _as(self.speed, x) * torch.cos(x @ k.to(x).T + phase.to(x)) @ sway.to(x)
